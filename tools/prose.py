"""Read the project's prose: `codespell` for slips, and one spelling for all of it, the British one.

Prose is what people read: pages, notebooks' text, docstrings, comments, and the sentences that programs print. Names in
code stay as their libraries have them (`color`, `optimizer`), and so does what stands between backticks.
"""

from __future__ import annotations

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATTERNS = ("*.md", "Makefile", "book/*.md", "book/*.yml", "notebooks/*.ipynb", "benchmarks/*.md")
PATTERNS += ("uslnet_core/**/*.md", "uslnet_core/**/*.ipynb")
CODE = ("uslnet_core", "tools", "tests", "benchmarks")

#: American spellings that are British words, too, in another sense.
BOTH = set("check checks disk disks draft drafts inquiry license meter meters practice program programs".split())
BOTH |= {"story", "stories", "writable"}
#: Titles of papers in quotation marks, and what libraries say: not ours to spell.
NOT_OURS = re.compile(r'"[A-Z][^"\n]{20,}"|Error while serializing|Color mode|LICENSE')


def american() -> dict[str, str]:
    """Turn codespell's British-to-American list round: what to write in place of each American word."""
    file = resources.files("codespell_lib") / "data" / "dictionary_en-GB_to_en-US.txt"
    pairs = [line.split("->") for line in file.read_text(encoding="utf-8").splitlines() if "->" in line]
    return {there.strip(" ,"): here for here, there in pairs if "," not in there.strip(" ,")}


def of_markdown(text: str) -> str:
    """Leave out what is not prose in Markdown: code, addresses, options of directives."""
    text = re.sub(r"^(`{3,})(?!\{).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`|\]\([^)]*\)|<[^>]+>|https?://\S+|\{[\w-]+\}", " ", text)


def of_python(source: str) -> Iterator[str]:
    """Give the comments, docstrings and sentences of a Python file; a sentence is a string of four words or more."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value.split()) > 3:
            yield node.value


def prose(path: Path) -> str:
    """Read the prose of one file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
        texts = [source for kind, source in cells if kind == "markdown"]
        texts += [each for kind, source in cells if kind == "code" for each in of_python(source)]
        return "\n".join(of_markdown(each) for each in texts)
    return "\n".join(of_markdown(each) for each in of_python(text)) if path.suffix == ".py" else of_markdown(text)


def mixed(text: str, words: dict[str, str]) -> list[tuple[str, str]]:
    """Find American words in prose, each with what to write instead; ``name:`` in a docstring is a name."""
    found = re.findall(r"(?<![\w.'-])[A-Za-z]+(?![\w(=:-]|\.\w)", NOT_OURS.sub("", text))
    return sorted({(word, words[word.lower()]) for word in found if word.lower() in words and word.lower() not in BOTH})


def files() -> list[Path]:
    """List what people read."""
    found = [path for pattern in PATTERNS for path in ROOT.glob(pattern)]
    found += [path for folder in CODE for path in (ROOT / folder).rglob("*.py")]
    return sorted(path for path in found if path.name != "test_prose.py")  # American on purpose


def main() -> int:
    """Complain of slips and of other spellings; exit code 1 if there are any."""
    read, words = files(), american()
    slips = subprocess.run([sys.executable, "-m", "codespell_lib", *map(str, read)], cwd=ROOT).returncode
    wrong = [(path, pair) for path in read for pair in mixed(prose(path), words)]
    for path, (word, instead) in wrong:
        print(f"{path.relative_to(ROOT)}: {word} is American, and this project is British: {instead}")
    if not slips and not wrong:
        print(f"{len(read)} files, one spelling.")
    return 1 if slips or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
