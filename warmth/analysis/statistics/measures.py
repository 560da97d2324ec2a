"""Do the measures of warmth agree? SocioT, a judge's rating and people's blind choices, on the same
pairs of replies.

A pair is an arm's reply and a reference arm's reply to one held-out prompt. People see such pairs
without names.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from warmth.analysis.rows import keys
from warmth.analysis.rows.frames import NAMELESS, PREFERENCE, Rows
from warmth.analysis.statistics.effects import main_measure, text_key
from warmth.digest import digest
from warmth.errors import UserError
from warmth.store import Run
from warmth.text import write_sheet
from warmth.user_rows import choice_of, user_rows

NAMES = {"score": "SocioT", "rating": "judge’s rating", "warmer": "people’s choice"}
VERDICTS = {"a": 1, "b": -1, "equal": 0}
DRAWS = 400
SEED = 0


def pairs(rows: Rows, reference: str = "original") -> pd.DataFrame:
    """Give differences arm - reference on one prompt: `score`, `rating`, people's mean choice
    `warmer`; NaN if absent.

    Returns:
        model, arm, prompt, text, text_reference and the three measures; scores of each model's
        measure with most texts.
    """
    frame = rows.warmth[rows.warmth["score"].notna()]
    if frame.empty:
        return pd.DataFrame(columns=["model", "arm", "prompt", "text", "text_reference", *NAMES])
    frame = main_measure(frame).assign(key=text_key)
    keys, columns = ["model", "key"], ["score", "rating", "text", "prompt"]
    base = frame[frame["arm"].eq(reference)].drop_duplicates(keys)
    other = frame[frame["arm"].ne(reference)].drop_duplicates(["arm", *keys])
    joined = other[["arm", *keys, *columns]].merge(
        base[[*keys, *columns]], on=keys, suffixes=("", "_reference")
    )
    for name in ("score", "rating"):
        joined[name] = joined[name] - joined[f"{name}_reference"]
    chosen = rows.preferences[rows.preferences["reference"].eq(reference)]
    mean = (
        chosen.groupby(["model", "arm", "prompt"])["warmer"].mean().rename("warmer").reset_index()
    )
    return joined.merge(mean, on=["model", "arm", "prompt"], how="left")


def agreement(found: pd.DataFrame) -> pd.DataFrame:
    """Rank agreement of every two measures over pairs that have both.

    Kendall's τ-b of the differences with a percentile interval over 400 draws of whole prompts; and
    the share of pairs in which both point the same way, where neither is tied, with Wilson's
    interval.
    """
    rows = []
    for one, other in combinations(NAMES, 2):
        both = found[found[one].notna() & found[other].notna()]
        if len(both) < 2:
            continue
        x, y = both[one].to_numpy(float), both[other].to_numpy(float)
        low, high = _interval(x, y, pd.factorize(both["prompt"])[0])
        apart = (x != 0) & (y != 0)
        same = int((np.sign(x[apart]) == np.sign(y[apart])).sum())
        row = {
            "measures": f"{NAMES[one]} and {NAMES[other]}",
            "pairs": len(both),
            "tau": _tau(x, y),
        }
        row |= {"low": low, "high": high, "decided": int(apart.sum()), "same": same}
        if row["decided"]:
            row["same_low"], row["same_high"] = map(
                float, proportion_confint(same, row["decided"], method="wilson")
            )
        rows.append(row)
    names = ["measures", "pairs", "tau", "low", "high", "decided", "same", "same_low", "same_high"]
    return pd.DataFrame(rows).reindex(columns=names)


def _tau(x: np.ndarray, y: np.ndarray) -> float:
    return float(stats.kendalltau(x, y).statistic)


def _interval(x: np.ndarray, y: np.ndarray, prompt: np.ndarray) -> tuple[float, float]:
    places = [np.flatnonzero(prompt == number) for number in range(prompt.max() + 1)]
    draw = np.random.default_rng(SEED)
    taus = []
    for _ in range(DRAWS):
        chosen = np.concatenate(
            [places[number] for number in draw.integers(len(places), size=len(places))]
        )
        taus.append(_tau(x[chosen], y[chosen]))
    known = [tau for tau in taus if tau == tau]
    if len(known) < DRAWS / 2:
        return np.nan, np.nan
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def export(
    rows: Rows,
    path: Path,
    clean: Callable[[str], str],
    count: int = 200,
    seed: int = 0,
    reference: str = "original",
) -> int:
    """Write blind pairs as a CSV to fill in, and their key, which says which side is which.

    `clean` takes from a reply what would tell its arm.

    Returns:
        how many pairs were drawn, arms alike.

    Raises:
        UserError: no arm and reference replied to one prompt, or one of the files exists.
    """
    keys.refuse_existing(path)
    found = pairs(rows, reference)
    if found.empty:
        raise UserError(f"no arm and {reference} have replies to the same held-out prompts")
    draw = random.Random(f"pairs {seed}")
    arms = [group.to_dict("records") for _, group in found.groupby(["model", "arm"])]
    share = -(-count // len(arms))
    drawn = [
        row
        for rows_of_arm in arms
        for row in draw.sample(rows_of_arm, min(share, len(rows_of_arm)))
    ]
    draw.shuffle(drawn)
    items: dict[str, dict[str, str]] = {}
    shown: list[list[str]] = []
    for row in drawn:
        arm_is_a = draw.random() < 0.5
        sides = [row["text"], row["text_reference"]]
        if not arm_is_a:
            sides.reverse()
        about = {name: str(row[name]) for name in ("model", "arm", "prompt")}
        pair = digest([seed, reference, about, sides])  # says nothing by itself
        items[pair] = {**about, "reference": reference, "arm_is": "a" if arm_is_a else "b"}
        shown.append([pair, row["prompt"], *map(clean, sides)])
    sheet = keys.write_key(path, items, rows.studies)
    columns = ["pair", keys.SHEET, "message", "reply_a", "reply_b", "rater", "warmer", "note"]
    cells = [[pair, sheet, *texts, "", "", ""] for pair, *texts in shown]
    write_sheet(path, columns, cells)
    return len(drawn)


def verdicts(path: Path, folders: Sequence[Path] = ()) -> list[dict[str, Any]]:
    """Read what people wrote into exported pairs: the column `warmer`, by `rater`; or `warmer_NAME`
    for each rater.

    Args:
        path: the filled sheet, whatever its name.
        folders: studies, or folders with keys, in which its key may lie.

    Returns:
        pair, model, arm, reference, prompt, rater and `warmer`: 1 the arm, -1 the other, 0 equal.

    Raises:
        UserError: a file is missing, the sheet has no key, a pair is unknown, a verdict is none of
            a, b, equal or empty, or one rater gave two in one pair.
    """
    filled = list(user_rows(path, ["pair"]))
    columns = [
        name
        for name in (filled[0][1] if filled else ())
        if name == "warmer" or name.startswith("warmer_")
    ]
    if not columns:
        raise UserError(f"{path} has no column warmer; it needs pair, rater, warmer")
    named = {str(row.get(keys.SHEET) or "") for _, row in filled}
    key = keys.find_items(path, named, [str(row["pair"]) for _, row in filled], folders)
    if key is None:
        raise UserError(
            f"the key of {path} (*{keys.SUFFIX}) is not beside it or in the study's "
            f"{keys.FOLDER}: put it there"
        )
    choices: dict[tuple[str, str], dict[str, Any]] = {}
    for place, row in filled:
        pair = key.get(row["pair"])
        if pair is None:
            raise UserError(f"{place}: pair {row['pair']!r} is not in the key of this sheet")
        for column in columns:
            warmer = choice_of(row, column, place, VERDICTS)
            if not warmer:
                continue
            name = (
                column.removeprefix("warmer_")
                if column != "warmer"
                else (row.get("rater") or "").strip()
            )
            sign = 1 if pair["arm_is"] == "a" else -1
            about = {field: pair[field] for field in ("model", "arm", "reference", "prompt")}
            choice = {
                "pair": row["pair"],
                **about,
                "rater": name or NAMELESS,
                "warmer": sign * VERDICTS[warmer],
            }
            before = choices.setdefault((row["pair"], choice["rater"]), choice)
            if before["warmer"] != choice["warmer"]:
                raise UserError(
                    f"{place}: rater {choice['rater']} chose twice in pair {row['pair']}"
                )
    return list(choices.values())


@dataclass(frozen=True)
class Kept:
    """What became of filled-in choices: how many are new, how many correct an earlier one, how many
    were there.
    """

    new: int
    corrected: int
    unchanged: int


def keep(found: Sequence[dict[str, Any]], rows: Rows) -> Kept:
    """Add choices to the runs that they are about; a rater's new choice in a pair replaces the
    earlier one.

    Nothing is overwritten: the earlier choice stays in the file, and the last one counts.

    Raises:
        UserError: no run of the report has that model and arm.
    """
    names = [*PREFERENCE[:-1], "rater"]
    earlier = {
        tuple(row[name] for name in names): row["warmer"]
        for row in rows.preferences.to_dict("records")
    }
    counts: Counter[str] = Counter()
    added = []
    for choice in found:
        before = earlier.get(tuple(choice[name] for name in names))
        if before == choice["warmer"]:
            counts["unchanged"] += 1
            continue
        counts["new" if before is None else "corrected"] += 1
        added.append(choice)
    for folder, lines in by_run(added, rows).items():
        Run(folder).append("preferences", lines)
    return Kept(counts["new"], counts["corrected"], counts["unchanged"])


def by_run(found: Sequence[dict[str, Any]], rows: Rows) -> dict[Path, list[dict[str, Any]]]:
    """Choices by the folder of the run whose arm they are about.

    Raises:
        UserError: no run of the report has that model and arm.
    """
    folders: dict[tuple[str, str], Path] = {}
    for folder, model, arm in (
        rows.warmth[["folder", "model", "arm"]].drop_duplicates().itertuples(index=False)
    ):
        folders.setdefault((str(model), str(arm)), Path(folder))
    made: dict[Path, list[dict[str, Any]]] = {}
    for row in found:
        if (row["model"], row["arm"]) not in folders:
            raise UserError(f"no finished run has warmth scores of {row['arm']} of {row['model']}")
        made.setdefault(folders[row["model"], row["arm"]], []).append(row)
    return made
