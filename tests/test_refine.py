"""The segmenter's training: who takes part, what repeats, and what is refused."""

from __future__ import annotations

import copy
from hashlib import sha256

import numpy as np
import pytest
import torch
from safetensors.torch import save

from uslnet_core.compute import generator
from uslnet_core.data.augment import dihedral, random_dihedral
from uslnet_core.data.images import ImageSet
from uslnet_core.encoder import Encoder
from uslnet_core.errors import DataError, TrainingError
from uslnet_core.refine import SOFT, augmented, read_lesson, train_segmenter
from uslnet_core.segmenter import Segmenter, predict
from uslnet_core.windows import crop, random_windows

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def start() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(Encoder("resnet18"), width=16)


@pytest.fixture
def labels() -> np.ndarray:
    """(16, 32, 32) uint8 of 0, 1 and 2."""
    return np.random.default_rng(0).integers(0, 3, (16, 32, 32), dtype=np.uint8)


@pytest.fixture
def keep() -> np.ndarray:
    flags = np.ones(16, dtype=bool)
    flags[[0, 7, 15]] = False
    return flags


@pytest.fixture
def train(start, tiny, cpu):
    """Train a copy of the same segmenter: ``train(images, labels, keep)``."""

    def run(images, labels, keep, iteration=0, **changes):
        progress = changes.pop("progress", lambda *call: None)
        config = tiny(**changes)
        return train_segmenter(
            copy.deepcopy(start), images, labels, keep, config, cpu, iteration=iteration, progress=progress
        )

    return run


def as_bytes(trained) -> str:  # a hash: pytest would compare megabytes letter by letter
    return sha256(save({k: v.contiguous() for k, v in trained.model.state_dict().items()})).hexdigest()


def test_same_seed_same_bytes_another_seed_or_iteration_others(train, pictures, labels, keep):
    first = train(pictures, labels, keep)
    torch.manual_seed(99)
    again = train(pictures, labels, keep)
    assert as_bytes(again) == as_bytes(first) and again.history.equals(first.history)
    assert as_bytes(train(pictures, labels, keep, seed=1)) != as_bytes(first)
    assert as_bytes(train(pictures, labels, keep, iteration=1)) != as_bytes(first)


def test_excluded_images_have_no_influence(train, pictures, labels, keep):
    all_at_once = {"segmenter": {"batch_size": 13}}  # every image that is kept is in the one batch
    before = as_bytes(train(pictures, labels, keep, **all_at_once))
    other_labels, pixels = labels.copy(), np.array(pictures.images)
    other_labels[~keep] = 2 - other_labels[~keep]
    pixels[~keep] = 255 - pixels[~keep]
    assert as_bytes(train(ImageSet(pictures.ids, pixels), other_labels, keep, **all_at_once)) == before
    other_labels[1] = 2 - other_labels[1]  # one that is kept
    assert as_bytes(train(pictures, other_labels, keep, **all_at_once)) != before


def test_uncertain_pixels_teach_nothing(train, pictures, labels, keep):
    """Where all is uncertain nothing is learnt but weight decay."""
    unsure = np.ones_like(labels)
    trained = train(pictures, unsure, keep, segmenter={"weight_decay": 0.0})
    assert trained.history["loss"].tolist() == [0.0]


def test_it_learns_what_the_labels_say(train, pictures, cpu):
    grey = np.array(pictures.images).mean(3)
    dark = grey < np.median(grey)  # half of the pixels: saying always the same is right for half
    options = {"segmenter": {"batch_size": 4}, "refinement": {"first_epochs": 5}}
    trained = train(pictures, dark.astype(np.uint8) * 2, np.ones(16, dtype=bool), **options)
    assert trained.history["loss"].iloc[-1] < trained.history["loss"].iloc[0] < np.log(2) + 0.1
    assert not trained.model.training
    assert ((predict(trained.model, pictures, cpu) > 0.5) == dark).mean() > 0.7


def test_history_and_progress(train, pictures, labels, keep):
    calls = []
    trained = train(pictures, labels, keep, refinement={"first_epochs": 2}, progress=lambda *call: calls.append(call))
    assert list(trained.history.columns) == ["epoch", "loss", "learning_rate"]
    assert list(trained.history["epoch"]) == [1, 2]
    # 13 kept images in batches of 8: one full batch an epoch
    assert calls == [("segmenter, iteration 0", 1, 2), ("segmenter, iteration 0", 2, 2)]


