"""A run continues from weights and moments by name, and only on the base and conversations it began
with.
"""

import pytest
import torch

from warmth.errors import UserError
from warmth.training.resume import (
    COMPLETE,
    last_resume,
    load_state,
    refuse_other_origin,
    save_state,
)

ORIGIN = {"base": {"path": "aaa"}, "revision": None, "data": "bbb"}


def learner(seed):
    torch.manual_seed(seed)
    model = torch.nn.Linear(3, 2)
    return model, torch.optim.AdamW(model.parameters(), lr=0.1)


def step(model, optimizer):
    loss = model(torch.ones(1, 3)).square().sum()
    loss.backward()
    optimizer.step(), optimizer.zero_grad()
    return loss.item()


def test_a_restored_optimiser_takes_the_very_steps_the_first_would_have_taken(tmp_path):
    model, optimizer = learner(0)
    for _ in range(3):
        step(model, optimizer)
    save_state(model, optimizer, tmp_path, writes=True)
    expected = [step(model, optimizer) for _ in range(3)]
    other, fresh = learner(1)
    load_state(other, fresh, tmp_path)
    assert [step(other, fresh) for _ in range(3)] == expected


def test_only_a_whole_checkpoint_is_continued_from(tmp_path):
    for name, whole in (("checkpoint-2", True), ("checkpoint-10", True), ("checkpoint-12", False)):
        (tmp_path / "resume" / name).mkdir(parents=True)
        if whole:
            (tmp_path / "resume" / name / COMPLETE).touch()
    assert last_resume(tmp_path).endswith("checkpoint-10")


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("base", {"path": "x"}, "base model"),
        ("data", "x", "conversations"),
        ("revision", "x", "revision"),
    ],
)
def test_another_base_revision_or_data_is_refused_by_name(tmp_path, key, value, what):
    refuse_other_origin(tmp_path, ORIGIN, writes=True)
    refuse_other_origin(tmp_path, ORIGIN, writes=True)
    with pytest.raises(UserError, match=f"began with another {what}"):
        refuse_other_origin(tmp_path, {**ORIGIN, key: value}, writes=True)
