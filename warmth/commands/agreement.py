"""Draw a sample for raters, say what their labels tell of the graders, and measure how judges bear
attacks: `warmth agreement`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from warmth.analysis.wording import amount
from warmth.errors import UserError
from warmth.text import print_json
from warmth.verdicts import TRUTH_LABELS

if TYPE_CHECKING:
    from warmth.analysis.report.kernel import Table


def agreement(
    labels: Annotated[
        Path | None,
        typer.Argument(
            metavar="LABELS.csv",
            help="File of labels with the columns answer_id, rater and label, or label_NAME for "
            "each rater.",
        ),
    ] = None,
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH...", help="Folders above run folders.")
    ] = None,
    export: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Write LABELS.csv with N answers for raters, balanced over arms and blinded.",
        ),
    ] = None,
    also: Annotated[
        list[Path] | None,
        typer.Option(
            "--with", metavar="FILE", help="File of another rater; may be given several times."
        ),
    ] = None,
    adjudicate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the answers on which raters disagree; filled in, it is given as --with.",
        ),
    ] = None,
    grader: Annotated[
        str | None,
        typer.Option(help="Grader to measure; by default the primary one of each task."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed for drawing the sample.")] = 0,
    attacks: Annotated[
        bool, typer.Option("--attacks", help="Measure a judge on 60 answers that attack it.")
    ] = False,
    judge_url: Annotated[
        str | None,
        typer.Option(help="Address of the judge's server; by default conf/grader/judge.yaml's."),
    ] = None,
    judge_model: Annotated[
        str | None,
        typer.Option(help="Model of the judge; by default conf/grader/judge.yaml's."),
    ] = None,
    judge_key_env: Annotated[
        str | None,
        typer.Option(help="Environment variable with the judge's API key; '' for no key."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Machine-readable output, alone on standard output.")
    ] = False,
) -> None:
    """Agreement of graders with people and with each other; rates and effects corrected for what
    they get wrong.
    """
    if attacks:
        measured = measure_attacks(judge_url, judge_model, judge_key_env)
        print_json(measured) if as_json else print_plain(attack_table(measured))
        return
    if labels is None or not paths:
        raise UserError("warmth agreement needs LABELS.csv and PATH... (or --attacks)")
    from warmth.analysis.rows import frames
    from warmth.analysis.rows import labels as sheets
    from warmth.analysis.statistics import agreement as agreements

    loaded = frames.load_rows(paths)
    if export is not None:
        from warmth.evaluation.grade.judge import without_headers

        graded = replace(loaded, answers=agreements.graded_by(loaded, grader))
        exported_rows = sheets.export_sheet(graded, labels, export, seed, without_headers)
        result = {"exported": len(exported_rows), "file": str(labels.resolve())}
        print_json(result) if as_json else print_plain(exported(len(exported_rows), export, labels))
        return
    given = sheets.read_labels([labels, *(also or ())], loaded.studies)
    if adjudicate is not None:
        sheets.write_open(given, sheets.settle_labels(given)[1], labels, adjudicate)
    summary = agreements.agreement_summary(loaded, given, grader)
    if as_json:
        print_json(summary)
        return
    for block in agreement_page(summary, adjudicate):
        print_plain(block)


def measure_attacks(url: str | None, model: str | None, key_env: str | None) -> dict[str, Any]:
    """Run the attacks against the judge of `conf/grader/judge.yaml`, with what was given in place
    of its keys.
    """
    from warmth.api import Servers
    from warmth.build import build
    from warmth.entries import read_entry
    from warmth.evaluation.grade import attacks
    from warmth.schemas import Api, Evaluate

    entry = read_entry("grader", "judge")
    given = {"base_url": url, "model": model, "api_key_env": key_env}
    entry |= {name: value or None for name, value in given.items() if value is not None}
    servers = Servers(Evaluate(api=Api(), output="multirun"))
    judge = build(entry, "grader", "judge").bind("judge", servers)
    servers.check()
    return attacks.measure(judge)


def print_plain(part: Any) -> None:
    """Print text or a table without reading markup in it."""
    from warmth.analysis.report.terminal import plain_console, terminal_text

    plain_console().print(terminal_text(part) if isinstance(part, str) else part)


def exported(made: int, wanted: int, sheet: Path) -> str:
    """Say what was written for raters, and what they do with it."""
    fewer = f" (not {wanted}: no more are scored)" if made < wanted else ""
    labels = f"{', '.join(TRUTH_LABELS[:-1])} or {TRUTH_LABELS[-1]}"
    return (
        f"{amount(made, 'answer')}{fewer} in {sheet}. A copy for each rater, who writes a name "
        f"under `rater` in every row and {labels} under `label`."
    )


def agreement_page(summary: dict[str, Any], adjudicate: Path | None = None) -> list[Any]:
    """Write the summary for a terminal; `adjudicate` is the file that holds what raters disagree
    on.
    """
    import pandas as pd

    from warmth.analysis.report.sections.graders import (
        bridge_table,
        correction_table,
        flat_kappa,
        pair_table,
    )

    raters = summary["raters"]
    counts = f"{summary['labelled']} of {amount(summary['answers'], 'answer')} labelled"
    counts += f"; grader: {summary['grader']}"
    if summary["unscored"]:
        counts += f"; {summary['unscored']} of them unscored"
    agreements = (
        f"kappa {value_with_interval(summary['kappa'])}, alpha "
        f"{value_with_interval(summary['alpha'])}"
    )
    lines: list[Any] = [counts, f"grader and people: {agreements}"]
    lines += [open_line(summary["kappa_bounds"]), holds_line(summary)]
    if summary["corrected_labels"]:
        corrections = amount(summary["corrected_labels"], "label")
        lines.append(f"{corrections} corrected: a rater's later file replaces an earlier one")
    if raters["answers"]:
        names = ", ".join(raters["names"])
        answers = amount(raters["answers"], "answer")
        lines.append(f"{names}: alpha {value_with_interval(raters['alpha'])} on {answers}")
    if summary["open"]:
        todo = "--adjudicate FILE lists them"
        if adjudicate:
            todo = f"settle them in {adjudicate} and give it --with"
        answers = amount(len(summary["open"]), "answer")
        verb = "is" if len(summary["open"]) == 1 else "are"
        lines.append(f"{answers} on which raters disagree {verb} left out; {todo}")
    lines.append(
        "sensitivity: share of wrong answers that were graded wrong; specificity: of right ones, "
        "graded right"
    )
    lines.append(printed(arm_table(summary["arms"]), "Per arm"))
    lines.append(
        "\nas graded, and corrected by the labels in two ways (docs/statistics.md, A grader's "
        "error)"
    )
    corrected = summary["corrected"]
    if corrected["rates"]:
        rates = correction_table({**corrected, "differences": []})
        lines.append(printed(rates, "Error rate, %"))
    if corrected["differences"]:  # the original alone differs from nothing
        differences = correction_table({**corrected, "rates": []})
        lines.append(printed(differences, "Difference from original, points"))
    lines.append(f"of scored answers only: {corrected['scored']:,} of {corrected['answers']:,}")
    lines.append(
        printed(
            confusion_table(summary["confusion"]),
            "What people said, and the grader (columns); unweighted",
        )
    )
    pairs = pd.DataFrame(list(map(flat_kappa, summary["judges"]["pairs"])))
    if len(pairs):
        lines.append(printed(pair_table(pairs), "Graders on the same answers"))
    bridge = pd.DataFrame(summary["judges"]["bridge"])
    if len(bridge):
        lines.append(printed(bridge_table(bridge), "Bridge: what replacing a grader changes"))
    return lines


def open_line(bounds: dict[str, Any]) -> str:
    """Say what open answers could make of kappa."""
    if not bounds["disagreed"] + bounds["unscored"]:
        return (
            "no answer is open: raters agree on all, and the grader scored all that they labelled"
        )
    ends = "unknown"
    if bounds["low"] is not None:
        ends = f"between {bounds['low']:.2f} and {bounds['high']:.2f}"
    return (
        f"with open answers counted either way, kappa is {ends}: raters disagree on "
        f"{bounds['disagreed']}, the grader left {bounds['unscored']} without a label"
    )


def holds_line(summary: dict[str, Any]) -> str:
    """Say from how many labels the intervals hold, and whether there are as many."""
    fewest = summary["holds_from"]
    short = [row for row in summary["arms"] if row["labelled"] < fewest]
    holding = f"intervals hold from {fewest} labels on (docs/statistics.md)"
    if summary["labelled"] < fewest:
        return f"{holding}; here there are {summary['labelled']}, so they may cover less than 95 %"
    if short:
        arms = ", ".join(f"{row['arm']} {row['labelled']}" for row in short)
        return (
            f"{holding}; these arms have fewer, and intervals that may cover less than 95 %: {arms}"
        )
    return f"{holding}: there are {summary['labelled']}"


def printed(table: Table, title: str) -> Any:
    """Print a table for the terminal, without the model if there is but one."""
    from warmth.analysis.report.printing import terminal_table

    models = {row[0].text for row in table.rows}
    return terminal_table(table, title, one_model=len(models) < 2)


SAID = (*TRUTH_LABELS, "unscored")


def arm_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Make the table of how the grader did on each arm: sensitivity, specificity and kappa with
    their intervals.
    """
    import pandas as pd

    from warmth.analysis.report.kernel import ARM, MODEL, count, number, table

    columns = [MODEL, ARM, count("Labelled", "labelled")]
    flat = []
    for row in rows:
        values = {"model": row["model"], "arm": row["arm"], "labelled": row["labelled"]}
        for name in ("sensitivity", "specificity", "kappa"):
            values[name] = row[name]["value"]
            values[f"{name}_low"] = row[name]["low"]
            values[f"{name}_high"] = row[name]["high"]
        flat.append(values)
    for name in ("sensitivity", "specificity", "kappa"):
        columns.append(number(name.capitalize(), name, 2, f"{name}_low", f"{name}_high"))
    return table("arms", "", columns, pd.DataFrame(flat))


