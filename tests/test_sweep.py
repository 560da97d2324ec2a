"""A sweep starts what is left to do, once, and its end says what became of everything."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from warmth import entry
from warmth.digest import ROOT, training_digest
from warmth.errors import RunFailed, UserError
from warmth.evaluation.points import folders_of
from warmth.schemas import Evaluate, Train, register
from warmth.store import Run, read_json, run_folder
from warmth.sweep import chain, view
from warmth.sweep.grid import Grid
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
        return folders_of(study)


class Carrier:
    """A launcher that finishes runs at once, fails those of the named seeds, and notes what it was given."""

    def __init__(self, failing=()):
        self.failing, self.started = failing, []

    def carry_out(self, jobs, failures):
        for job in jobs:
            if failures.reached:
                return
            self.started.append(job.study.seed)
            for folder in job.runs:
                try:
                    with Run(folder).open(job.study) as run:
                        if job.study.seed in self.failing:
                            raise RunFailed("broke")
                        (folder / "checkpoints" / "epoch-1").mkdir(parents=True, exist_ok=True)
                        run.finish({"loss": 1.0, "graders": {}})
                except RunFailed as error:
                    failures.errors[job.name] = error


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
    assert run(sweep("seed=0,1", "rerun=all"), every := Carrier()) == "done" and every.started == [0, 1]


def test_a_sweep_stops_after_so_many_failures(sweep):
    carrier = Carrier(failing=(0, 2))
    assert "stopped after 2" in run(sweep("seed=range(0,5)", "stop_after_failures=2"), carrier)
    assert carrier.started == [0, 1, 2]


def test_equal_jobs_run_once_and_what_trains_nothing_is_one_line(sweep, capsys):
    carrier = Carrier()
    run(sweep("recipe=demo,none", "seed=0,1", "launcher.per_device=1,2"), carrier)
    assert carrier.started == [0, 1]
    assert capsys.readouterr().err.count("recipe=none trains nothing: skipped\n") == 2  # said once, and in the summary


def test_the_summary_is_kept_also_after_an_interrupt(sweep, tmp_path):
    class Interrupted(Carrier):
        def carry_out(self, jobs, failures):
            super().carry_out(jobs[:1], failures)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep("seed=0,1").run(Interrupted())
    (path,) = tmp_path.glob("default/sweeps/*.json")
    rows = json.loads(path.read_text())["runs"]
    assert [row["state"] for row in rows] == ["done", "not started"] and rows[0]["figures"] == {"loss": 1.0}
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
        (folder / "status.json").write_text(json.dumps({**status, "host": "another", "state": "running"}))
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


def test_an_evaluation_waits_for_an_adapter_that_is_being_trained(sweep, monkeypatch):
    study = sweep("recipe=demo").jobs[0].study
    folder = TrainTask.folders(study)[0]
    training = Run(folder).open(study)
    looks = []

    def finish(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            (folder / "checkpoints" / "epoch-1").mkdir(parents=True)
            training.finish({})
            training.close()

    monkeypatch.setattr("warmth.sweep.sweep.sleep", finish)
    order = []
    carrier = Carrier()
    carry = carrier.carry_out
    carrier.carry_out = lambda jobs, failures: (order.extend(j.study.recipe.name for j in jobs), carry(jobs, failures))
    whole = sweep("recipe=demo,none", task=EvaluateTask)
    monkeypatch.setattr("warmth.sweep.jobs.is_complete", lambda study, folder: Run(folder).done)
    assert run(whole, carrier) == "done"
    assert len(looks) == 3 and order == ["none", "demo"]  # what needs no waiting goes first


def test_the_evaluations_that_follow_are_part_of_the_sweep(sweep, loader, monkeypatch):
    monkeypatch.setattr("warmth.sweep.jobs.is_complete", lambda study, folder: Run(folder).done)
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
    assert run(sweep("recipe=demo,none", "seed=0,1", "evaluate=demo_evaluate"), again := Carrier()) == "done"
    assert again.started == []


def test_a_wrong_experiment_to_follow_is_refused(sweep):
    with pytest.raises(UserError, match="evaluate=nonsense .*default, .*demo_evaluate"):
        sweep("evaluate=nonsense").run(Carrier())


def test_sigterm_ends_a_command_with_its_own_code_and_keeps_the_run(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from warmth import entry; from warmth.schemas import Train;"
        "from warmth.store import Run\n"
        "def main(study):\n"
        "    with Run(Path(sys.argv[2].split('=')[1]) / 'run').open(study):\n"
        "        print('held', flush=True); time.sleep(60)\n"
        "entry.command('train', lambda study: [])(main)()"
    )
    words = [sys.executable, "-c", code, "logger=none", f"output={tmp_path}"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout.readline() == "held\n"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143 and err.startswith("error: ended by SIGTERM") and err.count("\n") == 1
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "interrupted"


def test_only_machine_0_of_a_run_starts_it_anew_and_goes_on_to_its_evaluation(loader, tmp_path, monkeypatch):
    words = [
        f"output={tmp_path}",
        "logger=none",
        "launcher=deepspeed_zero2",
        "launcher.nodes=2",
        "rerun=all",
        "evaluate=default",
    ]
    first, second = (Grid(loader, "train", Train).accept([*words, f"launcher.node={node}"]) for node in (0, 1))
    (folder,) = TrainTask.folders(first)
    followed, ran = [], []
    monkeypatch.setattr(chain, "evaluate", lambda study, folders: followed.append(study.launcher["node"]))

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
    lines = [view.look(folder) for folder in view.runs(tmp_path, None)]
    assert {line.run: line.state for line in lines} == {strange.name: "unreadable", plain.name: "failed"}
