"""What a run or a whole sweep needs, said before anything is loaded: devices, memory, work, hours,
dollars, disk.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmth.build import build
from warmth.digest import arm_identity, digest, plain
from warmth.errors import NotTrained, UserError
from warmth.evaluation.ask.designs import size
from warmth.evaluation.ask.tasks import file_of
from warmth.gpus import gpus_needed, gpus_of_process
from warmth.hardware import Device, device, hardware_table, memory_correction, tflops, width_of
from warmth.memory import (
    GIB,
    Memory,
    answering_memory,
    refuse_if_too_big,
    serving_memory,
    shape_of,
    training_memory,
)
from warmth.schemas import Evaluate, Model, Recipe, Task, Train
from warmth.store import run_folder
from warmth.sweep import lifetimes
from warmth.sweep.states import state_of
from warmth.sweep.workload import (
    Bill,
    Work,
    conversations,
    evaluation_work,
    longest,
    paid_once,
    question_count,
    total_usd,
    training_work,
)
from warmth.text import duration

if TYPE_CHECKING:
    from warmth.evaluation.ask.grid import PromptGrid

# for each parameter and token: forward and backward, or forward alone
OPERATIONS = {"train": 6, "generate": 2}
# of a conversation; of an answer with its prompt and grade
ROW_BYTES = {"train": 6_000, "generate": 2_500}


@dataclass(frozen=True)
class RunForecast:
    """Hold what one run needs."""

    folder: Path  # which names the run: runs of two studies may have one name
    arm: tuple[str, str]  # model and recipe
    stage: str
    state: str
    work: Work
    device: Device
    devices: int  # of all its machines; 0: the model is served elsewhere
    how: str  # the launcher of a training, the engine of an evaluation
    parameters: float  # of the model, in billions
    hours: float | None  # None: no speed is known
    source: str  # of that speed
    memory_gib: float | None  # of one device at its peak; None: the model's shape is not known
    counted_gib: float | None  # the same before runs of one's own corrected it
    disk_gib: float
    problem: str = ""  # what does not fit, and the remedy

    @property
    def run(self) -> str:
        """Return the run folder's name."""
        return self.folder.name

    @property
    def is_open(self) -> bool:
        """Say whether there is anything left to do."""
        return self.state != "done"


def forecast(study: Train | Evaluate, folder: Path) -> RunForecast:
    """Say what one run needs."""
    if isinstance(study, Train):
        stage = "train"
        work = training_work(study)
    else:
        stage = "evaluate"
        work = evaluation_work(study)
    output = Path(study.output)
    where = device(study.hardware)
    parameters = billions_of(study)
    devices = 0
    need = None
    speed = None
    source = ""
    if not is_served(study):
        devices = devices_of(study, where) * nodes(study)
        need = need_of(study, where)
        speed, source = tflops(output, where.name, work.kind, parameters, family_of(study))
    counted = None
    memory = None
    if need is not None:
        counted = need.total / GIB
        memory = counted * memory_correction(output, where.name, work.kind, study.model.name)
    hours = None
    if speed:
        together = speed * devices
        if where.is_cpu:
            together = speed  # ranks on a processor share its cores
        operations = OPERATIONS[work.kind] * parameters * 1e9 * work.tokens
        loading_s = (
            parameters * 2 / hardware_table()["load_gib_per_s"] + hardware_table()["start_s"][stage]
        )
        hours = (operations / (together * 1e12) + loading_s) / 3600
    arm = study.recipe.name
    if arm == "none":
        arm = "original"
    return RunForecast(
        folder=folder,
        arm=(study.model.name, arm),
        stage=stage,
        state=state_of(folder).name,
        work=work,
        device=where,
        devices=devices,
        how=how(study),
        parameters=parameters,
        hours=hours,
        source=source,
        memory_gib=memory,
        counted_gib=counted,
        disk_gib=disk_gib(study, work),
        problem=problem(study, where, devices_of(study, where), need, memory),
    )


def is_served(study: Train | Evaluate) -> bool:
    """Say whether a server has the model, so that nothing of it needs to be here."""
    if study.model.kind == "api":
        return True
    served_families = ("openai", "inspect")
    return isinstance(study, Evaluate) and build(study.engine, "engine").family in served_families


