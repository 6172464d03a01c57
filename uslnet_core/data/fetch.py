"""Fetch the public datasets: resumable, verified, and unpacked whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from uslnet_core.compute import Progress, quiet
from uslnet_core.data.registry import dataset
from uslnet_core.data.storage import disk_errors, require_space
from uslnet_core.download import download_file, size_of
from uslnet_core.errors import ConfigError, DataError

ADDRESSES = (
    "https://isic-challenge-data.s3.amazonaws.com",
    "https://isic-archive.s3.amazonaws.com/challenges",
)
"""Where the challenge's archives lie; the second holds the same files and is tried when the first fails."""


@dataclass(frozen=True)
class Archive:
    """One zip file, which unpacks to one folder of the official layout.

    Attributes:
        file: its path under an address; its name without ``.zip`` is the folder.
        size: bytes, exact or rounded up; it decides only whether the disk has room.
        checksum: ``md5:…`` or ``sha256:…``.
    """

    file: str
    size: int
    checksum: str

    @property
    def folder(self) -> str:
        """The folder that it unpacks to."""
        return PurePosixPath(self.file).stem


_MB = 10**6
ARCHIVES: dict[str, dict[str, tuple[Archive, ...]]] = {
    "isic2017": {
        "train": (
            Archive("2017/ISIC-2017_Training_Data.zip", 5_900 * _MB, "md5:a14a7e622c67a358797ae59abb8a0b0c"),
            Archive(
                "2017/ISIC-2017_Training_Part1_GroundTruth.zip",
                10 * _MB,
                "md5:77fdbeb6fbec4139937224416b250f4c",
            ),
        ),
        "validation": (
            Archive("2017/ISIC-2017_Validation_Data.zip", 950 * _MB, "md5:8d6419d942112f709894c0d82f6c9038"),
            Archive(
                "2017/ISIC-2017_Validation_Part1_GroundTruth.zip",
                5 * _MB,
                "md5:64d3e68fa2deeb8a5e89aa8dec2efd44",
            ),
        ),
        "test": (
            Archive("2017/ISIC-2017_Test_v2_Data.zip", 5_500 * _MB, "md5:5f6a0b5e1f2972bd1f5ea02680489f09"),
            Archive(
                "2017/ISIC-2017_Test_v2_Part1_GroundTruth.zip",
                20 * _MB,
                "md5:b1742de6bd257faca3b2b21a4aa3b781",
            ),
        ),
    },
    "isic2018": {
        "train": (
            Archive(
                "2018/ISIC2018_Task1-2_Training_Input.zip",
                11_165_358_566,
                "sha256:80f98572347a2d7a376227fa9eb2e4f7459d317cb619865b8b9910c81446675f",
            ),
            Archive(
                "2018/ISIC2018_Task1_Training_GroundTruth.zip",
                27_402_895,
                "sha256:99f8b2bb3c4d6af483362010715f7e7d5d122d9f6c02cac0e0d15bef77c7604c",
            ),
        ),
        "validation": (
            Archive(
                "2018/ISIC2018_Task1-2_Validation_Input.zip",
                239_231_159,
                "sha256:0ea920fcfe512d12a6e620b50b50233c059f67b10146e1479c82be58ff15a797",
            ),
            Archive(
                "2018/ISIC2018_Task1_Validation_GroundTruth.zip",
                759_706,
                "sha256:f6911e9c0a64e6d687dd3ca466ca927dd5e82145cb2163b7a1e5b37d7a716285",
            ),
        ),
        "test": (
            Archive(
                "2018/ISIC2018_Task1-2_Test_Input.zip",
                2_370_457_338,
                "sha256:e59ae1f69f4ed16f09db2cb1d76c2a828487b63d28f6ab85997f5616869b127d",
            ),
            Archive(
                "2018/ISIC2018_Task1_Test_GroundTruth.zip",
                9_680_101,
                "sha256:2e8f6edce454a5bdee52485e39f92bd6eddf357e81f39018d05512175238ef82",
            ),
        ),
    },
}


def licence_notice(name: str) -> str:
    """Say whose data it is and on what terms, to be shown before anything is fetched.

    Args:
        name: a dataset.

    Returns:
        A few lines of text.

    Raises:
        ConfigError: unknown dataset.
    """
    known = dataset(name)
    lines = [known.title, f"Licence: {known.licence}", f"Cite: {known.citation}"]
    return "\n".join([*lines, f"Home: {known.home}"] if known.home else lines)


