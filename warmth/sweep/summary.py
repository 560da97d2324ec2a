"""What became of a sweep's runs: one line for each, printed at its end and kept beside the runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from warmth.sweep.states import state_of


def show(folders: Sequence[Path], asked: int) -> None:
    """One line per run: state and, where it failed, why. Printed on standard error."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"sweep: {len(folders)} runs" + (f" for {asked} jobs" if asked != len(folders) else ""))
    for name in ("run", "state", "message"):
        table.add_column(name, overflow="fold")
    for folder in folders:
        state = state_of(folder)
        table.add_row(Text(folder.name), Text(state.name), Text(state.message))
    Console(file=sys.stderr).print(table)
