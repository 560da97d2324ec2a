"""Rows for other tools: one Parquet table over all finished runs, or an Inspect log for each
evaluation.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from warmth.analysis.compare.scores import number_of
from warmth.analysis.rows.frames import load_rows
from warmth.analysis.rows.runs import FinishedRun, finished_folders, read_run
from warmth.analysis.statistics.effects import clustered_mean
from warmth.analysis.statistics.families import standard_error
from warmth.errors import UserError
from warmth.store import read_rows, write_json

FORMATS = ("parquet", "inspect")
STOPS = {"stop": "stop", "length": "max_tokens", "filtered": "content_filter", "error": "unknown"}
# Inspect's letters for right, wrong, partial and none; a trait of advice is 1 if present, so that
# its mean is its share
VALUES: dict[str, str | int] = {
    "correct": "C",
    "incorrect": "I",
    "hedged": "P",
    "refused": "N",
    "present": 1,
    "absent": 0,
}
# columns of an answer that are metadata of its sample
METADATA = ("question_id", "task", "context", "belief", "preamble", "statement")
METADATA += ("arm", "dose", "checkpoint", "seed", "answer_id")


def write_export(paths: Sequence[Path], format: str, out: Path) -> list[Path]:
    """Write what finished runs hold, and return the files.

    Raises:
        UserError: an unknown format, or no finished evaluation under a path.
    """
    if format not in FORMATS:
        raise UserError(f"--format={format} is not allowed; choose one of: {', '.join(FORMATS)}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--out={out} is not a folder that can be written: {error.strerror}"
        ) from error
    if format == "parquet":
        return [parquet(paths, out)]
    return list(inspect_logs(paths, out))


def parquet(paths: Sequence[Path], out: Path) -> Path:
    """Write `answers.parquet`: a row for each answer with its grade and the question it answers, as
    the report reads them.
    """
    rows = load_rows(paths)
    prompts = rows.prompts[["question", "answers", "wrong", "message"]].add_prefix("prompt_")
    file = out / "answers.parquet"
    table = rows.answers.merge(prompts, left_on="prompt_id", right_index=True, how="left")
    table.to_parquet(file, index=False)
    return file


def inspect_logs(paths: Sequence[Path], out: Path) -> Iterator[Path]:
    """Write an Inspect log for each finished evaluation, every grader a scorer.

    A grade without a label is no score; its reason is in the sample's metadata. Inspect's own
    writer writes the log if it is installed (the extra `inspect`), so that what it would not read
    is not written; else the same content is written in the form of its version 2.
    """
    runs = [run for run in map(read_run, finished_folders(paths)) if run.evaluation]
    if not runs:
        raise UserError(f"no finished evaluation run found under {', '.join(map(str, paths))}")
    for run in runs:
        log = inspect_log_of(run)
        file = out / log_name(log)
        write_log(log, file)
        yield file


def log_name(log: Mapping[str, Any]) -> str:
    """Name a log's file as Inspect does, time first: its list of logs and its data frames skip
    other JSON files.
    """
    about = log["eval"]
    names = [re.sub(r"[_/:+]", "-", about[key]) for key in ("created", "task", "task_id")]
    return "_".join(names) + ".json"


def write_log(log: dict[str, Any], file: Path) -> None:
    """Write one log, by Inspect's writer if it is installed."""
    if find_spec("inspect_ai") is None:
        write_json(file, log)
        return
    from inspect_ai.log import EvalLog, write_eval_log

    write_eval_log(EvalLog.model_validate(log), str(file), format="json")


