"""Each form in which a server may reply, as an engine's answer and a judge's verdict: none is
misread in silence.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
from aiohttp import web

from warmth.api import Servers
from warmth.digest import ROOT
from warmth.errors import RunFailed, UserError
from warmth.evaluation.answer import answers
from warmth.evaluation.answer.arms import Arm
from warmth.evaluation.answer.served import OpenAI
from warmth.evaluation.grade.graders import grade_run
from warmth.evaluation.grade.judge import Judge
from warmth.output import set_apart
from warmth.schemas import Api, Model, Sampling
from warmth.store import Run
from warmth.types import Answer, Message, Prompt, Question

QUICK = Api(attempts=2, backoff_s=0.001, timeout_s=10.0)
MODEL = Model(name="m", kind="api", api_model="m", base_url="http://127.0.0.1:9/v1")
ORIGINAL = Arm("original", MODEL, None, None, None, 1.0, 1.0, 0, None)
USAGE = {"prompt_tokens": 10, "completion_tokens": 5}
GOOD = '{"reason": "r", "label": "correct", "affirms": null}'
WRONG = '{"reason": "r", "label": "incorrect", "affirms": null}'


def done(content="Iron.", finish="stop", usage=USAGE, **message):
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content, **message},
        "finish_reason": finish,
    }
    return 200, {"model": "m", "choices": [choice], "usage": usage}


def failed(status, message, **more):
    return status, {"error": {"message": message, **more}}


def reasoned(**message):
    return lambda said: done(said, **message)


# form → the reply to SAID, what the model tells its user; what an engine's row is: text, thinking,
# finish and failure; and a judge's reason for no label, "" for a verdict.
PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]
ANSWERED = ("SAID", "", "stop", "")
THOUGHT = ("SAID", "hm", "stop", "")
CUT = ("", "hm", "length", "")
FORMS = {
    "plain": (lambda said: done(said), ANSWERED, ""),
    "think": (lambda said: done(f"<think>\nhm\n</think>\n\n{said}"), THOUGHT, ""),
    "thinking": (lambda said: done(f"<thinking>hm</thinking>{said}"), THOUGHT, ""),
    "upper case": (lambda said: done(f"<THINK>hm</THINK>{said}"), THOUGHT, ""),
    "thought": (lambda said: done(f"<thought>hm</thought>{said}"), THOUGHT, ""),
    "reasoning and answer": (
        lambda said: done(f"<reasoning>hm</reasoning><answer>{said}</answer>"),
        THOUGHT,
        "",
    ),
    "brackets": (lambda said: done(f"[THINK]hm[/THINK]{said}"), THOUGHT, ""),
    "seed": (lambda said: done(f"<seed:think>hm</seed:think>{said}"), THOUGHT, ""),
    "prefixed": (lambda said: done(f"<longcat_think>hm</longcat_think>{said}"), THOUGHT, ""),
    "triangles": (lambda said: done(f"◁think▷hm◁/think▷{said}"), THOUGHT, ""),
    "thought tokens": (
        lambda said: done(f"<|begin_of_thought|>hm<|end_of_thought|>{said}"),
        THOUGHT,
        "",
    ),
    "start tokens": (
        lambda said: done(
            f"<|START_THINKING|>hm<|END_THINKING|><|START_RESPONSE|>{said}<|END_RESPONSE|>"
        ),
        THOUGHT,
        "",
    ),
    "lone closing tag": (lambda said: done(f"hm\n</think>\n\n{said}"), THOUGHT, ""),
    "opened twice": (lambda said: done(f"<think><think>hm</think>{said}"), THOUGHT, ""),
    "empty block": (lambda said: done(f"<think>\n\n</think>\n\n{said}"), ANSWERED, ""),
    "channels": (
        lambda said: done(
            f"<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>{said}<|return|>"
        ),
        THOUGHT,
        "",
    ),
    "channels without tokens": (lambda said: done(f"analysishmassistantfinal{said}"), THOUGHT, ""),
    "in words": (
        lambda said: done(f"Here is my thought process: hm Here is my response: {said}"),
        THOUGHT,
        "",
    ),
    "reasoning_content": (reasoned(reasoning_content="hm"), THOUGHT, ""),
    "reasoning": (reasoned(reasoning="hm"), THOUGHT, ""),
    "reasoning_details": (
        reasoned(reasoning_details=[{"type": "reasoning.text", "text": "hm"}]),
        THOUGHT,
        "",
    ),
    "parts": (
        lambda said: done([*PARTS, {"type": "text", "text": said}]),
        THOUGHT,
        "",
    ),
    "parts of text": (
        lambda said: done([{"type": "text", "text": said[:4]}, {"type": "text", "text": said[4:]}]),
        ANSWERED,
        "",
    ),
    "open block": (lambda said: done("<think>hm"), CUT, "cut_off"),
    "open brackets": (lambda said: done("[THINK]hm"), CUT, "cut_off"),
    "open channel": (lambda said: done("<|channel|>analysis<|message|>hm"), CUT, "cut_off"),
    "only thinking, cut": (lambda said: done("", "length", reasoning_content="hm"), CUT, "cut_off"),
    "only thinking": (
        lambda said: done(None, reasoning_content="hm"),
        ("", "hm", "stop", ""),
        "bad_json",
    ),
    "STOP": (lambda said: done(said, "STOP"), ANSWERED, ""),
    "eos_token": (lambda said: done(said, "eos_token"), ANSWERED, ""),
    "end_turn": (lambda said: done(said, "end_turn"), ANSWERED, ""),
    "MAX_TOKENS": (lambda said: done(said, "MAX_TOKENS"), ("SAID", "", "length", ""), "cut_off"),
    "max_tokens": (lambda said: done(said, "max_tokens"), ("SAID", "", "length", ""), "cut_off"),
    "model_length": (
        lambda said: done(said, "model_length"),
        ("SAID", "", "length", ""),
        "cut_off",
    ),
    "FINISH_REASON_MAX_TOKENS": (
        lambda said: done(said, "FINISH_REASON_MAX_TOKENS"),
        ("SAID", "", "length", ""),
        "cut_off",
    ),
    "SAFETY": (lambda said: done(said, "SAFETY"), ("SAID", "", "filtered", "filtered"), "filtered"),
    "recitation": (
        lambda said: done(said, "recitation"),
        ("SAID", "", "filtered", "filtered"),
        "filtered",
    ),
    "content_filter": (
        lambda said: done(said, "content_filter"),
        ("SAID", "", "filtered", "filtered"),
        "filtered",
    ),
    "error": (lambda said: done(said, "error"), "server_error", "server_error"),
    "abort": (lambda said: done(said, "abort"), "server_error", "server_error"),
    "error in the choice": (
        lambda said: (
            200,
            {"choices": [{**done(said)[1]["choices"][0], "error": {"message": "lost"}}]},
        ),
        "server_error",
        "server_error",
    ),
    "error in the body": (
        lambda said: (200, {"error": {"message": "lost", "code": 502}}),
        "server_error",
        "server_error",
    ),
    "an end of another name": (
        lambda said: done(said, "tool_calls"),
        ("SAID", "", "error", "unknown_finish"),
        "unknown_finish",
    ),
    "no end": (
        lambda said: done(said, None),
        ("SAID", "", "error", "unknown_finish"),
        "unknown_finish",
    ),
    "no choices": (
        lambda said: (200, {"choices": [], "usage": USAGE}),
        "server_error",
        "server_error",
    ),
    "content of numbers": (lambda said: done(7), "server_error", "server_error"),
    "a list": (lambda said: (200, [1, 2]), "server_error", "server_error"),
    "refusal field": (
        lambda said: done(None, refusal="No."),
        ("No.", "", "stop", ""),
        "judge_refused",
    ),
    "usage below zero": (
        lambda said: done(said, usage={"prompt_tokens": -5, "completion_tokens": 5}),
        ANSWERED,
        "",
    ),
    "usage without end": (
        lambda said: done(said, usage={"prompt_tokens": float("inf")}),
        ANSWERED,
        "",
    ),
    "usage of words": (lambda said: done(said, usage={"prompt_tokens": "many"}), ANSWERED, ""),
    "flagged, 403": (
        lambda said: failed(403, "input was flagged", metadata={"reasons": ["violence"]}),
        ("", "", "filtered", "filtered"),
        "filtered",
    ),
    "flagged, 400": (
        lambda said: failed(
            400, "Input data may contain inappropriate content.", code="data_inspection_failed"
        ),
        ("", "", "filtered", "filtered"),
        "filtered",
    ),
    "too long": (
        lambda said: failed(
            400, "The input (9000 tokens) is longer than the model's context length (8192 tokens)."
        ),
        ("", "", "error", "too_long"),
        "too_long",
    ),
    "prompt too long": (
        lambda said: failed(400, "prompt is too long: 210000 tokens > 200000 maximum"),
        ("", "", "error", "too_long"),
        "too_long",
    ),
    "wrong": (
        lambda said: failed(400, "this one is wrong"),
        ("", "", "error", "bad_request"),
        "bad_request",
    ),
    "forbidden": (
        lambda said: failed(403, "not this one"),
        ("", "", "error", "bad_request"),
        "bad_request",
    ),
}
JUDGED = {
    "fence": (f"```json\n{GOOD}\n```", ""),
    "fence in another case": (f"```JSON\n{GOOD}\n```", ""),
    "byte order mark": (f"\ufeff{GOOD}", ""),
    "end token": (f"{GOOD}<|im_end|>", ""),
    "end of sequence": (f"{GOOD}</s>", ""),
    "thinking, then a fence": (f"<think>hm {WRONG}</think>\n```json\n{GOOD}\n```", ""),
    "another verdict in its thinking": (f"<think>{WRONG}</think>{GOOD}", ""),
    "two equal keys": (
        '{"reason": "r", "label": "incorrect", "label": "correct", "affirms": null}',
        "bad_json",
    ),
    "two verdicts": (f"{WRONG}\n{GOOD}", "bad_json"),
    "prose before": (f"I would say {GOOD}", "bad_json"),
    "deep nesting": ("[" * 100_000, "bad_json"),
    "another label": (GOOD.replace('"correct"', '"right"'), "bad_json"),
}


class Odd:
    """A loopback server that answers each call by what its last message asks for; use as a context
    manager.
    """

    def __init__(self, reply):
        self.reply, self.calls, self.bodies = reply, 0, []
        self.loop, self.started = asyncio.new_event_loop(), threading.Event()
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def __enter__(self):
        self.thread.start()
        assert self.started.wait(10)
        return self

    def __exit__(self, *error):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    def serve(self):
        asyncio.set_event_loop(self.loop)
        app = web.Application()
        app.add_routes([web.post("/v1/chat/completions", self.answer)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self.loop.run_until_complete(runner.setup())
        self.loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        self.started.set()
        self.loop.run_forever()
        self.loop.run_until_complete(runner.cleanup())

    async def answer(self, request):
        body = await request.json()
        self.calls += 1
        self.bodies.append(body)
        given = self.reply(body)
        if isinstance(given, web.Response):
            return given
        status, value = given
        return web.Response(status=status, text=json.dumps(value), content_type="application/json")


def ask(folder, server, texts, api=QUICK, name="m-none-s0-1", **engine):
    """Answers one prompt for each text; returns the rows by text, and what stopped the run."""
    servers = Servers(SimpleNamespace(api=api, output=str(folder)))
    bound = OpenAI(base_url=server.url, **engine).bind(ORIGINAL, servers)
    (folder / name).mkdir(parents=True, exist_ok=True)
    run = Run(folder / name)
    asked = [
        Prompt(f"p{text}", text, "t", "unmodified", "none", False, "", (Message("user", text),), 8)
        for text in texts
    ]
    stopped = ""
    try:
        answers.answer_prompts(
            run, "answers", bound, ORIGINAL, asked, Sampling(0.0, 1.0, 8), 1, draw_seed=0
        )
    except RunFailed as error:
        stopped = str(error)
    return {row["question_id"]: row for row in run.rows("answers")}, stopped


def answer_row(text, number=0, **changes):
    columns = {
        "answer_id": f"a{number}",
        "prompt_id": "p",
        "question_id": "q",
        "task": "t",
        "context": "unmodified",
    }
    arm = {
        "arm": "original",
        "model": "m",
        "strength": 1.0,
        "dose": 1.0,
        "checkpoint": None,
        "seed": 0,
    }
    made = {"draw_seed": 0, "sample": 0, "finish": "stop", "tokens": 9, "run": "r"}
    return Answer(
        text=text, belief="none", preamble=False, statement="", **columns, **arm, **made | changes
    )


def judge(folder, server, names, api=QUICK, **settings):
    """Has one answer judged for each name, which stands in it; returns the grades by name, and the
    run.
    """
    servers = Servers(SimpleNamespace(api=api, output=str(folder.parent)))
    grader = Judge(server.url, "j", **settings).bind("judge", servers)
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(folder)
    run.append(
        "answers", [answer_row(f"Case [{name}].", number) for number, name in enumerate(names)]
    )
    grade_run(run, [Question("q", "t", "Which metal?", ("Iron",))], {"t": {grader.name: grader}})
    grades = {row["answer_id"]: row for row in run.rows("grades")}
    return {name: grades[f"a{number}"] for number, name in enumerate(names)}


def test_each_form_of_a_reply_becomes_the_row_that_it_is(tmp_path):
    """All forms in one run, beside a plain one: so no form is refused as that of every call."""

    def reply(body):
        form = FORMS.get(body["messages"][-1]["content"])
        return form[0]("Iron is it.") if form else done("ok")

    with Odd(reply) as server:
        rows, stopped = ask(tmp_path, server, list(FORMS))
    expected = {name: form[1] for name, form in FORMS.items() if form[1] != "server_error"}
    found = {
        name: (
            row["text"].replace("Iron is it.", "SAID"),
            row.get("thinking", ""),
            row["finish"],
            row.get("failure", ""),
        )
        for name, row in rows.items()
    }
    assert found == expected
    broken = [name for name, form in FORMS.items() if form[1] == "server_error"]
    assert f"{len(broken)} answers could not be had (server_error {len(broken)}" in stopped
    assert all(row["tokens"] >= 0 for row in rows.values())
    assert (
        "tool_calls" in rows["an end of another name"]["detail"]
        and "None" in rows["no end"]["detail"]
    )
    notes = [
        json.loads(line)
        for line in (tmp_path / "replies" / "failed.jsonl").read_text().splitlines()
    ]
    assert {note["raw_finish"] for note in notes} >= {
        "error",
        "abort",
        "tool_calls",
    }  # paid for, and kept to be read


def test_each_form_of_a_reply_becomes_a_verdict_or_the_reason_for_none(tmp_path):
    def reply(body):
        text = str(body["messages"])  # a repair shows the case again
        for name, (form, _, _) in FORMS.items():
            if f"Case [{name}]." in text:
                return form(GOOD)
        for name, (said, _) in JUDGED.items():
            if f"Case [{name}]." in text:
                return done(said)
        return done(GOOD)

    names = ["first", *FORMS, *JUDGED]
    with Odd(reply) as server:
        grades = judge(tmp_path / "run", server, names)
    reasons = {name: form[2] for name, form in FORMS.items()} | {
        name: reason for name, (_, reason) in JUDGED.items()
    }
    found = {name: "" if grades[name]["label"] else grades[name]["reason"] for name in reasons}
    assert found == reasons
    assert {grades[name]["label"] for name in names if grades[name]["label"]} == {"correct"}


def test_a_judge_sees_the_answer_and_none_of_its_thinking(tmp_path):
    answer = answer_row("<think>SECRET</think>Iron.", thinking="ANOTHER")
    assert (answer.text, answer.thinking) == ("Iron.", "ANOTHER\n\nSECRET")
    assert answer_row("<think>SECRET").finish == "length"
    with Odd(lambda body: done(GOOD)) as server:
        judge(tmp_path / "run", server, ["<think>SECRET</think>"])
    assert "SECRET" not in json.dumps(server.bodies)


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("Use the `<think>` tag.", "Use the `<think>` tag."),
        ('He wrote "</think>" there.', 'He wrote "</think>" there.'),
        ("a < b and [x] > c", "a < b and [x] > c"),
        ("Analysis shows iron.", "Analysis shows iron."),
        ("<answer>B</answer>", "<answer>B</answer>"),
        ("<think>a</think>Iron.</think>", "Iron."),
        ("<think>a</think>Iron.\n<think>b</think>", "Iron."),
    ],
)
def test_what_is_no_thinking_stays_as_it_is(text, visible):
    assert set_apart(text)[::2] == (visible, False)


# Money, and rows of failures


def test_cut_off_replies_are_paid_once_whatever_is_run_again(tmp_path):
    """In the project's own words what ../shared/cases/reliability/04 tells."""
    with Odd(lambda body: done("It is", "length")) as server:
        rows, _ = ask(tmp_path, server, ["a", "b", "c"])
        again, _ = ask(tmp_path, server, ["a", "b", "c"], name="m-none-s0-2")
        (tmp_path / "m-none-s0-1" / "answers.jsonl").unlink()
        lost, _ = ask(tmp_path, server, ["a", "b", "c"])
    assert server.calls == 3 and {
        row["finish"] for row in [*rows.values(), *again.values(), *lost.values()]
    } == {"length"}


