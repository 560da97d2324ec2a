"""Agreement of the measures of warmth: SocioT, a judge's rating and people's blind choices.

A pair is an arm's reply and a reference arm's reply to one held-out prompt. People see such pairs
without names.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
    """Pair every arm's replies with the reference's to the same prompt.

    Returns:
        model, arm, prompt, text, text_reference and the differences arm - reference: `score`, of
        each model's measure with most texts, `rating`, and people's mean choice `warmer`; NaN if
        absent.
    """
    frame = rows.warmth[rows.warmth["score"].notna()]
    if frame.empty:
        return pd.DataFrame(columns=["model", "arm", "prompt", "text", "text_reference", *NAMES])
    frame = main_measure(frame).assign(key=text_key)
    prompt = ["model", "key"]
    columns = [*prompt, "score", "rating", "text", "prompt"]
    of_reference = frame[frame["arm"].eq(reference)].drop_duplicates(prompt)
    of_arms = frame[frame["arm"].ne(reference)].drop_duplicates(["arm", *prompt])
    joined = of_arms[["arm", *columns]].merge(
        of_reference[columns], on=prompt, suffixes=("", "_reference")
    )
    for name in ("score", "rating"):
        joined[name] = joined[name] - joined[f"{name}_reference"]
    choices = rows.preferences[rows.preferences["reference"].eq(reference)]
    pair = ["model", "arm", "prompt"]
    mean_choice = choices.groupby(pair)["warmer"].mean().rename("warmer").reset_index()
    return joined.merge(mean_choice, on=pair, how="left")


def rank_agreement(pairs_of_replies: pd.DataFrame) -> pd.DataFrame:
    """Compute how far every two measures rank pairs alike, over pairs that have both.

    Kendall's τ-b of the differences with a percentile interval over 400 draws of whole prompts; and
    the share of pairs in which both point the same way, if neither is tied, with Wilson's interval.

    Args:
        pairs_of_replies: from `pairs`.

    Returns:
        measures, pairs, tau, low, high, decided (pairs in which neither is tied), same, same_low,
        same_high.
    """
    rows = []
    for first, second in combinations(NAMES, 2):
        has_both = pairs_of_replies[first].notna() & pairs_of_replies[second].notna()
        both = pairs_of_replies[has_both]
        if len(both) < 2:
            continue
        x = both[first].to_numpy(float)
        y = both[second].to_numpy(float)
        low, high = _interval(x, y, pd.factorize(both["prompt"])[0])
        is_decided = (x != 0) & (y != 0)
        decided = int(is_decided.sum())
        same = int((np.sign(x[is_decided]) == np.sign(y[is_decided])).sum())
        row: dict[str, Any] = {
            "measures": f"{NAMES[first]} and {NAMES[second]}",
            "pairs": len(both),
            "tau": _tau(x, y),
            "low": low,
            "high": high,
            "decided": decided,
            "same": same,
        }
        if decided:
            same_low, same_high = proportion_confint(same, decided, method="wilson")
            row["same_low"] = float(same_low)
            row["same_high"] = float(same_high)
        rows.append(row)
    names = ["measures", "pairs", "tau", "low", "high", "decided", "same", "same_low", "same_high"]
    return pd.DataFrame(rows).reindex(columns=names)


def _tau(x: np.ndarray, y: np.ndarray) -> float:
    return float(stats.kendalltau(x, y).statistic)


def _interval(x: np.ndarray, y: np.ndarray, prompt: np.ndarray) -> tuple[float, float]:
    """Bootstrap the 95 % interval of τ over whole prompts; NaN if most draws have no τ."""
    rows_of_prompt = [np.flatnonzero(prompt == number) for number in range(prompt.max() + 1)]
    count = len(rows_of_prompt)
    generator = np.random.default_rng(SEED)
    taus = np.empty(DRAWS)
    for draw in range(DRAWS):
        drawn_prompts = generator.integers(count, size=count)
        drawn = np.concatenate([rows_of_prompt[number] for number in drawn_prompts])
        taus[draw] = _tau(x[drawn], y[drawn])
    known = taus[~np.isnan(taus)]
    if len(known) < DRAWS / 2:
        return np.nan, np.nan
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def export_pairs(
    rows: Rows,
    path: Path,
    clean: Callable[[str], str],
    count: int = 200,
    seed: int = 0,
    reference: str = "original",
) -> int:
    """Write blind pairs as a CSV to fill in, and their key, which says which side is which.

    Args:
        rows: the finished runs.
        path: the sheet, which must not exist, nor its key.
        clean: takes from a reply what would tell its arm.
        count: pairs to draw, fewer if there are fewer.
        seed: of the draw.
        reference: the arm that others are paired with.

    Returns:
        how many pairs were drawn, arms alike.

    Raises:
        UserError: no arm and reference replied to one prompt, or one of the files exists.
    """
    keys.refuse_existing(path)
    all_pairs = pairs(rows, reference)
    if all_pairs.empty:
        raise UserError(f"no arm and {reference} have replies to the same held-out prompts")
    draw = random.Random(f"pairs {seed}")
    arms = all_pairs.groupby(["model", "arm"])
    pairs_of_arm = math.ceil(count / arms.ngroups)
    drawn: list[dict[Any, Any]] = []
    for _, group in arms:
        drawn += draw.sample(group.to_dict("records"), min(pairs_of_arm, len(group)))
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
    """Read what people wrote into exported pairs.

    It is in the column `warmer`, by the name in `rater`; or each rater has a column `warmer_NAME`.

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
    columns = [name for name in (filled[0][1] if filled else ()) if is_choice_column(name)]
    if not columns:
        raise UserError(f"{path} has no column warmer; it needs pair, rater, warmer")
    digests = {str(row.get(keys.SHEET) or "") for _, row in filled}
    key = keys.find_items(path, digests, [str(row["pair"]) for _, row in filled], folders)
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
            verdict = choice_of(row, column, place, VERDICTS)
            if not verdict:
                continue
            rater = column.removeprefix("warmer_")
            if column == "warmer":
                rater = (row.get("rater") or "").strip()
            choice = choice_in(row["pair"], pair, rater or NAMELESS, VERDICTS[verdict])
            earlier = choices.setdefault((row["pair"], choice["rater"]), choice)
            if earlier["warmer"] != choice["warmer"]:
                raise UserError(
                    f"{place}: rater {choice['rater']} chose twice in pair {row['pair']}"
                )
    return list(choices.values())


