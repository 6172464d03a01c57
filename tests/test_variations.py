"""A run is taken apart as it is; its variations follow it; nothing of another seed or of other encoders slips in."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from uslnet_core import pipeline, reproduce
from uslnet_core.contrastive import health
from uslnet_core.errors import ConfigError, RunError
from uslnet_core.pipeline.ablations import maps_of
from uslnet_core.pipeline.variants import as_made, as_refined, follows
from uslnet_core.runs import Run
from uslnet_core.saliency import upsample
from uslnet_core.stages import base_seed

TWO = ("simclr", "moco_v2")
FIRST = "05-segmenter/iteration-0"
LENIENT = {"low": 0.05, "high": 0.1, "min_area": 0.0, "exclusion": 1.0}  # keeps what hardly trained networks give


@pytest.fixture(autouse=True, scope="module")
def lenient():
    """A few steps teach MoCo nothing, which is no matter here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(health, "STUCK", 9.0)
        yield


@pytest.fixture(scope="module")
def made(tiny, train, lay_out, tmp_path_factory):
    """A run on files laid out as ISIC-2017, trained with one encoder for two iterations."""
    root = tmp_path_factory.mktemp("variations")
    data = lay_out(root / "data", train=16, validation=6)
    run = Run(root / "runs" / "isic2017-quick", tiny("isic2017", uncertainty=LENIENT), data)
    pipeline.prepare_images(run, "train")
    train(run)
    return run


@pytest.fixture
def run(made, tmp_path):
    """A copy of it, to be changed."""
    folder = tmp_path / "runs" / made.folder.name
    shutil.copytree(made.folder, folder)
    return Run(folder, made.config, made.data)


def changed(run: Run, tiny, **sections) -> Run:
    sections["uncertainty"] = LENIENT | sections.get("uncertainty", {})
    return Run(run.folder, tiny("isic2017", **sections), run.data)


def test_a_variation_follows_a_run_that_was_changed(run, tiny):
    line = pipeline.line_of(run, TWO, 1)
    pipeline.complete(line, 0)
    assert line.open("04-labels").manifest.settings["uncertainty"]["high"] == 0.1
    pipeline.make_labels(changed(run, tiny, uncertainty={"high": 0.2}))
    line = pipeline.line_of(run, TWO, 1)
    assert line.config.uncertainty.high == 0.2, "as its run was made"
    pipeline.complete(line, 0)
    assert line.open("04-labels").manifest.settings["uncertainty"]["high"] == 0.2


def test_the_users_own_run_is_completed_and_not_remade(run, tiny):
    other = changed(run, tiny, uncertainty={"high": 0.2}, contrastive={"epochs": 9})
    before = {name: stage.manifest.fingerprint for name, stage in run.whole().items()}
    pipeline.complete(other)
    assert {name: stage.manifest.fingerprint for name, stage in run.whole().items()} == before


def test_a_readers_own_maps_stay_in_a_variation_that_shares_them(run):
    def redness(images):
        return (images[:, 0] - images[:, 1:].amax(1)).clamp(0, 1)

    pipeline.make_saliency(run, pipeline.map_with(run, "train", "redness", lambda: redness, {"version": 1}, ""))
    pipeline.make_labels(run)
    pipeline.train_iteration(run, 0)
    longer = pipeline.line_of(run, ("simclr",), 3)
    pipeline.complete(longer, 0)
    assert longer.open("03-saliency/main").manifest.facts["source"] == "redness"


def test_more_iterations_than_the_run_has_stand_beside_it(run):
    _, handed_out = pipeline.last_segmenter(run.folder)
    line = pipeline.line_of(run, ("simclr",), 3)
    assert line.folder.name == "isic2017-quick~3-iterations"
    pipeline.complete(line)
    assert line.open("05-segmenter/iteration-1").manifest == run.open("05-segmenter/iteration-1").manifest
    assert line.has("05-segmenter/iteration-2") and not run.has("05-segmenter/iteration-2")
    _, after = pipeline.last_segmenter(run.folder)
    assert after.manifest == handed_out.manifest, "an ablation changed what the run hands out"


