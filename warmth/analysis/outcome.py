"""How labels become right and wrong: one rule, stated in the config, for every rate and every test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from warmth.counting import refusing, ruled
from warmth.errors import UserError

if TYPE_CHECKING:
    from warmth.analysis.rows import FinishedRun

VALUE = {"right": 0.0, "wrong": 1.0, "dropped": np.nan}


@dataclass(frozen=True)
class Rule:
    """`analysis.hedged`, `analysis.refused` and `analysis.refusal_rule` of the runs."""

    hedged: str = "wrong"  # wrong, right or dropped
    refused: str = "dropped"  # the same, where refusing is not the right answer
    refusal_rule: str = "grader"  # who says what a refusal is: the grader's label, or the study's phrases


def rule_of(runs: Sequence[FinishedRun]) -> Rule:
    """The rule in the configs of evaluation runs; a config from before the keys has the defaults.

    Raises:
        UserError: the runs state different rules.
    """
    stated = set()
    for run in runs:
        given = run.config.get("analysis") or {}
        stated.add(Rule(**{name: given[name] for name in ("hedged", "refused", "refusal_rule") if name in given}))
    if len(stated) > 1:
        first, second = sorted(map(str, stated))[:2]
        raise UserError(
            f"the runs differ in how labels count (analysis.hedged, .refused, .refusal_rule): {first}, {second}"
        )
    return stated.pop() if stated else Rule()


def outcomes(answers: pd.DataFrame, rule: Rule = Rule()) -> pd.DataFrame:
    """Derives right (0) and wrong (1) from labels; NaN where the answer does not count.

    correct → 0; incorrect → 1; hedged and refused by the rule; no label → NaN. A refusal of what should be refused is
    right in `wrong`. The other columns do not follow `analysis.refused`: `wrong_dropped` drops a refusal, but of what
    should be refused, where it is right; `wrong_strict` counts every refusal as wrong, `wrong_lenient` as right. Under
    the study's phrases an answer that a grader alone calls refused is one that did not give the right answer.

    Args:
        answers: `label`, `task`, `finish`, `grader` where it is known, and `text` where the study's phrases decide.
        rule: what counts how.
    """
    label = answers["label"]
    if rule.refusal_rule == "study":
        given = zip(label.astype("object").where(label.notna(), None), answers["text"], strict=True)
        label = pd.Series([ruled(one, text, "study") for one, text in given], answers.index, dtype="object")
    refused = label.eq("refused")
    base = label.map({"correct": 0.0, "incorrect": 1.0, "hedged": VALUE[rule.hedged]}).astype("float64")
    graders = answers["grader"] if "grader" in answers else [""] * len(answers)
    meant = [refusing(task, str(by)) for task, by in zip(answers["task"], graders, strict=True)]
    right = refused & np.array(meant, dtype=bool)
    answers["wrong"] = base.mask(refused, VALUE[rule.refused]).mask(right, 0.0)
    answers["wrong_dropped"] = base.mask(right, 0.0)
    answers["wrong_strict"] = base.mask(refused, 1.0)
    answers["wrong_lenient"] = base.mask(refused, 0.0)
    answers["refused"] = refused
    answers["unscored"] = label.isna()
    answers["cut_off"] = answers["finish"].eq("length")
    return answers
