"""Segmenting files: every size and kind, good among bad, whole or not at all."""

from __future__ import annotations

import errno
import threading
import time
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import ndimage

from uslnet_core import inference
from uslnet_core.ahead import at_most
from uslnet_core.encoder import Encoder
from uslnet_core.errors import DataError, RunError
from uslnet_core.inference import COLUMNS, Predictor, find_images, segment_files, unique_name, write_whole
from uslnet_core.mask_report import OUTLINE, draw_overlay, warn
from uslnet_core.pipeline import last_segmenter
from uslnet_core.segmenter import Segmenter, predict


@pytest.fixture(scope="module")
def predictor(cpu, pictures) -> Predictor:
    torch.manual_seed(0)
    model = Segmenter(Encoder("resnet18"), width=8).eval()
    with torch.no_grad():  # so that there is lesion and skin
        model.readout.bias -= model(pictures.batch(range(16))).median()
    return Predictor(model, 32, cpu)


@pytest.fixture(scope="module")
def picture(pictures):
    """An image of any size: ``picture(width, height)``."""

    def make(width: int = 50, height: int = 40, number: int = 0) -> Image.Image:
        return Image.fromarray(np.array(pictures.images[number])).resize((width, height))

    return make


def mask_of(out: Path, row: pd.Series) -> np.ndarray:
    return np.asarray(Image.open(out / row["mask"]))