def test_what_is_not_completed_must_still_stand_on_its_runs_stages(run, tiny):
    lines = {0: pipeline.line_of(run, ("simclr",), 2)}
    assert "Model 3" in reproduce.table_8(lines).stages[0].manifest.facts["rows"]
    other = changed(run, tiny, saliency={"epochs": 3})
    for make in (pipeline.make_saliency, pipeline.make_labels, lambda r: pipeline.train_iteration(r, 0)):
        make(other)
    varied = pipeline.vary(run, "model-3")
    assert varied.has(FIRST) and not follows(varied, run, FIRST, ("03-saliency",))
    lines = {0: pipeline.line_of(run, ("simclr",), 1, share=False)}
    rows = reproduce.table_8(lines, complete=False).stages[0].manifest.facts["rows"]
    assert "Model 4" in rows and "Model 3" not in rows, "it was trained on the maps that were there before"


def test_fused_maps_of_other_encoders_are_not_taken(run):
    both = Run(run.folder, run.config.model_copy(update={"encoders": TWO}), run.data)
    pipeline.learn_features(both, "moco_v2")
    pipeline.make_saliency(both)
    pipeline.prepare_images(both, "validation")
    pipeline.map_part(both, "validation")
    assert maps_of(both, "validation", "ccam", "fused", complete=False)
    turned = Run(run.folder, run.config.model_copy(update={"encoders": ("moco_v2", "moco_v1")}), run.data)
    assert maps_of(turned, "validation", "ccam", "fused", complete=False) is None
    pipeline.map_part(both, "train", "ccam", "concatenated")
    assert maps_of(both, "validation", "ccam", "concatenated", complete=False)
    assert maps_of(turned, "validation", "ccam", "concatenated", complete=False) is None


def test_a_variation_trained_otherwise_is_not_put_beside_its_run(run, tiny):
    lines = {0: pipeline.line_of(run, ("simclr",), 1)}
    assert "Model 3" in reproduce.table_8(lines).stages[0].manifest.facts["rows"]
    pipeline.train_iteration(changed(run, tiny, segmenter={"learning_rate": 9e-5}), 0)
    lines = {0: pipeline.line_of(run, ("simclr",), 1, share=False)}
    assert "Model 3" not in reproduce.table_8(lines, complete=False).stages[0].manifest.facts["rows"]


def test_a_corrected_mask_makes_no_trained_row_disappear(run):
    lines = {0: pipeline.line_of(run, ("simclr",), 1)}
    reproduce.table_8(lines)
    varied = pipeline.vary(run, "model-3")
    assert not any(name.startswith("01-data/masks") for name in varied.whole()), "nothing trained stands on them"
    stage = run.open("01-data/masks/validation")
    (stage / "manifest.json").unlink()
    assert follows(varied, run, FIRST, ("01-data", "03-saliency"))


def test_a_line_of_other_encoders_that_no_longer_follows_is_not_shown(run, tiny):
    pipeline.complete(pipeline.line_of(run, TWO, 1), 0)
    there = reproduce.open_lines(run, TWO, 1, complete=False)
    assert there[0].folder.name.endswith("~simclr+moco_v2")
    for make in (pipeline.learn_features, pipeline.make_saliency, pipeline.make_labels):
        make(changed(run, tiny, contrastive={"epochs": 3}))
    assert reproduce.open_lines(run, TWO, 1, complete=False)[0].folder == run.folder


def test_scoring_alone_trains_nothing_though_precision_differs(run, monkeypatch):
    both = Run(run.folder, run.config.model_copy(update={"encoders": TWO}), run.data)
    pipeline.learn_features(both, "moco_v2")
    pipeline.make_saliency(both)
    pipeline.prepare_images(both, "validation")
    pipeline.map_part(both, "validation")
    monkeypatch.setattr("uslnet_core.pipeline.saliency.train_head", lambda *a: pytest.fail("trained a head"))
    assert maps_of(both, "validation", "ccam", "fused", complete=False)


