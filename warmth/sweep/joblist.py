"""The list of a sweep's runs, written when it starts: what status, table and waiting evaluations
know a sweep by.

`<output>/<study>/sweeps/<digest of its runs>.json` holds the command line, the launcher, how many
jobs it carries out at once, when it started, and a row for each run; a sweep over two studies
writes one in each. The same sweep again writes the same file. Whether a run waits, runs or is done
is never read from it, but from the run's folder.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmth.digest import digest
from warmth.store import write_json
from warmth.sweep.commands import living

if TYPE_CHECKING:
    from warmth.sweep.jobs import Job

FOLDER = "sweeps"


@dataclass(frozen=True)
class Listed:
    """What the list of a sweep says about one run."""

    study: Path
    stage: str
    run: str
    expected_s: float | None = None  # by the plan
    job: str | None = None  # a scheduler's id
    log: str | None = None
    note: str = ""  # why it was not started, or was ended
    waits_for: tuple[Path, ...] = ()  # folders of the trainings that come before it

    @property
    def folder(self) -> Path:
        """Return the run folder, which need not exist."""
        return self.study / self.stage / self.run


@dataclass(frozen=True)
class JobList:
    """One sweep."""

    path: Path
    command: str
    at_once: int
    started: float  # seconds since 1970
    runs: tuple[Listed, ...]

    @property
    def is_alive(self) -> bool:
        """Say whether a command is at work in this study, on whichever of its lists."""
        return bool(living(self.path.parent))


def write_list(
    jobs: Sequence[Job],
    rows: Sequence[Mapping[str, Any]],
    launcher: str,
    at_once: int,
    began: float,
) -> list[Path]:
    """Write the rows of a sweep's runs, in each of its studies.

    Args:
        jobs: the distinct jobs.
        rows: one for each run, as `summary.run_rows` makes them.
        launcher: what starts the jobs.
        at_once: how many of them at most.
        began: when the sweep was started, in seconds since 1970.

    Raises:
        OSError: the folder cannot be written.
    """
    studies: dict[Path, list[Mapping[str, Any]]] = {}
    remaining_rows = iter(rows)
    for job in jobs:
        for folder in job.runs:
            studies.setdefault(folder.parent.parent, []).append(next(remaining_rows))
    paths = []
    for study, study_rows in studies.items():
        identity = digest([[row["stage"], row["run"]] for row in study_rows])
        path = study / FOLDER / f"{identity}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        head = {
            "command": command_line(),
            "launcher": launcher,
            "at_once": at_once,
            "started": began,
        }
        write_json(path, {**head, "written": time.time(), "runs": study_rows})
        paths.append(path)
    return paths


def command_line() -> str:
    """Return this command as it was typed, without the folders before its name."""
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])


def read_lists(study: Path) -> Iterator[JobList]:
    """Yield the lists of a study's sweeps, the oldest first; one that cannot be read is left
    out.
    """
    lists = []
    for path in (study / FOLDER).glob("*.json"):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            runs = tuple(_listed(study, row) for row in content["runs"])
            head = (str(content["command"]), int(content["at_once"]), float(content["started"]))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue
        lists.append(JobList(path, *head, runs))
    yield from sorted(lists, key=lambda sweep: (sweep.started, sweep.path.name))


def _listed(study: Path, row: Mapping[str, Any]) -> Listed:
    """Read one row; the names must be single folders, whatever the file says.

    Raises:
        ValueError: they are not.
    """
    stage = str(row["stage"])
    run = str(row["run"])
    if stage not in ("train", "evaluate") or not is_folder_name(run):
        raise ValueError(f"no run of a study: {stage}/{run}")
    trainings = []
    for key in row.get("waits_for") or []:
        names = str(key).split("/")
        if len(names) != 3 or not all(is_folder_name(name) for name in names):
            raise ValueError(f"no run of a study: {key}")
        trainings.append(study.parent.joinpath(*names))
    expected = row.get("expected_s")
    if expected is not None:
        expected = float(expected)
    return Listed(
        study=study,
        stage=stage,
        run=run,
        expected_s=expected,
        job=row.get("job"),
        log=row.get("log"),
        note=str(row.get("note") or ""),
        waits_for=tuple(trainings),
    )


def is_folder_name(text: str) -> bool:
    """Say whether a text names one folder, and no path."""
    return Path(text).name == text and text not in ("", ".", "..")


def is_listed_by_living(folder: Path) -> bool:
    """Say whether a command that still runs has a run on its list."""
    study = folder.parent.parent
    if not living(study / FOLDER):
        return False
    listed_folders: set[Path] = set()
    for sweep in read_lists(study):
        listed_folders.update(listed.folder for listed in sweep.runs)
    return folder in listed_folders
