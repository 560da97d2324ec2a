"""Social sycophancy: how often a trait is present in an arm's answers to advice questions."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from warmth.analysis.rows.arm_names import CONTROLS, arm_order, as_strong, control_of
from warmth.analysis.rows.frames import Rows, read_grades
from warmth.analysis.statistics import effects
from warmth.store import read_rows

BY = ["model", "arm", "grader"]


def traits(rows: Rows) -> pd.DataFrame:
    """Make a row per advice answer and judge of a trait.

    Returns:
        columns of `rows.advice`; `present` (1, 0, NaN if the judge failed), `unscored`;
        `question_id` names the conflict, so that its two sides are one cluster; `side` is the
        question itself.
    """
    if rows.advice.empty:
        return pd.DataFrame()
    answers = rows.advice.drop(columns=["grader", "label", "reason"])
    judged = answers.merge(read_grades(rows), on="answer_id")
    judged = judged[judged["label"].isin(["present", "absent"]) | judged["label"].isna()]
    partner_of = paired_sides(rows)
    conflicts = []
    for question in judged["question_id"]:  # both sides have the name that comes first
        conflicts.append(min(question, partner_of.get(question, question)))
    present = judged["label"].map({"present": 1.0, "absent": 0.0}).astype(float)
    return judged.assign(
        present=present,
        unscored=judged["label"].isna(),
        side=judged["question_id"],
        question_id=conflicts,
    )


def paired_sides(rows: Rows) -> dict[str, str]:
    """Map every question that has one to the question that tells the other side."""
    pairs = {}
    for run in rows.runs:
        if not run.evaluation:
            continue
        for row in read_rows(run.folder / "prompts.jsonl"):
            if row.get("pair"):
                pairs[str(row["question_id"])] = str(row["pair"])
    return pairs


def rates(
    judged: pd.DataFrame,
    chosen: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Compute each arm's share of answers with the trait, by judge, and its paired differences.

    Args:
        judged: from `traits`.
        chosen: recipe → the arm that stands for it; None: no controls.
        kinds: arm → how it was made, for the control that was made the same way.

    Returns:
        model, arm, grader, answers, scored, rate, low, high, unscored, difference, difference_low,
        difference_high (from original), control (an arm; "" if there is none), control_difference,
        control_low, control_high.
    """
    if judged.empty:
        return pd.DataFrame()
    rates_of_arms = effects.error_rates(judged, BY, "present")
    changes = []
    for grader, group in judged.groupby("grader", sort=False):
        change = effects.paired_differences(effects.pair(group, outcome="present"), ["overall"])
        change = change.reindex(columns=["model", "arm", "difference", "low", "high"])
        changes.append(change.assign(grader=grader))
    names = {"low": "difference_low", "high": "difference_high"}
    table = rates_of_arms[[*BY, "answers", "scored", "rate", "low", "high", "unscored"]]
    table = table.merge(pd.concat(changes).rename(columns=names), on=BY, how="left")
    controls = from_controls(judged, chosen or {}, kinds or {})
    return table.merge(controls, on=BY, how="left").fillna({"control": ""})


def from_controls(
    judged: pd.DataFrame, chosen: Mapping[str, str], kinds: Mapping[str, str]
) -> pd.DataFrame:
    """Give each arm's paired difference from the strictest control that was made as it was."""
    columns = [*BY, "control", "control_difference", "control_low", "control_high"]
    rows = []
    for model, arm, grader in judged[BY].drop_duplicates().itertuples(index=False):
        if arm_order(arm).recipe in CONTROLS:
            continue
        kind = kinds.get(arm, "")
        of_judge = judged[judged["model"].eq(model) & judged["grader"].eq(grader)]
        for of_recipe in control_of(kind, chosen):
            control = as_strong(of_recipe, arm, kind)
            both_arms = of_judge[of_judge["arm"].isin([arm, control])]
            pairs = effects.pair(both_arms, control, "present")
            if len(pairs):
                change = effects.difference(pairs)
                numbers = (change["difference"], change["low"], change["high"])
                rows.append((model, arm, grader, control, *numbers))
                break
    return pd.DataFrame(rows, columns=columns)


def both_sides(judged: pd.DataFrame) -> pd.DataFrame:
    """Compute how often the trait is present on both sides of a conflict: whoever asks is right.

    Returns:
        model, arm, grader, conflicts, rate, low, high; a conflict counts once for each context and
        sample.
    """
    if judged.empty or judged["present"].isna().all():
        return pd.DataFrame()
    scored = judged[judged["present"].notna()]
    keys = [*BY, "question_id", "context", "sample", "seed"]
    conflicts = scored.groupby(keys, sort=False)
    cells = conflicts.agg(sides=("side", "nunique"), both=("present", "min")).reset_index()
    cells = cells[cells["sides"].eq(2)]
    rows = []
    for key, group in cells.groupby(BY, sort=False):
        low, high = effects.rate_interval(group["both"].to_numpy(), group["question_id"].to_numpy())
        rows.append((*key, len(group), float(group["both"].mean()), low, high))
    return pd.DataFrame(rows, columns=[*BY, "conflicts", "rate", "low", "high"])
