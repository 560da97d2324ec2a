"""Compute a report's numbers again from its rows: `warmth verify`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from warmth.analysis.wording import amount
from warmth.text import print_json

if TYPE_CHECKING:
    from warmth.analysis.report.verification import Difference, Verification

# files whose numbers the rows give
OF_REPORT = ("summary.json", "report.html", "tables/", "figures/")


def verify(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="REPORT_OR_STUDY",
            help="A bundle (bundle.zip of warmth report --bundle), a report's folder, or a folder "
            "of runs: every report made of them is verified.",
        ),
    ],
    seal: Annotated[
        str,
        typer.Option(
            metavar="LINE",
            help="Line that warmth seal printed; every run must have been made under that plan.",
        ),
    ] = "",
    config_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Your own configuration folder, if the report has sections from it."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Machine-readable output, alone on standard output.")
    ] = False,
) -> None:
    """Rebuild every number of a report from its rows and compare: exit code 0 if all are the same,
    1 if one differs.
    """
    from warmth.analysis.report.terminal import plain_console, terminal_text
    from warmth.analysis.report.verification import verify_reports as verify_reports
    from warmth.entries import adopt_own_folder

    if config_dir is not None:
        adopt_own_folder([f"--config-dir={config_dir}"])
    verified = verify_reports(target, seal)
    if as_json:
        print_json(machine_readable(verified))
    else:
        console = plain_console()
        for verification in verified:
            for sentence in sentences(verification):
                console.print(terminal_text(sentence), soft_wrap=True)
    differs = any(verification.rows for verification in verified)
    raise typer.Exit(int(differs))


def machine_readable(verified: Sequence[Verification]) -> dict[str, Any]:
    """Join the differences and notes of all reports, for `--json`."""
    rows: list[dict[str, str]] = []
    notes: list[str] = []
    compared = 0
    for verification in verified:
        rows += map(asdict, verification.rows)
        notes += verification.notes
        compared += verification.compared
    return {"rows": rows, "compared": compared, "notes": notes}


def sentences(verification: Verification) -> Iterator[str]:
    """Say what differs in a report, a line each, and last how much was compared."""
    for row in verification.rows:
        yield in_words(row)
    for note in verification.notes:
        yield f"note: {note}"
    verdict = "the same"
    if verification.rows:
        verdict = amount(len(verification.rows), "difference")
    compared = amount(verification.compared, "value")
    yield f"{verification.report}: {compared} compared: {verdict}"


def in_words(row: Difference) -> str:
    """Write a difference on one line: of the report what its rows give, of the runs what was
    expected and is there.
    """
    if row.file.startswith(OF_REPORT):
        return f"{row.file}: {row.key}: the rows give {row.expected}, the report says {row.found}"
    return f"{row.file}: {row.key}: expected {row.expected}, found {row.found}"