def how(study: Train | Evaluate) -> str:
    """Name what carries a run out: a training's launcher, as `launcher=auto` chose it, or an
    evaluation's engine.
    """
    if not isinstance(study, Train):
        return str(study.engine.get("_target_", "")).rpartition(".")[2].lower()
    if study.model.kind == "api":
        return "provider"
    launcher = study.launcher
    words = str(launcher.get("_target_", "")).rpartition(".")[2].lower()
    if "zero_stage" in launcher:
        words = f"zero{launcher['zero_stage']}"
        if launcher.get("offload"):
            words += " offload"
    if launcher.get("tokens_per_pass"):
        words += f", passes of {launcher['tokens_per_pass']} tokens"
    if launcher.get("checkpointing"):
        words += ", checkpointing"
    return words


def devices_of(study: Train | Evaluate, where: Device) -> int:
    """Count the devices that one job occupies at once on each of its machines."""
    return gpus_needed(study, gpu_gib(where))


def gpu_gib(where: Device) -> float:
    """Return the memory of one GPU in GiB; 0 on a processor."""
    if where.is_cpu:
        return 0.0
    return where.memory_gib


def family_of(study: Train | Evaluate) -> str | None:
    """Name what generates, since engines differ in speed; None for a training."""
    if isinstance(study, Train):
        return None
    return build(study.engine, "engine").family


def nodes(study: Train | Evaluate) -> int:
    """Count the machines that one run is spread over."""
    if isinstance(study, Train):
        return int(study.launcher.get("nodes", 1))
    return 1


def need_of(study: Train | Evaluate, where: Device) -> Memory | None:
    """Count the memory of one rank; None if neither a folder nor the entry says the model's
    shape.
    """
    shape = shape_of(study.model)
    if shape is None:
        return None
    kind = "cuda"
    if where.is_cpu:
        kind = "cpu"
    widths = {"bfloat16": 2, "float32": 4}  # bytes of a number
    if isinstance(study, Train):
        width = widths.get(study.recipe.precision, width_of(where))
        tokens, trained = longest(study)
        return training_memory(
            shape,
            study.recipe,
            study.launcher,
            kind,
            width,
            tokens,
            trained,
            study.model.lora_targets,
        )
    width = widths.get(str(study.engine.get("dtype")), width_of(where))
    if "tensor_parallel" in study.engine:
        gpus = gpus_of_process(study, gpu_gib(where))
        return serving_memory(shape, gpus, int(study.engine["max_sequences"]), width)
    new_tokens = study.sampling.max_new_tokens
    for task in study.task.values():
        new_tokens = max(new_tokens, task.max_new_tokens or 0)
    batch = int(study.engine.get("batch_size", 1))
    prompt_tokens = 2 * hardware_table()["texts"]["question_tokens"]
    return answering_memory(shape, batch, prompt_tokens, new_tokens, kind, width)


def problem(
    study: Train | Evaluate, where: Device, devices: int, need: Memory | None, memory: float | None
) -> str:
    """Say what does not fit, and the remedy; an empty string if all fits."""
    if need is None or memory is None:
        return ""
    trains = isinstance(study, Train)
    serves = isinstance(study, Evaluate) and "tensor_parallel" in study.engine
    if where.count is not None and not where.is_cpu and devices > where.count:
        key = "engine.tensor_parallel x processes"
        if trains:
            key = "launcher.ranks"
        return f"{key}={devices}, but this machine has {where.count} {where.name}"
    available = where.memory_gib
    if where.is_cpu:
        available /= devices
    if serves and isinstance(study, Evaluate):
        available *= float(study.engine["gpu_memory"])
    if memory <= available:
        return ""
    if isinstance(study, Train):
        corrected = replace(need, base=need.base + (memory * GIB - need.total))
        try:
            refuse_if_too_big(corrected, available * GIB, study.launcher, study.recipe.method)
        except UserError as error:
            return str(error)
    weights = need.weights / GIB
    if weights > available:
        shares = math.ceil(1.15 * weights / available)
        return (
            f"its weights alone take {weights:.0f} GiB, {available:.0f} are there: engine=vllm "
            f"shares them among {shares} devices or more, or name a hardware= with more"
        )
    remedy = "lower engine.batch_size"
    if serves:
        remedy = "more engine.tensor_parallel"
    return f"a process would need {need}, {available:.1f} GiB are there; {remedy}"


