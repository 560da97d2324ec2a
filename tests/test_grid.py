"""Points composed fast are the points Hydra composes, errors included."""

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given, settings
from hypothesis import strategies as st

from warmth.config import compose_line, strict
from warmth.digest import ROOT
from warmth.errors import UserError
from warmth.schemas import Evaluate, Train, register
from warmth.sweep.grid import SweepGrid, grid_points

TRAIN = [
    "recipe=warm",
    "recipe=none",
    "model=llama8b",
    "model=gpt4o",
    "launcher=deepspeed_zero3",
    "experiment=demo_train",
    "seed=3",
    "recipe.epochs=2",
    "recipe.strength=0.5",
    "recipe.checkpoints=[1,2.0]",
    "launcher.per_device=2",
    "rerun=all",
    "data.per_type=null",
    "model.path=x",
    "study='a b'",
    "api.batch.requests=7",
    "logger.wandb.project=p",
    "recipe.name=other",
    "recipe.strength=2",
    "launcher.per_device=many",
    "seed=x",
    "recipe.batch_size=0",
    "nothing=1",
    "recipe.none=1",
    "launcher.zero_stage=7",
    "+recipe.rnak=3",
    "++seed=4",
    "~study",
    "data.conversations=3",
    "recipe.checkpoints=3",
]
EVALUATE = [
    "recipe=none",
    "task=[seed_trivia]",
    "condition=all",
    "beliefs=all",
    "beliefs=[none,user_right]",
    "gates=warn",
    "gates.refused_points=3",
    "limit=null",
    "limit=5",
    "dose=0.5",
    "task.seed_trivia.questions=3",
    "engine.batch_size=2",
    "seed=1",
    "sampling.temperature=1",
    "beliefs=maybe",
    "task.triviaqa.questions=3",
    "engine.batch=2",
    "limit=0",
    "gates.mode=maybe",
    "grader=[judge]",
    "grader.judge.model=x",
    "samples=2",
    "preamble=true",
    "condition=[]",
]


@pytest.fixture(scope="module")
def loader():
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def outcome(make):
    """A study, or the line a user reads."""
    try:
        return make()
    except UserError as error:
        return str(error)
    except Exception as error:
        return compose_line(error)


@pytest.mark.parametrize(
    ("name", "schema", "pool"),
    [
        ("train", Train, TRAIN),
        pytest.param("evaluate", Evaluate, EVALUATE, marks=pytest.mark.slow),
    ],
)
def test_fast_points_equal_hydras(loader, name, schema, pool):
    grid = SweepGrid(loader, name, schema)

    @given(st.lists(st.sampled_from(pool), max_size=4, unique_by=lambda item: item.split("=")[0]))
    @settings(max_examples=12, database=None)
    def check(overrides):
        slow = outcome(lambda: strict(grid.compose(overrides), schema))
        assert outcome(lambda: grid.accept(overrides)) == slow
        assert (
            outcome(lambda: grid.accept(overrides)) == slow
        )  # nothing of the first is left in the second

    check()


def test_keys_at_the_top_keep_their_types(loader):
    grid = SweepGrid(loader, "train", Train)
    assert grid.accept(["study=3"]).study == "3"
    for wrong in ("seed=x", "seed=1.5", "plan=7.5"):
        slow = outcome(lambda: strict(grid.compose([wrong]), Train))  # noqa: B023
        assert outcome(lambda: grid.accept([wrong])) == slow  # noqa: B023
        assert "could not be converted" in slow or "not a valid" in slow


def test_a_choice_of_entries_is_composed_once(loader, monkeypatch):
    composed = []
    grid = SweepGrid(loader, "train", Train)
    monkeypatch.setattr(
        grid,
        "compose",
        lambda overrides, make=grid.compose: composed.append(overrides) or make(overrides),
    )
    found = grid_points(loader, ["recipe=warm,cold", "seed=range(0,20)", "recipe.strength=0.5,1"])
    studies = [grid.accept(point) for point in found]
    assert len(studies) == 80 and len(composed) == 2
    assert {(s.recipe.name, s.seed, s.recipe.strength) for s in studies} == {
        (name, seed, share)
        for name in ("warm", "cold")
        for seed in range(20)
        for share in (0.5, 1.0)
    }
    studies[0].recipe.checkpoints.append(99.0)
    assert 99.0 not in studies[1].recipe.checkpoints


def test_a_whole_number_in_a_sweep_is_the_float_that_one_run_makes_of_it(loader):
    """A digest holds 75 and 75.0 apart, so a sweep would look for another run than its job
    makes.
    """
    words = ["model=smollm2", "recipe=none", "until_width=75"]
    assert type(SweepGrid(loader, "evaluate", Evaluate).accept(words).until_width) is float
