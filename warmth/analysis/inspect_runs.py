"""Inspect's logs of the task `warmth/conditions` as finished runs, so that `warmth report LOGS`
reads them.

Logs of one model and recipe are one run, whose folder lies beside the logs under `warmth_runs/`; it
is written anew each time, from the logs alone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from warmth.analysis.compare import inspect_logs
from warmth.analysis.compare.files import read_json
from warmth.digest import digest
from warmth.errors import UserError
from warmth.store import append_rows, write_json
from warmth.types import Finish

FOLDER = "warmth_runs"
KEY = "warmth"  # of a log's metadata: the config its samples were made by
FINISHES: Mapping[str, Finish] = {
    "stop": "stop",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "filtered",
}
CONDITION = ("prompt_id", "question_id", "task", "context", "belief", "preamble", "statement")
ASKED = (*CONDITION, "question", "answers", "wrong", "message")


def with_logs(paths: Sequence[Path]) -> list[Path]:
    """Turn the logs of `warmth/conditions` under some paths into run folders.

    Args:
        paths: folders; those without such logs stay as they are.

    Returns:
        the paths, with the folder of the made runs in place of one that holds logs.

    Raises:
        UserError: a log cannot be read, or lacks what the task writes.
    """
    return [_with_logs(path) for path in paths]


def _with_logs(path: Path) -> Path:
    if not path.is_dir() or next(path.rglob("done.json"), None) and not (path / FOLDER).is_dir():
        return path
    files = [file for file in sorted(path.rglob("*.eval")) if FOLDER not in file.parts]
    files += [
        file
        for file in sorted(path.rglob("*.json"))
        if FOLDER not in file.parts and _is_json_log(file)
    ]
    logs = [log for log in map(read_log, files) if log is not None]
    if not logs:
        return path
    target = path / FOLDER
    shutil.rmtree(target, ignore_errors=True)
    groups: dict[tuple[str, str, Any], list[Mapping[str, Any]]] = {}
    for log in logs:
        config = config_of(log)
        key = (log["eval"]["model"], str(config["recipe"]["name"]), config["draw_seed"])
        groups.setdefault(key, []).append(log)
    for group in groups.values():
        write_run(group, target)
    return target


def _is_json_log(file: Path) -> bool:
    """Say whether a JSON file is an Inspect log of ours, by its first bytes first: other JSON lies
    everywhere.
    """
    with file.open("rb") as stream:
        if b'"version"' not in stream.read(200):
            return False
    try:
        return inspect_logs.is_log(read_json(file))
    except UserError:
        return False


def read_log(file: Path) -> dict[str, Any] | None:
    """Read a log whole; None if its task is not ours.

    Raises:
        UserError: it is damaged.
    """
    header, samples = inspect_logs.read_whole(file)
    metadata = (header.get("eval") or {}).get("metadata") or {}
    if not isinstance(metadata.get(KEY), dict):
        return None
    return {**header, "samples": list(samples), "file": str(file)}


def config_of(log: Mapping[str, Any]) -> dict[str, Any]:
    """Give the config that the samples of a log were made by.

    Raises:
        UserError: it is none.
    """
    config = log["eval"]["metadata"][KEY]
    if not isinstance(config.get("recipe"), dict) or "draw_seed" not in config:
        raise UserError(f"{log['file']} has no config of warmth/conditions")
    return config


def write_run(logs: Sequence[Mapping[str, Any]], target: Path) -> Path:
    """Write a run folder of the logs of one model and recipe."""
    config = merged_config(logs)
    run = digest([config["model"], config["recipe"], config["draw_seed"], sorted(config["task"])])
    name = f"{config['model']['name']}-{config['recipe']['name']}-s0-{run}"
    folder = target / "evaluate" / name
    folder.mkdir(parents=True)
    columns = columns_of(config, run)
    answers, grades, prompts = {}, {}, {}
    for log in logs:
        for sample in log["samples"]:
            answer, grade, prompt = rows_of(sample, columns, str(log["file"]))
            answers.setdefault(answer["answer_id"], answer)
            prompts.setdefault(prompt["prompt_id"], prompt)
            if grade is not None:
                grades.setdefault(answer["answer_id"], grade)
    append_rows(folder / "answers.jsonl", answers.values())
    append_rows(folder / "grades.jsonl", grades.values())
    append_rows(folder / "prompts.jsonl", prompts.values())
    write_json(folder / "config.json", config)
    graders: dict[str, list[str]] = {}
    for answer_id, grade in grades.items():
        graders[answers[answer_id]["task"]] = [grade["grader"]]
    write_json(folder / "summary.json", {"graders": graders})
    packages = dict(logs[0]["eval"].get("packages") or {})
    write_json(
        folder / "provenance.json",
        {"packages": packages, "command": f"inspect eval {logs[0]['eval']['task']}"},
    )
    write_json(folder / "done.json", {"time": 0.0})
    return folder


def merged_config(logs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join the configs of one model's logs: contexts, beliefs and tasks of all of them; the model
    is Inspect's.
    """
    first = json.loads(json.dumps(config_of(logs[0])))
    model = str(logs[0]["eval"]["model"])
    first["model"] = {"name": model.replace("/", "--"), "kind": "api", "api_model": model}
    for log in logs[1:]:
        other = config_of(log)
        first["condition"] = {**first["condition"], **other["condition"]}
        first["task"] = {**first["task"], **other["task"]}
        first["beliefs"] = list(dict.fromkeys([*first["beliefs"], *other["beliefs"]]))
    return first


