"""The ablations' tables: laid out right, refusing what they must, and steps that hold or do not."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uslnet_core import figures
from uslnet_core.errors import DataError
from uslnet_core.evaluation import (
    METRICS,
    PAPER_ORDER,
    ablation_table,
    all_lesion,
    comparison,
    consecutive_differences,
    difference_text,
    order_holds,
    paired_difference,
    reported,
)

REAL = {"scored_on": "isic2017-validation"}


def summary_of(models: dict[str, float], **more) -> pd.DataFrame:
    """A summary in which a model's every metric is one number, pooled a tenth more."""
    rows = [
        {
            "model": model, "metric": metric, "mean": value, "low": value - 0.04, "high": value + 0.04,
            "pooled": value + 0.1, "pooled_low": value + 0.05, "pooled_high": value + 0.15, "n_images": 9, **more,
        }
        for model, value in models.items()
        for metric in METRICS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def plain(text: str) -> str:
    return text.replace("\u2060", "").replace("\u00a0", " ")


def dice_frame(**models: list[float]) -> pd.DataFrame:
    """Rows of Dice, an image per number."""
    names = {"base": "Baseline", "m1": "Model 1", "m2": "Model 2", "m3": "Model 3", "m4": "Model 4", "m5": "Model 5"}
    parts = [
        pd.DataFrame({"model": names.get(k, k), "id": range(len(values)), "DIC": values})
        for k, values in models.items()
    ]
    return pd.concat(parts, ignore_index=True)


# the table


def test_a_row_by_hand():
    table = ablation_table(
        summary_of({"Model 4": 0.623, "Model 5_2": 0.7}),
        8,
        {"Model 4": "Model 4", "Model 5_2": "Model 5"},
        **REAL,
        runs={"Model 4": "a-run", "Model 5_2": ("another", "Model 5_3")},
    )
    assert list(table.columns) == [
        "metric", "model", "paper on isic2017-test", "ours on isic2017-validation", "minus paper", "ours, pooled",
        "pooled minus paper", "from",
    ]  # fmt: skip
    assert list(table["metric"].unique()) == ["DIC", "JAC", "ACC", "SEN", "SPE"] and len(table) == 10
    assert [plain(text) for text in table.iloc[0]] == [
        "DIC", "Model 4", "77.2", "62.3 (58–66)", "−14.9", "72.3 (67–77)", "−4.9", "a-run, row Model 4; single run",
    ]  # fmt: skip
    assert table["from"][1] == "another, row Model 5_3; single run; paper: Model 5"
    assert (table["from"][2:] == "").all()


def test_several_seeds_show_their_spread_and_number():
    summary = summary_of({"Model 4": 0.6}, n_seeds=3, spread=0.012, pooled_spread=0.004, same_images=True)
    table = ablation_table(summary, 8, {"Model 4": "Model 4"}, **REAL, runs={"Model 4": "runs 0 to 2"}, metrics=["JAC"])
    row = table.iloc[0].map(plain)
    assert row["ours on isic2017-validation"] == "60.0 ± 1.2 (56–64)"
    assert row["ours, pooled"] == "70.0 ± 0.4 (65–75)"
    assert row["from"] == "runs 0 to 2, row Model 4; mean of 3 seeds"
    own = ablation_table(
        summary.assign(same_images=False), 8, {"Model 4": "Model 4"}, **REAL, runs={"Model 4": "r"}, metrics=["JAC"]
    )
    assert own["from"][0].endswith("mean of 3 seeds, each on its own images")


def test_what_could_not_be_computed_stands_with_the_papers_value_and_its_need():
    table = ablation_table(
        summary_of({"MoCo v2": 0.5}),
        9,
        {"DINO": "DINO", "MoCo v2": {"method": "MoCo v2", "group": "ResNet50, CCAM"}},
        **REAL,
        runs={"MoCo v2": "r"},
        needs={"DINO": "its public weights"},
        metrics=["DIC"],
    )
    assert table.iloc[0].tolist() == ["DIC", "DINO", "22.0", "–", "–", "–", "–", "needs: its public weights"]
    assert table.iloc[1]["paper on isic2017-test"] == "52.4"
    assert table.iloc[1]["from"] == "r, row MoCo v2; single run; paper: MoCo v2, ResNet50, CCAM"


def test_a_variant_of_our_own_has_dashes_for_the_paper():
    both = {"printed sum": None, "Model 4": "Model 4"}
    table = ablation_table(
        summary_of(dict.fromkeys(both, 0.6)), 8, both, **REAL, runs=dict.fromkeys(both, "r"), metrics=["DIC"]
    )
    row = table.iloc[0]
    assert (row["paper on isic2017-test"], row["minus paper"], row["pooled minus paper"]) == ("–", "–", "–")
    assert row["from"] == "r, row printed sum; single run"
    alone = ablation_table(
        summary_of({"printed sum": 0.6}), 8, {"printed sum": None}, **REAL, runs={"printed sum": "r"}
    )
    assert (alone["paper"] == "–").all()


def test_synthetic_scores_stand_alone_or_not_at_all():
    summary = summary_of({"Model 4": 0.6})
    given_rows = {"mapping": {"Baseline": "Baseline", "Model 4": "Model 4"}, "runs": {"Model 4": "synthetic-quick"}}
    given_rows |= {"scored_on": "synthetic-validation", "needs": {"Baseline": "weights"}}
    with pytest.raises(DataError, match="with_paper=False"):
        ablation_table(summary, 8, **given_rows)
    alone = ablation_table(summary, 8, **given_rows, with_paper=False)
    assert list(alone.columns) == ["metric", "model", "ours on synthetic-validation", "ours, pooled", "from"]
    texts = " ".join(alone.astype(str).to_numpy().ravel())
    paper = reported(8).set_index("method").loc[["Baseline", "Model 4"], ["DIC", "JAC", "SEN", "SPE"]]
    assert not any(f"{value:.1f}" in texts for value in paper.to_numpy().ravel()) and "paper" not in texts
    assert alone["from"][0] == "needs: weights"


def test_a_table_refuses_what_would_mislead():
    summary = summary_of({"Model 4": 0.6})
    one = {"Model 4": "Model 4"}
    with pytest.raises(DataError, match="'Model 5' in the summary.*needs"):
        ablation_table(summary, 8, {**one, "Model 5": "Model 5"}, **REAL, runs={"Model 4": "r"})
    with pytest.raises(DataError, match="has no run"):
        ablation_table(summary, 8, one, **REAL, runs={})
    with pytest.raises(DataError, match=r"no \['F1'\]"):
        ablation_table(summary, 8, one, **REAL, runs={"Model 4": "r"}, metrics=["F1"])
    with pytest.raises(DataError, match="0 rows"):
        ablation_table(summary, 8, {"Model 4": "Model 9"}, **REAL, runs={"Model 4": "r"})


def test_the_table_is_shown_as_it_is():
    table = ablation_table(summary_of({"Model 4": 0.623}), 8, {"Model 4": "Model 4"}, **REAL, runs={"Model 4": "r"})
    html = figures.table(table, "Table 8").to_html()
    assert ">−14.9<" in html and ">77.2<" in html and "row Model 4; single run" in html
    assert figures.table(summary_of({"Model 4": 0.6}, spread=0.01), "x").to_html().count(">1.0<") == len(METRICS)


def test_comparison_keeps_the_papers_value_of_what_was_not_scored():
    summary = summary_of({"Model 4": 0.6})
    mapping = {"Baseline": "Baseline", "Model 4": "Model 4"}
    with pytest.raises(DataError, match="'Baseline'"):
        comparison(summary, 8, mapping, **REAL)
    table = comparison(summary, 8, mapping, **REAL, metrics=["DIC"], unscored=["Baseline"])
    assert table["paper"].tolist() == [47.4, 77.2] and table["n_images"].tolist() == [0, 9]
    assert table.loc[0, ["ours", "low", "high", "difference", "ours_pooled", "difference_pooled"]].isna().all()
    assert ">–<" in figures.table(table, "x", percent=True).to_html()


# differences


def test_differences_are_paired_and_end_with_the_whole_way():
    frame = dice_frame(m1=[0.1, 0.5, 0.6], m4=[0.2, 0.6, 0.7], m5=[0.4, 0.5, 0.9])
    table = consecutive_differences(frame, ["Model 1", "Model 4", "Model 5"], resamples=100)
    assert table[["model", "minus"]].agg(" − ".join, axis=1).tolist() == [
        "Model 4 − Model 1", "Model 5 − Model 4", "Model 5 − Model 1",
    ]  # fmt: skip
    assert table["difference"].tolist() == pytest.approx([0.1, 0.1, 0.2])
    assert difference_text(table.iloc[0]) == "+10.0 [+10.0, +10.0]"  # all images gain alike
    same = paired_difference(frame, "Model 5", "Model 4", resamples=100)
    assert table.loc[1, ["difference", "low", "high", "n_images"]].tolist() == same.tolist()
    assert len(consecutive_differences(frame, ["Model 1", "Model 4"], resamples=5)) == 1
    assert len(consecutive_differences(frame, ["Model 1", "Model 4", "Model 5"], ends=False, resamples=5)) == 2
    for bad in (["Model 1"], ["Model 1", "Model 1"], []):
        with pytest.raises(DataError, match="at least two"):
            consecutive_differences(frame, bad)
    with pytest.raises(DataError, match="'Model 3'"):
        consecutive_differences(frame, ["Model 1", "Model 3"])


def test_difference_text_writes_a_minus_and_no_negative_zero():
    assert difference_text({"difference": -0.0004, "low": -0.0123, "high": 0.02}) == "+0.0 [−1.2, +2.0]"
    assert difference_text({"difference": np.nan, "low": np.nan, "high": np.nan}) == "–"


# the order


def test_the_order_holds_step_by_step():
    rng = np.random.default_rng(0)
    start = 0.3 + 0.3 * rng.random(40)
    noise = 0.2 * (rng.random(40) - 0.5)
    noise -= noise.mean()
    frame = dice_frame(
        base=start, m1=start + 0.1, m2=start + 0.1 + noise, m3=start + 0.05, m4=start + 0.25, m5=start + 0.3
    )
    table = order_holds(frame, resamples=500).set_index(["lower", "higher"])
    assert table["holds"].to_dict() == {
        ("Baseline", "Model 1"): "yes",
        ("Model 1", "Model 2"): "within chance",
        ("Model 2", "Model 3"): "no",
        ("Model 2", "Model 4"): "yes",
        ("Model 3", "Model 5"): "yes",
        ("Model 4", "Model 5"): "yes",
    }
    step = paired_difference(frame, "Model 4", "Model 2", resamples=500)
    assert table.loc[("Model 2", "Model 4"), ["difference", "low", "high"]].tolist() == step[:3].tolist()


def test_a_missing_model_is_said_and_a_wrong_order_refused():
    frame = dice_frame(m1=[0.1, 0.2], m2=[0.3, 0.4])
    table = order_holds(frame, resamples=20)
    assert table["holds"].tolist()[:2] == ["not scored", "yes"]
    assert table.loc[0, ["difference", "low", "high"]].isna().all() and table.loc[0, "n_images"] == 0
    assert "not scored" in figures.table(table, "x").to_html()
    with pytest.raises(DataError, match="two places"):
        order_holds(frame, ["Model 1"])
    with pytest.raises(DataError, match="same names"):
        order_holds(frame, ["model one", "model two"])


def test_equal_models_are_within_chance():
    table = order_holds(dice_frame(m1=[0.1, 0.9], m2=[0.1, 0.9]), ["Model 1", "Model 2"], resamples=20)
    assert table["holds"].tolist() == ["within chance"]


def test_the_papers_own_numbers_are_in_its_order():
    dice = reported(8).set_index("method")["DIC"]
    places = [[place] if isinstance(place, str) else place for place in PAPER_ORDER]
    assert {model for place in places for model in place} == set(dice.index)
    for before, after in zip(places[:-1], places[1:], strict=True):
        assert max(dice[list(before)]) < min(dice[list(after)])


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8))
def test_turning_the_order_round_turns_the_answer_round(pairs):
    frame = dice_frame(m1=[a for a, _ in pairs], m2=[b for _, b in pairs])
    one = order_holds(frame, ["Model 1", "Model 2"], resamples=30).iloc[0]
    other = order_holds(frame, ["Model 2", "Model 1"], resamples=30).iloc[0]
    assert one["difference"] == pytest.approx(-other["difference"])
    turned = {"yes": "no", "no": "yes", "within chance": "within chance", "too few images": "too few images"}
    assert other["holds"] == turned[one["holds"]]


def test_calling_everything_lesion_by_hand():
    counts = pd.DataFrame({"model": "m", "id": ["a", "b"], "TP": [1, 0], "FP": [0, 5], "FN": [0, 5], "TN": [1, 0]})
    both = pd.concat([counts, counts.assign(model="n")])
    assert all_lesion(both) == pytest.approx(2 / 3), "2 · 0.5 / 1.5, for both images and whatever the model"


def test_one_image_decides_nothing():
    row = order_holds(dice_frame(m1=[0.1], m2=[0.9]), ["Model 1", "Model 2"]).iloc[0]
    assert row["holds"] == "too few images"