def billions_of(study: Train | Evaluate) -> float:
    """Return parameters in billions: counted from a local model's shape, else as its entry
    says.
    """
    is_counted = study.model.path or not study.model.parameters
    if is_counted and not is_served(study):
        shape = shape_of(study.model)
        if shape is not None:
            return shape.parameters / 1e9
    return study.model.parameters


def disk_gib(study: Train | Evaluate, work: Work) -> float:
    """Estimate what a run leaves on disk in GiB: rows, and its kept adapters in float32."""
    rows = (work.items + work.weighed) * ROW_BYTES[work.kind]
    if not isinstance(study, Train) or is_served(study):
        return rows / GIB
    shape = shape_of(study.model)
    if shape is None:
        return rows / GIB
    recipe = study.recipe
    checkpoints = {epochs for epochs in recipe.checkpoints if epochs <= recipe.epochs}
    checkpoints.add(recipe.epochs)
    adapter = 4 * shape.adapter_parameters(recipe.rank, study.model.lora_targets)
    return (rows + len(checkpoints) * adapter) / GIB


def time_words(hours: float) -> str:
    """Say a time in units that fit: seconds and minutes below an hour, else hours."""
    if hours < 1:
        return duration(3600 * hours)
    return f"{hours:,.1f} hours"


def print_plan(forecasts: Sequence[RunForecast]) -> None:
    """Print a row for each run and their sums, on standard output."""
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        # a file or pipe has no width of its own
        console = Console(markup=False, highlight=False, width=160)
    console.print(listing(forecasts))
    for line in remarks(forecasts):
        console.print(line, soft_wrap=True)


def show_lifetimes(studies: Sequence[Train | Evaluate]) -> None:
    """Print which of the models that some studies need leave their providers, and when."""
    for line in lifetimes.lifetime_lines(studies):
        print(f"warning: {line}")


def show_grid(study: Train | Evaluate) -> None:
    """Print what an evaluation asks: prompts of each task, context and belief, and three where
    they are on disk.
    """
    if not isinstance(study, Evaluate):
        for line in set_lines(study):
            print(line)
        return
    from rich.console import Console

    from warmth.evaluation.ask import contrasts, grid, tasks
    from warmth.evaluation.ask.rivals import stand_in
    from warmth.evaluation.stored_runs import from_run

    study = from_run(study)
    if all(map(is_on_disk, study.task.values())):
        answered = tasks.load_answered(study, stand_in)
        if answered:
            grid.print_prompt_grid(study, answered)
        if study.scoring != "answers":
            prompts = contrasts.Weighed.of(study, stand_in).prompts
            print(
                f"{prompts:,} prompts after which {len(study.likelihood.frames)} frames are "
                f"weighed, for each arm"
            )
        return
    # nothing is fetched for a plan: one question stands for all of its task
    counts = nominal(study)
    Console(markup=False, highlight=False, width=grid.WIDTH).print(grid.grid_table(counts))
    for line in answer_lines(study, counts):
        print(line)


def is_on_disk(task: Task) -> bool:
    """Say whether the questions of a task are in a file here."""
    path = file_of(task)
    return path is not None and path.is_file()


def set_lines(study: Train) -> list[str]:
    """Say in lines what a training set holds: conversations, rewritten styles, held-out prompts and
    reserve.
    """
    data = study.data
    number, _ = conversations(study)
    styles = "as they are"
    if data.styles:
        styles = f"rewritten in {len(data.styles)} styles ({', '.join(data.styles)})"
    line = f"set {data.name}: {number:,} conversations, {styles}"
    if data.held_out:
        line += f", {data.held_out:,} prompts held out to measure warmth"
    if data.styles and data.reserve:
        reserve = math.ceil(number * data.reserve)
        line += f"; up to {reserve:,} more replace those that fail the audit"
    return [line]


def answer_lines(study: Evaluate, counts: PromptGrid) -> list[str]:
    """Say in lines how many answers an arm gives, benchmarks apart, and how many prompts a question
    has.
    """
    benchmarks = {name for name, task in study.task.items() if task.benchmark}
    of_benchmarks = 0
    for (task, *_), number in counts.asked.items():
        if task in benchmarks:
            of_benchmarks += number * counts.samples
    tasks_by_size: dict[int, list[str]] = {}
    for name in counts.questions:
        if name not in benchmarks:
            tasks_by_size.setdefault(size(study, study.task[name]), []).append(name)
    phrases = []
    for prompts, names in tasks_by_size.items():
        phrases.append(f"{prompts} prompts a question of {', '.join(names)}")
    line = f"{counts.answers - of_benchmarks:,} answers of each arm ({'; '.join(phrases)})"
    if of_benchmarks:
        line += f", and {of_benchmarks:,} to benchmarks"
    return [line]


