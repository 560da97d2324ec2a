"""`warmth agreement`: a sample for raters, what their labels say of the graders, and how judges bear attacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from warmth.errors import UserError
from warmth.text import print_json
from warmth.verdicts import TRUTH_LABELS

if TYPE_CHECKING:
    from rich.table import Table

Cell = tuple[str, str]  # a value and its interval


def agreement(
    labels: Annotated[
        Path | None, typer.Argument(metavar="LABELS.csv", help="Columns answer_id, rater, label, weight.")
    ] = None,
    paths: Annotated[list[Path] | None, typer.Argument(metavar="PATH...", help="Folders above run folders.")] = None,
    export: Annotated[
        int | None, typer.Option(metavar="N", help="Write LABELS.csv: N answers for raters, balanced, blinded.")
    ] = None,
    also: Annotated[
        list[Path] | None, typer.Option("--with", metavar="FILE", help="Another rater's file; may be repeated.")
    ] = None,
    adjudicate: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what raters disagree on; settled, it is given as --with."),
    ] = None,
    grader: Annotated[str | None, typer.Option(help="As in grades.jsonl; the primary one of each task.")] = None,
    seed: Annotated[int, typer.Option(help="Draws the sample.")] = 0,
    attacks: Annotated[bool, typer.Option("--attacks", help="Measure a judge on 60 answers that attack it.")] = False,
    judge_url: Annotated[str | None, typer.Option(help="Its server; as conf/grader/judge.yaml has it.")] = None,
    judge_model: Annotated[str | None, typer.Option(help="Its model; likewise.")] = None,
    judge_key_env: Annotated[str | None, typer.Option(help="Variable that holds its key; '' for none.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output, alone on standard output.")] = False,
) -> None:
    """Agreement of graders with people and with each other; rates and effects corrected for what they get wrong."""
    if attacks:
        found = measure_attacks(judge_url, judge_model, judge_key_env)
        print_json(found) if as_json else show(attack_table(found))
        return
    if labels is None or not paths:
        raise UserError("warmth agreement needs LABELS.csv and PATH... (or --attacks)")
    from warmth.analysis import agreement as agreements
    from warmth.analysis import labels as sheets
    from warmth.analysis import rows

    loaded = rows.load(paths)
    if export is not None:
        from warmth.evaluation.judge import without_headers

        graded = replace(loaded, answers=agreements.graded_by(loaded, grader))
        made = sheets.export(graded, labels, export, seed, without_headers)
        told = {"exported": len(made), "file": str(labels.resolve())}
        print_json(told) if as_json else show(exported(len(made), export, labels))
        return
    given = sheets.read([labels, *(also or ())])
    if adjudicate is not None:
        sheets.write_open(given, sheets.settle(given)[1], labels, adjudicate)
    summary = agreements.summary(loaded, given, grader)
    if as_json:
        print_json(summary)
        return
    for part in page(summary, adjudicate):
        show(part)


def measure_attacks(url: str | None, model: str | None, key_env: str | None) -> dict[str, Any]:
    """Runs the attacks against the judge of `conf/grader/judge.yaml`, with what was given in place of its keys."""
    from warmth.api import Servers
    from warmth.build import build
    from warmth.entries import read_entry
    from warmth.evaluation import attacks
    from warmth.schemas import Api, Evaluate

    entry = read_entry("grader", "judge")
    given = {"base_url": url, "model": model, "api_key_env": key_env}
    entry |= {name: value or None for name, value in given.items() if value is not None}
    servers = Servers(Evaluate(api=Api(), output="multirun"))
    judge = build(entry, "grader", "judge").bind("judge", servers)
    servers.check()
    return attacks.measure(judge)


def show(part: Any) -> None:
    """Prints text or a table without reading markup in it."""
    from warmth.analysis.terminal import plain, plain_console

    plain_console().print(plain(part) if isinstance(part, str) else part)


def exported(made: int, wanted: int, sheet: Path) -> str:
    """What was written for raters, and what they do with it."""
    fewer = f" (not {wanted}: no more are scored)" if made < wanted else ""
    return (
        f"{made} answers{fewer} in {sheet}. A copy for each rater, who writes a name under `rater` in every row "
        f"and {', '.join(TRUTH_LABELS[:-1])} or {TRUTH_LABELS[-1]} under `label`."
    )


def page(summary: dict[str, Any], adjudicate: Path | None = None) -> list[Any]:
    """The summary for a terminal; `adjudicate` is the file that holds what raters disagree on."""
    raters = summary["raters"]
    lines: list[Any] = [
        f"{summary['labelled']} of {summary['answers']} answers labelled; grader: {summary['grader']}"
        + (f"; {summary['unscored']} of them unscored" if summary["unscored"] else ""),
        f"grader and people: kappa {line(summary['kappa'])}, alpha {line(summary['alpha'])}",
    ]
    if raters["answers"]:
        lines.append(f"{', '.join(raters['names'])}: alpha {line(raters['alpha'])} on {raters['answers']} answers")
    if summary["open"]:
        todo = f"settle them in {adjudicate} and give it --with" if adjudicate else "--adjudicate FILE lists them"
        lines.append(f"{len(summary['open'])} answers on which raters disagree are left out; {todo}")
    names = arm_names(summary["arms"])
    arms = [(*names(row), str(row["labelled"]), *(number(row[name]) for name in NAMES)) for row in summary["arms"]]
    lines.append("sensitivity: share of wrong answers that were graded wrong; specificity: of right ones, graded right")
    columns = (*names(None), "Labelled", "Sensitivity", "Specificity", "Kappa")
    lines.append(table("Per arm", len(names(None)), columns, arms))
    lines.append("\nas graded, and corrected by the labels in two ways (docs/statistics.md, A grader's error)")
    for name, title in (("rates", "Error rate, %"), ("differences", "Difference from original, points")):
        rows = summary["corrected"][name]  # none: the original alone differs from nothing
        rules = dict.fromkeys(row["refused"] for row in rows)
        for rule in rules:
            own = [row for row in rows if row["refused"] == rule]
            named = f"{title}; refusals {rule}" if len(rules) > 1 else title
            lines.append(corrections(named, own, sign=name == "differences"))
    covered = summary["corrected"]
    lines.append(f"of scored answers only: {covered['scored']:,} of {covered['answers']:,}")
    lines.append(confusion(summary["confusion"]))
    pairs = [
        (row["first"], row["second"], str(row["n"]), percent(row["same"]), number(row["kappa"]))
        for row in summary["judges"]["pairs"]
    ]
    if pairs:
        lines.append(table("Graders on the same answers", 2, ("First", "Second", "Both", "Same, %", "Kappa"), pairs))
    names = arm_names(summary["judges"]["bridge"])
    bridge = [
        (*names(row), row["first"], row["second"], percent(row["rate_first"]), percent(row["rate_second"]))
        + (percent(row["difference_first"], sign=True), percent(row["difference_second"], sign=True))
        for row in summary["judges"]["bridge"]
    ]
    if bridge:
        named = (*names(None), "First", "Second")
        columns = (*named, "Wrong by first, %", "by second", "Difference by first", "by second")
        lines.append(table("Bridge: what replacing a grader changes", len(named), columns, bridge))
    return lines


NAMES = ("sensitivity", "specificity", "kappa")
SAID = (*TRUTH_LABELS, "unscored")


def arm_names(rows: Sequence[dict[str, Any]]) -> Callable[[dict[str, Any] | None], tuple[str, ...]]:
    """What names a row of a table of arms, and for None the headings: the model only where there are several."""
    keys = ("model", "arm") if len({row["model"] for row in rows}) > 1 else ("arm",)
    return lambda row: tuple(key.capitalize() if row is None else row[key] for key in keys)


def corrections(title: str, rows: Sequence[dict[str, Any]], sign: bool) -> Table:
    """Raw and corrected values side by side."""
    found: dict[tuple[str, ...], dict[str, Cell]] = {}
    names = arm_names(rows)
    for row in rows:
        ends = "" if row["low"] is None else f"{percent(row['low'], sign)} to {percent(row['high'], sign)}"
        found.setdefault(names(row), {})[row["method"]] = (percent(row["value"], sign), ends)
    cells = [(*key, *(one[name] for name in ("raw", "rogan_gladen", "ppi"))) for key, one in found.items()]
    return table(title, len(names(None)), (*names(None), "As graded", "Rogan-Gladen", "PPI++"), cells)


def confusion(rows: Sequence[dict[str, Any]]) -> Table:
    """By task, a row for what people said and a column for what the grader did."""
    counts = {(row["task"], row["people"], row["grader"]): row["n"] for row in rows}
    said = [label for label in SAID if any(key[2] == label for key in counts)]
    cells = [
        (task, people, *(str(counts.get((task, people, label), "")) for label in said))
        for task, people in dict.fromkeys(key[:2] for key in counts)
    ]
    return table("What people said, and the grader (columns); unweighted", 2, ("Task", "People", *said), cells)


def attack_table(found: dict[str, Any]) -> Table:
    """How many attacks of each kind were called correct."""
    rows = [
        (kind, str(one["attacks"]), str(one["called_correct"]), failures(one["without_label"]))
        for kind, one in (*found["kinds"].items(), ("all", found["all"]))
    ]
    return table(
        f"Wrong answers that attack {found['judge']}", 1, ("Kind", "Attacks", "Called correct", "No label"), rows
    )


def failures(counts: dict[str, int]) -> str:
    """Named failures as words."""
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "0"


def table(title: str, named: int, columns: Sequence[str], rows: Sequence[Sequence[str | Cell]]) -> Table:
    """A plain table for a terminal: so many columns of names, then of numbers; cells are data, never markup.

    An interval stands below its value, so that the tables fit 80 columns.
    """
    from rich.table import Table

    from warmth.analysis import tables
    from warmth.analysis.terminal import plain

    made = Table(title=f"\n{title}", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        made.add_column(column, overflow="fold", justify="left" if place < named else "right")
    for row in rows:
        made.add_row(*(plain(cell) if isinstance(cell, str) else tables.over(*cell) for cell in row))
    return made


def number(found: dict[str, Any]) -> Cell:
    """A value and its interval."""
    if found["value"] is None:
        return "—", ""
    return f"{found['value']:.2f}", f"{found['low']:.2f} to {found['high']:.2f}" if found["low"] is not None else ""


def line(found: dict[str, Any]) -> str:
    """A value with its interval beside it."""
    value, ends = number(found)
    return f"{value} ({ends})" if ends else value


def percent(value: float | None, sign: bool = False) -> str:
    """A fraction in per cent; a difference has its sign."""
    from warmth.analysis import wording

    if value is None:
        return "—"
    return wording.points(value) if sign else wording.percent(value)
