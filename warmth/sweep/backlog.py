"""The jobs of a sweep that are still to be started: each is looked at again, and claimed, at the
moment it starts.

Other commands, of other people too, may work on the same runs. What one of them holds, or has
submitted, is left alone with one line. What fails under another command while this one is at work
has failed for both: it is tried again by a later command, not by this one. An evaluation becomes
free when its own training is done, whoever makes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from warmth.errors import RunFailed, UserError, one_line
from warmth.store import Run, clock
from warmth.sweep import claims
from warmth.sweep.claims import DONE, FAILED, FOLLOWED, FREE, HELD, run_key
from warmth.sweep.failures import Failures
from warmth.sweep.jobs import Job
from warmth.sweep.states import State, state_of
from warmth.text import say

POLL_S = 5.0  # between two looks at a training that is waited for


class Backlog:
    """What is left of a sweep."""

    def __init__(
        self,
        jobs: Sequence[Job],
        failures: Failures,
        commands: Mapping[Path, Path] | None = None,
        folders: Callable[[Any], list[Path]] | None = None,
        is_coming: Callable[[Path], bool] = lambda folder: False,
        is_queued: Callable[[str], bool] = lambda number: False,
    ):
        """Take the jobs; nothing is looked at yet.

        Args:
            jobs: distinct, in the order in which they start.
            failures: collects what goes wrong.
            commands: this command's file in each study's folder; None: nothing is claimed.
            folders: says which run folders a config means, once its adapters are there.
            is_coming: says whether somebody is making a training run, or will.
            is_queued: says whether a scheduler's job waits or runs.
        """
        self.left = list(jobs)
        self.failures = failures
        self.left_alone: list[tuple[Job, str]] = []  # held by others, with the line that says so
        self.failed_elsewhere: list[str] = []  # a line for each job that failed under another
        self.lines: list[str] = []  # all that were printed
        self._commands = dict(commands or {})
        self._folders = folders
        self._is_coming = is_coming
        self._is_queued = is_queued
        self._began = {study: clock(study) for study in self._commands}
        self._taken: list[Job] = []
        self._states_before: dict[Path, State] = {}
        for job in jobs:
            for folder in job.runs:
                self._states_before[folder] = state_of(folder)
        self._looked: dict[str, float] = {}  # when a waiting job's training was last looked at

    @property
    def is_open(self) -> bool:
        """Say whether there is a job left that may be started, now or later."""
        return bool(self.left) and not self.failures.reached

    def take(self) -> Job | None:
        """Claim the next job that may start now; None if there is none, though others may become
        free later.
        """
        for job in list(self.left):
            if self.failures.reached:
                return None
            if job.waits_for and not self._is_trained(job):
                continue
            verdict, line = self._claim(job)
            self.left.remove(job)
            if verdict in (FREE, FOLLOWED):
                self._taken.append(job)
            if verdict == FAILED:
                self._note_failed_elsewhere(job, line)
            elif verdict == HELD:
                self.left_alone.append((job, line))
                self.say(line)
            elif verdict == FOLLOWED:
                self.say(line)
                return job
            elif verdict == FREE:
                return job
        return None

    def ended(
        self, job: Job, error: BaseException | None = None, ended: float | None = None
    ) -> None:
        """Note how a job ended, and give its claims back."""
        if error is not None:
            self.failures.add(job.name, error, job.log, ended)
        self.release(job)

    def lines_at_the_end(self) -> list[str]:
        """Return the lines on jobs that other commands hold, or failed at, for the table's end."""
        lines = [line for _, line in self.left_alone]
        return lines + self.failed_elsewhere

    def release(self, job: Job) -> None:
        """Give the claims on a job's runs back."""
        if not self._commands:
            return
        for folder in job.runs:
            claims.release(folder)

    def close(self) -> None:
        """Give back all claims but those on what a scheduler has, which goes on without this
        command.
        """
        for job in self._taken:
            if job.number is None:
                self.release(job)

    def look_again(self) -> bool:
        """Put back the jobs that others held and have left undone; say whether there is one."""
        held = self.left_alone
        self.left_alone = []
        for job, line in held:
            verdict, failure = self._look(job)
            if verdict in (FREE, FOLLOWED):
                self.left.append(job)
            elif verdict == FAILED:
                self._note_failed_elsewhere(job, failure)
            else:
                self.left_alone.append((job, line))
        return bool(self.left) and not self.failures.reached

    def say(self, line: str) -> None:
        """Print a line for the user on standard error, once."""
        if line not in self.lines:
            self.lines.append(line)
            say(line)

    def _claim(self, job: Job) -> tuple[str, str]:
        """Look at a job once more and take its runs, in one step."""
        if not self._commands or not job.runs:
            return self._look(job)
        looks: list[tuple[str, str]] = []

        def look() -> str:
            looks.append(self._look(job))
            return looks[-1][0]

        taken: list[Path] = []
        for folder in job.runs:
            if not claims.take(folder, self._commands[claims.study_of(folder)], look):
                for claimed in taken:
                    claims.release(claimed)
                return looks[-1]
            taken.append(folder)
        if looks[0][0] == FREE and job.study.rerun == "all":
            for folder in job.runs:
                Run(folder).put_aside()
        return looks[0]

    def _look(self, job: Job) -> tuple[str, str]:
        """Say what is to be done about a job now, and the line for a user where it is not simply
        started.
        """
        for folder in job.runs:
            claim = None
            if self._commands:
                claim = claims.read_claim(folder)
            study = claims.study_of(folder)
            if claim is not None and study / claim.command == self._commands.get(study):
                claim = None
            if claim is not None and claim.is_held(study):
                holding = "held"
                if claim.job:
                    holding = f"submitted as job {claim.job}"
                line = f"{job.name} is {holding} by another command on {claim.host}: left alone"
                return HELD, line
            if claim is not None and claim.job and self._is_queued(claim.job):
                job.number = claim.job
                job.log = None
                if claim.log:
                    job.log = Path(claim.log)
                line = (
                    f"{job.name} is job {claim.job}, which an earlier command submitted: followed"
                )
                return FOLLOWED, line
            state = state_of(folder)
            if state.name == "running":
                return HELD, f"{job.name} is running on {state.host}: left alone"
            if self._has_failed_elsewhere(folder, state):
                return FAILED, state.message or state.name
            if job.study.rerun == "none" and state.name in ("failed", "not scored"):
                return HELD, f"{job.name} has failed before: left as it is (rerun=none)"
        if job.runs and self._is_done(job):
            return DONE, ""
        return FREE, ""

    def _has_failed_elsewhere(self, folder: Path, state: State) -> bool:
        """Say whether a run failed under another command since this one started.

        A failure from before the start is tried again. So is a run that was killed together with
        its command; if the command lived on, it has written down what ended the run.
        """
        is_own = any(folder in job.runs for job in self._taken)
        if is_own or state == self._states_before.get(folder):
            return False
        is_failure = state.name in ("failed", "not scored")
        return is_failure or (state.name == "killed" and bool(state.message))

    def _note_failed_elsewhere(self, job: Job, reason: str) -> None:
        """Count a job that failed under another command as failed, and say so."""
        self.failures.add(job.name, RunFailed(f"failed in another command: {reason}"), job.log)
        line = (
            f"failed {job.name} in another command: {reason}; not tried again by this command, "
            f"but by the next one"
        )
        self.failed_elsewhere.append(line)
        self.say(line)

    def _is_done(self, job: Job) -> bool:
        """Say whether there is nothing left to do; under rerun=all, whether another command has
        just done it.
        """
        if job.study.rerun == "all":
            return all(self._is_new(folder) for folder in job.runs)
        return job.is_done()

    def _is_new(self, folder: Path) -> bool:
        """Say whether a run was finished, by another command, since this one began: rerun=all makes
        it once.
        """
        began = self._began.get(claims.study_of(folder))
        try:
            return (
                began is not None
                and Run(folder).done
                and (folder / "done.json").stat().st_mtime > began
            )
        except OSError:
            return False

    def _is_trained(self, job: Job) -> bool:
        """Say whether the trainings that a job waits for are done; one that will not be fails the
        job.
        """
        now = time.monotonic()
        if now - self._looked.get(job.label, -POLL_S) < POLL_S:
            return False
        self._looked[job.label] = now
        for training in list(job.waits_for):
            state = state_of(training)
            if state.name == "done":
                job.waits_for.remove(training)
                continue
            if self._is_coming(training):
                self.say(f"{job.name}: waiting for its training {run_key(training)}")
                return False
            line = f"its training {run_key(training)} is {state.name}"
            if state.message:
                line += f": {state.message}"
            self._give_up(job, RunFailed(line))
            return False
        try:
            if self._folders is not None:
                job.folders = self._folders(job.study)
        except UserError as error:
            self._give_up(job, error)
            return False
        return True

    def _give_up(self, job: Job, error: BaseException) -> None:
        self.left.remove(job)
        job.note = one_line(error)
        self.failures.add_consequence(job.name, error)
        self.say(f"failed {job.name}: {job.note}")
