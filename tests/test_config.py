"""The configuration: frozen, strict, and its refusals name what would be right."""

from __future__ import annotations

import math
from typing import get_args

import pytest
from pydantic import ValidationError

from uslnet_core.config import PROFILES, Config, DatasetName, ProfileName, Section, check_choice, configure
from uslnet_core.data.registry import DATASETS
from uslnet_core.errors import ConfigError, USLNetError


@pytest.mark.parametrize("profile", get_args(ProfileName))
def test_every_profile_is_valid_and_says_what_it_is(profile):
    config = configure(profile)
    assert (config.profile, config.dataset, config.seed) == (profile, "synthetic", 0)
    assert set(PROFILES) == set(get_args(ProfileName))


def test_the_numbers_that_the_paper_gives():
    config = configure("paper")
    assert config.backbone == "resnet50" and config.images.size == 224 and config.segmenter.width == 256
    assert (config.refinement.iterations, config.refinement.epochs) == (5, 300)
    for profile in PROFILES:
        module = configure(profile).uncertainty
        assert (module.low, module.high, configure(profile).evaluation.threshold) == (0.35, 0.65, 0.5)
        assert round(module.min_area * 224 * 224) == 500 and module.exclusion == pytest.approx(1 / 3)


def test_dataset_names_are_those_of_the_registry():
    assert set(get_args(DatasetName)) == set(DATASETS)


def fields() -> list[tuple[str, str]]:
    found = []
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found += [(name, inner) for inner in field.annotation.model_fields]
    return found


@pytest.mark.parametrize(("section", "field"), fields())
def test_every_field_says_what_it_is(section, field):
    assert Config.model_fields[section].annotation.model_fields[field].description


# --- changes ---------------------------------------------------------------------------------------------------------


def test_what_is_named_is_changed_and_nothing_else():
    plain, changed = configure("workshop"), configure("workshop", uncertainty={"high": 0.7})
    assert changed.uncertainty.high == 0.7
    assert changed.model_copy(update={"uncertainty": plain.uncertainty}) == plain


def test_a_section_keeps_what_its_profile_says_of_the_rest():
    assert configure("paper", contrastive={"epochs": 3}).contrastive.batch_size == 256


def test_none_keeps_the_profiles_value():
    config = configure("quick", uncertainty={"low": None, "high": 0.7}, backbone=None)
    assert config.uncertainty.low == 0.35 and config.uncertainty.high == 0.7 and config.backbone == "resnet18"


def test_profiles_are_not_changed_by_use():
    before = repr(PROFILES)
    configure("paper", contrastive={"epochs": 3})
    assert repr(PROFILES) == before


def test_whole_numbers_pass_for_fractions():
    assert configure(evaluation={"threshold": 1}).evaluation.threshold == 1.0


def test_frozen():
    config = configure()
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 3
    with pytest.raises(ValidationError, match="frozen"):
        config.uncertainty.low = 0.1


