"""What a report holds beyond its first tables: corrected p-values, regressions, dose curves, published values.

Everything is computed elsewhere; here it is put together for a report. What cannot be computed becomes a named note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from warmth.analysis import claims, comparison, dose, effects, manner, measures, preregistration, regressions, wording
from warmth.analysis.cells import Cell, Table, arm_cell, count_cell, shift_cell
from warmth.analysis.dose import Response
from warmth.analysis.families import Family, adjust
from warmth.analysis.preregistration import Plan
from warmth.analysis.reported import as_recipes
from warmth.analysis.reproduction import Row
from warmth.analysis.rows import Rows
from warmth.analysis.settings import Settings
from warmth.errors import UserError

DECLARED = (  # before any p-value is seen: the overall comparisons, and all that single them out
    Family("overall", {"family": ["overall"]}),
    Family("single cells", {"family": ["task", "context", "belief", "condition"]}),
)
PLANNED = "pre-registered"  # the family that a plan declares
DRAWS = 999  # of the cluster bootstrap, where checks are asked for
NORMAL = 1.959964  # the published intervals are naive and normal


@dataclass(frozen=True)
class Curve:
    """The dose-response of one recipe and model; `points` has a row per dose, with the error's rise and the warmth."""

    model: str
    recipe: str
    response: Response
    points: pd.DataFrame


@dataclass(frozen=True)
class Supplement:
    """The further parts of a report, each empty where the rows do not allow it."""

    regressions: regressions.Tables
    curves: tuple[Curve, ...]
    published: tuple[Row, ...]
    notes: tuple[str, ...]  # what could not be computed
    contrasts: pd.DataFrame  # differences in differences, against original and every control
    seeds: pd.DataFrame
    lengths: pd.DataFrame
    ratings: pd.DataFrame  # a judge's ratings of warmth
    agreement: pd.DataFrame  # of the measures of warmth
    claims: pd.DataFrame | None  # hypotheses of a pre-registered plan, tested
    deviations: tuple[str, ...]  # from that plan


def build(
    rows: Rows,
    answers: pd.DataFrame,
    headline: pd.DataFrame,
    pairs: Mapping[str, pd.DataFrame],
    differences: pd.DataFrame,
    settings: Settings,
) -> Supplement:
    """Computes all further parts.

    Args:
        rows: from `rows.load`, for their warmth.
        answers: their answers, the columns that are counted; the benchmarks among them only a plan may pool.
        headline: a row per model and arm with rate and warmth score, as `report.headline_of` makes it.
        pairs: reference arm → `effects.pair`, original first.
        differences: from `corrected`.
        settings: margin and plan.
    """
    margin, plan = settings.margin_points, settings.plan
    pool = effects.pooled(answers)
    made, notes = curves(pool, headline, margin)
    return Supplement(
        regressions=regressions.tables(pool, draws=DRAWS if settings.checks else 0, check=settings.checks),
        curves=made,
        published=against_study(answers, rows.reported, settings),
        notes=notes,
        contrasts=manner.contrasts(pairs),
        seeds=manner.seeds(pairs["original"]) if "original" in pairs else pd.DataFrame(),
        lengths=manner.lengths(pool),
        ratings=measures.ratings(rows.warmth),
        agreement=measures.agreement(measures.pairs(rows)),
        claims=claims.tested(plan, answers[~preregistration.excluded(plan, rows.answers)], margin) if plan else None,
        deviations=deviations(plan, rows, differences, margin) if plan else (),
    )


def deviations(plan: Plan, rows: Rows, differences: pd.DataFrame, margin: float) -> tuple[str, ...]:
    """What this report does otherwise than the plan said, a line each."""
    lines = preregistration.deviations(plan, rows.answers, margin, plan.correction, rows.rule.refused)
    members = differences["correction_family"].eq(PLANNED) if len(differences) else pd.Series(dtype=bool)
    if plan.family and not members.any():
        lines.append("family: no comparison with a p-value belongs to it")
    return tuple(lines)


def families_of(plan: Plan | None) -> tuple[Family, ...]:
    """The families of a report; the plan's comes last, so that its members are corrected in it."""
    return (*DECLARED, Family(PLANNED, plan.family)) if plan and plan.family else DECLARED


def corrected(differences: pd.DataFrame, declared: Sequence[Family] = DECLARED) -> pd.DataFrame:
    """Adds `correction_family`, `p_holm` and `p_bh`, each family corrected by itself; NaN where nothing was tested.

    What belongs to two families has the numbers of the later one.
    """
    if differences.empty:
        return differences
    table = differences.assign(correction_family="", p_holm=float("nan"), p_bh=float("nan"))
    for family in declared:
        try:
            made = adjust(differences, family)
        except UserError:  # no member with a p-value
            continue
        members = family.members(differences)
        for column in ("correction_family", "p_holm", "p_bh"):
            table.loc[members, column] = made.loc[members, column]
    return table


def curves(
    answers: pd.DataFrame, headline: pd.DataFrame, margin_points: float
) -> tuple[tuple[Curve, ...], tuple[str, ...]]:
    """A curve for every model and recipe with two or more doses, strengths or checkpoints, all else being equal."""
    made, notes = [], []
    changed = answers[answers["arm"].ne("original")]
    for by in dose.DOSES:
        fixed = ["model", "recipe", *(name for name in dose.DOSES if name != by)]
        for key, group in changed.groupby(fixed, dropna=False, sort=True):
            if group[by].nunique() < 2:
                continue
            model, recipe = str(key[0]), str(key[1])
            base = answers[answers["model"].eq(model) & answers["arm"].eq("original")]
            rows = pd.concat([base, group])
            try:
                found = dose.response(rows, by, margin_points / 100)
            except UserError as error:
                notes.append(f"{recipe} of {model} by {by}: {error}")
                continue
            made.append(Curve(model, recipe, found, _points(rows, by, found, headline, model)))
    return tuple(made), tuple(notes)