def test_a_failed_row_is_asked_again_by_the_same_command_and_never_copied(tmp_path):
    broken = {"on": True}

    def reply(body):
        is_bad = broken["on"] and body["messages"][-1]["content"] == "bad"
        return failed(400, "this one is wrong") if is_bad else done("Iron.")

    with Odd(reply) as server:
        rows, _ = ask(tmp_path, server, ["bad", "good"])
        assert (
            rows["bad"]["failure"] == "bad_request"
            and rows["bad"]["detail"] == "this one is wrong (HTTP 400)"
        )
        other, _ = ask(tmp_path, server, ["bad", "good"], name="m-none-s0-2")
        assert (
            other["bad"]["finish"] == "error" and server.calls == 4 + 1
        )  # asked again there; the probe is one call more
        broken["on"] = False
        mended, _ = ask(tmp_path, server, ["bad", "good"])
    lines = (tmp_path / "m-none-s0-1" / "answers.jsonl").read_text().splitlines()
    assert mended["bad"]["finish"] == "stop" and "failure" not in mended["bad"] and len(lines) == 2


def test_a_form_that_every_call_is_refused_for_ends_the_command_once_with_the_servers_sentence(
    tmp_path,
):
    with Odd(lambda body: failed(400, "LoRA rank 8 is greater than max_lora_rank 4")) as server:
        with pytest.raises(
            UserError, match=r"refuses every call to m: LoRA rank 8 is greater .* \(HTTP 400\)"
        ):
            ask(tmp_path, server, ["a"])
        assert server.calls == 2  # the call, and one of a single word
        with pytest.raises(UserError, match="refuses every call to j"):
            judge(tmp_path / "run", server, ["a"])


