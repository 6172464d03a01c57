"""Lists as parameters: read from a command line as anybody would write them."""

from __future__ import annotations

import pytest

from uslnet_core.errors import ConfigError
from uslnet_core.parameters import Parameter, known_to, parse_list, parse_parameter

KNOWN = {
    "seeds": Parameter("seeds", "list[int] | None", None, "trainings that are averaged"),
    "encoders": Parameter("encoders", "list[str] | None", None, "whose maps are fused"),
}


@pytest.mark.parametrize("text", ["[0,1,2]", "0,1,2", "[0, 1, 2]", " 0, 1 ,2 "])
def test_numbers(text):
    assert parse_parameter(f"seeds={text}", KNOWN, "09") == ("seeds", [0, 1, 2])


@pytest.mark.parametrize(
    "text", ["simclr,moco_v2", "[simclr, moco_v2]", '["simclr", "moco_v2"]', "['simclr','moco_v2']"]
)
def test_names(text):
    assert parse_parameter(f"encoders={text}", KNOWN, "09") == ("encoders", ["simclr", "moco_v2"])


def test_one_alone_and_none():
    assert parse_parameter("seeds=3", KNOWN, "09") == ("seeds", [3])
    assert parse_parameter("seeds=none", KNOWN, "09") == ("seeds", None)
    assert parse_list("-1", "list[int]") == [-1]


@pytest.mark.parametrize("text", ["seeds=a", "seeds=0.5", "seeds=0,,1", "encoders=simclr,,moco_v1", "seeds="])
def test_what_is_no_list_is_refused(text):
    with pytest.raises(ConfigError, match=r"of notebook 09 is list\[(int|str)\] \| None"):
        parse_parameter(text, KNOWN, "09")


def test_known_to(root):
    notebook = root / "notebooks" / "09_ablation_of_modules.ipynb"
    assert known_to(notebook, {"seeds": [1], "colour": "red"}) == {"seeds": [1]}
