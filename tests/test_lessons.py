"""Other lessons: each row is trained on what its name says, and shares what its change leaves as it is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from uslnet_core import pipeline, reproduce
from uslnet_core.book import made_by
from uslnet_core.cli_reproduce import BEYOND
from uslnet_core.data.images import ImageSet
from uslnet_core.pipeline import lessons
from uslnet_core.runs import Run
from uslnet_core.stages import notebook_of
from uslnet_core.uncertainty import UncertaintyModule

TRAINED = lessons.QUICK
NAMES = [*lessons.SOURCES, *lessons.RULES, *lessons.LATER]


@pytest.fixture(scope="module")
def run(tiny, train, tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("lessons") / "synthetic-quick", tiny())
    pipeline.prepare_images(run, "train")
    train(run)
    pipeline.steps(run)
    return run


def test_quick_trains_some_and_scores_them_beside_what_they_vary(run):
    stage = pipeline.other_lessons(run)
    assert list(stage.manifest.facts["rows"]) == ["iteration 0", *lessons.QUICK, "iteration 1"]
    lines = {run.config.seed: run}
    tables = reproduce.lessons(lines).tables
    gains, scores = tables["differences"], tables["scores"]
    assert list(scores) == ["model", "epochs", "Dice", "Dice, pooled", "Jaccard", "Jaccard, pooled"]
    told = pd.read_csv(stage / "summary.csv", dtype={"size": str}).query("size != 'native'")
    told = (100 * told.pivot(index="model", columns="metric", values="mean")).map("{:.1f}".format)
    for row in scores.itertuples(index=False):
        assert row.Dice.startswith(told.loc[row.model, "DIC"]) and row.Jaccard.startswith(told.loc[row.model, "JAC"])
    assert dict(gains[["model", "minus"]].to_numpy()) == dict.fromkeys(lessons.QUICK, "iteration 0")
    masks = dict(zip(pd.read_csv(stage / "models.csv")["model"], np.load(stage / "predictions.npy"), strict=True))
    steps = pipeline.steps(run)
    known = dict(zip(pd.read_csv(steps / "models.csv")["model"], np.load(steps / "predictions.npy"), strict=True))
    assert all(np.array_equal(masks[name], known[name]) for name in ("iteration 0", "iteration 1"))
    assert pipeline.other_lessons(run, complete=False).manifest == stage.manifest


@pytest.fixture
def asked(run, monkeypatch):
    """What would be trained for every row, by its folder's label: the run, and which iteration."""
    trained = {}

    def train(varied: Run, iteration: int) -> None:
        trained[varied.folder.name.rpartition("~")[2]] = (varied, iteration)

    monkeypatch.setattr(lessons, "QUICK", NAMES)
    monkeypatch.setattr(lessons, "train_iteration", train)
    monkeypatch.setattr(lessons, "make_saliency", lambda varied: None)
    monkeypatch.setattr(lessons, "make_labels", lambda varied: None)
    monkeypatch.setattr(lessons, "looked", lambda name, *_: name)
    monkeypatch.setattr(lessons, "score_models", lambda run, table, split, models: models)
    rows = pipeline.other_lessons(run)
    return rows, trained


def test_every_lesson_changes_what_it_says_and_nothing_else(run, asked):
    rows, trained = asked
    first = [*lessons.SOURCES, *lessons.RULES]
    assert rows == ["iteration 0", *first, "iteration 1", *lessons.LATER]
    usual = pipeline.plus_of(run).config.model_dump()
    wanted = {name: {"saliency": changes} for name, changes in lessons.SOURCES.items()}
    wanted |= {name: {"uncertainty": changes} for name, changes in lessons.RULES.items()} | lessons.LATER
    for name, changes in wanted.items():
        varied, iteration = trained[lessons.label_of(name)]
        assert iteration == (name in lessons.LATER)
        fields, differ = varied.config.model_dump(), {}
        for section, values in usual.items():
            if fields[section] != values:
                differ[section] = {k: v for k, v in fields[section].items() if v != values[k]}
        assert differ == changes, name


def test_what_is_the_same_is_shared_and_what_is_not_is_not(run, asked):
    _, trained = asked
    theirs = {name: stage.manifest.fingerprint for name, stage in pipeline.plus_of(run).whole().items()}
    for name in set(NAMES) - set(TRAINED):  # those have made the rest of their own
        varied, _ = trained[lessons.label_of(name)]
        own = {each: stage.manifest.fingerprint for each, stage in varied.whole().items()}
        assert own and all(theirs[each] == value for each, value in own.items())
        assert ("03-saliency/main" in own) == (name not in lessons.SOURCES)
        assert ("04-labels" in own) == ("05-segmenter/iteration-0" in own) == (name in lessons.LATER)
        assert "05-segmenter/iteration-1" not in own and "08-student" not in own


def test_two_teachers_leave_out_what_they_disagree_on(run, monkeypatch):
    plus = pipeline.plus_of(run)
    first, second = (plus.open(f"05-segmenter/iteration-{k}") for k in (0, 1))
    teachers = iter((first, second))
    monkeypatch.setattr(Run, "open", with_teachers(Run.open, teachers))
    trained = []
    monkeypatch.setattr(lessons, "train_iteration", lambda varied, k: trained.append((varied, k)))
    varied, _ = lessons.two_teachers(plus, complete=True)
    assert trained == [(varied, 0)] and varied.config.uncertainty == plus.config.uncertainty
    images = ImageSet.open(plus.folder / "01-data" / "images" / "train")
    maps = []
    for each in (first, second):
        with torch.no_grad():
            maps.append(torch.sigmoid(pipeline.load_segmenter(each)(images.batch(range(len(images))))).numpy())
    rules = UncertaintyModule(**plus.config.uncertainty.model_dump())
    expected = (rules(torch.from_numpy((maps[0].astype(np.float64) + maps[1]) / 2).float()).label * 2).byte().numpy()
    labels, _ = pipeline.load_labels(varied.folder / "04-labels")
    assert (labels == expected).mean() > 0.99


def with_teachers(open_stage, teachers):
    """Give the segmenters at hand for those of the two variations."""

    def opened(self: Run, name: str):
        alone = self.folder.name.endswith(("~ccam-alone", "~colour-clusters-alone"))
        return next(teachers) if alone and name == "05-segmenter/iteration-0" else open_stage(self, name)

    return opened


def test_without_its_steps_nothing_is_scored(tiny, train, tmp_path):
    run = Run(tmp_path / "synthetic-quick", tiny())
    pipeline.prepare_images(run, "train")
    train(run)
    assert pipeline.other_lessons(run, complete=False) is None


def test_what_goes_past_the_paper_is_known_as_chapter_15_s(run):
    tables = {
        f"tables/{item}/validation" for item in BEYOND if item != "failures"
    }  # which is chapter 13's, and no stage
    alone = {"tables/together/validation", "tables/larger/validation"}  # commands of their own
    assert made_by(run, "15") == tables - alone and {notebook_of(each) for each in tables} == {"15"}
    assert {item for item, (_, chapter) in reproduce.ITEMS.items() if chapter in ("13", "15")} == set(BEYOND)
