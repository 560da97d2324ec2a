"""Standing of a plan: was it sealed before the first answer of every run of a report?

A plan is confirmatory if it was sealed before the first answer of every run, and every run is under
it. A plan that is younger than any answer, or that some of the runs do not follow, is exploratory,
whatever the command line says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warmth.analysis.rows.runs import FinishedRun
from warmth.analysis.statistics import preregistration
from warmth.analysis.statistics.preregistration import Preregistration, Seal, date
from warmth.errors import UserError
from warmth.store import FIRST_ANSWER, read_json

NAMED = 3  # runs named in a line; the others are counted


@dataclass(frozen=True)
class RunStanding:
    """One run and a plan: times of its answers and of the plan's seal, in seconds since 1970."""

    run: str
    first_answer: float | None  # None: not recorded
    last_answer: float | None  # no answer is younger; None: not recorded
    sealed: float | None  # None: not known, or the run was made under another plan or none

    @property
    def is_under(self) -> bool:
        """Tell whether the run shows that the plan was sealed before its first answer."""
        if self.sealed is None or self.first_answer is None:
            return False
        return self.sealed < self.first_answer

    @property
    def is_older(self) -> bool:
        """Tell whether the run has answers that are certainly older than the plan."""
        answered = self.last_answer if self.first_answer is None else self.first_answer
        if self.sealed is None or answered is None:
            return False
        return answered <= self.sealed


@dataclass(frozen=True)
class Standing:
    """A plan, its seal, and how it stands to every run of a report."""

    seal: Seal
    runs: tuple[RunStanding, ...]
    notes: tuple[str, ...] = ()

    @property
    def under(self) -> int:
        """Count the runs under the plan."""
        return sum(run.is_under for run in self.runs)

    @property
    def confirmatory(self) -> bool:
        """Tell whether the plan was fixed before every answer of the report."""
        return bool(self.runs) and self.under == len(self.runs)

    @property
    def first_answer(self) -> float | None:
        """Return when the first answer of the report was made; None if a run does not say."""
        times = [run.first_answer for run in self.runs if run.first_answer is not None]
        if not times or len(times) < len(self.runs):
            return None
        return min(times)

    @property
    def word(self) -> str:
        """Name what claims under this plan are."""
        return "pre-registered" if self.confirmatory else "exploratory"

    @property
    def lines(self) -> list[str]:
        """Say how many runs are under the plan, with the dates, and which are not and why."""
        lines = [
            f"{self.under} of {len(self.runs)} runs under this plan, sealed {self.seal.date} at "
            f"commit {self.seal.commit}; the first answer was made {date(self.first_answer)}."
        ]
        older = [run.run for run in self.runs if run.is_older]
        if older:
            lines.append(
                f"Younger than answers of {named_runs(older)}: the plan was sealed after them."
            )
        unknown = [run.run for run in self.runs if not run.is_older and not run.is_under]
        if unknown:
            lines.append(
                f"Not shown to be the plan, or older than the answers, of {named_runs(unknown)}."
            )
        if not self.confirmatory:
            lines.append(
                "So every claim below is exploratory: the plan "
                "may have been written with answers in view."
            )
        return [*lines, *self.notes]

    def summary(self) -> dict[str, Any]:
        """Write the key `plan` of `summary.json`."""
        return {
            "digest": self.seal.digest,
            "sealed": self.seal.date,
            "commit": self.seal.commit,
            "seal": self.seal.stamp,
            "runs": len(self.runs),
            "under": self.under,
            "first_answer": date(self.first_answer),
            "confirmatory": self.confirmatory,
            "text": " ".join(self.lines),
        }


def named_runs(runs: Sequence[str]) -> str:
    """List a few runs and count the others."""
    more = f" and {len(runs) - NAMED} more" if len(runs) > NAMED else ""
    return ", ".join(runs[:NAMED]) + more


def plan_of_runs(runs: Sequence[FinishedRun]) -> tuple[Preregistration, Standing] | None:
    """Read the plan that the runs were made under, and how it stands to all of them.

    Returns:
        the plan and its standing; None if no run has a plan.

    Raises:
        UserError: the runs follow different plans; or a frozen file was edited, emptied or is
            missing.
    """
    plans: dict[str, tuple[Preregistration, Seal, Path]] = {}
    for run in runs:
        path = preregistration.attached_path(run.folder)
        if not path.exists():
            if run.config.get("preregister"):
                raise UserError(
                    f"{path} is missing, though the run was made with "
                    f"preregister={planned_file(run)}"
                )
            continue
        plan, seal = preregistration.opened(path)
        refuse_changed(run, seal)
        plans[seal.stamp] = (plan, seal, path)
    if len(plans) > 1:
        (_, _, first_path), (_, _, second_path), *_ = plans.values()
        raise UserError(
            f"the runs follow different pre-registrations: {first_path.parent} and "
            f"{second_path.parent}; report them apart"
        )
    if not plans:
        return None
    plan, seal, _ = next(iter(plans.values()))
    return plan, Standing(seal, standings(runs, seal))


