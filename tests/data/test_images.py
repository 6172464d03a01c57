"""Reading images of every kind, and the cache that training reads."""

from __future__ import annotations

import ast
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import uslnet_core.data.images as images_module
from uslnet_core.data import decoding, synthetic
from uslnet_core.data.decoding import decode
from uslnet_core.data.images import ImageSet, ImageSource, as_floats, read, read_image, write_images
from uslnet_core.errors import DataError, RunError


def saved(path: Path, array: np.ndarray, **options) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


# --- every kind of file is read properly --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.BMP", "a.tif", "a.TIFF"])
def test_lossless_colour_comes_back_as_written(tmp_path, picture, name):
    assert np.array_equal(read_image(saved(tmp_path / name, picture)), picture)


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG"])
def test_jpeg_equals_pillow(tmp_path, picture, name):
    path = saved(tmp_path / name, picture, format="JPEG")
    assert np.array_equal(read_image(path), np.asarray(Image.open(path)))


@pytest.mark.parametrize("size", [16, 32, 100])
def test_squeezed_to_a_square_with_antialiasing_as_pillow_does(tmp_path, picture, size):
    path = saved(tmp_path / "a.png", picture)
    expected = np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR)).astype(int)
    found = read_image(path, size)
    assert found.shape == (size, size, 3) and found.dtype == np.uint8
    assert np.abs(found - expected).max() <= 1


def test_antialiasing_averages_stripes(tmp_path):
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    small = read_image(saved(tmp_path / "a.png", stripes), 16)
    assert np.abs(small.astype(int) - 127).max() <= 12  # without antialiasing, 0 or 255


def photograph(path: Path, width: int, height: int) -> Path:
    """Write a JPEG with a lesion, hairs a pixel wide and a camera's noise."""
    rng = np.random.default_rng(0)
    large = np.asarray(Image.fromarray(synthetic.image(3, size=256, seed=0)).resize((width, height))).astype(int)
    large = large + rng.integers(-6, 7, (height, width, 3))
    large[:, rng.integers(0, width, 6)] = 20
    return saved(path, large.clip(0, 255).astype(np.uint8), quality=90)


def pillow(path: Path, size: int) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)).astype(int)


@pytest.mark.parametrize("side", [(600, 450), (1022, 767)])
@pytest.mark.parametrize("size", [32, 128, 224])
def test_jpegs_of_usual_size_are_pillows_however_small_the_square(tmp_path, side, size):
    path = photograph(tmp_path / "a.jpg", *side)
    assert np.abs(read_image(path, size) - pillow(path, size)).max() <= 1