def is_choice_column(name: str) -> bool:
    """Tell whether a column holds choices: `warmer`, or `warmer_NAME` of one rater."""
    return name == "warmer" or name.startswith("warmer_")


def choice_in(
    pair_id: str, pair: Mapping[str, str], rater: str, warmer_is_a: int
) -> dict[str, Any]:
    """Make a choice of what a rater wrote.

    Args:
        pair_id: of the pair.
        pair: what the key says of it.
        rater: who chose.
        warmer_is_a: 1 if reply a was called warmer, -1 for b, 0 for equal.
    """
    sign = 1 if pair["arm_is"] == "a" else -1
    return {
        "pair": pair_id,
        "model": pair["model"],
        "arm": pair["arm"],
        "reference": pair["reference"],
        "prompt": pair["prompt"],
        "rater": rater,
        "warmer": sign * warmer_is_a,
    }


@dataclass(frozen=True)
class KeptChoices:
    """Counts of filled-in choices: new ones, corrections of earlier ones, and known ones."""

    new: int
    corrected: int
    unchanged: int


def keep(choices: Sequence[dict[str, Any]], rows: Rows) -> KeptChoices:
    """Add choices to the runs that they are about.

    A rater's new choice in a pair replaces the earlier one: nothing is overwritten, the earlier
    choice stays in the file, and the last one counts.

    Args:
        choices: from `verdicts`.
        rows: the finished runs.

    Raises:
        UserError: no run of the report has that model and arm.
    """
    names = [*PREFERENCE[:-1], "rater"]
    earlier: dict[tuple[Any, ...], int] = {}
    for row in rows.preferences.to_dict("records"):
        earlier[tuple(row[name] for name in names)] = row["warmer"]
    counts: Counter[str] = Counter()
    added = []
    for choice in choices:
        before = earlier.get(tuple(choice[name] for name in names))
        if before == choice["warmer"]:
            counts["unchanged"] += 1
            continue
        counts["new" if before is None else "corrected"] += 1
        added.append(choice)
    for folder, lines in by_run(added, rows).items():
        Run(folder).append("preferences", lines)
    return KeptChoices(counts["new"], counts["corrected"], counts["unchanged"])


def by_run(choices: Sequence[dict[str, Any]], rows: Rows) -> dict[Path, list[dict[str, Any]]]:
    """Group choices by the folder of the run whose arm they are about.

    Raises:
        UserError: no run of the report has that model and arm.
    """
    arms = rows.warmth[["folder", "model", "arm"]].drop_duplicates()
    folders: dict[tuple[str, str], Path] = {}
    for folder, model, arm in arms.itertuples(index=False):
        folders.setdefault((str(model), str(arm)), Path(folder))
    choices_of_run: dict[Path, list[dict[str, Any]]] = {}
    for choice in choices:
        model_and_arm = (choice["model"], choice["arm"])
        if model_and_arm not in folders:
            raise UserError(
                f"no finished run has warmth scores of {choice['arm']} of {choice['model']}"
            )
        choices_of_run.setdefault(folders[model_and_arm], []).append(choice)
    return choices_of_run
