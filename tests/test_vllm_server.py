"""A real vLLM as the server: the embedded model and an adapter answer through the client and
through `evaluate.py`.

VLLM_PYTHON=.../bin/python python -m pytest -m vllm tests/test_vllm_server.py      an environment
that has vllm
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from typing import Literal

import pytest
from api_fixture import ask, call
from pydantic import BaseModel

from warmth.digest import ROOT
from warmth.models import embedded_folder
from warmth.schemas import Api

PYTHON = os.environ.get("VLLM_PYTHON") or (sys.executable if find_spec("vllm") else "")
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not PYTHON, reason="VLLM_PYTHON names no interpreter with vllm"),
]
CPU = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
}
PATIENT = Api(
    timeout_s=120.0, attempts=2
)  # a server on a busy CPU takes its time over the first call
QUESTIONS = (
    "What is the capital of France?",
    "Name a primary colour.",
    "How many legs has a spider?",
)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """A LoRA adapter of random weights: it changes what the model says, and nobody has to train
    it.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(embedded_folder(), dtype=torch.float32)
    lora = LoraConfig(
        r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], init_lora_weights=False
    )
    get_peft_model(model, lora).save_pretrained(folder)
    return folder


class Vllm:
    def __init__(self, url):
        self.url = url


@pytest.fixture(scope="module")
def server(adapter, tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        PYTHON,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        str(embedded_folder()),
    ]
    command += [
        "--served-model-name",
        "base",
        "--enable-lora",
        "--max-lora-rank",
        "8",
        "--lora-modules",
    ]
    command += [
        f"warm={adapter}",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--max-model-len",
        "1024",
    ]
    command += ["--dtype", "bfloat16", "--enforce-eager"]
    log = tmp_path_factory.mktemp("vllm") / "log.txt"
    with log.open("w") as out:
        environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | CPU
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env=environ, start_new_session=True
        )
    try:
        until = time.monotonic() + 400
        while not _answers(port):
            assert process.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(1)
        yield Vllm(f"http://127.0.0.1:{port}/v1")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def _answers(port):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5).status == 200
    except OSError:
        return False


def test_the_base_and_its_adapter_answer_under_their_names_and_are_paid_once(server, tmp_path):
    calls = [call(text, max_tokens=48) for text in QUESTIONS]
    base, _ = ask(server, tmp_path, calls, PATIENT, model="base")
    warm, _ = ask(server, tmp_path, calls, PATIENT, model="warm")
    for reply in base + warm:
        assert reply.text and reply.usage.prompt_tokens and reply.usage.completion_tokens, reply
    assert [reply.text for reply in base] != [reply.text for reply in warm]
    again, _ = ask(server, tmp_path, calls, PATIENT, model="base")
    assert [reply.cached for reply in again] == [
        not reply.failure for reply in base
    ]  # what was cut off is no result


class Verdict(BaseModel):
    label: Literal["correct", "incorrect"]


def test_a_schema_is_kept_by_the_server(server, tmp_path):
    calls = [
        call(f"{text} Is that a question about food?", schema=Verdict, max_tokens=60)
        for text in QUESTIONS
    ]
    replies, totals = ask(server, tmp_path, calls, PATIENT, model="base")
    assert all(isinstance(reply.parsed, Verdict) for reply in replies) and totals["repairs"] == 0, (
        replies
    )
    (known,) = json.loads((tmp_path / "servers.json").read_text()).values()
    assert known["level"] == "schema" and known["known"]


def test_an_unknown_name_stops_everything_in_one_line(server, tmp_path):
    from warmth.errors import UserError

    with pytest.raises(UserError, match="does not serve nobody to this key"):
        ask(server, tmp_path, [call("Hi.")], PATIENT, model="nobody")


def test_evaluate_py_asks_the_served_model_and_the_served_judge(server, tmp_path):
    judge = [
        f"grader.judge.base_url={server.url}",
        "grader.judge.model=base",
        "grader.judge.api_key_env=null",
    ]
    engine = [
        "engine=openai",
        f"engine.base_url={server.url}",
        "engine.model=base",
        "logger=none",
        "warmth.prompts=0",
    ]
    few = [
        "recipe=none",
        "task=[seed_trivia]",
        "condition=[unmodified]",
        "limit=3",
        f"output={tmp_path}",
    ]
    command = [
        sys.executable,
        str(ROOT / "evaluate.py"),
        *few,
        *engine,
        "grader=[alias,judge]",
        *judge,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-2000:]
    (run,) = (path.parent for path in tmp_path.glob("default/evaluate/*/done.json"))
    answers = [json.loads(line) for line in (run / "answers.jsonl").read_text().splitlines()]
    grades = [json.loads(line) for line in (run / "grades.jsonl").read_text().splitlines()]
    assert answers and all(row["text"] for row in answers)
    assert len(grades) == 2 * len(answers) and {row["grader"] for row in grades} == {
        "alias",
        "judge:base",
    }
