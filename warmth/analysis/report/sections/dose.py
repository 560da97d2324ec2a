"""Dose and response: the error's rise and the warmth score against dose, checkpoint or strength."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from warmth.analysis import dose as doses
from warmth.analysis import wording
from warmth.analysis.dose import Response
from warmth.analysis.ink import MUTED, RULE, STYLE, Drawing, colour, finish, marker, point_id, reply_id
from warmth.analysis.report.kernel import Paragraph, Part, Section
from warmth.analysis.report.study import Study
from warmth.errors import UserError

UNITS = {"dose": "unit of dose", "checkpoint": "epoch", "strength": "unit of strength"}
AXES = {
    "dose": "dose (scale of the adapter)",
    "checkpoint": "epochs of training",
    "strength": "strength (share changed)",
}
METHOD = (
    "Slope: least squares of error on dose within model, prompt and sample, clustered by question; the original counts "
    "as dose 0."
)


@dataclass(frozen=True)
class Curve:
    """The dose-response of one recipe and model; `points` has a row per dose, with the error's rise and the warmth."""

    model: str
    recipe: str
    response: Response
    points: pd.DataFrame


def dose(study: Study) -> Section | None:
    """Draw a curve for every model and recipe with two or more doses, strengths or checkpoints."""
    fitted, notes = curves(study.pool, study.headline, study.settings.margin_points)
    if not fitted and not notes:
        return None
    parts: list[Part] = [dose_response(curve, number) for number, curve in enumerate(fitted)]
    parts += [Paragraph(wording.visible(note, 400), "small") for note in notes]
    frames = {}
    if fitted:
        tables = [curve.points.assign(model=curve.model, recipe=curve.recipe, by=curve.response.by) for curve in fitted]
        frames["dose_response"] = pd.concat(tables, ignore_index=True)
    return Section(
        id="dose",
        title="Dose and response",
        level=3,
        parts=parts,
        frames=frames,
        methods={"Dose": METHOD},
    )


def curves(answers: pd.DataFrame, headline: pd.DataFrame, margin_points: float) -> tuple[list[Curve], list[str]]:
    """Fit a curve for every model and recipe with two or more doses, strengths or checkpoints, all else being equal.

    Returns:
        the curves, and a note on each that could not be fitted.
    """
    fitted: list[Curve] = []
    notes: list[str] = []
    changed = answers[answers["arm"].ne("original")]
    for by in doses.DOSES:
        fixed = ["model", "recipe", *(name for name in doses.DOSES if name != by)]
        for key, group in changed.groupby(fixed, dropna=False, sort=True):
            if group[by].nunique() < 2:
                continue
            model, recipe = str(key[0]), str(key[1])
            base = answers[answers["model"].eq(model) & answers["arm"].eq("original")]
            rows = pd.concat([base, group])
            try:
                response = doses.response(rows, by, margin_points / 100)
            except UserError as error:
                notes.append(f"{recipe} of {model} by {by}: {error}")
                continue
            fitted.append(Curve(model, recipe, response, _with_warmth(rows, by, response, headline, model)))
    return fitted, notes


def _with_warmth(rows: pd.DataFrame, by: str, response: Response, headline: pd.DataFrame, model: str) -> pd.DataFrame:
    """Add to the response's curve the warmth score of the arm at each dose."""
    arms = rows.drop_duplicates("arm")
    at = pd.to_numeric(arms[by], errors="coerce").mask(arms["arm"].eq("original"), 0.0)
    scores = headline.loc[headline["model"].eq(model), ["arm", "score", "score_low", "score_high"]]
    named = pd.DataFrame({"arm": arms["arm"], "dose": at}).dropna().drop_duplicates("dose")
    return response.curve.merge(named.merge(scores, on="arm", how="left"), on="dose", how="left")


def dose_response(curve: Curve, number: int) -> Drawing:
    """Two panels on one dose axis: rise in error over the lowest dose with its monotone fit, and warmth where scored.

    Args:
        curve: one recipe of one model.
        number: position among the curves, for the figure's name.
    """
    points, by = curve.points, curve.response.by
    warm = points["score"].notna().any()
    arms = [arm if isinstance(arm, str) else "" for arm in points["arm"]]
    with rc_context(STYLE):
        figure = Figure(figsize=(3.6 * (1 + warm), 2.8), layout="constrained")
        panels = figure.subplots(1, 1 + warm, sharex=True, squeeze=False)[0]
        rise = 100 * points[["rise", "low", "high"]].set_axis(["value", "low", "high"], axis=1)
        _panel(panels[0], points["dose"], rise, curve.recipe, [point_id(curve.model, arm) for arm in arms])
        panels[0].plot(points["dose"], 100 * points["monotone"], color=MUTED, linewidth=0.9, linestyle="--")
        panels[0].axhline(0, color=MUTED, linewidth=0.7)
        panels[0].set_title("rise in wrong answers, points", loc="left")
        if warm:
            score = points[["score", "score_low", "score_high"]].set_axis(["value", "low", "high"], axis=1)
            _panel(panels[1], points["dose"], score, curve.recipe, [reply_id(curve.model, arm) for arm in arms])
            panels[1].set_title("warmth score, nats per token", loc="left")
        figure.supxlabel(AXES[by], fontsize=9)
        spoken = "; ".join(f"{row.dose:g}: {wording.points(row.rise)} points" for row in points.itertuples())
        return finish(figure, f"dose-{number}", caption(curve), f"Rise in error by {by}: {spoken}.")


def caption(curve: Curve) -> str:
    """The slope with its interval, and the dose from which the monotone rise exceeds the margin."""
    found = curve.response
    slope = f"{wording.points(found.slope.value)} points per {UNITS[found.by]}"
    span = wording.span(found.slope.low, found.slope.high, sign=True)
    slope += f" ({wording.INTERVAL} {span}, clustered by question)" if span else " (too little for an interval)"
    margin = f"{100 * found.margin:g} points"
    if math.isfinite(found.crossing):
        ends = f"{found.crossing_low:.2g} to " + (f"{found.crossing_high:.2g}" if math.isfinite(found.crossing_high)
                                                  else "beyond the largest")  # fmt: skip
        crossing = f"the fit reaches a rise of {margin} at {found.crossing:.2g} ({ends})"
    else:
        crossing = f"the fit never reaches a rise of {margin}"
    start = found.curve["dose"].iloc[0]
    return (
        f"{wording.name(curve.recipe)} of {wording.name(curve.model)}: the error changes by {slope}. Left: rise over "
        f"{found.by} {start:g} on shared prompts; dashed, a fit that never falls: {crossing}. {wording.INTERVAL}s."
    )


def _panel(axes: Axes, at: pd.Series, values: pd.DataFrame, arm: str, names: list[str]) -> None:
    axes.vlines(at, values["low"], values["high"], color=colour(arm), linewidth=1.1)
    axes.plot(at, values["value"], color=colour(arm), linewidth=1.1)
    for x, y, name in zip(at, values["value"], names, strict=True):
        look = marker(arm if x else "original")  # which counts as dose 0
        axes.plot([x], [y], linestyle="none", markersize=5.5, gid=name, **look)
    axes.grid(axis="y", color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)
