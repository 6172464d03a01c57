"""Fetching against a small server of our own, which breaks, lies and refuses on demand."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from pathlib import Path

import pytest

from uslnet_core.data import fetch as module
from uslnet_core.data.fetch import ADDRESSES, ARCHIVES, Archive, download, fetch, licence_notice, unpack
from uslnet_core.data.registry import DATASETS
from uslnet_core.errors import ConfigError, DataError

FOLDER = "ISIC-2017_Validation_Data"


def zipped(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


CONTENT = zipped(*((f"{FOLDER}/ISIC_000000{n}.jpg", bytes([n]) * 40_000) for n in range(5)))
ARCHIVE = Archive(f"2017/{FOLDER}.zip", len(CONTENT), f"md5:{hashlib.md5(CONTENT).hexdigest()}")


@pytest.fixture
def one_archive(monkeypatch, server):
    """ISIC 2017's validation images, five small files, on the server's ``/a`` and on a mirror, ``/b``."""
    monkeypatch.setitem(module.ARCHIVES["isic2017"], "validation", (ARCHIVE,))
    server.files = {f"/{place}/{ARCHIVE.file}": CONTENT for place in "ab"}
    return [f"{server.address}/a", f"{server.address}/b"]


def get(root: Path, addresses, **options):
    return fetch("isic2017", root, splits=["validation"], addresses=addresses, **options)


def assert_unpacked(folder: Path) -> None:
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert found == {f"ISIC_000000{n}.jpg": bytes([n]) * 40_000 for n in range(5)}


def test_fetched_verified_and_unpacked(tmp_path, server, one_archive):
    steps = []
    folders = get(tmp_path / "data", one_archive, progress=lambda *step: steps.append(step))
    assert folders == [tmp_path / "data" / "isic2017" / FOLDER]
    assert_unpacked(folders[0])
    assert list(folders[0].parent.iterdir()) == folders  # no archive, partial file or temporary folder stays
    assert steps[-1] == (f"{FOLDER}.zip", len(CONTENT), len(CONTENT))
    asked = len(server.asked)
    assert get(tmp_path / "data", one_archive) == folders and len(server.asked) == asked  # not fetched again


def test_broken_connection_is_taken_up_where_it_broke(tmp_path, server, one_archive):
    server.breaks = [70_000, 50_000]
    assert_unpacked(get(tmp_path, one_archive)[0])
    assert [wanted for _, wanted in server.asked] == [None, "bytes=70000-", "bytes=120000-"]


def test_a_later_call_resumes(tmp_path, server, one_archive):
    server.breaks = [70_000, 0, 0]
    with pytest.raises(DataError, match=r"70\.0 kB of about .* are kept.*Run the same command again"):
        get(tmp_path, one_archive)
    assert not (tmp_path / "isic2017" / FOLDER).exists()
    server.asked.clear()
    assert_unpacked(get(tmp_path, one_archive)[0])
    assert [wanted for _, wanted in server.asked] == ["bytes=70000-"]


def test_whole_partial_file_is_only_verified(tmp_path, server, one_archive):
    part = tmp_path / f"{FOLDER}.zip.part"
    part.write_bytes(CONTENT)
    assert download(ARCHIVE, tmp_path, addresses=one_archive).read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_partial_file_that_is_too_long_is_begun_again(tmp_path, server, one_archive):
    (tmp_path / f"{FOLDER}.zip.part").write_bytes(CONTENT + b"more")
    assert download(ARCHIVE, tmp_path, addresses=one_archive).read_bytes() == CONTENT


def test_server_without_ranges_sends_all_again(tmp_path, server, one_archive):
    server.ranges = False
    (tmp_path / f"{FOLDER}.zip.part").write_bytes(CONTENT[:1000])
    assert download(ARCHIVE, tmp_path, addresses=one_archive).read_bytes() == CONTENT


def test_mirror_is_tried_second_and_goes_on_from_the_first(tmp_path, server, one_archive):
    server.breaks = [70_000, 0]
    assert_unpacked(get(tmp_path, one_archive)[0])
    assert [path[:2] for path, _ in server.asked] == ["/a", "/a", "/b"]
    assert server.asked[-1][1] == "bytes=70000-"


def test_missing_at_the_first_address(tmp_path, server, one_archive):
    del server.files[f"/a/{ARCHIVE.file}"]
    assert_unpacked(get(tmp_path, one_archive)[0])


def test_no_address_answers(tmp_path, server, one_archive):
    server.files.clear()
    with pytest.raises(DataError, match=r"/a/.*404.*/b/.*404"):
        get(tmp_path, one_archive)
    with pytest.raises(DataError, match="Could not fetch"):
        get(tmp_path, ["http://127.0.0.1:9"])


def test_wrong_checksum_shows_both_and_keeps_nothing(tmp_path, server, one_archive):
    other = CONTENT[:50_000] + b"changed" + CONTENT[50_007:]
    server.files[f"/a/{ARCHIVE.file}"] = other
    with pytest.raises(DataError) as caught:
        get(tmp_path, one_archive)
    assert hashlib.md5(other).hexdigest() in str(caught.value) and ARCHIVE.checksum[4:] in str(caught.value)
    assert list((tmp_path / "isic2017").iterdir()) == []


def test_sha256_is_verified(tmp_path, server, one_archive):
    good = Archive(ARCHIVE.file, 1, f"sha256:{hashlib.sha256(CONTENT).hexdigest()}")
    assert download(good, tmp_path, addresses=one_archive).is_file()
    with pytest.raises(DataError, match="sha256"):
        download(Archive(ARCHIVE.file, 1, "sha256:" + "0" * 64), tmp_path, addresses=one_archive)


def test_too_little_room_is_said_before_the_first_byte(tmp_path, server, one_archive, disk):
    disk(2 * len(CONTENT) + 64 * 2**20 - 1)
    with pytest.raises(DataError, match="Not enough room.*needed.*free"):
        get(tmp_path, one_archive)
    assert server.asked == [] and list(tmp_path.iterdir()) == []
    disk(2 * len(CONTENT) + 64 * 2**20)
    assert_unpacked(get(tmp_path, one_archive)[0])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
def test_really_full_disk_is_not_taken_for_the_network(tmp_path, server, one_archive):
    (tmp_path / f"{FOLDER}.zip.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match="disk became full"):
        download(ARCHIVE, tmp_path, addresses=one_archive)
    assert len(server.asked) == 1


@pytest.mark.parametrize("name", ["../evil.jpg", "/etc/evil.jpg", "a/../../evil.jpg", "..\\evil.jpg", "C:/evil.jpg"])
def test_paths_that_lead_outside_are_refused(tmp_path, name):
    archive = tmp_path / "a.zip"
    archive.write_bytes(zipped(("good.jpg", b"1"), (name, b"2")))
    base = tmp_path / "base"
    base.mkdir()
    with pytest.raises(DataError, match="outside"):
        unpack(archive, base, "folder")
    assert list(base.iterdir()) == [] and not list(tmp_path.rglob("evil*"))


def test_archive_without_a_top_folder_and_with_leftovers(tmp_path):
    archive = tmp_path / "a.zip"
    archive.write_bytes(zipped(("ISIC_1.jpg", b"1"), ("__MACOSX/._ISIC_1.jpg", b"2")))
    folder = unpack(archive, tmp_path, "folder")
    assert [path.name for path in folder.iterdir()] == ["ISIC_1.jpg"]


def test_damaged_archive_leaves_nothing(tmp_path):
    damaged = bytearray(CONTENT)
    damaged[60_000:60_010] = b"0123456789"
    for content in (b"no zip file", bytes(damaged)):
        (tmp_path / "a.zip").write_bytes(content)
        with pytest.raises(DataError, match="cannot be unpacked"):
            unpack(tmp_path / "a.zip", tmp_path, "folder")
        assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_what_cannot_be_fetched(tmp_path):
    with pytest.raises(DataError, match="through a form at https://www"):
        fetch("ph2", tmp_path)
    for name in ("synthetic", "folder"):
        with pytest.raises(ConfigError, match="nothing to fetch"):
            fetch(name, tmp_path)
    with pytest.raises(ConfigError, match="Did you mean isic2018"):
        fetch("isic2081", tmp_path)


def test_licences():
    assert "CC0" in licence_notice("isic2017") and "Codella" in licence_notice("isic2017")
    assert "NC" in licence_notice("isic2018") and "HAM10000" in licence_notice("isic2018")
    assert "may not be passed on" in licence_notice("ph2")


def test_table_of_archives_fits_the_layouts():
    for name, splits in ARCHIVES.items():
        known = DATASETS[name]
        assert set(splits) == set(known.splits)
        for split, archives in splits.items():
            assert [each.folder for each in archives] == [
                known.images_folder[split],
                known.masks_folder[split],
            ]
            for each in archives:
                assert each.file.startswith(name[-4:] + "/") and each.size > 0
                kind, value = each.checksum.split(":")
                assert re.fullmatch({"md5": "[0-9a-f]{32}", "sha256": "[0-9a-f]{64}"}[kind], value)
    assert len(ADDRESSES) == 2 and all(address.startswith("https://") for address in ADDRESSES)


def test_test_set_is_fetched_only_when_asked_for(tmp_path, server, monkeypatch):
    for split in ("train", "validation", "test"):
        folder = DATASETS["isic2017"].images_folder[split]
        content = zipped((f"{folder}/ISIC_0000000.jpg", split.encode()))
        made = Archive(f"2017/{folder}.zip", len(content), f"md5:{hashlib.md5(content).hexdigest()}")
        monkeypatch.setitem(module.ARCHIVES["isic2017"], split, (made,))
        server.files[f"/{made.file}"] = content
    assert [path.name for path in fetch("isic2017", tmp_path, addresses=[server.address])] == [
        "ISIC-2017_Training_Data",
        "ISIC-2017_Validation_Data",
    ]
    assert not any("Test" in path for path, _ in server.asked)
