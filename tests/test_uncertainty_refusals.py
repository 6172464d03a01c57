"""What the uncertainty module refuses: settings out of range, and what is no batch of maps."""

import math

import numpy as np
import pytest
import torch

from uslnet_core.errors import ConfigError, DataError
from uslnet_core.uncertainty import UncertaintyModule


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"low": 0.7}, r"low is 0\.7 and high is 0\.65, but low must be less"),
        ({"low": 0.65}, "low must be less than high"),
        ({"low": -0.1}, r"low is -0\.1, but saliency lies in \[0, 1\]"),
        ({"high": 1.5}, r"high is 1\.5, but saliency lies in \[0, 1\]"),
        ({"high": math.nan}, "high is nan"),
        ({"low": "0.3"}, r"low must be a number, but is '0\.3'"),
        ({"high": True}, "high must be a number, but is True"),
        ({"min_area": 500}, r"min_area is 500, but it is a fraction .* 500 / 224\*\*2"),
        ({"min_area": -1}, "min_area is -1"),
        ({"neighbours": 6}, r"neighbours is 6, but must be 8 .* or 4"),
        ({"rule": "median"}, "rule is 'median', but must be 'mean' .* 'sum' .* or 'relative'"),
        ({"thresholds": "otsu"}, "thresholds is 'otsu', but must be 'fixed' .* or 'adaptive'"),
        ({"doubt": 1.0}, "doubt is 1.0, but it is a share: 0 or more, and below 1"),
        ({"doubt": -0.1}, "doubt is -0.1"),
        ({"band": 2.0}, "band is 2.0, but it is a share: 0 or more, and 1 at most"),
        ({"band": "wide"}, "band must be a number"),
        ({"exclusion": -0.5}, r"exclusion is -0\.5, .* 0 or more"),
        ({"exclusion": math.nan}, "exclusion is nan"),
        ({"exclusion": None}, "exclusion must be a number, but is None"),
    ],
)
def test_settings_that_are_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        UncertaintyModule(**setting)


def spoilt(value, count=1):
    maps = torch.full((2, 4, 5), 0.5)
    maps[1, 2, 3] = value
    maps[1, 3, : count - 1] = value
    return maps


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (torch.rand(4, 4), r"shape \(B, H, W\), but have \(4, 4\).*unsqueeze\(0\)"),
        (torch.rand(2, 1, 4, 4), r"but have \(2, 1, 4, 4\).*squeeze\(1\)"),
        (torch.rand(4), r"but have \(4,\)"),
        (torch.rand(2, 0, 4), r"at least one pixel, but have the shape \(2, 0, 4\)"),
        (np.zeros((1, 4, 4), np.float32), r"are a ndarray: torch\.from_numpy"),
        ([[0.5]], "are a list"),
        (torch.zeros(1, 4, 4, dtype=torch.uint8), r"are torch\.uint8.*Divide 8-bit values by 255"),
        (spoilt(math.nan, 3), "3 saliency values are NaN, the first in image 1 at row 2, column 3"),
        (spoilt(1.01), r"ranges from 0\.5 to 1\.01; .* image 1 at row 2, column 3.*sigmoid"),
        (spoilt(-0.01), r"ranges from -0\.01 to 0\.5"),
        (spoilt(math.inf), "to inf"),
    ],
)
def test_maps_that_are_refused(maps, message):
    with pytest.raises(DataError, match=message):
        UncertaintyModule()(maps)
