"""What a run or a whole sweep needs, said before anything is loaded: devices, memory, work, hours, dollars, disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from warmth.digest import arm_identity, digest, plain
from warmth.errors import NotTrained
from warmth.schemas import Evaluate, Model, Recipe, Train
from warmth.store import run_folder
from warmth.sweep.hardware import Device, device, table, tflops
from warmth.sweep.states import state_of
from warmth.sweep.workload import Work, evaluation, total_usd, training

OPERATIONS = {"train": 6, "generate": 2}  # for each parameter and token: forward and backward, or forward alone
ROW_BYTES = {"train": 6_000, "generate": 2_500}  # of a conversation; of an answer with its prompt and grade


@dataclass(frozen=True)
class Forecast:
    """One run's needs."""

    run: str  # the run folder's name
    stage: str
    state: str
    work: Work
    device: Device
    devices: int  # 0: the model is served elsewhere
    parameters: float  # of the model, in billions
    hours: float | None  # None: no speed is known
    source: str  # of that speed
    disk_gib: float
    problem: str = ""  # what does not fit, and the remedy

    @property
    def is_open(self) -> bool:
        """Whether there is anything left to do."""
        return self.state != "done"


def forecast(study: Train | Evaluate, folder: Path) -> Forecast:
    """What one run needs."""
    trains = isinstance(study, Train)
    work = training(study) if isinstance(study, Train) else evaluation(study)
    where, parameters = device(study.hardware), study.model.parameters
    devices = 0 if study.model.kind == "api" else ranks(study)
    speed, source = tflops(Path(study.output), where.name, work.kind, parameters) if devices else (None, "")
    hours = None
    if speed:
        together = speed * (1 if where.is_cpu else devices)  # ranks on a processor share its cores
        loading = parameters * 2 / table()["load_gib_per_s"] + table()["start_s"]["train" if trains else "evaluate"]
        hours = (OPERATIONS[work.kind] * parameters * 1e9 * work.tokens / (together * 1e12) + loading) / 3600
    return Forecast(
        run=folder.name,
        stage="train" if trains else "evaluate",
        state=state_of(folder).name,
        work=work,
        device=where,
        devices=devices,
        parameters=parameters,
        hours=hours,
        source=source,
        disk_gib=work.items * ROW_BYTES[work.kind] / 1024**3,
    )


def ranks(study: Train | Evaluate) -> int:
    """Devices one run occupies at once."""
    return int(study.launcher.get("ranks", 1)) if isinstance(study, Train) else 1


def show(forecasts: Sequence[Forecast]) -> None:
    """Prints a row for each run and their sums, on standard output."""
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console = Console(markup=False, highlight=False, width=160)  # a file or pipe has no width of its own
    console.print(listing(forecasts))
    for line in remarks(forecasts):
        console.print(line, soft_wrap=True)


def listing(forecasts: Sequence[Forecast]) -> Any:
    """The table of a plan."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    result = Table(box=SIMPLE, title=f"plan: {len(forecasts)} runs", title_justify="left")
    result.add_column("run", overflow="fold")
    result.add_column("state", no_wrap=True)
    for name in ("devices", "steps", "answers", "Mtokens", "hours", "USD", "GiB disk"):
        result.add_column(name, justify="right", no_wrap=True)
    for item in forecasts:
        usd, unknown = total_usd(item.work.bills)
        result.add_row(
            Text(item.run),
            item.state,
            f"{item.devices} {item.device.name}" if item.devices else "served",
            f"{item.work.steps:,}" if item.work.steps else "",
            f"{item.work.items:,}" if item.work.kind == "generate" else "",
            f"{item.work.tokens / 1e6:,.2f}",
            "" if item.hours is None else f"{item.hours:,.2f}",
            "?" if unknown else f"{usd:,.2f}" if usd else "",
            f"{item.disk_gib:,.2f}",
        )
    return result


def remarks(forecasts: Sequence[Forecast]) -> list[str]:
    """The sums over what is still to be done, what does not fit, and where speeds are known from."""
    left = [item for item in forecasts if item.is_open]
    usd, unknown = total_usd([bill for item in left for bill in item.work.bills])
    hours = sum(item.hours or 0.0 for item in left)
    device_hours = sum((item.hours or 0.0) * item.devices for item in left)
    lines = [
        f"to do: {len(left)} of {len(forecasts)} runs, {sum(i.work.tokens for i in left) / 1e6:,.1f} million tokens, "
        f"{sum(i.work.steps for i in left):,} steps, "
        f"{sum(i.work.items for i in left if i.work.kind == 'generate'):,} answers, "
        f"{hours:,.1f} hours one after another ({device_hours:,.1f} device hours), {usd:,.2f} USD, "
        f"{sum(i.disk_gib for i in left):,.1f} GiB on disk"
    ]
    once = {bill.key or str(n): bill for n, bill in enumerate(b for i in left for b in i.work.bills)}
    for what in dict.fromkeys(bill.what for bill in once.values()):
        of_kind = [bill for bill in once.values() if bill.what == what]
        calls, usd = sum(bill.calls for bill in of_kind), sum(bill.usd or 0.0 for bill in of_kind)
        lines.append(f"  {what}: {calls:,} calls to {', '.join(sorted({b.model for b in of_kind}))}, {usd:,.2f} USD")
    if unknown:
        lines.append(f"  no price is known for {', '.join(unknown)}: add it to api.prices")
    lines += [f"does not fit: {item.run}: {item.problem}" for item in left if item.problem]
    for name, source in dict.fromkeys((item.device.name, item.source) for item in left if item.devices):
        lines.append(f"speed of {name}: {source}")
    return lines


def of_study(study: Train | Evaluate, folders: Callable[[Any], list[Path]]) -> list[Forecast]:
    """The plan of one job: a row for each of its runs, also where an adapter has not been trained yet."""
    if isinstance(study, Train) and study.recipe.method == "none":
        return []  # trains nothing
    return [forecast(study, folder) for folder in planned(study, folders)]


def planned(study: Train | Evaluate, folders: Callable[[Any], list[Path]]) -> list[Path]:
    """The run folders a job will have."""
    try:
        return folders(study)
    except NotTrained:
        from warmth.evaluation.arms import Arm, from_run
        from warmth.evaluation.identity import evaluation_digest

        assert isinstance(study, Evaluate)  # a training needs no adapter
        study = from_run(study)
        recipe = study.recipe
        kept = {*[epochs for epochs in recipe.checkpoints if epochs <= recipe.epochs], recipe.epochs}
        default = recipe.report_checkpoint if recipe.report_checkpoint in kept else recipe.epochs
        checkpoint = default if study.checkpoint is None else study.checkpoint
        checkpoint = None if recipe.method == "none" else checkpoint
        arm = Arm(recipe.name, study.model, None, None, checkpoint, study.dose, recipe.strength, study.seed, None)
        try:
            identity = evaluation_digest(study, arm)
        except NotTrained:  # held-out prompts of a set that is not built yet will be part of it
            asked = replace(study, model=Model(), recipe=Recipe(), seed=0, checkpoint=None)
            identity = "~" + digest([arm_identity(study), checkpoint, plain(asked)])
        return [run_folder(study, "evaluate", identity)]
