"""Rows for other tools: one Parquet table over all finished runs, or an Inspect log for each evaluation."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from warmth.analysis.rows import load
from warmth.analysis.runs import FinishedRun, finished, read_run
from warmth.errors import UserError
from warmth.store import read_rows, write_json

FORMATS = ("parquet", "inspect")
STOPS = {"stop": "stop", "length": "max_tokens", "filtered": "content_filter", "error": "unknown"}
# Inspect's letters for right, wrong, partial and none; a trait of advice is 1 if present, so that its mean is its share
VALUES: dict[str, str | int] = {
    "correct": "C",
    "incorrect": "I",
    "hedged": "P",
    "refused": "N",
    "present": 1,
    "absent": 0,
}


def write(paths: Sequence[Path], format: str, out: Path) -> list[Path]:
    """Writes what finished runs hold, and returns the files.

    Raises:
        UserError: an unknown format, or no finished evaluation under a path.
    """
    if format not in FORMATS:
        raise UserError(f"--format={format} is not allowed; choose one of: {', '.join(FORMATS)}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out={out} is not a folder that can be written: {error.strerror}") from error
    return [parquet(paths, out)] if format == "parquet" else list(inspect_logs(paths, out))


def parquet(paths: Sequence[Path], out: Path) -> Path:
    """`answers.parquet`: a row for each answer with its grade and the question it answers, as the report reads them."""
    rows = load(paths)
    prompts = rows.prompts[["question", "answers", "wrong", "message"]].add_prefix("prompt_")
    file = out / "answers.parquet"
    rows.answers.merge(prompts, left_on="prompt_id", right_index=True, how="left").to_parquet(file, index=False)
    return file


def inspect_logs(paths: Sequence[Path], out: Path) -> Iterator[Path]:
    """A log in Inspect's JSON form for each finished evaluation, every grader a scorer.

    A grade without a label is no score; its reason is in the sample's metadata.
    """
    runs = [run for run in map(read_run, finished(paths)) if run.evaluation]
    if not runs:
        raise UserError(f"no finished evaluation run found under {', '.join(map(str, paths))}")
    for run in runs:
        file = out / f"{run.folder.name}.json"
        write_json(file, log_of(run))
        yield file


def log_of(run: FinishedRun) -> dict[str, Any]:
    """One evaluation as Inspect's reader takes it."""
    prompts = {row["prompt_id"]: row for row in read_rows(run.folder / "prompts.jsonl")}
    grades: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in read_rows(run.folder / "grades.jsonl"):
        grades[row["answer_id"]].append(row)
    model = f"{run.model}/{run.arm}"
    samples = [
        sample_of(row, prompts[row["prompt_id"]], grades[row["answer_id"]], model)
        for row in read_rows(run.folder / "answers.jsonl")
    ]
    done = json.loads((run.folder / "done.json").read_text(encoding="utf-8"))
    sampling = run.config.get("sampling") or {}
    spec = {
        "created": datetime.fromtimestamp(done.get("time", 0.0), UTC).isoformat(),
        "task": "warmth",
        "task_id": run.folder.name,
        "run_id": run.folder.name,
        "dataset": {"name": ",".join(run.config.get("task") or {}), "samples": len(samples)},
        "model": model,
        "model_generate_config": {
            "temperature": sampling.get("temperature"),
            "max_tokens": sampling.get("max_new_tokens"),
        },
        "config": {"epochs": run.config.get("samples", 1)},
        "metadata": {"arm": run.arm, "study": run.config.get("study")},
    }
    return {"version": 2, "status": "success", "eval": spec, "samples": samples}


def sample_of(
    row: Mapping[str, Any], prompt: Mapping[str, Any], grades: Sequence[Mapping[str, Any]], model: str
) -> dict[str, Any]:
    """One answer with its scores; what is about the condition is metadata."""
    user = {"role": "user", "content": prompt["message"]}
    said = {"role": "assistant", "content": row["text"], "model": model}
    kept = ("question_id", "task", "context", "belief", "preamble", "statement", "arm", "dose", "checkpoint", "seed")
    unscored = {f"unscored {grade['grader']}": grade["reason"] for grade in grades if grade["label"] is None}
    return {
        "id": row["prompt_id"],
        "epoch": row["sample"] + 1,
        "input": prompt["message"],
        "target": list(prompt["answers"]),
        "messages": [user, said],
        "output": {"model": model, "choices": [{"message": said, "stop_reason": STOPS[row["finish"]]}]},
        "scores": {
            grade["grader"]: {"value": VALUES[grade["label"]], "answer": row["text"], "explanation": grade["reason"]}
            for grade in grades
            if grade["label"] is not None
        },
        "metadata": {key: row[key] for key in (*kept, "answer_id")} | unscored,
    }
