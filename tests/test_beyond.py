"""Past the paper: each step is a row of one table, made from what the run has, and nothing of it reads a mask."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from uslnet_core import pipeline, profiles
from uslnet_core.config import checked
from uslnet_core.data.images import ImageSet
from uslnet_core.errors import DataError, RunError
from uslnet_core.labels import select_component
from uslnet_core.pipeline import beyond, student, training
from uslnet_core.pipeline.looks import answer_of
from uslnet_core.pipeline.student import taught
from uslnet_core.profiles import METHODS, changes_of
from uslnet_core.reproduce.teaching import labels_known, labels_table, teaching_curves
from uslnet_core.runs import Run
from uslnet_core.saliency import appearance
from uslnet_core.stages import peek
from uslnet_core.uncertainty import UncertaintyModule

ROWS = [
    "CCAM",
    "colour clusters",
    "both",
    "both, appearance on whole images",
    "iteration 0",
    "iteration 0, one piece",
    *(f"iteration 0, {name}" for name in beyond.LOOKS),
    "iteration 1",
    f"iteration 1, {beyond.EVERYTHING}",
    "student",
    "student, second look",
]


@pytest.fixture(scope="module")
def run(tiny, train, tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("beyond") / "synthetic-quick", tiny())
    pipeline.prepare_images(run, "train")
    train(run)
    return run


def test_every_step_has_its_row_and_is_what_it_says(run):
    before = {name: stage.manifest.key for name, stage in peek(run.folder).items()}
    assert pipeline.steps(run, complete=False) is None
    stage = pipeline.steps(run)
    assert list(stage.manifest.facts["rows"]) == ROWS
    masks = dict(zip(pd.read_csv(stage / "models.csv")["model"], np.load(stage / "predictions.npy"), strict=True))
    there = peek(run.folder.with_name("synthetic-quick~plus"))
    names = ("ccam-simclr", "colour_clusters", "blend-ccam-simclr+colour_clusters")
    ccam, colour, both = (pipeline.load_maps(there[f"03-saliency/{name}/validation"], 32) for name in names)
    assert np.allclose(both, (ccam + colour) / 2, atol=1e-6)
    assert np.array_equal(masks["both"], both > 0.5) and np.array_equal(masks["colour clusters"], colour > 0.5)
    images = ImageSet.open(run.open("01-data/images/validation").folder)
    seen = appearance(images.batch(range(len(images))), torch.from_numpy(both)).numpy()
    assert np.array_equal(masks["both, appearance on whole images"], seen > 0.5)
    rules = run.config.uncertainty.model_copy(update={"low": 0.4, "high": 0.6})
    assert np.array_equal(
        masks["iteration 0, one piece"], select_component(masks["iteration 0"].astype(np.float32), 0.5, rules)
    )
    assert {name: made.manifest.key for name, made in peek(run.folder).items() if name in before} == before
    assert pipeline.steps(run, complete=False).manifest == stage.manifest


def test_later_iterations_learn_from_two_looks_at_finer_images(run):
    pipeline.steps(run)
    plus = pipeline.plus_of(run)
    size, images = run.config.images.size, len(pipeline.load_images(run))
    fine = ImageSet.open(plus.open("01-data/fine-images/train").folder)
    stage = plus.open("05-segmenter/iteration-1")
    assert "01-data/fine-images/train" in stage.manifest.inputs and stage.manifest.settings["look"]["cut"] == 0.25
    labels, keep = pipeline.load_labels(stage)
    finer = np.load(stage / "fine-labels.npy")
    assert labels.shape == (images, size, size) and finer.shape == (images, fine.size, fine.size)
    assert set(np.unique(finer)) <= {0, 1, 2} and keep.shape == (images,)
    before = pipeline.load_segmenter(plus.open("05-segmenter/iteration-0"))
    seen = pipeline.look_over(beyond.looking(plus, twice=True), "train", before)
    again = UncertaintyModule(**plus.config.uncertainty.model_dump())(torch.from_numpy(seen))
    assert np.array_equal(labels, (again.label * 2).byte().numpy()) and np.array_equal(keep, again.keep.numpy())
    middle = finer.reshape(images, size, 2, size, 2).transpose(0, 1, 3, 2, 4).reshape(images, size, size, 4)
    assert ((middle == labels[..., None]).mean()) > 0.8, "the same, finer"
    assert "look" not in plus.open("05-segmenter/iteration-0").manifest.settings


def test_labels_say_how_sure_they_are_and_how_far_they_agree(run):
    pipeline.steps(run)
    plus = pipeline.plus_of(run)
    first, later = pipeline.agreement(plus)
    assert set(first) == {"kept", "certain"} and set(later) == {"kept", "certain", "agreement"}
    assert all(0 <= value <= 1 for row in (first, later) for value in row.values())
    labels = [pipeline.load_labels(plus.open(name))[0] == 2 for name in ("04-labels", "05-segmenter/iteration-1")]
    both, either = (labels[0] & labels[1]).sum((1, 2)), labels[0].sum((1, 2)) + labels[1].sum((1, 2))
    dice = [1.0 if not n else 2 * m / n for m, n in zip(both, either, strict=True)]
    assert later["agreement"] == pytest.approx(np.mean(dice))


def test_how_right_labels_are_is_counted_beside_what_is_known_without_a_mask(run):
    stage = pipeline.steps(run)
    known = labels_known({0: run}, {0: stage})
    assert known["iteration"].tolist() == [0, 1]
    plus = pipeline.plus_of(run)
    labels, _ = pipeline.load_labels(plus.open("05-segmenter/iteration-1"))
    truth = pipeline.load_masks(run, "train").select(list(pipeline.load_images(run).ids))
    shares = [
        (each == 2 * mask)[each != 1].mean() for each, mask in zip(labels, truth, strict=True) if (each != 1).any()
    ]
    assert known["right, of the certain"].iloc[1] == pytest.approx(np.mean(shares))
    assert labels_table(known)["agreement"].tolist()[0] == "–" and len(teaching_curves(known).axes[0].lines) == 3


def test_the_method_by_its_name_is_the_same_as_the_variation(run):
    """`--method usl-plus` makes what `steps` makes: stage by stage with the same keys."""
    pipeline.steps(run)
    fields = run.config.model_dump() | {"method": "usl-plus"}
    for name, changes in changes_of("usl-plus", "quick").items():
        fields[name] = fields[name] | changes
    named = Run(run.folder.with_name("synthetic-quick-usl-plus"), checked(fields))
    pipeline.prepare_images(named, "train")
    pipeline.learn_all_features(named)
    pipeline.make_saliency(named)
    pipeline.make_labels(named)
    made = [pipeline.train_iteration(named, k) for k in range(2)]
    assert all(stage.origin.startswith("shared from") for stage in made)
    evaluated = pd.read_csv(pipeline.evaluate(named) / "per_image.csv").query("model == 'Model 5_1'")
    steps = pd.read_csv(pipeline.steps(run) / "per_image.csv").query("model == 'iteration 1'")
    assert np.allclose(evaluated["DIC"], steps["DIC"])


def test_nothing_that_is_trained_for_it_reads_a_mask(run):
    pipeline.steps(run)
    for name, stage in peek(run.folder.with_name("synthetic-quick~plus")).items():
        assert not any("masks" in read for read in stage.manifest.inputs) or name.startswith("tables"), name


def test_fine_images_are_the_same_images(run):
    pipeline.prepare_images(run, "validation")
    fine = ImageSet.open(pipeline.prepare_fine_images(run, "validation").folder)
    images = ImageSet.open(run.open("01-data/images/validation").folder)
    assert fine.size == 2 * images.size and fine.ids == images.ids
    halved = torch.nn.functional.avg_pool2d(fine.batch(range(4)), 2)
    assert (halved - images.batch(range(4))).abs().mean() < 0.05


def test_images_that_changed_since_are_told(tiny, lay_out, tmp_path):
    data = lay_out(tmp_path / "data", train=4, validation=3)
    run = Run(tmp_path / "runs" / "isic2017-quick", tiny("isic2017"), data)
    pipeline.prepare_images(run, "validation")
    next(iter(sorted((data / "isic2017").rglob("*Validation_Data*/*.jpg")))).unlink()
    with pytest.raises(DataError, match="The validation images of isic2017-quick have changed since"):
        pipeline.prepare_fine_images(run, "validation")


def test_a_file_of_the_same_name_that_changed_is_told(tiny, lay_out, tmp_path):
    data = lay_out(tmp_path / "data", train=4, validation=3)
    run = Run(tmp_path / "runs" / "isic2017-quick", tiny("isic2017"), data)
    pipeline.prepare_images(run, "validation")
    first = next(iter(sorted((data / "isic2017").rglob("*Validation_Data*/*.jpg"))))
    Image.new("RGB", (50, 40)).save(first)
    with pytest.raises(DataError, match=f"{first.stem}.*uslnet run 01 --dataset isic2017"):
        pipeline.prepare_fine_images(run, "validation")


def test_a_copy_of_the_files_is_no_change(tiny, lay_out, tmp_path):
    data = lay_out(tmp_path / "data", train=4, validation=3)
    run = Run(tmp_path / "runs" / "isic2017-quick", tiny("isic2017"), data)
    pipeline.prepare_images(run, "validation")
    for file in (data / "isic2017").rglob("*.jpg"):
        os.utime(file, (1e9, 1e9))
    fine = ImageSet.open(pipeline.prepare_fine_images(run, "validation").folder)
    assert fine.ids == ImageSet.open(run.open("01-data/images/validation").folder).ids


def test_some_of_the_images_are_some_of_the_fine_ones(tiny, lay_out, tmp_path):
    """`-p count=…` is chapter 1's alone: later chapters do not know of it."""
    data = lay_out(tmp_path / "data", train=8, validation=3)
    folder = tmp_path / "runs" / "isic2017-quick"
    few = pipeline.prepare_images(Run(folder, tiny("isic2017", images={"count": 5}), data), "train")
    fine = pipeline.prepare_fine_images(Run(folder, tiny("isic2017", images={"count": None}), data), "train")
    assert ImageSet.open(fine.folder).ids == ImageSet.open(few.folder).ids and len(ImageSet.open(fine.folder)) == 5


