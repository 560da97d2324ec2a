"""`warmth report`: statistics, figures and one page over finished runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from warmth.commands.options import Json, Paths
from warmth.text import print_json


def report(
    paths: Paths,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the page; reports/<study> by default.")
    ] = None,
    margin_points: Annotated[
        float | None,
        typer.Option(
            help="Percentage points; a smaller difference is none in practice. By default as the "
            "runs' configs say."
        ),
    ] = None,
    preregister: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Frozen plan; by default the one the runs were made under."
        ),
    ] = None,
    checks: Annotated[
        bool,
        typer.Option(
            "--checks",
            help="Also fit regressions by bootstrap and estimating equations; takes longer.",
        ),
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="LABELS.csv", help="People's labels, by which the answer is corrected."
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="What weighs one if tasks are pooled: tasks, or rows; by default as the runs' "
            "configs say."
        ),
    ] = None,
    model_weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=NUMBER,...",
            help="Weight of each model if models are pooled; by default as the runs' configs say, "
            "else one each.",
        ),
    ] = None,
    config_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Your own configuration folder; its report/*.py are sections of the page, too.",
        ),
    ] = None,
    bundle: Annotated[
        bool,
        typer.Option(
            "--bundle",
            help="Pack rows, configs and report into bundle.zip, for `warmth verify` elsewhere.",
        ),
    ] = False,
    publish: Annotated[
        bool,
        typer.Option("--publish", help="Record page and tables in W&B, offline without a key."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Statistics, figures and one self-contained page over finished runs."""
    from warmth.analysis import report as reports
    from warmth.analysis.inspect_runs import with_logs
    from warmth.analysis.report import inputs
    from warmth.analysis.report.kernel import tables_of
    from warmth.analysis.report.printing import terminal_table
    from warmth.analysis.report.terminal import plain_console, terminal_text
    from warmth.analysis.statistics.estimand import parsed_models
    from warmth.entries import adopt_own_folder

    if config_dir is not None:
        adopt_own_folder([f"--config-dir={config_dir}"])
    stated = None if model_weights is None else parsed_models(model_weights, "--model-weights")
    built = reports.build_report(
        with_logs(paths), margin_points, preregister, checks, labels, weights, stated
    )
    page = reports.write_report(built, out or Path("reports") / study_name(built.study.rows.runs))
    packed = inputs.bundle(page.parent) if bundle else None
    if publish:
        from warmth.analysis.report.publish import publish as send

        print(send(built, page.parent), file=sys.stderr)
    if as_json:
        files = {"page": str(page.resolve())}
        if packed:
            files["bundle"] = str(packed.resolve())
        print_json({**files, **reports.report_summary(built)})
        return
    console = plain_console()
    answer_section = built.sections[0]
    for _, table in tables_of(answer_section.parts):
        console.print(terminal_table(table, one_model=not built.study.several_models))
    for sentence in answer_section.sentences:
        console.print(terminal_text(sentence))
    console.print(terminal_text(f"page: {page.resolve()}"), soft_wrap=True)
    if packed:
        console.print(terminal_text(f"bundle: {packed.resolve()}"), soft_wrap=True)


def study_name(runs: Any) -> str:
    """Name a folder for the report: the runs' study, or `studies` for several."""
    names = {str(run.config.get("study", "study")) for run in runs}
    if len(names) > 1:
        return "studies"
    return re.sub(r"[^\w-]+", "-", names.pop()).strip("-") or "study"
