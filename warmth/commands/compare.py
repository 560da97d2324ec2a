"""`warmth compare`: paired differences between evaluations that any tool made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from warmth.errors import UserError
from warmth.text import print_json


def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="A B...",
            help="Logs of Inspect (.eval, .json), samples of lm-evaluation-harness (.jsonl), "
            "details of lighteval (.parquet), a CSV of item, score and, if needed, cluster, "
            "system, task, metric, epoch; or their folders.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for a page with tables and a figure; not written by default."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Compare this metric alone; NAME_A=NAME_B if A and B name it differently.",
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD",
            help="Metadata field whose value the items of one cluster share; none: every item "
            "stands alone.",
        ),
    ] = None,
    span: Annotated[
        str,
        typer.Option(
            "--range",
            metavar="LOW,HIGH",
            help="Least and largest possible score; the bounds fill missing scores with them.",
        ),
    ] = "0,1",
    as_json: Annotated[
        bool, typer.Option("--json", help="Machine-readable output, alone on standard output.")
    ] = False,
) -> None:
    """Compare evaluations that other tools made: every one with the first, item by item.

    Differences are paired and cluster-aware, corrected by Holm's rule, with bounds for missing
    scores.
    """
    limits = parse_range(span)
    from warmth.analysis.compare import differences, page, reading
    from warmth.analysis.report.printing import terminal_table
    from warmth.analysis.report.terminal import plain_console, terminal_text

    evaluations = reading.read_all(paths, cluster)
    comparison = differences.compare_evaluations(evaluations, metric or (), limits)
    written = page.write_comparison(comparison, out) if out is not None else None
    if as_json:
        record = {
            "rows": differences.comparison_records(comparison),
            "notes": list(comparison.notes),
        }
        print_json(record | {"mismatches": comparison.mismatches.to_dict("records")})
        return
    console = plain_console()
    console.print(terminal_text(f"a: {comparison.systems[0]}"), soft_wrap=True)
    if len(comparison.systems) == 2:
        console.print(terminal_text(f"b: {comparison.systems[1]}"), soft_wrap=True)
    console.print(terminal_table(page.comparison_terminal_table(comparison)))
    console.print()
    for sentence in page.comparison_sentences(comparison)[:10]:
        console.print(terminal_text(sentence))
    for note in [*page.lost_items(comparison), *comparison.notes]:
        console.print(terminal_text(f"note: {note}"), soft_wrap=True)
    for row in comparison.mismatches.head(5).to_dict("records"):
        words = f"mismatch: {row['item']}: “{row['words_a']}” and “{row['words_b']}”"
        console.print(terminal_text(words), soft_wrap=True)
    if written is not None:
        console.print(terminal_text(f"page: {written.resolve()}"), soft_wrap=True)


def parse_range(text: str) -> tuple[float, float]:
    """Read `LOW,HIGH`.

    Raises:
        UserError: it is not two numbers, the first below the second.
    """
    low, _, high = text.partition(",")
    try:
        limits = (float(low), float(high))
    except ValueError:
        limits = (0.0, 0.0)
    if not limits[0] < limits[1]:
        raise UserError(
            f"--range={text} must be two numbers, the least and the largest score, such as 0,1"
        )
    return limits