def test_every_part_is_a_row_and_changes_its_look_alone(run):
    assert pipeline.ablations(run).manifest.facts["rows"].keys() == set(beyond.QUICK_PARTS)
    stage = pipeline.ablations(run, complete=False)
    assert stage.origin == "reused"
    masks = dict(zip(pd.read_csv(stage / "models.csv")["model"], np.load(stage / "predictions.npy"), strict=True))
    steps = pipeline.steps(run)
    whole = dict(zip(pd.read_csv(steps / "models.csv")["model"], np.load(steps / "predictions.npy"), strict=True))
    assert np.array_equal(masks["as settled"], whole["iteration 1"])
    assert np.array_equal(masks[beyond.EVERYTHING], whole[f"iteration 1, {beyond.EVERYTHING}"])
    others = [name for name in masks if name not in ("as settled", "holes filled")]
    assert all((masks[name] != masks["as settled"]).any() for name in others)
    assert (masks["holes filled"] >= masks["as settled"]).all()


def test_the_student_learns_what_is_seen_at_two_looks_and_is_small(run, tmp_path):
    pipeline.steps(run)
    plus = pipeline.plus_of(run)
    stage = plus.open("08-student")
    assert (stage / "segmenter.safetensors").stat().st_size < 5e6
    student = pipeline.load_student(stage)
    assert all(value.dtype == torch.float32 for value in student.parameters())
    teacher, images = plus.open("05-segmenter/iteration-1"), pipeline.load_images(plus)
    shown = taught(plus, "train", teacher, len(images), images.size)
    seen = pipeline.look_over(beyond.looking(plus, twice=True), "train", pipeline.load_segmenter(teacher))
    assert np.array_equal(shown, (255 * seen).round().astype(np.uint8)) and (shown > 127).any()
    elsewhere = Run(tmp_path / plus.folder.name, plus.config)
    for name, made in plus.whole().items():
        if not name.startswith(("08-", "tables/")):
            elsewhere.adopt(made)
    again = pipeline.load_student(pipeline.train_student(elsewhere))
    for one, other in zip(student.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), "the same seed, the same lesson"
    history = pd.read_csv(stage / "history.csv")
    assert len(history) == stage.manifest.settings["epochs"] and np.isfinite(history["loss"]).all()


