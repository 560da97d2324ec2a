"""What the page says, in the order it says it: numbers become words and cells here, and the template only places them.

Answers and names are hostile text: the template escapes everything, and the only markup passed through is the SVG that
`ink` made. Nothing of the data enters a script.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from warmth import __version__
from warmth.analysis import wording
from warmth.analysis.ink import COLOURS, variable

if TYPE_CHECKING:
    from warmth.analysis.report import Report

TEMPLATES = Path(__file__).parent / "templates"
QUESTION = "What does a change of manner cost in truth?"
LONG_TABLE = 600  # rows of one table in the page; the CSV has all
LONG_ANSWER = 1500  # characters of one answer shown


@dataclass(frozen=True)
class Cell:
    """One table cell: what is read, what it sorts by, and the interval in smaller type."""

    text: str
    sort: float | str | None = None
    note: str = ""
    arm: str = ""  # CSS variable of the arm's colour, where the cell names one


@dataclass(frozen=True)
class Table:
    """A sortable table. `kinds` has "text" or "number" for each column."""

    id: str
    caption: str
    columns: Sequence[str]
    kinds: Sequence[str]
    rows: list[list[Cell]] = field(default_factory=list)
    more: int = 0  # rows that only the CSV has


def focal(arms: Sequence[str]) -> str | None:
    """The arm the page asks about: `warm`, else the last of the others; None when only original answered."""
    others = [arm for arm in arms if arm != "original"]
    return "warm" if "warm" in others else (others[-1] if others else None)


def answer(report: Report) -> list[str]:
    """The answer in sentences, for each model: the error, then what fine-tuning as such does, then the warmth."""
    arm = focal(report.rows.arms)
    if arm is None or report.differences.empty:
        return ["Nothing to compare yet: no arm shares scored prompts with original."]
    sentences = []
    several = len(report.rows.models) > 1
    for model in report.rows.models:
        prefix = f"{wording.name(model)}: " if several else ""
        sentences += [prefix + line for line in _error_lines(report, model, arm)]
        sentences += [prefix + line for line in _warmth_lines(report, model, arm)]
    return sentences


def _error_lines(report: Report, model: str, arm: str) -> list[str]:
    overall = report.differences[report.differences["family"].eq("overall")]
    chosen = overall[overall["model"].eq(model) & overall["arm"].eq(arm)]
    lines = [wording.error_sentence(row) for _, row in chosen.iterrows()]
    if not report.controls.empty:
        against = report.controls[report.controls["model"].eq(model) & report.controls["arm"].eq(arm)]
        lines += [wording.error_sentence(row, row["reference"]) for _, row in against.iterrows()]
    return lines


def _warmth_lines(report: Report, model: str, arm: str) -> list[str]:
    table = report.warmth_differences
    table = table[table["model"].eq(model) & table["arm"].eq(arm)]
    strict = [name for name in ("paraphrase", "untransformed", "original") if name in set(table["reference"])]
    return (
        [wording.warmth_sentence(row) for _, row in table[table["reference"].eq(strict[0])][:1].iterrows()]
        if strict
        else []
    )


def headline_table(report: Report) -> Table:
    """The first screen's table: arm, error, difference, warmth."""
    several = len(report.rows.models) > 1
    table = Table(
        "headline",
        "Each arm on the same questions; brackets are 95 % intervals, clustered by question.",
        [*(["Model"] if several else []), "Arm", "Wrong, %", "Difference, points", "Warmth score"],
        [*(["text"] if several else []), "text", "number", "number", "number"],
    )
    for _, row in report.headline.iterrows():
        table.rows.append(
            [
                *([Cell(wording.name(row["model"]))] if several else []),
                arm_cell(row["arm"]),
                rate_cell(row),
                shift_cell(row, "difference", "difference_low", "difference_high"),
                score_cell(row, "score"),
            ]
        )
    return table


def arm_cell(arm: str) -> Cell:
    """An arm's name with its colour."""
    return Cell(wording.name(arm), arm=variable(arm))


def rate_cell(row: Any) -> Cell:
    """An error rate in per cent with its interval."""
    return Cell(wording.percent(row["rate"]), _sort(row["rate"]), wording.span(row["low"], row["high"]))


def shift_cell(row: Any, value: str, low: str = "low", high: str = "high") -> Cell:
    """A paired difference in points with its interval; a dash where there is nothing to compare."""
    if not wording.known(row[value]):
        return Cell("—")
    return Cell(
        wording.points(row[value]), _sort(row[value]), wording.span(row[low], row[high], sign=True) or "no interval"
    )