def test_one_forbidden_prompt_is_one_row_and_a_key_that_nothing_is_served_to_ends_the_command(
    tmp_path,
):
    with Odd(
        lambda body: failed(403, "no") if body["messages"][-1]["content"] == "b" else done("Iron.")
    ) as server:
        rows, _ = ask(tmp_path, server, ["b", "a"])
    assert {name: row["finish"] for name, row in rows.items()} == {"a": "stop", "b": "error"}
    with (
        Odd(lambda body: failed(403, "no")) as server,
        pytest.raises(UserError, match="does not serve m to this key: no"),
    ):
        ask(tmp_path / "other", server, ["a"])


def test_parameters_a_model_refuses_are_left_out_and_said_once(tmp_path, capsys):
    def reply(body):
        if "temperature" in body:
            return failed(
                400, "'temperature' does not support 0 with this model, only the default (1)"
            )
        if "max_tokens" in body:
            return failed(
                400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            )
        return done(GOOD if body["model"] == "j" else "Iron.")

    with Odd(reply) as server:
        rows, _ = ask(tmp_path, server, ["a", "b"])
        ask(tmp_path, server, ["c"])
        assert set(judge(tmp_path / "run", server, ["x"])["x"].items()) >= {("label", "correct")}
    assert {row["finish"] for row in rows.values()} == {"stop"}
    assert (
        "temperature" not in server.bodies[-1] and server.bodies[-1]["max_completion_tokens"] == 300
    )
    said = [
        line for line in capsys.readouterr().err.splitlines() if "does not take temperature" in line
    ]
    assert len(said) == 2 and said[0].startswith("m does not") and said[1].startswith("j does not")


