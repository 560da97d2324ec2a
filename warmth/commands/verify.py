"""`warmth verify`: a report's numbers computed again from its rows."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from warmth.text import print_json

if TYPE_CHECKING:
    from warmth.analysis.report.verification import Difference

OF_REPORT = (
    "summary.json",
    "report.html",
    "tables/",
    "figures/",
)  # files whose numbers the rows give


def verify(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="REPORT_OR_STUDY",
            help="A bundle (bundle.zip of warmth report --bundle), a report's folder, or a "
            "study's folder.",
        ),
    ],
    seal: Annotated[
        str,
        typer.Option(
            metavar="LINE",
            help="The line that warmth seal printed: every run must have been made under it.",
        ),
    ] = "",
    config_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Your own folder, if the report has sections of it."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Machine-readable output, alone on standard output.")
    ] = False,
) -> None:
    """Rebuild every number of a report from its rows and compare: exit code 0 if all are the same,
    1 if one differs.
    """
    from warmth.analysis.report import verification
    from warmth.analysis.report.terminal import plain, plain_console
    from warmth.entries import adopt_own_folder

    if config_dir is not None:
        adopt_own_folder([f"--config-dir={config_dir}"])
    verified = verification.verify(target, seal)
    differs = any(one.rows for one in verified)
    if as_json:
        rows = [asdict(row) for one in verified for row in one.rows]
        notes = [note for one in verified for note in one.notes]
        print_json(
            {"rows": rows, "compared": sum(one.compared for one in verified), "notes": notes}
        )
        raise typer.Exit(int(differs))
    console = plain_console()
    for one in verified:
        for row in one.rows:
            console.print(plain(in_words(row)), soft_wrap=True)
        for note in one.notes:
            console.print(plain(f"note: {note}"), soft_wrap=True)
        verdict = f"{len(one.rows)} differences" if one.rows else "the same"
        console.print(
            plain(f"{one.report}: {one.compared:,} values compared: {verdict}"), soft_wrap=True
        )
    raise typer.Exit(int(differs))


def in_words(row: Difference) -> str:
    """Write a difference on one line: of the report what its rows give, of the runs what was
    expected and is there.
    """
    if row.file.startswith(OF_REPORT):
        return f"{row.file}: {row.key}: the rows give {row.expected}, the report says {row.found}"
    return f"{row.file}: {row.key}: expected {row.expected}, found {row.found}"