def fetch(
    name: str,
    root: str | Path,
    *,
    splits: Sequence[str] | None = None,
    addresses: Sequence[str] = ADDRESSES,
    progress: Progress = quiet,
) -> list[Path]:
    """Download, verify and unpack a dataset into ``root/name/``.

    What is already unpacked is not fetched again, and a broken download goes on where it stopped.

    Args:
        name: ``isic2017`` or ``isic2018``.
        root: the data folder; made if missing.
        splits: the parts; by default all save the test set, which stays sealed until it is asked for.
        addresses: where to look, in this order.
        progress: called with the file's name, the bytes that are there, and the bytes in all.

    Returns:
        The folders, made now or before.

    Raises:
        ConfigError: unknown dataset or split.
        DataError: the dataset has no public address, too little room, no address answers, a wrong checksum,
            or an archive that cannot be unpacked.
    """
    known = dataset(name)
    if name == "ph2":
        raise DataError(
            f"PH² is given out by its authors through a form at {known.home}, so it cannot be fetched for "
            f"you. Fill it in, unpack the archive to {Path(root) / 'ph2'}, and run `uslnet data check ph2 "
            f"--data {root}`."
        )
    if name not in ARCHIVES:
        raise ConfigError(f"{name} has nothing to fetch; expected one of {', '.join(ARCHIVES)} (or ph2, by a form).")
    parts = known.parts("all") if splits is None else [part for each in splits for part in known.parts(each)]
    base = Path(root) / name
    archives = [archive for part in parts for archive in ARCHIVES[name][part]]
    missing = [archive for archive in archives if not (base / archive.folder).is_dir()]
    # Each archive is deleted once unpacked, so beside everything unpacked there is at most one archive at a
    # time.
    needed = sum(archive.size for archive in missing) + max((archive.size for archive in missing), default=0)
    there = sum(size_of(_part_file(base, archive)) for archive in missing)
    require_space(base, max(needed - there, 0), f"{name} ({', '.join(parts)})")
    with disk_errors(base, name):
        base.mkdir(parents=True, exist_ok=True)
    for archive in missing:
        part = download(archive, base, addresses=addresses, progress=progress)
        unpack(part, base, archive.folder)
        part.unlink()
    return [base / archive.folder for archive in archives]


def _part_file(base: Path, archive: Archive) -> Path:
    return base / (PurePosixPath(archive.file).name + ".part")


def download(archive: Archive, base: Path, *, addresses: Sequence[str] = ADDRESSES, progress: Progress = quiet) -> Path:
    """Fetch one archive and verify it.

    Bytes go to ``<name>.zip.part``; a connection that breaks is taken up where it broke, here or in a later
    call.

    Args:
        archive: what to fetch.
        base: the folder it goes to.
        addresses: where to look, in this order.
        progress: called with the file's name, the bytes that are there, and the bytes in all.

    Returns:
        The verified file, still named ``.part``.

    Raises:
        DataError: no address gives the whole file, its checksum is wrong, or the disk is full.
    """
    part = _part_file(base, archive)
    places = [f"{address}/{archive.file}" for address in addresses]
    download_file(places, part, title=archive.file, size=archive.size, checksum=archive.checksum, progress=progress)
    return part


def unpack(archive: Path, base: Path, folder: str) -> Path:
    """Unpack a zip file to ``base/folder``, which appears only when it is whole.

    Args:
        archive: the zip file.
        base: the folder that gets ``folder``.
        folder: the name of the result; a top folder of this name in the archive is not doubled.

    Returns:
        ``base/folder``.

    Raises:
        DataError: it is no zip file, is damaged, holds a path that leads outside, or does not fit on the
            disk.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            members = [each for each in packed.infolist() if not each.filename.startswith("__MACOSX/")]
            for each in members:
                _refuse_escape(each.filename, archive)
            require_space(base, sum(each.file_size for each in members), f"the unpacked {folder}")
            with disk_errors(base, folder):
                place = Path(tempfile.mkdtemp(prefix=f".{folder}-", dir=base))
                try:
                    packed.extractall(place, members)
                    inner = place / folder if (place / folder).is_dir() else place
                    inner.chmod(0o755)  # mkdtemp's folder is for its maker alone
                    inner.rename(base / folder)
                finally:
                    shutil.rmtree(place, ignore_errors=True)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise DataError(f"{archive} cannot be unpacked: {error}. Delete it and fetch it again.") from error
    return base / folder


def _refuse_escape(name: str, archive: Path) -> None:
    """Refuse a member whose path is absolute, names a drive or climbs out of the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name:
        raise DataError(f"{archive} holds the path {name!r}, which leads outside its folder. It was not unpacked.")
