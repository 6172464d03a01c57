"""Fetch a file over the network: resumable, verified against a published checksum, kept only if it is the right one."""

from __future__ import annotations

import hashlib
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from uslnet_core.compute import Progress, quiet
from uslnet_core.data.storage import disk_errors, human
from uslnet_core.errors import DataError

BLOCK = 2**18
WAIT = 60.0
"""Seconds without a byte after which a connection counts as lost."""


def download_file(
    addresses: Sequence[str],
    part: Path,
    *,
    title: str,
    size: int | None = None,
    checksum: str | None = None,
    progress: Progress = quiet,
) -> None:
    """Fetch one file and verify it.

    A connection that breaks is taken up where it broke, here or in a later call.

    Args:
        addresses: where the file lies, tried in this order.
        part: where its bytes go, ``<name>.part`` in an existing folder; what is there is taken for its beginning.
        title: names the file in messages.
        size: bytes in all, about, for messages.
        checksum: as `mismatch` reads it; None leaves the file unverified.
        progress: called with the file's name, the bytes that are there, and the bytes in all.

    Raises:
        DataError: no address gives the whole file, its checksum is wrong, or the disk is full.
    """
    failures = []
    for address in addresses:
        grown = True
        while grown:  # a long download may break many times; it goes on as long as each try brings some bytes
            before = size_of(part)
            try:
                _append(address, part, progress)
            except _Broken as error:
                failures.append(f"{address}: {error}.")
                grown = size_of(part) > before
            else:
                if checksum and (difference := mismatch(part, checksum)):
                    part.unlink()
                    raise DataError(
                        f"{title} is not the published file: {difference}. It was deleted; run the same command again. "
                        "If the difference stays, the file has changed at its source."
                    )
                return
    about = f" of about {human(size)}" if size else ""
    raise DataError(
        f"Could not fetch {title}; {human(size_of(part))}{about} are kept in {part.name}. Run the same command again "
        f"to go on from there. {' '.join(failures[-len(addresses) :])}"
    )


def size_of(part: Path) -> int:
    """Count the bytes of a file; 0 if there is none."""
    return part.stat().st_size if part.is_file() else 0


def digest(path: Path, kind: str = "sha256") -> str:
    """Compute a file's checksum: ``kind`` is ``md5`` or ``sha256``; the result is hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def mismatch(path: Path, checksum: str) -> str:
    """Compare a file with its published checksum.

    Args:
        path: the file.
        checksum: ``md5:…``, ``sha256:…``, or where only its beginning is published ``md5-prefix:…``,
            ``sha256-prefix:…``.

    Returns:
        What differs, to be put into a message; empty if nothing does.
    """
    label, expected = checksum.split(":")
    kind, _, prefix = label.partition("-")
    found = digest(path, kind)
    if found == expected or (prefix and found.startswith(expected)):
        return ""
    return f"its {kind} is {found}, expected {'one that begins with ' if prefix else ''}{expected}"


class _Broken(Exception):  # noqa: N818 - never leaves this module
    """The network failed, as against the disk."""


def _append(address: str, part: Path, progress: Progress) -> None:
    """Add to a partial file what is missing at its end, and return when it is whole.

    Raises:
        _Broken: the network failed; what came is kept.
        DataError: the disk is full or the folder cannot be written.
    """
    have = size_of(part)
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=WAIT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416:
            raise _Broken(f"the server answered {error.code} {error.reason}") from error
        total = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if total and int(total[1]) == have:
            return  # nothing is missing
        part.unlink()  # longer than the file on the server, so it is no beginning of it
        return _append(address, part, progress)
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(f"{getattr(error, 'reason', error)}") from error
    with answer:
        done, total = _extent(answer)
        if done not in (0, have):
            raise _Broken(f"the server sent bytes from {done} on where {have} was asked for")
        with disk_errors(part.parent, part.name), part.open("ab" if done else "wb") as file:
            while block := _read(answer):
                file.write(block)
                done += len(block)
                progress(part.name.removesuffix(".part"), done, total or done)
    if done < total:
        raise _Broken(f"the connection ended after {done} of {total} bytes")


def _read(answer: http.client.HTTPResponse) -> bytes:
    """Read a block; network errors are told from disk errors here, since Python's are both `OSError`."""
    try:
        return answer.read(BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(f"{error}") from error


def _extent(answer: http.client.HTTPResponse) -> tuple[int, int]:
    """First byte and full length of what a server sends; the length is 0 where it is not told."""
    partial = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
    if answer.status == 206 and partial:
        return int(partial[1]), int(partial[2])
    return 0, int(answer.headers.get("Content-Length") or 0)
