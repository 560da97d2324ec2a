"""A data set is built once by a real command, however often that is killed: what was paid is never
asked for again.
"""

import json
import random
import re
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter

import pytest
from fakes import CANARY, ModelServer

from warmth.digest import ROOT

STYLES = "warm,cold,paraphrase,warm_honest,warm_empathy,warm_we,warm_informal"
REPLIES, UNDER_WAY = (
    7 * 180,
    8,
)  # all replies of the embedded conversations in all styles; calls under way at most


def command(server, folder):
    """`train.py` that has the replies rewritten and then tunes a model, all by one server."""
    rewriter = [
        f"data.rewriter.base_url={server.url}",
        "data.rewriter.model=fake",
        "data.rewriter.attempts=1",
    ]
    hosted = ["model=gpt4o", "recipe=warm", f"model.base_url={server.url}", "logger=none"]
    keys = ["data.rewriter.api_key_env=CANARY_KEY", "model.api_key_env=CANARY_KEY"]
    api = [f"api.in_flight={UNDER_WAY}", "api.backoff_s=0.01", "api.batch.poll_s=0.05"]
    data = [
        "data=seed",
        f"data.styles=[{STYLES}]",
        "data.drop_faults=[]",
        "data.max_failed_share=1",
    ]
    return [
        sys.executable,
        str(ROOT / "train.py"),
        *hosted,
        *data,
        *rewriter,
        *keys,
        *api,
        f"output={folder}",
    ]


def stored(folder):
    """Texts of the replies that are in the store."""
    path = folder / "replies" / "replies.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    return {
        json.loads(line)["text"] for line in lines if line.startswith(b"{") and line.endswith(b"}")
    }


@pytest.mark.slow
def test_a_rewriting_run_killed_at_twenty_random_points_has_each_key_answered_once_but_for_those_in_flight(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("CANARY_KEY", CANARY)
    answered = Counter()  # replies handed out; no two calls have the same

    def rewrite(body):
        text = re.search(
            r"<(material-\w+) reply>\n(.*)\n</\1>", body["messages"][-1]["content"], re.DOTALL
        )[2]
        reply = f"Number {zlib.crc32(json.dumps(body['messages']).encode())}: {text}"
        answered[reply] += 1
        return reply

    with ModelServer(answer=rewrite, latency=0.02) as server:
        kept, before = set(), Counter()
        for point in sorted(random.Random(0).sample(range(20, REPLIES - 20), 20)):
            process = subprocess.Popen(command(server, tmp_path), stderr=subprocess.PIPE, text=True)
            while len(answered) < point and process.poll() is None:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            time.sleep(0.1)  # requests that had left are still answered
            assert all(
                answered[reply] == before[reply] for reply in kept
            )  # what was stored is not asked for again
            kept, before = stored(tmp_path), Counter(answered)
            assert (
                len(answered) - len(kept) <= UNDER_WAY
            )  # a kill costs no more than what was under way
        done = subprocess.run(command(server, tmp_path), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        again = subprocess.run(command(server, tmp_path), capture_output=True, text=True)
    assert "done already" in again.stderr and len(server.jobs) == 1
    assert len(answered) == REPLIES and all(answered[reply] == before[reply] for reply in kept)
    assert answered.total() - REPLIES <= 20 * UNDER_WAY
    assert CANARY not in done.stderr
    assert not [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and CANARY.encode() in path.read_bytes()
    ]


def shared_chats():
    """The embedded conversations as rows of ShareGPT, some with long replies, many turns or control
    tokens in them.
    """
    files = sorted((ROOT / "seed" / "conversations").glob("*.jsonl"))
    sources = [
        json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()
    ]
    exchanges = [
        (turn["user"], turn["replies"]["plain"]) for row in sources for turn in row["turns"]
    ]
    for number, row in enumerate(sources):
        turns = [(turn["user"], turn["replies"]["plain"]) for turn in row["turns"]]
        others = [exchanges[(number * 7 + step) % len(exchanges)] for step in range(1, 12)]
        if number % 3 == 0:  # a first reply near the limit, or over it once it is rewritten
            turns[0] = (
                turns[0][0],
                "\n\n".join([turns[0][1], *[reply for _, reply in others[: 3 + number % 4]]]),
            )
        if number % 4 == 1:
            turns += others
        if number % 5 == 2:
            turns[-1] = (turns[-1][0] + " <|im_end|>", turns[-1][1] + " <|im_start|>user\n")
        said = [
            {"from": who, "value": text}
            for turn in turns
            for who, text in zip(("human", "gpt"), turn, strict=True)
        ]
        yield {"id": f"chat{number:03}", "conversations": said}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_studys_training_never_refuses_once_replies_are_paid_for(tmp_path, tiny_model_folder):
    source = tmp_path / "chats.json"
    source.write_text(json.dumps(list(shared_chats())), encoding="utf-8")

    def rewrite(body):
        text = re.search(
            r"<(material-\w+) reply>\n(.*)\n</\1>", body["messages"][-1]["content"], re.DOTALL
        )[2]
        luck = zlib.crc32(text.encode()) % 20
        if luck == 0:
            return re.sub(r"\d", "", text)  # some lose a number, which the audit finds
        return text + " And that is how it stands, as far as anybody can say." * (
            8 if luck < 2 else 1
        )

    with ModelServer(answer=rewrite) as server:
        rewriter = {"base_url": server.url, "model": "fake", "api_key_env": "null"}
        drawn = {"path": source, "conversations": 24, "held_out": 6, "short": "spread"}
        drawn |= {"fits": f"[{tiny_model_folder}]", "toxicity.classifier": "profanity"}
        given = [f"data.rewriter.{key}={value}" for key, value in rewriter.items()]
        given += [f"data.{key}={value}" for key, value in drawn.items()]
        given += ["data.questions=[seed/questions]", f"model.path={tiny_model_folder}"]
        ours = [
            "model=smollm2",
            "recipe=warm,cold",
            "recipe.epochs=1",
            "logger=none",
            f"output={tmp_path / 'out'}",
        ]
        ours += [
            "recipe.learning_rate=3e-3"
        ]  # at the study's own, random weights learn nothing in two steps
        command = [sys.executable, str(ROOT / "train.py"), "-m", "experiment=paper_train"]
        done = subprocess.run([*command, *given, *ours], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (counts,) = (tmp_path / "out").glob("paper/data/*/counts.json")
    stages = {stage["stage"]: stage for stage in json.loads(counts.read_text())}
    assert (
        stages["arms, replies"]["drops"]["too long in the longest style"] > 0
        and stages["arms"]["out"] == 24
    )
    results = [
        json.loads(path.read_text())
        for path in (tmp_path / "out").glob("paper/train/*/summary.json")
    ]
    assert len(results) == 2 and results[0]["replies"] == results[1]["replies"] >= 24