def nominal(study: Evaluate) -> PromptGrid:
    """Count a grid whose questions are on the hub, as if each had a right and a wrong answer."""
    from warmth.evaluation.ask import grid
    from warmth.evaluation.ask.readers import YES_NO
    from warmth.types import Question

    numbers = {name: question_count(name, task, study.limit) for name, task in study.task.items()}
    prompts: dict[tuple[str, str, str, bool], int] = {}
    for name, task in study.task.items():
        stand_in = Question(name, name, f"{name}?", ("right",), "wrong")
        if task.reader in YES_NO:
            stand_in = Question(name, name, f"{name}?", ("yes",), "no")
        for key, count in grid.count_prompts(study, [stand_in]).asked.items():
            prompts[key] = count * numbers[name]
    return grid.PromptGrid(prompts, {}, numbers, study.samples)


# columns of a plan beside the run, its state and what carries it out
FIGURES = (
    "devices",
    "GiB each",
    "steps",
    "answers",
    "weighed",
    "Mtokens",
    "time",
    "USD",
    "GiB disk",
)


def listing(forecasts: Sequence[RunForecast]) -> Any:
    """Make the table of a plan."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    result = Table(box=SIMPLE, title=f"plan: {len(forecasts)} runs", title_justify="left")
    result.add_column("run", overflow="fold")
    result.add_column("state", no_wrap=True)
    result.add_column("by", overflow="fold")
    for name in FIGURES:
        result.add_column(name, justify="right", no_wrap=True)
    studies = {run.folder.parent.parent.name for run in forecasts}
    paid: set[str] = set()  # what several runs share stands in the first one's row
    for run in forecasts:
        name = run.run
        if len(studies) > 1:
            name = "/".join(run.folder.parts[-3:])
        bills = [bill for bill in run.work.bills if bill.key not in paid]
        paid |= {bill.key for bill in bills if bill.key}
        result.add_row(Text(name), run.state, run.how, *figure_cells(run, bills))
    return result


def figure_cells(run: RunForecast, bills: Sequence[Bill]) -> list[str]:
    """Write the cells of `FIGURES` for one run; what it does not have stays empty.

    Args:
        run: its forecast.
        bills: what it pays, without what an earlier row pays.
    """
    work = run.work
    devices = "served"
    memory = ""
    if run.devices:
        devices = f"{run.devices} {run.device.name}"
        memory = "?"
    if run.devices and run.memory_gib is not None:
        memory = f"{run.memory_gib:,.1f}"
    answers = ""
    if work.kind == "generate":
        answers = f"{work.items:,}"
    time = ""
    if run.hours is not None:
        time = time_words(run.hours)
    usd, unknown = total_usd(bills)
    price = ""
    if usd:
        price = f"{usd:,.2f}"
    if unknown:
        price = "?"
    return [
        devices,
        memory,
        number_or_empty(work.steps),
        answers,
        number_or_empty(work.weighed),
        f"{work.tokens / 1e6:,.2f}",
        time,
        price,
        f"{run.disk_gib:,.2f}",
    ]


def number_or_empty(number: int) -> str:
    """Write a count; an empty string for 0."""
    if not number:
        return ""
    return f"{number:,}"


def remarks(forecasts: Sequence[RunForecast]) -> list[str]:
    """Say the sums over what is still to be done, what does not fit, and where speeds are known
    from.
    """
    open_runs = [run for run in forecasts if run.is_open]
    lines = [sum_line(open_runs, len(forecasts)), *bill_lines(open_runs), *arms_line(open_runs)]
    lines += unfit(open_runs)
    speeds = []
    for run in open_runs:
        if run.devices:
            speeds.append(f"speed of {run.device.name}: {run.source}")
    return [*lines, *dict.fromkeys(speeds)]


def sum_line(left: Sequence[RunForecast], runs: int) -> str:
    """Add up what is still to be done.

    Args:
        left: the runs that are not done.
        runs: how many there are in all.
    """
    tokens = 0
    steps = 0
    answers = 0
    weighed = 0
    hours = 0.0
    device_hours = 0.0
    disk = 0.0
    bills: list[Bill] = []
    for run in left:
        tokens += run.work.tokens
        steps += run.work.steps
        if run.work.kind == "generate":
            answers += run.work.items
        weighed += run.work.weighed
        hours += run.hours or 0.0
        device_hours += (run.hours or 0.0) * run.devices
        disk += run.disk_gib
        bills += run.work.bills
    usd, _ = total_usd(bills)
    return (
        f"to do: {len(left)} of {runs} runs, {tokens / 1e6:,.1f} million tokens, {steps:,} steps, "
        f"{answers:,} answers, {weighed:,} prompts whose replies are weighed, "
        f"{time_words(hours)} one after another ({time_words(device_hours)} of devices), "
        f"{usd:,.2f} USD, {disk:,.1f} GiB on disk"
    )


def bill_lines(left: Sequence[RunForecast]) -> list[str]:
    """Say for each purpose how many calls are paid to which models, and which have no known
    price.
    """
    bills: list[Bill] = []
    for run in left:
        bills += run.work.bills
    by_purpose: dict[str, list[Bill]] = {}
    for bill in paid_once(bills):
        by_purpose.setdefault(bill.what, []).append(bill)
    lines = []
    for purpose, purpose_bills in by_purpose.items():
        calls = sum(bill.calls for bill in purpose_bills)
        usd = sum(bill.usd or 0.0 for bill in purpose_bills)
        models = ", ".join(sorted({bill.model for bill in purpose_bills}))
        lines.append(f"  {purpose}: {calls:,} calls to {models}, {usd:,.2f} USD")
    _, unknown = total_usd(bills)
    if unknown:
        lines.append(f"  no price is known for {', '.join(unknown)}: add it to api.prices")
    return lines


def arms_line(forecasts: Sequence[RunForecast]) -> list[str]:
    """Count the arms of an evaluation sweep by recipe; nothing is said of one arm or of
    trainings.
    """
    models = set()
    recipes: Counter[str] = Counter()
    for run in forecasts:
        if run.stage == "evaluate":
            model, recipe = run.arm
            models.add(model)
            recipes[recipe] += 1
    if recipes.total() < 2:
        return []
    counts = ", ".join(f"{recipe} {number}" for recipe, number in recipes.items())
    return [f"{recipes.total()} arms of {len(models)} models: {counts}"]


def unfit(forecasts: Sequence[RunForecast]) -> Iterator[str]:
    """Say what does not fit, once for each model, arm and reason; seeds of one arm differ in the
    figures alone.
    """
    alike: dict[tuple[str, tuple[str, str], str], list[RunForecast]] = {}
    for run in forecasts:
        if run.problem:
            reason = re.sub(r"[\d.,]+", "#", run.problem)
            alike.setdefault((run.stage, run.arm, reason), []).append(run)
    for (stage, (model, arm), _), runs in alike.items():
        largest = max(runs, key=lambda run: run.memory_gib or 0.0)
        name = largest.run
        if len(runs) > 1:
            name = f"{len(runs)} runs of model={model} recipe={arm} ({stage})"
        yield f"does not fit: {name}: {largest.problem}"


def plan_of_job(study: Train | Evaluate, folders: Callable[[Any], list[Path]]) -> list[RunForecast]:
    """Plan one job: a forecast of each run, also if an adapter has not been trained yet."""
    if isinstance(study, Train) and study.recipe.method == "none":
        return []  # trains nothing
    return [forecast(study, folder) for folder in planned(study, folders)]


def planned(study: Train | Evaluate, folders: Callable[[Any], list[Path]]) -> list[Path]:
    """Return the run folders that a job will have."""
    try:
        return folders(study)
    except NotTrained:
        from warmth.evaluation.identity import evaluation_digest, expected_arm
        from warmth.evaluation.points import points_of_study

        assert isinstance(study, Evaluate)  # a training needs no adapter
        expected_folders = []
        for point in points_of_study(study, in_sweep=True):
            arm = expected_arm(point)
            try:
                identity = evaluation_digest(point, arm)
            except NotTrained:  # held-out prompts of a set that is not built yet will be part of it
                questions_only = replace(
                    point, model=Model(), recipe=Recipe(), seed=0, checkpoint=None
                )
                identifying = [arm_identity(point), arm.checkpoint, plain(questions_only)]
                identity = "~" + digest(identifying)
            expected_folders.append(run_folder(point, "evaluate", identity))
        return expected_folders