def test_what_a_run_hands_out_looks_once_or_as_it_is_configured(run, cpu, monkeypatch):
    pipeline.steps(run)
    plus = beyond.looking(pipeline.plus_of(run), twice=True)
    predictor, stage = pipeline.last_predictor(plus.folder, cpu)
    assert stage.name == "05-segmenter/iteration-1" and predictor.look is None
    assert pipeline.last_predictor(run.folder, cpu)[0].look is None
    told = stage.manifest.config["look"] | {"twice": True}
    monkeypatch.setitem(stage.manifest.config, "look", told)
    monkeypatch.setattr(training, "last_segmenter", lambda folder: (predictor.model, stage))
    predictor, _ = pipeline.last_predictor(plus.folder, cpu)
    fine = ImageSet.open(pipeline.prepare_fine_images(plus, "validation").folder)
    seen = pipeline.look_over(plus, "validation", pipeline.load_segmenter(stage))
    found = predictor.probability(np.array(fine.images[0]))
    assert found.shape == (fine.size, fine.size)
    small = found.reshape(seen.shape[1], 2, -1, 2).mean((1, 3))
    assert ((small > 0.5) == (seen[0] > 0.5)).mean() > 0.9


@pytest.mark.parametrize(
    ("agreements", "chosen"),
    [([0.8, 0.96], 1), ([0.8, 0.9], 2), ([0.97, 0.9], 0), ([], 0), ([0.95], 0), ([0.949], 1)],
)
def test_where_to_stop_is_before_labels_that_say_nothing_new(agreements, chosen):
    rows = [{"kept": 1.0, "certain": 0.9}, *({"kept": 1.0, "certain": 1.0, "agreement": each} for each in agreements)]
    assert pipeline.where_to_stop(rows) == chosen