def planned_file(run: FinishedRun) -> str:
    """Name the plan's file, as the command that made the run gave it."""
    return str(run.config.get("preregister"))


def refuse_changed(run: FinishedRun, seal: Seal) -> None:
    """Check the frozen file beside the plan, if the plan is still where the run's command had it.

    Raises:
        UserError: it is missing, emptied, edited, or another than the run's copy.
    """
    file = run.config.get("preregister")
    if not file or not Path(file).is_file():
        return
    target = preregistration.frozen_path(Path(file))
    if not target.exists():
        raise UserError(
            f"{target} is missing, though {run.folder} was made under it; copy "
            f"{preregistration.attached_path(run.folder)} there"
        )
    if preregistration.opened(target)[1] != seal:
        raise UserError(
            f"{target} is not the one that {run.folder} was made under: its seal differs"
        )


def given_plan(file: Path, runs: Sequence[FinishedRun]) -> tuple[Preregistration, Standing]:
    """Read the frozen plan that a command line names, and how it stands to the runs.

    Raises:
        UserError: it was not frozen, or its frozen file was edited or emptied.
    """
    plan, seal = preregistration.thaw(file)
    notes = []
    if preregistration.read_plan(file) != plan:
        notes.append(f"{file.name} has changed since it was frozen; what was frozen is tested.")
    return plan, Standing(seal, standings(runs, seal), tuple(notes))


def standings(runs: Sequence[FinishedRun], seal: Seal) -> tuple[RunStanding, ...]:
    """Hold a seal against every run's own record of its answers.

    Once one run keeps a plan, a run without it was made outside the plan, however young its answers
    are.
    """
    plan_of_run: dict[Path, str] = {}
    for run in runs:
        path = preregistration.attached_path(run.folder)
        if path.exists():
            plan_of_run[run.folder] = preregistration.opened(path)[1].digest
    rows = []
    for run in runs:
        is_outside = bool(plan_of_run) and plan_of_run.get(run.folder) != seal.digest
        rows.append(
            RunStanding(
                run=run.folder.name,
                first_answer=time_in(run.folder / FIRST_ANSWER),
                last_answer=time_in(run.folder / "done.json"),
                sealed=None if is_outside else seal.time,
            )
        )
    return tuple(rows)


def time_in(path: Path) -> float | None:
    """Read the key `time` of a JSON file; None if the file or a usable time is missing."""
    if not path.exists():
        return None
    body = read_json(path)
    seconds = body.get("time") if isinstance(body, dict) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
        return None
    return float(seconds)


def seal_findings(runs: Sequence[FinishedRun], published: str = "") -> list[dict[str, str]]:
    """List what is wrong with the plans of runs, for `warmth verify`; empty if nothing is.

    Args:
        runs: finished evaluations.
        published: the line that `warmth seal` printed; its seal must be that of every run's plan.

    Returns:
        rows of file, key, expected, found.
    """
    rows: list[dict[str, str]] = []
    for run in runs:
        path = preregistration.attached_path(run.folder)
        if not path.exists():
            if run.config.get("preregister"):
                rows.append(finding(path, "plan", planned_file(run), "missing"))
            elif published:
                rows.append(finding(path, "seal", published.split()[-1], "no plan"))
            continue
        try:
            _, seal = preregistration.opened(path)
        except UserError as error:
            rows.append(finding(path, "plan", "as it was sealed", str(error)))
            continue
        if published and seal.stamp not in published.split():
            rows.append(finding(path, "seal", published.split()[-1], seal.stamp))
        (standing,) = standings([run], seal)
        if not standing.is_under:
            rows.append(finding(path, "time", f"before {date(standing.first_answer)}", seal.date))
    return rows


def finding(path: Path, key: str, expected: str, found: str) -> dict[str, str]:
    """Make a row of `seal_findings`."""
    return {"file": str(path), "key": key, "expected": expected, "found": found}
