"""Images of one's own: scored where masks lie beside them, and too few of them teach nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from uslnet_core import pipeline
from uslnet_core.config import configure
from uslnet_core.errors import DataError
from uslnet_core.pipeline.own import FEWEST
from uslnet_core.runs import Run


def save(array, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def folder(tmp_path):
    """Four images: one with a mask beside it, one in a folder with another way to name it, one misfit, one without."""
    rng = np.random.default_rng(0)
    for name in ("a.png", "sub/b.png", "c.png", "d.png"):
        save(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8), tmp_path / "in" / name)
    half = np.zeros((20, 30), dtype=np.uint8)
    half[:, :15] = 255
    save(half, tmp_path / "in" / "a_mask.png")
    save(half, tmp_path / "in" / "sub" / "masks" / "b.png")
    save(half[:10], tmp_path / "in" / "c_mask.png")
    third = np.zeros((20, 30), dtype=np.uint8)
    third[:, :10] = 255
    for name in "abcd":
        save(third, tmp_path / "out" / "masks" / f"{name}.png")
    names = [str(each.relative_to(tmp_path / "in")) for _, each in _images(tmp_path / "in")]
    table = pd.DataFrame({"file": names, "mask": [f"masks/{name[-5]}.png" for name in names]})
    return tmp_path, table


def _images(root):
    from uslnet_core.data.layouts import own_images

    return own_images(root)


def test_masks_that_lie_beside_are_held_against_the_predictions(folder):
    place, table = folder
    scores = pipeline.score_files(table, place / "in", place / "out").set_index("file")
    scored = scores[scores["note"] == ""]
    assert len(scored) == 2 and "a.png" in scored.index, "what has no mask is left out"
    assert scored["DIC"].tolist() == pytest.approx([2 * 10 / 25] * 2)
    misfit = scores[scores["note"] != ""]
    assert len(misfit) == 1 and misfit["DIC"].isna().all() and "pixels, its image" in misfit["note"].item()
    lost = pipeline.score_files(table.assign(mask=None), place / "in", place / "out")
    assert lost.empty and "DIC" in lost


def test_results_that_lie_beside_the_images_are_not_their_truth(tmp_path):
    save(np.zeros((20, 30, 3), dtype=np.uint8), tmp_path / "a.png")
    save(np.full((20, 30), 255, dtype=np.uint8), tmp_path / "masks" / "a.png")
    table = pd.DataFrame({"file": ["a.png"], "mask": ["masks/a.png"]})
    assert pipeline.score_files(table, tmp_path, tmp_path).empty, "a prediction held against itself"
    (tmp_path / "out").mkdir()
    assert len(pipeline.score_files(table.assign(mask="../masks/a.png"), tmp_path, tmp_path / "out")) == 1


def test_one_file_has_no_masks_beside_it(folder):
    place, table = folder
    assert pipeline.score_files(table, place / "in" / "a.png", place / "out").empty


def test_a_handful_of_images_is_refused_before_anything_is_learnt(folder):
    place, _ = folder
    run = Run(place / "runs" / "folder-quick", configure(dataset="folder"), place / "in")
    with pytest.raises(DataError, match=f"4 images are too few to learn from: expected {FEWEST}"):
        pipeline.learn_from_images(run)
    assert not (run.folder / "02-contrastive").exists()


def test_a_mask_that_cannot_be_read_is_named_and_the_others_are_scored(folder):
    place, table = folder
    (place / "in" / "a_mask.png").write_text("no image")
    scores = pipeline.score_files(table, place / "in", place / "out").set_index("file")
    assert "a_mask.png" in scores.loc["a.png", "note"] and np.isnan(scores.loc["a.png", "DIC"])
    assert (scores["note"] == "").sum() == 1, "the other one has its score"
