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

FIELDS = (
    "question",
    "problem",
    "proposition",
    "goal",
    "prompt",
    "user_prompt",
)  # where question files keep the text
READINGS = re.compile(
    r"<pivotal>(.*?)/(.*?)</pivotal>"
)  # MASK: two propositions in one, of which one is true
FEWEST = 4  # words of the shortest question looked for; "Who is he?" is everybody's


class Overlap:
    """Questions by their first words, so that a text is read once whatever their number."""

    def __init__(self, questions: Iterable[str], length: int):
        """Takes the questions.

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
                for phrase, question in self.phrases.get(
                    " ".join(words[start : start + FEWEST]), ()
                ):
                    if words[start : start + len(phrase)] == phrase:
                        return question
        return None


def load_questions(names: Sequence[str]) -> list[str]:
    """Read the questions of files (JSONL, JSON arrays, CSV with a header), folders and tasks, by
    usual column names.

    Raises:
        UserError: nothing is there, the hub cannot be reached, or no column of a row is known.
    """
    found: list[str] = []
    for name in names:
        source = question_source(name)
        if not isinstance(source, Path):
            found += _texts(f"data.questions={name}", _hub_rows(name, source))
            continue
        inside = sorted(
            item for item in source.rglob("*") if item.suffix in (".jsonl", ".json", ".csv")
        )
        for file in [source] if source.is_file() else inside:
            found += _texts(f"data.questions: {file}", (row for _, row in user_rows(file)))
    return found


def _texts(place: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    count = 0
    for number, row in enumerate(rows, 1):
        found = [row[name] for name in FIELDS if isinstance(row.get(name), str)]
        if not found:
            raise UserError(f"{place} row {number} has none of the fields {', '.join(FIELDS)}")
        count += 1
        for text in found:
            yield from dict.fromkeys(READINGS.sub(side, text) for side in (r"\1", r"\2"))
    if not count:
        raise UserError(f"{place} holds no question")


def _hub_rows(name: str, source: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    import datasets

    options = {key: source[key] for key in ("split", "revision")}
    try:
        yield from datasets.load_dataset(source["source"], source["config"], **options)
    except Exception as error:  # the hub's client raises many kinds: offline, gated, renamed, moved
        raise UserError(
            f"data.questions={name}: {source['source']} cannot be loaded from the hub "
            f"({one_line(error)[:160]}); "
            "give a local copy's file instead"
        ) from error