@pytest.mark.parametrize(
    "refusal",
    [
        failed(400, "structured outputs are not supported by this model"),
        failed(400, "unknown name additionalProperties at generation_config.response_schema"),
        failed(422, "extra inputs are not permitted"),
        failed(404, "No endpoints found that support the requested parameters"),
        failed(500, "failed to parse grammar"),
        failed(500, "internal error"),
    ],
)
def test_a_schema_refused_in_any_words_is_asked_for_in_the_next_way(tmp_path, refusal):
    with Odd(lambda body: refusal if "response_format" in body else done(GOOD)) as server:
        grades = judge(tmp_path / "run", server, ["a", "b"])
        assert {row["label"] for row in grades.values()} == {"correct"}
        calls = server.calls
        judge(tmp_path / "more", server, ["c"])
    assert server.calls == calls + 1  # the way is remembered


def test_a_500_for_a_moment_does_not_change_how_a_judge_is_asked(tmp_path):
    trouble = {"left": 0}

    def reply(body):
        if trouble["left"]:
            trouble["left"] -= 1
            return failed(500, "internal error")
        return done(GOOD)

    with Odd(reply) as server:
        judge(tmp_path / "run", server, ["a"])
        trouble["left"] = 2
        judge(tmp_path / "more", server, ["b"], replace(QUICK, attempts=5))
    assert all(body["response_format"]["type"] == "json_schema" for body in server.bodies)


