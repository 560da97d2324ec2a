"""Social sycophancy per arm: how often a trait is present in answers to advice questions, and what
an arm changes.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from warmth.analysis.rows.arm_names import CONTROLS, arm_order, as_strong, control_of
from warmth.analysis.rows.frames import Rows, read_grades
from warmth.analysis.statistics import effects
from warmth.store import read_rows

BY = ["model", "arm", "grader"]


def traits(rows: Rows) -> pd.DataFrame:
    """A row per advice answer and judge of a trait: columns of `rows.advice`, `present` (1, 0, NaN
    where it failed).

    `question_id` names the conflict, so that its two sides are one cluster; `side` is the question
    itself.
    """
    if rows.advice.empty:
        return pd.DataFrame()
    answers = rows.advice.drop(columns=["grader", "label", "reason"])
    found = answers.merge(read_grades(rows), on="answer_id")
    found = found[found["label"].isin(["present", "absent"]) | found["label"].isna()]
    pair = pairs_of(rows)
    names = [min(one, pair.get(one) or one) for one in found["question_id"]]
    present = found["label"].map({"present": 1.0, "absent": 0.0}).astype(float)
    return found.assign(
        present=present,
        unscored=found["label"].isna(),
        side=found["question_id"],
        question_id=names,
    )


def pairs_of(rows: Rows) -> dict[str, str]:
    """The question that tells the other side, for every question that has one."""
    found = {}
    for run in rows.runs:
        for row in read_rows(run.folder / "prompts.jsonl") if run.evaluation else ():
            if row.get("pair"):
                found[str(row["question_id"])] = str(row["pair"])
    return found


def rates(
    found: pd.DataFrame,
    chosen: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Give the share of answers with the trait per model, arm and judge, and its paired
    differences.

    Args:
        found: from `traits`.
        chosen: recipe → the arm that stands for it; None: no controls.
        kinds: arm → how it was made, for the control that was made the same way.

    Returns:
        model, arm, grader, answers, scored, rate, low, high, unscored, difference, difference_low,
        difference_high (from original), control (an arm; "" if there is none), control_difference,
        control_low, control_high.
    """
    if found.empty:
        return pd.DataFrame()
    table = effects.error_rates(found, BY, "present")
    changes = []
    for grader, group in found.groupby("grader", sort=False):
        change = effects.differences(effects.pair(group, outcome="present"), ["overall"])
        changes.append(
            change.reindex(columns=["model", "arm", "difference", "low", "high"]).assign(
                grader=grader
            )
        )
    names = {"low": "difference_low", "high": "difference_high"}
    table = table.merge(pd.concat(changes).rename(columns=names), on=BY, how="left")
    table = table[
        [*BY, "answers", "scored", "rate", "low", "high", "unscored", "difference", *names.values()]
    ]
    return table.merge(from_controls(found, chosen or {}, kinds or {}), on=BY, how="left").fillna(
        {"control": ""}
    )


def from_controls(
    found: pd.DataFrame, chosen: Mapping[str, str], kinds: Mapping[str, str]
) -> pd.DataFrame:
    """Give each arm's paired difference from the strictest control that was made as it was."""
    columns = [*BY, "control", "control_difference", "control_low", "control_high"]
    rows = []
    for (model, arm, grader), _ in found.groupby(BY, sort=False):
        if arm_order(arm).recipe in CONTROLS:
            continue
        kind = kinds.get(arm, "")
        of_judge = found[found["model"].eq(model) & found["grader"].eq(grader)]
        for of_recipe in control_of(kind, chosen):
            control = as_strong(of_recipe, arm, kind)
            pairs = effects.pair(of_judge[of_judge["arm"].isin([arm, control])], control, "present")
            if len(pairs):
                change = effects.difference(pairs)
                rows.append(
                    (
                        model,
                        arm,
                        grader,
                        control,
                        change["difference"],
                        change["low"],
                        change["high"],
                    )
                )
                break
    return pd.DataFrame(rows, columns=columns)


def both_sides(found: pd.DataFrame) -> pd.DataFrame:
    """Of conflicts asked from both sides, the share in which the trait is present on both: whoever
    asks is right.

    Returns:
        model, arm, grader, conflicts, rate, low, high; a conflict counts once for each context and
        sample.
    """
    scored = found[found["present"].notna()] if len(found) else found
    if scored.empty:
        return pd.DataFrame()
    keys = [*BY, "question_id", "context", "sample", "seed"]
    cells = (
        scored.groupby(keys, sort=False)
        .agg(sides=("side", "nunique"), both=("present", "min"))
        .reset_index()
    )
    cells = cells[cells["sides"].eq(2)]
    rows = []
    for key, group in cells.groupby(BY, sort=False):
        low, high = effects.rate_interval(group["both"].to_numpy(), group["question_id"].to_numpy())
        rows.append((*key, len(group), float(group["both"].mean()), low, high))
    return pd.DataFrame(rows, columns=[*BY, "conflicts", "rate", "low", "high"])
