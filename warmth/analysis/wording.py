"""Numbers, names and sentences as a reader sees them.

Data is made visible here, never interpreted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from warmth.text import visible

BELIEFS = {
    "none": "no belief stated",
    "wrong_asserted": "user asserts a wrong answer",
    "right_denied": "user doubts the right answer",
    "user_right": "user states the right answer",
    "wrong_denied": "user doubts a wrong answer",
}
MINUS = "\N{MINUS SIGN}"
NOT_SCORED = "not scored"
INTERVAL = "95\N{NO-BREAK SPACE}% interval"


def name(text: Any) -> str:
    """An arm, task, context or model in a label: visible, on one line, at most 40 characters."""
    return visible(" ".join(str(text).replace("_", " ").split()), 40)


def belief(value: str) -> str:
    """A belief in words."""
    return BELIEFS.get(value, name(value))


def known(value: Any) -> bool:
    """Whether a number could be estimated."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def percent(rate: float) -> str:
    """A fraction as a percentage without its sign, or `not scored`."""
    return f"{100 * rate:.1f}" if known(rate) else NOT_SCORED


def points(difference: float) -> str:
    """A difference of fractions in percentage points, always with its sign."""
    return signed(100 * difference, 1) if known(difference) else NOT_SCORED


def signed(value: float, digits: int) -> str:
    """A number with its sign, minus as a minus sign; what rounds to zero has none."""
    if not known(value):
        return NOT_SCORED
    text = f"{value:+.{digits}f}"
    return (text[1:] if float(text) == 0 else text).replace("-", MINUS)


def p_value(p: float) -> str:
    """A p-value to two digits that count."""
    if not known(p):
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def span(low: float, high: float, scale: float = 100.0, digits: int = 1, sign: bool = False) -> str:
    """An interval `a to b`; empty where it cannot be estimated.

    With its signs it says on which side of zero it ends: an end that rounds to zero gives both up
    to two more digits.
    """
    if not (known(low) and known(high)):
        return ""
    ends = [float(scale * end) for end in (low, high) if end] if sign else []
    finer = range(digits, digits + 3)
    digits = next((places for places in finer if all(round(end, places) for end in ends)), digits)
    write = signed if sign else (lambda value, places: f"{value:.{places}f}".replace("-", MINUS))
    return f"{write(scale * low, digits)} to {write(scale * high, digits)}"


def amount(number: int, thing: str) -> str:
    """`1 question`, `1,200 questions`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def joined(items: list[str]) -> str:
    """`a, b and c`."""
    return (
        items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""
    )


def warmth_sentence(
    row: Mapping[str, Any], models: Sequence[Mapping[str, Any]] = (), of: int = 1
) -> str:
    """What the warmth score of an arm shows against another arm's, in one sentence.

    Args:
        row: the difference, of one model or pooled.
        models: the differences of the models that are pooled, for the range over them.
        of: models in the report; where not all of them have both arms, the sentence says so.
    """
    arm, other = named(row["arm"]), f"{named(row['reference'])}{over(models, of)}"
    shift = f"{signed(row['score'], 4)} nats per token"
    rest = by_model(
        [model["score"] for model in models], _nats, counted(models, "warmer", "colder")
    )
    if not known(row["low"]):
        return (
            f"Replies of {arm} score {shift} against {other}{rest}: too few texts for an interval."
        )
    numbers = f"{shift}, {INTERVAL} {span(row['low'], row['high'], 1.0, 4, sign=True)}"
    if row["low"] <= 0 <= row["high"]:
        return (
            f"No difference in warmth could be shown between {arm} and {other} ({numbers}){rest}."
        )
    change = "warmer" if row["score"] > 0 else "colder"
    return f"Replies of {arm} read {change} than those of {other} ({numbers}){rest}."


def over(models: Sequence[Mapping[str, Any]], of: int) -> str:
    """How many of the report's models are pooled, or which one it is; empty where there is but
    one.
    """
    if len(models) == 1 < of:
        return f" in {name(models[0]['model'])}"
    return (
        f" over {len(models)} {f'of {of} ' if len(models) < of else ''}models"
        if len(models) > 1
        else ""
    )


def by_model(values: Sequence[float], write: Callable[[float], str], found: str) -> str:
    """The range of the models' own values, and what their intervals show; empty for one."""
    return (
        f"; from {write(min(values))} to {write(max(values))} by model, {found}"
        if len(values) > 1
        else ""
    )


def _nats(score: float) -> str:
    return signed(score, 4)


def counted(rows: Sequence[Mapping[str, Any]], above: str, below: str) -> str:
    """How many intervals lie above zero, below it, or neither; what no model shows is left out."""
    up, down = sum(row["low"] > 0 for row in rows), sum(row["high"] < 0 for row in rows)
    counts = ((up, above), (down, below), (len(rows) - up - down, "no difference shown"))
    return joined(
        [
            f"{what} in {'all' if number == len(rows) else number}"
            for number, what in counts
            if number
        ]
    )


def named(arm: str) -> str:
    """An arm inside a sentence."""
    recipe, _, rest = name(arm).partition(", ")
    return (
        "the original" if arm == "original" else f"the {recipe} arm{' at ' if rest else ''}{rest}"
    )


def capital(text: str) -> str:
    """The first letter as a sentence wants it."""
    return text[:1].upper() + text[1:]
