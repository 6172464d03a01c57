"""Labels for the ablations: one threshold, with the component's choice and without."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uslnet_core.config import LabelsConfig, UncertaintyConfig
from uslnet_core.labels import make_labels, select_component
from uslnet_core.uncertainty import UncertaintyModule

RULES = UncertaintyConfig(min_area=2 / 64, exclusion=1.0)


def toy() -> torch.Tensor:
    saliency = torch.full((1, 8, 8), 0.2)
    saliency[0, 3:5, 3:5] = 0.9  # in the middle
    saliency[0, 0:3, 0:2] = 0.95  # larger, in a corner
    saliency[0, 7, 7] = 0.9  # too small
    saliency[0, 5, 3] = 0.55  # above a plain threshold, between the module's
    return saliency


def test_by_hand():
    plain = make_labels(toy(), RULES, LabelsConfig(kind="plain"))
    assert plain.label.sum() == 4 + 6 + 1 + 1 and plain.keep.tolist() == [True]
    selected = make_labels(toy(), RULES, LabelsConfig(kind="selected"))
    assert set(selected.label.unique().tolist()) == {0, 1} and selected.label.sum() == 5
    assert selected.label[0, 5, 3] == 1 and selected.label[0, 0, 0] == 0
    three = make_labels(toy(), RULES)
    assert torch.equal(three.label, UncertaintyModule(**RULES.model_dump())(toy()).label)


def test_without_a_component_nothing_is_selected_and_the_image_is_left_out():
    empty = torch.full((1, 8, 8), 0.2)
    out = make_labels(empty, RULES, LabelsConfig(kind="selected"))
    assert out.label.sum() == 0 and out.keep.tolist() == [False]
    assert not select_component(empty.numpy(), 0.5, RULES).any()
    assert make_labels(empty, RULES, LabelsConfig(kind="plain")).keep.tolist() == [True]


@given(st.integers(0, 10**6), st.sampled_from([0.3, 0.5, 0.7]))
def test_the_selected_mask_is_the_chosen_component_whatever_the_lower_threshold(seed, threshold):
    saliency = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(seed))
    chosen = select_component(saliency.numpy(), threshold, RULES)
    for low in (0.0, 0.29):
        settings = RULES.model_dump() | {"low": low, "high": threshold}
        assert np.array_equal(chosen, (UncertaintyModule(**settings)(saliency).label == 1).numpy())
    assert not (chosen & (saliency.numpy() <= threshold)).any()


def test_an_image_is_scored_however_far_out_its_component_lies():
    corner = torch.full((1, 8, 8), 0.2)
    corner[0, 0:3, 0:3] = 0.9
    near = RULES.model_copy(update={"exclusion": 0.1})
    selected = make_labels(corner, near, LabelsConfig(kind="selected"))
    assert selected.keep.tolist() == [True] and list(selected.reason) == ["kept"]
    assert make_labels(corner, near).keep.tolist() == [False], "the uncertainty module leaves it out for a while"
    assert select_component(corner.numpy(), 0.5, near).sum() == 9


@pytest.mark.parametrize("kind", ["uncertain", "selected", "plain"])
def test_the_maps_are_not_changed(kind):
    saliency = toy()
    make_labels(saliency, RULES, LabelsConfig(kind=kind))
    assert torch.equal(saliency, toy())