# --- what a run was made with ----------------------------------------------------------------------------------------


def test_settings_are_read_back_from_the_encoders_behind_the_maps(run, tiny):
    later = changed(run, tiny, contrastive={"epochs": 3, "momentum": 0.9})
    later = Run(run.folder, later.config.model_copy(update={"encoders": ("moco_v2",)}), run.data)
    pipeline.learn_features(later, "moco_v2")
    assert as_made(run).contrastive.epochs == run.config.contrastive.epochs, "simclr's are behind the maps"
    pipeline.make_saliency(later)
    found = as_made(run).contrastive
    assert found.epochs == 3 and found.momentum == 0.9


def test_what_only_moco_has_is_read_from_a_moco(run, tiny):
    slow = changed(run, tiny, contrastive={"momentum": 0.9})
    slow = Run(run.folder, slow.config.model_copy(update={"encoders": TWO}), run.data)
    pipeline.learn_features(slow, "moco_v2")
    pipeline.make_saliency(slow)
    assert run.open("02-contrastive/simclr").manifest.config["contrastive"]["momentum"] != 0.9
    assert as_made(run).contrastive.momentum == 0.9


def test_images_and_refinement_are_read_back_too(run, tiny):
    assert as_made(changed(run, tiny, images={"size": 64})).images == run.config.images
    pipeline.train_iteration(changed(run, tiny, uncertainty={"high": 0.2}, segmenter={"learning_rate": 3e-5}), 1)
    assert as_made(run).uncertainty.high == 0.1, "of the first labels"
    assert as_refined(run).config.uncertainty.high == 0.2, "of those after"
    assert as_refined(run).config.segmenter.learning_rate == 3e-5
    shutil.rmtree(run.folder / "05-segmenter/iteration-1")
    assert as_made(run).refinement.iterations == 1, "as many as are there"


def test_a_variation_that_is_none_is_refused_in_our_words(run):
    with pytest.raises(ConfigError, match=r"Not a valid configuration\. refinement\.first_epochs = 0"):
        pipeline.vary(run, "none", refinement={"first_epochs": 0})
    with pytest.raises(ConfigError, match="refinement.iterations = -1"):
        pipeline.line_of(run, ("simclr",), -1)


# --- seeds -----------------------------------------------------------------------------------------------------------


def test_synthetic_images_of_another_seed_are_not_taken_for_ones_own(tiny, tmp_path):
    first, second = (Run(tmp_path / "synthetic-quick", tiny(seed=seed)) for seed in (0, 1))
    pipeline.prepare_images(first, "train")
    assert first.has("01-data/images/train") and not second.has("01-data/images/train")
    with pytest.raises(RunError, match=r"was made with seed 0, but this is seed 1\. Give --seed 0"):
        pipeline.load_images(second)
    varied = Run(tmp_path / "synthetic-quick", tiny(seed=1), remedy="uslnet reproduce all --seeds 1")
    with pytest.raises(RunError, match="Give --seeds 0"):
        pipeline.load_images(varied)


def test_a_run_of_several_seeds_is_opened_with_that_of_its_maps(run, tiny):
    pipeline.learn_features(Run(run.folder, tiny("isic2017", seed=4), run.data), "moco_v2")
    assert base_seed(run.folder, [7]) == 0


def test_models_are_compared_over_the_seeds_that_have_both():
    import pandas as pd

    from uslnet_core.evaluation import COUNTS, METRICS
    from uslnet_core.reproduce.layout import differences, seeds_with

    def scored(**models):
        return pd.concat(
            pd.DataFrame({"model": name, "id": ["a", "b", "c"], **dict.fromkeys((*METRICS, *COUNTS), dice)})
            for name, dice in models.items()
        )

    per_image = {0: scored(one=0.5, two=0.6), 1: scored(one=0.1)}
    assert list(seeds_with(per_image, ["one"])) == [0, 1] and list(seeds_with(per_image, ["one", "two"])) == [0]
    (row,) = differences(per_image, [("two", "one")]).to_dict("records")
    assert row["Dice points"].startswith("+10.0"), "not 0.6 − 0.3, of different seeds"
    assert differences(per_image, [("two", "three")]) is None


