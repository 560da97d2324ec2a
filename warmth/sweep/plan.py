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
from warmth.gpus import gpus_needed, gpus_of_process
from warmth.hardware import Device, correction, device, table, tflops, width_of
from warmth.memory import (
    GIB,
    Memory,
    answering_memory,
    refuse_if_too_big,
    serving_memory,
    shape_of,
    training_memory,
)
from warmth.schemas import Evaluate, Model, Recipe, Train
from warmth.store import run_folder
from warmth.sweep import lifetimes
from warmth.sweep.states import state_of
from warmth.sweep.workload import (
    Work,
    conversations,
    evaluation,
    longest,
    questions,
    total_usd,
    training,
)
from warmth.text import duration

if TYPE_CHECKING:
    from warmth.evaluation.ask.grid import Grid

OPERATIONS = {
    "train": 6,
    "generate": 2,
}  # for each parameter and token: forward and backward, or forward alone
ROW_BYTES = {
    "train": 6_000,
    "generate": 2_500,
}  # of a conversation; of an answer with its prompt and grade


@dataclass(frozen=True)
class Forecast:
    """One run's needs."""

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
        """The run folder's name."""
        return self.folder.name

    @property
    def is_open(self) -> bool:
        """Whether there is anything left to do."""
        return self.state != "done"


