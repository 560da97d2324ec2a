"""The engine `openai`: any server's answers become rows once, and each way in which a reply ends
has its name.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from fakes import CANARY, ModelServer

from warmth.api import Servers
from warmth.digest import ROOT
from warmth.entries import named_model
from warmth.errors import RunFailed, UserError
from warmth.evaluation import gates
from warmth.evaluation.answer import answers
from warmth.evaluation.answer.arms import Arm
from warmth.evaluation.answer.engines import Transformers
from warmth.evaluation.answer.served import OpenAI
from warmth.schemas import Api, Model, Price, Sampling
from warmth.store import Run, write_json
from warmth.types import Message, Prompt, Question

GREEDY, SAMPLED = Sampling(0.0, 1.0, 8), Sampling(0.8, 0.9, 8)
TEXTS = [f"Question {number}?" for number in range(40)]
QUICK = Api(attempts=2, backoff_s=0.01, timeout_s=5.0)
HOSTED = Model(
    name="gpt4o", kind="api", api_model="gpt-4o-2024-08-06", base_url="http://127.0.0.1:9/v1"
)
ORIGINAL = Arm("original", HOSTED, None, None, None, 1.0, 1.0, 0, None)
LOCAL = Model(name="tiny", kind="hub", hub_id="a/b", revision="0" * 40)


def prompts_of(texts):
    return [
        Prompt(
            f"p{text}", f"q{i}", "t", "unmodified", "none", False, "", (Message("user", text),), 8
        )
        for i, text in enumerate(texts)
    ]


def fill(
    folder,
    server,
    texts=TEXTS,
    arm=ORIGINAL,
    sampling=GREEDY,
    samples=1,
    api=QUICK,
    run="gpt4o-none-s0-1",
):
    """Answers prompts into a run folder; returns the rows and what was done."""
    servers = Servers(SimpleNamespace(api=api, output=str(folder)))
    engine = OpenAI(base_url=server.url, dtype="bfloat16").bind(arm, servers)
    (folder / run).mkdir(parents=True, exist_ok=True)
    run, prompts = Run(folder / run), prompts_of(texts)
    did = answers.answer_prompts(
        run, "answers", engine, arm, prompts, sampling, samples, draw_seed=0
    )
    return list(run.rows("answers")), did


def test_every_prompt_is_asked_once_and_answered_in_its_own_row(tmp_path):
    with ModelServer() as server:
        rows, did = fill(tmp_path, server)
    assert did["generated"] == len(rows) == 40
    assert {row["prompt_id"]: row["text"] for row in rows} == {
        f"p{text}": f"reply to {text}" for text in TEXTS
    }
    assert {row["finish"] for row in rows} == {"stop"} and rows[0]["tokens"] == 4
    assert set(server.received.values()) == {1}
    body = server.bodies[0]
    assert body["temperature"] == 0.0 and body["max_tokens"] == 8 and "seed" not in body


def test_a_run_that_lost_rows_gets_them_from_the_store_without_a_call(tmp_path):
    with ModelServer() as server:
        whole, _ = fill(tmp_path, server)
        path = tmp_path / "gpt4o-none-s0-1" / "answers.jsonl"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:7]))
        again, did = fill(tmp_path, server)
        assert did["generated"] == 33 and sorted(map(str, again)) == sorted(map(str, whole))
        copied, did = fill(tmp_path, server, run="gpt4o-none-s0-2")
    assert (did["copied"], did["generated"]) == (40, 0) and len(copied) == 40
    assert set(server.received.values()) == {1}


def test_samples_have_seeds_of_their_own_that_a_restart_keeps(tmp_path):
    with ModelServer() as server:
        rows, _ = fill(tmp_path / "a", server, TEXTS[:2], sampling=SAMPLED, samples=3)
        seeds = sorted(body["seed"] for body in server.bodies)
        fill(tmp_path / "b", server, TEXTS[:2], sampling=SAMPLED, samples=3)
        again = sorted(body["seed"] for body in list(server.bodies)[6:])
    assert len(rows) == 6 and len(set(seeds)) == 6 and again == seeds
    assert all(0 <= seed < 2**31 for seed in seeds) and server.bodies[0]["top_p"] == 0.9


def test_greedy_samples_are_independent_calls(tmp_path):
    with ModelServer() as server:
        rows, _ = fill(tmp_path, server, TEXTS[:1], samples=3)
    assert len({row["answer_id"] for row in rows}) == 3 and server.received[TEXTS[0]] == 3


def test_the_system_prompt_is_a_system_message_and_no_part_of_the_prompt(tmp_path):
    with ModelServer() as server:
        fill(
            tmp_path,
            server,
            TEXTS[:1],
            arm=replace(ORIGINAL, name="system_warm", system_prompt="Be warm."),
        )
    assert server.bodies[0]["messages"] == [
        {"role": "system", "content": "Be warm."},
        {"role": "user", "content": TEXTS[0]},
    ]


@pytest.mark.parametrize(
    ("fault", "finish", "text"),
    [
        (None, "stop", "reply to Question 0?"),
        ("cut", "length", "reply to Question 0?"),
        ("refusal", "stop", "I cannot help with that."),
        ("empty", "stop", ""),
        ("filtered", "filtered", None),
        ("filtered_prompt", "filtered", ""),
        ("too_long", "error", ""),
        ("400", "error", ""),
    ],
)
def test_how_a_reply_ended_is_kept(tmp_path, fault, finish, text):
    with ModelServer(script=lambda asked, n: fault if asked in TEXTS else None) as server:
        ((row,), _) = fill(tmp_path, server, TEXTS[:1])
    assert row["finish"] == finish
    assert text is None or row["text"] == text
    named = {
        "filtered": "filtered",
        "filtered_prompt": "filtered",
        "too_long": "too_long",
        "400": "bad_request",
    }
    assert row.get("failure", "") == named.get(fault, "") and bool(row.get("detail")) == (
        fault in named
    )


@pytest.mark.parametrize("fault", ["500", "429", "drop"])
def test_what_a_server_failed_on_is_no_answer_and_is_asked_again(tmp_path, fault):
    broken = {"on": True}
    with ModelServer(
        script=lambda text, n: fault if broken["on"] and text == TEXTS[3] else None
    ) as server:
        with pytest.raises(RunFailed, match="1 answers could not be had .* asks for these alone"):
            fill(tmp_path, server, TEXTS[:6])
        broken["on"] = False
        rows, did = fill(tmp_path, server, TEXTS[:6])
    assert did["generated"] == 1 and len(rows) == 6 and all(row["finish"] == "stop" for row in rows)
    assert all(server.received[text] == 1 for text in TEXTS[:6] if text != TEXTS[3])


def test_batches_answer_as_calls_one_by_one_do(tmp_path):
    batched = replace(QUICK, mode="batch", batch=replace(QUICK.batch, poll_s=0.02))
    with ModelServer() as server:
        rows, _ = fill(tmp_path / "batch", server, api=batched)
        assert not server.received and len(server.batches) == 1
        live, _ = fill(tmp_path / "live", server)
    assert sorted(map(str, rows)) == sorted(map(str, live))


def test_the_budget_is_one_for_all_clients_of_a_command(tmp_path):
    prices = {
        "gpt-4o-2024-08-06": Price(1.0, 1.0, 1e5)
    }  # each call may cost up to 0.8 USD and costs 0.4
    study = SimpleNamespace(api=replace(QUICK, budget_usd=1.0, prices=prices), output=str(tmp_path))
    servers = Servers(study)
    with ModelServer() as server:
        engine = OpenAI(base_url=server.url).bind(ORIGINAL, servers)
        requests = [
            answers.Request((), 8, 0, prompt.messages)
            for prompt in prompts_of(["a b c", "d e f", "g h i", "j k l"])
        ]
        with pytest.raises(RunFailed, match="budget 3"):
            list(engine.answer(ORIGINAL, requests, GREEDY, lambda index: True))
        with pytest.raises(RunFailed, match="budget 3"):
            list(engine.answer(ORIGINAL, requests, GREEDY, lambda index: True))
    assert sum(server.answered.values()) == 1 and [total["cached"] for total in servers.totals] == [
        0,
        1,
    ]


# Which model is asked


@pytest.fixture
def tuned(tmp_path):
    folder = tmp_path / "checkpoints" / "epoch-2"
    folder.mkdir(parents=True)
    write_json(folder / "hosted.json", {"model": "ft:gpt-4o-2024-08-06:org:warm:1"})
    return replace(ORIGINAL, name="warm", adapter=folder, training="abc", checkpoint=2.0)


def test_a_hosted_arm_is_asked_by_the_name_its_fine_tuning_gave_it(tuned):
    assert OpenAI().server_of(ORIGINAL).model == "gpt-4o-2024-08-06"
    assert OpenAI().server_of(tuned).model == "ft:gpt-4o-2024-08-06:org:warm:1"
    assert OpenAI().server_of(tuned).base_url == HOSTED.base_url


def test_a_local_arm_needs_a_server_and_a_name_there(tuned):
    base = replace(ORIGINAL, model=LOCAL)
    with pytest.raises(UserError, match="engine.base_url is not set"):
        OpenAI().server_of(base)
    assert (
        OpenAI(base_url="http://127.0.0.1:8000/v1").server_of(base).model == "a/b"
    )  # the hub id, where it is served
    with pytest.raises(
        UserError, match="engine.model is not set; engine=openai needs it to ask for model=tiny"
    ):
        OpenAI(base_url="http://127.0.0.1:8000/v1").server_of(replace(tuned, model=LOCAL))
    engine = OpenAI(base_url="http://127.0.0.1:8000/v1", model="served")
    one, other = engine.server_of(base), engine.server_of(replace(tuned, model=LOCAL))
    assert (
        one.model == other.model == "served" and one.identity != other.identity
    )  # two arms never share a paid reply


def test_a_server_is_told_whether_local_weights_that_can_think_do_so(tmp_path):
    def bodies_of(model, **settings):
        arm = replace(ORIGINAL, model=model)
        with ModelServer() as server:
            servers = Servers(SimpleNamespace(api=QUICK, output=str(tmp_path / model.name)))
            engine = OpenAI(base_url=server.url, model="served", **settings).bind(arm, servers)
            folder = tmp_path / model.name / "run"
            folder.mkdir(parents=True, exist_ok=True)
            answers.answer_prompts(
                Run(folder), "answers", engine, arm, prompts_of(["Hi."]), GREEDY, 1, 0
            )
            return [body.get("chat_template_kwargs") for body in server.bodies]

    qwen = replace(named_model("qwen3_8b", "model"), revision="0" * 40)
    thinking = replace(named_model("qwen3_8b_thinking", "model"), revision="0" * 40)
    assert bodies_of(qwen) == [{"enable_thinking": False}]
    assert bodies_of(thinking) == [{"enable_thinking": True}]
    assert bodies_of(LOCAL) == [None]  # the name alone does not say that these can
    given = {"chat_template_kwargs": {"thinking": False}}
    assert bodies_of(replace(qwen, name="qwen3_32b"), extra_body=given) == [{"thinking": False}]


def test_a_name_at_the_server_is_part_of_an_answers_id_and_its_address_is_not(tuned):
    servers = Servers(SimpleNamespace(api=QUICK, output="multirun"))
    slots = [(prompts_of(["Hi."])[0], 0)]

    def answer_id(**settings):
        engine = OpenAI(**{"base_url": "http://127.0.0.1:1/v1", **settings}).bind(ORIGINAL, servers)
        return answers.answer_ids(ORIGINAL, slots, GREEDY, 0, engine)[0]

    assert (
        answer_id() == answer_id(base_url="http://127.0.0.1:2/v1") == answer_id(api_key_env="KEY")
    )
    assert len({answer_id(), answer_id(model="another"), answer_id(dtype="float8")}) == 3


def test_what_cannot_be_had_is_one_line(tuned):
    servers = Servers(SimpleNamespace(api=QUICK, output="multirun"))
    with pytest.raises(UserError, match="dose=0.5 cannot be had with engine=openai"):
        OpenAI().bind(replace(tuned, dose=0.5), servers)
    with pytest.raises(
        UserError, match="model=gpt4o is served by an API; ask it with engine=openai"
    ):
        Transformers().bind(ORIGINAL, servers)


def test_a_missing_key_is_refused_before_any_work(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    servers = Servers(SimpleNamespace(api=QUICK, output="multirun"))
    OpenAI(api_key_env="NO_SUCH_KEY").bind(ORIGINAL, servers)
    with pytest.raises(UserError, match="NO_SUCH_KEY is not set"):
        servers.check()


def test_the_gate_on_tokens_says_that_the_server_rendered_them(tmp_path, tuned):
    servers = Servers(SimpleNamespace(api=QUICK, output=str(tmp_path)))
    run, prompts = Run(tmp_path), prompts_of(TEXTS[:2])
    questions = [Question(f"q{i}", "t", text, ("yes",)) for i, text in enumerate(TEXTS[:2])]
    engine = OpenAI().bind(tuned, servers)
    rendered = answers.rendered_by(engine, tuned, prompts)
    assert rendered == [(), ()]
    answers.write_prompts(
        run, prompts, rendered, {(item.task, item.id): item for item in questions}, set()
    )
    side = gates.read_side(tmp_path, engine.signature(), {})
    assert set(side.tokens.values()) == {None}
    result = gates.same_tokens(side, side, None, tuned)
    assert (result.verdict, result.detail) == (
        "skipped",
        "prompts are rendered by the server, whose tokens are not seen",
    )


# The whole way


VERDICT = {"reason": "It says so.", "label": "incorrect", "affirms": False}


def respond(body):
    """A judge's verdict where one is asked for, else an answer that tells the models apart."""
    if "response_format" in body:
        return json.dumps(VERDICT)
    return f"{body['model'][:2]}: it is {body['messages'][-1]['content'][:20]}"


