"""One question's rows of finished runs, found without reading the others, for `warmth show`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from warmth.analysis.rows.frames import Rows, load_rows
from warmth.analysis.rows.runs import finished_folders
from warmth.errors import UserError

SMALL_FILES = ("config", "done", "summary", "provenance", "gates", "rules")
ANSWER_ID = b'"answer_id": "'


def load_question(paths: Sequence[Path], question_id: str) -> Rows:
    """Read one question's rows of every finished run under some paths.

    Raises:
        UserError: as `frames.load_rows`, by all rows of the runs: a row that is wrong is named
            where it stands.
    """
    with narrowed(paths, question_id) as folders:
        if folders:
            try:
                return load_rows(folders)
            except UserError:
                pass  # said again below, with the file and the line in the run itself
    return load_rows(paths)


@contextmanager
def narrowed(paths: Sequence[Path], question_id: str) -> Generator[list[Path]]:
    """Yield copies of the finished runs under some paths that hold one question's rows alone.

    Lines are chosen by their bytes, as this project writes them. A run whose lines were written by
    others may seem to hold none; then nothing is yielded for it, and its reader has to read the
    whole run.

    Args:
        paths: folders above run folders.
        question_id: as in answers.jsonl.
    """
    with TemporaryDirectory() as scratch:
        folders = []
        for number, folder in enumerate(finished_folders(paths)):
            target = Path(scratch) / f"{number}" / folder.name
            if _narrow(folder, target, question_id):
                folders.append(target)
        yield folders


def _narrow(folder: Path, target: Path, question_id: str) -> bool:
    """Copy a run's small files and one question's rows; return whether it has any."""
    field = f'"question_id": {json.dumps(question_id, ensure_ascii=False)}'.encode()
    answers = [line for line in _lines(folder / "answers.jsonl") if field in line]
    if not answers:
        return False
    target.mkdir(parents=True)
    for name in SMALL_FILES:
        if (folder / f"{name}.json").exists():
            shutil.copy(folder / f"{name}.json", target)
    answer_ids = {_answer_id(line) for line in answers}
    prompts = [line for line in _lines(folder / "prompts.jsonl") if field in line]
    grades = [line for line in _lines(folder / "grades.jsonl") if _answer_id(line) in answer_ids]
    for name, lines in (("answers", answers), ("prompts", prompts), ("grades", grades)):
        (target / f"{name}.jsonl").write_bytes(b"".join(lines))
    return True


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, one in memory at a time; none if it does not exist."""
    if path.exists():
        with path.open("rb") as stream:
            yield from stream


def _answer_id(line: bytes) -> bytes:
    """Cut a row's answer_id out of its line; empty if there is none."""
    _, _, after = line.partition(ANSWER_ID)
    return after.partition(b'"')[0]