def everything(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def cut(path: Path, picture: Image.Image) -> Path:
    """A JPEG that ends halfway."""
    picture.resize((200, 200)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


# --- good files ------------------------------------------------------------------------------------------------------


def test_masks_have_each_images_own_size(tmp_path, predictor, picture):
    sizes = [(8, 8), (33, 17), (17, 33), (101, 99), (640, 9), (64, 64)]
    for number, size in enumerate(sizes):
        picture(*size, number).save(tmp_path / f"{number}.png")
    table = segment_files([tmp_path], tmp_path / "out", predictor)
    assert list(table.columns) == COLUMNS
    assert list(zip(table["width"], table["height"], strict=True)) == sizes
    for size, (_, row) in zip(sizes, table.iterrows(), strict=True):
        mask = mask_of(tmp_path / "out", row)
        assert mask.shape == size[::-1] and mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 255}
        assert row["area_pixels"] == (mask == 255).sum()
        assert row["area_share"] == pytest.approx((mask == 255).mean(), abs=1e-5)
        assert Image.open(tmp_path / "out" / row["overlay"]).size == size
    assert table["area_share"].nunique() > 1, "the test's model must tell images apart"
    assert pd.read_csv(tmp_path / "out" / "segmentation.csv").shape == (6, len(COLUMNS))


def sixteen_bits(path: Path, picture: Image.Image) -> None:
    grey = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(path)


KINDS = {
    "grey.png": lambda path, picture: picture.convert("L").save(path),
    "deep.png": sixteen_bits,
    "deep.tif": sixteen_bits,
    "palette.png": lambda path, picture: picture.convert("P").save(path),
    "alpha.png": lambda path, picture: picture.convert("RGBA").save(path),
    "bits.bmp": lambda path, picture: picture.convert("1").save(path),
    "cmyk.jpg": lambda path, picture: picture.convert("CMYK").save(path),
    "UPPER.JPG": lambda path, picture: picture.save(path),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_image_is_read(tmp_path, predictor, picture, name):
    KINDS[name](tmp_path / name, picture(50, 40))
    table = segment_files([tmp_path / name], tmp_path / "out", predictor)
    assert mask_of(tmp_path / "out", table.iloc[0]).shape == (40, 50)
    assert not str(table["warning"].iloc[0]).startswith("not segmented")


def test_grey_in_8_and_16_bits_give_the_same_mask(tmp_path, predictor, picture):
    KINDS["grey.png"](tmp_path / "a.png", picture())
    KINDS["deep.png"](tmp_path / "b.png", picture())
    table = segment_files([tmp_path], tmp_path / "out", predictor)
    first, second = (mask_of(tmp_path / "out", row) for _, row in table.iterrows())
    assert np.array_equal(first, second)


def test_at_the_models_own_size_it_is_its_prediction(predictor, pictures, cpu):
    expected = predict(predictor.model, pictures, cpu)
    for image, probability in zip(pictures.images, expected, strict=True):
        assert np.abs(predictor.probability(np.array(image)) - probability).max() < 1e-5


def test_a_higher_threshold_finds_less(tmp_path, predictor, picture):
    picture().save(tmp_path / "a.png")
    areas = []
    middle = float(np.median(predictor.probability(np.asarray(picture()))))
    for threshold in (0.0, middle, 1.0):
        strict = Predictor(predictor.model, predictor.size, predictor.fabric, threshold)
        areas.append(segment_files([tmp_path / "a.png"], tmp_path / f"out{threshold}", strict)["area_share"].iloc[0])
    assert areas[0] == 1.0 > areas[1] > areas[2] == 0.0


def test_the_same_names_in_other_folders_do_not_meet(tmp_path, predictor, picture):
    for number, name in enumerate(["a/x.png", "b/x.png", "b/x.jpg", "a_x.png", "b/X.BMP"]):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(30 + number, 20).save(path)
    table = segment_files([tmp_path / "in"], tmp_path / "out", predictor)
    assert len(table) == 5 and len({m.lower() for m in table["mask"]}) == 5
    assert len(everything(tmp_path / "out" / "masks")) == len(everything(tmp_path / "out" / "overlays")) == 5
    for _, row in table.iterrows():
        size = Image.open(tmp_path / "in" / row["file"]).size
        assert mask_of(tmp_path / "out", row).shape == size[::-1]


def test_files_and_folders_together_each_once(tmp_path, picture):
    for name in ("b.png", "a.jpg", "sub/c.tif", "notes.txt", "a_superpixels.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x") if name.endswith("txt") else picture().save(tmp_path / name)
    found = find_images([tmp_path / "b.png", tmp_path])
    assert [str(name) for _, name in found] == ["b.png", "a.jpg", str(Path("sub/c.tif"))]


def test_masks_beside_the_images_and_hidden_files_are_no_images(tmp_path, picture):
    for name in ("a.png", "a_segmentation.png", "b_mask.png", "IMD_lesion.bmp", "._a.png", ".hidden/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture().save(tmp_path / name)
    assert [str(name) for _, name in find_images([tmp_path])] == ["a.png"]


def test_a_folder_of_masks_is_not_segmented_unless_it_is_named(tmp_path, picture):
    for name in ("a.png", "Masks/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture().save(tmp_path / name)
    assert [name.as_posix() for _, name in find_images([tmp_path])] == ["a.png"]
    assert [name.as_posix() for _, name in find_images([tmp_path / "Masks"])] == ["a.png"]


def test_a_file_that_is_named_is_taken_whatever_its_name(tmp_path, picture):
    picture().save(tmp_path / "my_mask.png")
    assert len(find_images([tmp_path / "my_mask.png"])) == 1


def test_its_own_results_are_not_segmented_the_second_time(tmp_path, predictor, picture):
    picture().save(tmp_path / "a.png")
    first = segment_files([tmp_path], tmp_path / "out", predictor)
    second = segment_files([tmp_path], tmp_path / "out", predictor)
    assert list(second["file"]) == list(first["file"]) == ["a.png"]
    inside = [segment_files([tmp_path / "out", tmp_path / "a.png"], tmp_path / "out", predictor) for _ in range(2)]
    assert [list(table["file"]) for table in inside] == [["a.png"]] * 2


# --- bad files -------------------------------------------------------------------------------------------------------


def test_one_bad_file_among_good_ones_is_listed_and_left_out(tmp_path, predictor, picture):
    picture().save(tmp_path / "a.png")
    cut(tmp_path / "b.jpg", picture())
    (tmp_path / "c.jpg").write_text("no picture")
    picture(1, 1).save(tmp_path / "d.png")
    picture().save(tmp_path / "e.png")
    out = tmp_path / "out"
    calls = []
    table = segment_files([tmp_path], out, predictor, progress=lambda *call: calls.append(call))
    assert list(table["file"]) == ["a.png", "b.jpg", "c.jpg", "d.png", "e.png"]
    assert list(table["mask"].notna()) == [True, False, False, False, True]
    for row, reason in ((1, "cut short"), (2, "not an image"), (3, "1 × 1 pixels")):
        assert table["warning"][row].startswith("not segmented") and reason in table["warning"][row]
    assert everything(out) == [
        "gallery-1.html",
        "masks/a.png",
        "masks/e.png",
        "overlays/a.jpg",
        "overlays/e.jpg",
        "segmentation.csv",
    ]
    assert calls == [("segmenting", k, 5) for k in range(1, 6)]


def test_the_table_names_no_ones_folders(tmp_path, predictor, picture):
    picture().save(tmp_path / "a.png")
    cut(tmp_path / "b.jpg", picture())
    segment_files([tmp_path], tmp_path / "out", predictor)
    assert str(tmp_path) not in (tmp_path / "out" / "segmentation.csv").read_text()


def test_strict_stops_at_the_first_bad_file(tmp_path, predictor, picture):
    picture().save(tmp_path / "a.png")
    cut(tmp_path / "b.jpg", picture())
    with pytest.raises(DataError, match="b.jpg is damaged or cut short"):
        segment_files([tmp_path], tmp_path / "out", predictor, strict=True)
    assert everything(tmp_path / "out") == ["masks/a.png", "overlays/a.jpg", "segmentation.csv"]


def test_only_bad_files_is_an_error_and_writes_nothing(tmp_path, predictor):
    (tmp_path / "a.jpg").write_text("no picture")
    with pytest.raises(DataError, match="None of the 1 files could be read. The first: not segmented"):
        segment_files([tmp_path], tmp_path / "out", predictor)
    assert not (tmp_path / "out").exists()


def test_an_empty_folder(tmp_path, predictor):
    with pytest.raises(DataError, match="No image in .*Expected files ending in .bmp .jpeg .jpg"):
        segment_files([tmp_path], tmp_path / "out", predictor)
    assert not (tmp_path / "out").exists()


def test_a_path_that_is_not_there(tmp_path, predictor, picture):
    picture().save(tmp_path / "a.png")
    with pytest.raises(DataError, match="gone.png does not exist"):
        segment_files([tmp_path / "a.png", tmp_path / "gone.png"], tmp_path / "out", predictor)
    assert not (tmp_path / "out").exists()


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_what_cannot_be_written_is_said_and_nothing_half_stays(tmp_path, number):
    def fails(path: Path) -> None:
        path.write_text("half")
        raise OSError(number, "the system says no")

    (tmp_path / "a.png").write_text("before")
    with pytest.raises(DataError, match="a.png could not be written .the system says no.*--out"):
        write_whole(tmp_path / "a.png", fails)
    assert everything(tmp_path) == ["a.png"] and (tmp_path / "a.png").read_text() == "before"


def test_a_bug_while_writing_leaves_nothing_half_either(tmp_path):
    def fails(path: Path) -> None:
        path.write_text("half")
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        write_whole(tmp_path / "a.png", fails)
    assert everything(tmp_path) == []


def test_out_is_a_file(tmp_path, predictor, picture):
    picture().save(tmp_path / "a.png")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(DataError, match="could not be written"):
        segment_files([tmp_path / "a.png"], tmp_path / "out", predictor)


def test_masks_of_others_are_not_overwritten(tmp_path, predictor, picture):
    picture().save(tmp_path / "a.png")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.png").write_bytes(b"an expert's")
    with pytest.raises(DataError, match="Choose another --out"):
        segment_files([tmp_path / "a.png"], tmp_path, predictor)
    assert (tmp_path / "masks" / "a.png").read_bytes() == b"an expert's"


def test_a_full_disk_halfway_leaves_whole_files_only(tmp_path, predictor, picture, monkeypatch):
    for name in "abc":
        picture().save(tmp_path / f"{name}.png")
    real, calls = inference.write_whole, []

    def full(target, write):
        calls.append(target)
        if len(calls) == 5:  # room for the table, two files of a, one of b

            def write(path):
                path.write_bytes(b"half")
                raise OSError(errno.ENOSPC, "No space left on device")

        real(target, write)

    monkeypatch.setattr(inference, "write_whole", full)
    with pytest.raises(DataError, match="No space left"):
        segment_files([tmp_path], tmp_path / "out", predictor, workers=1)
    assert everything(tmp_path / "out") == ["masks/a.png", "overlays/a.jpg", "overlays/b.jpg", "segmentation.csv"]
    assert list(pd.read_csv(tmp_path / "out" / "segmentation.csv")["file"]) == ["a.png"]


@pytest.mark.parametrize("failing", [1, 4, 7])
def test_a_full_disk_with_many_threads_leaves_no_mask_that_the_table_does_not_list(
    tmp_path, predictor, picture, monkeypatch, failing
):
    for name in "abcdefgh":
        picture().save(tmp_path / f"{name}.png")
    real = inference.write_whole

    def full(target, write):
        def fails(path):
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

        real(target, fails if target.name == f"{'abcdefgh'[failing]}.png" else write)

    monkeypatch.setattr(inference, "write_whole", full)
    with pytest.raises(DataError, match="No space left"):
        segment_files([tmp_path], tmp_path / "out", predictor, workers=4)
    masks = [path.stem for path in (tmp_path / "out").glob("masks/*")]
    listed = pd.read_csv(tmp_path / "out" / "segmentation.csv")["file"].tolist()
    assert listed == [f"{name}.png" for name in sorted(masks)] and "abcdefgh"[failing] not in masks
    assert not list((tmp_path / "out").rglob(".*")), "nothing half, and no room kept"


# --- overlapped ------------------------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path, picture) -> Path:
    """Twelve images of many sizes, the sixth of them broken."""
    for number in range(12):
        picture(40 + 7 * number, 90 - 5 * number, number).save(tmp_path / f"{number:02d}.png")
    cut(tmp_path / "05.jpg", picture())
    (tmp_path / "05.png").unlink()
    return tmp_path


@pytest.mark.parametrize("workers", [1, 4])
def test_overlapped_gives_what_one_after_the_other_gives(many, predictor, workers):
    table = segment_files([many], many / "out", predictor, workers=workers)
    assert [name[:2] for name in table["file"]] == [f"{number:02d}" for number in range(12)]
    assert list(table.index[table["mask"].isna()]) == [5]
    for _, row in table.dropna(subset=["mask"]).iterrows():
        image = np.asarray(Image.open(many / row["file"]))
        mask = predictor.probability(image) > predictor.threshold
        assert np.array_equal(mask_of(many / "out", row), mask * np.uint8(255))
        assert row["pieces"] == ndimage.label(mask, np.ones((3, 3)))[1]
        draw_overlay(image, mask).save(many / "alone.jpg", quality=90)
        assert (many / "out" / row["overlay"]).read_bytes() == (many / "alone.jpg").read_bytes()


def test_strict_stops_in_the_middle_and_lists_what_came_before(many, predictor):
    with pytest.raises(DataError, match="05.jpg is damaged or cut short"):
        segment_files([many], many / "out", predictor, strict=True, workers=4)
    listed = list(pd.read_csv(many / "out" / "segmentation.csv")["file"])
    assert listed == [f"{number:02d}.png" for number in range(5)]
    assert len(everything(many / "out")) == 2 * 5 + 1


def test_control_c_in_prediction_leaves_the_table_of_what_was_done(many, predictor):
    calls = []

    def look(small, fine):
        calls.append(small)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return torch.sigmoid(predictor.model(small))

    with pytest.raises(KeyboardInterrupt):
        segment_files([many], many / "out", replace(predictor, look=look), workers=2)
    table = pd.read_csv(many / "out" / "segmentation.csv")
    assert [name[:2] for name in table["file"]] == [f"{number:02d}" for number in range(9)]
    masks = [Path(mask).name for mask in table["mask"].dropna()]
    assert [path.name for path in sorted((many / "out" / "masks").iterdir())] == masks and len(masks) == 8


def test_few_decoded_images_are_held_at_a_time(many, predictor, monkeypatch):
    held, most, lock, real = set(), [0], threading.Lock(), inference.read_image

    class Counted(np.ndarray):
        """An image that can be watched until it is let go."""

    def read(file):
        image = real(file).view(Counted)
        with lock:
            held.add(file)
            most[0] = max(most[0], len(held))
        weakref.finalize(image, held.discard, file)
        return image

    def slow(small, fine):
        time.sleep(0.02)
        return torch.sigmoid(predictor.model(small))

    monkeypatch.setattr(inference, "read_image", read)
    segment_files([many], many / "out", replace(predictor, look=slow), workers=1)
    assert 1 < most[0] <= at_most(1) < 11 and not held


def test_unique_names():
    taken: set[str] = set()
    names = [unique_name(Path(p), taken) for p in ("x.png", "X.jpg", "a/x.png", "a_x.png", "x.tar.png")]
    assert names == ["x", "X_2", "a_x", "a_x_2", "x.tar"]


# --- the warning column ----------------------------------------------------------------------------------------------


def blob(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros((100, 100), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "pieces", "uncertain", "expected"),
    [
        (blob(30, 60, 30, 60), 1, 0.0, ""),
        (blob(0, 0, 0, 0), 0, 0.9, "no lesion found"),
        (blob(0, 100, 0, 95), 1, 0.0, "covers almost the whole image; touches the border"),
        (blob(50, 52, 50, 52), 1, 0.0, "very small"),
        (blob(0, 30, 0, 30), 1, 0.0, "touches the border"),
        (blob(0, 30, 50, 53), 1, 0.0, ""),  # three pixels of the rim
        (blob(30, 60, 30, 60), 3, 0.2, "3 pieces; uncertain"),
    ],
)
def test_what_makes_a_mask_doubtful(mask, pieces, uncertain, expected):
    assert warn(mask, pieces, uncertain) == expected


@pytest.mark.parametrize("side", [16, 64, 256, 399, 400, 900])
def test_an_overlay_is_its_image_with_a_line(side):
    image = np.full((side, side, 3), 180, np.uint8)
    mask = np.zeros((side, side), bool)
    mask[side // 4 : side // 2, side // 4 : side // 2] = True
    picture = np.asarray(draw_overlay(image, mask))
    changed = (picture != image).any(-1)
    assert (picture == OUTLINE).all(-1).any() and 0 < changed.mean() < 0.5
    assert not changed[side * 3 // 4 :].any() and (side < 64 or changed.mean() < 0.15)


def test_overlays_show_the_outline_and_are_kept_small():
    image = np.full((1500, 3000, 3), 77, dtype=np.uint8)
    mask = np.zeros((1500, 3000), dtype=bool)
    mask[500:1000, 1000:2000] = True
    before = image.copy()
    picture = np.asarray(draw_overlay(image, mask))
    assert picture.shape == (512, 1024, 3) and np.array_equal(image, before)
    blue = (picture == OUTLINE).all(-1)
    assert blue[171:341, 341].all() and blue[171, 341:680].all(), "the outline lies on the mask's edge"
    assert (picture[:150] == 77).all() and (picture[200:300, 400:600] == 77).all(), "skin and lesion stay as they are"
    empty = np.asarray(draw_overlay(image, mask & False))
    assert (empty == 77).all()


# --- from a run ------------------------------------------------------------------------------------------------------


def test_a_trained_run_hands_out_its_last_segmenter(trained_run, cpu, tmp_path, picture):
    model, stage = last_segmenter(trained_run.folder)
    assert stage.name == "05-segmenter/iteration-1" and not model.training
    picture().save(tmp_path / "a.png")
    segment_files([tmp_path / "a.png"], tmp_path / "out", Predictor(model, 32, cpu))
    assert everything(tmp_path / "out") == ["gallery-1.html", "masks/a.png", "overlays/a.jpg", "segmentation.csv"]


def test_a_run_without_a_segmenter(tmp_path):
    with pytest.raises(RunError, match="nothing is not there. Train one first: uslnet book"):
        last_segmenter(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="empty holds no trained segmenter"):
        last_segmenter(tmp_path / "empty")