def columns_of(config: Mapping[str, Any], run: str) -> dict[str, Any]:
    """Give the columns that all answers of a run share."""
    recipe = str(config["recipe"]["name"])
    arm = {"arm": "original" if recipe == "none" else recipe, "model": config["model"]["name"]}
    fixed = {"strength": 1.0, "dose": 1.0, "checkpoint": None, "seed": 0}
    return {**arm, **fixed, "draw_seed": config["draw_seed"], "run": run}


def rows_of(
    sample: Mapping[str, Any], columns: Mapping[str, Any], place: str
) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any]]:
    """Make the rows of a sample: its answer, its grade (None if it has none) and its prompt.

    Raises:
        UserError: the sample lacks what `warmth/conditions` writes.
    """
    about = sample.get("metadata") or {}
    lacking = [name for name in ASKED if name not in about]
    if lacking:
        raise UserError(
            f"{place}: sample {str(sample.get('id'))[:40]} has no {lacking[0]} in its metadata"
        )
    choices = (sample.get("output") or {}).get("choices") or []
    ended = str(choices[0].get("stop_reason")) if choices else "error"
    number = int(sample.get("epoch") or 1) - 1
    answer_id = digest(
        [columns["model"], columns["arm"], columns["draw_seed"], about["prompt_id"], number]
    )
    usage = (sample.get("output") or {}).get("usage") or {}
    answer = {
        "answer_id": answer_id,
        **{name: about[name] for name in CONDITION},
        **columns,
        "sample": number,
    }
    answer |= {
        "text": _text(choices),
        "finish": FINISHES.get(ended, "error"),
        "tokens": usage.get("output_tokens") or 0,
    }
    prompt = {**{name: about[name] for name in ASKED}, "tokens": None, "tokens_digest": None}
    return answer, next(_grades(sample, answer_id), None), prompt


def _text(choices: Sequence[Mapping[str, Any]]) -> str:
    """Give the visible text of a reply; what a model thinks is not part of it."""
    content = choices[0]["message"].get("content") if choices else ""
    if isinstance(content, list):
        return "\n".join(str(part["text"]) for part in content if part.get("type") == "text")
    return str(content or "")


def _grades(sample: Mapping[str, Any], answer_id: str) -> Iterator[dict[str, Any]]:
    """Yield the grade that the task's scorer wrote, as a row."""
    for score in (sample.get("scores") or {}).values():
        about = score.get("metadata") or {}
        if "grader" in about and "label" in about:
            kept = {name: about.get(name) for name in ("grader", "label", "affirms", "reason")}
            yield {"answer_id": answer_id, **kept, "cost_usd": 0.0}
