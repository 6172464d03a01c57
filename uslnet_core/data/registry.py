"""The datasets that the book knows: what they are called, who made them, and under which licence."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches

from uslnet_core.errors import ConfigError


@dataclass(frozen=True)
class Dataset:
    """What is known of a dataset before any file is opened.

    Attributes:
        name: as typed on the command line.
        title: for headings.
        licence: the licence's name and its main condition.
        citation: what to cite.
        splits: the parts, ``all`` left out unless it is the only one.
        train_split: the part that training uses.
        score_split: the part that is scored unless the user says otherwise.
        images_folder: split → folder of images.
        masks_folder: split → folder of masks.
        expected: split → the official number of images.
        home: the page to get it from.
    """

    name: str
    title: str
    licence: str
    citation: str
    splits: tuple[str, ...]
    train_split: str
    score_split: str
    images_folder: dict[str, str] = field(default_factory=dict)
    masks_folder: dict[str, str] = field(default_factory=dict)
    expected: dict[str, int] = field(default_factory=dict)
    home: str = ""

    def parts(self, split: str) -> tuple[str, ...]:
        """Resolve a split's name to the dataset's own parts.

        Args:
            split: ``train``, ``validation``, ``test`` or ``all``. ``all`` leaves out a sealed test set: that
                is read only when it is asked for by name.

        Returns:
            The names of the parts.

        Raises:
            ConfigError: the dataset has no such split.
        """
        if split in self.splits:
            return (split,)
        if split == "all":
            return tuple(part for part in self.splits if part != "test")
        known = ", ".join(dict.fromkeys((*self.splits, "all")))
        raise ConfigError(f"{self.name} has no split {split!r}; expected one of {known}.")


def _isic(year: int, images: str, masks: str, test: str, **details: object) -> Dataset:
    named = {"train": "Training", "validation": "Validation", "test": test}
    return Dataset(
        name=f"isic{year}",
        title=f"ISIC {year}, lesion segmentation",
        splits=tuple(named),
        train_split="train",
        score_split="validation",
        images_folder={split: images.format(part) for split, part in named.items()},
        masks_folder={split: masks.format(part) for split, part in named.items()},
        home=f"https://challenge.isic-archive.com/data/#{year}",
        **details,
    )


DATASETS: dict[str, Dataset] = {
    each.name: each
    for each in (
        Dataset(
            name="synthetic",
            title="Synthetic dermoscopy",
            licence="MIT, with this book's code: the images are drawn from a seed.",
            citation="This book.",
            splits=("train", "validation", "test"),
            train_split="train",
            score_split="validation",
        ),
        _isic(
            2017,
            images="ISIC-2017_{}_Data",
            masks="ISIC-2017_{}_Part1_GroundTruth",
            test="Test_v2",
            licence="CC0 1.0: no conditions; the authors ask to be cited.",
            citation=(
                "N. Codella et al. Skin lesion analysis toward melanoma detection: a challenge at the 2017 "
                "ISBI, hosted by the International Skin Imaging Collaboration. ISBI 2018, arXiv:1710.05006."
            ),
            expected={"train": 2000, "validation": 150, "test": 600},
        ),
        _isic(
            2018,
            images="ISIC2018_Task1-2_{}_Input",
            masks="ISIC2018_Task1_{}_GroundTruth",
            test="Test",
            licence="CC BY-NC 4.0: name the authors; no commercial use.",
            citation=(
                "N. Codella et al. Skin lesion analysis toward melanoma detection 2018, arXiv:1902.03368; "
                "and P. Tschandl et al. The HAM10000 dataset. Scientific Data 5, 180161 (2018)."
            ),
            expected={"train": 2594, "validation": 100, "test": 1000},
        ),
        Dataset(
            name="ph2",
            title="PH²",
            licence="Research and education only; may not be passed on.",
            citation=(
                "T. Mendonça et al. PH² – a dermoscopic image database for research and benchmarking. EMBC "
                "2013, doi:10.1109/EMBC.2013.6610779."
            ),
            splits=("all",),
            train_split="all",
            score_split="all",
            expected={"all": 200},
            home="https://www.fc.up.pt/addi/ph2%20database.html",
        ),
        Dataset(
            name="folder",
            title="Your own images",
            licence="Whatever holds for the images.",
            citation="Whatever holds for the images.",
            splits=("all",),
            train_split="all",
            score_split="all",
        ),
    )
}


def dataset(name: str) -> Dataset:
    """Look a dataset up.

    Args:
        name: one of ``DATASETS``.

    Returns:
        What is known of it.

    Raises:
        ConfigError: there is no such dataset; the message holds the nearest names.
    """
    if name in DATASETS:
        return DATASETS[name]
    near = get_close_matches(str(name).lower(), DATASETS, n=2, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise ConfigError(f"Unknown dataset {name!r}; expected one of {', '.join(DATASETS)}.{hint}")
