"""Several seeds as one: the mean of their maps, on the same images, beside what each is alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from uslnet_core import pipeline, reproduce
from uslnet_core.runs import Run


@pytest.fixture(scope="module")
def lines(tiny, lay_out, tmp_path_factory):
    root = tmp_path_factory.mktemp("together")
    data = lay_out(root / "data", train=16, validation=6)
    run = Run(root / "runs" / "isic2017-quick", tiny("isic2017"), data)
    pipeline.prepare_images(run, "train")
    return reproduce.open_lines(run, ("simclr",), 1, [0, 1])


def test_an_ensemble_is_the_mean_of_its_members_maps(lines):
    found = reproduce.together(lines)
    stage = pipeline.together(lines, complete=False)
    assert stage is not None and stage.origin == "reused"
    names = [*(f"iteration {k}" for k in range(2)), "student"]
    rows = list(stage.manifest.facts["rows"])
    expected = [f"{name}, {who}" for name in names for who in ("seed 0", "seed 1", "all together")]
    helped = "iteration 1, all together, eight views, compact"
    expected.insert(expected.index("student, seed 0"), helped)
    assert rows == expected
    masks = dict(zip(pd.read_csv(stage / "models.csv")["model"], np.load(stage / "predictions.npy"), strict=True))
    plus = {seed: pipeline.plus_of(line, share=False) for seed, line in lines.items()}
    segmenters = [pipeline.load_segmenter(each.open("05-segmenter/iteration-1")) for each in plus.values()]
    maps = [pipeline.look_over(plus[0], "validation", each) for each in segmenters]
    for seed in (0, 1):
        assert np.array_equal(masks[f"iteration 1, seed {seed}"], maps[seed] > 0.5)
    assert np.array_equal(masks["iteration 1, all together"], np.mean(maps, axis=0, dtype=np.float64) > 0.5)
    assert (maps[0] != maps[1]).any()
    assert "seeds 0, 1 ·" in reproduce.caption(lines, found.stages)  # one table, and two trainings in it
    gains = found.tables["differences"]
    assert list(gains["model"]) == [*(f"{name}, all together" for name in names[:2]), helped, "student, all together"]
    assert list(gains["minus"]) == [
        f"{name}, a seed alone" for name in ("iteration 0", *["iteration 1"] * 2, "student")
    ]
    dice = pd.read_csv(stage / "per_image.csv").query("size != 'native'").groupby("model")["DIC"].mean() * 100
    gain = dice["student, all together"] - (dice["student, seed 0"] + dice["student, seed 1"]) / 2
    assert gains["Dice points"].iloc[-1].replace("−", "-").startswith(f"{gain:+.1f}")


def test_one_seed_is_no_ensemble(lines):
    one = {0: lines[0]}
    assert pipeline.together(one) is None
    assert reproduce.together(one).needs == "uslnet reproduce together --dataset isic2017 --seeds 0,1,2"