def score_cell(row: Any, value: str, sign: bool = False) -> Cell:
    """A warmth score, in nats per token, with its interval."""
    prefix = "" if value in row and f"{value}_low" not in row else f"{value}_"
    low, high = row[f"{prefix}low"], row[f"{prefix}high"]
    if not wording.known(row[value]):
        return Cell("—")
    text = wording.signed(row[value], 4) if sign else f"{row[value]:.4f}".replace("-", wording.MINUS)
    return Cell(text, _sort(row[value]), wording.span(low, high, 1.0, 4, sign=sign) or "no interval")


def count_cell(value: Any) -> Cell:
    """A count."""
    return Cell(f"{int(value):,}", float(value)) if wording.known(value) else Cell("")


def _sort(value: Any) -> float | None:
    return float(value) if wording.known(value) else None


def matrix(report: Report, by: str) -> Table:
    """Error rates with a row per task or condition and a column per arm."""
    frame, arms = report.rates[by], report.rows.arms
    keys = ["model", "task"] if by == "task" else ["model", "context", "belief"]
    heads = {"model": "Model", "task": "Task", "context": "Context", "belief": "Belief"}
    several = len(report.rows.models) > 1
    shown = keys if several else keys[1:]
    caption = f"Wrong answers by {by}, %. Small: 95 % interval and wrong / scored."
    kinds = [*("text" for _ in shown), *("number" for _ in arms)]
    table = Table(f"by-{by}", caption, [*(heads[key] for key in shown), *(wording.name(arm) for arm in arms)], kinds)
    for key, group in frame.groupby(keys, sort=False):
        names = dict(zip(keys, key, strict=True))
        line = [Cell(wording.belief(names[name]) if name == "belief" else wording.name(names[name])) for name in shown]
        cells = {row["arm"]: row for _, row in group.iterrows()}
        for arm in arms:
            row = cells.get(arm)
            line.append(Cell("—") if row is None else _counted(row))
        table.rows.append(line)
    return table


def _counted(row: Any) -> Cell:
    cell = rate_cell(row)
    count = f"{int(row['wrong'])} / {int(row['scored'])}"
    return Cell(cell.text, cell.sort, f"{cell.note} · {count}" if cell.note else count)


def cell_table(report: Report) -> Table:
    """Every arm × task × condition with all counts."""
    table = Table(
        "cells",
        "Every cell. A cell without a scored answer is not scored, which is not zero.",
        ["Model", "Arm", "Task", "Context", "Belief", "Answers", "Wrong, %", "Refused", "Unscored", "Cut off"],
        ["text"] * 5 + ["number"] * 5,
        more=max(0, len(report.rates["cell"]) - LONG_TABLE),
    )
    for _, row in report.rates["cell"][:LONG_TABLE].iterrows():
        names = [Cell(wording.name(row["model"])), arm_cell(row["arm"]), Cell(wording.name(row["task"]))]
        names += [Cell(wording.name(row["context"])), Cell(wording.belief(row["belief"]))]
        counts = [count_cell(row[name]) for name in ("refused", "unscored", "cut_off")]
        table.rows.append([*names, count_cell(row["answers"]), _counted(row), *counts])
    return table


def difference_table(report: Report) -> Table:
    """Every paired difference from original with its tests."""
    table = Table(
        "differences",
        "Paired differences from original on the prompts both answered. McNemar only where a question occurs once in the cell.",
        [
            "Model",
            "Arm",
            "Task",
            "Context",
            "Belief",
            "Pairs",
            "Original, %",
            "Arm, %",
            "Difference, points",
            "p, clustered",
        ]
        + ["Only arm wrong", "Only original wrong", "McNemar p", "Cohen’s g"],
        ["text"] * 5 + ["number"] * 9,
        more=max(0, len(report.differences) - LONG_TABLE),
    )
    for _, row in report.differences[:LONG_TABLE].iterrows():
        where = [Cell(wording.name(row[key]) if row[key] else "all") for key in ("task", "context")]
        where.append(Cell(wording.belief(row["belief"]) if row["belief"] else "all"))
        numbers = [
            count_cell(row["pairs"]),
            Cell(wording.percent(row["rate_reference"]), _sort(row["rate_reference"])),
            Cell(wording.percent(row["rate_arm"]), _sort(row["rate_arm"])),
            shift_cell(row, "difference"),
            Cell(wording.p_value(row["p"]), _sort(row["p"])),
            count_cell(row["arm_only_wrong"]),
            count_cell(row["reference_only_wrong"]),
            Cell(wording.p_value(row["mcnemar_p"]), _sort(row["mcnemar_p"])),
            Cell(wording.signed(row["cohens_g"], 2) if wording.known(row["cohens_g"]) else "", _sort(row["cohens_g"])),
        ]
        table.rows.append([Cell(wording.name(row["model"])), arm_cell(row["arm"]), *where, *numbers])
    return table