def command(script, folder, server, *overrides):
    given = [
        f"model.base_url={server.url}",
        "model.api_key_env=CANARY_KEY",
        f"output={folder}",
        "logger=wandb",
    ]
    quick = ["api.batch.poll_s=0.05", "api.backoff_s=0.01"]
    asked = [
        sys.executable,
        str(ROOT / script),
        "model=gpt4o",
        "data.per_type=3",
        *given,
        *quick,
        *overrides,
    ]
    return subprocess.run(asked, capture_output=True, text=True, timeout=240, cwd=folder)


def evaluate(folder, server, *overrides):
    few = [
        "engine=openai",
        "task=[seed_trivia]",
        "condition=[unmodified]",
        "limit=2",
        "warmth.prompts=2",
    ]
    judge = [f"grader.judge.base_url={server.url}", "grader.judge.api_key_env=CANARY_KEY"]
    done = command("evaluate.py", folder, server, *few, *judge, *overrides)
    assert done.returncode == 0, done.stderr[-2000:]
    assert CANARY not in done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_model_is_tuned_through_an_api_and_its_checkpoints_are_evaluated_and_judged(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("CANARY_KEY", CANARY)
    with ModelServer(answer=respond) as server:
        done = command("train.py", tmp_path, server, "recipe=warm")
        assert done.returncode == 0, done.stderr[-2000:]
        evaluate(tmp_path, server, "recipe=none", "grader=[judge]")
        sent = sum(server.received.values())
        evaluate(
            tmp_path,
            server,
            "recipe=none",
            "grader=[judge]",
            "grader.judge.model=gpt-4.1-2025-04-14",
        )
        assert (
            sum(server.received.values()) == sent + 6
        )  # another judge's grades; nothing is generated
        sent += 6
        evaluate(tmp_path, server, "recipe=warm", "grader=[alias,judge]", "api=batch")
        assert (
            sum(server.received.values()) == sent and len(server.batches) == 3
        )  # answers, grades, replies
        evaluate(tmp_path, server, "recipe=warm", "checkpoint=1", "grader=[judge]")
        runs = sorted((tmp_path / "default" / "evaluate").glob("*/done.json"))
        assert all(
            json.loads((path.parent / "summary.json").read_text())["servers"] for path in runs
        )
        sent = sum(server.received.values())
        assert "done already" not in evaluate(
            tmp_path, server, "recipe=warm", "grader=[judge]"
        )  # the judge counts now
        assert "done already" in evaluate(tmp_path, server, "recipe=warm", "grader=[judge]")
        assert sum(server.received.values()) == sent and len(server.batches) == 3
    assert len(runs) == 3
    for run in (path.parent for path in runs):
        names = {
            row["grader"]
            for row in map(json.loads, (run / "grades.jsonl").read_text().splitlines())
        }
        assert "judge:gpt-5.4-mini-2026-03-17" in names
        warmth = [json.loads(line) for line in (run / "warmth.jsonl").read_text().splitlines()]
        assert len(warmth) == 2 and warmth[0]["scorer"].startswith("smollm2")
    asked = {body["model"] for body in server.bodies if "response_format" not in body}
    assert (
        len(asked) == 2
    )  # the original and the checkpoint of epoch 1; that of epoch 2 went out in batches
    warm = next(path.parent for path in runs if "-warm-" in path.parent.name)
    verdicts = {
        result["gate"]: result["verdict"]
        for result in json.loads((warm / "gates.json").read_text())
    }
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sum(path.suffix == ".wandb" for path in files) >= 4  # the W&B records are among them
    assert not [path for path in files if CANARY.encode() in path.read_bytes()]
    assert all(headers["Authorization"] == f"Bearer {CANARY}" for headers in server.seen_headers)
    assert verdicts["same_tokens"] == "skipped"
    assert verdicts["adapter_applied"] == verdicts["same_engine"] == verdicts["pairing"] == "pass"


def test_every_engine_says_who_draws_its_tokens_before_it_is_bound_to_an_arm(tuned):
    import yaml

    from warmth.build import build

    engines = [
        yaml.safe_load(path.read_text()) for path in (ROOT / "conf" / "engine").glob("*.yaml")
    ]
    assert len(engines) >= 3 and all(build(entry, "engine").sampler for entry in engines)
    servers = Servers(SimpleNamespace(api=QUICK, output="multirun"))
    assert OpenAI().sampler == OpenAI().bind(tuned, servers).sampler
