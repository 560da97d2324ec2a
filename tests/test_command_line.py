"""The words of a command line: flags anywhere, and one line for a group that is set to nothing."""

import pytest
from omegaconf import OmegaConf

from warmth.command_line import (
    flags_first,
    plain_groups,
    refuse_changed_settings,
    refuse_ignored_flags,
    refuse_ignored_hydra,
    refuse_null_groups,
    refuse_other_groups,
    refuse_sweep_keys,
)
from warmth.digest import ROOT
from warmth.entries import OWN_FOLDER
from warmth.errors import UserError
from warmth.help import GROUPS, page


def test_flags_are_read_wherever_they_stand():
    assert flags_first(["a=1", "-m", "b=2"]) == ["-m", "a=1", "b=2"]
    assert flags_first(["a=1", "~logger", "--cfg", "job", "+b=2"]) == [
        "--cfg",
        "job",
        "a=1",
        "+b=2",
        "~logger",
    ]
    assert flags_first(["--config-dir=x", "a=1"]) == ["--config-dir=x", "a=1"]


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("logger=null", "logger=none is the entry for nothing"),
        ("grader=null", '"grader=\\[\\]" leaves each task its own'),
        ("engine=", "choose one of: inspect, openai, transformers, vllm"),
        ("task=null", "choose one of: .*seed_trivia"),
        ("model=null", "choose one of: .*smollm2"),
        ("experiment=null", "leave it out for no experiment"),
    ],
)
def test_a_group_set_to_null_is_one_line_that_says_what_to_write(word, advice):
    with pytest.raises(UserError, match=f"{word} is not allowed; {advice}"):
        refuse_null_groups(["seed=1", word], ROOT / "conf")


def test_a_key_may_be_null():
    refuse_null_groups(["limit=null", "model.revision=null", "logger=none"], ROOT / "conf")


@pytest.mark.parametrize("word", ["~logger", "~model=smollm2"])
def test_a_group_that_is_taken_away_is_refused_like_one_set_to_null(word):
    with pytest.raises(UserError, match=f"{word} is not allowed; "):
        refuse_null_groups([word], ROOT / "conf")


def test_a_group_added_with_a_plus_is_the_group_chosen():
    words = ["+experiment=demo_train", "++recipe=warm", "+recipe.rank=2", "seed=1"]
    assert plain_groups(words, ["experiment", "recipe"]) == [
        "experiment=demo_train",
        "recipe=warm",
        "+recipe.rank=2",
        "seed=1",
    ]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("hydra.run.dir=x", "output= and study= say where it goes"),
        ("+hydra.job.chdir=true", "output= and study= say where it goes"),
        ("hydra.output_subdir=.hydra", "output= and study="),
        ("hydra/job_logging=default", "nothing is logged through Hydra"),
        ("hydra.job.env_set.KEY=x", "set variables in the environment"),
        ("hydra.callbacks.mine=x", "of Hydra's keys these are read: hydra/launcher"),
        ("hydra/sweeper=basic", "hydra/sweeper=study"),
    ],
)
def test_a_key_of_hydra_that_has_no_effect_is_refused(word, says):
    with pytest.raises(UserError, match=says):
        refuse_ignored_hydra(["seed=1", word])


def test_keys_of_hydra_that_have_one_are_accepted():
    words = [
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "hydra.sweeper.params.seed=0,1",
        "hydra.mode=RUN",
    ]
    refuse_ignored_hydra(
        [*words, "hydra.searchpath=[file://x]", "hydra/sweeper=study", "hydraulic=1"]
    )


def test_what_starts_the_jobs_of_a_sweep_is_refused_for_a_single_run():
    with pytest.raises(
        UserError, match="hydra/launcher=slurm has no effect on a single run: add -m"
    ):
        refuse_sweep_keys(["hydra.mode=RUN", "hydra/launcher=slurm"])


def test_a_file_of_the_user_cannot_change_where_runs_go_through_hydra():
    settings = {
        "run": {"dir": "."},
        "sweep": {"dir": ".", "subdir": "."},
        "output_subdir": None,
        "verbose": False,
    }
    refuse_changed_settings(OmegaConf.create(settings))
    settings["sweep"]["subdir"] = "${hydra.job.num}"
    with pytest.raises(UserError, match="hydra.sweep.subdir"):
        refuse_changed_settings(OmegaConf.create({**settings, "hydra": {"job": {"num": 3}}}))


@pytest.mark.parametrize(
    ("flag", "says"), [("-p", "without --cfg job"), ("--config-name=x", "--config-dir=DIR")]
)
def test_a_flag_that_would_do_nothing_is_refused(flag, says):
    with pytest.raises(UserError, match=says):
        refuse_ignored_flags([flag, "recipe"])
    refuse_ignored_flags(["--cfg", "job", "-p", "recipe"])


def test_a_group_of_the_other_command_is_named_as_such():
    with pytest.raises(
        UserError, match=r"task=\[mmlu\] chooses for evaluate.py; the groups of train.py are: model"
    ):
        refuse_other_groups(
            ["task=[mmlu]"], "train", GROUPS["train"], {*GROUPS["train"], *GROUPS["evaluate"]}
        )


def test_the_help_lists_entries_of_the_users_own_folder_whatever_their_names(tmp_path, monkeypatch):
    for name, text in (
        ("recipe/curt.yaml", "# My own arm.\nname: curt\n"),
        ("experiment/ours.yaml", "# Ours, both.\n"),
        ("experiment/mine_evaluate.yaml", "seed: 1\n"),
        (
            "recipe/two_lines.yaml",
            "# One sentence that goes on\n# below its line. Another.\nname: two_lines\n",
        ),
        ("recipe/begun.yaml", "# Whole. The second is\n# not.\nname: begun\n"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv(OWN_FOLDER, str(tmp_path))
    shown = page("train")
    assert (
        "    curt                    My own arm." in shown
        and "    ours " in shown
        and "mine_evaluate" not in shown
    )
    assert "    mine_evaluate" in page("evaluate")
    lines = [line.strip() for line in shown.splitlines()]
    assert "two_lines               One sentence that goes on below its line." in lines
    assert "begun                   Whole." in lines


@pytest.mark.parametrize("columns", ["60", "100"])
def test_no_line_of_the_help_is_cut_or_wider_than_the_terminal_unless_a_word_is(
    columns, monkeypatch
):
    monkeypatch.setenv("COLUMNS", columns)
    lines = page("evaluate").splitlines()
    assert not [line for line in lines if line.endswith("…")]
    start = lines.index("  model")
    end = next(number for number, line in enumerate(lines) if line.startswith("Keys, "))
    too_wide = [line for line in lines[start:end] if len(line) > int(columns)]
    assert [
        line for line in too_wide if len(line.split()) > 2
    ] == []  # one word that cannot be broken
