"""The book's colours: told apart by everyone, and on a black-and-white printer."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from uslnet_core import figures


def luminance(colour: str) -> float:
    """Relative luminance, what a black-and-white printer keeps."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def as_seen(colour: str, matrix: np.ndarray) -> np.ndarray:
    return (matrix @ np.array(to_rgb(colour))).clip(0, 1)


# Machado, Oliveira and Fernandes (2009), severity 1
BLINDNESS = {
    "none": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


@pytest.mark.parametrize("kind", BLINDNESS)
def test_colours_that_meet_are_told_apart_by_everyone(kind):
    labels = [figures.BACKGROUND, figures.UNCERTAIN, figures.FOREGROUND]
    for meeting in (labels, [figures.TRUTH, figures.PREDICTION], [figures.OVER, figures.UNDER]):
        for a, b in itertools.combinations(meeting, 2):
            assert np.linalg.norm(as_seen(a, BLINDNESS[kind]) - as_seen(b, BLINDNESS[kind])) > 0.25


def test_labels_run_from_dark_to_light_and_all_fixed_colours_differ():
    dark, middle, light = map(luminance, (figures.BACKGROUND, figures.UNCERTAIN, figures.FOREGROUND))
    assert dark + 0.1 < middle and middle + 0.1 < light
    names = ("FOREGROUND", "UNCERTAIN", "BACKGROUND", "TRUTH", "PREDICTION", "OVER", "UNDER", "REFERENCE")
    assert len({getattr(figures, name) for name in names}) == len(names)


@pytest.mark.parametrize(("label", "colour"), [(0, "BACKGROUND"), (0.5, "UNCERTAIN"), (1, "FOREGROUND")])
def test_labels_are_painted_in_their_colours(label, colour):
    painted = figures.LABEL_COLOURS(figures.LABEL_NORM(label))
    assert painted[:3] == pytest.approx(to_rgb(getattr(figures, colour)))