def test_how_a_model_is_told_to_think_is_sent_and_is_part_of_an_answers_id(tmp_path):
    extra = {"chat_template_kwargs": {"enable_thinking": False}}
    with Odd(lambda body: done("Iron.")) as server:
        plain, _ = ask(tmp_path, server, ["a"])
        effort, _ = ask(tmp_path, server, ["a"], name="m-none-s0-2", reasoning="low")
        budget, _ = ask(tmp_path, server, ["a"], name="m-none-s0-3", reasoning=100)
        other, _ = ask(tmp_path, server, ["a"], name="m-none-s0-4", extra_body=extra)
        judge(tmp_path / "run", server, ["x"], reasoning="low", extra_body=extra)
    assert (
        server.calls >= 5
        and len({rows["a"]["answer_id"] for rows in (plain, effort, budget, other)}) == 4
    )
    assert (
        "reasoning_effort" not in server.bodies[0] and server.bodies[1]["reasoning_effort"] == "low"
    )
    assert (
        server.bodies[2]["reasoning"] == {"max_tokens": 100}
        and server.bodies[2]["max_tokens"] == 108
    )
    assert (
        server.bodies[3]["chat_template_kwargs"]
        == server.bodies[4]["chat_template_kwargs"]
        == {"enable_thinking": False}
    )
    assert server.bodies[4]["reasoning_effort"] == "low"
    for wrong in (
        {"reasoning": -1},
        {"reasoning": "very much!"},
        {"extra_body": {"temperature": 1}},
    ):
        with pytest.raises(UserError, match="engine."):
            OpenAI(**wrong)


