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
from warmth.analysis.compare.files import read_json_file
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
    logs = list(_logs_under(path))
    if not logs:
        return path
    target = path / FOLDER
    shutil.rmtree(target, ignore_errors=True)
    groups: dict[tuple[str, str, Any], list[Mapping[str, Any]]] = {}
    for log in logs:
        config = config_of_log(log)
        key = (log["eval"]["model"], str(config["recipe"]["name"]), config["draw_seed"])
        groups.setdefault(key, []).append(log)
    for group in groups.values():
        write_run(group, target)
    return target


def _logs_under(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the logs of ours below a folder, but for those in the run folders made of them."""
    for file in [*sorted(folder.rglob("*.eval")), *sorted(folder.rglob("*.json"))]:
        if FOLDER in file.parts or (file.suffix == ".json" and not _is_json_log(file)):
            continue
        log = read_log(file)
        if log is not None:
            yield log


def _is_json_log(file: Path) -> bool:
    """Say whether a JSON file is an Inspect log of ours, by its first bytes first: other JSON lies
    everywhere.
    """
    with file.open("rb") as stream:
        if b'"version"' not in stream.read(200):
            return False
    try:
        return inspect_logs.is_log(read_json_file(file))
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


def config_of_log(log: Mapping[str, Any]) -> dict[str, Any]:
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
    answers: dict[str, dict[str, Any]] = {}
    grades: dict[str, dict[str, Any]] = {}
    prompts: dict[str, dict[str, Any]] = {}
    for log in logs:
        for sample in log["samples"]:
            answer, grade, prompt = sample_rows(sample, columns, str(log["file"]))
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
    about = logs[0]["eval"]
    packages = dict(about.get("packages") or {})
    provenance = {"packages": packages, "command": f"inspect eval {about['task']}"}
    write_json(folder / "provenance.json", provenance)
    write_json(folder / "done.json", {"time": 0.0})
    return folder


def merged_config(logs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join the configs of one model's logs: contexts, beliefs and tasks of all of them; the model
    is Inspect's.
    """
    merged = json.loads(json.dumps(config_of_log(logs[0])))
    model = str(logs[0]["eval"]["model"])
    merged["model"] = {"name": model.replace("/", "--"), "kind": "api", "api_model": model}
    for log in logs[1:]:
        config = config_of_log(log)
        merged["condition"].update(config["condition"])
        merged["task"].update(config["task"])
        merged["beliefs"] = list(dict.fromkeys([*merged["beliefs"], *config["beliefs"]]))
    return merged


def columns_of(config: Mapping[str, Any], run: str) -> dict[str, Any]:
    """Give the columns that all answers of a run share."""
    recipe = str(config["recipe"]["name"])
    return {
        "arm": "original" if recipe == "none" else recipe,
        "model": config["model"]["name"],
        "strength": 1.0,
        "dose": 1.0,
        "checkpoint": None,
        "seed": 0,
        "draw_seed": config["draw_seed"],
        "run": run,
    }


def sample_rows(
    sample: Mapping[str, Any], columns: Mapping[str, Any], place: str
) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any]]:
    """Make the rows of a sample: its answer, its grade (None if it has none) and its prompt.

    Raises:
        UserError: the sample lacks what `warmth/conditions` writes.
    """
    about = sample.get("metadata") or {}
    for name in ASKED:
        if name not in about:
            sample_id = str(sample.get("id"))[:40]
            raise UserError(f"{place}: sample {sample_id} has no {name} in its metadata")
    output = sample.get("output") or {}
    choices = output.get("choices") or []
    stop_reason = str(choices[0].get("stop_reason")) if choices else "error"
    usage = output.get("usage") or {}
    number = int(sample.get("epoch") or 1) - 1
    arm = [columns["model"], columns["arm"], columns["draw_seed"]]
    answer_id = digest([*arm, about["prompt_id"], number])
    answer: dict[str, Any] = {"answer_id": answer_id}
    answer |= {name: about[name] for name in CONDITION}
    answer |= columns
    answer["sample"] = number
    answer["text"] = _text(choices)
    answer["finish"] = FINISHES.get(stop_reason, "error")
    answer["tokens"] = usage.get("output_tokens") or 0
    prompt = {name: about[name] for name in ASKED}
    prompt |= {"tokens": None, "tokens_digest": None}
    return answer, next(_grades(sample, answer_id), None), prompt


def _text(choices: Sequence[Mapping[str, Any]]) -> str:
    """Give the visible text of a reply; what a model thinks is not part of it."""
    content = choices[0]["message"].get("content") if choices else ""
    if isinstance(content, list):
        return "\n".join(str(block["text"]) for block in content if block.get("type") == "text")
    return str(content or "")


def _grades(sample: Mapping[str, Any], answer_id: str) -> Iterator[dict[str, Any]]:
    """Yield the grade that the task's scorer wrote, as a row."""
    for score in (sample.get("scores") or {}).values():
        about = score.get("metadata") or {}
        if "grader" in about and "label" in about:
            yield {
                "answer_id": answer_id,
                "grader": about["grader"],
                "label": about["label"],
                "affirms": about.get("affirms"),
                "reason": about.get("reason"),
                "cost_usd": 0.0,
            }
