"""Saliency maps from features learnt without labels (paper section 3.3).

A source takes images and gives maps; `map_images` runs any of them over a set. CCAM is the method's own.
"""

from uslnet_core.saliency.appearance import appearance
from uslnet_core.saliency.ccam import CCAM, TrainedCCAM, saliency_maps, train_ccam
from uslnet_core.saliency.clusters import colour_clusters
from uslnet_core.saliency.colour import colour_distance
from uslnet_core.saliency.freqcam import FreqCAM
from uslnet_core.saliency.fuse import agreement, mean_maps, weighed_maps
from uslnet_core.saliency.gradcam import ContrastiveLogit, GradientCAM
from uslnet_core.saliency.health import check_maps, map_health
from uslnet_core.saliency.source import Source, map_images, upsample

__all__ = [
    "CCAM",
    "ContrastiveLogit",
    "FreqCAM",
    "GradientCAM",
    "Source",
    "TrainedCCAM",
    "agreement",
    "appearance",
    "check_maps",
    "colour_clusters",
    "colour_distance",
    "map_health",
    "map_images",
    "mean_maps",
    "saliency_maps",
    "train_ccam",
    "upsample",
    "weighed_maps",
]
