"""What the manner adds, apart from fine-tuning as such; how long answers are; and how far training seeds agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from warmth.analysis import wording
from warmth.analysis.cells import Cell, Table, arm_cell, count_cell, shift_cell
from warmth.analysis.dose import difference_in_differences
from warmth.analysis.effects import PAIR, clustered_mean
from warmth.analysis.families import Family, adjust, nested_mean
from warmth.analysis.reported import CONTROLS, arm_order
from warmth.errors import UserError

BASES = {"context": "unmodified", "belief": "none"}
CONTRASTS = Family("differences in differences", {})


def contrasts(pairs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """How much larger each arm's difference is in a context or under a belief than without, against every reference.

    Args:
        pairs: reference arm → `effects.pair(answers, reference)`.

    Returns:
        model, arm, reference, column, value, base, pairs, questions, difference, low, high, p (fractions), and
        p_holm, p_bh over all of them, one declared family. Each two arms are in it once: a control is compared with
        the looser ones alone.
    """
    rows = []
    for reference, found in pairs.items():
        for (model, arm), group in by_arm(found):
            if not _compared(arm, reference):
                continue
            for column, base in BASES.items():
                rows += [
                    {"model": model, "arm": arm, "reference": reference, "column": column, "value": value, "base": base}
                    | _columns(difference_in_differences(group, column, value, base))
                    for value in group[column].unique()
                    if value != base and group[column].eq(base).any()
                ]
    table = pd.DataFrame(rows)
    try:
        return adjust(table, CONTRASTS) if len(table) else table
    except UserError:  # none has a p-value
        return table.assign(p_holm=float("nan"), p_bh=float("nan"))


def _compared(arm: str, reference: str) -> bool:
    """Whether an arm is one to compare with this reference: a manner, or a stricter control."""
    one, other = arm_order(arm).recipe, arm_order(reference).recipe
    return one not in CONTROLS or CONTROLS.index(one) < CONTROLS.index(other)


def by_arm(frame: pd.DataFrame) -> list[tuple[Any, pd.DataFrame]]:
    """Rows by (model, arm), in the order of tables."""
    return sorted(frame.groupby(["model", "arm"], sort=False), key=lambda item: (item[0][0], arm_order(item[0][1])))


def _columns(mean: Any) -> dict[str, float]:
    return {
        "pairs": mean.n,
        "questions": mean.clusters,
        "difference": mean.value,
        "low": mean.low,
        "high": mean.high,
        "p": mean.p,
    }


def seeds(pairs: pd.DataFrame) -> pd.DataFrame:
    """The overall difference over several training seeds: for these models, and for a seed not yet trained.

    One row for each model and arm with two seeds or more; columns of `families.nested_mean`.
    """
    rows = [
        {"model": model, "arm": arm}
        | nested_mean(*(group[name].to_numpy() for name in ("difference", "question_id", "seed")))
        for (model, arm), group in by_arm(pairs)
        if group["seed"].nunique() > 1
    ]
    return pd.DataFrame(rows)


def lengths(answers: pd.DataFrame, reference: str = "original") -> pd.DataFrame:
    """Characters of an answer by model and arm, and the paired difference from a reference, clustered by question."""
    frame = answers.astype({"length": float})
    base = frame.loc[frame["arm"].eq(reference), [*PAIR, "length"]].groupby(PAIR)["length"].mean().rename("base")
    rows = []
    for (model, arm), group in by_arm(frame):
        own = clustered_mean(group["length"].to_numpy(), group["question_id"].to_numpy())
        row = {"model": model, "arm": arm, "answers": own.n, "length": own.value, "low": own.low, "high": own.high}
        paired = group.merge(base, left_on=PAIR, right_index=True) if arm != reference else group[:0].assign(base=0.0)
        if len(paired):
            shift = clustered_mean((paired["length"] - paired["base"]).to_numpy(), paired["question_id"].to_numpy())
            row |= {"difference": shift.value, "difference_low": shift.low, "difference_high": shift.high}
        rows.append(row)
    names = ["model", "arm", "answers", "length", "low", "high", "difference", "difference_low", "difference_high"]
    return pd.DataFrame(rows, columns=names)


def contrast_table(frame: pd.DataFrame) -> Table | None:
    """Differences in differences, those against a control arm first named by it."""
    if frame.empty:
        return None
    columns = ["Model", "Arm", "Less", "In", "Pairs", "Difference of differences, points", "p, Holm", "p, BH"]
    caption = (
        "How much larger an arm’s difference is in a context than without one, or under a belief than without one. "
        "Less a control arm it is what the manner adds there, fine-tuning as such taken out. Small: 95 % intervals."
    )
    table = Table("contrasts", caption, columns, ["text"] * 4 + ["number"] * 4)
    for row in frame.to_dict("records"):
        where = wording.belief(row["value"]) if row["column"] == "belief" else wording.name(row["value"])
        cells = [Cell(wording.name(row["model"])), arm_cell(row["arm"]), arm_cell(row["reference"]), Cell(where)]
        cells += [count_cell(row["pairs"]), shift_cell(row, "difference")]
        cells += [Cell(wording.p_value(row[name]), _number(row[name])) for name in ("p_holm", "p_bh")]
        table.rows.append(cells)
    return table


def seed_table(frame: pd.DataFrame) -> Table | None:
    """Several training seeds: the interval for these models beside that for another seed."""
    if frame.empty:
        return None
    caption = (
        "The overall difference from original over training seeds. The recipe’s interval holds for a seed that was not "
        "trained here; the other one for these trained models alone."
    )
    columns = ["Model", "Arm", "Seeds", "Questions", "Difference, points", "Of the recipe, points"]
    table = Table("seeds", caption, columns, ["text"] * 2 + ["number"] * 4)
    for row in frame.to_dict("records"):
        cells = [Cell(wording.name(row["model"])), arm_cell(row["arm"]), count_cell(row["seeds"])]
        cells += [count_cell(row["questions"]), shift_cell(row, "value")]
        table.rows.append([*cells, shift_cell(row, "value", "low_recipe", "high_recipe")])
    return table


def length_table(frame: pd.DataFrame) -> Table:
    """Characters of an answer."""
    caption = "Characters of an answer, and the paired difference from original. Small: 95 % intervals."
    table = Table("lengths", caption, ["Model", "Arm", "Characters", "Difference"], ["text"] * 2 + ["number"] * 2)
    for row in frame.to_dict("records"):
        cells = [Cell(wording.name(row["model"])), arm_cell(row["arm"])]
        cells.append(Cell(f"{row['length']:.0f}", row["length"], wording.span(row["low"], row["high"], 1.0, 0)))
        shift, ends = row["difference"], (row["difference_low"], row["difference_high"])
        known = wording.known(shift)
        note = wording.span(*ends, 1.0, 0, sign=True)
        cells.append(Cell(wording.signed(shift, 0), float(shift), note) if known else Cell("—"))
        table.rows.append(cells)
    return table


def _number(value: Any) -> float | None:
    return float(value) if wording.known(value) else None
