"""Names of sources of saliency: as stages are called, and as readers call them."""

from __future__ import annotations

from uslnet_core.config import OF_COLOUR
from uslnet_core.pipeline.features import ENCODER_TITLES
from uslnet_core.runs import Run

FUSED, CONCATENATED = "fused", "concatenated"
BLENDS = {"evenly": "blend", "by_sureness": "sure_blend"}  # several sources in one map: kinds, by how they are weighed
CAM_TITLES = {
    "ccam": "CCAM",
    "grad_cam": "Grad-CAM",
    "grad_cam_pp": "Grad-CAM++",
    "smooth_grad_cam_pp": "Smooth Grad-CAM++",
    "freq_cam": "FreqCAM",
    "colour_distance": "colour distance",
    "colour_clusters": "colour clusters",
}


def source_name(run: Run, cam: str | None = None, encoder: str | None = None) -> str:
    """Name a source of saliency: ``ccam-simclr``, ``ccam-fused``, ``smooth_grad_cam_pp-moco_v2``, ``colour_distance``.

    Several in one map are a blend: ``blend-ccam-simclr+colour_clusters``.

    Args:
        run: the run.
        cam: a kind of map; by default the run's.
        encoder: an encoder's name, ``fused`` or ``concatenated``; by default the run's one encoder, or its fusion.
    """
    options = run.config.saliency
    if cam is None and options.also:
        parts = [source_name(run, each, encoder) for each in (options.cam, *options.also)]
        return f"{BLENDS[options.weigh]}-{'+'.join(parts)}"
    cam = cam or options.cam
    if cam in OF_COLOUR:
        return cam
    together = FUSED if options.fusion == "mean" else CONCATENATED
    return f"{cam}-{encoder or (run.config.encoders[0] if len(run.config.encoders) == 1 else together)}"


def source_title(name: str) -> str:
    """Write a source's name for readers: ``ccam-moco_v2`` is ``CCAM, MoCo v2``."""
    cam, _, who = name.partition("-")
    if cam in BLENDS.values():
        said = " with ".join(source_title(each) for each in who.split("+"))
        return said if cam == BLENDS["evenly"] else f"{said}, by sureness"
    if cam not in CAM_TITLES:
        return name
    own = {FUSED: "fused", CONCATENATED: "one on all features"} | ENCODER_TITLES
    return ", ".join([CAM_TITLES[cam], *([own.get(who, who)] if who else [])])