# --- what is told ----------------------------------------------------------------------------------------------------


def test_the_command_that_is_told_makes_what_is_missing(run):
    from uslnet_core.reproduce.layout import command_for

    def told(item, line, seeds=(0,)):
        return command_for(item, dict.fromkeys(seeds, line))

    plain = "--dataset isic2017"
    line = pipeline.line_of(run, ("simclr",), 2)
    assert told("table-8", line) == f"uslnet reproduce table-8 {plain}"
    assert told("table-8", line, (0, 1)) == f"uslnet reproduce table-8 {plain} --seeds 0,1"
    assert told("table-9", line) == f"uslnet reproduce table-9 {plain}", "which compares all three"
    assert told("table-10", line) == f"uslnet reproduce table-10 {plain} --iterations 5"
    other = pipeline.line_of(run, TWO, 2, share=False)
    assert told("table-8", other) == f"uslnet reproduce table-8 {plain} --encoders simclr,moco_v2"
    config = line.config.model_copy(update={"evaluation": line.config.evaluation.model_copy(update={"split": "test"})})
    assert told("table-8", Run(run.folder, config, run.data)).endswith("--split test")


def test_the_papers_numbers_stand_beside_its_own_data_and_kind_of_map_alone(run, eight_rows):
    from uslnet_core.reproduce.layout import beside_paper

    folder = Run(run.folder, run.config.model_copy(update={"dataset": "folder"}), run.data)
    assert beside_paper(run, eight_rows("03-saliency/ccam-fused/validation"))
    assert not beside_paper(folder, eight_rows("03-saliency/ccam-fused/validation"))
    assert not beside_paper(run, eight_rows("03-saliency/smooth_grad_cam_pp-simclr/validation"))


@pytest.fixture
def eight_rows(run):
    def make(source: str):
        stage = run.open("04-labels")
        facts = {"rows": {"Model 1": {"run": "r", "stage": source, "epochs": None}}}
        from dataclasses import replace

        return {0: replace(stage, manifest=stage.manifest.model_copy(update={"facts": facts}))}

    return make


def test_encoders_of_cells_of_other_sizes_are_fused(run):
    """A transformer's grid differs from a ResNet's: the finer is brought to the coarser."""
    from uslnet_core.pipeline.fusion import average

    coarse = pipeline.map_with(run, "train", "coarse", lambda: lambda x: x[:, 0, ::16, ::16], {}, "")
    fine = pipeline.map_with(run, "train", "fine", lambda: lambda x: x[:, 1, ::8, ::8], {}, "")
    maps = np.load(average(run, "train", "mixed", [coarse, fine]) / "maps.npy")
    small, large = (torch.from_numpy(np.load(stage / "maps.npy")) for stage in (coarse, fine))
    assert np.allclose(maps, (small + upsample(large, small.shape[1])) / 2)


def test_settings_of_another_version_are_told_with_the_run_s_folder(made, monkeypatch):
    main = made.whole()["03-saliency/main"].manifest
    there = made.whole()["03-saliency/main"]

    def known_to_another(value: bool) -> None:
        older = {"config": main.config | {"saliency": main.config["saliency"] | {"appearance": value}}}
        changed = {"03-saliency/main": replace(there, manifest=main.model_copy(update=older))}
        monkeypatch.setattr(Run, "whole", lambda run: changed)

    known_to_another(value=False)
    assert as_made(made).saliency == made.config.saliency, "what is not in use is no difference"
    known_to_another(value=True)
    with pytest.raises(ConfigError, match="isic2017-quick was made with settings that this version does not have"):
        as_made(made)
