"""Plans: whole studies offline, their arithmetic, and what runs of one's own teach them."""

import json
from dataclasses import replace

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from warmth import hardware
from warmth.digest import ROOT, training_digest
from warmth.errors import UserError
from warmth.schemas import Evaluate, Train, register
from warmth.store import Run, run_folder
from warmth.sweep import measured, plan, workload
from warmth.sweep.grid import SweepGrid
from warmth.sweep.jobs import Job
from warmth.sweep.slurm import Slurm
from warmth.sweep.sweep import Sweep, evaluation_folders
from warmth.training.schedule import global_batches


def train_folders(study):
    return [run_folder(study, "train", training_digest(study))]


class Task:
    def __init__(self, name):
        self.name, self.schema = name, {"train": Train, "evaluate": Evaluate}[name]
        self.folders = train_folders if name == "train" else evaluation_folders


@pytest.fixture(scope="module")
def loader():
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


@pytest.fixture(autouse=True)
def forget():
    hardware.measured_rows.cache_clear()


def forecasts(loader, name, tmp_path, *words):
    """The plan of an experiment, as its command makes it."""
    command = name.rpartition("_")[2]
    entry = OmegaConf.load(ROOT / "conf" / "experiment" / f"{name}.yaml")
    axes = [f"{key}={value}" for key, value in entry.hydra.sweeper.params.items()]
    sweep = Sweep(
        loader, Task(command), [], [f"experiment={name}", *axes, f"output={tmp_path}", *words]
    )
    found = {}
    for job in sweep.jobs:
        for item in plan.plan_of_job(job.study, sweep.task.folders):
            found.setdefault(item.run, item)
    return list(found.values())


RUNS = {
    "paper_train": 8, "paper_evaluate": 16, "controls_train": 30, "controls_evaluate": 32,
    "dose_train": 8, "dose_evaluate": 41, "parts_train": 15, "parts_evaluate": 16,
}  # fmt: skip


SLOW = ("paper_evaluate", "controls_evaluate")  # ten seconds and more of composing


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in RUNS]
)
def test_every_study_is_planned_offline(loader, tmp_path, name, capsys):
    found = forecasts(loader, name, tmp_path)
    assert len(found) == RUNS[name]
    plan.print_plan(found)
    out = capsys.readouterr().out
    assert f"plan: {RUNS[name]} runs" in out and "hours one after another" in out and "USD" in out
    for item in found:
        assert item.work.tokens > 1e6 and (
            item.devices == 0 or (item.memory_gib > 5 and item.hours > 0.05)
        )
    assert workload.total_usd([bill for item in found for bill in item.work.bills])[0] > 20


def test_the_studys_commands_show_its_counts(loader, capsys):
    base = Sweep(
        loader,
        Task("train"),
        [],
        ["experiment=paper_train", "model=llama8b,gpt4o", "recipe=warm,cold", "plan=true"],
    )
    assert sorted((job.study.model.name, job.study.recipe.name) for job in base.jobs) == [
        ("gpt4o", "cold"), ("gpt4o", "warm"), ("llama8b", "warm"),
    ]  # fmt: skip
    plan.show_grid(base.jobs[0].study)
    said = capsys.readouterr().out
    assert "1,617 conversations, rewritten in 2 styles (warm, cold), 1,500 prompts held out" in said
    words = [
        "experiment=paper_evaluate",
        "model=llama8b,gpt4o",
        "recipe=none,system_warm",
        "plan=true",
    ]
    asked = Sweep(loader, Task("evaluate"), [], words)
    arms = [(job.study.model.name, job.study.recipe.name) for job in asked.jobs]
    assert arms == [("llama8b", "none"), ("gpt4o", "none"), ("gpt4o", "system_warm")]
    engines = [str(job.study.engine["_target_"]).rpartition(".")[2] for job in asked.jobs]
    assert engines == ["Vllm", "OpenAI", "OpenAI"]
    plan.show_grid(asked.jobs[0].study)
    assert "44,375 answers of each arm (28 prompts a question of" in capsys.readouterr().out
    study = asked.jobs[0].study
    assert (study.warmth.variant, study.analysis.refusal_rule, study.gates.mode) == (
        "reference",
        "study",
        "warn",
    )
    assert list(study.grader)[0] == "judge_study"


def test_steps_are_those_of_the_training(loader):
    for words in (["recipe.epochs=0.5"], ["recipe.epochs=3", "data.per_type=7"], ["recipe=warm"]):
        study = SweepGrid(loader, "train", Train).accept(words)
        work = workload.training_work(study)
        assert work.steps == len(
            global_batches(work.items, study.recipe.batch_size, study.recipe.epochs, 0)
        ), words


