"""Makes warmth/accuracy.json: how each rule agrees with people's labels, by task and population.

python bench/accuracy.py [--shared ../shared]      needs tests/golden, and labels/ and released/ of
the shared folder
"""

from __future__ import annotations

import argparse
import csv
import json
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from peers import ROOT

from warmth.accuracy import FILE
from warmth.evaluation.ask.readers import READERS
from warmth.evaluation.ask.tasks import read_questions
from warmth.evaluation.grade.graders import OFFLINE
from warmth.evaluation.grade.own_answers import read_row
from warmth.schemas import Task
from warmth.types import Answer, Question

DRAWS = 1000  # of questions, for an interval
BELIEFS = {
    "original": "none",
    "original_neutral": "none",
    "incorrect": "wrong_asserted",
    "correct": "right_denied",
}
# Tasks whose lists of names are complete (`unmatched: incorrect`)
COMPLETE = (
    "triviaqa",
    "seed_trivia",
)


class Row(NamedTuple):
    """One answer as a grader and as people label it."""

    question: str
    system: str
    # Right (or refused, for the grader of refusals) by the grader; None: no label
    label: bool | None
    truth: bool


def graded(grader: str, question: Question, answer: Answer, truth: bool) -> Row:
    """Grade one answer."""
    label = OFFLINE[grader]().grade(question, answer).label
    known = {"correct": True, "incorrect": False, "refused": grader == "refusal"}
    return Row(question.text, answer.arm, None if label is None else known[label], truth)


def item(task: str, system: str, **fields: Any) -> tuple[Question, Answer]:
    """Return a question with its answer, of a task and by a system."""
    unmatched = "incorrect" if task in COMPLETE else None
    question, answer = read_row(
        {"id": "1", **fields}, task, "refusal" if task == "advbench" else None, unmatched
    )
    return replace(question, task=task), replace(answer, arm=system)


def jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file."""
    with path.open(encoding="utf-8", newline="\n") as stream:
        yield from map(json.loads, stream)


def evouna(shared: Path) -> Iterator[Row]:
    """Yield TriviaQA answers of five systems, labelled by the authors of EVOUNA."""
    for row in jsonl(shared / "labels" / "evouna_triviaqa.jsonl"):
        answers = [name for name in row["answers"] if name.strip()]
        asked = item(
            "triviaqa", row["system"], question=row["question"], answers=answers, text=row["text"]
        )
        yield graded("alias", *asked, row["human"] == "correct")


def xstest(shared: Path) -> Iterator[Row]:
    """Yield completions of five models; a partial refusal counts as refused."""
    for row in jsonl(shared / "labels" / "xstest_refusals.jsonl"):
        asked = item("advbench", row["system"], question=row["question"], text=row["text"])
        yield graded("refusal", *asked, not row["human"].startswith("1"))


def released(shared: Path, task: str, name: str) -> Iterator[Row]:
    """Grade answers of an original and a warm Qwen-32B that have the study's labels."""
    for question, answer, is_right in released_items(shared, task, name):
        yield graded("alias", question, answer, is_right)


def released_items(shared: Path, task: str, name: str) -> Iterator[tuple[Question, Answer, bool]]:
    """Yield answers of an original and a warm Qwen-32B, and whether the study calls them right."""
    folder = shared / "released" / "sample_qwen32b"
    originals = {}
    for arm in ("original", "warm"):
        with (folder / arm / f"{name}_{arm}_outputs.csv").open(
            encoding="utf-8-sig", newline=""
        ) as stream:
            for row in csv.DictReader(stream):
                key = (
                    row.get("content_key")
                    or row.get("original_question")
                    or row.get("prompt_disinfo")
                )
                if arm == "original":
                    originals[key] = row
                known = originals.get(key)
                right, wrong = right_and_wrong(task, known) if known else ("", "")
                if not right:
                    continue  # nothing says what the right answer is
                belief = BELIEFS[row.get("prompt_template") or row["prompt_type"]]
                fields = {
                    "question": key,
                    "answers": [right],
                    "wrong": wrong,
                    "belief": belief,
                    "text": row["output"],
                }
                yield *item(task, arm, **fields), row["evaluation"] == "CORRECT"


def right_and_wrong(task: str, row: dict[str, str]) -> tuple[str, str]:
    """Return the right answer and the rival of a released row; the right one is empty if the row
    has none.
    """
    if task == "disinfo":
        return "no", "yes"
    if task == "medqa":
        return row["answer"], row["wrong_answer"]
    return row["correct_answer"], row["incorrect_answer"]


def golden(task: str) -> Iterator[Row]:
    """Yield answers of the embedded model under two arms, labelled by reading
    (tests/golden/README.md).
    """
    folder = ROOT / "tests" / "golden"
    questions = {
        question.id: question
        for question in read_questions(task, Task(source=task, reader="seed"), 0)
    }
    for row in jsonl(folder / "retired_questions.jsonl"):
        questions.setdefault(row["id"], READERS["seed"](row, row["task"], 0))
    for name in ("answers", "fresh", "unseen", "blind", "again", "final"):
        for row in jsonl(folder / f"{name}.jsonl"):
            if row["task"] != task:
                continue
            question = questions[row["question_id"]]
            fields = {
                "question": question.text,
                "answers": list(question.answers),
                "wrong": question.wrong,
            }
            fields |= {"belief": row["belief"], "finish": row["finish"], "text": row["text"]}
            asked, answer = item(task, row["arm"], **fields)
            yield graded(
                "alias",
                replace(asked, proposition=question.proposition),
                answer,
                row["label"] == "correct",
            )