def test_every_part_can_be_built(run, cpu):
    """The rows that quick leaves out, too: each looks at two images."""
    pipeline.steps(run)
    plus = pipeline.plus_of(run)
    model = pipeline.load_segmenter(plus.open("05-segmenter/iteration-1"))
    images = ImageSet.open(plus.open("01-data/images/validation").folder).batch(range(2))
    for name, changes in beyond.PARTS.items():
        config = beyond.looking(plus, **changes).config
        answer = answer_of(config, model, cpu)
        assert (answer is None) == (name == "as settled")
        if answer is not None:
            found = answer(images, images)
            assert found.shape == (2, *images.shape[2:]) and 0 <= found.min() <= found.max() <= 1, name


def test_terms_of_one_look_are_handed_out_as_they_are_scored(run, cpu):
    plus = beyond.looking(pipeline.plus_of(run), filled=True, compact=1 / 32)
    model = pipeline.load_segmenter(plus.open("05-segmenter/iteration-1"))
    images = ImageSet.open(plus.open("01-data/images/validation").folder)
    scored = pipeline.look_over(plus, "validation", model)
    batch = images.batch(range(len(images)))
    assert np.allclose(answer_of(plus.config, model, cpu)(batch, batch).numpy(), scored, atol=1e-5)
    assert (scored != pipeline.look_over(beyond.looking(plus, filled=False, compact=0.0), "validation", model)).any()


def test_a_run_of_an_older_lesson_is_not_taken_for_a_newer(run, monkeypatch):
    pipeline.steps(run)
    assert pipeline.steps(run, complete=False) is not None
    changed = {"usl-plus": METHODS["usl-plus"] | {"look": {"teach": True, "cut": 0.5}}}
    monkeypatch.setattr(profiles, "METHODS", changed)
    assert pipeline.steps(run, complete=False) is None


def test_the_student_hangs_on_all_that_it_learns_from(run):
    wanted = student.taught_by(beyond.plus_of(run).config)
    for changes in ({"widen": 3.0}, {"colour": 0.0}, {"appearance": False}, {"cut": 0.5}, {"filled": True}):
        for teach in (True, False):
            varied = beyond.looking(beyond.plus_of(run), **changes, teach=teach)
            assert student.taught_by(varied.config) != wanted, changes
    assert student.taught_by(beyond.looking(beyond.plus_of(run), teach=False, twice=True).config) == wanted


def test_what_is_missing_is_made_by_the_command_that_is_told(run):
    plus = pipeline.plus_of(run)
    with pytest.raises(RunError, match="uslnet reproduce steps"):
        plus.open("05-segmenter/iteration-7")
