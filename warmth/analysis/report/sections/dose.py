"""Dose and response: the error's rise and the warmth score against dose, checkpoint or strength."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from warmth.analysis import wording
from warmth.analysis.report.answer_text import p_text
from warmth.analysis.report.drawing.ink import (
    MUTED,
    RULE,
    STYLE,
    Drawing,
    colour,
    finish,
    marker,
    point_id,
    reply_id,
)
from warmth.analysis.report.kernel import Paragraph, Part, Section
from warmth.analysis.report.study import Study
from warmth.analysis.rows.tables import records
from warmth.analysis.statistics import dose as doses
from warmth.analysis.statistics.dose import Response
from warmth.errors import UserError

UNITS = {"dose": "unit of dose", "checkpoint": "epoch", "strength": "unit of strength"}
AXES = {
    "dose": "dose (scale of the adapter)",
    "checkpoint": "epochs of training",
    "strength": "strength (share changed)",
}
METHOD = (
    "Slope: least squares of error on dose within model, prompt and sample, clustered by "
    "question; the original counts as dose 0. Lack of fit: Wald’s test of a mean for every dose "
    "against that line, with the same clusters, on F(q, G − q). If it rejects at 5 %, no slope is "
    "given: a fit that never falls is drawn, or, if the error is shown to fall between two doses "
    "(one-sided, Bonferroni), a curve through the points."
)


@dataclass(frozen=True)
class Curve:
    """The dose-response of one recipe and model; `points` has a row per dose, with the error's rise
    and the warmth.
    """

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
        frames["dose_response"] = pd.concat(map(labelled_points, fitted), ignore_index=True)
        frames["dose_slopes"] = pd.DataFrame(list(map(slope_row, fitted)))
    return Section(
        id="dose",
        title="Dose and response",
        level=3,
        parts=parts,
        frames=frames,
        methods={"Dose": METHOD},
        summary={"dose_slopes": records(frames["dose_slopes"])} if fitted else {},
    )


def labelled_points(curve: Curve) -> pd.DataFrame:
    """Give the points of a curve with what it is of: model, recipe, and what its dose is."""
    return curve.points.assign(model=curve.model, recipe=curve.recipe, by=curve.response.by)


def slope_row(curve: Curve) -> dict[str, Any]:
    """Write a curve's slope, or that there is none to tell, with the test of its line; fractions
    per unit.
    """
    response = curve.response
    row: dict[str, Any] = {"model": curve.model, "recipe": curve.recipe}
    row |= {"by": response.by, "shape": response.shape}
    row |= {"lack_of_fit_f": response.bends.statistic, "lack_of_fit_p": response.bends.p}
    row |= dict.fromkeys(("slope", "slope_low", "slope_high", "slope_p"), math.nan)
    if response.shape == doses.LINE:
        slope = response.slope
        row |= {"slope": slope.value, "slope_low": slope.low}
        row |= {"slope_high": slope.high, "slope_p": slope.p}
    row["text"] = caption(curve)
    return row


def curves(
    answers: pd.DataFrame, headline: pd.DataFrame, margin_points: float
) -> tuple[list[Curve], list[str]]:
    """Fit a curve for every model and recipe with two or more doses, strengths or checkpoints, all
    else being equal.

    Returns:
        the curves, and a note on each that could not be fitted.
    """
    fitted: list[Curve] = []
    notes: list[str] = []
    changed = answers[answers["arm"].ne("original")]
    for by in doses.DOSES:
        fixed = ["model", "recipe", *doses.DOSES]
        fixed.remove(by)
        for key, group in changed.groupby(fixed, dropna=False, sort=True):
            if group[by].nunique() < 2:
                continue
            model = str(key[0])
            recipe = str(key[1])
            base = answers[answers["model"].eq(model) & answers["arm"].eq("original")]
            rows = pd.concat([base, group])
            try:
                response = doses.response(rows, by, margin_points / 100)
            except UserError as error:
                notes.append(f"{recipe} of {model} by {by}: {error}")
                continue
            points = _with_warmth(rows, by, response, headline, model)
            fitted.append(Curve(model, recipe, response, points))
    return fitted, notes


def _with_warmth(
    rows: pd.DataFrame, by: str, response: Response, headline: pd.DataFrame, model: str
) -> pd.DataFrame:
    """Add to the response's curve the warmth score of the arm at each dose."""
    arms = rows.drop_duplicates("arm")
    at = pd.to_numeric(arms[by], errors="coerce").mask(arms["arm"].eq("original"), 0.0)
    scores = headline.loc[headline["model"].eq(model), ["arm", "score", "score_low", "score_high"]]
    named = pd.DataFrame({"arm": arms["arm"], "dose": at}).dropna().drop_duplicates("dose")
    return response.curve.merge(named.merge(scores, on="arm", how="left"), on="dose", how="left")