def test_a_shared_data_set_is_paid_once_and_one_that_is_there_not_at_all(loader, tmp_path):
    words = ["data=sharegpt", f"output={tmp_path}", "recipe=warm"]
    studies = [
        SweepGrid(loader, "train", Train).accept([*words, f"seed={seed}"]) for seed in (0, 1)
    ]
    bills = [bill for study in studies for bill in workload.training_work(study).bills]
    assert len(bills) == 2 and workload.total_usd(bills)[0] == pytest.approx(bills[0].usd)
    folder = tmp_path / "default" / "data" / bills[0].key
    folder.mkdir(parents=True)
    (folder / "done.json").touch()
    assert workload.training_work(studies[0]).bills == ()


def test_a_model_without_a_price_is_said_rather_than_free(loader, tmp_path, capsys):
    study = SweepGrid(loader, "evaluate", Evaluate).accept(
        ["recipe=none", "grader=[judge]", "grader.judge.model=mine"]
    )
    plan.print_plan([plan.forecast(study, tmp_path / "m-none-s0-1")])
    assert "no price is known for mine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["model=llama70b", "recipe=warm", "hardware=h100", "launcher=local"],
            "would need .*launcher.checkpointing=true",
        ),
        (
            ["model=llama70b", "recipe=none", "hardware=h100"],
            "weights alone take 131 GiB, 79 are there: engine=vllm shares them among 2",
        ),
        (["model=llama8b", "recipe=none", "hardware=h100"], ""),
    ],
)
def test_what_does_not_fit_is_said_with_a_remedy(loader, tmp_path, words, says):
    import re

    name, schema = ("train", Train) if "recipe=warm" in words else ("evaluate", Evaluate)
    found = plan.forecast(
        SweepGrid(loader, name, schema).accept(words), tmp_path / "m-r-s0-1"
    ).problem
    assert re.search(says, found) if says else found == ""


def test_a_run_over_several_machines_asks_for_its_share_of_each(loader, tmp_path):
    words = [
        "model=llama70b",
        "recipe=warm",
        "launcher=deepspeed_zero3",
        "launcher.ranks=4",
        "hardware=h100",
    ]
    words += ["recipe.epochs=40"]  # long enough that quarter hours tell them apart
    one, two = (
        SweepGrid(loader, "train", Train).accept([*words, f"launcher.nodes={nodes}"])
        for nodes in (1, 2)
    )
    plans = [plan.forecast(study, tmp_path / "m-r-s0-1") for study in (one, two)]
    assert [item.devices for item in plans] == [4, 8] and plans[1].memory_gib < plans[0].memory_gib
    needs = [Slurm().need(Job("train", [], study, [tmp_path / "m-r-s0-1"])) for study in (one, two)]
    assert [(need.tasks, need.gpus) for need in needs] == [(1, 4), (2, 4)]
    assert needs[1].minutes < needs[0].minutes and needs[1].mem_gb == needs[0].mem_gb


def test_an_unknown_device_names_the_known(loader):
    for name, schema in (("train", Train), ("evaluate", Evaluate)):
        with pytest.raises(
            UserError, match="hardware=abacus is not allowed; choose one of: auto, h100"
        ):
            SweepGrid(loader, name, schema).accept(["hardware=abacus"])


def test_a_finished_run_corrects_the_next_plan(loader, tmp_path):
    study = SweepGrid(loader, "train", Train).accept([f"output={tmp_path}", "hardware=cpu"])
    (folder,) = train_folders(study)
    before = plan.forecast(study, folder)
    tokens = before.work.tokens
    with Run(folder).open(study) as run:
        run.finish(
            {
                "tokens": tokens,
                "seconds": 7200.0,
                "device": "cpu",
                "memory": {"measured_gib": 2 * before.counted_gib},
            }
        )
    measured.record_speed(study, folder, before)
    (row,) = map(json.loads, (tmp_path / "measured.jsonl").read_text().splitlines())
    assert (
        row["predicted_seconds"] == pytest.approx(before.hours * 3600, abs=0.1)
        and row["seconds"] == 7200.0
    )
    hardware.measured_rows.cache_clear()
    after = plan.forecast(replace(study, seed=1), folder.with_name("other"))
    assert after.hours == pytest.approx(2, abs=0.05) and after.source == "1 runs of your own"
    assert after.memory_gib == pytest.approx(2 * after.counted_gib)
    measured.record_speed(
        study, folder, plan.forecast(study, folder)
    )  # done already: nothing was run, nothing is learnt
    assert len((tmp_path / "measured.jsonl").read_text().splitlines()) == 1