def controls_table(report: Report) -> Table | None:
    """What is left of an arm's difference when fine-tuning as such is the reference."""
    if report.controls.empty:
        return None
    columns = ["Model", "Arm", "Compared with", "Pairs", "Reference, %", "Arm, %", "Difference, points"]
    caption = "Against the control arms: fine-tuned as well, but without the change of manner."
    table = Table("controls", caption, columns, ["text"] * 3 + ["number"] * 4)
    for _, row in report.controls.iterrows():
        if row["arm"] == "original":
            continue
        rates = [Cell(wording.percent(row[key]), _sort(row[key])) for key in ("rate_reference", "rate_arm")]
        names = [Cell(wording.name(row["model"])), arm_cell(row["arm"]), arm_cell(row["reference"])]
        table.rows.append([*names, count_cell(row["pairs"]), *rates, shift_cell(row, "difference")])
    return table


def warmth_table(report: Report) -> Table:
    """Mean warmth score of every arm and its paired difference from each reference."""
    references = [
        name
        for name in ("original", "untransformed", "paraphrase")
        if name in set(report.warmth_differences["reference"])
    ]
    columns = ["Model", "Arm", "Variant", "Scorer", "Texts", "Score", *(f"− {name}" for name in references)]
    kinds = ["text"] * 4 + ["number"] * (2 + len(references))
    table = Table("warmth-scores", "Warmth in nats per token; differences are paired by prompt.", columns, kinds)
    keys = ["model", "arm", "variant", "scorer"]
    changes = {(*(row[key] for key in keys), row["reference"]): row for _, row in report.warmth_differences.iterrows()}
    for _, row in report.warmth.iterrows():
        own = tuple(row[key] for key in keys)
        names = [Cell(wording.name(own[0])), arm_cell(own[1]), *(Cell(wording.name(value)) for value in own[2:])]
        against = [changes.get((*own, reference)) for reference in references]
        shifts = [Cell("—") if change is None else score_cell(change, "score", sign=True) for change in against]
        table.rows.append([*names, count_cell(row["texts"]), score_cell(row, "score"), *shifts])
    return table


def refusal_table(report: Report) -> Table:
    """Error with refusals dropped, wrong and right; and what else did not count."""
    columns = [
        "Model",
        "Arm",
        "Answers",
        "Refused",
        "Unscored",
        "Cut off",
        "Dropped, %",
        "Counted wrong, %",
        "Counted right, %",
    ]
    columns += ["Δ dropped", "Δ wrong", "Δ right"]
    caption = "Refusals three ways. Δ: paired difference from original, points. An effect that only one column shows is one on refusing."
    table = Table("refusals", caption, columns, ["text"] * 2 + ["number"] * 10)
    ways = {(row["model"], row["arm"], row["refusals"]): row for _, row in report.refusals.iterrows()}
    for _, row in report.headline.iterrows():
        mine = [ways[row["model"], row["arm"], way] for way in ("dropped", "wrong", "right")]
        counts = [count_cell(row[name]) for name in ("answers", "refused", "unscored", "cut_off")]
        rates = [Cell(wording.percent(way["rate"]), _sort(way["rate"])) for way in mine]
        table.rows.append(
            [
                Cell(wording.name(row["model"])),
                arm_cell(row["arm"]),
                *counts,
                *rates,
                *(shift_cell(way, "difference") for way in mine),
            ]
        )
    return table


def gates(report: Report) -> dict[str, Any]:
    """The gates' verdict in a line, and every row."""
    frame = report.gates
    failed = frame[frame["verdict"].eq("fail")]
    skipped = int(frame["verdict"].eq("skipped").sum())
    runs = len({(row["model"], row["arm"]) for _, row in frame.iterrows()})
    if frame.empty:
        verdict, state = "No gates were run.", "none"
    elif len(failed):
        named = wording.joined(
            sorted({f"{wording.name(row['gate'])} in {wording.name(row['arm'])}" for _, row in failed.iterrows()})
        )
        verdict, state = (
            f"{len(failed)} of {len(frame)} gates failed: {named}. Read the numbers with that in mind.",
            "fail",
        )
    else:
        verdict = f"All {len(frame) - skipped} gates passed in {runs} arms" + (
            f"; {skipped} skipped." if skipped else "."
        )
        state = "pass"
    rows = [
        {**row, "arm_variable": variable(row["arm"]), "examples": [_text(item) for item in list(row["examples"])[:5]]}
        for row in frame.to_dict("records")
    ]
    return {"verdict": verdict, "state": state, "rows": rows}


