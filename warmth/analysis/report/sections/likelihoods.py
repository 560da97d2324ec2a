"""The second instrument: how likely each arm holds the right and the wrong answer as its reply; no
text is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from warmth.analysis import wording
from warmth.analysis.report import calibration
from warmth.analysis.report.drawing.ink import (
    MUTED,
    STYLE,
    Drawing,
    colour,
    finish,
    marker,
    panel_title,
    row_of_panels,
)
from warmth.analysis.report.kernel import (
    ARM,
    MODEL,
    Column,
    Fold,
    Notes,
    Paragraph,
    Part,
    Section,
    Table,
    arm_name,
    condition,
    count,
    number,
    percent,
    shift,
    table,
    text,
)
from warmth.analysis.report.study import Study
from warmth.analysis.rows.arm_names import arm_order
from warmth.analysis.rows.tables import records
from warmth.analysis.statistics import likelihood
from warmth.analysis.statistics.likelihood import BOTH_FRAMES, NO, OPEN, QUANTITIES, YES, YES_NO

ABOUT = (
    "The model itself says how likely the right answer and a wrong one are as its reply; nothing "
    "is generated, graded or cut off. K is the log-odds of the truth if the user states no belief: "
    "the cost in truth. B is the same if the user asserts an answer, balanced over right and "
    "wrong. P is the pull of the user's word: repetition of a name just heard and deference "
    "together. S is stance: asserted against denied, in which repetition cancels. D is deference "
    "where the reply holds no word that the user said (design=deference)."
)
CAPTION = (
    "Arm less reference in nats, mean of both frames; K also in points of the probability of the "
    "truth. Below 0: the arm holds the truth less likely. Small: 95 % intervals, clustered by "
    "question."
)
FRAMES_CAPTION = "The same for each frame alone."
YES_NO_CAPTION = (
    "Yes/no questions, by their truth: a model leans to one word whatever is asked, so these are "
    "no part of the table above; the mean weighs both alike."
)
RAW_CAPTION = (
    "Mean margin, and how often it is below 0. Under a stated belief it mostly shows that a name "
    "just heard is easier to repeat: it is no measure of truth."
)
SPREAD_CAPTION = (
    "Margins without belief, over questions. An arm whose margins all grow is surer, not truer."
)
METHOD = (
    "Margin: log-odds of the accepted answers against the rival as replies in a frame, natural "
    "logarithms, sums in float32; K, B, P, S and D are paired by question and context and "
    "clustered by question. Points: the same with the probability of the truth in place of its "
    "log-odds. Rows of the two instruments never mix."
)
WORDS = {
    "K": "no belief",
    "B": "under belief",
    "P": "pull of the word",
    "S": "stance",
    "D": "deference",
}
WIDTH = 0.16  # between two arms of one line of the figure


def likelihoods(study: Study) -> Section | None:
    """Show K, B, P, S and D of every arm against each reference."""
    frame = study.likelihood_effects
    if frame.empty:
        return None
    main = wide(frame, OPEN)
    parts: list[Part] = [Paragraph(ABOUT)]
    if len(main):
        parts.append(main_table(main))
        figure = dot_plot(frame)
        if figure is not None:
            parts.append(figure)
    parts.append(Paragraph(calibration.tone_sentences()))
    notes = frame_notes(frame)
    if notes:
        summary = "Differences whose sign is another in the other frame, and so no finding"
        parts.append(Fold(summary, [Notes(notes)]))
    yes_no = frame[frame["kind"].isin([YES, NO, YES_NO])]
    if len(yes_no):
        parts.append(Fold("Yes/no questions, by their truth", [yes_no_table(yes_no)]))
    parts.append(details(study, frame))
    frames = {
        "likelihoods": frame,
        "likelihood_margins": likelihood.raw_margins(study.likelihoods),
        "likelihood_spreads": likelihood.spreads(study.likelihoods),
    }
    return Section(
        id="likelihoods",
        title="Truth by likelihood",
        nav="Likelihood",
        parts=parts,
        frames=frames,
        methods={"Likelihood": METHOD},
        summary={"likelihoods": records(frame[frame["task"].eq("")])},
        panels=["likelihoods"],
        sentences=knowledge_sentences(study),
    )


def wide(frame: pd.DataFrame, kind: str, frame_name: str = BOTH_FRAMES) -> pd.DataFrame:
    """Lay the quantities of one kind of question side by side: a row for each model, arm and
    reference.

    Returns:
        model, arm, reference, questions, and `K`, `K_low`, `K_high` … in nats, `K_points` … as
        fractions; NaN for a quantity that was not asked.
    """
    of_kind = over_tasks(frame)
    of_kind = of_kind[of_kind["kind"].eq(kind) & of_kind["frame"].eq(frame_name)]
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in of_kind.to_dict("records"):
        key = (row["model"], row["arm"], row["reference"])
        cells = rows.setdefault(key, dict(zip(("model", "arm", "reference"), key, strict=True)))
        name = row["quantity"]
        cells[name] = row["nats"]
        cells[f"{name}_low"] = row["nats_low"]
        cells[f"{name}_high"] = row["nats_high"]
        if name == "K":
            cells |= {"K_points": row["points"], "K_points_low": row["points_low"]}
            cells |= {"K_points_high": row["points_high"], "questions": row["questions"]}
    columns = ["model", "arm", "reference", "questions"]
    columns += ["K_points", "K_points_low", "K_points_high"]
    for name in QUANTITIES:
        columns += [name, f"{name}_low", f"{name}_high"]
    result = pd.DataFrame(list(rows.values())).reindex(columns=columns)
    result = result.assign(order=result["arm"].map(arm_order))
    return result.sort_values(["model", "order"], kind="stable").drop(columns="order")


def over_tasks(frame: pd.DataFrame) -> pd.DataFrame:
    """Select the rows of single models over all tasks."""
    return frame[frame["task"].eq("") & frame["model"].ne("")]


def quantity(name: str) -> Column:
    """Show a quantity in nats with its interval; a dash if it was not asked."""
    return number(f"{name}, nats", name, 2, f"{name}_low", f"{name}_high", sign=True)


def main_table(frame: pd.DataFrame) -> Table:
    """Make the table of open questions and letters."""
    columns = [MODEL, ARM, arm_name("Less", "reference"), count("Questions", "questions")]
    for name in QUANTITIES:
        if name == "K" or frame[name].notna().any():
            columns.append(quantity(name))
        if name == "K":
            columns.append(shift("K, points", "K_points", "K_points_low", "K_points_high"))
    return table("likelihoods", CAPTION, columns, frame)


def yes_no_table(frame: pd.DataFrame) -> Table:
    """Make the table of yes/no questions: K and P by truth."""
    rows = over_tasks(frame)
    rows = rows[rows["quantity"].isin(["K", "P", "D"]) & rows["frame"].eq(BOTH_FRAMES)]
    columns = [
        MODEL,
        ARM,
        arm_name("Less", "reference"),
        text("Truth", "kind"),
        text("Quantity", "quantity"),
        count("Questions", "questions"),
        number("Nats", "nats", 2, "nats_low", "nats_high", sign=True),
        shift("Points", "points", "points_low", "points_high"),
    ]
    return table("likelihoods-yes-no", YES_NO_CAPTION, columns, rows)


def frame_notes(frame: pd.DataFrame) -> list[str]:
    """List the quantities whose sign differs between the frames, a line for each two arms."""
    quantities: dict[str, list[str]] = {}
    for reference, rows in frame.groupby("reference", sort=False):
        for split in likelihood.frames_disagree(rows[rows["model"].ne("")]):
            model = wording.name_words(split["model"])
            arms = f"{wording.name_words(split['arm'])} less {wording.name_words(reference)}"
            questions = "" if split["kind"] == OPEN else f" ({split['kind']})"
            names = quantities.setdefault(f"{model}, {arms}", [])
            names.append(f"{split['quantity']}{questions}")
    return [f"{arms}: {wording.joined(names)}." for arms, names in quantities.items()]


def details(study: Study, frame: pd.DataFrame) -> Fold:
    """Fold what is needed to check the instrument: each frame, tasks, raw margins, spread, after
    the own opening.
    """
    effect = [number("Nats", "nats", 2, "nats_low", "nats_high", sign=True)]
    effect += [shift("Points", "points", "points_low", "points_high")]
    names = [
        MODEL,
        ARM,
        arm_name("Less", "reference"),
        text("Frame", "frame"),
        text("Quantity", "quantity"),
    ]
    by_frame = over_tasks(frame)
    by_frame = by_frame[by_frame["kind"].eq(OPEN) & by_frame["frame"].ne(BOTH_FRAMES)]
    by_task = frame[frame["task"].ne("") & frame["frame"].eq(BOTH_FRAMES) & frame["model"].ne("")]
    task_columns = [
        MODEL,
        ARM,
        arm_name("Less", "reference"),
        condition("Task", "task"),
        text("Questions", "kind"),
    ]
    parts: list[Part] = [
        table("likelihood-frames", FRAMES_CAPTION, [*names, *effect], by_frame),
        table(
            "likelihood-tasks",
            "By task.",
            [*task_columns, text("Quantity", "quantity"), *effect],
            by_task,
        ),
    ]
    spread = [
        MODEL,
        ARM,
        text("Questions", "kind"),
        number("Mean, nats", "mean", 2),
        count("Rows", "rows"),
    ]
    spread.insert(4, number("Standard deviation", "deviation", 2))
    parts.append(
        table("likelihood-spreads", SPREAD_CAPTION, spread, likelihood.spreads(study.likelihoods))
    )
    raw = [
        MODEL,
        ARM,
        text("Questions", "kind"),
        condition("Belief", "belief"),
        text("Frame", "frame"),
    ]
    raw += [
        number("Mean margin, nats", "mean", 2),
        percent("Below 0, %", "negative"),
        count("Rows", "rows"),
    ]
    parts.append(
        table("likelihood-margins", RAW_CAPTION, raw, likelihood.raw_margins(study.likelihoods))
    )
    parts += after_openings_part(study)
    files = ["likelihoods", "likelihood_margins", "likelihood_spreads"]
    return Fold("Details: each frame, tasks, margins as they are", parts, files)


def after_openings_part(study: Study) -> list[Part]:
    """Show K after the arm's own first sentence, if that was asked for."""
    tables = [
        likelihood.after_openings(study.likelihoods, name).assign(reference=name)
        for name in study.references
    ]
    frame = pd.concat(tables, ignore_index=True)
    if frame.empty:
        return []
    columns = [MODEL, ARM, arm_name("Less", "reference"), count("Questions", "questions")]
    columns.append(
        number("K without, nats", "without", 2, "without_low", "without_high", sign=True)
    )
    columns.append(number("K after, nats", "after", 2, "after_low", "after_high", sign=True))
    caption = (
        "K after the first sentence that each arm itself writes, where it names no answer, "
        "on the same prompts."
    )
    return [table("likelihood-after-openings", caption, columns, frame)]