def dose_response(curve: Curve, number: int) -> Drawing:
    """Draw two panels on one dose axis: rise in error over the lowest dose with its monotone fit,
    and warmth if it was scored.

    Args:
        curve: one recipe of one model.
        number: position among the curves, for the figure's name.
    """
    points = curve.points
    by = curve.response.by
    warm = points["score"].notna().any()
    arms = points["arm"].fillna("")
    with rc_context(STYLE):
        figure = Figure(figsize=(3.6 * (1 + warm), 2.8), layout="constrained")
        panels = figure.subplots(1, 1 + warm, sharex=True, squeeze=False)[0]
        rise = 100 * points[["rise", "low", "high"]].set_axis(["value", "low", "high"], axis=1)
        marks = [point_id(curve.model, arm) for arm in arms]
        _panel(panels[0], points["dose"], rise, curve.recipe, marks)
        panels[0].plot(*_fit(curve.response), color=MUTED, linewidth=0.9, linestyle="--")
        panels[0].axhline(0, color=MUTED, linewidth=0.7)
        panels[0].set_title("rise in wrong answers, points", loc="left")
        if warm:
            score = points[["score", "score_low", "score_high"]]
            score = score.set_axis(["value", "low", "high"], axis=1)
            marks = [reply_id(curve.model, arm) for arm in arms]
            _panel(panels[1], points["dose"], score, curve.recipe, marks)
            panels[1].set_title("warmth score, nats per token", loc="left")
        figure.supxlabel(AXES[by], fontsize=9)
        rises = []
        for at, value in zip(points["dose"], points["rise"], strict=True):
            rises.append(f"{at:g}: {wording.points_words(value)} points")
        spoken = "; ".join(rises)
        return finish(figure, f"dose-{number}", caption(curve), f"Rise in error by {by}: {spoken}.")


def _fit(response: Response) -> tuple[np.ndarray, np.ndarray]:
    """Return doses and the rise in points of the fit that is drawn."""
    levels = response.curve["dose"].to_numpy(float)
    if response.shape != doses.SPLINE:
        return levels, 100 * response.curve["monotone"].to_numpy(float)
    fine = np.linspace(levels[0], levels[-1], 101)
    return fine, 100 * doses.spline(levels, response.curve["rise"].to_numpy(float), fine)


def straightness(response: Response) -> str:
    """Say whether a straight line describes the doses."""
    bends = response.bends
    if math.isnan(bends.p):
        return "whether it is a straight line, these doses cannot tell"
    return f"lack of fit of a straight line: p {p_text(bends.p)}"


def slope_words(response: Response) -> str:
    """Say the slope with its interval; or, if the doses do not lie on a line, the points
    instead.
    """
    if response.shape == doses.LINE:
        change = wording.points_words(response.slope.value)
        slope = f"the error changes by {change} points per {UNITS[response.by]}"
        span = wording.span(response.slope.low, response.slope.high, sign=True)
        interval = "too little for an interval"
        if span:
            interval = f"{wording.INTERVAL} {span}, clustered by question"
        return f"{slope} ({interval}; {straightness(response)})"
    points = []
    for row in response.curve.iloc[1:].to_dict("records"):
        points.append(f"{wording.points_words(row['rise'])} at {row['dose']:g}")
    course = "rises and falls" if response.shape == doses.SPLINE else "does not rise evenly"
    return (
        f"the error {course} with the {response.by}, so no slope is given "
        f"({straightness(response)}): {wording.joined(points)}, in points"
    )


def caption(curve: Curve) -> str:
    """Say slope or points, and the dose from which the rise exceeds the margin."""
    response = curve.response
    start = response.curve["dose"].iloc[0]
    dashed = "a fit that never falls"
    if response.shape == doses.SPLINE:
        dashed = "a curve through the points"
    return (
        f"{wording.name_words(curve.recipe)} of {wording.name_words(curve.model)}: "
        f"{slope_words(response)}. "
        f"Left: rise over {response.by} {start:g} on shared prompts; dashed, {dashed}: "
        f"{crossing_words(response)}. {wording.INTERVAL}s."
    )


def crossing_words(response: Response) -> str:
    """Say from which dose on the rise exceeds the margin."""
    margin = f"{100 * response.margin:g} points"
    if not math.isfinite(response.crossing):
        return f"it never reaches a rise of {margin}"
    high = "beyond the largest"
    if math.isfinite(response.crossing_high):
        high = f"{response.crossing_high:.2g}"
    ends = f"{response.crossing_low:.2g} to {high}"
    return f"it reaches a rise of {margin} at {response.crossing:.2g} ({ends})"


def _panel(axes: Axes, at: pd.Series, values: pd.DataFrame, arm: str, names: list[str]) -> None:
    """Draw values with their intervals against the dose."""
    axes.vlines(at, values["low"], values["high"], color=colour(arm), linewidth=1.1)
    axes.plot(at, values["value"], color=colour(arm), linewidth=1.1)
    for x, y, name in zip(at, values["value"], names, strict=True):
        style = marker(arm if x else "original")  # which counts as dose 0
        axes.plot([x], [y], linestyle="none", markersize=5.5, gid=name, **style)
    axes.grid(axis="y", color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)