def test_survives_json():
    config = configure("paper", dataset="ph2", seed=3)
    assert Config.model_validate_json(config.model_dump_json()) == config


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "qiuck"}, "Unknown profile 'qiuck'. Did you mean quick"),
        ({"profile": "fast"}, "Known: quick, workshop, paper"),
        ({"dataset": "isic2071"}, "Unknown dataset 'isic2071'. Did you mean .*isic2017 *[or?]"),
        ({"uncertainity": {"low": 0.1}}, "Unknown configuration field 'uncertainity'. Did you mean uncertainty"),
        ({"uncertainty": {"hihg": 0.7}}, "Unknown field of uncertainty 'hihg'. Did you mean high"),
        ({"contrastive": {"epoch": 3}}, "Unknown field of contrastive 'epoch'. Did you mean epochs"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(arguments, message):
    with pytest.raises(ConfigError, match=message):
        configure(**arguments)


@pytest.mark.parametrize(("low", "high"), [(0.7, 0.65), (0.5, 0.5), (1.0, 0.0)])
def test_low_must_be_below_high(low, high):
    with pytest.raises(ConfigError, match=f"low must be below high, but low is {low} and high is {high}"):
        configure(uncertainty={"low": low, "high": high})


def test_one_threshold_alone_is_checked_against_the_profiles_other():
    with pytest.raises(ConfigError, match="low is 0.35 and high is 0.3"):
        configure(uncertainty={"high": 0.3})


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("uncertainty", {"high": "0.7"}, r"uncertainty.high = '0.7': Input should be a valid number"),
        ("uncertainty", {"high": True}, r"uncertainty.high = True: Input should be a valid number"),
        ("uncertainty", {"high": 1.5}, r"uncertainty.high = 1.5: .*less than or equal to 1"),
        ("uncertainty", {"low": math.nan}, r"uncertainty.low = nan"),
        ("uncertainty", {"neighbours": 6}, r"uncertainty.neighbours = 6: Input should be 4 or 8"),
        ("images", {"size": 100}, r"images.size = 100: .*multiple of 32"),
        ("images", {"size": 96.0}, r"images.size = 96.0: .*integer"),
        ("images", {"count": 0}, r"images.count = 0: .*greater than or equal to 1"),
        ("contrastive", {"batch_size": 1}, r"contrastive.batch_size = 1"),
        ("contrastive", {"temperature": 0.0}, r"contrastive.temperature = 0.0: .*greater than 0"),
        ("contrastive", {"learning_rate": "fast"}, r"contrastive.learning_rate = 'fast'"),
        ("refinement", {"iterations": 0}, r"refinement.iterations = 0"),
        ("refinement", {"warm_start": "yes"}, r"refinement.warm_start = 'yes': .*boolean"),
        ("evaluation", {"split": "training"}, r"evaluation.split = 'training'"),
        ("compute", {"device": "tpu"}, r"compute.device = 'tpu': Input should be 'auto', 'cpu' or 'gpu'"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place_and_what_was_expected(section, values, message):
    with pytest.raises(ConfigError, match=message):
        configure(**{section: values})


@pytest.mark.parametrize("seed", [-1, 2**31, "0", 1.5, True])
def test_wrong_seeds(seed):
    with pytest.raises(ConfigError, match="seed = "):
        configure(seed=seed)


def test_a_section_must_be_a_section():
    with pytest.raises(ConfigError, match=r"uncertainty = 0\.7"):
        configure(uncertainty=0.7)


def test_all_that_is_wrong_is_named_at_once():
    with pytest.raises(ConfigError, match=r"epochs = 0.*low = 2\.0"):
        configure(uncertainty={"low": 2.0}, saliency={"epochs": 0})


def test_refusals_are_errors_that_a_user_can_mend():
    with pytest.raises(USLNetError):
        configure("nothing like it")


def test_check_choice_takes_the_choices_and_nothing_else():
    check_choice("thing", "one", ("one", "two"))
    for other in ("", "One", "one ", None, 1, ["one"]):
        with pytest.raises(ConfigError, match="Unknown thing.*Known: one, two"):
            check_choice("thing", other, ("one", "two"))


def test_encoders_that_would_be_one_network_are_refused():
    start = {"contrastive": {"epochs": 0, "init": "moco_v2_800"}}
    assert configure(encoders=("moco_v2",), **start).contrastive.epochs == 0
    assert configure(encoders=("moco_v2", "dino_r50"), **start)
    with pytest.raises(ConfigError, match="simclr and moco_v2 would all be the start as it is"):
        configure(encoders=("simclr", "moco_v2"), **start)


def test_one_ccam_on_all_features_is_a_ccam():
    several = {"encoders": ("simclr", "moco_v2")}
    assert configure(saliency={"fusion": "concatenated"}, **several)
    with pytest.raises(ConfigError, match="but a source is freq_cam: take fusion = mean"):
        configure(saliency={"fusion": "concatenated", "cam": "freq_cam"}, **several)
