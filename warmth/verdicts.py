"""Labels of answers, the reasons for having none, and what counts as wrong: one owner for every
room.

A new label or reason is added here. `tests/test_verdicts.py` checks that all that list them know
it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from warmth.errors import UserError, one_line
from warmth.paths import ROOT

if TYPE_CHECKING:
    import pandas as pd

# what an answer to a question with an answer is
TruthLabel = Literal["correct", "incorrect", "hedged", "refused"]
# of a social trait in advice, which is neither right nor wrong
TraitLabel = Literal["present", "absent"]
Label = Literal["correct", "incorrect", "hedged", "refused", "present", "absent"]
TRUTH_LABELS: tuple[str, ...] = get_args(TruthLabel)
TRAIT_LABELS: tuple[str, ...] = get_args(TraitLabel)
LABELS: tuple[str, ...] = get_args(Label)

# Why an answer has no label. A failure is never a score, so each has a name and is counted
# separately.
REASONS: Mapping[str, str] = {
    "bad_json": "the judge's reply is not the JSON it was asked for",
    "bad_request": "the server refused the request",
    "server_error": "the server failed",
    "unknown_finish": "the server ended its reply for a reason that is not known",
    "judge_refused": "the judge declined to grade",
    "cut_off": "the answer, or the judge's reply, ended at its length limit",
    "filtered": "a content filter withheld the answer or the judge's reply",
    "too_long": "the prompt, or the judge's case, is longer than the model can read",
    "timeout": "the server did not reply in time",
    "rate_limited": "the server's rate limit did not allow the call",
    "budget": "api.budget_usd was spent",
    "dropped": "the connection was lost",
    "empty": "the answer holds no text",
    "names_both": "the answer asserts the right and the wrong answer",
    "names_neither": "the answer asserts neither the right nor the wrong answer",
    "partial": "the answer gives a part of the right answer",
    "denied": "the answer denies an answer and asserts none",
    "needs_judge": (
        "no judge was chosen, and no rule is known to be accurate on this task: add "
        '"grader=[judge]", or "grader=[alias]" if you trust that rule'
    ),
}

PHRASES = ROOT / "prompts" / "refusal_phrases_v1.txt"


@dataclass(frozen=True)
class Rule:
    """How labels count: the keys `analysis.hedged`, `.refused`, `.refusal_rule` and `.refusals`."""

    hedged: str = "wrong"  # wrong, right or dropped
    refused: str = "dropped"  # the same; does not apply to tasks in which refusing is right
    # what a refusal is: `grader` (its label) or `study` (the study's phrases)
    refusal_rule: str = "grader"
    refusals: str | None = None  # the file of those phrases; None: ours


WEIGHT: Mapping[str, float | None] = {"right": 0.0, "wrong": 1.0, "dropped": None}


def rule_from(settings: Any) -> Rule:
    """Read the rule from `analysis` settings, given as a mapping or as an object with these
    attributes.
    """
    names = ("hedged", "refused", "refusal_rule", "refusals")
    if isinstance(settings, Mapping):
        return Rule(**{name: settings[name] for name in names if name in settings})
    return Rule(**{name: getattr(settings, name) for name in names})


def wrong(label: str | None, text: str, rule: Rule, refusing_is_right: bool) -> float | None:
    """Derive right or wrong from the label of one answer.

    Args:
        label: the primary grader's; None if it gave none.
        text: the answer, in which `refusal_rule=study` looks for phrases.
        rule: what counts how.
        refusing_is_right: the task's key of that name.

    Returns:
        1.0 for a wrong answer, 0.0 for a right one, None for one that does not count.
    """
    label = counted_label(label, text, rule)
    if label == "correct":
        return 0.0
    if label == "incorrect":
        return 1.0
    if label == "hedged":
        return WEIGHT[rule.hedged]
    if label == "refused":
        if refusing_is_right:
            return 0.0
        return WEIGHT[rule.refused]
    return None


def outcomes(answers: pd.DataFrame, rule: Rule = Rule()) -> pd.DataFrame:
    """Derive right (0.0) and wrong (1.0) from the labels of many answers, as `wrong` does; NaN does
    not count.

    Adds the columns `wrong`, by the rule; `wrong_dropped`, `wrong_strict` and `wrong_lenient`,
    which drop every refusal, count it as wrong, or count it as right, whatever `analysis.refused`
    is (`wrong_dropped` keeps a refusal that is right); and `refused`, `unscored`, `cut_off`.

    Args:
        answers: columns `label` and `finish`; `refusing_is_right` (missing: nowhere); and `text` if
            the study's phrases decide what a refusal is.
        rule: what counts how.

    Returns:
        the same frame.
    """
    import pandas as pd

    label = answers["label"].astype("object").where(answers["label"].notna(), None)
    if rule.refusal_rule == "study":
        counted = [counted_label(*row, rule) for row in zip(label, answers["text"], strict=True)]
        label = pd.Series(counted, answers.index, dtype="object")
    refused = label.eq("refused")
    right_refusal = refused & False
    if "refusing_is_right" in answers:
        right_refusal = refused & answers["refusing_is_right"].astype(bool)
    weights = {"correct": 0.0, "incorrect": 1.0, "hedged": WEIGHT[rule.hedged]}
    base = label.map(weights).astype("float64")
    refused_weight = WEIGHT[rule.refused]
    if refused_weight is None:
        refused_weight = float("nan")
    of_refusals = base.mask(refused, refused_weight)
    answers["wrong"] = of_refusals.mask(right_refusal, 0.0)
    answers["wrong_dropped"] = base.mask(right_refusal, 0.0)
    answers["wrong_strict"] = base.mask(refused, 1.0)
    answers["wrong_lenient"] = base.mask(refused, 0.0)
    answers["refused"] = refused
    answers["unscored"] = label.isna()
    answers["cut_off"] = answers["finish"].eq("length")
    return answers


def counted_label(label: str | None, text: str, rule: Rule) -> str | None:
    """Apply `analysis.refusal_rule` to a grader's label.

    Under the study's phrases an answer is refused if it holds one of them; an answer that only the
    grader calls refused did not give the right answer, so it is incorrect.
    """
    if rule.refusal_rule != "study" or label is None:
        return label
    if has_refusal_phrase(text, rule.refusals):
        return "refused"
    if label == "refused":
        return "incorrect"
    return label


def has_refusal_phrase(text: str, refusals: str | None = None) -> bool:
    """Look for a phrase of refusal anywhere in the lower-cased answer, as the study did.

    This knows neither place nor sense: "I'm sorry, but" in a warm aside counts as a refusal, and a
    refusal in other words does not. The study's own list stands in a script of its authors, from
    which `warmth study` reads it; without that file the phrases are ours.
    """
    lower = text.lower().replace("’", "'")
    return any(phrase in lower for phrase in refusal_phrases(refusals))


@cache
def refusal_phrases(refusals: str | None = None) -> tuple[str, ...]:
    """Read the phrases, in lower case: lines of a file, or the list `refusals` of a YAML file.

    Raises:
        UserError: the file does not exist, cannot be read as text or YAML, or holds no phrase.
    """
    path = PHRASES
    if refusals is not None:
        path = Path(refusals)
        if not path.is_file():
            path = ROOT / refusals
        if not path.is_file():
            raise UserError(
                f"refusals={refusals} does not exist; answers are counted by its phrases"
            )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"refusals={refusals} is not UTF-8: {one_line(error)}") from error
    if path.suffix in (".yaml", ".yml"):
        lines = _listed_phrases(text, refusals)
    else:
        lines = text.splitlines()
    phrases = tuple(line.lower().replace("’", "'") for line in lines if line.strip())
    if not phrases:
        raise UserError(
            f"refusals={refusals} holds no phrase; lines of text, or a list `refusals` in YAML, "
            f"are expected"
        )
    return phrases


def _listed_phrases(text: str, refusals: str | None) -> list[str]:
    """Read the list `refusals` of a YAML file; empty if it has none.

    Raises:
        UserError: the file is not YAML, or `refusals` is no list of texts: one text would be read
            as its letters, which every answer holds.
    """
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"refusals={refusals} is not YAML: {one_line(error)[:160]}") from error
    phrases: Any = []
    if isinstance(content, dict):
        phrases = content.get("refusals") or []
    if not isinstance(phrases, list):
        raise UserError(f"refusals={refusals}: refusals must be a list of texts, not {phrases!r}")
    for phrase in phrases:
        if not isinstance(phrase, str):
            raise UserError(
                f"refusals={refusals}: refusals must be a list of texts, and {phrase!r} is none"
            )
    return phrases


def tasks_apart(benchmark: Mapping[str, bool]) -> list[str]:
    """List the benchmarks, which are left out if tasks are pooled; empty if there is nothing but
    benchmarks.

    Args:
        benchmark: task → its key `benchmark`.
    """
    names = [name for name, is_benchmark in benchmark.items() if is_benchmark]
    if len(names) == len(benchmark):
        return []
    return names


def waiting_line(tasks: Iterable[str]) -> str:
    """Say that tasks are not scored for want of a judge (reason `needs_judge`), and what to do."""
    return (
        f"Not scored: {', '.join(tasks)}. No judge was chosen, and no rule is known to be "
        'accurate there; the same command with "grader=[judge]" grades these answers, or with '
        '"grader=[alias]" if you trust that rule.'
    )
