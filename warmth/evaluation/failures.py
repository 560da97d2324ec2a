"""What did not come of an evaluation: prompts without an answer, answers without a label, and why,
in words.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from warmth.errors import NotScored, RunFailed
from warmth.evaluation.grade.graders import Grader, names_that_ask
from warmth.evaluation.grade.unscored import unreadable
from warmth.store import Run
from warmth.types import Answer
from warmth.verdicts import REASONS

FEW = 5  # answers on which a judge may fail without a word, if others were graded by somebody else
# Failures that come again whatever is done; the same command does not ask for these alone
LASTING = ("too_long",)


def refuse_nothing(run: Run, graders: Mapping[str, Mapping[str, Grader]]) -> None:
    """Check that something came of an evaluation.

    Raises:
        RunFailed: no prompt has an answer, or a judge has given no verdict at all; what went wrong
        is named.
    """
    failed: Counter[str] = Counter()
    sentence = ""
    total = 0
    for row in run.rows("answers"):
        total += 1
        if row["finish"] in ("filtered", "error"):
            failed[row.get("failure") or row["finish"]] += 1
            sentence = sentence or row.get("detail", "")
    if total and failed.total() == total:
        line = f"none of {total} prompts has an answer ({names_with_counts(failed)})"
        if sentence:
            line += f": {sentence}"
        raise RunFailed(f"{line}; the same command asks again")
    _refuse_no_verdict(run, graders)


def _refuse_no_verdict(run: Run, graders: Mapping[str, Mapping[str, Grader]]) -> None:
    """Check that each judge gave a verdict on something.

    Raises:
        RunFailed: one failed on all it was asked about.
    """
    judges = names_that_ask(graders)
    if not judges:
        return
    readable: set[str] = set()
    for row in run.rows("answers"):
        if unreadable(Answer(**row), "") is None:
            readable.add(row["answer_id"])
    latest: dict[str, dict[str, Any]] = defaultdict(dict)  # grader → answer_id → row
    for row in run.rows("grades"):
        if row["answer_id"] in readable:
            latest[row["grader"]][row["answer_id"]] = row
    scoring_graders = set()
    for name, rows_of_grader in latest.items():
        if any(row["label"] for row in rows_of_grader.values()):
            scoring_graders.add(name)
    for name in sorted(judges - scoring_graders):
        rows = list(latest[name].values())
        if not rows or (scoring_graders and len(rows) < FEW):
            continue
        reasons = Counter(row["reason"] for row in rows)
        raise RunFailed(
            f"{name} gave no verdict on any of {len(rows)} answers "
            f"({names_with_counts(reasons)}); the same "
            f"command asks it again"
        )


def refuse_unscored(run: Run, primary: Mapping[str, str]) -> None:
    """Check that at least one answer has a verdict by the grader that counts.

    Args:
        run: the evaluation, graded.
        primary: task → the grader whose verdict counts.

    Raises:
        NotScored: none has; the reasons are named.
    """
    counting = {row["answer_id"]: primary[row["task"]] for row in run.rows("answers")}
    reasons: dict[str, str] = {}  # answer_id → why it has no label, by its latest grade
    for row in run.rows("grades"):
        if row["grader"] != counting.get(row["answer_id"]):
            continue
        if row["label"] is not None:
            return
        reasons[row["answer_id"]] = row["reason"]
    if not counting or not reasons:
        return
    reason_counts = Counter(reasons.values())
    meaning = REASONS.get(reason_counts.most_common(1)[0][0], "")
    line = (
        f"not scored: none of {len(counting)} answers has a verdict "
        f"({names_with_counts(reason_counts)})"
    )
    if meaning:
        line += f"; {meaning}"
    raise NotScored(line)


def names_with_counts(reasons: Mapping[str, int]) -> str:
    """Write names with their counts, the most frequent first."""
    return ", ".join(f"{name} {count}" for name, count in _ordered(reasons))


def counts(run: Run, primary: Mapping[str, str]) -> dict[str, Any]:
    """Count what an evaluation lacks, for `summary.json`.

    Args:
        run: the evaluation, graded.
        primary: task → the grader whose verdict counts.

    Returns:
        `unanswered` and `unscored`, each reason with its count; `unanswered_because`, the servers'
        first sentence for each reason; `thinking`, the answers that were preceded by thinking.
    """
    reasons = {(row["grader"], row["answer_id"]): row for row in run.rows("grades")}
    unanswered: Counter[str] = Counter()
    unscored: Counter[str] = Counter()
    sentences: dict[str, str] = {}
    thinking = 0
    for row in run.rows("answers"):
        thinking += bool(row.get("thinking"))
        if row["finish"] == "error":
            name = row.get("failure") or "server_error"
            unanswered[name] += 1
            sentences.setdefault(name, row.get("detail", ""))
            continue
        grade = reasons.get((primary[row["task"]], row["answer_id"]))
        if grade is not None and grade["label"] is None:
            unscored[grade["reason"]] += 1
    return {
        "unanswered": dict(unanswered),
        "unanswered_because": sentences,
        "unscored": dict(unscored),
        "thinking": thinking,
    }


def is_to_be_asked(summary: Mapping[str, Any]) -> bool:
    """Tell whether a finished evaluation has prompts that the same command asks again."""
    return any(name not in LASTING for name in summary.get("unanswered", {}))


def failure_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Say in words, one line for each reason, what `counts` has found."""
    if found["thinking"]:
        yield (
            f"{found['thinking']} answers came after thinking, which is kept beside them and "
            f"not graded"
        )
    for name, count in _ordered(found["unanswered"]):
        sentence = found["unanswered_because"].get(name) or REASONS.get(name, "")
        yield f"no answer, {name}: {count}" + (f" ({sentence})" if sentence else "")
    for name, count in _ordered(found["unscored"]):
        meaning = REASONS.get(name, "")
        yield f"not scored, {name}: {count}" + (f" ({meaning})" if meaning else "")


def _ordered(reasons: Mapping[str, int]) -> Iterable[tuple[str, int]]:
    return sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
