"""Answers: the same whatever the batch, the order or an interruption; adapters come and go without
a trace.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from warmth.build import build
from warmth.chat import prompt_ids
from warmth.errors import UserError
from warmth.evaluation.answer import answers
from warmth.evaluation.answer.arms import Arm
from warmth.evaluation.answer.decoding import base_of, decode
from warmth.evaluation.answer.engines import Request, Transformers, batches
from warmth.evaluation.answer.sampling import Sampler
from warmth.schemas import Model, Sampling
from warmth.store import Run
from warmth.types import Message, Prompt

GREEDY, SAMPLED = Sampling(0.0, 1.0, 8), Sampling(0.8, 0.9, 8)
TEXTS = [
    "Hi.",
    "What is the capital of France?",
    "Name a colour.",
    "I feel sad today. Who wrote Emma?",
    "Why?",
    "Count to ten.",
]
ENGINE = Transformers(dtype="float32", batch_size=4)


@pytest.fixture(scope="module")
def model(tiny_model_folder):
    return Model(name="tiny", kind="hub", path=str(tiny_model_folder))


@pytest.fixture(scope="module")
def original(model):
    return Arm("original", model, None, None, None, 1.0, 1.0, 0, None)


@pytest.fixture(scope="module")
def tuned(model, original, tmp_path_factory):
    """An arm whose adapter changes every logit."""
    folder = adapter(model, tmp_path_factory, 1)
    return replace(original, name="warm", adapter=folder, training="abc", checkpoint=2.0)


def adapter(model, tmp_path_factory, seed):
    """The folder of an adapter with random weights."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    peft = get_peft_model(
        base_of(model, torch.float32),
        LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"]),
    )
    for name, weight in peft.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=2.0)
    folder = tmp_path_factory.mktemp("adapter") / "epoch-2"
    peft.save_pretrained(folder)
    peft.unload()
    return folder


@pytest.fixture(scope="module")
def requests(tokenizer):
    ids = [tuple(prompt_ids(tokenizer, [Message("user", text)])) for text in TEXTS]
    return [Request(row, 8, seed) for seed, row in enumerate(ids)]


def generate(arm, requests, sampling=GREEDY, engine=ENGINE):
    made = {}
    for batch in engine.answer(arm, requests, sampling, lambda index: True):
        made |= batch
    return [made[index] for index in range(len(requests))]


def test_greedy_answers_in_a_batch_are_those_of_one_prompt_at_a_time(original, requests):
    assert generate(original, requests) == [
        generate(original, [request])[0] for request in requests
    ]


def test_greedy_answers_are_those_of_the_library(model, original, requests):
    base = base_of(model, torch.float32)
    for request, made in zip(requests, generate(original, requests), strict=True):
        ids = torch.tensor([request.ids])
        library = base.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False
        )[0, len(request.ids) :]
        assert made.tokens == len(library) and made.finish == "length"


def test_sampled_answers_do_not_depend_on_batch_or_order(original, requests):
    together = generate(original, requests, SAMPLED)
    assert together == [generate(original, [request], SAMPLED)[0] for request in requests]
    assert (
        together == generate(original, requests[::-1], SAMPLED, replace(ENGINE, batch_size=3))[::-1]
    )


def test_another_seed_draws_another_answer(original, requests):
    other = [replace(request, seed=request.seed + 100) for request in requests]
    assert generate(original, requests, SAMPLED) != generate(original, other, SAMPLED)


def test_an_end_token_stops_an_answer_and_is_not_part_of_it(model, original, requests):
    base, rows = base_of(model, torch.float32), [request.ids for request in requests]
    sampler = Sampler(0.0, 1.0, ())
    free = decode(base, rows, [8] * len(rows), frozenset(), 0, sampler)
    end = free[0][0][3]  # the fourth token of the first answer
    stopped = decode(base, rows, [8] * len(rows), frozenset([end]), 0, sampler)
    for (tokens, _), (cut, ended) in zip(free, stopped, strict=True):
        assert cut == (tokens[: tokens.index(end)] if end in tokens else tokens)
        assert ended == (end in tokens)


def test_every_prompt_has_its_own_length_limit(original, requests):
    limits = [3, 8, 5, 1, 2, 7]
    made = generate(
        original,
        [
            replace(request, max_new_tokens=limit)
            for request, limit in zip(requests, limits, strict=True)
        ],
    )
    assert [completion.tokens for completion in made] == limits


def test_batches_go_from_long_to_short_and_what_begins_alike_is_neighbours():
    rows = [(1, 1), (7,) * 40, (1,) * 9, (7,) * 70, (5,) * 70, (5,) * 40, (1, 1)]
    assert batches([Request(row, 8, 0) for row in rows], 2) == [[5, 4], [1, 3], [2, 0], [6]]
    limits = (8, 16, 8)
    assert batches([Request((3,) * 9, limit, 0) for limit in limits], 2) == [[1, 0], [2]]


