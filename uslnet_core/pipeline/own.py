"""All stages in a row, for whoever brings images and wants a segmenter: nothing here reads a mask."""

from __future__ import annotations

from uslnet_core.errors import DataError
from uslnet_core.pipeline.features import learn_all_features
from uslnet_core.pipeline.images import load_images, prepare_images, train_split
from uslnet_core.pipeline.saliency import make_saliency
from uslnet_core.pipeline.training import make_labels, refine, train_iteration
from uslnet_core.runs import Run
from uslnet_core.stages import Stage

FEWEST = 16  # images; contrastive learning tells images apart, and of fewer there is little to tell


def learn_from_images(run: Run) -> Stage:
    """Learn a segmenter from a run's images, with no label: chapters 1 to 6 in a row. Whole stages are reused.

    Args:
        run: the run; of the dataset ``folder`` for images of one's own.

    Returns:
        The last iteration's stage.

    Raises:
        DataError: there are fewer than sixteen images that can be read.
    """
    prepare_images(run, train_split(run))
    if (count := len(load_images(run))) < FEWEST:
        raise DataError(
            f"{count} images are too few to learn from: expected {FEWEST} or more, and a few hundred to be of use. "
            "Take the student that ships: leave learn false."
        )
    learn_all_features(run)
    make_saliency(run)
    make_labels(run)
    return [train_iteration(run, 0), *refine(run)][-1]
