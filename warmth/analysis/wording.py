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


def name_words(text: Any) -> str:
    """Write an arm, task, context or model as a label: on one line, at most 40 characters."""
    return visible(" ".join(str(text).replace("_", " ").split()), 40)


def belief(value: str) -> str:
    """Write a belief in words."""
    return BELIEFS.get(value, name_words(value))


def known(value: Any) -> bool:
    """Tell whether a number could be estimated."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def percent_words(rate: float) -> str:
    """Write a fraction as a percentage without its sign, or `not scored`."""
    return f"{100 * rate:.1f}" if known(rate) else NOT_SCORED


def points_words(difference: float) -> str:
    """Write a difference of fractions in percentage points, always with its sign."""
    return signed(100 * difference, 1) if known(difference) else NOT_SCORED


def signed(value: float, digits: int) -> str:
    """Write a number with its sign, minus as a minus sign; what rounds to zero has none."""
    if not known(value):
        return NOT_SCORED
    text = f"{value:+.{digits}f}"
    return (text[1:] if float(text) == 0 else text).replace("-", MINUS)


def p_value_words(p: float) -> str:
    """Write a p-value to two digits that count."""
    if not known(p):
        return ""
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def span(low: float, high: float, scale: float = 100.0, digits: int = 1, sign: bool = False) -> str:
    """Write an interval as `a to b`; "" if it could not be estimated.

    Args:
        low: end, in the value's unit.
        high: end.
        scale: factor to the unit that is shown; 100 writes fractions in percentage points.
        digits: after the decimal point.
        sign: write the signs, which say on which side of zero an end is: one that rounds to zero
            gives both ends up to two more digits.
    """
    if not (known(low) and known(high)):
        return ""
    if not sign:
        return f"{scale * low:.{digits}f} to {scale * high:.{digits}f}".replace("-", MINUS)
    ends = [float(scale * end) for end in (low, high) if end]
    for more_digits in range(digits, digits + 3):
        if all(round(end, more_digits) for end in ends):
            digits = more_digits
            break
    return f"{signed(scale * low, digits)} to {signed(scale * high, digits)}"


def amount(number: int, thing: str) -> str:
    """Write a number of things: `1 question`, `1,200 questions`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def joined(items: list[str]) -> str:
    """Join words as `a, b and c`."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def warmth_sentence(
    row: Mapping[str, Any], models: Sequence[Mapping[str, Any]] = (), of: int = 1
) -> str:
    """Say what the warmth score of an arm shows against another arm's, in one sentence.

    Args:
        row: the difference, of one model or pooled.
        models: the differences of the models that are pooled, for the range over them.
        of: models in the report; if not all of them have both arms, the sentence says so.
    """
    arm = named(row["arm"])
    reference = named(row["reference"]) + over(models, of)
    shift = f"{signed(row['score'], 4)} nats per token"
    scores = [model["score"] for model in models]
    models_range = by_model(scores, _nats, counted(models, "warmer", "colder"))
    if not known(row["low"]):
        scored = f"score {shift} against {reference}{models_range}"
        return f"Replies of {arm} {scored}: too few texts for an interval."
    numbers = f"{shift}, {INTERVAL} {span(row['low'], row['high'], 1.0, 4, sign=True)}"
    details = f"({numbers}){models_range}"
    if row["low"] <= 0 <= row["high"]:
        arms = f"between {arm} and {reference}"
        return f"No difference in warmth could be shown {arms} {details}."
    change = "warmer" if row["score"] > 0 else "colder"
    return f"Replies of {arm} read {change} than those of {reference} {details}."


def over(models: Sequence[Mapping[str, Any]], of: int) -> str:
    """Say how many of the report's models are pooled, or which one it is; "" for the only one."""
    if len(models) == 1 < of:
        return f" in {name_words(models[0]['model'])}"
    if len(models) < 2:
        return ""
    all_models = f"of {of} " if len(models) < of else ""
    return f" over {len(models)} {all_models}models"


def by_model(values: Sequence[float], write: Callable[[float], str], shown: str) -> str:
    """Write the range of the models' own values and what their intervals show; "" for one."""
    if len(values) < 2:
        return ""
    return f"; from {write(min(values))} to {write(max(values))} by model, {shown}"


def _nats(score: float) -> str:
    return signed(score, 4)


def counted(rows: Sequence[Mapping[str, Any]], above: str, below: str) -> str:
    """Say how many intervals lie above zero, below it, or neither; what none shows is left out."""
    up = sum(row["low"] > 0 for row in rows)
    down = sum(row["high"] < 0 for row in rows)
    counts = {above: up, below: down, "no difference shown": len(rows) - up - down}
    clauses = []
    for finding, number in counts.items():
        if number:
            clauses.append(f"{finding} in {'all' if number == len(rows) else number}")
    return joined(clauses)


def named(arm: str) -> str:
    """Name an arm inside a sentence."""
    if arm == "original":
        return "the original"
    recipe, comma, setting = name_words(arm).partition(", ")
    return f"the {recipe} arm at {setting}" if comma else f"the {recipe} arm"


def capital(text: str) -> str:
    """Write the first letter as a capital."""
    return text[:1].upper() + text[1:]
