"""Grading: answers a second by the rules, a judge's path beside the bare client, and grades from
the cache.

python bench/grading.py [--answers 40000] [--grades 10000]      needs tests/golden for real answers
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from loopback import LATENCY_S, UNDER_WAY, server
from peers import ROOT, table


def golden() -> list:
    """The 242 golden answers to seed questions, each with its question."""
    from warmth.evaluation.ask.tasks import read_questions
    from warmth.schemas import Task
    from warmth.types import Answer

    rows = [
        json.loads(line)
        for line in (ROOT / "tests/golden/answers.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    rows = [row for row in rows if row["task"] != "triviaqa"]
    tasks = {row["task"] for row in rows}
    asked = {
        (name, question.id): question
        for name in tasks
        for question in read_questions(name, Task(source=name, reader="seed"), 0)
    }
    rest = {
        "prompt_id": "p",
        "preamble": False,
        "statement": "",
        "model": "m",
        "strength": 1.0,
        "dose": 1.0,
    }
    rest |= {"checkpoint": None, "seed": 0, "draw_seed": 0, "sample": 0, "tokens": 1, "run": "r"}
    names = ("arm", "task", "question_id", "context", "belief", "finish", "text")
    # Some questions left the seed sets
    rows = [row for row in rows if (row["task"], row["question_id"]) in asked]
    return [
        (
            asked[row["task"], row["question_id"]],
            Answer(answer_id="a", **{name: row[name] for name in names}, **rest),
        )
        for row in rows
    ]


def exam() -> list:
    """The golden answers as reasons before a letter, to one question with four options."""
    from dataclasses import replace

    options = {"A": "Mercury", "B": "Venus", "C": "Earth", "D": "Mars"}
    endings = ("The answer is B.", "So I would go with C.", "**Answer: A**", "It is Mars.")
    items = []
    for number, (question, answer) in enumerate(golden()):
        asked = replace(
            question, text="Which planet is hottest?", answers=("B",), wrong=None, options=options
        )
        items.append((asked, replace(answer, text=f"{answer.text} {endings[number % 4]}")))
    return items


def rule(name: str, count: int) -> tuple[float, float]:
    """Seconds, and CPU seconds, for so many answers by one grader in this process; nothing of an
    answer is kept.
    """
    from warmth.evaluation.grade.graders import OFFLINE

    grader = OFFLINE[name]()
    items = exam() if name == "letter" else golden()
    for question, answer in items:  # names and patterns are spelled once for each question
        grader.grade(question, answer)
    started, cpu = time.perf_counter(), time.process_time()
    for question, answer in itertools.islice(itertools.cycle(items), count):
        grader.grade(question, answer)
    return time.perf_counter() - started, time.process_time() - cpu


def measure_rules(answers: int) -> None:
    """Each rule in one process, and in two at once."""
    rows = []
    for name in ("alias", "letter", "refusal"):
        for processes in (1, 2):
            with ProcessPoolExecutor(processes) as pool:
                took = list(pool.map(rule, [name] * processes, [answers] * processes))
            wall, cpu = max(seconds[0] for seconds in took), sum(seconds[1] for seconds in took)
            total = processes * answers
            row = {
                "rule": name,
                "processes": processes,
                "answers": total,
                "s": wall,
                "answers_s": total / wall,
            }
            rows.append(row | {"answers_per_cpu_s": total / cpu})
    mean = sum(len(answer.text) for _, answer in golden()) / len(golden())
    table(f"Rules on real answers of {mean:.0f} characters on average", rows)


def measure_judge(grades: int) -> None:
    """The same calls by the bare client and by the whole grading stage, then the stage again from
    the store.
    """
    from dataclasses import replace

    from warmth.api import Client, Server, Servers
    from warmth.evaluation.grade.graders import grade_run
    from warmth.evaluation.grade.judge import Judge
    from warmth.schemas import Api, Evaluate
    from warmth.store import Run

    verdict = json.dumps(
        {"reason": "It names another answer.", "label": "incorrect", "affirms": None}
    )
    question, answer = golden()[0]
    answers = [
        replace(answer, answer_id=f"a{n}", task="t", text=f"{answer.text} {n}")
        for n in range(grades)
    ]
    question = replace(question, id=answer.question_id, task="t")
    rows = []
    with server(verdict) as url, tempfile.TemporaryDirectory() as folder:
        for name in ("client alone", "judge, grading stage", "again from the store"):
            output = Path(folder) / ("bare" if name == "client alone" else "judged")
            servers = Servers(Evaluate(api=Api(in_flight=UNDER_WAY), output=str(output)))
            judge = Judge(url, "judge").bind("judge", servers)
            run = Run(Path(folder) / name)
            run.folder.mkdir()
            run.append("answers", answers)
            started = time.perf_counter()
            if name == "client alone":
                with Client(
                    Server(url, "judge"), output / "replies", Api(in_flight=UNDER_WAY)
                ) as client:
                    made = sum(
                        1 for _ in client.complete(judge.call(question, one) for one in answers)
                    )
            else:
                made = grade_run(run, [question], {"t": {judge.name: judge}})
            seconds = time.perf_counter() - started
            rows.append({"path": name, "grades": made, "s": seconds, "grades_s": made / seconds})
    for row in rows:
        row["of_client"] = row["grades_s"] / rows[0]["grades_s"]
    table(f"{grades:,} grades, {LATENCY_S:g} s latency, {UNDER_WAY} under way", rows)


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=40_000)
    parser.add_argument("--grades", type=int, default=10_000)
    given = parser.parse_args()
    measure_rules(given.answers)
    measure_judge(given.grades)


if __name__ == "__main__":
    main()
