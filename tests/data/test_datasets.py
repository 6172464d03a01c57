"""Finding images and masks in the official layouts and in any folder, and checking what lies there."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import uslnet_core
from uslnet_core.data import synthetic
from uslnet_core.data.datasets import DATASETS, check, dataset, image_sources, overlap
from uslnet_core.data.images import ImageSet, ImageSource, write_images
from uslnet_core.data.masks import MaskSet, mask_sources, write_masks
from uslnet_core.errors import ConfigError, DataError

ISIC2017 = [f"ISIC-2017_Training_Data/ISIC_000000{n}.jpg" for n in range(3)] + [
    f"ISIC-2017_Training_Part1_GroundTruth/ISIC_000000{n}_segmentation.png" for n in range(3)
]


def names(sources):
    return [(source.id, source.path.name) for source in sources]


# --- registry -----------------------------------------------------------------------------------------------


def test_registry_is_complete():
    assert list(DATASETS) == ["synthetic", "isic2017", "isic2018", "ph2", "folder"]
    for known in DATASETS.values():
        assert known.title and known.licence and known.citation
        assert known.train_split in known.splits and known.score_split in known.splits
        assert known.score_split != "test"


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"'isic2107'.*Did you mean isic2017"):
        dataset("isic2107")
    with pytest.raises(ConfigError, match="expected one of synthetic"):
        image_sources("xyz", None, "train")
    with pytest.raises(ConfigError, match="ph2 has no split 'train'.*all"):
        image_sources("ph2", None, "train")


def test_all_leaves_the_test_set_sealed(tmp_path, lay):
    parts = ("Training", "Validation", "Test_v2")
    lay(tmp_path, *(f"ISIC-2017_{part}_Data/ISIC_000000{n}.jpg" for n, part in enumerate(parts)))
    assert [each.id for each in image_sources("isic2017", tmp_path, "all")] == [
        "ISIC_0000000",
        "ISIC_0000001",
    ]
    assert [each.id for each in image_sources("isic2017", tmp_path, "test")] == ["ISIC_0000002"]
    assert list(check("isic2017", tmp_path).splits) == ["train", "validation"]


# --- official layouts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", ["", "isic2017/"])
def test_isic2017(tmp_path, lay, inside):
    lay(tmp_path, *(inside + name for name in ISIC2017))
    lay(tmp_path / inside, "ISIC-2017_Training_Data/ISIC_0000000_superpixels.png")
    (tmp_path / inside / "ISIC-2017_Training_Data" / "._ISIC_0000000.jpg").write_bytes(b"left by an unpacking tool")
    found = image_sources("isic2017", tmp_path, "train")
    assert names(found) == [(f"ISIC_000000{n}", f"ISIC_000000{n}.jpg") for n in range(3)]
    masks = mask_sources("isic2017", str(tmp_path), "train")
    assert names(masks) == [(f"ISIC_000000{n}", f"ISIC_000000{n}_segmentation.png") for n in range(3)]
    assert image_sources("isic2017", str(tmp_path), "train", count=2) == found[:2]


def test_isic2018_and_an_archive_unpacked_into_a_folder_of_its_own_name(tmp_path, lay):
    part = "ISIC2018_Task1-2_Validation_Input"
    lay(tmp_path, f"{part}/{part}/ISIC_0012255.JPG")
    lay(tmp_path, "ISIC2018_Task1_Validation_GroundTruth/ISIC_0012255_segmentation.PNG")
    assert names(image_sources("isic2018", tmp_path, "validation")) == [("ISIC_0012255", "ISIC_0012255.JPG")]
    assert [each.id for each in mask_sources("isic2018", tmp_path, "validation")] == ["ISIC_0012255"]


@pytest.mark.parametrize(
    "inside",
    ["", "PH2 Dataset images/", "PH2Dataset/PH2 Dataset images/", "ph2/PH2Dataset/PH2 Dataset images/"],
)
def test_ph2(tmp_path, lay, inside):
    for name in ("IMD003", "IMD002"):
        folder = f"{inside}{name}/{name}_"
        lay(tmp_path, f"{folder}Dermoscopic_Image/{name}.bmp", f"{folder}lesion/{name}_lesion.bmp")
        lay(tmp_path, f"{folder}roi/{name}_R1_Label1.bmp")
    assert names(image_sources("ph2", tmp_path, "all")) == [
        ("IMD002", "IMD002.bmp"),
        ("IMD003", "IMD003.bmp"),
    ]
    found = mask_sources("ph2", tmp_path, "all")
    assert names(found) == [("IMD002", "IMD002_lesion.bmp"), ("IMD003", "IMD003_lesion.bmp")]
    assert check("ph2", tmp_path).ok


# --- any folder ---------------------------------------------------------------------------------------------


def test_folder_takes_flat_images_first_then_nested_ones(tmp_path, lay):
    lay(tmp_path, "b.png", "a.JPG", "deep/er/c.tif", "deep/a.bmp")
    (tmp_path / "notes.txt").write_text("no image")
    found = image_sources("folder", tmp_path, "all")
    assert [each.id for each in found] == ["a", "b", "deep__a", "deep__er__c"]
    assert mask_sources("folder", tmp_path, "all") == []


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a.jpg", "a_segmentation.png"),
        ("a.jpg", "A_MASK.png"),
        ("a.jpg", "masks/a.png"),
        ("a.jpg", "masks/a_mask.bmp"),
        ("images/a.jpg", "masks/a.png"),
        ("one/a.jpg", "masks/one/a.png"),
        ("one/a.jpg", "one/masks/a_segmentation.png"),
    ],
)
def test_folder_finds_masks_and_never_takes_them_as_images(tmp_path, lay, image, mask):
    lay(tmp_path, image, mask)
    found = image_sources("folder", tmp_path, "all")
    assert [each.path for each in found] == [tmp_path / image]
    assert [(each.id, each.path) for each in mask_sources("folder", tmp_path, "all")] == [
        (found[0].id, tmp_path / mask)
    ]


def test_masks_beside_the_images_folder(tmp_path, lay):
    lay(tmp_path, "images/a.jpg", "masks/a.png")
    assert [each.path for each in mask_sources("folder", tmp_path / "images", "all")] == [tmp_path / "masks" / "a.png"]


def test_folder_with_ambiguous_files(tmp_path, lay):
    lay(tmp_path / "ids", "a.jpg", "a.png")
    with pytest.raises(DataError, match=r"a\.jpg and a\.png.*share the id 'a'.*a_mask\.png"):
        image_sources("folder", tmp_path / "ids", "all")
    lay(tmp_path / "masks of two", "one/a.jpg", "two/a.jpg", "masks/a.png")
    with pytest.raises(DataError, match="'one__a' and 'two__a'"):
        mask_sources("folder", tmp_path / "masks of two", "all")


# --- missing and empty --------------------------------------------------------------------------------------


def test_missing_folders_say_what_is_expected(tmp_path):
    with pytest.raises(DataError, match="none was given.*--data DIR"):
        image_sources("isic2017", None, "train")
    with pytest.raises(DataError, match="No such folder.*uslnet data fetch isic2017"):
        image_sources("isic2017", tmp_path / "nowhere", "train")
    with pytest.raises(DataError, match=r"ISIC-2017_Test_v2_Data/ISIC_0000000\.jpg.*uslnet data fetch isic2017"):
        image_sources("isic2017", tmp_path, "test")
    with pytest.raises(DataError, match=r"IMD002/IMD002_Dermoscopic_Image/IMD002\.bmp.*uslnet data fetch ph2"):
        image_sources("ph2", tmp_path, "all")
    with pytest.raises(DataError, match="No such folder"):
        image_sources("folder", tmp_path / "nowhere", "all")


def test_empty_folders(tmp_path, lay):
    with pytest.raises(DataError, match="holds no image"):
        image_sources("folder", tmp_path, "all")
    (tmp_path / "ISIC-2017_Training_Data").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        image_sources("isic2017", tmp_path, "train")
    (tmp_path / "IMD002").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        image_sources("ph2", tmp_path, "all")
    lay(tmp_path / "only masks", "a_mask.png", "masks/b.png")
    with pytest.raises(DataError, match="2 files there are named as masks"):
        image_sources("folder", tmp_path / "only masks", "all")


@pytest.mark.parametrize("count", [0, -1])
def test_count_must_be_positive(tmp_path, lay, count):
    lay(tmp_path, *ISIC2017)
    with pytest.raises(ConfigError, match=f"count is {count}"):
        image_sources("isic2017", tmp_path, "train", count=count)


# --- synthetic ----------------------------------------------------------------------------------------------


def test_synthetic_images_and_masks_come_through_the_same_functions(tmp_path):
    sources = image_sources("synthetic", None, "validation", count=3, seed=5)
    assert [each.id for each in sources] == synthetic.ids("validation", 3)
    write_images(sources, tmp_path / "images", 32)
    images = ImageSet.open(tmp_path / "images")
    index = synthetic.index_of(sources[1].id)
    assert np.array_equal(images.images[1], synthetic.image(index, size=32, seed=5))
    truth = mask_sources("synthetic", None, "validation", count=3, seed=5)
    assert write_masks(truth, tmp_path / "images" / "index.csv", tmp_path / "masks", 32) == []
    masks = MaskSet.open(tmp_path / "masks")
    assert masks.ids == images.ids and masks.has_mask.all()
    assert np.array_equal(masks.select([images.ids[1]])[0], synthetic.mask(index, size=32, seed=5))


def test_synthetic_splits_share_nothing():
    train, validation = (
        {each.id for each in image_sources("synthetic", None, part)} for part in ("train", "validation")
    )
    assert train and validation and not train & validation


# --- check --------------------------------------------------------------------------------------------------


def test_check_of_a_sound_set(tmp_path, lay):
    lay(tmp_path, *ISIC2017)
    steps = []
    report = check("isic2017", tmp_path, splits=["train"], progress=lambda *step: steps.append(step))
    train = report.splits["train"]
    assert report.ok and report.problems == [] and steps[-1] == ("isic2017 train", 6, 6)
    assert (train.images, train.masks, train.expected) == (3, 3, 2000)
    assert train.widths == (80, 80, 80) and train.heights == (60, 60, 60)
    assert report.notes == ["train: 3 images; the official set has 2000."]


def test_check_names_every_fault(tmp_path, lay):
    lay(tmp_path, *ISIC2017, "ISIC-2017_Training_Data/ISIC_0000003.jpg")
    lay(tmp_path, "ISIC-2017_Training_Part1_GroundTruth/ISIC_0000009_segmentation.png")
    lay(tmp_path, "ISIC-2017_Training_Part1_GroundTruth/ISIC_0000001_segmentation.png", size=(40, 30))
    cut = tmp_path / "ISIC-2017_Training_Data" / "ISIC_0000000.jpg"
    cut.write_bytes(cut.read_bytes()[:1000])
    (tmp_path / "ISIC-2017_Training_Part1_GroundTruth" / "ISIC_0000002_segmentation.png").write_text("text")
    report = check("isic2017", tmp_path)
    train = report.splits["train"]
    assert not report.ok and "validation" in report.absent
    assert [each.id for each in train.unreadable] == ["ISIC_0000000", "ISIC_0000002"]
    assert train.masks_without_image == ["ISIC_0000009"] and train.images_without_mask == ["ISIC_0000003"]
    assert [each.id for each in train.size_mismatches] == ["ISIC_0000001"]
    assert len(report.problems) == 4 and str(tmp_path) not in " ".join(report.problems)
    assert "ISIC_0000001_segmentation.png is 40 × 30 pixels, but its image is 80 × 60." in " ".join(report.problems)
    assert any("1 images have no mask" in note for note in report.notes)


def test_check_measures_sizes(tmp_path, lay):
    for name, size in (("a.jpg", (20, 90)), ("b.jpg", (700, 50)), ("c.jpg", (40, 60))):
        lay(tmp_path, name, size=size)
    part = check("folder", tmp_path).splits["all"]
    assert part.widths == (20, 40, 700) and part.heights == (50, 60, 90)


def test_check_wants_the_parts_that_are_asked_for(tmp_path, lay):
    with pytest.raises(DataError, match="isic2017"):
        check("isic2017", tmp_path)
    lay(tmp_path, *ISIC2017)
    with pytest.raises(DataError, match="Validation"):
        check("isic2017", tmp_path, splits=["train", "validation"])


def test_check_of_synthetic_data_needs_no_folder():
    report = check("synthetic", None)
    assert report.ok and report.splits["train"].images == report.splits["train"].masks > 0


def test_overlap():
    first = [ImageSource(key, synthetic=(0, 0)) for key in ("ISIC_0000001", "mine__isic_0000002", "IMD002")]
    second = [ImageSource(key, synthetic=(0, 0)) for key in ("ISIC_0000002", "ISIC_0000003", "IMD002")]
    assert overlap(first, second) == {"ISIC_0000002"}


@pytest.mark.parametrize("inside", ["", "isic2017"])
def test_check_tells_images_shared_with_another_set(tmp_path, lay, inside):
    lay(tmp_path / "isic2017", *ISIC2017)
    lay(tmp_path / "isic2018", "ISIC2018_Task1-2_Training_Input/ISIC_0000001.jpg")
    report = check("isic2017", tmp_path / inside)
    assert report.overlaps == {"isic2017 train, isic2018 train": {"ISIC_0000001"}} and report.ok
    assert any("1 images are in both" in note and "leaks" in note for note in report.notes)


def test_finding_images_does_not_load_the_masks_module():
    def imported(module: str) -> set[str]:
        """Modules of the project that importing one loads; imports inside functions do not count."""
        body = ast.parse(Path(find_spec(module).origin).read_text(encoding="utf-8")).body
        named = [node for node in body if isinstance(node, ast.ImportFrom) and node.module]
        tried = {node.module for node in named} | {f"{n.module}.{name.name}" for n in named for name in n.names}
        return {name for name in tried if name.startswith("uslnet_core.") and is_module(name)}

    def is_module(name: str) -> bool:
        path = Path(uslnet_core.__file__).parent.parent.joinpath(*name.split("."))
        return path.with_suffix(".py").is_file() or path.is_dir()

    def closure(module: str) -> set[str]:
        seen, todo = set(), {module}
        while todo:
            seen |= (new := todo - seen)
            todo = {name for each in new for name in imported(each)} - seen
        return seen

    assert {"uslnet_core.data.images", "uslnet_core.data.layouts"} <= closure("uslnet_core.data.datasets")
    assert "uslnet_core.data.masks" not in closure("uslnet_core.data.datasets")
    assert "uslnet_core.data.masks" in closure("uslnet_core.pipeline")  # so the search does find it


# --- real data ----------------------------------------------------------------------------------------------


@pytest.mark.real_data
def test_real_isic2017(isic_root, tmp_path):
    train, validation = (image_sources("isic2017", isic_root, part) for part in ("train", "validation"))
    assert (len(train), len(validation)) == (2000, 150) and not overlap(train, validation)
    report = check("isic2017", isic_root, splits=["validation"])
    part = report.splits["validation"]
    assert report.ok and part.images == part.masks == 150 and not part.images_without_mask
    few = image_sources("isic2017", isic_root, "validation", count=5)
    write_images(few, tmp_path / "images", 64, strict=True)
    truth = mask_sources("isic2017", isic_root, "validation")
    assert write_masks(truth, tmp_path / "images" / "index.csv", tmp_path / "masks", 64, strict=True) == []
    masks = MaskSet.open(tmp_path / "masks")
    with Image.open(truth[0].path) as image:
        share = (np.asarray(image) > 128).mean()
    assert masks.has_mask.all() and abs(masks.masks[0].mean() - share) < 0.01