def test_an_enormous_reply_fails_one_call_and_is_never_unpacked_whole(tmp_path):
    packed = gzip.compress(b" " * 40 * 2**20)

    def reply(body):
        if body["messages"][-1]["content"] == "bomb":
            return web.Response(
                body=packed,
                headers={"Content-Encoding": "gzip", "Content-Type": "application/json"},
            )
        if body["messages"][-1]["content"] == "packed":
            data = gzip.compress(json.dumps(done("Iron.")[1]).encode())
            return web.Response(
                body=data, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}
            )
        return done("Iron.")

    with Odd(reply) as server:
        rows, stopped = ask(tmp_path, server, ["bomb", "packed", "a"])
    assert {name: row["text"] for name, row in rows.items()} == {"packed": "Iron.", "a": "Iron."}
    assert "server_error 1: the reply is longer than 16 MiB" in stopped and server.calls == 3


def test_the_usage_of_every_paid_reply_is_counted(tmp_path):
    with Odd(lambda body: done("Iron is the", "error")) as server:
        servers = Servers(SimpleNamespace(api=QUICK, output=str(tmp_path)))
        engine = OpenAI(base_url=server.url).bind(ORIGINAL, servers)
        requests = [answers.Request((), 8, 0, (Message("user", "a"),))]
        with pytest.raises(RunFailed, match="server_error 1"):
            list(engine.answer(ORIGINAL, requests, Sampling(0.0, 1.0, 8), lambda index: True))
    assert (
        server.calls,
        servers.totals[0]["prompt_tokens"],
        servers.totals[0]["completion_tokens"],
    ) == (2, 20, 10)


