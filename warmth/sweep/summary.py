"""What became of a sweep's runs: the table at its end, and the rows that its list keeps beside the
runs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from warmth.errors import one_line
from warmth.sweep import joblist
from warmth.sweep.claims import run_key
from warmth.sweep.joblist import Listed
from warmth.sweep.jobs import Job
from warmth.sweep.outcome import outcome_of
from warmth.sweep.states import state_of
from warmth.sweep.table import WIDE, table_text
from warmth.sweep.view import Overview, look_at_run


def run_rows(jobs: Sequence[Job], expected: Mapping[Path, float | None]) -> list[dict[str, Any]]:
    """Make a row for each run: what it is, what it waits for, how it stands, and where its log is.

    Args:
        jobs: the distinct jobs.
        expected: run folder → seconds by the plan.
    """
    listed = []
    for job in jobs:
        for folder in job.runs:
            state = state_of(folder)
            listed.append(
                {
                    "study": folder.parent.parent.name,
                    "stage": folder.parent.name,
                    "run": folder.name,
                    "overrides": job.label,
                    "waits_for": [run_key(training) for training in job.trainings_before(folder)],
                    "expected_s": expected.get(folder),
                    "state": state.name,
                    **outcome_of(folder, state),
                    "job": job.number,
                    "note": job.note,
                    "log": log_text(job),
                }
            )
    return listed


def log_text(job: Job) -> str | None:
    """Return where a job's words are; None if its launcher keeps none."""
    if job.log is None:
        return None
    return str(job.log)


def print_summary(jobs: Sequence[Job], asked: int, left_out: Sequence[str]) -> None:
    """Print the table on standard error.

    Args:
        jobs: the distinct jobs.
        asked: how many the command named.
        left_out: lines on jobs that have nothing to do.
    """
    from rich.console import Console

    console = Console(file=sys.stderr, markup=False, highlight=False)
    width = WIDE
    if console.is_terminal:
        width = console.width
    lines = []
    for job in jobs:
        for folder in job.runs:
            study = folder.parent.parent
            stage = folder.parent.name
            listed = Listed(
                study, stage, folder.name, job=job.number, log=log_text(job), note=job.note
            )
            lines.append(look_at_run(listed))
    more = ""
    if asked != len(lines):
        more = f" ({asked} jobs asked for)"
    table = Overview(study="sweep", lines=tuple(lines), commands=1, at_once=1, command="")
    heading, *body = table_text([table], width)
    console.print(f"{heading}{more}", soft_wrap=True)
    for line in body:
        console.print(line, soft_wrap=True)
    for line in left_out:
        console.print(line, soft_wrap=True)


def keep_list(
    jobs: Sequence[Job],
    expected: Mapping[Path, float | None],
    launcher: str,
    at_once: int,
    began: float,
) -> str:
    """Write the list of a sweep as it stands now; the same sweep again writes the same file.

    Returns:
        a line for the user: where the list is, or why it was not kept, which is no reason to fail a
        study.
    """
    if not jobs:
        return ""
    try:
        paths = joblist.write_list(jobs, run_rows(jobs, expected), launcher, at_once, began)
    except OSError as error:
        return f"summary: not kept: {error.strerror or one_line(error)}"
    return f"summary: {', '.join(map(str, paths))}"
