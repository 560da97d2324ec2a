"""`warmth report --publish`: the finished page and its tables as one more run of the study in W&B."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from warmth.analysis.report import Report, records, summary
from warmth.digest import digest
from warmth.store import Run
from warmth.tracking import Wandb


@dataclass(frozen=True)
class Published:
    """What the report was made of: its config in W&B."""

    runs: tuple[str, ...]
    draw_seed: int


def publish(report: Report, out: Path) -> None:
    """Records headline, differences and warmth as tables and the report folder as an artifact.

    Online with WANDB_API_KEY, else offline beside the runs for `wandb sync`; W&B's failures are one line on standard
    error. Project and team are those that the runs were recorded under.

    Raises:
        UserError: wandb is not installed.
    """
    runs = [run for run in report.rows.runs if run.evaluation]
    loggers = [run.config.get("logger") or {} for run in runs]
    own = next((logger for logger in loggers if str(logger.get("_target_", "")).endswith(".Wandb")), {})
    names = tuple(sorted(run.folder.name for run in report.rows.runs))
    study = runs[0].folder.parent.parent
    config = Published(names, int(report.rows.answers["draw_seed"].iloc[0]))
    place = Run(study / "report" / f"report-{digest(names)}")
    server = Wandb(**{key: own[key] for key in ("project", "entity", "mode", "base_url") if key in own})
    tracker = server.start(place, config, "report")
    for name in ("headline", "differences", "warmth"):
        tracker.table(name, records(getattr(report, name)))
    tracker.artifact(f"{study.name}-report", "report", out, copy=True)
    tracker.summary({"answer": " ".join(summary(report)["answer"])})
    tracker.finish()