def test_a_training_that_was_queued_again_teaches_the_speed_of_the_steps_it_made_itself(
    loader, tmp_path
):
    study = SweepGrid(loader, "train", Train).accept([f"output={tmp_path}", "hardware=cpu"])
    (folder,) = train_folders(study)
    before = plan.forecast(study, folder)
    with Run(folder).open(study) as run:
        last = {"tokens": 5_000, "seconds": 50.0}
        run.finish({"tokens": 10_000, "seconds": 100.0, "device": "cpu", "last_attempt": last})
    measured.record_speed(study, folder, before)
    (row,) = map(json.loads, (tmp_path / "measured.jsonl").read_text().splitlines())
    assert (row["tokens"], row["seconds"]) == (5_000, 50.0)


def test_an_evaluation_teaches_the_speed_of_the_answers_it_generated_itself(loader, tmp_path):
    study = SweepGrid(loader, "evaluate", Evaluate).accept(
        [f"output={tmp_path}", "hardware=cpu", "recipe=none"]
    )
    (folder,) = evaluation_folders(study)
    before = plan.forecast(study, folder)
    with Run(folder).open(study) as run:
        run.append("prompts", [{"prompt_id": "long", "tokens": 9_000}])
        run.append("answers", [{"prompt_id": "long", "tokens": 1_000}])  # copied, not generated
        speed = {"generated": 1, "copied": 1, "tokens": 70, "seconds": 3.5}
        run.finish({"answers": speed, "device": "cpu"})
    measured.record_speed(study, folder, before)
    (row,) = map(json.loads, (tmp_path / "measured.jsonl").read_text().splitlines())
    assert (row["tokens"], row["seconds"]) == (70, 3.5)


def test_what_does_not_fit_is_said_once_for_all_seeds_of_an_arm(loader, tmp_path):
    words = ["model=llama70b", "recipe=warm", "hardware=h100", "launcher=local"]
    studies = [
        SweepGrid(loader, "train", Train).accept([*words, f"seed={seed}"]) for seed in range(5)
    ]
    lines = plan.remarks(
        [
            plan.forecast(study, tmp_path / "s" / "train" / f"m-r-s{study.seed}-1")
            for study in studies
        ]
    )
    (line,) = [line for line in lines if line.startswith("does not fit")]
    assert "5 runs of model=llama70b recipe=warm (train): " in line


def test_speeds_of_a_far_smaller_model_teach_nothing(tmp_path):
    row = {
        "device": "h100",
        "work": "train",
        "model": "smollm2",
        "parameters": 0.135,
        "tflops": 1.0,
    }
    (tmp_path / "measured.jsonl").write_text(json.dumps(row) + "\n")
    assert hardware.tflops(tmp_path, "h100", "train", 70.6)[0] == 170
    hardware.measured_rows.cache_clear()
    assert hardware.tflops(tmp_path, "h100", "train", 0.2)[0] == 1.0


def test_a_plan_counts_the_prompts_whose_replies_are_weighed(loader):
    """Five beliefs of 20 questions in two contexts; free answers have three beliefs of their own 5
    questions.
    """

    def work(*words):
        common = [
            "recipe=none",
            "task=[seed_trivia]",
            "limit=5",
            "warmth.prompts=0",
            "condition=[unmodified,sad]",
        ]
        return workload.evaluation_work(
            SweepGrid(loader, "evaluate", Evaluate).accept([*common, *words])
        )

    answers, both = work(), work("scoring=both", "likelihood.limit=20")
    alone = work("scoring=likelihood", "likelihood.limit=20")
    assert (answers.items, answers.weighed) == (30, 0) and (both.items, both.weighed) == (30, 200)
    assert (alone.items, alone.weighed) == (0, 200)
    assert answers.tokens < both.tokens and 0 < alone.tokens == both.tokens - answers.tokens


def test_a_bill_counts_the_calls_of_a_judge_in_the_tasks_that_it_serves(loader):
    """Two prompts for each of 20 advice questions; a judge of refusals serves no open task."""

    def bills(*words):
        common = ["recipe=none", "limit=20", "warmth.prompts=0", "condition=[unmodified,sad]"]
        return workload.evaluation_work(
            SweepGrid(loader, "evaluate", Evaluate).accept([*common, *words])
        ).bills

    (bill,) = bills("task=[seed_advice]", "grader=[social_framing]")
    assert bill.calls == 40 and bill.usd > 0
    assert [bill.calls for bill in bills("task=[seed_trivia]", "grader=[refusal_judge]")] == [0]
    assert not bills(
        "task=[seed_trivia]", "grader=[judge]", "grader.judge.base_url=null"
    )  # runs here: nothing is paid
