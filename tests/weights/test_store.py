"""The folder of checkpoints, fed by a small server of our own: fetched, verified, recorded, enforced."""

from __future__ import annotations

import hashlib
import io
import json
from collections import namedtuple
from dataclasses import replace

import pytest
import torch

from uslnet_core.download import mismatch
from uslnet_core.errors import ConfigError, DataError
from uslnet_core.weights import CHECKPOINTS, CHECKSUMS, check, fetch, load_public, need, store

NAME = "moco_v3_vits"  # no checksum is published for it
FILE = "vit-s-300ep.pth.tar"


def bytes_of(value: float, size: int = 50_000) -> bytes:
    file = io.BytesIO()
    torch.save({"state_dict": {"w": torch.full((size,), value)}}, file)
    return file.getvalue()


CONTENT = bytes_of(1.0)
OTHER = bytes_of(2.0)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "weights"


@pytest.fixture
def publish(monkeypatch, server):
    """Put a file on the server under a checkpoint's name: ``publish("moco_v3_vits", CONTENT, checksum)``."""

    def put(name: str = NAME, content: bytes = CONTENT, checksum: str | None = None) -> None:
        known = CHECKPOINTS[name]
        path = "/some/" + known.url.rsplit("/", 1)[-1]
        monkeypatch.setitem(CHECKPOINTS, name, replace(known, url=server.address + path, checksum=checksum))
        server.files[path] = content

    return put


def files(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_first_fetch_records_and_later_ones_hold_it(folder, publish, server):
    publish()
    steps = []
    found = fetch(NAME, folder, progress=lambda *step: steps.append(step))
    assert (found.state, found.file, found.sha256) == ("recorded now", FILE, SHA256)
    assert (folder / FILE).read_bytes() == CONTENT and files(folder) == sorted([CHECKSUMS, FILE])
    assert json.loads((folder / CHECKSUMS).read_text()) == {FILE: SHA256}
    assert steps[-1] == (FILE, len(CONTENT), len(CONTENT))
    asked = len(server.asked)
    assert fetch(NAME, folder).state == "ok" and len(server.asked) == asked  # not fetched again
    assert need(NAME, folder) == (folder / FILE, SHA256)
    # deleted, and another file has taken its place at the source
    (folder / FILE).unlink()
    publish(content=OTHER)
    with pytest.raises(DataError, match=f"not the file of last time.*{SHA256}.*take {FILE} out of {CHECKSUMS}"):
        fetch(NAME, folder)
    assert files(folder) == [CHECKSUMS]
    (folder / CHECKSUMS).write_text("{}")
    assert fetch(NAME, folder).state == "recorded now"


@pytest.mark.parametrize("prefix", ["sha256:", "sha256-prefix:", "md5-prefix:"])
def test_published_checksums_are_enforced(folder, publish, prefix):
    kind = prefix.rstrip(":").removesuffix("-prefix")
    whole = hashlib.new(kind, CONTENT).hexdigest()
    publish(checksum=prefix + (whole if prefix == "sha256:" else whole[:8]))
    assert "as published" in fetch(NAME, folder).detail
    assert fetch(NAME, folder).state == "ok"
    (folder / FILE).unlink()
    publish(content=OTHER, checksum=prefix + (whole if prefix == "sha256:" else whole[:8]))
    with pytest.raises(DataError, match=f"not the published file: its {kind} is .*{whole[:8]}.*deleted"):
        fetch(NAME, folder)
    assert files(folder) == [CHECKSUMS]


def test_checksums_are_typed(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    sha256, md5 = hashlib.sha256(b"abc").hexdigest(), hashlib.md5(b"abc").hexdigest()
    for right in (f"sha256:{sha256}", f"md5:{md5}", f"sha256-prefix:{sha256[:8]}", f"md5-prefix:{md5[:6]}"):
        assert mismatch(path, right) == ""
    assert mismatch(path, f"sha256:{sha256[:8]}") == f"its sha256 is {sha256}, expected {sha256[:8]}"  # not whole
    assert mismatch(path, f"md5-prefix:{md5[1:7]}") == f"its md5 is {md5}, expected one that begins with {md5[1:7]}"


def test_broken_connection_is_taken_up_where_it_broke(folder, publish, server):
    publish()
    server.breaks = [70_000, 50_000]
    fetch(NAME, folder)
    assert [wanted for _, wanted in server.asked] == [None, "bytes=70000-", "bytes=120000-"]
    assert (folder / FILE).read_bytes() == CONTENT


def test_a_later_call_resumes(folder, publish, server):
    publish()
    server.breaks = [70_000, 0, 0]
    with pytest.raises(DataError, match=rf"Could not fetch {FILE}; 70\.0 kB.*Run the same command again"):
        fetch(NAME, folder)
    assert files(folder) == [f"{FILE}.part"]
    (row,) = check(folder)
    assert row.state == "missing" and "70.0 kB of it are there" in row.detail
    server.breaks.clear()
    assert fetch(NAME, folder).sha256 == SHA256 and server.asked[-1][1] == "bytes=70000-"


def test_a_page_is_not_taken_for_a_checkpoint(folder, publish):
    publish(content=b"<!doctype html><title>Please sign in</title>")
    with pytest.raises(DataError, match="sent no checkpoint, but something that begins with b'<!'"):
        fetch(NAME, folder)
    assert files(folder) == []


def test_not_at_its_address(folder, publish, server):
    publish()
    server.files.clear()
    with pytest.raises(DataError, match="the server answered 404"):
        fetch(NAME, folder)


def test_too_little_room_is_said_before_the_first_byte(folder, publish, server, monkeypatch):
    publish()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**12, 10**12, 10**6))
    with pytest.raises(DataError, match="Not enough room.*MoCo v3"):
        fetch(NAME, folder)
    assert server.asked == [] and not folder.exists()