def confusion_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Make the table with a row for what people said of a task and a column for what the grader
    did.
    """
    from warmth.analysis.report.kernel import Table, TableCell, count_cell

    counts = {(row["task"], row["people"], row["grader"]): row["n"] for row in rows}
    labels = [label for label in SAID if any(key[2] == label for key in counts)]
    cells = []
    for task, people in dict.fromkeys(key[:2] for key in counts):
        numbers = [count_cell(counts.get((task, people, label))) for label in labels]
        cells.append([TableCell(task), TableCell(people), *numbers])
    kinds = ["text", "text"] + ["number"] * len(labels)
    return Table("confusion", "", ["Task", "People", *labels], kinds, cells)


def attack_table(found: dict[str, Any]) -> Any:
    """Print how many attacks of each kind were called correct."""
    from warmth.analysis.report.kernel import Table, TableCell, count_cell

    cells = []
    for kind, counts in (*found["kinds"].items(), ("all", found["all"])):
        numbers = [count_cell(counts["attacks"]), count_cell(counts["called_correct"])]
        cells.append([TableCell(kind), *numbers, TableCell(failure_words(counts["without_label"]))])
    columns = ["Kind", "Attacks", "Called correct", "No label"]
    table = Table("attacks", "", columns, ["text", "number", "number", "text"], cells)
    return printed(table, f"Wrong answers that attack {found['judge']}")


def failure_words(counts: dict[str, int]) -> str:
    """Name failures with their counts."""
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "0"


def value_with_interval(found: dict[str, Any]) -> str:
    """Write a value with its interval next to it."""
    if found["value"] is None:
        return "—"
    interval = f" ({found['low']:.2f} to {found['high']:.2f})" if found["low"] is not None else ""
    return f"{found['value']:.2f}{interval}"
