"""The words of a command line: flags anywhere, and one line for a group that is set to nothing."""

import pytest

from warmth.command_line import ordered, refuse_null_groups
from warmth.digest import ROOT
from warmth.errors import UserError


def test_flags_are_read_wherever_they_stand():
    assert ordered(["a=1", "-m", "b=2"]) == ["-m", "a=1", "b=2"]
    assert ordered(["a=1", "~logger", "--cfg", "job", "+b=2"]) == ["--cfg", "job", "a=1", "+b=2", "~logger"]
    assert ordered(["--config-dir=x", "a=1"]) == ["--config-dir=x", "a=1"]


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("logger=null", "logger=none is the entry for nothing"),
        ("grader=null", '"grader=\\[\\]" leaves each task its own'),
        ("engine=", "choose one of: openai, transformers, vllm"),
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