def test_a_changed_file_is_found_out_before_it_is_used(folder, publish):
    publish()
    fetch(NAME, folder)
    (folder / FILE).write_bytes(OTHER)
    (row,) = check(folder)
    assert row.state == "changed" and SHA256 in row.detail and hashlib.sha256(OTHER).hexdigest() in row.detail
    for use in (need, fetch, lambda name, folder: load_public(name, folder=folder)):
        with pytest.raises(DataError, match="not the checkpoint moco_v3_vits.*recorded at first.*weights fetch"):
            use(NAME, folder)
    assert (folder / FILE).read_bytes() == OTHER, "a user's file is not deleted for them"
    assert json.loads((folder / CHECKSUMS).read_text()) == {FILE: SHA256}


def test_a_file_put_there_by_hand_is_recorded_at_first_use(folder, publish):
    publish(checksum=f"md5-prefix:{hashlib.md5(CONTENT).hexdigest()[:8]}")
    folder.mkdir()
    (folder / FILE).write_bytes(CONTENT)
    assert need(NAME, folder)[1] == SHA256
    assert json.loads((folder / CHECKSUMS).read_text()) == {FILE: SHA256}


def test_check_tells_all_states(folder, publish):
    assert check(folder) == []
    for name, content in {"dino_r50": CONTENT, "dino_vits8": OTHER, NAME: CONTENT, "dino_vits16": OTHER}.items():
        publish(name, content)
        fetch(name, folder)
    (folder / "moco_v2_800ep_pretrain.pth.tar").write_bytes(OTHER)  # not what its checksum says
    (folder / CHECKPOINTS["simclr_r50"].file).write_bytes(OTHER)
    (folder / CHECKPOINTS["dino_vits8"].file).write_bytes(CONTENT)
    (folder / CHECKPOINTS["dino_vits16"].file).unlink()
    (folder / "my own.pth").write_bytes(CONTENT)
    states = {row.name: row.state for row in check(folder)}
    expected = {
        "moco_v2_800": "changed",
        "simclr_r50": "recorded now",
        NAME: "ok",
        "dino_r50": "ok",
        "dino_vits16": "missing",
        "dino_vits8": "changed",
    }
    assert states == expected and list(states) == [name for name in CHECKPOINTS if name in expected]
    assert {row.name: row.state for row in check(folder)} == expected | {"simclr_r50": "ok"}
    assert "my own.pth" not in json.loads((folder / CHECKSUMS).read_text())


@pytest.mark.parametrize("text", ["{", "[]", '{"x": 3}'])
def test_a_damaged_record_is_no_licence_to_begin_a_new_one(folder, text):
    folder.mkdir()
    (folder / CHECKSUMS).write_text(text)
    for use in (lambda: check(folder), lambda: need("dino_r50", folder)):
        with pytest.raises(DataError, match=f"{CHECKSUMS} cannot be read.*delete it"):
            use()
    assert (folder / CHECKSUMS).read_text() == text


def test_missing_says_how_to_get_it(folder):
    with pytest.raises(
        DataError, match="dino_r50 is not in .*dino_resnet50_pretrain.pth.*uslnet weights fetch dino_r50"
    ):
        need("dino_r50", folder)
    for use in (need, fetch):
        with pytest.raises(ConfigError, match="Unknown checkpoint 'dino'"):
            use("dino", folder)


def test_a_fetched_checkpoint_loads_by_name(folder, publish, save, originals):
    path = save("dino", "vit_s16")
    publish("dino_vits16", path.read_bytes())
    fetch("dino_vits16", folder)
    network, report = load_public("dino_vits16", folder=folder, backbone="vit_s16")
    assert report.source == "dino_vits16" and report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert torch.equal(network.vit.norm.weight, originals["vit_s16"].norm.weight)
    # a right layout, but another network than the name says
    publish("dino_vits8")
    (folder / CHECKPOINTS["dino_vits16"].file).rename(folder / CHECKPOINTS["dino_vits8"].file)
    with pytest.raises(DataError, match="holds a vit_s16, but dino_vits8 is a vit_s8"):
        load_public("dino_vits8", folder=folder)
    (folder / CHECKPOINTS["dino_vits8"].file).unlink()


def test_a_folder_that_cannot_be_written_serves_what_is_published(folder, publish, monkeypatch):
    """A teacher's shared folder: with a published checksum nothing must be recorded; without one it must."""

    def refused(*arguments):
        raise DataError("Cannot write checksums.json")

    folder.mkdir()
    (folder / FILE).write_bytes(CONTENT)
    monkeypatch.setattr(store, "_record", refused)
    publish(checksum=f"md5-prefix:{hashlib.md5(CONTENT).hexdigest()[:8]}")
    assert need(NAME, folder)[1] == SHA256 and not (folder / CHECKSUMS).exists()
    publish(checksum=None)
    with pytest.raises(DataError, match="Cannot write"):
        need(NAME, folder)