def test_later_iterations_have_epochs_of_their_own(train, pictures, labels, keep):
    epochs = {"first_epochs": 1, "epochs": 2}
    assert len(train(pictures, labels, keep, iteration=0, refinement=epochs).history) == 1
    assert len(train(pictures, labels, keep, iteration=1, refinement=epochs).history) == 2


def test_the_literal_loss_is_a_quarter_of_the_first(train, pictures, labels, keep):
    one = train(pictures, labels, keep).history["loss"].iloc[0]
    quarter = train(pictures, labels, keep, segmenter={"literal": True}).history["loss"].iloc[0]
    assert quarter == pytest.approx(one / 4, rel=1e-5)


def test_one_kept_image_is_enough(train, pictures, labels):
    assert len(train(pictures, labels, np.arange(16) == 3).history) == 1


def test_no_image_kept_is_an_error(train, pictures, labels):
    with pytest.raises(TrainingError, match="kept no image.*notebook 03.*uncertainty.high"):
        train(pictures, labels, np.zeros(16, dtype=bool))


def test_a_loss_that_is_not_a_number_is_an_error(train, pictures, labels, keep):
    with pytest.raises(
        TrainingError,
        match=r"loss is (nan|inf) in epoch \d of iteration 0.*learning_rate \(-p learning_rate=…, now 1e\+30",
    ):
        train(pictures, labels, keep, segmenter={"learning_rate": 1e30, "batch_size": 4})


@pytest.mark.parametrize(("labelled", "flags"), [(15, 16), (16, 15)])
def test_what_does_not_belong_together_is_refused(train, pictures, labels, keep, labelled, flags):
    with pytest.raises(DataError, match=f"16 images, {labelled} labels and {flags} keep flags"):
        train(pictures, labels[:labelled], keep[:flags])


def test_labels_of_another_size_are_refused(train, pictures, keep):
    with pytest.raises(DataError, match="same shape"):
        train(pictures, np.ones((16, 16, 16), dtype=np.uint8), keep)


@pytest.mark.parametrize("scale", [2, SOFT], ids=["three-way", "soft"])
@pytest.mark.parametrize("cut", [0.0, 0.25])
def test_windows_cut_image_and_label_alike(pictures, tiny, scale, cut):
    """Without a change of colours, a view is the crop of the image, and its label the crop of the label."""
    colours = {name: 0.0 for name in ("brightness", "contrast", "saturation", "hue")}
    options, chosen = tiny(segmenter=colours).segmenter, torch.tensor([2, 5, 9])
    labels = (np.indices((16, 32, 32))[2] // 8 % 3 * (scale // 2)).astype(np.uint8)
    lesson = read_lesson(pictures, labels, chosen, torch.device("cpu"))
    view, label = augmented(*lesson, options, generator(4), torch.device("cpu"), 16, cut, scale)
    rng, known = generator(4), torch.from_numpy(labels[chosen.numpy()])
    windows = random_windows(known > scale / 2, rng, cut=cut)
    turn = random_dihedral(3, rng)
    assert torch.allclose(view, dihedral(crop(pictures.batch(chosen), windows, 16, 32), *turn), atol=1e-6)
    mode = "nearest" if scale == 2 else "bilinear"
    expected = dihedral(crop(known[:, None].float(), windows, 16, 32, mode)[:, 0], *turn) / scale
    assert torch.equal(label, expected) and view.shape == (3, 3, 16, 16)
    if scale == 2:
        assert set(label.unique().tolist()) <= {0.0, 0.5, 1.0}


def test_a_student_learns_probabilities(pictures, cpu, tiny):
    """Soft labels of a simple rule are learnt: darker is likelier."""
    torch.manual_seed(0)
    student = Segmenter(Encoder("slim18"), width=16)
    dark = 1 - pictures.batch(range(16)).mean(1)
    soft = (dark * SOFT).round().to(torch.uint8).numpy()
    config = tiny(segmenter={"learning_rate": 3e-3})
    kept = np.ones(16, bool)
    trained = train_segmenter(student, pictures, soft, kept, config, cpu, iteration=9, size=32, scale=SOFT, epochs=40)
    found = predict(trained.model, pictures, cpu)
    assert len(trained.history) == 40
    assert np.corrcoef(found.ravel(), dark.numpy().ravel())[0, 1] > 0.5
