"""Do the measures of warmth agree? SocioT, a judge's rating and people's blind choices, on the same pairs of replies.

A pair is an arm's reply and a reference arm's reply to one held-out prompt. People see such pairs without names.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from warmth.analysis.rows import Rows
from warmth.analysis.statistics.effects import main_measure, text_key
from warmth.errors import UserError
from warmth.store import read_json, write_json
from warmth.text import write_sheet
from warmth.user_rows import choice_of, user_rows

NAMES = {"score": "SocioT", "rating": "judge’s rating", "warmer": "people’s choice"}
VERDICTS = {"a": 1, "b": -1, "equal": 0}
DRAWS = 400
SEED = 0


def pairs(rows: Rows, reference: str = "original") -> pd.DataFrame:
    """Differences arm - reference on one prompt: `score`, `rating` and people's mean choice `warmer`, NaN where absent.

    Returns:
        model, arm, prompt, text, text_reference and the three measures; scores of each model's measure with most texts.
    """
    frame = rows.warmth[rows.warmth["score"].notna()]
    if frame.empty:
        return pd.DataFrame(columns=["model", "arm", "prompt", "text", "text_reference", *NAMES])
    frame = main_measure(frame).assign(key=text_key)
    keys, columns = ["model", "key"], ["score", "rating", "text", "prompt"]
    base = frame[frame["arm"].eq(reference)].drop_duplicates(keys)
    other = frame[frame["arm"].ne(reference)].drop_duplicates(["arm", *keys])
    joined = other[["arm", *keys, *columns]].merge(base[[*keys, *columns]], on=keys, suffixes=("", "_reference"))
    for name in ("score", "rating"):
        joined[name] = joined[name] - joined[f"{name}_reference"]
    chosen = rows.preferences[rows.preferences["reference"].eq(reference)]
    mean = chosen.groupby(["model", "arm", "prompt"])["warmer"].mean().rename("warmer").reset_index()
    return joined.merge(mean, on=["model", "arm", "prompt"], how="left")


def agreement(found: pd.DataFrame) -> pd.DataFrame:
    """Rank agreement of every two measures over pairs that have both.

    Kendall's τ-b of the differences with a percentile interval over 400 draws of whole prompts; and the share of pairs
    in which both point the same way, where neither is tied, with Wilson's interval.
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
        row = {"measures": f"{NAMES[one]} and {NAMES[other]}", "pairs": len(both), "tau": _tau(x, y)}
        row |= {"low": low, "high": high, "decided": int(apart.sum()), "same": same}
        if row["decided"]:
            row["same_low"], row["same_high"] = map(float, proportion_confint(same, row["decided"], method="wilson"))
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
        chosen = np.concatenate([places[number] for number in draw.integers(len(places), size=len(places))])
        taus.append(_tau(x[chosen], y[chosen]))
    known = [tau for tau in taus if tau == tau]
    if len(known) < DRAWS / 2:
        return np.nan, np.nan
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def export(
    rows: Rows, path: Path, clean: Callable[[str], str], count: int = 200, seed: int = 0, reference: str = "original"
) -> int:
    """Writes blind pairs as a CSV to fill in, and `<file>.key.json`, which says which side is which.

    `clean` takes from a reply what would tell its arm.

    Returns:
        how many pairs were drawn, arms alike.

    Raises:
        UserError: no arm and reference replied to one prompt.
    """
    found = pairs(rows, reference)
    if found.empty:
        raise UserError(f"no arm and {reference} have replies to the same held-out prompts")
    draw = random.Random(f"pairs {seed}")
    arms = [group.to_dict("records") for _, group in found.groupby(["model", "arm"])]
    drawn = [
        row for rows_of_arm in arms for row in draw.sample(rows_of_arm, min(-(-count // len(arms)), len(rows_of_arm)))
    ]
    draw.shuffle(drawn)
    key = {}
    sheet = []
    for number, row in enumerate(drawn, 1):
        arm_is_a = draw.random() < 0.5
        pair = f"p{number:04d}"
        sides = (row["text"], row["text_reference"]) if arm_is_a else (row["text_reference"], row["text"])
        sheet.append([pair, row["prompt"], *map(clean, sides), "", ""])
        about = {name: row[name] for name in ("model", "arm", "prompt")}
        key[pair] = {**about, "reference": reference, "arm_is": "a" if arm_is_a else "b"}
    write_sheet(path, ["pair", "message", "reply_a", "reply_b", "warmer", "note"], sheet)
    write_json(_key_of(path), key)
    return len(drawn)


def verdicts(path: Path, key_path: Path | None = None) -> list[dict[str, Any]]:
    """What a person wrote into exported pairs: model, arm, reference, prompt, and `warmer`: 1 the arm, -1 the other, 0.

    Raises:
        UserError: a file is missing, a pair is unknown, or a verdict is none of a, b, equal or empty.
    """
    key_path = key_path or _key_of(path)
    if not key_path.is_file():
        raise UserError(f"{key_path} does not exist")
    key = read_json(key_path)
    choices = []
    for place, row in user_rows(path, ["pair", "warmer"]):
        pair = key.get(row["pair"])
        if pair is None:
            raise UserError(f"{place}: pair {row['pair']!r} is not in {key_path}")
        warmer = choice_of(row, "warmer", place, VERDICTS)
        if not warmer:
            continue
        sign = 1 if pair["arm_is"] == "a" else -1
        about = {name: pair[name] for name in ("model", "arm", "reference", "prompt")}
        choices.append({**about, "warmer": sign * VERDICTS[warmer]})
    return choices


def _key_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.key.json")


def by_run(found: Sequence[dict[str, Any]], rows: Rows) -> dict[Path, list[dict[str, Any]]]:
    """Choices by the folder of the run whose arm they are about.

    Raises:
        UserError: no run of the report has that model and arm.
    """
    folders: dict[tuple[str, str], Path] = {}
    for folder, model, arm in rows.warmth[["folder", "model", "arm"]].drop_duplicates().itertuples(index=False):
        folders.setdefault((str(model), str(arm)), Path(folder))
    made: dict[Path, list[dict[str, Any]]] = {}
    for row in found:
        if (row["model"], row["arm"]) not in folders:
            raise UserError(f"no finished run has warmth scores of {row['arm']} of {row['model']}")
        made.setdefault(folders[row["model"], row["arm"]], []).append(row)
    return made
