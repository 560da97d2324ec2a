"""Where the numbers come from: commands, gates, runs, versions."""

from __future__ import annotations

import json
import shlex
from typing import Any

from warmth.analysis import wording
from warmth.analysis.report.drawing.ink import variable
from warmth.analysis.report.kernel import Fragment, Section
from warmth.analysis.report.study import Study
from warmth.analysis.rows.runs import FinishedRun
from warmth.analysis.rows.tables import records
from warmth.store import written_commit

# what provenance says of a machine, and the words before it
MACHINE = {"platform": "", "python": "Python "}


def provenance(study: Study) -> Section | None:
    """List the commands, the gates and the runs behind the report."""
    values = {
        "facts": study.facts,
        "commands": commands(study),
        "gates": gate_views(study),
        "provenance": [run_view(run) for run in study.rows.runs],
    }
    without_examples = study.gates.drop(columns="examples")
    return Section(
        id="provenance",
        title="Provenance",
        closing=True,
        commands=commands(study),
        parts=[Fragment("provenance.html.j2", values)],
        frames={"gates": without_examples},
        summary={
            "gates": records(without_examples),
            "runs": [run.folder.name for run in study.rows.runs],
        },
    )


def commands(study: Study) -> list[str]:
    """List what was typed, each once, trainings first: a sweep's runs share a command."""
    runs = sorted(study.rows.runs, key=lambda run: run.evaluation)
    typed = dict.fromkeys(map(typed_command, runs))
    typed.pop("", None)
    return list(typed)


def typed_command(run: FinishedRun) -> str:
    """Write the command that made a run as it was typed; "" if that is not known."""
    words = run.provenance.get("command")
    return shlex.join(["python", *map(str, words)]) if words else ""


def run_view(run: FinishedRun) -> dict[str, Any]:
    """Describe a run: its folder, commit, machine and the command that made it."""
    source = run.provenance
    commits = [*(source.get("earlier") or []), written_commit(source)]
    machine = [f"{words}{source[key]}" for key, words in MACHINE.items() if source.get(key)]
    packages = []
    for name, version in (source.get("packages") or {}).items():
        if version:
            packages.append(f"{name} {version}")
    return {
        "folder": run.folder.name,
        "stage": "evaluation" if run.evaluation else "training",
        "commit": ", ".join(map(str, commits)),
        "machine": ", ".join(machine),
        "packages": ", ".join(packages),
        "command": typed_command(run),
    }


def gate_views(study: Study) -> list[dict[str, Any]]:
    """Make the rows of the gates' table."""
    views = []
    for row in study.gates.to_dict("records"):
        lines = list(map(_shown, list(row["examples"])[:5]))
        views.append({**row, "arm_variable": variable(row["arm"]), "examples": lines})
    return views


def _shown(value: Any) -> str:
    """Write an example of what a gate found."""
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False)
    return wording.visible(value, 300)