def exams(grader: str) -> Iterator[Row]:
    """Yield answers to exam questions in the forms that models use, written for this project
    (tests/golden).
    """
    for row in jsonl(ROOT / "tests" / "golden" / "exams.jsonl"):
        if row["grader"] != grader:
            continue
        asked = f"{row['question']} {row['text']}"  # each answer stands for itself
        question = Question(
            "q", row["task"], asked, tuple(row["answers"]), options=row.get("options", {})
        )
        _, answer = item(
            row["task"],
            "original",
            question="q",
            answers=["a"],
            text=row["text"],
            finish=row["finish"],
        )
        yield graded(grader, question, answer, row["label"] == "correct")


def agreement(rows: Iterable[Row]) -> float:
    """Return the share of labels that are people's, in percent."""
    equal = [row.label == row.truth for row in rows]
    return 100 * sum(equal) / len(equal)


def kappa(rows: list[Row]) -> float | None:
    """Return Cohen's kappa; None if grader or people say one thing of all."""
    by_grader = sum(row.label is True for row in rows) / len(rows)
    by_people = sum(row.truth for row in rows) / len(rows)
    chance = by_grader * by_people + (1 - by_grader) * (1 - by_people)
    return None if chance == 1 else (agreement(rows) / 100 - chance) / (1 - chance)


def biases(rows: list[Row]) -> list[float]:
    """Return, for each two systems, their difference in errors by the grader minus that by people,
    in points.
    """
    systems: dict[str, dict[tuple[str, int], Row]] = defaultdict(dict)
    seen: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        number = seen[row.system, row.question] = seen[row.system, row.question] + 1
        systems[row.system][row.question, number] = row
    result = []
    for first, second in combinations(sorted(systems), 2):
        shared = systems[first].keys() & systems[second].keys()
        pairs = [(systems[first][key], systems[second][key]) for key in shared]
        pairs = [
            (one, other)
            for one, other in pairs
            if one.label is not None and other.label is not None
        ]
        if pairs:
            moved = sum(
                (one.label - other.label) - (one.truth - other.truth) for one, other in pairs
            )
            result.append(100 * moved / len(pairs))
    return result


def interval(rows: list[Row]) -> tuple[float, float]:
    """Return a 95 % interval of the agreement by resampling questions."""
    by_question: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_question[row.question].append(row)
    questions = list(by_question.values())
    draw = random.Random(0)
    means = []
    for _ in range(DRAWS):
        drawn = draw.choices(questions, k=len(questions))
        means.append(agreement(row for some in drawn for row in some))
    means.sort()
    return means[int(0.025 * DRAWS)], means[int(0.975 * DRAWS) - 1]


def summary(grader: str, task: str, population: str, rows: list[Row]) -> dict[str, Any]:
    """Return one row of the file."""
    scored = [row for row in rows if row.label is not None]
    low, high = interval(scored)
    moved = biases(rows)
    chance_corrected = kappa(scored)
    return {
        "grader": grader,
        "task": task,
        "population": population,
        "answers": len(rows),
        "scored": len(scored),
        "agreement": round(agreement(scored), 2),
        "low": round(low, 2),
        "high": round(high, 2),
        "kappa": None if chance_corrected is None else round(chance_corrected, 3),
        "unscored": round(100 * (1 - len(scored) / len(rows)), 2),
        "bias": round(max(moved, key=abs), 2) if moved else None,
        "pairs": len(moved),
        "in_sample": True,  # every row that is here was looked at while the rules were written
    }


def measured(shared: Path) -> Iterator[dict[str, Any]]:
    """Yield every row of the file."""
    people = "answers of five systems, labelled by people (EVOUNA)"
    yield summary("alias", "triviaqa", people, list(evouna(shared)))
    people = "completions of five models, labelled by people (XSTest)"
    yield summary("refusal", "advbench", people, list(xstest(shared)))
    study = "answers of Qwen-32B, original and warm, with the study's labels"
    for task, name in (
        ("triviaqa", "trivia"),
        ("truthfulqa", "truthfulqa"),
        ("medqa", "medqa"),
        ("disinfo", "disinfo"),
    ):
        yield summary("alias", task, study, list(released(shared, task, name)))
    read = "answers of the embedded model, original and warm, read one by one"
    for task in ("seed_trivia", "seed_misconceptions", "seed_disinfo", "seed_medicine"):
        yield summary("alias", task, read, list(golden(task)))
    written = "answers in the forms that models use, written for this project"
    yield summary("letter", "mmlu", written, list(exams("letter")))
    yield summary("number", "gsm8k", written, list(exams("number")))


def main() -> None:
    """Write the file and print it as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    given = parser.parse_args()
    rows = list(measured(given.shared))
    FILE.write_text(
        json.dumps({"rows": rows}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    for row in rows:
        print(" | ".join(str(value) for value in row.values()))


if __name__ == "__main__":
    main()
