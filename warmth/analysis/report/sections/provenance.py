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

MACHINE = {
    "platform": "",
    "python": "Python ",
}  # what provenance says of one, and the words before it


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
    views = sorted(
        (run_view(run) for run in study.rows.runs), key=lambda view: view["stage"] == "evaluation"
    )
    return list(dict.fromkeys(view["command"] for view in views if view["command"]))


def run_view(run: FinishedRun) -> dict[str, Any]:
    """Describe a run: its folder, commit, machine and the command that made it."""
    source = run.provenance
    packages = {
        name: version for name, version in (source.get("packages") or {}).items() if version
    }
    return {
        "folder": run.folder.name,
        "stage": "evaluation" if run.evaluation else "training",
        "commit": ", ".join(map(str, [*(source.get("earlier") or []), written_commit(source)])),
        "machine": ", ".join(
            f"{before}{source[key]}" for key, before in MACHINE.items() if source.get(key)
        ),
        "packages": ", ".join(f"{name} {version}" for name, version in packages.items()),
        "command": shlex.join(["python", *map(str, source["command"])])
        if source.get("command")
        else "",
    }


def gate_views(study: Study) -> list[dict[str, Any]]:
    """Make the rows of the gates' table."""
    views = []
    for row in study.gates.to_dict("records"):
        lines = [_shown(item) for item in list(row["examples"])[:5]]
        views.append({**row, "arm_variable": variable(row["arm"]), "examples": lines})
    return views


def _shown(value: Any) -> str:
    return wording.visible(
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 300
    )