@pytest.mark.parametrize("size", [32, 128, 224])
def test_large_jpegs_are_decoded_small_and_look_the_same(tmp_path, monkeypatch, size):
    path, scales = photograph(tmp_path / "a.jpg", 2400, 1800), []
    real = decoding.to_rgb
    monkeypatch.setattr(decoding, "to_rgb", lambda image, path: scales.append(2400 // image.width) or real(image, path))
    found = read_image(path, size)
    assert scales == [{32: 8, 128: 4, 224: 4}[size]], "twice the final size is kept"
    assert np.abs(found - pillow(path, size)).mean() < 0.5
    assert decode(path, size)[1:] == (2400, 1800), "the size in the file is told"


def test_sixteen_bit_grey_is_scaled(tmp_path):
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    for name in ("a.png", "a.tif"):
        found = read_image(saved(tmp_path / name, values))
        assert np.array_equal(found, np.repeat(np.rint(values / 257)[..., None], 3, axis=2))
        assert found.min() == 0 and found.max() == 255


def test_grey_becomes_colour(tmp_path, picture):
    grey = picture[..., 0]
    assert np.array_equal(read_image(saved(tmp_path / "a.png", grey)), np.repeat(grey[..., None], 3, axis=2))


def test_one_bit_image(tmp_path):
    bits = np.zeros((20, 20), dtype=bool)
    bits[5:] = True
    Image.fromarray(bits).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png")[..., 1], bits * 255)


def test_palette_gives_its_colours(tmp_path, picture):
    image = Image.fromarray(picture).quantize(16)
    image.save(tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").mode == "P"
    assert np.array_equal(read_image(tmp_path / "a.png"), np.asarray(image.convert("RGB")))


def test_palette_with_a_transparent_colour_is_laid_on_white(tmp_path):
    image = Image.new("P", (16, 16), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (0, 0, 8, 16))
    image.save(tmp_path / "a.png", transparency=0)
    found = read_image(tmp_path / "a.png")
    assert found[0, 0].tolist() == [200, 100, 50] and found[0, 15].tolist() == [255, 255, 255]


def test_alpha_is_laid_on_white(tmp_path):
    rgba = np.zeros((16, 16, 4), dtype=np.uint8)
    rgba[..., 0] = 200
    rgba[:, :8, 3] = 255
    rgba[:4, :8, 3] = 128
    found = read_image(saved(tmp_path / "a.png", rgba))
    assert found[10, 0].tolist() == [200, 0, 0]  # opaque
    assert found[10, 12].tolist() == [255, 255, 255]  # transparent
    assert np.abs(found[0, 0].astype(int) - [227, 127, 127]).max() <= 1  # half: (200·128 + 255·127) / 255


def test_grey_with_alpha(tmp_path):
    image = Image.new("LA", (16, 16), (50, 0))
    image.paste((50, 255), (0, 0, 8, 16))
    image.save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png")
    assert found[0, 0].tolist() == [50] * 3 and found[0, 15].tolist() == [255] * 3


def test_cmyk_jpeg(tmp_path):
    Image.new("CMYK", (32, 32), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    assert np.abs(read_image(tmp_path / "a.jpg", 8).astype(int) - [255, 0, 0]).max() <= 4


def test_camera_orientation_is_applied(tmp_path, picture):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it turned by a quarter
    path = saved(tmp_path / "a.png", picture, exif=exif)
    assert np.array_equal(read_image(path), np.rot90(picture, -1))
    write_images([ImageSource("a", path)], tmp_path / "out", 16)
    assert (tmp_path / "out" / "index.csv").read_text().splitlines()[1] == "a,a.png,60,80"


# --- bad files ----------------------------------------------------------------------------------------------


@pytest.fixture
def bad_files(tmp_path, picture) -> dict[str, Path]:
    folder = tmp_path / "bad"
    folder.mkdir()
    whole = saved(folder / "cut.jpg", picture, quality=95)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    cut_png = saved(folder / "cut.png", picture)
    cut_png.write_bytes(cut_png.read_bytes()[: cut_png.stat().st_size // 2])
    (folder / "text.jpg").write_text("this is no picture\n" * 20)
    (folder / "empty.jpg").write_bytes(b"")
    saved(folder / "pixel.png", np.zeros((1, 1, 3), dtype=np.uint8))
    saved(folder / "thin.png", np.zeros((100, 7, 3), dtype=np.uint8))
    saved(folder / "float.tif", np.zeros((16, 16), dtype=np.float32))
    return {path.name: path for path in folder.iterdir()} | {"missing.jpg": folder / "missing.jpg"}


BAD = {
    "cut.jpg": "cut short",
    "cut.png": "cut short",
    "text.jpg": "not an image",
    "empty.jpg": "not an image",
    "pixel.png": "1 × 1 pixels",
    "thin.png": "7 × 100 pixels",
    "float.tif": "32-bit",
    "missing.jpg": "No such image",
}


@pytest.mark.parametrize("size", [None, 16])
@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_named_with_its_fault(bad_files, name, size):
    with pytest.raises(DataError) as caught:
        read_image(bad_files[name], size)
    assert name in str(caught.value) and BAD[name] in str(caught.value)


def test_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(DataError, match="cannot be opened"):
        read_image(tmp_path)


# --- the cache ----------------------------------------------------------------------------------------------


@pytest.fixture
def sources(tmp_path, rng) -> list[ImageSource]:
    folder = tmp_path / "in"
    folder.mkdir()
    made = rng.integers(0, 256, (5, 20, 30, 3), dtype=np.uint8)
    return [ImageSource(f"image{n}", saved(folder / f"image{n}.png", array)) for n, array in enumerate(made)]


@pytest.mark.parametrize("workers", [1, 3])
def test_written_images_are_those_read(tmp_path, sources, workers):
    seen = []
    skipped = write_images(sources, tmp_path / "out", 16, workers=workers, progress=lambda *step: seen.append(step))
    images = ImageSet.open(tmp_path / "out")
    assert skipped == [] and seen == [("images", n, 5) for n in range(1, 6)]
    assert images.ids == tuple(f"image{n}" for n in range(5)) and len(images) == 5 and images.size == 16
    assert np.array_equal(images.images, [read_image(source.path, 16) for source in sources])
    rows = (tmp_path / "out" / "index.csv").read_text().splitlines()
    assert rows[:2] == ["id,file,width,height", "image0,image0.png,30,20"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"images.npy", "index.csv", "skipped.csv"}


def test_memory_map_is_read_only_and_holds_no_mask(tmp_path, sources):
    write_images(sources, tmp_path / "out", 16)
    images = ImageSet.open(tmp_path / "out")
    assert isinstance(images.images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images.images[0] = 0
    assert not [name for name in dir(images) if "mask" in name.lower()]


@pytest.mark.parametrize("indices", [[3, 1], np.array([3, 1]), torch.tensor([3, 1])])
def test_batch(tmp_path, sources, indices):
    write_images(sources, tmp_path / "out", 16)
    images = ImageSet.open(tmp_path / "out")
    batch = images.batch(indices)
    assert batch.shape == (2, 3, 16, 16) and batch.dtype == torch.float32 and batch.is_contiguous()
    expected = images.images[[3, 1]].transpose(0, 3, 1, 2).astype(np.float32) / 255
    assert np.array_equal(batch.numpy(), expected) and 0 <= batch.min() and batch.max() <= 1


def test_stored_pixels_become_the_same_floats_however_they_are_read(tmp_path, sources):
    write_images(sources, tmp_path / "out", 16)
    images = ImageSet.open(tmp_path / "out")
    pixels = read(images, torch.device("cpu"), torch.tensor([4, 0]))
    assert pixels.dtype == torch.uint8 and np.array_equal(pixels.numpy(), images.images[[4, 0]])
    assert torch.equal(as_floats(pixels), images.batch([4, 0]))
    every = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(-1, -1, -1, 3)
    assert torch.equal(as_floats(every)[0, 0].flatten(), torch.arange(256).float() / 255)


def test_one_bad_image_is_left_out_and_told(tmp_path, sources, bad_files):
    some = [*sources[:2], ImageSource("cut", bad_files["cut.jpg"]), *sources[2:]]
    skipped = write_images(some, tmp_path / "out", 16)
    images = ImageSet.open(tmp_path / "out")
    assert [each.id for each in skipped] == ["cut"] and "cut short" in skipped[0].reason
    assert images.ids == tuple(source.id for source in sources)
    assert np.array_equal(images.images[2], read_image(sources[2].path, 16))
    noted = (tmp_path / "out" / "skipped.csv").read_text()
    assert "cut.jpg" in noted and str(tmp_path) not in noted


def test_strict_stops_and_leaves_nothing(tmp_path, sources, bad_files):
    with pytest.raises(DataError, match=r"text\.jpg"):
        write_images([*sources, ImageSource("t", bad_files["text.jpg"])], tmp_path / "out", 16, strict=True)
    assert list((tmp_path / "out").iterdir()) == []


def test_nothing_readable(tmp_path, bad_files):
    with pytest.raises(DataError, match="None of the 2 images"):
        write_images([ImageSource(n, bad_files[n]) for n in ("cut.jpg", "text.jpg")], tmp_path / "out", 16)
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(DataError, match="list is empty"):
        write_images([], tmp_path / "out", 16)


def test_two_images_of_one_id(tmp_path, sources):
    with pytest.raises(DataError, match="'image0'"):
        write_images([*sources, sources[0]], tmp_path / "out", 16)


def test_source_needs_one_origin(tmp_path):
    with pytest.raises(DataError, match="either"):
        ImageSource("a")
    with pytest.raises(DataError, match="either"):
        ImageSource("a", tmp_path, (0, 0))


def test_too_little_room_is_said_before_anything_is_written(tmp_path, sources, disk):
    needed = 5 * 16 * 16 * 3 + 64 * 2**20
    disk(needed - 1)
    with pytest.raises(DataError, match="needed.*free"):
        write_images(sources, tmp_path / "out" / "deeper", 16)
    assert not (tmp_path / "out").exists()
    disk(needed)
    assert write_images(sources, tmp_path / "out" / "deeper", 16) == []


def test_disk_that_fills_up_leaves_the_old_files(tmp_path, sources, request):
    write_images(sources[:1], tmp_path / "out", 16)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    request.getfixturevalue("full_disk")
    with pytest.raises(DataError, match="disk became full"):
        write_images(sources, tmp_path / "out", 16)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
def test_really_full_disk(tmp_path, sources):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "images.npy.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match="disk became full"):
        write_images(sources, tmp_path / "out", 16)
    assert list((tmp_path / "out").iterdir()) == []


def test_folder_without_write_permission(tmp_path, sources, monkeypatch):
    def refuse(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)  # as root, no mode of a folder refuses
    with pytest.raises(DataError, match="Permission denied.*may write"):
        write_images(sources, tmp_path / "out", 16)


def test_file_where_the_folder_should_be(tmp_path, sources):
    (tmp_path / "out").write_text("")
    with pytest.raises(DataError, match="Cannot write images"):
        write_images(sources, tmp_path / "out", 16)


def test_missing_or_damaged_cache_names_the_command(tmp_path, sources):
    with pytest.raises(RunError, match="uslnet run 01"):
        ImageSet.open(tmp_path / "nothing")
    write_images(sources, tmp_path / "out", 16)
    index = tmp_path / "out" / "index.csv"
    index.write_text("".join(index.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(RunError, match="4 ids for 5 images"):
        ImageSet.open(tmp_path / "out")
    (tmp_path / "out" / "images.npy").write_bytes(b"not an array")
    with pytest.raises(RunError, match="damaged"):
        ImageSet.open(tmp_path / "out")


def test_images_module_knows_no_masks():
    tree = ast.parse(Path(images_module.__file__).read_text(encoding="utf-8"))
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    assert imported and not [name for name in imported if "mask" in name]


@pytest.mark.real_data
def test_real_images_are_pillows_and_decoded_fast(isic_root, tmp_path):
    folder = isic_root / "isic2017" / "ISIC-2017_Training_Data"
    found = [ImageSource(path.stem, path) for path in sorted(folder.glob("*.jpg"))[:200]]
    begin = time.perf_counter()
    assert write_images(found, tmp_path / "out", 128) == []
    assert time.perf_counter() - begin < 7.5  # five times the budget of 15 s for 2000 images of 256 pixels
    images = ImageSet.open(tmp_path / "out")
    for position in (0, 99, 199):
        with Image.open(found[position].path) as image:
            pillow = np.asarray(image.convert("RGB").resize((128, 128), Image.Resampling.BILINEAR)).astype(int)
            if image.width * image.height <= decoding.LARGE:  # above that, a smaller scale is decoded
                assert np.abs(images.images[position] - pillow).max() <= 1
