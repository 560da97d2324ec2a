"""Does a training text contain an evaluation question? Whole, or a long run of its words."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from warmth.data.filters import words_of
from warmth.digest import question_source
from warmth.errors import UserError, one_line
from warmth.user_rows import user_rows

# fields in which question files keep the text
FIELDS = ("question", "problem", "proposition", "goal", "prompt", "user_prompt")
# MASK: two propositions in one, of which one is true
READINGS = re.compile(r"<pivotal>(.*?)/(.*?)</pivotal>")
FEWEST = 4  # words of the shortest question looked for; "Who is he?" is everybody's


class Overlap:
    """Questions by their first words, so that a text is read once whatever their number."""

    def __init__(self, questions: Iterable[str], length: int):
        """Index the questions.

        Args:
            questions: their texts.
            length: words in a row that make an overlap; a question that has fewer counts as a
            whole.
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
        """Find a question that one of the texts contains, or None."""
        for text in texts:
            words = words_of(text)
            for start in range(len(words) - FEWEST + 1):
                opening = " ".join(words[start : start + FEWEST])
                for phrase, question in self.phrases.get(opening, ()):
                    if words[start : start + len(phrase)] == phrase:
                        return question
        return None


def questions_to_avoid(names: Sequence[str]) -> list[str]:
    """Read the questions of files, folders and tasks, by usual column names.

    A file is JSONL, a JSON array, or CSV with a header.

    Raises:
        UserError: nothing is there, the hub cannot be reached, or no column of a row is known.
    """
    questions: list[str] = []
    for name in names:
        source = question_source(name)
        if not isinstance(source, Path):
            questions += _texts(f"data.questions={name}", _hub_rows(name, source))
            continue
        for file in _question_files(source):
            rows = (row for _, row in user_rows(file))
            questions += _texts(f"data.questions: {file}", rows)
    return questions


def _question_files(source: Path) -> list[Path]:
    """List a file, or the files of questions in a folder."""
    if source.is_file():
        return [source]
    return sorted(path for path in source.rglob("*") if path.suffix in (".jsonl", ".json", ".csv"))


def _texts(source: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the questions of rows; one that states two propositions as both of its readings.

    Raises:
        UserError: there is no row, or a row has none of the known fields.
    """
    count = 0
    for count, row in enumerate(rows, 1):
        texts = [row[field] for field in FIELDS if isinstance(row.get(field), str)]
        if not texts:
            raise UserError(f"{source} row {count} has none of the fields {', '.join(FIELDS)}")
        for text in texts:
            first_reading = READINGS.sub(r"\1", text)
            second_reading = READINGS.sub(r"\2", text)
            yield first_reading
            if second_reading != first_reading:
                yield second_reading
    if not count:
        raise UserError(f"{source} holds no question")


def _hub_rows(name: str, source: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    import datasets

    try:
        yield from datasets.load_dataset(
            source["source"], source["config"], split=source["split"], revision=source["revision"]
        )
    except Exception as error:  # the hub's client raises many kinds: offline, gated, renamed, moved
        raise UserError(
            f"data.questions={name}: {source['source']} cannot be loaded from the hub "
            f"({one_line(error)[:160]}); give a local copy's file instead"
        ) from error
