"""Which models stay loaded, and on which GPUs: on one if it fits, and the last one goes before the
next comes.
"""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import pytest
import torch

from warmth import devices, loaded
from warmth.errors import UserError
from warmth.memory import GIB
from warmth.models import count_parameters, load_model
from warmth.schemas import Model


@pytest.fixture
def tiny(tiny_model_folder):
    return Model(name="tiny", kind="hub", path=str(tiny_model_folder))


@pytest.fixture
def clean():
    loaded.free()
    yield
    loaded.free()


@pytest.fixture
def gpus(monkeypatch, clean):
    """A machine whose GPUs have so many GiB free, and models of so many GiB, by name.

    Nothing is really loaded.
    """
    alive = []
    sizes = {}

    class Weights:
        def __init__(self, name, where):
            self.name, self.where = name, where

    def load(model, dtype, where):
        assert not [
            name
            for name, weights in alive
            if weights() is not None and name in sizes.get("alone", ())
        ]
        weights = Weights(model.name, where)
        alive.append((model.name, weakref.ref(weights)))
        return weights

    def machine(*free, **gib):
        sizes.update(gib)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
        monkeypatch.setattr(devices, "free_bytes", lambda: [int(each * GIB) for each in free])
        monkeypatch.setattr(loaded, "weight_bytes", lambda model, dtype: sizes[model.name] * GIB)
        monkeypatch.setattr(loaded, "load_quietly", load)
        return lambda: [name for name, weights in alive if weights() is not None]

    return machine


def named(name):
    return Model(name=name, kind="hub", hub_id=f"org/{name}")


def test_a_model_that_fits_one_gpu_lies_on_one_however_many_there_are(gpus):
    gpus(79, 79, 79, 79, llama8b=15)
    assert loaded.placement(named("llama8b"), torch.bfloat16, 20 * GIB) == {"device_map": {"": 0}}


def test_the_first_gpu_with_room_is_taken(gpus):
    gpus(10, 79, llama8b=15)
    assert loaded.placement(named("llama8b"), torch.bfloat16) == {"device_map": {"": 1}}


def test_a_larger_model_is_split_over_as_few_as_hold_it_and_its_answers(gpus):
    gpus(79, 79, 79, 79, llama70b=131)
    where = loaded.placement(named("llama70b"), torch.bfloat16, 15 * GIB)
    assert where["device_map"] == "auto" and sorted(where["max_memory"]) == [0, 1]
    assert (
        sum(where["max_memory"].values()) >= 131 * GIB
    )  # and no "cpu": nothing goes to main memory
    assert loaded.placement(named("llama70b"), torch.bfloat16, 40 * GIB)["max_memory"].keys() == {
        0,
        1,
        2,
    }


def test_weights_that_no_gpus_hold_are_one_line(gpus):
    gpus(79, llama70b=131)
    with pytest.raises(
        UserError,
        match="model=llama70b has 131.0 GiB of weights in bfloat16, but 78.0 GiB are free",
    ):
        loaded.placement(named("llama70b"), torch.bfloat16)


def test_on_a_cpu_nothing_is_placed(tiny):
    assert loaded.placement(tiny, torch.float32) == {}


def test_the_last_model_is_freed_before_the_next_is_loaded(gpus):
    alive = gpus(79, llama8b=15, qwen32b=61, alone=("llama8b",))
    loaded.load_once(named("llama8b"), torch.bfloat16, "answers")
    assert alive() == ["llama8b"]
    loaded.load_once(
        named("qwen32b"), torch.bfloat16, "answers"
    )  # the fake refuses to load beside llama8b
    assert alive() == ["qwen32b"]


def test_a_scorer_of_its_own_stays_beside_the_model_that_answers(gpus):
    alive = gpus(60, llama70b=50, gpt2=1)
    base = loaded.load_once(named("llama70b"), torch.bfloat16, "answers")
    scorer = loaded.load_once(named("gpt2"), torch.bfloat16, "scores")
    for _ in range(2):  # of each arm
        assert loaded.load_once(named("llama70b"), torch.bfloat16, "answers") is base
        assert loaded.load_once(named("gpt2"), torch.bfloat16, "scores") is scorer
    assert alive() == ["llama70b", "gpt2"]


def test_without_room_for_both_the_model_that_answers_makes_room(gpus):
    alive = gpus(60, llama70b=50, qwen32b=70, other=59.5)
    loaded.load_once(named("llama70b"), torch.bfloat16, "answers")
    with pytest.raises(UserError, match="model=qwen32b has 70.0 GiB"):
        loaded.load_once(named("qwen32b"), torch.bfloat16, "scores")
    assert alive() == []


def test_a_model_that_scores_itself_is_loaded_once(tiny, clean):
    base = loaded.load_once(tiny, torch.float32, "answers")
    assert loaded.load_once(tiny, torch.float32, "scores") is base
    assert loaded.load_once(tiny, torch.bfloat16, "weighs") is not base
    gone = weakref.ref(base)
    del base
    loaded.free("answers")
    gc.collect()
    assert gone() is None


def test_parameters_are_counted_without_reading_weights(tiny):
    whole = load_model(tiny, torch.float32).num_parameters()
    assert count_parameters(tiny) == whole
    with pytest.raises(UserError, match="model=gone: no configuration at"):
        count_parameters(replace(tiny, name="gone", path=None, hub_id="nobody/nothing"))