def forecast(study: Train | Evaluate, folder: Path) -> Forecast:
    """What one run needs."""
    trains = isinstance(study, Train)
    work = training(study) if isinstance(study, Train) else evaluation(study)
    where, parameters = device(study.hardware), parameters_of(study)
    devices = 0 if is_served(study) else devices_of(study, where) * nodes(study)
    need = need_of(study, where) if devices else None
    counted = need.total / GIB if need else None
    memory = counted and counted * correction(
        Path(study.output), where.name, work.kind, study.model.name
    )
    speed, source = None, ""
    if devices:
        speed, source = tflops(
            Path(study.output), where.name, work.kind, parameters, family_of(study)
        )
    hours = None
    if speed:
        together = speed * (1 if where.is_cpu else devices)  # ranks on a processor share its cores
        loading = (
            parameters * 2 / table()["load_gib_per_s"]
            + table()["start_s"]["train" if trains else "evaluate"]
        )
        hours = (
            OPERATIONS[work.kind] * parameters * 1e9 * work.tokens / (together * 1e12) + loading
        ) / 3600
    return Forecast(
        folder=folder,
        arm=(study.model.name, "original" if study.recipe.name == "none" else study.recipe.name),
        stage="train" if trains else "evaluate",
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
    """Whether a server has the model, so that nothing of it needs to be here."""
    if study.model.kind == "api":
        return True
    return isinstance(study, Evaluate) and build(study.engine, "engine").family in (
        "openai",
        "inspect",
    )


def how(study: Train | Evaluate) -> str:
    """Name what carries a run out: a training's launcher, as `launcher=auto` chose it, or an
    evaluation's engine.
    """
    if not isinstance(study, Train):
        return str(study.engine.get("_target_", "")).rpartition(".")[2].lower()
    if study.model.kind == "api":
        return "provider"
    launcher = study.launcher
    name = str(launcher.get("_target_", "")).rpartition(".")[2].lower()
    if "zero_stage" in launcher:
        name = f"zero{launcher['zero_stage']}" + (" offload" if launcher.get("offload") else "")
    if launcher.get("tokens_per_pass"):
        name += f", passes of {launcher['tokens_per_pass']} tokens"
    return name + (", checkpointing" if launcher.get("checkpointing") else "")


def devices_of(study: Train | Evaluate, where: Device) -> int:
    """Count the devices that one job occupies at once on each of its machines."""
    return gpus_needed(study, 0.0 if where.is_cpu else where.memory_gib)


def family_of(study: Train | Evaluate) -> str | None:
    """Name what generates, since engines differ in speed; None for a training."""
    return None if isinstance(study, Train) else build(study.engine, "engine").family


def nodes(study: Train | Evaluate) -> int:
    """Machines that one run is spread over."""
    return int(study.launcher.get("nodes", 1)) if isinstance(study, Train) else 1


def need_of(study: Train | Evaluate, where: Device) -> Memory | None:
    """Memory of one rank; None where neither a folder nor the entry says the model's shape."""
    shape = shape_of(study.model)
    if shape is None:
        return None
    kind = "cpu" if where.is_cpu else "cuda"
    if isinstance(study, Train):
        width = {"bfloat16": 2, "float32": 4}.get(study.recipe.precision, width_of(where))
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
    width = {"bfloat16": 2, "float32": 4}.get(str(study.engine.get("dtype")), width_of(where))
    if "tensor_parallel" in study.engine:
        gpus = gpus_of_process(study, 0.0 if where.is_cpu else where.memory_gib)
        return serving_memory(shape, gpus, int(study.engine["max_sequences"]), width)
    new = max(
        [study.sampling.max_new_tokens, *(task.max_new_tokens or 0 for task in study.task.values())]
    )
    batch = int(study.engine.get("batch_size", 1))
    return answering_memory(shape, batch, 2 * table()["texts"]["question_tokens"], new, kind, width)


def problem(
    study: Train | Evaluate, where: Device, devices: int, need: Memory | None, memory: float | None
) -> str:
    """What does not fit, and the remedy."""
    if need is None or memory is None:
        return ""
    if where.count is not None and not where.is_cpu and devices > where.count:
        key = "launcher.ranks" if isinstance(study, Train) else "engine.tensor_parallel x processes"
        return f"{key}={devices}, but this machine has {where.count} {where.name}"
    available = where.memory_gib / (devices if where.is_cpu else 1)
    if isinstance(study, Evaluate) and "tensor_parallel" in study.engine:
        available *= float(study.engine["gpu_memory"])
    if memory <= available:
        return ""
    if isinstance(study, Train):
        try:
            refuse_if_too_big(
                replace(need, base=need.base + (memory * GIB - need.total)),
                available * GIB,
                study.launcher,
                study.recipe.method,
            )
        except UserError as error:
            return str(error)
    weights = need.weights / GIB
    if weights > available:
        return (
            f"its weights alone take {weights:.0f} GiB, {available:.0f} are there: engine=vllm "
            f"shares them among "
            f"{math.ceil(1.15 * weights / available)} devices or more, or name a hardware= with "
            f"more"
        )
    serves = isinstance(study, Evaluate) and "tensor_parallel" in study.engine
    remedy = "more engine.tensor_parallel" if serves else "lower engine.batch_size"
    return f"a process would need {need}, {available:.1f} GiB are there; {remedy}"


def parameters_of(study: Train | Evaluate) -> float:
    """Parameters in billions: counted from a local model's shape, else as its entry says."""
    is_counted = study.model.path or not study.model.parameters
    shape = shape_of(study.model) if is_counted and not is_served(study) else None
    return shape.parameters / 1e9 if shape else study.model.parameters


def disk_gib(study: Train | Evaluate, work: Work) -> float:
    """What a run leaves on disk: rows, and its kept adapters in float32."""
    rows = (work.items + work.weighed) * ROW_BYTES[work.kind]
    if not isinstance(study, Train) or is_served(study):
        return rows / GIB
    shape = shape_of(study.model)
    if shape is None:
        return rows / GIB
    recipe = study.recipe
    kept = {*[epochs for epochs in recipe.checkpoints if epochs <= recipe.epochs], recipe.epochs}
    return (
        rows + 4 * len(kept) * shape.adapter_parameters(recipe.rank, study.model.lora_targets)
    ) / GIB


def time_words(hours: float) -> str:
    """Say a time in units that fit: seconds and minutes below an hour, else hours."""
    return duration(3600 * hours) if hours < 1 else f"{hours:,.1f} hours"


def show(forecasts: Sequence[Forecast]) -> None:
    """Prints a row for each run and their sums, on standard output."""
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console = Console(
            markup=False, highlight=False, width=160
        )  # a file or pipe has no width of its own
    console.print(listing(forecasts))
    for line in remarks(forecasts):
        console.print(line, soft_wrap=True)


def show_lifetimes(studies: Sequence[Train | Evaluate]) -> None:
    """Print which of the models that some studies need leave their providers, and when."""
    for line in lifetimes.lines(studies):
        print(f"warning: {line}")


def show_grid(study: Train | Evaluate) -> None:
    """Prints what an evaluation asks: prompts of each task, context and belief, and three where
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
    files = [tasks.file_of(task) for task in study.task.values()]
    if all(path is not None and path.is_file() for path in files):
        answered = tasks.load_answered(study, stand_in)
        if answered:
            grid.show(study, answered)
        if study.scoring != "answers":
            prompts = contrasts.Weighed.of(study, stand_in).prompts
            print(
                f"{prompts:,} prompts after which {len(study.likelihood.frames)} frames are "
                f"weighed, for each arm"
            )
    else:  # nothing is fetched for a plan: one question stands for all of its task
        counts = nominal(study)
        Console(markup=False, highlight=False, width=grid.WIDTH).print(grid.table(counts))
        for line in answer_lines(study, counts):
            print(line)


def set_lines(study: Train) -> list[str]:
    """Say in lines what a training set holds: conversations, rewritten styles, held-out prompts and
    reserve.
    """
    data = study.data
    number, _ = conversations(study)
    styles = (
        f"rewritten in {len(data.styles)} styles ({', '.join(data.styles)})"
        if data.styles
        else "as they are"
    )
    line = f"set {data.name}: {number:,} conversations, {styles}"
    if data.held_out:
        line += f", {data.held_out:,} prompts held out to measure warmth"
    if data.styles and data.reserve:
        line += (
            f"; up to {math.ceil(number * data.reserve):,} more replace those that fail the audit"
        )
    return [line]


def answer_lines(study: Evaluate, counts: Grid) -> list[str]:
    """Say in lines how many answers an arm gives, benchmarks apart, and how many prompts a question
    has.
    """
    benchmarks = {name for name, task in study.task.items() if task.benchmark}
    apart = (
        sum(number for key, number in counts.asked.items() if key[0] in benchmarks) * counts.samples
    )
    each: dict[int, list[str]] = {}
    for name in counts.questions:
        if name not in benchmarks:
            each.setdefault(size(study, study.task[name]), []).append(name)
    prompts = "; ".join(
        f"{number} prompts a question of {', '.join(names)}" for number, names in each.items()
    )
    line = f"{counts.answers - apart:,} answers of each arm ({prompts})"
    return [line + (f", and {apart:,} to benchmarks" if apart else "")]


def nominal(study: Evaluate) -> Grid:
    """The counts of a grid whose questions are on the hub, as if each had both a right and a wrong
    answer.
    """
    from warmth.evaluation.ask import grid
    from warmth.evaluation.ask.readers import YES_NO
    from warmth.types import Question

    numbers = {name: questions(name, task, study.limit) for name, task in study.task.items()}
    asked: dict[tuple[str, str, str, bool], int] = {}
    for name in study.task:
        yes_no = study.task[name].reader in YES_NO
        stand_in = Question(
            name, name, f"{name}?", ("yes",) if yes_no else ("right",), "no" if yes_no else "wrong"
        )
        for key, count in grid.count(study, [stand_in]).asked.items():
            asked[key] = count * numbers[name]
    return grid.Grid(asked, {}, numbers, study.samples)


def listing(forecasts: Sequence[Forecast]) -> Any:
    """The table of a plan."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    result = Table(box=SIMPLE, title=f"plan: {len(forecasts)} runs", title_justify="left")
    result.add_column("run", overflow="fold")
    result.add_column("state", no_wrap=True)
    result.add_column("by", overflow="fold")
    for name in (
        "devices",
        "GiB each",
        "steps",
        "answers",
        "weighed",
        "Mtokens",
        "time",
        "USD",
        "GiB disk",
    ):
        result.add_column(name, justify="right", no_wrap=True)
    several = len({item.folder.parts[-3:-2] for item in forecasts}) > 1
    paid: set[str] = set()  # what several runs share stands in the first one's row
    for item in forecasts:
        usd, unknown = total_usd([bill for bill in item.work.bills if bill.key not in paid])
        paid |= {bill.key for bill in item.work.bills if bill.key}
        result.add_row(
            Text("/".join(item.folder.parts[-3:]) if several else item.run),
            item.state,
            item.how,
            f"{item.devices} {item.device.name}" if item.devices else "served",
            "?"
            if item.memory_gib is None and item.devices
            else f"{item.memory_gib or 0:,.1f}"
            if item.devices
            else "",
            f"{item.work.steps:,}" if item.work.steps else "",
            f"{item.work.items:,}" if item.work.kind == "generate" else "",
            f"{item.work.weighed:,}" if item.work.weighed else "",
            f"{item.work.tokens / 1e6:,.2f}",
            "" if item.hours is None else time_words(item.hours),
            "?" if unknown else f"{usd:,.2f}" if usd else "",
            f"{item.disk_gib:,.2f}",
        )
    return result


def remarks(forecasts: Sequence[Forecast]) -> list[str]:
    """The sums over what is still to be done, what does not fit, and where speeds are known
    from.
    """
    left = [item for item in forecasts if item.is_open]
    usd, unknown = total_usd([bill for item in left for bill in item.work.bills])
    hours = sum(item.hours or 0.0 for item in left)
    device_hours = sum((item.hours or 0.0) * item.devices for item in left)
    lines = [
        f"to do: {len(left)} of {len(forecasts)} runs, "
        f"{sum(i.work.tokens for i in left) / 1e6:,.1f} million tokens, "
        f"{sum(i.work.steps for i in left):,} steps, "
        f"{sum(i.work.items for i in left if i.work.kind == 'generate'):,} answers, "
        f"{sum(i.work.weighed for i in left):,} prompts whose replies are weighed, "
        f"{time_words(hours)} one after another ({time_words(device_hours)} of devices), "
        f"{usd:,.2f} USD, "
        f"{sum(i.disk_gib for i in left):,.1f} GiB on disk"
    ]
    once = {
        bill.key or str(n): bill for n, bill in enumerate(b for i in left for b in i.work.bills)
    }
    for what in dict.fromkeys(bill.what for bill in once.values()):
        of_kind = [bill for bill in once.values() if bill.what == what]
        calls, usd = sum(bill.calls for bill in of_kind), sum(bill.usd or 0.0 for bill in of_kind)
        lines.append(
            f"  {what}: {calls:,} calls to {', '.join(sorted({b.model for b in of_kind}))}, "
            f"{usd:,.2f} USD"
        )
    if unknown:
        lines.append(f"  no price is known for {', '.join(unknown)}: add it to api.prices")
    lines += arms_line(left)
    lines += list(unfit(left))
    for name, source in dict.fromkeys(
        (item.device.name, item.source) for item in left if item.devices
    ):
        lines.append(f"speed of {name}: {source}")
    return lines


def arms_line(forecasts: Sequence[Forecast]) -> list[str]:
    """Count the arms of an evaluation sweep by recipe; nothing is said of one arm or of
    trainings.
    """
    arms = [item.arm for item in forecasts if item.stage == "evaluate"]
    if len(arms) < 2:
        return []
    counts = Counter(recipe for _, recipe in arms)
    named = ", ".join(f"{recipe} {number}" for recipe, number in counts.items())
    return [f"{len(arms)} arms of {len({model for model, _ in arms})} models: {named}"]


def unfit(forecasts: Sequence[Forecast]) -> Iterator[str]:
    """Say what does not fit, once for each model, arm and reason; seeds of one arm differ in the
    figures alone.
    """
    alike: dict[tuple[str, tuple[str, str], str], list[Forecast]] = {}
    for item in forecasts:
        if item.problem:
            reason = re.sub(r"[\d.,]+", "#", item.problem)
            alike.setdefault((item.stage, item.arm, reason), []).append(item)
    for (stage, (model, arm), _), runs in alike.items():
        largest = max(runs, key=lambda run: run.memory_gib or 0.0)
        which = (
            largest.run
            if len(runs) == 1
            else f"{len(runs)} runs of model={model} recipe={arm} ({stage})"
        )
        yield f"does not fit: {which}: {largest.problem}"


def of_study(study: Train | Evaluate, folders: Callable[[Any], list[Path]]) -> list[Forecast]:
    """The plan of one job: a row for each of its runs, also where an adapter has not been trained
    yet.
    """
    if isinstance(study, Train) and study.recipe.method == "none":
        return []  # trains nothing
    return [forecast(study, folder) for folder in planned(study, folders)]


def planned(study: Train | Evaluate, folders: Callable[[Any], list[Path]]) -> list[Path]:
    """The run folders a job will have."""
    try:
        return folders(study)
    except NotTrained:
        from warmth.evaluation.identity import evaluation_digest, expected_arm
        from warmth.evaluation.points import points

        assert isinstance(study, Evaluate)  # a training needs no adapter
        found = []
        for point in points(study, in_sweep=True):
            arm = expected_arm(point)
            try:
                identity = evaluation_digest(point, arm)
            except NotTrained:  # held-out prompts of a set that is not built yet will be part of it
                asked = replace(point, model=Model(), recipe=Recipe(), seed=0, checkpoint=None)
                identity = "~" + digest([arm_identity(point), arm.checkpoint, plain(asked)])
            found.append(run_folder(point, "evaluate", identity))
        return found