def inspect_log_of(run: FinishedRun) -> dict[str, Any]:
    """Make the content of a log of one evaluation, in the order in which Inspect reads a header:
    samples last.
    """
    model = f"{run.model}/{run.arm}"
    samples = list(samples_of(run, model))
    done = json.loads((run.folder / "done.json").read_text(encoding="utf-8"))
    sampling = run.config.get("sampling") or {}
    tasks = dict.fromkeys(sample["metadata"]["task"] for sample in samples)
    spec = {
        "created": datetime.fromtimestamp(done.get("time", 0.0), UTC).isoformat(),
        "task": "warmth",
        "task_id": run.folder.name,
        "run_id": run.folder.name,
        "dataset": {"name": ",".join(tasks), "samples": len(samples)},
        "model": model,
        "model_generate_config": {
            "temperature": sampling.get("temperature"),
            "max_tokens": sampling.get("max_new_tokens"),
        },
        "config": {"epochs": run.config.get("samples", 1)},
        "metadata": {"arm": run.arm, "study": run.config.get("study")},
    }
    return {
        "version": 2,
        "status": "success",
        "eval": spec,
        "plan": {"name": "plan", "steps": [], "config": spec["model_generate_config"]},
        "results": results_of(samples),
        "stats": {
            "started_at": spec["created"],
            "completed_at": spec["created"],
            "model_usage": {},
        },
        "samples": samples,
    }


def samples_of(run: FinishedRun, model: str) -> Iterator[dict[str, Any]]:
    """Yield the samples of a run: each answer with its prompt and its grades."""
    prompts = {row["prompt_id"]: row for row in read_rows(run.folder / "prompts.jsonl")}
    grades: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in read_rows(run.folder / "grades.jsonl"):
        grades[row["answer_id"]].append(row)
    for row in read_rows(run.folder / "answers.jsonl"):
        yield sample_of(row, prompts[row["prompt_id"]], grades[row["answer_id"]], model)


def results_of(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum up the samples as Inspect's list of logs shows them: for each grader its mean and
    standard error.

    The mean is Inspect's accuracy (correct 1, hedged ½, incorrect and refused 0) or the share of a
    trait, over the samples with a score; the error is clustered by question.
    """
    values: dict[str, list[float]] = defaultdict(list)
    questions: dict[str, list[str]] = defaultdict(list)
    for sample in samples:
        about = sample["metadata"]
        for grader, score in sample["scores"].items():
            values[grader].append(number_of(score["value"]))
            questions[grader].append(f"{about['task']} {about['question_id']}")
    scores = []
    for grader, numbers in values.items():
        mean = clustered_mean(np.array(numbers), np.array(questions[grader]))
        metrics = {"accuracy": {"name": "accuracy", "value": mean.value, "params": {}}}
        error = standard_error(mean)
        if math.isfinite(error):
            params = {"cluster": "question_id"}
            metrics["stderr"] = {"name": "stderr", "value": error, "params": params}
        row = {"name": grader, "scorer": grader, "params": {}, "metrics": metrics}
        row["scored_samples"] = len(numbers)
        row["unscored_samples"] = len(samples) - len(numbers)
        scores.append(row)
    return {"total_samples": len(samples), "completed_samples": len(samples), "scores": scores}


def sample_of(
    row: Mapping[str, Any],
    prompt: Mapping[str, Any],
    grades: Sequence[Mapping[str, Any]],
    model: str,
) -> dict[str, Any]:
    """Make the sample of one answer with its scores; what is about the condition is metadata."""
    scores = {}
    metadata = {key: row[key] for key in METADATA}
    for grade in grades:
        if grade["label"] is None:
            metadata[f"unscored {grade['grader']}"] = grade["reason"]
            continue
        scores[grade["grader"]] = {
            "value": VALUES[grade["label"]],
            "answer": row["text"],
            "explanation": grade["reason"],
        }
    user = {"role": "user", "content": prompt["message"]}
    reply = {"role": "assistant", "content": row["text"], "model": model}
    choice = {"message": reply, "stop_reason": STOPS[row["finish"]]}
    return {
        "id": row["prompt_id"],
        "epoch": row["sample"] + 1,
        "input": prompt["message"],
        "target": list(prompt["answers"]),
        "messages": [user, reply],
        "output": {"model": model, "choices": [choice]},
        "scores": scores,
        "metadata": metadata,
    }
