"""Judges beside the rules on answers that others labelled: the authors' released sample.

python bench/judges.py [--rows 40] [--model smollm2] [--shared ../shared] [--base-url URL]
needs released/ of the shared folder

Three graders read the same answers: the rule, a judge on a server and a judge in this process.
Without `--base-url` the server is one on the loopback that knows no language: it calls an answer
correct if it holds a reference and no "not". So its row shows that calls, verdicts and rows
arrive; how well a real judge agrees is seen with `--base-url` and `--served`.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import accuracy
from accuracy import Row
from peers import ROOT, table

from warmth.api import Servers
from warmth.evaluation.grade.graders import OFFLINE
from warmth.evaluation.grade.judge import Judge
from warmth.schemas import Evaluate
from warmth.types import Answer, Question

NAMES = {"triviaqa": "trivia", "truthfulqa": "truthfulqa", "medqa": "medqa", "disinfo": "disinfo"}
PIECE = re.compile(r"<(\S+) (\w+)>\n(.*?)\n</\1 \2>", re.DOTALL)  # as judge.case_of writes them
Case = tuple[Question, Answer, bool]  # the last: right by the authors' label


class Containing(BaseHTTPRequestHandler):
    """Replies to a judge's call by looking for the reference in the answer."""

    def do_POST(self) -> None:
        """Reply with a verdict."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        pieces = {name: text for _, name, text in PIECE.findall(body["messages"][-1]["content"])}
        answer = pieces["answer"].casefold()
        names_it = any(name.casefold() in answer for name in json.loads(pieces["reference"]))
        label = "correct" if names_it and " not " not in answer else "incorrect"
        verdict = {"reason": "It holds the reference or not.", "label": label, "affirms": None}
        message = {"role": "assistant", "content": json.dumps(verdict), "refusal": None}
        reply = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [
                {"index": 0, "finish_reason": "stop", "logprobs": None, "message": message}
            ],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
        content = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Write no line for each call."""


@contextmanager
def loopback_judge() -> Iterator[str]:
    """Serve `Containing` while the block runs; yields its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Containing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def released_cases(shared: Path, count: int) -> list[Case]:
    """Return so many answers of the released sample, evenly over its tasks and arms."""
    cases: list[Case] = []
    for task, name in NAMES.items():
        cases.extend(accuracy.released_items(shared, task, name))
    step = max(1, len(cases) // count)
    numbered_cases = enumerate(cases[::step][:count])
    return [
        (question, replace(answer, answer_id=str(number)), is_right)
        for number, (question, answer, is_right) in numbered_cases
    ]


def judge_of(base_url: str | None, model: str, folder: str) -> Any:
    """Return a judge on a server, or in this process if there is no address."""
    return Judge(base_url, model).bind("judge", Servers(Evaluate(output=folder)))


def measured(name: str, grader: Any, cases: list[Case]) -> dict[str, Any]:
    """Grade every case and compare with the authors' labels."""
    started = time.perf_counter()
    cpu = time.process_time()
    labels: dict[str, str | None] = {}
    items = [(question, answer) for question, answer, _ in cases]
    if grader.offline:
        for question, answer in items:
            labels[answer.answer_id] = grader.grade(question, answer).label
    else:
        for grades in grader.grade_all(items):
            labels |= {grade.answer_id: grade.label for grade in grades}
    seconds = time.perf_counter() - started
    cpu_seconds = time.process_time() - cpu
    rows = []
    for question, answer, is_right in cases:
        label = labels[answer.answer_id]
        by_grader = None if label is None else label == "correct"
        rows.append(Row(question.text, answer.arm, by_grader, is_right))
    scored = [row for row in rows if row.label is not None]
    return {
        "grader": name,
        "answers": len(rows),
        "unscored_percent": 100 * (1 - len(scored) / len(rows)),
        "agreement_percent": accuracy.agreement(scored),
        "kappa": accuracy.kappa(scored),
        "s_a_row": seconds / len(rows),
        "cpu_s_a_row": cpu_seconds / len(rows),
    }


def main() -> None:
    """Print a row for each grader."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--model", default="smollm2", help="the judge in this process")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--base-url", help="a judge's server instead of the loopback")
    parser.add_argument("--served", default="loopback", help="the model on that server")
    given = parser.parse_args()
    if not (given.shared / "released").is_dir():
        print(f"judges: left out: {given.shared / 'released'} does not exist")
        return
    cases = released_cases(given.shared, given.rows)
    address = nullcontext(given.base_url) if given.base_url else loopback_judge()
    with tempfile.TemporaryDirectory() as folder, address as base_url:
        rows = [
            measured("rule (alias)", OFFLINE["alias"](), cases),
            measured(
                f"judge on a server ({given.served})",
                judge_of(base_url, given.served, folder),
                cases,
            ),
            measured(
                f"judge in this process ({given.model})", judge_of(None, given.model, folder), cases
            ),
        ]
    table(f"{len(cases)} released answers, with the authors' labels", rows)


if __name__ == "__main__":
    main()
