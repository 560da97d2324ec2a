"""Jobs for a scheduler, on a made-up cluster: what is submitted when, and never more at once than
is allowed.
"""

import itertools
from dataclasses import replace

import pytest

from warmth.errors import UserError
from warmth.schemas import Train
from warmth.store import Run
from warmth.sweep import claims, slurm
from warmth.sweep.backlog import Backlog
from warmth.sweep.commands import SweepCommand
from warmth.sweep.failures import Failures
from warmth.sweep.jobs import Job
from warmth.sweep.slurm import JobNeeds, Slurm


class Cluster:
    """Runs the jobs of each array up to its throttle; a look at the queue is a moment, in which
    what runs ends.
    """

    def __init__(self, failing=()):
        self.numbers = itertools.count(1)
        self.failing = failing
        self.throttles, self.waiting, self.running = {}, {}, {}
        self.submitted, self.most, self.cancelled = [], 0, []

    def submit(self, launcher, group, at_once):
        array = str(next(self.numbers))
        self.throttles[array] = at_once
        self.waiting[array] = {f"{array}_{index}": job for index, job in enumerate(group.jobs)}
        self.submitted += [job.name for job in group.jobs]
        return list(self.waiting[array])

    def queue(self, ids):
        for job in self.running.values():
            if job.study.seed in self.failing:
                run = Run(job.runs[0]).open(job.study)
                run.status("failed", "broke")
                run.close()
            else:
                with Run(job.runs[0]).open(job.study) as run:
                    run.finish({})
        self.running = {}
        for array, jobs in self.waiting.items():
            for number in list(jobs)[: self.throttles[array]]:
                self.running[number] = jobs.pop(number)
        self.most = max(self.most, len(self.running))
        queued = {number for jobs in self.waiting.values() for number in jobs} | set(self.running)
        return queued & set(ids)

    def call(self, command, **_):
        if command[0] == "scancel":
            self.cancelled = command[1:]
            for number in self.cancelled:
                self.running.pop(number, None)
                self.waiting[number.split("_")[0]].pop(number, None)
        elif command[:2] == ["scontrol", "update"]:
            array, throttle = (word.split("=")[1] for word in command[2:])
            self.throttles[array] = int(throttle)
        return type("Result", (), {"returncode": 0, "stdout": "", "stderr": ""})()


@pytest.fixture
def cluster(monkeypatch):
    def make(minutes, failing=()):
        made = Cluster(failing)
        monkeypatch.setattr(
            Slurm, "_submit", lambda launcher, group, share: made.submit(launcher, group, share)
        )
        monkeypatch.setattr(
            Slurm, "need", lambda launcher, job: JobNeeds(1, 0, 2, 8, minutes[job.study.seed])
        )
        monkeypatch.setattr(slurm, "in_queue", made.queue)
        monkeypatch.setattr(slurm.subprocess, "run", made.call)
        monkeypatch.setattr(slurm, "GRACE_S", 0.0)
        return made

    return make


def jobs(output, number):
    found = []
    for seed in range(number):
        study = replace(Train(), seed=seed, output=str(output), study="s")
        found.append(
            Job(
                "train",
                [f"seed={seed}"],
                study,
                [output / "s" / "train" / f"m-warm-s{seed}-{seed:012x}"],
            )
        )
    return found


def follow(output, number, most=None, **settings):
    with SweepCommand(output / "s" / "sweeps") as command:
        backlog = Backlog(jobs(output, number), Failures(most), {output / "s": command.path})
        Slurm(poll_s=0.0, **settings).carry_out(backlog)
        backlog.close()
    return backlog


def test_jobs_of_many_needs_are_one_limit_together_and_each_is_submitted_once(cluster, tmp_path):
    made = cluster([15, 15, 30, 30, 45, 45, 60, 75, 90, 90, 90, 90])
    backlog = follow(tmp_path, 12, at_once=4)
    assert made.most == 4
    assert sorted(made.submitted) == sorted(job.name for job in jobs(tmp_path, 12))
    assert not backlog.failures.ends and all(Run(job.runs[0]).done for job in jobs(tmp_path, 12))
    assert not list(tmp_path.rglob("*.claim"))


def test_places_that_an_array_leaves_are_used_by_another(cluster, tmp_path):
    made = cluster([15] * 2 + [30] * 10)
    follow(tmp_path, 12, at_once=4)
    assert made.most == 4 and made.throttles["2"] == 4  # it began with fewer


