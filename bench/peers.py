"""Other tools on this project's work: starts the scripts of a peers folder, if there is one, in
this run's environment.

The folder is named by `PEERS` (default `../shared/peers`), its data by `PEERS_DATA`. Peers that
cannot share this project's environment have theirs under `PEERS_VENVS`, by the names of the peers'
README. A peer whose package is not installed is left out with its reason.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from warmth.digest import ROOT
from warmth.models import embedded_folder

PEERS = Path(os.environ.get("PEERS") or ROOT.parent / "shared" / "peers")
DATA = Path(os.environ.get("PEERS_DATA") or ROOT.parent / "shared" / "data")


def python_of(venv: str) -> str:
    """The interpreter of a peers' environment; this one where there is none of that name."""
    found = Path(os.environ.get("PEERS_VENVS", "")) / venv / "bin" / "python"
    return str(found) if found.exists() else sys.executable


def peer(script: str, *args: str, venv: str = "", **extra: str) -> dict[str, Any] | None:
    """The `RESULT` row of a peer's script, or None with one line on why there is none; `extra` is
    environment.
    """
    if not (PEERS / script).exists():
        print(f"  {script}: no peers folder", file=sys.stderr)
        return None
    with tempfile.TemporaryDirectory() as folder:
        paths = {
            "PEERS_MODEL": str(embedded_folder()),
            "PEERS_DATA": str(DATA),
            "PEERS_OUT": f"{folder}/results.jsonl",
        }
        env = {
            **os.environ,
            **paths,
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            **extra,
        }
        done = subprocess.run(
            [python_of(venv), str(PEERS / script), *args], env=env, capture_output=True, text=True
        )
    rows = [
        line.removeprefix("RESULT ")
        for line in done.stdout.splitlines()
        if line.startswith("RESULT ")
    ]
    if done.returncode or not rows:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        print(f"  {script} {' '.join(args)}: left out: {reason[:160]}", file=sys.stderr)
        return None
    return json.loads(rows[-1])


def table(title: str, rows: list[dict[str, Any]]) -> None:
    """Prints rows with the same keys as Markdown."""
    print(f"\n### {title}\n")
    if not rows:
        print("nothing was measured")
        return
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + "---|" * len(rows[0]))
    for row in rows:
        cells = [
            f"{value:,.3g}" if isinstance(value, float) else str(value) for value in row.values()
        ]
        print("| " + " | ".join(cells) + " |", flush=True)
