"""The ablations of runs of another kind: evaluated by chapter 7 first, of synthetic images, or without masks."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

from uslnet_core import pipeline, reproduce
from uslnet_core.contrastive import health
from uslnet_core.reproduce.keep import for_a_page
from uslnet_core.runs import Run
from uslnet_core.stages import peek

ENCODERS = ("simclr", "moco_v2")


def made(run: Run) -> dict[str, str]:
    return {name: stage.manifest.made_at + stage.manifest.key for name, stage in peek(run.folder).items()}


def test_chapter_7_follows_the_maps_that_are_there(tiny, train, lay_out, tmp_path):
    """Evaluating with the profile's own settings neither trains CCAM anew nor drops an encoder."""
    data = lay_out(tmp_path / "data", train=16, validation=6)
    config = tiny("isic2017", saliency={"epochs": 3, "alpha": 0.5})
    config = config.model_copy(update={"encoders": ENCODERS})
    run = Run(tmp_path / "runs" / "isic2017-quick", config, data)
    pipeline.prepare_images(run, "train")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(health, "STUCK", 9.0)
        pipeline.learn_all_features(run)
        train(run)
    plain = Run(run.folder, tiny("isic2017"), data)
    before = made(run)
    stage = pipeline.evaluate(plain)
    assert {name: made(run)[name] for name in before} == before
    parts = [np.load(run.open(f"03-saliency/ccam-{each}/validation") / "maps.npy") for each in ENCODERS]
    fused = np.load(run.open("03-saliency/ccam-fused/validation") / "maps.npy")
    assert np.allclose(fused, np.mean(parts, axis=0), atol=1e-6)
    found = np.load(stage / "predictions.npy")[0]
    assert np.array_equal(found, pipeline.load_maps(run.open("03-saliency/ccam-fused/validation"), 32) > 0.5)
    line = pipeline.line_of(plain, ENCODERS, 1)
    assert line.folder == run.folder and line.config.encoders == ENCODERS
    assert line.config.saliency.alpha == 0.5 and line.config.saliency.epochs == 3, "as it was made"
    pipeline.table_9(line)
    assert {name: made(run)[name] for name in before} == before, "no head was trained again"


def test_synthetic_images_have_no_paper_beside_them(trained_run, tmp_path):
    run = Run(tmp_path / "synthetic-quick", trained_run.config)
    for stage in peek(trained_run.folder).values():
        run.adopt(trained_run.open(stage.name))
    found = reproduce.table_8(reproduce.open_lines(run), complete=False)
    assert not any("paper" in column for column in found.tables["table 8"])


def test_without_masks_there_is_nothing_to_score(tiny, train, lay_out, tmp_path):
    data = lay_out(tmp_path / "data", train=16, validation=6)
    for folder in (data / "isic2017").glob("*GroundTruth"):
        shutil.rmtree(folder)
    run = Run(tmp_path / "runs" / "isic2017-quick", tiny("isic2017"), data)
    pipeline.prepare_images(run, "train")
    train(run)
    before = made(run)
    lines = reproduce.open_lines(run)
    for item, (make, _) in reproduce.ITEMS.items():
        if item != "figure-1":  # it scores nothing
            found = make(lines)  # which would train first
            assert not found.stages and "isic2017 has none for" in found.needs
            assert found.needs in found.table("table 8").iloc[0, 0] and found.needs in found.picture("dice").data
    assert made(run) == before and sorted(path.name for path in run.folder.parent.iterdir()) == [run.folder.name]


def test_commands_are_set_as_code_whole():
    table = pd.DataFrame(
        {"from": ["needs: uslnet weights fetch x, then uslnet reproduce table-9 --seeds 0,1; paper: y"]}
    )
    shown = for_a_page(reproduce.Reproduced({"t": table}), "").tables["t"].iloc[0, 0]
    assert shown == "needs: `uslnet weights fetch x`, then `uslnet reproduce table-9 --seeds 0,1`; paper: y"