def _text(value: Any) -> str:
    return wording.visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 300)


def provenance(report: Report) -> list[dict[str, Any]]:
    """Each run: its folder, commit, machine and the command that made it."""
    rows = []
    for run in report.rows.runs:
        made = run.provenance
        packages = {name: version for name, version in (made.get("packages") or {}).items() if version}
        rows.append(
            {
                "folder": run.folder.name,
                "stage": "evaluation" if run.evaluation else "training",
                "commit": str(made.get("commit") or "unknown")[:12] + (" + changes" if made.get("dirty") else ""),
                "machine": ", ".join(str(made[key]) for key in ("platform", "python") if made.get(key)),
                "packages": ", ".join(f"{name} {version}" for name, version in packages.items()),
                "command": shlex.join(["python", *map(str, made["command"])]) if made.get("command") else "",
            }
        )
    return rows


def facts(report: Report) -> dict[str, Any]:
    """The page's small print: what was counted."""
    rows = report.rows
    studies = sorted({str(run.config.get("study", "")) for run in rows.runs} - {""})
    graders = sorted(set(rows.answers["grader"]) - {""})
    return {
        "studies": wording.joined([wording.name(study) for study in studies]) or "study",
        "models": wording.joined([wording.name(model) for model in rows.models]),
        "answers": f"{len(rows.answers):,}",
        "questions": f"{rows.answers['question_id'].nunique():,}",
        "graders": wording.joined([wording.name(grader) for grader in graders]) or "none",
        "tokens": f"{int(rows.answers['tokens'].sum()):,}",
        "cost": f"{rows.answers['cost_usd'].sum():.2f}",
        "version": __version__,
    }


def example_views(report: Report) -> list[dict[str, Any]]:
    """Examples with everything visible, longer answers cut."""
    views = []
    for item in report.examples:
        said = [
            {
                "arm": wording.name(one.arm),
                "variable": variable(one.arm),
                "label": one.label,
                "reason": wording.name(one.reason),
            }
            | {"text": wording.visible(one.text, LONG_ANSWER), "cut_off": one.cut_off}
            for one in item.said
        ]
        views.append(
            {
                "question_id": wording.visible(item.question_id, 80),
                "task": wording.name(item.task),
                "context": wording.name(item.context),
                "belief": wording.belief(item.belief),
                "model": wording.name(item.model),
                "message": wording.visible(item.message, LONG_ANSWER),
                "accepted": wording.visible("; ".join(item.accepted), 300),
                "disagree": item.disagree,
                "said": said,
            }
        )
    return views


def render(report: Report) -> str:
    """The whole page as one HTML document that loads nothing."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(visible=wording.visible)
    style = stylesheet()
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    drawings = {
        name: {"svg": Markup(item.inline), "caption": item.caption, "width": round(item.width)}
        for name, item in report.drawings.items()
    }
    template = environment.get_template("report.html.j2")
    return template.render(
        question=QUESTION,
        answer=answer(report),
        facts=facts(report),
        gates=gates(report),
        warnings=report.rows.warnings,
        headline=headline_table(report),
        by_task=matrix(report, "task"),
        by_condition=matrix(report, "condition"),
        cells=cell_table(report),
        differences=difference_table(report),
        controls=controls_table(report),
        warmth=warmth_table(report),
        refusals=refusal_table(report),
        examples=example_views(report),
        disagreements=report.disagreements,
        provenance=provenance(report),
        drawings=drawings,
        style=Markup(style),
        script=Markup(script),
        style_hash=sha256(style),
        script_hash=sha256(script),
    )


def stylesheet() -> str:
    """The page's CSS, with the colours that figures and tables share."""
    light = "".join(f"--{key}:{pair[0]};" for key, pair in COLOURS.items())
    dark = "".join(f"--{key}:{pair[1]};" for key, pair in COLOURS.items())
    text = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return text.replace("/*light*/", light).replace("/*dark*/", dark)


def sha256(text: str) -> str:
    """A hash as a content security policy states it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