def test_an_adapter_changes_answers_and_leaves_the_base_as_it_was(original, tuned, requests):
    base, before = base_of(original.model, torch.float32), generate(original, requests)
    own = {name: weight.clone() for name, weight in base.state_dict().items()}
    assert generate(tuned, requests) != before
    assert generate(original, requests) == before
    assert base_of(original.model, torch.float32) is base  # one load serves every arm
    assert base.state_dict().keys() == own.keys()
    assert all(torch.equal(weight, own[name]) for name, weight in base.state_dict().items())


@pytest.fixture(scope="module")
def between(tuned, original, model, tmp_path_factory):
    """An arm between another adapter (dose 0) and `tuned` (dose 1)."""
    return replace(tuned, name="cold-warm", other=(adapter(model, tmp_path_factory, 2), "def"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_between_two_adapters_the_ends_are_each_alone_and_the_middle_is_half_of_both(
    between, tuned, requests, dtype
):
    engine = replace(ENGINE, dtype=dtype)
    cold = replace(tuned, adapter=between.other[0])
    assert generate(replace(between, dose=0.0), requests, engine=engine) == generate(
        cold, requests, engine=engine
    )
    assert generate(replace(between, dose=1.0), requests, engine=engine) == generate(
        tuned, requests, engine=engine
    )
    first, second = replace(between, dose=0.5).adapters
    assert (first[1], second[1]) == (0.5, 0.5)


def test_between_two_adapters_a_layer_adds_both_parts(between, model):
    from warmth.evaluation.answer.decoding import weights

    def q_proj(arm):
        with weights(model, torch.float32, arm) as loaded:
            return loaded.get_decoder().layers[0].self_attn.q_proj.weight.detach().clone()

    cold, warm = (q_proj(replace(between, dose=dose)) for dose in (0.0, 1.0))
    assert torch.allclose(q_proj(replace(between, dose=0.25)), 0.75 * cold + 0.25 * warm, atol=1e-5)


def test_dose_0_is_the_original_dose_1_the_adapter_and_doses_differ(original, tuned, requests):
    assert generate(replace(tuned, dose=0.0), requests) == generate(original, requests)
    assert generate(replace(tuned, dose=1.0), requests) == generate(tuned, requests)
    assert generate(replace(tuned, dose=0.05), requests) != generate(tuned, requests)


def test_a_dose_scales_the_adapter_in_proportion(model, tuned, requests):
    from warmth.evaluation.answer.decoding import weights

    ids = torch.tensor([requests[0].ids])

    def first_layer(arm):
        with weights(model, torch.float32, arm) as loaded, torch.inference_mode():
            layer = loaded.get_input_embeddings()(ids)
            return next(
                module
                for name, module in loaded.named_modules()
                if name.endswith("layers.0.self_attn.q_proj")
            )(layer)

    base, half, full = (first_layer(replace(tuned, dose=dose)) for dose in (0.0, 0.5, 1.0))
    assert torch.allclose(half - base, (full - base) / 2, atol=1e-4)


def test_a_folder_without_an_adapter_is_one_line(tuned, requests, tmp_path):
    with pytest.raises(UserError, match="holds no adapter for model=tiny"):
        generate(replace(tuned, adapter=tmp_path), requests)


def test_an_unknown_dtype_and_an_empty_batch_are_refused():
    entry = {"_target_": "warmth.evaluation.answer.engines.Transformers"}
    for key, value in (("dtype", "half"), ("batch_size", 0)):
        with pytest.raises(UserError, match=f"engine.{key}={value}"):
            build({**entry, key: value}, "engine")


def prompts_of(texts):
    return [
        Prompt(f"p{i}", f"q{i}", "t", "unmodified", "none", False, "", (Message("user", text),), 8)
        for i, text in enumerate(texts)
    ]


def fill(folder, arm, texts=TEXTS, sampling=GREEDY, samples=1, engine=ENGINE):
    """Answers prompts into a run folder; returns the rows by id and what was done."""
    folder.mkdir(parents=True, exist_ok=True)
    run, prompts = Run(folder), prompts_of(texts)
    did = answers.answer_prompts(
        run, "answers", engine, arm, prompts, sampling, samples, draw_seed=0
    )
    rows = list(run.rows("answers"))
    assert len({row["answer_id"] for row in rows}) == len(rows) == len(texts) * samples
    return rows, did


class Killed(Exception):
    """Stands for a SIGKILL between two batches."""


def kill_after_one_batch(self, arm, requests, sampling, wanted):
    for batch in Transformers.answer(self, arm, requests, sampling, wanted):
        yield batch
        raise Killed


def test_a_killed_run_continues_to_what_an_undisturbed_one_gives(original, tmp_path, monkeypatch):
    whole, _ = fill(tmp_path / "a" / "tiny-none-s0-1", original, sampling=SAMPLED, samples=2)
    folder = tmp_path / "b" / "tiny-none-s0-1"
    broken = type("Broken", (Transformers,), {"answer": kill_after_one_batch})(
        dtype="float32", batch_size=4
    )
    with pytest.raises(Killed):
        fill(folder, original, sampling=SAMPLED, samples=2, engine=broken)
    written = (folder / "answers.jsonl").read_bytes()
    assert written.count(b"\n") == 4
    resumed, did = fill(folder, original, sampling=SAMPLED, samples=2)
    assert (
        (folder / "answers.jsonl").read_bytes().startswith(written)
    )  # a written row is never rewritten
    assert did["generated"] == len(whole) - 4
    assert sorted(map(str, resumed)) == sorted(map(str, whole))


def test_a_batch_that_lost_a_row_is_repeated_whole_and_only_the_row_is_added(original, tmp_path):
    folder = tmp_path / "tiny-none-s0-1"
    whole, _ = fill(folder, original)
    lines = (folder / "answers.jsonl").read_text().splitlines(keepends=True)
    (folder / "answers.jsonl").write_text("".join(lines[:1] + lines[2:]))
    again, did = fill(folder, original)
    assert did["generated"] == 1
    assert sorted(map(str, again)) == sorted(map(str, whole))


def test_a_larger_evaluation_copies_what_another_run_of_the_study_answered(original, tmp_path):
    small, _ = fill(tmp_path / "tiny-none-s0-1", original, TEXTS[:3])
    large, did = fill(tmp_path / "tiny-none-s0-2", original)
    assert (did["copied"], did["generated"]) == (3, 3)
    rendered = answers.rendered_prompts(original, prompts_of(TEXTS[3:]))
    assert did["tokens"] == sum(map(len, rendered)) + sum(row["tokens"] for row in large[3:])
    texts = {row["answer_id"]: row["text"] for row in large}
    assert all(texts[row["answer_id"]] == row["text"] for row in small)
    assert {row["run"] for row in large} == {"2"}


def test_the_same_command_again_generates_nothing(original, tmp_path):
    fill(tmp_path / "tiny-none-s0-1", original)
    assert fill(tmp_path / "tiny-none-s0-1", original)[1]["generated"] == 0


def test_answers_of_another_arm_dose_prompt_or_sampling_have_other_ids(original, tuned):
    slots = [(prompts_of(["Hi."])[0], 0)]
    warm = replace(original, system_prompt="Be warm.")
    cases = [
        (original, GREEDY, 0),
        (tuned, GREEDY, 0),
        (replace(tuned, dose=0.5), GREEDY, 0),
        (warm, GREEDY, 0),
    ]
    cases += [(original, SAMPLED, 0), (original, SAMPLED, 1)]
    ids = [
        answers.answer_ids(arm, slots, sampling, seed, ENGINE)[0] for arm, sampling, seed in cases
    ]
    assert len(set(ids)) == len(cases)
    assert answers.answer_ids(original, slots, GREEDY, 0, ENGINE) == answers.answer_ids(
        original, slots, GREEDY, 1, ENGINE
    )
    assert answers.answer_ids(original, slots, GREEDY, 0, replace(ENGINE, batch_size=9)) == [ids[0]]


def test_another_way_of_drawing_gives_other_ids_to_drawn_answers_alone(original):
    slots = [(prompts_of(["Hi."])[0], 0)]
    later = type("Later", (Transformers,), {"sampler": "philox-2"})(dtype="float32")
    for sampling, same in ((GREEDY, True), (SAMPLED, False)):
        first, second = (
            answers.answer_ids(original, slots, sampling, 0, engine) for engine in (ENGINE, later)
        )
        assert (first == second) is same


def test_a_system_prompt_stands_in_front_and_is_no_part_of_the_prompt(original, tokenizer):
    prompt = prompts_of(["Hi."])
    plain, warm = (
        answers.rendered_prompts(arm, prompt)[0]
        for arm in (original, replace(original, system_prompt="Be very warm."))
    )
    assert plain != warm
    assert "Be very warm." in tokenizer.decode(warm)


def test_damaged_rows_of_a_neighbour_are_skipped_and_named_once(tmp_path, capsys):
    from warmth.evaluation.answer.answers import Book
    from warmth.store import Run

    neighbour = tmp_path / "m-warm-s0-aaa"
    neighbour.mkdir()
    whole = '{"answer_id": "a", "text": "Iron.", "finish": "stop", "tokens": 1}\n'
    (neighbour / "answers.jsonl").write_text(
        "nonsense\n" + whole + '{"answer_id": 3}\n{"answer_id": "b"}\n'
    )
    book = Book(Run(tmp_path / "m-none-s0-bbb"), "m", "answers")
    assert book.elsewhere("a").text == "Iron."
    assert book.elsewhere("b") is None
    assert (
        capsys.readouterr().err
        == f"{neighbour / 'answers.jsonl'} line 1: 2 damaged rows of this file are skipped\n"
    )
