"""Groups and skin tones as pictures: every group is named with its number, small ones without a mark."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest

from uslnet_core import figures
from uslnet_core.errors import DataError
from uslnet_core.evaluation import by_tone, compare_groups
from uslnet_core.skin import TONES, tone_of

SCORES = pd.Series(np.linspace(0.1, 0.95, 40))
GROUPS = pd.DataFrame({"much hair": np.arange(40) < 15, "dark corners": np.arange(40) < 4})


def test_groups_are_named_and_counted():
    table = compare_groups(SCORES, GROUPS)
    ax = figures.group_plot(table).axes[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["much hair (15)", "dark corners (4), too few"]
    drawn = ax.containers[0][0].get_xdata()
    assert drawn[0] == pytest.approx(100 * table["difference"][0]) and np.isnan(drawn[1])
    with pytest.raises(DataError, match="0 rows"):
        figures.group_plot(table.iloc[:0])


def test_tones_stand_between_their_ends_light_to_dark():
    angles = np.linspace(88, -50, 40)
    angles[7] = np.nan
    table = by_tone(SCORES, tone_of(angles), [*TONES])
    ax = figures.tone_plot(angles, SCORES, table).axes[0]
    left, right = ax.get_xlim()
    assert left > right, "light skin is at the left"
    named = [text.get_text().replace("\n", " ") for text in ax.texts]
    assert named == [f"{row.tone} {row.n_images}" for row in table.itertuples()]
    means = ax.containers[0][0]
    assert list(means.get_ydata()) == pytest.approx(list(100 * table.dropna(subset=["low"])["mean"]))
    with pytest.raises(DataError, match="one each"):
        figures.tone_plot(angles[1:], SCORES, table)
