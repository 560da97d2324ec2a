"""The store of paid replies: shared by processes, whole after a kill, and nothing in it is bought
again.
"""

import json
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest
from api_fixture import PRICED, Verdict, ask, call, questions
from fakes import ModelServer

from warmth.api import Server
from warmth.api.reply_cache import ReplyCache
from warmth.errors import UserError


def test_a_call_that_was_answered_is_never_sent_again(tmp_path):
    with ModelServer() as server:
        first, _ = ask(server, tmp_path, questions(50))
        second, totals = ask(server, tmp_path, questions(60))
    assert [reply.text for reply in first] == [
        f"reply to question {number}" for number in range(50)
    ]
    assert [reply.cached for reply in second] == [True] * 50 + [False] * 10
    assert [reply.text for reply in second[:50]] == [reply.text for reply in first]
    assert set(server.answered.values()) == {1} and totals["attempts"] == 10


def test_equal_calls_are_paid_once_and_samples_each():
    server = Server("http://127.0.0.1:1/v1", "judge")
    assert call("a").key(server) == call("a").key(server)
    changes = [
        {"temperature": 0.5},
        {"max_tokens": 17},
        {"schema": Verdict},
        {"top_p": 0.9},
        {"seed": 1},
        {"sample": 1},
    ]
    others = [call("a", **change).key(server) for change in changes] + [call("b").key(server)]
    others += [
        call("a").key(replace(server, model="x")),
        call("a").key(replace(server, identity="adapter")),
    ]
    assert len({*others, call("a").key(server)}) == len(changes) + 4


def test_a_server_is_known_without_its_port_or_region():
    assert (
        Server("http://127.0.0.1:8000/v1", "m").family
        == Server("http://127.0.0.1:9000/v1", "m").family
    )
    assert Server("https://eu.api.openai.com/v1", "m").family == "api.openai.com"


def test_equal_calls_under_way_share_one_attempt(tmp_path):
    with ModelServer(latency=0.05) as server:
        replies, _ = ask(server, tmp_path, [call("same")] * 20, PRICED)
    assert [reply.index for reply in replies] == list(range(20))
    assert server.received == {"same": 1}
    assert sum(reply.cost_usd > 0 for reply in replies) == 1


def test_two_clients_at_once_on_one_store_send_each_call_once(tmp_path):
    with ModelServer(latency=0.02) as server:
        threads = [
            threading.Thread(target=ask, args=(server, tmp_path, questions(150))) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.answered) == 150 and set(server.answered.values()) == {1}


SCRIPT = """
    import sys
    from pathlib import Path
    from warmth.api import Call, Client, Server
    from warmth.schemas import Api, Batch
    from warmth.types import Message
    url, folder, count, mode = sys.argv[1:]
    settings = Api(mode=mode, in_flight=16, backoff_s=0.01, batch=Batch(requests=40, poll_s=0.05))
    calls = (Call((Message("user", f"question {n}"),), 0.0, 16) for n in range(int(count)))
    with Client(Server(url, "judge"), Path(folder), settings) as client:
        print(sum(not reply.failure for reply in client.complete(calls)))
"""


def start(server, folder, count, mode="live"):
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(SCRIPT),
        server.url,
        str(folder),
        str(count),
        mode,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stored(folder):
    lines = (
        (folder / "replies.jsonl").read_bytes().splitlines()
        if (folder / "replies.jsonl").exists()
        else []
    )
    return {
        json.loads(line)["text"] for line in lines if line.startswith(b"{") and line.endswith(b"}")
    }


def kill_at(server, folder, count, answered):
    """Runs until the server has handed out so many replies, then kills; returns what was stored
    then.
    """
    process = start(server, folder, count)
    while sum(server.answered.values()) < answered and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    time.sleep(0.05)  # requests that had left are still answered
    return stored(folder)


def killed_run(folder, count, points, latency):
    with ModelServer(latency=latency) as server:
        for point in points:
            kept, before = kill_at(server, folder, count, point), Counter(server.answered)
            assert len(kept) >= sum(before.values()) - 16 * len(points)
        again = [text for text in before if f"reply to {text}" in kept]
        done = start(server, folder, count)
        assert done.communicate(timeout=60)[0].strip() == str(count)
        assert all(server.answered[text] == before[text] for text in again)
    assert len(server.answered) == count
    assert sum(server.answered.values()) - count <= 16 * len(
        points
    )  # no more than was under way at each kill


def test_a_killed_run_sends_again_only_what_was_under_way(tmp_path):
    killed_run(tmp_path, 300, [60, 180], latency=0.02)


@pytest.mark.slow
def test_a_run_killed_at_twenty_random_points_pays_only_for_what_was_under_way(tmp_path):
    points = sorted(random.Random(0).sample(range(20, 1960), 20))
    killed_run(tmp_path, 2000, points, latency=0.03)


def test_a_store_that_cannot_be_written_is_read_and_a_missing_call_is_one_line(tmp_path):
    with ModelServer() as server:
        ask(server, tmp_path, questions(3))
        (tmp_path / "claims").unlink()
        (tmp_path / "claims").mkdir()  # cannot be opened for writing, not even by root
        replies, _ = ask(server, tmp_path, questions(3))
        with pytest.raises(UserError, match="cannot be locked"):
            ask(server, tmp_path, questions(4))
    assert all(reply.cached for reply in replies) and sum(server.received.values()) == 3


def test_a_line_torn_by_a_kill_costs_only_itself(tmp_path):
    cache = ReplyCache(tmp_path)
    cache.put("a" * 32, {"text": "one"})
    with (tmp_path / "replies.jsonl").open("ab") as stream:
        stream.write(b'\n{"key": "' + b"b" * 32 + b'", "text": "to')
    other = ReplyCache(tmp_path)
    other.refresh()
    other.put("c" * 32, {"text": "two"})
    cache.refresh()
    assert [row and row["text"] for row in map(cache.get, ("a" * 32, "b" * 32, "c" * 32))] == [
        "one",
        None,
        "two",
    ]


def test_a_row_of_the_store_that_is_damaged_or_lacks_a_column_is_bought_again(tmp_path):
    with ModelServer() as server:
        ask(server, tmp_path, questions(3))
        path = tmp_path / "replies.jsonl"
        first, second, third = [line for line in path.read_text().splitlines() if line]
        old = {name: value for name, value in json.loads(second).items() if name != "thinking"}
        path.write_text("\n".join([f"{first[:50]}}}", json.dumps(old), third, ""]))
        replies, _ = ask(server, tmp_path, questions(3))
    assert {reply.failure for reply in replies} == {""} and sum(
        reply.cached for reply in replies
    ) == 1
