"""`logger=tensorboard`: curves, final values and sample tables as TensorBoard's event files."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar

from warmth.errors import UserError
from warmth.store import Run
from warmth.text import line, say
from warmth.tracking import Tracker, flat_values, grouped_metrics, headline_metrics

ROWS = 50  # of a table: TensorBoard shows text, and people read the first
CELL = 300  # characters


@dataclass(frozen=True)
class TensorBoard:
    """One folder of event files for each run folder, under its name."""

    group: ClassVar[str] = "logger"

    def start(self, run: Run, config: Any, job_type: str) -> Tracker:
        """Open the record of a run; one that goes on tells its whole history anew. Only rank 0
        records.

        Raises:
            UserError: tensorboard is not installed.
        """
        if os.environ.get("RANK", "0") != "0":
            return Tracker()
        if find_spec("tensorboard") is None:
            raise UserError(
                "logger=tensorboard needs the package tensorboard, which is not installed: "
                'pip install "warmth-study[tensorboard]", or choose logger=none'
            )
        folder = run.folder.parent.parent / "tensorboard" / f"{job_type}-{run.name}"
        shutil.rmtree(folder, ignore_errors=True)
        say(f"tensorboard: recorded in {folder}; tensorboard --logdir {folder.parent} shows it")
        return _Events(folder, job_type)


class _Events(Tracker):
    def __init__(self, folder: Path, stage: str):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))
        self._stage = stage

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def table(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        shown = list(islice(rows, ROWS))
        columns = list(dict.fromkeys(chain.from_iterable(shown)))
        lines = [_markdown(columns), _markdown(["---"] * len(columns))]
        for row in shown:
            lines.append(_markdown(map(row.get, columns)))
        self._writer.add_text(name, "\n".join(lines))

    def summary(self, values: Mapping[str, Any]) -> None:
        figures = {key: value for key, value in values.items() if key != "cells"}
        figures |= headline_metrics(values)
        for name, value in grouped_metrics(flat_values(figures), self._stage).items():
            if isinstance(value, int | float) and math.isfinite(value):
                self._writer.add_scalar(name, value, 0)

    def finish(self, failed: bool = False) -> None:
        self._writer.close()


def _markdown(cells: Iterable[Any]) -> str:
    """Write a row of a table; text of models is data, so nothing in it may be markup."""
    texts = []
    for cell in cells:
        text = ""
        if cell is not None:
            text = line(cell, CELL)
        texts.append(text.replace("<", "&lt;").replace("|", "&#124;"))
    return "| " + " | ".join(texts) + " |"