def _points(rows: pd.DataFrame, by: str, found: Response, headline: pd.DataFrame, model: str) -> pd.DataFrame:
    """The response's curve with the warmth score of the arm at each dose."""
    arms = rows.drop_duplicates("arm")
    at = pd.to_numeric(arms[by], errors="coerce").mask(arms["arm"].eq("original"), 0.0)
    scores = headline.loc[headline["model"].eq(model), ["arm", "score", "score_low", "score_high"]]
    named = pd.DataFrame({"arm": arms["arm"], "dose": at}).dropna().drop_duplicates("dose")
    return found.curve.merge(named.merge(scores, on="arm", how="left"), on="dose", how="left")


def against_study(answers: pd.DataFrame, chosen: Mapping[str, str], settings: Settings) -> tuple[Row, ...]:
    """Published rises that these rows speak to, with equivalence verdicts; none without a task of the study.

    The arm of each recipe that `chosen` names is the study's arm of that recipe.
    """
    rows = as_recipes(answers[answers["task"].isin(comparison.STUDY_TASKS)], chosen)
    if rows.empty or not {"original", "warm"} <= set(rows["arm"]):
        return ()
    compared = comparison.compare(rows, settings.margin_points, settings.preregistered)
    return tuple(row for row in compared if row.recomputed is not None)


def csv_tables(made: Supplement) -> dict[str, pd.DataFrame]:
    """The further tables as CSV, by file name; dose and published values only where there are any."""
    found = {"regressions": made.regressions.effects, "coefficients": made.regressions.coefficients}
    found |= {"contrasts": made.contrasts, "lengths": made.lengths}
    found |= {"ratings": made.ratings} if len(made.ratings) else {}
    found |= {"warmth_agreement": made.agreement} if len(made.agreement) else {}
    found |= {"seeds": made.seeds} if len(made.seeds) else {}
    found |= {"hypotheses": made.claims} if made.claims is not None else {}
    if made.curves:
        parts = [item.points.assign(model=item.model, recipe=item.recipe, by=item.response.by) for item in made.curves]
        found["dose_response"] = pd.concat(parts, ignore_index=True)
    if made.published:
        found["published"] = pd.DataFrame([row.record() for row in made.published])
    return found


def regression_table(made: Supplement) -> Table:
    """The average marginal effects of models 1-4, the clustered interval beside the naive one."""
    few, boot = ("low_cr2" in made.regressions.effects), ("low_boot" in made.regressions.effects)
    columns = ["Arm", "Model", "Length", "Effect in", "Rows", "Questions", "Effect, points", "Naive interval"]
    columns += [*(["Bootstrap interval"] if boot else []), *(["CR2 interval"] if few else []), "p, clustered", "Method"]
    kinds = ["text"] * 4 + ["number"] * (4 + few + boot) + ["number", "text"]
    caption = (
        "Average marginal effects on the rate of wrong answers. Small: 95 % interval, clustered by question; the naive "
        "interval takes all rows for independent, as the study did."
    )
    table = Table("regressions", caption, columns, kinds)
    for _, row in made.regressions.effects.iterrows():
        reach = NORMAL * row["error_naive"]
        naive = wording.span(row["value"] - reach, row["value"] + reach, sign=True)
        cells = [arm_cell(row["arm"]), Cell(f"{row['model']}: {row['about']}"), Cell("yes" if row["length"] else "no")]
        cells += [Cell(wording.name(row["effect"])), count_cell(row["rows"]), count_cell(row["clusters"])]
        cells += [shift_cell(row, "value"), Cell(naive or "—")]
        cells += [Cell(wording.span(row["low_boot"], row["high_boot"], sign=True) or "—")] if boot else []
        cells += [Cell(wording.span(row["low_cr2"], row["high_cr2"], sign=True) or "—")] if few else []
        p = float(row["p"]) if wording.known(row["p"]) else None
        table.rows.append([*cells, Cell(wording.p_value(row["p"]), p), Cell(row["method"])])
    return table


def published_table(made: Supplement) -> Table | None:
    """Published rises beside ours, each with its equivalence verdict."""
    if not made.published:
        return None
    caption = "Rises in points. Small: our 95 % interval. The verdict adds the published value’s own error to ours."
    columns = ["Quantity", "Published", "Ours", "Ours − published", "Verdict"]
    table = Table("published", caption, columns, ["text", "number", "number", "number", "text"])
    for row in made.published:
        shift = row.difference
        assert row.recomputed is not None and shift is not None
        numbers = [Cell(wording.signed(row.published, row.digits), row.published)]
        numbers += [Cell(wording.signed(row.recomputed, 1), row.recomputed, row.note)]
        numbers += [Cell(wording.signed(shift, 1), shift)]
        verdict, _, rest = wording.visible(row.verdict).partition(" (")
        table.rows.append([Cell(wording.visible(row.quantity)), *numbers, Cell(verdict, note=rest.removesuffix(")"))])
    return table


def notes(made: Supplement) -> list[str]:
    """Separation, terms left out and models not fitted, each line visible and short."""
    return [wording.visible(" ".join(line.split()), 400) for line in made.regressions.notes]
