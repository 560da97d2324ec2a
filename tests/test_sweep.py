"""A sweep starts what is left to do, once, and its end says what became of everything."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from warmth import entry
from warmth.digest import ROOT, training_digest
from warmth.errors import RunFailed, UserError
from warmth.evaluation.points import folders_of_points
from warmth.schemas import Evaluate, Train, register
from warmth.store import Run, read_json, run_folder
from warmth.sweep import chain, table, view
from warmth.sweep.claims import RunClaim, claim_path
from warmth.sweep.grid import SweepGrid
from warmth.sweep.sweep import Sweep


class TrainTask:
    name, schema = "train", Train

    @staticmethod
    def folders(study):
        return [run_folder(study, "train", training_digest(study))]


class EvaluateTask:
    name, schema = "evaluate", Evaluate

    @staticmethod
    def folders(study):
        return folders_of_points(study)


class Carrier:
    """A launcher that finishes runs at once, fails those of the named seeds, and notes what it was
    given.
    """

    def __init__(self, failing=()):
        self.failing, self.started = failing, []

    def carry_out(self, backlog):
        while backlog.is_open:
            job = backlog.take()
            if job is not None:
                self.carry(job, backlog)

    def carry(self, job, backlog):
        self.started.append(job.study.seed)
        failure = None
        for folder in job.runs:
            try:
                with Run(folder).open(job.study) as run:
                    if job.study.seed in self.failing:
                        raise RunFailed("broke")
                    (folder / "checkpoints" / "epoch-1").mkdir(parents=True, exist_ok=True)
                    run.finish({"loss": 1.0, "graders": {}})
            except RunFailed as error:
                failure = error
        backlog.ended(job, failure)


@pytest.fixture(scope="module")
def loader():
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


@pytest.fixture
def sweep(loader, tmp_path):
    def make(*arguments, task=TrainTask):
        return Sweep(loader, task, [], ["logger=none", f"output={tmp_path}", *arguments])

    return make


def run(sweep, carrier):
    try:
        sweep.run(carrier)
    except (RunFailed, UserError) as error:
        return str(error)
    return "done"


def test_the_same_command_starts_only_what_is_left(sweep, capsys):
    carrier = Carrier(failing=(1,))
    assert "broke" in run(sweep("seed=0,1,2"), carrier) and carrier.started == [0, 1, 2]
    again = Carrier()
    assert run(sweep("seed=0,1,2,3"), again) == "done" and again.started == [1, 3]
    assert run(sweep("seed=0,1,2,3"), third := Carrier()) == "done" and third.started == []


def test_rerun_says_what_happens_to_runs_there_are(sweep):
    run(sweep("seed=0,1"), Carrier(failing=(1,)))
    assert run(sweep("seed=0,1", "rerun=none"), left := Carrier()) != "done" and left.started == []
    assert run(sweep("seed=0,1", "rerun=all"), every := Carrier()) == "done" and every.started == [
        0,
        1,
    ]


def test_a_sweep_stops_after_so_many_failures(sweep):
    carrier = Carrier(failing=(0, 2))
    assert "stopped after 2" in run(sweep("seed=range(0,5)", "stop_after_failures=2"), carrier)
    assert carrier.started == [0, 1, 2]


def test_equal_jobs_run_once_and_what_trains_nothing_is_one_line(sweep, capsys):
    carrier = Carrier()
    run(sweep("recipe=demo,none", "seed=0,1", "launcher.per_device=1,2"), carrier)
    assert carrier.started == [0, 1]
    assert (
        capsys.readouterr().err.count("recipe=none trains nothing: skipped\n") == 2
    )  # said once, and in the summary


def test_the_summary_is_kept_also_after_an_interrupt(sweep, tmp_path):
    class Interrupted(Carrier):
        def carry(self, job, backlog):
            super().carry(job, backlog)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep("seed=0,1").run(Interrupted())
    (path,) = tmp_path.glob("default/sweeps/*.json")
    rows = json.loads(path.read_text())["runs"]
    assert [row["state"] for row in rows] == ["done", "not started"] and rows[0]["figures"] == {
        "loss": 1.0
    }
    run(sweep("seed=0,1"), Carrier())
    assert [row["state"] for row in json.loads(path.read_text())["runs"]] == ["done", "done"]


def test_a_run_under_way_elsewhere_is_left_alone_and_a_dead_one_is_not(sweep):
    whole = sweep("seed=0,1")
    folder = TrainTask.folders(whole.jobs[0].study)[0]
    held = Run(folder).open(whole.jobs[0].study)
    assert "1 of 2 runs are not done" in run(whole, first := Carrier()) and first.started == [1]
    status = json.loads((folder / "status.json").read_text())
    held.close()
    assert run(sweep("seed=0,1"), second := Carrier()) == "done" and second.started == [0]
    # The same from another machine: its lock cannot be seen, how lately it was touched can.
    for age, started in ((10, []), (1000, [0])):
        (folder / "done.json").unlink()
        (folder / "status.json").write_text(
            json.dumps({**status, "host": "another", "state": "running"})
        )
        Path(f"{folder}.lock").touch()
        os.utime(f"{folder}.lock", (time.time() - age,) * 2)
        run(sweep("seed=0,1"), carrier := Carrier())
        assert carrier.started == started
        (folder / "done.json").touch()


def test_a_clock_that_is_wrong_by_hours_makes_no_live_run_stale(sweep, monkeypatch):
    job = sweep("seed=0").jobs[0]
    folder = TrainTask.folders(job.study)[0]
    Run(folder).open(job.study).close()
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**status, "host": "another", "time": 0}))
    Path(f"{folder}.lock").touch()
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert Run(folder).is_held()


def test_a_deleted_folder_is_made_again_and_no_other(sweep, tmp_path):
    run(sweep("seed=0,1,2"), Carrier())
    (folder,) = (tmp_path / "default" / "train").glob("*-s1-*[0-9a-f]")
    shutil.rmtree(folder)
    assert run(sweep("seed=0,1,2"), again := Carrier()) == "done" and again.started == [1]
    assert Run(folder).done


def test_a_folder_copied_by_half_is_made_whole(sweep):
    run(sweep("seed=0"), Carrier())
    folder = TrainTask.folders(sweep("seed=0").jobs[0].study)[0]
    (folder / "summary.json").unlink()
    assert not Run(folder).done
    assert run(sweep("seed=0"), carrier := Carrier()) == "done" and carrier.started == [0]
    assert (folder / "summary.json").exists()


def test_missing_adapters_are_named_before_anything_starts(sweep, capsys):
    carrier = Carrier()
    line = run(sweep("recipe=none,warm,cold", task=EvaluateTask), carrier)
    assert "2 adapters are missing" in line and carrier.started == []
    told = capsys.readouterr().err
    assert "python train.py model=smollm2 recipe=warm" in told and "recipe=cold" in told


@pytest.fixture
def quick_looks(monkeypatch):
    """Trainings that are waited for are looked at without a pause, and an evaluation is complete
    once it is done.
    """
    monkeypatch.setattr("warmth.sweep.backlog.POLL_S", 0.0)
    monkeypatch.setattr("warmth.sweep.jobs.is_run_complete", lambda study, folder: Run(folder).done)


def test_an_evaluation_waits_for_its_own_training_alone(sweep, quick_looks):
    trainings = {recipe: sweep(f"recipe={recipe}").jobs[0].study for recipe in ("demo", "warm")}
    folders = {recipe: TrainTask.folders(study)[0] for recipe, study in trainings.items()}
    held = {recipe: Run(folder).open(trainings[recipe]) for recipe, folder in folders.items()}
    order = []

    class Training(Carrier):
        """Between two looks, the training of `warm` ends first, that of `demo` second."""

        def carry_out(self, backlog):
            while backlog.is_open:
                job = backlog.take()
                if job is not None:
                    order.append(job.study.recipe.name)
                    self.carry(job, backlog)
                    continue
                recipe = "warm" if "warm" in held else "demo"
                epochs = trainings[recipe].recipe.report_checkpoint
                (folders[recipe] / "checkpoints" / f"epoch-{epochs:g}").mkdir(parents=True)
                (folders[recipe] / "checkpoints" / "epoch-1").mkdir(parents=True, exist_ok=True)
                held[recipe].finish({})
                held.pop(recipe).close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warmth.evaluation.answer.arms.check_file", lambda folder: None)
        assert run(sweep("recipe=demo,warm,none", task=EvaluateTask), Training()) == "done"
    assert order == ["none", "warm", "demo"]


def test_a_failed_training_fails_its_evaluation_and_the_others_go_on(
    sweep, quick_looks, monkeypatch, capsys
):
    monkeypatch.setattr("warmth.evaluation.answer.arms.check_file", lambda folder: None)
    studies = [sweep(f"recipe={recipe}").jobs[0].study for recipe in ("demo", "warm")]
    failing, finishing = (Run(TrainTask.folders(study)[0]).open(study) for study in studies)
    started = []

    class Meeting(Carrier):
        """While the original is evaluated, one training fails and the other ends."""

        def carry(self, job, backlog):
            if not started:
                failing.status("failed", "out of memory")
                failing.close()
                for epochs in studies[1].recipe.checkpoints:
                    (finishing.folder / "checkpoints" / f"epoch-{epochs:g}").mkdir(parents=True)
                finishing.finish({})
                finishing.close()
            started.append(job.study.recipe.name)
            super().carry(job, backlog)

    said = run(
        sweep("recipe=demo,warm,none", "stop_after_failures=1", task=EvaluateTask), Meeting()
    )
    assert started == ["none", "warm"]
    assert f"its training default/train/{failing.folder.name} is failed: out of memory" in said
    assert "2 of 3 done" in capsys.readouterr().err


def test_a_finished_evaluation_needs_no_folder_of_its_training(sweep, quick_looks, monkeypatch):
    monkeypatch.setattr("warmth.evaluation.answer.arms.check_file", lambda folder: None)
    study = sweep("recipe=demo").jobs[0].study
    (folder,) = TrainTask.folders(study)
    with Run(folder).open(study) as training:
        for epochs in study.recipe.checkpoints:
            (folder / "checkpoints" / f"epoch-{epochs:g}").mkdir(parents=True)
        training.finish({})
    assert run(
        sweep("recipe=demo", task=EvaluateTask), first := Carrier()
    ) == "done" and first.started == [0]
    shutil.rmtree(folder)
    assert (
        run(sweep("recipe=demo", task=EvaluateTask), again := Carrier()) == "done"
        and again.started == []
    )
    with pytest.raises(
        UserError, match=r"job \[.*limit=3.*\]: .* make its adapter with: python train.py"
    ):
        sweep("recipe=demo", "limit=3", task=EvaluateTask).run(Carrier())


def test_a_training_on_the_list_of_a_living_command_is_waited_for(sweep, quick_looks):
    order = []

    class Both(Carrier):
        """While the training sweep is at its first job, the evaluations of both are asked for."""

        def carry(self, job, backlog):
            if not order:
                order.append("asked")
                evaluations = sweep("recipe=demo", "seed=0,1", task=EvaluateTask)
                evaluations._find_runs()
                order.extend(len(job.waits_for) for job in evaluations.jobs)
            super().carry(job, backlog)

    run(sweep("recipe=demo", "seed=0,1"), Both())
    assert order == ["asked", 1, 1]


def test_a_training_that_has_failed_in_a_living_command_refuses_no_other_evaluation(
    sweep, quick_looks
):
    waits = []

    class Both(Carrier):
        """The first training has failed, and the sweep is at its second, when evaluations of both
        are asked for.
        """

        def carry(self, job, backlog):
            if job.study.seed == 1:
                evaluations = sweep("recipe=demo", "seed=0,1", task=EvaluateTask)
                evaluations._find_runs()
                waits.extend(len(job.waits_for) for job in evaluations.jobs)
            super().carry(job, backlog)

    assert "broke" in run(sweep("recipe=demo", "seed=0,1"), Both(failing=(0,)))
    assert waits == [1, 1]


def test_the_evaluations_that_follow_are_part_of_the_sweep(sweep, loader, monkeypatch):
    monkeypatch.setattr("warmth.sweep.jobs.is_run_complete", lambda study, folder: Run(folder).done)
    whole = sweep("recipe=demo,none", "seed=0,1", "evaluate=demo_evaluate")
    whole._find_runs()
    (job, *_) = whole._distinct()
    (study, folder) = job.follow[0]
    assert (study.seed, study.recipe, study.scoring) == (0, job.study.recipe, "both")
    assert folder.parent.name == "evaluate" and folder.name.startswith("smollm2-demo-s0-")
    carrier = Carrier()
    assert run(whole, carrier) == "done" and sorted(carrier.started) == [
        0,
        0,
        1,
    ]  # none has one evaluation for all seeds
    assert (
        run(sweep("recipe=demo,none", "seed=0,1", "evaluate=demo_evaluate"), again := Carrier())
        == "done"
    )
    assert again.started == []


def test_a_wrong_experiment_to_follow_is_refused(sweep):
    with pytest.raises(UserError, match="evaluate=nonsense .*default, .*demo_evaluate"):
        sweep("evaluate=nonsense").run(Carrier())


def test_sigterm_ends_a_command_with_its_own_code_and_keeps_the_run(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from warmth import entry; from "
        "warmth.schemas import Train;"
        "from warmth.store import Run\n"
        "def main(study):\n"
        "    with Run(Path(sys.argv[2].split('=')[1]) / 'run').open(study):\n"
        "        print('held', flush=True); time.sleep(60)\n"
        "entry.hydra_command('train', lambda study: [])(main)()"
    )
    words = [sys.executable, "-c", code, "logger=none", f"output={tmp_path}"]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout.readline() == "held\n"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert (
        process.returncode == 143
        and err.startswith("error: ended by SIGTERM")
        and err.count("\n") == 1
    )
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "interrupted"


def test_only_machine_0_of_a_run_starts_it_anew_and_goes_on_to_its_evaluation(
    loader, tmp_path, monkeypatch
):
    words = [
        f"output={tmp_path}",
        "logger=none",
        "launcher=deepspeed_zero2",
        "launcher.nodes=2",
        "rerun=all",
        "evaluate=default",
    ]
    first, second = (
        SweepGrid(loader, "train", Train).accept([*words, f"launcher.node={node}"])
        for node in (0, 1)
    )
    (folder,) = TrainTask.folders(first)
    followed, ran = [], []
    monkeypatch.setattr(
        chain, "evaluate_after", lambda study, folders: followed.append(study.launcher["node"])
    )

    def train_anew(study):
        if study.launcher["node"] == 0:  # the other machine joins the run that this one opens
            with Run(folder).open(study) as run:
                run.finish({"loss": 2.0})
        ran.append((study.launcher["node"], read_json(folder / "summary.json")["loss"]))

    with Run(folder).open(second) as run:
        run.finish({"loss": 1.0})
    for study in (second, first):
        entry.carry_out(study, train_anew, TrainTask.folders)
    assert ran == [(1, 1.0), (0, 2.0)]
    assert followed == [0]


def test_two_users_may_share_a_study_folder(tmp_path):
    if os.getuid():
        pytest.skip("needs root to be somebody else")
    train = tmp_path / "study" / "train"
    train.mkdir(parents=True)
    for parent in (train, *train.parents):
        if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(0o755)
    with Run(train / "done").open(Train()) as mine:
        mine.finish({})
    with Run(train / "held").open(Train()):
        other = os.fork()
        if not other:  # what follows is seen by the exit code alone
            os.setuid(65534)
            try:
                Run(train / "held").open(Train())
            except UserError as error:
                ours = Run(train / "done").done and not Run(train / "done").is_held()
                os._exit(0 if ours and "in use" in str(error) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 0


def test_studies_differ_by_what_was_asked(sweep):
    jobs = sweep("seed=0,1").jobs
    assert replace(jobs[0].study, seed=1) == jobs[1].study


@pytest.mark.parametrize("content", ['{"step": 1}', "[]", "null"])
def test_one_strange_run_hides_no_other_in_the_overview(content, tmp_path):
    strange = tmp_path / "s" / "train" / "m-warm-s0-000000000000"
    strange.mkdir(parents=True)
    for name in ("metrics.jsonl", "config.json", "summary.json"):
        (strange / name).write_text(content + "\n")
    (strange / "status.json").write_text('{"state": "failed", "time": "x", "last_lines": null}')
    plain = tmp_path / "s" / "train" / "m-cold-s0-000000000001"
    plain.mkdir()
    (plain / "status.json").write_text('{"state": "failed", "time": 1, "message": "out of memory"}')
    (study,) = view.overviews(tmp_path)
    lines = study.lines
    assert {line.run: line.state for line in lines} == {
        strange.name: "unreadable",
        plain.name: "failed",
    }


def test_two_studies_of_one_sweep_are_two_runs_and_two_failures(sweep, tmp_path, capsys):
    whole = sweep("study=a,b", "stop_after_failures=2", "seed=0,1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warmth.sweep.plan.print_plan", lambda forecasts: shown.extend(forecasts))
        shown = []
        whole.plan()
    assert len({item.folder for item in shown}) == 4
    carrier = Carrier(failing=(0,))
    said = run(whole, carrier)
    assert carrier.started == [0, 1, 0]  # study=a fails and goes on, study=b fails and stops
    assert said.startswith("a/train/") and "(and 1 more failures); stopped after 2 failures" in said
    assert "sweep: 1 of 4 done, 2 failed, 1 not started" in capsys.readouterr().err
    assert {path.parent.parent.name for path in tmp_path.glob("*/sweeps/*.json")} == {"a", "b"}


def test_experiments_as_an_axis_bring_their_own_axes(loader):
    def recipes(*arguments):
        whole = Sweep(loader, TrainTask, [], ["logger=none", *arguments])
        return [
            (job.study.study, job.study.model.name, job.study.recipe.name) for job in whole.jobs
        ]

    alone = recipes("experiment=demo_train") + recipes("experiment=dose_train")
    assert recipes("experiment=demo_train,dose_train") == alone and len(set(alone)) > 3
    assert recipes("experiment=demo_train", "recipe=warm") == [("demo", "smollm2", "warm")]


def test_to_plan_one_half_of_a_sweep_is_refused(sweep):
    with pytest.raises(UserError, match="plan=true,false is no axis"):
        sweep("plan=true,false")


def test_two_equal_sweeps_at_once_carry_out_each_job_once(sweep, capsys):
    second = Carrier()

    class Meeting(Carrier):
        """While its first job is under way, an equal command starts."""

        def carry(self, job, backlog):
            if not self.started:
                self.started.append(job.study.seed)
                assert "1 of 4 runs are not done: 1 not started" in run(
                    sweep("seed=range(0,4)"), second
                )
                self.started.pop()
            super().carry(job, backlog)

    first = Meeting()
    assert run(sweep("seed=range(0,4)"), first) == "done"
    assert (first.started, second.started) == ([0], [1, 2, 3])
    assert "is held by another command on" in capsys.readouterr().err


def test_what_fails_under_an_equal_command_is_tried_again_by_the_next_one_alone(sweep, capsys):
    messages = []

    class First(Carrier):
        """While its first job is under way, an equal command starts and does the others."""

        def carry(self, job, backlog):
            self.end_job = partial(super().carry, job, backlog)
            messages.append(run(sweep("seed=range(0,3)"), second))

    class Second(Carrier):
        """While its last job is under way, the job of the first command fails."""

        def carry(self, job, backlog):
            super().carry(job, backlog)
            if job.study.seed == 2:
                first.end_job()

    first = First(failing=(0,))
    second = Second()
    assert "broke" in run(sweep("seed=range(0,3)"), first)
    assert (first.started, second.started) == ([0], [1, 2])
    name = TrainTask.folders(sweep("seed=0").jobs[0].study)[0].name
    assert messages == [f"default/train/{name}: failed in another command: broke"]
    err = capsys.readouterr().err
    assert f"failed default/train/{name} in another command: broke; not tried again" in err
    assert run(sweep("seed=range(0,3)"), later := Carrier()) == "done" and later.started == [0]


@pytest.mark.parametrize(
    ("message", "ends", "started"),
    [
        ("killed by SIGKILL", "failed in another command: killed by SIGKILL", [1]),
        ("", "done", [1, 0]),
    ],
)
def test_what_was_killed_has_failed_if_its_command_lives_to_say_so(sweep, message, ends, started):
    study = sweep("seed=0").jobs[0].study
    (folder,) = TrainTask.folders(study)
    other = Run(folder).open(study)

    class Meeting(Carrier):
        def carry(self, job, backlog):
            super().carry(job, backlog)
            if job.study.seed == 1:
                other.close()
                Run(folder).note_killed(message)

    assert ends in run(sweep("seed=0,1"), carrier := Meeting())
    assert carrier.started == started


def test_what_another_command_held_and_left_undone_is_made_in_the_end(sweep):
    study = sweep("seed=0").jobs[0].study
    (folder,) = TrainTask.folders(study)
    other = Run(folder).open(study)

    class Meeting(Carrier):
        def carry(self, job, backlog):
            super().carry(job, backlog)
            if job.study.seed == 1:
                other.close()  # it was killed

    assert run(sweep("seed=0,1"), carrier := Meeting()) == "done"
    assert carrier.started == [1, 0]


def test_the_run_that_failed_first_is_named_with_its_log(sweep, tmp_path):
    class Logging(Carrier):
        def carry(self, job, backlog):
            job.log = tmp_path / f"{job.study.seed}.log"
            super().carry(job, backlog)

    said = run(sweep("seed=0,1,2"), Logging(failing=(1, 2)))
    name = TrainTask.folders(sweep("seed=1").jobs[0].study)[0].name
    assert said == f"default/train/{name}: broke (log: {tmp_path / '1.log'}) (and 1 more failures)"


def test_a_finished_study_on_a_read_only_disk_is_done_and_not_kept(sweep, monkeypatch, capsys):
    assert run(sweep("seed=0,1"), Carrier()) == "done"

    def refuse(path, value):
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr("warmth.sweep.joblist.write_json", refuse)
    monkeypatch.setattr("warmth.sweep.claims.write_json", refuse)
    assert run(sweep("seed=0,1"), again := Carrier()) == "done" and again.started == []
    err = capsys.readouterr().err
    assert "sweep: 2 of 2 done" in err and "summary: not kept: Read-only file system" in err


def test_a_full_disk_names_the_run_and_starts_no_further_one(sweep, tmp_path):
    class Full(Carrier):
        def carry(self, job, backlog):
            self.started.append(job.study.seed)
            with pytest.raises(OSError) as error, Run(job.runs[0]).open(job.study):
                (job.runs[0] / "metrics.partial").touch()
                raise OSError(28, "No space left on device", str(job.runs[0] / "metrics.jsonl"))
            backlog.ended(job, error.value)

    carrier = Full()
    said = run(sweep("seed=0,1,2"), carrier)
    name = TrainTask.folders(sweep("seed=0").jobs[0].study)[0].name
    assert carrier.started == [0] and said.startswith(
        f"default/train/{name}: [Errno 28] No space left on device"
    )
    assert "the disk is full" in said and not list(tmp_path.rglob("*.partial"))


def test_the_list_of_jobs_is_there_while_they_run_and_nothing_else_is_left_behind(sweep, tmp_path):
    class Looking(Carrier):
        def carry(self, job, backlog):
            if not self.started:
                (study,) = view.overviews(tmp_path)
                assert study.heading.startswith("default: 0 of 3 done, 1 starting, 2 waiting")
            super().carry(job, backlog)

    assert run(sweep("seed=0,1,2"), Looking()) == "done"
    (kept,) = (tmp_path / "default" / "sweeps").glob("*.json")
    row = read_json(kept)["runs"][0]
    assert row["overrides"].endswith("seed=0") and row["expected_s"] > 0 and row["state"] == "done"
    assert not [*tmp_path.rglob("*.claim"), *tmp_path.rglob("*.command")]


def test_a_claim_that_a_killed_command_left_on_a_finished_run_is_removed(sweep, tmp_path):
    run(sweep("seed=0"), Carrier())
    (folder,) = TrainTask.folders(sweep("seed=0").jobs[0].study)
    claim = RunClaim("sweeps/host-1-0.command", host="host", pid=1, time=0.0)
    claim_path(folder).write_text(json.dumps(asdict(claim)))
    living = RunClaim(f"sweeps/{os.uname().nodename}-1-0.command", host="host", pid=1, time=0.0)
    with FileLock(str(tmp_path / "default" / living.command)):
        assert run(sweep("seed=0"), Carrier()) == "done"
        assert not list(tmp_path.rglob("*.claim"))
        claim_path(folder).write_text(json.dumps(asdict(living)))
        assert run(sweep("seed=0"), Carrier()) == "done"
        assert list(tmp_path.rglob("*.claim")) == [claim_path(folder)]


def test_an_evaluation_that_follows_waits_while_its_training_trains(sweep, tmp_path, monkeypatch):
    lines = []

    class Looking(Carrier):
        def carry(self, job, backlog):
            training, evaluation = job.runs
            with Run(training).open(job.study) as run:
                lines.extend(view.overviews(tmp_path)[0].lines)
                run.finish({})
            lines.extend(view.overviews(tmp_path)[0].lines)
            super().carry(job, backlog)

    monkeypatch.setattr("warmth.sweep.jobs.is_run_complete", lambda study, folder: Run(folder).done)
    assert run(sweep("recipe=demo", "evaluate=demo_evaluate"), Looking()) == "done"
    states = [(line.stage, line.state) for line in lines]
    assert states == [
        ("train", "running"),
        ("evaluate", "waiting"),
        ("train", "done"),
        ("evaluate", "starting"),
    ]
    training, evaluation = lines[:2]
    assert evaluation.message == f"for its training {training.name}"
    assert "for smollm2-demo-s0" in "".join(row.plain for row in table.table_lines(lines[:2], 160))


def test_the_evaluations_that_follow_are_composed_once(sweep, loader, monkeypatch):
    composed = []
    whole = sweep("recipe=demo,warm", "seed=range(0,10)", "evaluate=demo_evaluate")
    load = loader.load_configuration
    monkeypatch.setattr(
        loader, "load_configuration", lambda *a, **k: (composed.append(a), load(*a, **k))[1]
    )
    whole._find_runs()
    assert len({folder for job in whole.jobs for _, folder in job.follow}) == 20
    assert len(composed) <= 3


def test_rerun_all_makes_what_an_equal_command_has_just_made_no_second_time(sweep):
    run(sweep("seed=0,1"), Carrier())

    class Meeting(Carrier):
        """While its first job is under way, the other command finishes the second."""

        def carry(self, job, backlog):
            super().carry(job, backlog)
            if len(self.started) == 1:
                time.sleep(0.05)
                (folder,) = TrainTask.folders(sweep("seed=1").jobs[0].study)
                with Run(folder).open(job.study) as made:
                    made.finish({"loss": 2.0})

    assert run(sweep("seed=0,1", "rerun=all"), first := Meeting()) == "done"
    assert first.started == [0]


def test_the_evaluation_that_follows_a_training_is_carried_out_under_the_claim_of_its_job(
    sweep, tmp_path, monkeypatch
):
    class Following(Carrier):
        """Its job starts the evaluation's own command, as `chain.evaluate_after` does, while it
        holds the claim.
        """

        def carry(self, job, backlog):
            if job.command == "train" and not self.started:
                self.started.append("train")
                with pytest.MonkeyPatch.context() as patch:
                    patch.setenv(chain.CHAINED, "1")
                    assert run(sweep("recipe=none", "seed=0", task=EvaluateTask), inner) == "done"
            super().carry(job, backlog)

    monkeypatch.setattr("warmth.sweep.jobs.is_run_complete", lambda study, folder: Run(folder).done)
    inner = Carrier()
    run(sweep("recipe=none", "seed=0", "evaluate=default"), Following())
    assert inner.started == [0]
    assert len(list(tmp_path.glob("default/sweeps/*.json"))) == 1
