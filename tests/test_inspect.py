"""Inspect both ways: its logs of our task are runs, its models answer as an engine; each without
and with Inspect.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from warmth.analysis import inspect_runs
from warmth.analysis.rows.frames import load_rows
from warmth.api import Server
from warmth.api.client import Client
from warmth.api.inspect_transport import completion, failed_reply, refuse_without_inspect
from warmth.build import build
from warmth.digest import ROOT
from warmth.errors import UserError
from warmth.evaluation.answer.arms import Arm
from warmth.schemas import Api, Model

TOOLS = ROOT / "tests" / "other_tools"


def python_of(name):
    python = Path(os.environ.get("PEERS_VENVS", "/nowhere")) / name / "bin" / "python"
    if not python.exists():
        pytest.skip(f"PEERS_VENVS names no folder with an environment {name}")
    if subprocess.run(
        [str(python), "-c", "import inspect_ai, hydra, torch"], capture_output=True
    ).returncode:
        pytest.skip(f"{python} has not both inspect-ai and what this package needs")
    return str(python)


# --- logs of warmth/conditions ---


def log(name, recipe, verdicts, context="sad"):
    """A log as the task writes it; `verdicts` are labels, None: no label."""
    config = {
        "recipe": {"name": recipe, "method": "none"},
        "draw_seed": 0,
        "task": {"seed_trivia": {"grader": "alias", "questions": len(verdicts)}},
        "condition": {context: {"group": "none"}},
        "beliefs": ["none"],
        "sampling": {"temperature": 0.0},
        "study": "inspect",
        "grader": {},
    }
    samples = []
    for number, label in enumerate(verdicts):
        about = {
            "prompt_id": f"p{number}{context}",
            "question_id": f"q{number}",
            "task": "seed_trivia",
        }
        about |= {"context": context, "belief": "none", "preamble": False, "statement": "Alas."}
        about |= {"question": "?", "answers": ["x"], "wrong": "y", "message": "Alas. ?"}
        grade = {
            "grader": "alias",
            "label": label,
            "affirms": None,
            "reason": "" if label else "names_neither",
        }
        score = {"value": "C" if label == "correct" else "I", "metadata": grade}
        message = {
            "role": "assistant",
            "content": [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "x"}],
        }
        output = {
            "choices": [{"message": message, "stop_reason": "stop"}],
            "usage": {"output_tokens": 4},
        }
        samples.append(
            {
                "id": about["prompt_id"],
                "epoch": 1,
                "metadata": about,
                "output": output,
                "scores": {"r": score},
            }
        )
    spec = {
        "task": "warmth/conditions",
        "model": name,
        "metadata": {"warmth": config},
        "packages": {"inspect_ai": "0.3"},
    }
    return {"version": 2, "status": "success", "eval": spec, "samples": samples}


def write_logs(folder, *logs):
    folder.mkdir(exist_ok=True)
    for number, content in enumerate(logs):
        (folder / f"{number}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_logs_of_two_prompts_are_two_arms_of_one_model(tmp_path):
    right, wrong = ["correct"] * 4, ["correct", "incorrect", "incorrect", None]
    logs = write_logs(
        tmp_path / "logs", log("a/b", "none", right), log("a/b", "system_warm", wrong)
    )
    (folder,) = inspect_runs.with_logs([logs])
    answers = load_rows([folder]).answers
    assert sorted(answers["arm"].unique()) == ["original", "system_warm"] and set(
        answers["model"]
    ) == {"a--b"}
    warm = answers[answers["arm"].eq("system_warm")].sort_values("question_id")
    assert warm["wrong"].tolist()[:3] == [0.0, 1.0, 1.0] and warm["wrong"].isna().tolist()[3]
    assert set(answers["text"]) == {"x"} and set(answers["tokens"]) == {4}


def test_logs_of_two_contexts_are_one_run(tmp_path):
    logs = [log("a/b", "none", ["correct"] * 3, context) for context in ("sad", "unmodified")]
    (folder,) = inspect_runs.with_logs([write_logs(tmp_path / "logs", *logs)])
    rows = load_rows([folder])
    assert len(rows.runs) == 1 and sorted(rows.answers["context"].unique()) == ["sad", "unmodified"]
    inspect_runs.with_logs([tmp_path / "logs"])  # again: written anew, not twice
    assert len(load_rows([folder]).answers) == 6


def test_a_folder_without_such_logs_stays_as_it_is(tmp_path):
    other = log("a/b", "none", ["correct"])
    other["eval"]["metadata"] = {}
    logs = write_logs(tmp_path / "logs", other)
    assert inspect_runs.with_logs([logs]) == [logs] and not (logs / "warmth_runs").exists()


def test_a_sample_without_its_metadata_is_one_line(tmp_path):
    broken = log("a/b", "none", ["correct"])
    del broken["samples"][0]["metadata"]["context"]
    with pytest.raises(UserError, match=r"0\.json: sample p0sad has no context in its metadata"):
        inspect_runs.with_logs([write_logs(tmp_path / "logs", broken)])


# --- the engine ---


def reply(text="Paris", stop="stop", error=None, content=None):
    message = SimpleNamespace(content=content or text, text=text)
    usage = SimpleNamespace(input_tokens=5, output_tokens=2, input_tokens_cache_read=3)
    choices = [SimpleNamespace(message=message, stop_reason=stop)]
    return SimpleNamespace(model="m", error=error, choices=choices, usage=usage)


def test_an_output_of_inspect_is_a_chat_completion():
    body = completion(reply(stop="max_tokens"))
    assert body["choices"][0]["finish_reason"] == "length" and body["usage"]["prompt_tokens"] == 8
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "Paris"}
    thought = completion(
        reply(content=[SimpleNamespace(reasoning="So."), SimpleNamespace(text="Paris")])
    )
    assert thought["choices"][0]["message"]["reasoning_content"] == "So."
    assert completion(reply(error="overloaded"))["error"]["code"] == 500


def test_a_providers_error_keeps_its_status_and_loses_its_key():
    limited = RuntimeError("Bearer abcdefghijklmnopqrstuvwxyz refused")
    limited.status_code = 429
    outer = RuntimeError("wrapped")
    outer.__cause__ = limited
    attempt = failed_reply(outer)
    assert attempt.status == 429 and b"abcdefghij" not in attempt.raw
    assert failed_reply(ConnectionError("gone")).failure == "dropped"


def test_without_inspect_the_engine_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    monkeypatch.setattr("warmth.api.inspect_transport.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'warmth-study\[inspect\]'"):
        refuse_without_inspect()


def test_only_arms_without_weights_and_named_models_are_asked(tmp_path):
    engine = build({"_target_": "warmth.evaluation.answer.served.Inspect"}, "engine")
    trained = arm_of(Model(name="m", kind="hub", hub_id="anthropic/claude"), adapter=tmp_path)
    with pytest.raises(UserError, match="recipe=warm has weights of its own"):
        engine.bind(trained, SimpleNamespace())
    with pytest.raises(UserError, match="must name provider and model"):
        engine.bind(arm_of(Model(name="m", kind="hub"), adapter=None), SimpleNamespace())


def arm_of(model, adapter):
    fixed = {
        "training": None,
        "checkpoint": None,
        "dose": 1.0,
        "strength": 1.0,
        "seed": 0,
        "system_prompt": None,
    }
    return Arm(name="warm", model=model, adapter=adapter, **fixed)


def test_batches_are_not_had_through_inspect(tmp_path):
    with pytest.raises(UserError, match=r"api\.mode=batch"):
        Client(Server("inspect://anthropic", "anthropic/claude"), tmp_path, Api(mode="batch"))


# --- with Inspect itself ---


@pytest.mark.release
def test_the_engine_asks_inspects_mock_model_once_and_finds_its_replies_again(tmp_path):
    command = [python_of("inspect"), str(TOOLS / "inspect_engine.py"), str(tmp_path / "multirun")]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["asked"] > 0 and told["again"] == 0 and told["roles"] == ["system", "user"]
    gates = json.loads((Path(told["folders"][0]) / "gates.json").read_text(encoding="utf-8"))
    assert gates and all((Path(folder) / "done.json").exists() for folder in told["folders"])


@pytest.mark.release
def test_inspect_evaluates_our_task_set_and_the_report_reads_its_logs(tmp_path):
    python = python_of("inspect")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    names = (
        "from importlib.metadata import entry_points as e; print([x.name for x in "
        "e(group='inspect_ai')])"
    )
    listed = subprocess.run([python, "-c", names], capture_output=True, text=True)
    if "'warmth'" not in listed.stdout:
        pytest.skip(f"this package is not installed in the environment of {python}")
    for recipe in ("none", "system_warm"):
        words = [
            "eval",
            "warmth/conditions",
            "-T",
            "context=sad",
            "-T",
            "belief=wrong_asserted",
            "-T",
            f"recipe={recipe}",
        ]
        words += [
            "-T",
            "limit=10",
            "--model",
            "mockllm/model",
            "--log-dir",
            "logs",
            "--display",
            "none",
        ]
        command = [python, str(TOOLS / "inspect_cli.py"), *words]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    command = [
        sys.executable,
        "-m",
        "warmth.cli",
        "report",
        str(tmp_path / "logs"),
        "--out",
        str(tmp_path / "out"),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["arms"] == ["original", "system_warm"] and said["answer_rows"] == 20


@pytest.mark.release
def test_an_exported_log_is_in_inspects_data_frames_with_its_scores(tmp_path):
    from study_fixture import write_study

    python = python_of("inspect")
    study = write_study(tmp_path / "study", arms=("original",), training=False)
    code = """
import json, sys
from inspect_ai.analysis import evals_df, samples_df
from inspect_ai.log import read_eval_log
file = sys.argv[1]
head = read_eval_log(file, header_only=True)
metric = head.results.scores[0].metrics["accuracy"].value
table = evals_df(file)
print(json.dumps([len(table), len(samples_df(file)), metric, float(table["score_alias_accuracy"][0])]))
"""
    for exporter in (sys.executable, python):  # without Inspect, and by its own writer
        out = tmp_path / f"out-{exporter == python}"
        command = [
            exporter,
            "-m",
            "warmth.cli",
            "export",
            str(study),
            "--format",
            "inspect",
            "--out",
            str(out),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        assert done.returncode == 0, done.stderr
        (file,) = out.iterdir()
        read = subprocess.run([python, "-c", code, str(file)], capture_output=True, text=True)
        evaluations, samples, metric, listed = json.loads(read.stdout.splitlines()[-1])
        answers = load_rows([study]).answers
        assert (evaluations, samples) == (1, len(answers)) and metric == pytest.approx(listed)
