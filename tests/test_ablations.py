"""The ablations: variations share what they may, tables say where each row is from, and nothing is made unasked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from uslnet_core import figures, pipeline, reproduce
from uslnet_core.contrastive import health
from uslnet_core.data.images import ImageSet
from uslnet_core.errors import ConfigError, RunError
from uslnet_core.evaluation import score
from uslnet_core.labels import select_component
from uslnet_core.record import record
from uslnet_core.runs import Run
from uslnet_core.segmenter import predict
from uslnet_core.stages import base_seed, peek

ENCODERS = ("simclr", "moco_v2")
FIRST = "05-segmenter/iteration-0"


@pytest.fixture(scope="module")
def base(tiny, train, lay_out, tmp_path_factory):
    """A run on files laid out as ISIC-2017, trained with one encoder."""
    root = tmp_path_factory.mktemp("ablations")
    data = lay_out(root / "data", train=16, validation=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(health, "STUCK", 9.0)  # a few steps teach MoCo nothing, which is no matter here
        run = Run(root / "runs" / "isic2017-quick", tiny("isic2017"), data)
        pipeline.prepare_images(run, "train")
        train(run)
        yield run


@pytest.fixture(scope="module")
def lines(base):
    return reproduce.open_lines(base, ENCODERS, 2)


@pytest.fixture(scope="module")
def eight(lines):
    return reproduce.table_8(lines)


def made(run: Run) -> dict[str, str]:
    return {name: stage.manifest.made_at + stage.manifest.key for name, stage in peek(run.folder).items()}


# --- variations ------------------------------------------------------------------------------------------------------


def test_a_variation_stands_beside_its_run_and_shares_what_comes_before(base):
    varied = pipeline.vary(base, "literal", ["01-data", "02-", "03-"], segmenter={"literal": True})
    assert varied.folder.name == "isic2017-quick~literal" and varied.folder.parent == base.folder.parent
    assert varied.config.segmenter.literal and not base.config.segmenter.literal
    assert set(made(varied)) == {name for name in made(base) if name.startswith(("01-data", "02-", "03-"))}
    for name in made(varied):
        assert varied.open(name).manifest == base.open(name).manifest
    ours, theirs = (run.folder / "02-contrastive/simclr/encoder.safetensors" for run in (varied, base))
    assert ours.stat().st_ino == theirs.stat().st_ino, "shared files take no room"


def test_a_variation_says_how_it_is_made(base):
    varied = pipeline.vary(base, "nothing")
    assert not varied.folder.exists(), "only opened"
    with pytest.raises(RunError, match=r"has no 04-labels yet(.|\n)*uslnet reproduce all --dataset isic2017"):
        varied.open("04-labels")


def test_the_line_is_the_run_itself_where_encoders_and_seed_agree(base):
    for iterations in (1, 2):
        line = pipeline.line_of(base, ["simclr"], iterations)
        assert line.folder == base.folder and line.config.refinement.iterations == iterations
    assert pipeline.line_of(base, ENCODERS, 1, share=False).folder.name == "isic2017-quick~simclr+moco_v2"
    assert pipeline.line_of(base, ["moco_v1"], 1, share=False).folder.name == "isic2017-quick~moco_v1"
    other = pipeline.line_of(base, ENCODERS, 1, seed=3, share=False)
    assert other.folder.name == "isic2017-quick~simclr+moco_v2~seed-3" and other.config.seed == 3


def test_completing_keeps_what_is_there_whatever_it_was_made_with(base, tiny):
    before = made(base)
    other = Run(base.folder, tiny("isic2017", uncertainty={"high": 0.6}), base.data)
    pipeline.complete(other)
    assert made(base) == before


# --- table 8 ---------------------------------------------------------------------------------------------------------


def test_table_8_has_its_models_and_says_where_they_are_from(lines, eight):
    (stage,) = eight.stages.values()
    rows = stage.manifest.facts["rows"]
    assert list(rows) == ["Baseline", "Model 1", "Model 2", "Model 3", "Model 4", "Model 5_1"]
    name = "isic2017-quick~simclr+moco_v2"
    assert rows["Model 4"] == {"run": name, "stage": FIRST, "epochs": 1}
    assert rows["Model 3"] == {"run": f"{name}~model-3", "stage": FIRST, "epochs": 1}
    assert rows["Baseline"]["stage"] == "03-saliency/smooth_grad_cam_pp-moco_v2/validation"
    assert rows["Model 1"]["stage"] == rows["Model 2"]["stage"] == "03-saliency/ccam-fused/validation"


def test_every_row_is_what_it_says(lines, eight, cpu):
    (run,), (stage,) = lines.values(), eight.stages.values()
    images = ImageSet.open(run.open("01-data/images/validation").folder)
    names, masks = list(pd.read_csv(stage / "models.csv")["model"]), np.load(stage / "predictions.npy")
    found = dict(zip(names, masks, strict=True))
    parts = [np.load(run.open(f"03-saliency/ccam-{each}/validation") / "maps.npy") for each in ENCODERS]
    fused = pipeline.load_maps(run.open("03-saliency/ccam-fused/validation"), 32)
    small = np.load(run.open("03-saliency/ccam-fused/validation") / "maps.npy")
    assert np.allclose(small, np.mean(parts, axis=0), atol=1e-6), "the mean of the oriented maps"
    assert np.array_equal(found["Model 1"], fused > 0.5)
    assert np.array_equal(found["Model 2"], select_component(fused, 0.5, run.config.uncertainty))
    other = Run(run.folder.with_name(f"{run.folder.name}~model-3"), run.config, run.data)
    for model, source in {"Model 3": other, "Model 4": run}.items():
        assert np.array_equal(found[model], predict(pipeline.load_segmenter(source.open(FIRST)), images, cpu) > 0.5)
    labels, keep = pipeline.load_labels(other.open("04-labels"))
    train = pipeline.load_saliency(run)
    assert set(np.unique(labels)) <= {0, 2} and np.array_equal(
        labels == 2, select_component(train, 0.5, run.config.uncertainty)
    )
    truth = pipeline.load_masks(run, "validation")
    rows = [images.ids.index(name) for name in truth.scored_ids]
    told = pd.read_csv(stage / "summary.csv", dtype={"size": str}).query("metric == 'DIC' and size == '32'")
    for model, mask in found.items():
        mean = score(mask[rows], truth.select(list(truth.scored_ids)))["DIC"].mean()
        assert told.set_index("model").loc[model, "mean"] == pytest.approx(mean)


def test_table_8_says_which_masks_a_step_changed(eight):
    (stage,) = eight.stages.values()
    masks = dict(zip(pd.read_csv(stage / "models.csv")["model"], np.load(stage / "predictions.npy"), strict=True))
    for row in eight.tables["differences"].itertuples():
        after, before = masks[row.model], masks[row.minus]
        changed = sum(not np.array_equal(one, other) for one, other in zip(after, before, strict=True))
        lost = sum(other.any() and not one.any() for one, other in zip(after, before, strict=True))
        assert [row[4], row.emptied] == [f"{changed} of {len(after)}", str(lost)]
    assert any(not text.startswith("0 of") for text in eight.tables["differences"]["masks changed"])


def test_table_8_by_lesion(lines, eight):
    (run,), table = lines.values(), eight.tables["by lesion"].set_index("model")
    truth = pipeline.load_masks(run, "validation")
    cut = {name: truth.select([name])[0] for name in truth.scored_ids}
    cut = [name for name, mask in cut.items() if mask[[0, -1]].any() or mask[:, [0, -1]].any()]
    dice = reproduce.scores_of(eight.stages)[0].query("model == 'Model 4'").set_index("id")["DIC"]
    inside = dice.drop(cut)
    assert table.loc["Model 4", f"inside ({len(inside)} images)"] == f"{100 * inside.mean():.1f}"
    assert len([name for name in table if "quarter" in name]) == 4


def test_table_8_beside_the_paper(eight):
    table = eight.tables["table 8"]
    assert table["model"].iloc[0] == "Baseline" and "paper on isic2017-test" in table
    first = table[table["metric"] == "DIC"].set_index("model")
    assert first.loc["Model 1", "paper on isic2017-test"] == "52.9"
    assert first.loc["Model 4", "from"].startswith("isic2017-quick~simclr+moco_v2, row Model 4; single run")
    assert list(eight.tables["differences"]["minus"])[0] == "Baseline"
    assert set(eight.tables["order"]["holds"]) <= {"yes", "no", "within chance", "not scored"}


def test_everything_is_shared_the_second_time(lines, eight, base):
    (run,) = lines.values()
    before = [made(run), made(base)]
    again = reproduce.table_8(lines)
    assert [stage.origin for stage in again.stages.values()] == ["reused"]
    assert [made(run), made(base)] == before
    shared = run.open("02-contrastive/simclr").manifest
    assert shared == base.open("02-contrastive/simclr").manifest, "the encoder that was there is not trained again"


def test_training_of_every_variation_has_read_no_mask(lines, eight, base):
    for folder in sorted(base.folder.parent.glob("isic2017-quick*")):
        for name, stage in peek(folder).items():
            if not name.startswith(("01-data/masks", "07-evaluation", "tables")):
                assert not any("masks" in read for read in stage.manifest.inputs), f"{folder.name}: {name}"


# --- the others ------------------------------------------------------------------------------------------------------


def test_table_9_scores_every_map_and_says_what_the_rest_needs(lines, eight):
    quick = set(pipeline.table_9(next(iter(lines.values()))).manifest.facts["rows"])
    unhurried = {
        seed: replace(line, config=line.config.model_copy(update={"profile": "workshop"}))
        for seed, line in lines.items()
    }
    nine = reproduce.table_9(unhurried)
    (stage,) = nine.stages.values()
    kinds = list(stage.manifest.facts["rows"])
    assert set(kinds) - quick == {"ccam-concatenated"}, "the one that quick has no time for"
    assert {"ccam-simclr", "ccam-fused", "ccam-concatenated", "smooth_grad_cam_pp-moco_v2", "colour_distance"} <= set(
        kinds
    )
    assert len(kinds) == 3 + 4 + 3 + 1  # gradients and CCAM of each and fused, one concatenated, three more, colour
    table = nine.tables["table 9"].query("metric == 'DIC'").set_index("model")
    lacking = table.loc["Smooth Grad-CAM++, dino_vits16"]
    assert lacking["paper on isic2017-test"] == "22.0" and "uslnet weights fetch dino_vits16" in lacking["from"]
    needed = table.loc["CCAM, MoCo v1", "from"]
    assert "uslnet reproduce table-9" in needed and "--encoders" not in needed, "one that was not asked for"
    assert table.loc["colour distance", "paper on isic2017-test"] == "–"
    assert table.loc["CCAM, SimCLR", "from"].startswith("isic2017-quick~simclr+moco_v2, row ccam-simclr; single run")
    pairs = nine.tables["differences"][["model", "minus"]].to_numpy().tolist()
    assert ["CCAM, SimCLR", "Smooth Grad-CAM++, SimCLR"] in pairs and ["CCAM, fused", "CCAM, MoCo v2"] in pairs
    assert len(nine.figures["maps"].axes) >= 3 * (1 + 6)
    health = nine.tables["encoders"].set_index("encoder")
    assert list(health.index) == ["SimCLR", "MoCo v2"] and set(health["in the labels"]) == {"yes"}
    told = lines[0].open("02-contrastive/simclr").manifest.facts["health"]["top1"]
    assert health.loc["SimCLR", "top1"] == f"{told:.2f}"


def test_table_10_has_every_iteration(lines, eight):
    ten = reproduce.table_10(lines)
    table = ten.tables["table 10"].query("metric == 'DIC'").set_index("model")
    assert list(table.index) == ["Model 4", "Model 5_1", "Model 5_2", "Model 5_3", "Model 5_4"]
    assert table.loc["Model 5_4", "from"].startswith("needs: uslnet reproduce table-10 --dataset isic2017")
    assert "--iterations 5" in table.loc["Model 5_4", "from"], "a command that makes it"
    assert ten.tables["differences"][["model", "minus"]].to_numpy().tolist() == [["Model 5_1", "Model 4"]]
    assert set(ten.figures) == {"dice", "iterations"}


def test_figures(lines, eight):
    split = reproduce.figure_1(lines).figures["split"]
    outlines = reproduce.figure_7(lines).figures["outlines"]
    caption = reproduce.caption(lines, reproduce.figure_8(lines).stages, "train")
    assert "isic2017-train · 32 × 32" in caption and "ResNet-18, SimCLR + MoCo v2, from scratch" in caption
    assert len(split.axes) >= 12 and len(outlines.axes) >= 6 * 5
    found = reproduce.figure_8(lines)
    assert set(found.tables["curves"]["curve"]) == {"threshold x", "threshold 1 − x", "split only", "UM"}
    assert found.tables["open choices"].set_index("variant").loc["as settled", "n_images"] == 16


def test_other_epochs_have_runs_of_their_own(lines, eight):
    nine = reproduce.figure_9(lines, epochs=2)
    (stage,) = nine.stages.values()
    rows = stage.manifest.facts["rows"]
    assert {row["epochs"] for row in rows.values()} == {2}
    assert all(row["run"].endswith("-2-epochs") for row in rows.values())
    assert set(nine.tables["scores"]["epochs"]) == {"2"}
    assert {row["epochs"] for row in reproduce.figure_9(lines).stages[0].manifest.facts["rows"].values()} == {1}


def test_figure_9_trains_four_alike_but_for_their_labels(lines, eight):
    nine = reproduce.figure_9(lines, epochs=1)
    (stage,), (run,) = nine.stages.values(), lines.values()
    rows = stage.manifest.facts["rows"]
    assert list(rows) == ["threshold 0.3", "threshold 0.5", "threshold 0.7", "UM"]
    stages = {
        name: Run(run.folder.with_name(row["run"]), run.config, run.data).open(FIRST) for name, row in rows.items()
    }
    settings = [stage.manifest.settings for stage in stages.values()]
    assert all(each == settings[0] for each in settings)
    assert list(nine.tables["differences"]["model"]) == ["UM"] * 3
    for frame in nine.tables.values():
        assert "<table" in figures.table(frame, "as a page shows it").to_html()
    assert len({stage.manifest.inputs["04-labels"] for stage in stages.values()}) == 4


def test_options_change_one_thing_each(lines, eight):
    more = reproduce.options(lines, epochs=1)
    (stage,) = more.stages.values()
    names = ["as settled", "with the ¼", "maps of one encoder", "iteration 1, started again", "iteration 1, gone on"]
    rows = stage.manifest.facts["rows"]
    assert list(rows) == names
    (run,) = lines.values()
    folders = {name: run.folder.with_name(row["run"]) for name, row in rows.items()}
    made = {name: peek(folders[name])[row["stage"]].manifest for name, row in rows.items()}
    usual, literal, alone, anew, gone_on = (made[name] for name in names)
    assert [usual.settings["segmenter"].pop("literal"), literal.settings["segmenter"].pop("literal")] == [False, True]
    assert usual.settings == literal.settings and usual.inputs == literal.inputs, "nothing else differs"
    assert usual.inputs["04-labels"] != alone.inputs["04-labels"]
    assert peek(folders["maps of one encoder"])["03-saliency/main"].manifest.facts["encoders"] == ["moco_v2"]
    assert [each.settings["refinement"].pop("warm_start") for each in (anew, gone_on)] == [False, True]
    assert anew.settings == gone_on.settings and anew.inputs == gone_on.inputs


def test_what_an_older_version_trained_is_still_found(lines, eight, monkeypatch):
    (run,) = lines.values()
    found = pipeline.table_8(run, complete=False)
    assert "Model 3" in found.manifest.facts["rows"]
    older, opened = {"thresholds", "doubt", "band"}, Run.open

    def as_before(self, name):
        stage = opened(self, name)
        config = dict(stage.manifest.config)
        config["uncertainty"] = {key: value for key, value in config["uncertainty"].items() if key not in older}
        return replace(stage, manifest=stage.manifest.model_copy(update={"config": config}))

    monkeypatch.setattr(Run, "open", as_before)
    assert "Model 3" in pipeline.table_8(run, complete=False).manifest.facts["rows"]


def test_table_10_trains_no_model_that_it_does_not_show(base, tmp_path):
    here = Run(tmp_path / "runs" / "isic2017-quick", base.config, base.data)
    for stage in base.whole().values():
        if not stage.name.startswith(("tables", "03-saliency/smooth")):
            here.adopt(stage)
    found = reproduce.table_10(reproduce.open_lines(here, ["simclr"], 2))
    assert list(found.stages[0].manifest.facts["rows"]) == ["Model 1", "Model 2", "Model 4", "Model 5_1"]
    assert [path.name for path in here.folder.parent.iterdir()] == [here.folder.name]


def test_several_seeds_give_mean_and_spread(base, eight):
    lines = reproduce.open_lines(base, ["simclr"], 1, [0, 1])
    found = reproduce.table_8(lines)
    table = found.tables["table 8"].query("metric == 'DIC'").set_index("model")
    assert "mean of 2 seeds" in table.loc["Model 4", "from"]
    assert "±" in table.loc["Model 4", "ours on isic2017-validation"]
    means = [rows.query("model == 'Model 4'")["DIC"].mean() for rows in reproduce.scores_of(found.stages).values()]
    assert means[0] != means[1]
    assert f"{100 * np.mean(means):.1f}" in table.loc["Model 4", "ours on isic2017-validation"]


def test_a_run_of_several_encoders_can_be_recorded(lines, eight, tmp_path):
    (run,) = lines.values()
    pipeline.prepare_masks(run, "train")
    pipeline.evaluate(run)
    about = pd.read_csv(record(run, tmp_path) / "about.csv").set_index("what")["this run"]
    assert about["profile"] == "quick: ResNet-18, SimCLR + MoCo v2, from scratch, 32 × 32 pixels"


def test_the_seed_of_the_run_at_hand(base, tmp_path):
    assert base_seed(base.folder, [1, 2]) == 0
    assert base_seed(tmp_path, [1, 2]) == 1


# --- nothing unasked, nothing silent ---------------------------------------------------------------------------------


def test_what_is_not_there_is_not_made_unless_asked(base, tmp_path, tiny):
    here = Run(tmp_path / "runs" / "isic2017-quick", base.config, base.data)
    for stage in peek(base.folder).values():
        if not stage.name.startswith(("tables", "03-saliency/smooth")):
            here.adopt(base.open(stage.name))
    before = sorted(path.name for path in here.folder.parent.iterdir())
    lines = reproduce.open_lines(here, ENCODERS, 5, complete=False)
    assert [line.folder for line in lines.values()] == [here.folder], "the run itself stands in for the fused one"
    found = reproduce.table_8(lines, complete=False)
    (stage,) = found.stages.values()
    assert list(stage.manifest.facts["rows"]) == ["Model 1", "Model 2", "Model 4", "Model 5_1"]
    table = found.tables["table 8"].query("metric == 'DIC'").set_index("model")
    assert table.loc["Baseline", "from"].startswith("needs: uslnet reproduce table-8 --dataset isic2017")
    before_stages = made(here)
    for item, (make, _) in reproduce.ITEMS.items():
        nothing = make(lines, complete=False)
        if item in ("figure-9", "options"):
            assert nothing.stages == {} and nothing.needs.startswith(f"uslnet reproduce {item} --dataset isic2017")
            assert nothing.needs in nothing.table("scores").iloc[0, 0]
            assert nothing.needs in nothing.picture("outlines").data
    assert sorted(path.name for path in here.folder.parent.iterdir()) == before
    trained = {name for name in made(here) if not name.startswith(("tables", "01-data/masks"))}
    assert trained <= set(before_stages), "something was trained unasked"


@pytest.mark.parametrize("seeds", [[], [1, 1]])
def test_seeds_that_make_no_sense_are_refused(base, seeds):
    with pytest.raises(ConfigError, match="seeds is"):
        reproduce.open_lines(base, seeds=seeds)


def test_files_are_named_after_the_item(tmp_path, eight):
    files = reproduce.save(eight, tmp_path, "table-8")
    assert {file.name for file in files} == {
        "table-8.csv",
        "table-8-by-lesion.csv",
        "table-8-differences.csv",
        "table-8-order.csv",
        "table-8-dice.png",
    }
    assert all(file.stat().st_size > 0 for file in files)
    reproduce.save(eight, tmp_path, "table-8", "what it stands for")
    assert (tmp_path / "table-8.txt").read_text() == "what it stands for\n"


def test_what_is_recorded_names_no_folder_of_this_machine(lines, eight, tmp_path):
    placed = {0: replace(lines[0], options=f" --data {tmp_path}")}
    ten = reproduce.table_10(placed, complete=False)
    assert str(tmp_path) in ten.tables["table 10"].to_csv(), "what the user is told holds for this machine"
    kept = reproduce.record("table-10", placed, ten, tmp_path / "kept")
    shown = pd.read_csv(tmp_path / "kept" / "table-10.csv").query("metric == 'DIC'").set_index("model")["from"]
    assert shown["Model 5_4"].startswith("needs: `uslnet reproduce table-10 --dataset isic2017")
    assert shown["Model 5_4"].count("`") == 2 and "`" not in shown["Model 4"], "set as code, and nothing else is"
    for file in kept:
        assert file.suffix == ".png" or str(tmp_path) not in file.read_text(), file.name
