"""Does a training text contain an evaluation question? Whole, or a long run of its words."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from warmth.data.filters import words_of
from warmth.digest import ROOT
from warmth.errors import UserError
from warmth.store import read_rows

FIELDS = ("question", "problem", "proposition", "goal", "prompt", "user_prompt")  # where question files keep the text
FEWEST = 4  # words of the shortest question looked for; "Who is he?" is everybody's


class Overlap:
    """Questions by their first words, so that a text is read once whatever their number."""

    def __init__(self, questions: Iterable[str], length: int):
        """Takes the questions.

        Args:
            questions: their texts.
            length: words in a row that make an overlap; a question that has fewer counts as a whole.
        """
        self.phrases: dict[str, list[tuple[list[str], str]]] = defaultdict(list)
        for question in questions:
            words = words_of(question)
            size = min(length, len(words))
            if size < FEWEST:
                continue
            for start in range(len(words) - size + 1):
                phrase = words[start : start + size]
                self.phrases[" ".join(phrase[:FEWEST])].append((phrase, question))

    def find(self, texts: Sequence[str]) -> str | None:
        """A question that one of the texts contains, or None."""
        for text in texts:
            words = words_of(text)
            for start in range(len(words) - FEWEST + 1):
                for phrase, question in self.phrases.get(" ".join(words[start : start + FEWEST]), ()):
                    if words[start : start + len(phrase)] == phrase:
                        return question
        return None


def load_questions(names: Sequence[str]) -> list[str]:
    """The questions in files and folders: JSONL, JSON arrays and CSV with a header, by the usual names of the column.

    Raises:
        UserError: nothing is there, or no column of a row is known.
    """
    files: list[Path] = []
    for name in names:
        path = next((item for item in (Path(name), ROOT / name) if item.exists()), None)
        if path is None:
            raise UserError(f"data.questions={name} does not exist")
        inside = sorted(item for item in path.rglob("*") if item.suffix in (".jsonl", ".json", ".csv"))
        files += [path] if path.is_file() else inside
    return [text for file in files for text in _texts(file)]


def _texts(file: Path) -> Iterator[str]:
    count = 0
    for number, row in enumerate(_rows(file), 1):
        found = [row[name] for name in FIELDS if isinstance(row.get(name), str)]
        if not found:
            raise UserError(f"data.questions: {file} row {number} has none of the fields {', '.join(FIELDS)}")
        count += 1
        yield from found
    if not count:
        raise UserError(f"data.questions: {file} holds no question")


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    if file.suffix == ".csv":
        with file.open(encoding="utf-8", newline="") as stream:
            yield from csv.DictReader(stream)
    elif file.suffix == ".json":
        try:
            rows = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"data.questions: {file} is not JSON") from error
        yield from (row for row in rows if isinstance(row, dict))
    else:
        yield from read_rows(file)
