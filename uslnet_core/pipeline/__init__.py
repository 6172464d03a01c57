"""One function per stage: what it reads, what it computes, what it writes.

Each takes a :class:`~uslnet_core.runs.Run`, opens the stages it needs (a missing one names the notebook that makes it)
and returns its own stage, made now or reused. Masks appear in :mod:`uslnet_core.pipeline.scoring` alone.
"""

from uslnet_core.pipeline.ablations import ENCODER_TITLES, TRANSFORMERS, figure_9, options, table_8, table_9
from uslnet_core.pipeline.features import (
    fabric_of,
    learn_all_features,
    learn_features,
    load_encoder,
    load_head,
)
from uslnet_core.pipeline.images import (
    image_size,
    load_images,
    prepare_images,
    refuse_skipped,
    source_digest,
    train_split,
)
from uslnet_core.pipeline.saliency import (
    build_source,
    heads_of,
    load_ccam,
    load_maps,
    load_saliency,
    main_maps,
    make_saliency,
    map_part,
    map_with,
    source_name,
)
from uslnet_core.pipeline.scoring import (
    evaluate,
    load_masks,
    model_name,
    prepare_masks,
    score_at_size,
    score_native,
    score_split,
    score_table,
    truth_sources,
)
from uslnet_core.pipeline.training import (
    fresh_segmenter,
    last_segmenter,
    load_labels,
    load_segmenter,
    make_labels,
    refine,
    starting_encoder,
    train_iteration,
    write_labels,
)
from uslnet_core.pipeline.variants import complete, line_of, main_encoders, vary, whole_stages
from uslnet_core.pipeline.weights import load_weights, save_weights

__all__ = [
    "ENCODER_TITLES",
    "TRANSFORMERS",
    "build_source",
    "complete",
    "evaluate",
    "fabric_of",
    "figure_9",
    "fresh_segmenter",
    "heads_of",
    "image_size",
    "last_segmenter",
    "learn_all_features",
    "learn_features",
    "line_of",
    "load_ccam",
    "load_encoder",
    "load_head",
    "load_images",
    "load_labels",
    "load_maps",
    "load_masks",
    "load_saliency",
    "load_segmenter",
    "load_weights",
    "main_encoders",
    "main_maps",
    "make_labels",
    "make_saliency",
    "map_part",
    "map_with",
    "model_name",
    "options",
    "prepare_images",
    "prepare_masks",
    "refine",
    "refuse_skipped",
    "save_weights",
    "score_at_size",
    "score_native",
    "score_split",
    "score_table",
    "source_digest",
    "source_name",
    "starting_encoder",
    "table_8",
    "table_9",
    "train_iteration",
    "train_split",
    "truth_sources",
    "vary",
    "whole_stages",
    "write_labels",
]