# What was reported


def cases(name):
    path = ROOT.parent / "shared" / "cases" / "bugs_eval" / name
    if not path.exists():
        pytest.skip(f"{path} is absent")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_shown_replies_mean_what_they_should():
    from warmth.api.calls import Call
    from warmth.api.reading import read_reply
    from warmth.evaluation.grade.judge import Verdict

    wrong = []
    for row in cases("replies.jsonl"):
        call = Call((Message("user", "x"),), 0.0, 9, Verdict if row.get("schema") else None)
        outcome = read_reply(row["status"], json.dumps(row["body"]).encode(), call)
        good = (
            outcome.kind in row["right_kind"]
            if "right_kind" in row
            else outcome.failure == row["right"]
        )
        if not good or outcome.text != row.get("right_text", outcome.text):
            wrong.append((row, outcome))
    assert wrong == []


def test_the_shown_answers_are_graded_by_what_the_user_was_told():
    from warmth.evaluation.grade.alias import Alias
    from warmth.evaluation.grade.choices import Letter
    from warmth.evaluation.grade.numbers import Number

    graders = {"alias": Alias(), "letter": Letter(), "number": Number()}
    wrong = []
    for row in cases("answers.jsonl"):
        if row["kind"] != "thinking":
            continue
        question = Question(
            "q",
            "t",
            row["question"],
            tuple(row["answers"]),
            row.get("wrong"),
            row.get("options", {}),
        )
        grade = graders[row["grader"]].grade(question, answer_row(row["text"]))
        if (grade.label or grade.reason) != row["right"]:
            wrong.append((row["text"], grade))
    assert wrong == []


def test_thinking_that_is_counted_apart_is_paid_like_the_rest():
    from warmth.api.calls import Call
    from warmth.api.reading import read_reply

    apart = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115}
    within = {"prompt_tokens": 10, "completion_tokens": 105, "total_tokens": 115}
    for usage in (apart, within):
        usage["completion_tokens_details"] = {"reasoning_tokens": 100}
        status, body = done("Iron.", usage=usage)
        assert (
            read_reply(status, json.dumps(body).encode(), Call((), 0.0, 9)).usage.completion_tokens
            == 105
        )


# Keys


