"""``--method``: the paper's is the default and stays as it was; past it, a run has another name and another look."""

from __future__ import annotations

import pytest

from uslnet_core.book import find_notebooks, open_run, project_root
from uslnet_core.config import LookConfig, configure
from uslnet_core.errors import ConfigError
from uslnet_core.parameters import check_method, check_parameters, read_parameters
from uslnet_core.profiles import METHODS, PROFILES


def test_the_paper_s_method_is_the_default_and_has_nothing_of_the_other():
    for profile in PROFILES:
        config = configure(profile)
        assert config == configure(profile, method="usl-net") and config.method == "usl-net"
        assert not config.look.teach and not config.saliency.also
        assert (config.uncertainty.low, config.uncertainty.high) == (0.35, 0.65)


def test_the_other_changes_what_it_says_and_the_profile_keeps_the_rest():
    plain, plus = configure("workshop").model_dump(), configure("workshop", method="usl-plus").model_dump()
    changed = {
        (section, field)
        for section in plain
        if isinstance(plain[section], dict)
        for field in plain[section]
        if plain[section][field] != plus[section][field]
    }
    said = {(section, field) for section, fields in METHODS["usl-plus"].items() for field in fields}
    assert changed <= said and ("look", "teach") in changed
    assert configure("quick", method="usl-plus", uncertainty={"low": 0.2}).uncertainty.low == 0.2


def test_an_unknown_one_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="Unknown method 'usl-pls'. Did you mean usl-plus"):
        configure(method="usl-pls")


def test_runs_have_names_and_commands_of_their_own(tmp_path):
    plain, plus = (open_run(runs=str(tmp_path), method=method, name="mine") for method in METHODS)
    assert plain.folder.name == "synthetic-quick-mine" and plus.folder.name == "synthetic-quick-usl-plus-mine"
    assert "--method" not in plain.spell("run 05")
    assert plus.spell("run 05").startswith("uslnet run 05 --method usl-plus --name mine")
    with pytest.raises(ConfigError, match="begins as the folders of --method usl-plus do"):
        open_run(runs=str(tmp_path), name="usl-plus-mine")


def test_chapters_of_the_method_take_it_and_those_about_the_paper_s_do_not():
    available = find_notebooks(project_root())
    check_method("usl-plus", ["00", "01", "02", "03", "04", "05", "06", "07", "14"], available)
    check_method("usl-net", list(available), available)
    for number in ("09", "10", "11", "15"):
        assert "method" not in read_parameters(available[number])
        with pytest.raises(ConfigError, match=f"notebook {number} is about the paper's own method"):
            check_method("usl-plus", ["07", number], available)
    with pytest.raises(ConfigError, match="give it as an option instead, --method"):
        check_parameters(["method=usl-plus"], ["07"], available)


def test_terms_that_are_not_in_use_leave_no_trace_in_a_stage():
    assert LookConfig().settings() == {}
    used = LookConfig(twice=True).settings()["look"]
    assert not {"compact", "darker", "filled", "shave"} & set(used)
    assert LookConfig(twice=True, filled=True).settings()["look"]["filled"] is True
    assert LookConfig(filled=True, teach=True).settings() == {"look": {"views": 1, "filled": True}}


def test_what_is_learnt_hangs_on_no_answer_and_the_answer_on_no_lesson():
    assert LookConfig(twice=True).lesson() == {} and LookConfig(teach=True, cut=0.5).settings() == {}
    assert LookConfig(teach=True).lesson() == LookConfig(teach=True, twice=True).lesson() != {}
    assert LookConfig(teach=True).lesson() != LookConfig(teach=True, cut=0.5).lesson()


def test_quick_has_a_shorter_one():
    quick, workshop = (configure(profile, method="usl-plus").refinement for profile in ("quick", "workshop"))
    assert (quick.iterations, workshop.iterations) == (2, 3) and quick.first_epochs < workshop.first_epochs
    assert quick.warm_start and workshop.warm_start
    assert METHODS["usl-plus"]["refinement"]["iterations"] == 3, "what is shared stays as it was"