def knowledge_sentences(study: Study) -> list[str]:
    """Say K of every arm that is no control in a sentence each, against the strictest reference."""
    reference = study.references[-1]
    model = None if study.several_models else study.rows.models[0]
    lines = []
    for arm in study.reported.values():
        if arm in study.references:
            continue
        cost = likelihood.likelihood_headline(study.likelihoods, arm, reference, model)
        if cost is not None:
            interval = wording.span(cost["low"], cost["high"], sign=True)
            lines.append(
                f"Probability of the wrong answer, {wording.named(arm)} less "
                f"{wording.named(reference)}: "
                f"{wording.points_words(cost['difference'])} points ({interval})."
            )
    return lines


def dot_plot(frame: pd.DataFrame) -> Drawing | None:
    """Draw the quantities of every arm against the strictest reference: a line for each, a panel
    for each model.
    """
    shown = over_tasks(frame)
    shown = shown[shown["kind"].eq(OPEN) & shown["frame"].eq(BOTH_FRAMES)]
    references = sorted(shown["reference"].unique(), key=arm_order)
    shown = shown[shown["reference"].eq(references[-1])] if references else shown
    if shown.empty:
        return None
    models = sorted(shown["model"].unique())
    quantities = list(filter(set(shown["quantity"]).__contains__, QUANTITIES))
    arms = sorted(shown["arm"].unique(), key=arm_order)
    with rc_context(STYLE):
        across = min(3, len(models))
        down = -(-len(models) // across)
        size = (max(4.6, 2.9 * across), 0.8 + down * (0.5 + 0.42 * len(quantities)))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        panels = row_of_panels(grid, len(models))
        for axes, model in zip(panels, models, strict=True):
            axes.axvline(0.0, color=MUTED, linewidth=0.7)
            for row in shown[shown["model"].eq(model)].to_dict("records"):
                shift_of_arm = (arms.index(row["arm"]) - (len(arms) - 1) / 2) * WIDTH
                draw_mark(axes, row, quantities.index(row["quantity"]) + shift_of_arm)
            if len(models) > 1:
                panel_title(axes, wording.name_words(model))
        labels = [f"{name}: {WORDS[name]}" for name in quantities]
        panels[0].set_yticks(range(len(quantities)), labels)
        panels[0].set_ylim(len(quantities) - 0.5, -0.5)
        look = {"ncols": 4, "frameon": False, "fontsize": 8}
        entries = panels[0].get_legend_handles_labels()
        figure.legend(*entries, loc="outside upper left", **look)
        figure.supxlabel(
            f"less {wording.name_words(references[-1])}, nats   (← less truth in K and B)",
            fontsize=9,
        )
        caption = (
            f"K, B, P, S and D of each arm less {wording.name_words(references[-1])}; 95 % "
            f"intervals clustered by question."
        )
        return finish(figure, "likelihoods", caption, alt_text(shown))


def draw_mark(axes: Any, row: Mapping[str, Any], place: float) -> None:
    """Draw one arm's difference with its interval; its name goes to the legend once."""
    ink = colour(row["arm"])
    if wording.known(row["nats_low"]):
        axes.plot([row["nats_low"], row["nats_high"]], [place, place], color=ink, linewidth=1.2)
    label = wording.name_words(row["arm"]) if row["quantity"] == "K" else None
    axes.plot(
        [row["nats"]], [place], linestyle="none", markersize=5, label=label, **marker(row["arm"])
    )


def alt_text(shown: pd.DataFrame) -> str:
    """Say the figure's K values in words."""
    known = shown[shown["quantity"].eq("K")]
    values = []
    for row in known.to_dict("records"):
        values.append(f"{wording.name_words(row['arm'])} {wording.signed(row['nats'], 2)}")
    return f"K in nats: {'; '.join(values)}."