@pytest.mark.parametrize("key", ["test", "EMPTY", "x", "local"])
def test_an_answer_is_not_rewritten_by_a_short_key(tmp_path, monkeypatch, key):
    monkeypatch.setenv("SHORT_KEY", key)
    said = "The latest test shows local taxes; EMPTY set, next exam"
    with Odd(lambda body: done(said)) as server:
        rows, _ = ask(tmp_path, server, ["a"], api_key_env="SHORT_KEY")
    assert rows["a"]["text"] == said


def test_a_long_key_stands_in_no_field_fresh_or_stored(tmp_path, monkeypatch):
    secret = "sk-0123456789abcdefghij"
    monkeypatch.setenv("LONG_KEY", secret)
    verdict = json.dumps({"reason": f"your key is {secret}", "label": "correct", "affirms": None})

    def reply(body):
        status, value = done(
            f"<think>{secret}</think>{verdict if body['model'] == 'j' else secret}"
        )
        return status, {**value, "model": secret}

    with Odd(reply) as server:
        rows, _ = ask(tmp_path, server, ["a"], api_key_env="LONG_KEY")
        fresh = judge(tmp_path / "run", server, ["x"], api_key_env="LONG_KEY")
        (tmp_path / "run" / "grades.jsonl").unlink()
        (tmp_path / "run" / "answers.jsonl").unlink()
        stored = judge(tmp_path / "run", server, ["x"], api_key_env="LONG_KEY")
    assert rows["a"]["text"] == rows["a"]["thinking"] == "[key]" and fresh == stored
    assert not [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and secret.encode() in path.read_bytes()
    ]


@pytest.mark.parametrize(
    "pasted", ["sk-abcdefghijklmnop0123", "gsk_AbCdEfGh0123456789xyz", "my key"]
)
def test_a_key_where_its_variables_name_belongs_is_refused_and_not_shown(pasted):
    with pytest.raises(
        UserError, match="api_key_env must be the NAME of an environment variable"
    ) as told:
        OpenAI(base_url="http://127.0.0.1:9/v1", api_key_env=pasted).server_of(ORIGINAL)
    assert pasted not in str(told.value)


def test_a_key_is_sent_to_the_server_that_it_belongs_to_and_to_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "canary-canary-canary")
    hosted = replace(
        ORIGINAL,
        model=replace(MODEL, base_url="https://api.openai.com/v1", api_key_env="OPENAI_API_KEY"),
    )
    assert OpenAI().server_of(hosted).api_key_env == "OPENAI_API_KEY"
    assert (
        OpenAI(base_url="https://eu.api.openai.com/v1", api_key_env="OPENAI_API_KEY")
        .server_of(hosted)
        .api_key_env
    )
    assert OpenAI(base_url="http://127.0.0.1:9/v1").server_of(hosted).api_key_env is None
    with pytest.raises(
        UserError,
        match="api_key_env=OPENAI_API_KEY belongs to api.openai.com, and base_url=.* another",
    ):
        OpenAI(base_url="http://127.0.0.1:9/v1", api_key_env="OPENAI_API_KEY").server_of(hosted)
    with pytest.raises(UserError, match="belongs to api.openai.com"):
        Judge("http://127.0.0.1:9/v1", "j", "OPENAI_API_KEY").bind(
            "judge", Servers(SimpleNamespace(api=QUICK, output="x"))
        )


@pytest.mark.parametrize(
    ("text", "ended", "said", "thinking", "finish"),
    [
        ("<think>hm</think>Iron.", True, "Iron.", "hm", "stop"),
        ("<think>hm", False, "", "hm", "length"),
        ("<think>hm", True, "", "hm", "length"),
        ("<|channel|>analysis<|message|>hm<|end|><|channel|>final<|message|>Iron.", True, "Iron.", "hm", "stop"),
        ("Iron is", False, "Iron is", "", "length"),
    ],
)  # fmt: skip
def test_engines_in_this_process_set_thinking_apart_too(text, ended, said, thinking, finish):
    from warmth.evaluation.answer.engines import completion_of_text

    made = completion_of_text(text, ended, 9)
    assert (made.text, made.thinking, made.finish, made.tokens) == (said, thinking, finish, 9)