def test_what_is_cancelled_after_failures_is_no_failure_itself(cluster, tmp_path, capsys):
    made = cluster([15] * 6, failing=(0,))
    backlog = follow(tmp_path, 6, most=1, at_once=2)
    assert [name.split("/")[2] for name in backlog.failures.ends] == ["m-warm-s0-000000000000"]
    assert len(made.cancelled) == 4
    assert (
        "stopping after 1 failures (stop_after_failures=1): 4 jobs are cancelled"
        in capsys.readouterr().err
    )
    assert not list(tmp_path.rglob("*.claim"))


def test_a_job_of_an_earlier_command_is_followed_and_said_and_none_submitted_again(
    cluster, tmp_path, capsys
):
    made = cluster([15] * 3)
    (earlier, *_) = jobs(tmp_path, 1)
    with SweepCommand(tmp_path / "s" / "sweeps") as command:
        assert claims.take(earlier.runs[0], command.path, lambda: claims.FREE)
        claims.note_job(earlier.runs[0], "99_0", tmp_path / "log")
    made.throttles["99"], made.waiting["99"] = 1, {"99_0": earlier}
    with SweepCommand(tmp_path / "s" / "sweeps") as command:
        failures = Failures(None)
        backlog = Backlog(
            jobs(tmp_path, 3),
            failures,
            {tmp_path / "s": command.path},
            is_queued=lambda number: number == "99_0",
        )
        Slurm(poll_s=0.0, at_once=2).carry_out(backlog)
    assert len(made.submitted) == 2 and earlier.name not in made.submitted
    assert (
        f"{earlier.name} is job 99_0, which an earlier command submitted: followed"
        in capsys.readouterr().err
    )
    assert Run(earlier.runs[0]).done and made.most == 2


def test_a_job_that_is_followed_can_be_followed_again(tmp_path):
    (job,) = jobs(tmp_path, 1)
    folder = job.runs[0]
    with SweepCommand(tmp_path / "s" / "sweeps") as command:
        claims.take(folder, command.path, lambda: claims.FREE)
        claims.note_job(folder, "99_0", tmp_path / "log")
    for _ in range(2):  # each command is interrupted: its claims stay with the scheduler's job
        with SweepCommand(tmp_path / "s" / "sweeps") as command:
            backlog = Backlog(
                jobs(tmp_path, 1), Failures(None), {tmp_path / "s": command.path}, is_queued=bool
            )
            followed = backlog.take()
            backlog.close()
        assert followed is not None and (followed.number, followed.log) == (
            "99_0",
            tmp_path / "log",
        )
    with SweepCommand(
        tmp_path / "s" / "sweeps"
    ) as command:  # the job has left the queue: its run is free
        backlog = Backlog(jobs(tmp_path, 1), Failures(None), {tmp_path / "s": command.path})
        assert backlog.take().number is None
        assert claims.read_claim(folder).job is None


def test_a_refused_submission_gives_its_claims_back(cluster, tmp_path, monkeypatch):
    cluster([15] * 3)

    def refuse(launcher, group, share):
        raise UserError("Slurm refuses the jobs: no partition")

    monkeypatch.setattr(Slurm, "_submit", refuse)
    with (
        pytest.raises(UserError, match="no partition"),
        SweepCommand(tmp_path / "s" / "sweeps") as command,
    ):
        backlog = Backlog(jobs(tmp_path, 3), Failures(None), {tmp_path / "s": command.path})
        try:
            Slurm(poll_s=0.0).carry_out(backlog)
        finally:
            backlog.close()
    assert not list(tmp_path.rglob("*.claim"))


def test_places_are_shared_by_size_and_each_group_has_one_as_long_as_there_are_any():
    assert slurm.divided([16, 4], 10) == [8, 2]
    assert slurm.divided([5, 5, 5], 2) == [1, 1, 0]
    assert slurm.divided([1, 1], 10) == [1, 1]
    assert slurm.divided([], 3) == [] and slurm.divided([3], 0) == [0]


def test_what_slurm_did_to_a_job_is_read_from_its_log(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "step 1\nslurmstepd: error: *** JOB 7 ON node CANCELLED AT 2026-11-30 DUE TO TIME LIMIT "
        "***\n"
    )
    assert slurm.scheduler_line(log) == "JOB 7 ON node CANCELLED AT 2026-11-30 DUE TO TIME LIMIT"
    assert slurm.scheduler_line(None) == ""
