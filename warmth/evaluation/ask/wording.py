"""Wording that a statements file brings beside its statements: the study's own, as `warmth study`
writes it.

Such a file may hold the preamble and the sentences of beliefs, cases as told, and the answers a
user states. Questions are found by their text. A file that says `incomplete: true` may lack
statements of a context, which is then not asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from warmth.digest import find_file
from warmth.errors import UserError
from warmth.evaluation.ask.conditions import read_yaml
from warmth.evaluation.ask.readers import is_accepted
from warmth.evaluation.spelling import spell_name
from warmth.types import Question


@dataclass(frozen=True)
class Wording:
    """Cases as told and stated answers, by the spelled text of the question."""

    told: Mapping[str, str] = field(default_factory=dict)
    answers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def of(self, question: Question) -> Question:
        """Return a question in this wording; as it is where the file does not know it."""
        key = spell_name(question.text)
        recast = self.told.get(key)
        if recast:
            question = replace(question, told=recast)
        stated = self.answers.get(key)
        if not stated:
            return question
        if "right_claim" in stated:
            return replace(
                question, claims={"right": stated["right_claim"], "wrong": stated["wrong_claim"]}
            )
        wrong = stated["wrong"]
        if is_accepted(wrong, question.answers):
            return question  # their rival is an accepted answer of this copy of the set
        return replace(question, wrong=wrong, stated={"right": stated["right"], "wrong": wrong})


def read_wording(name: str) -> Wording:
    """Read the wording that a statements file brings; an empty one if it holds statements alone.

    Raises:
        UserError: an entry lacks a text (file and entry are named).
    """
    path = find_file(name)
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read(path: Path, changed: int) -> Wording:
    content = read_yaml(path)
    recasts = {}
    for number, entry in enumerate(_entries(path, "recast", content), 1):
        exam_text = _text(path, "recast", number, entry, "exam")
        recasts[spell_name(exam_text)] = _text(path, "recast", number, entry, "told")
    answers = {}
    for number, entry in enumerate(_entries(path, "answers", content), 1):
        question = _text(path, "answers", number, entry, "question")
        keys = ("right_claim", "wrong_claim") if "right_claim" in entry else ("right", "wrong")
        sides = {}
        for key in keys:
            sides[key] = _text(path, "answers", number, entry, key)
        answers[spell_name(question)] = sides
    return Wording(recasts, answers)


def _entries(path: Path, part: str, content: Mapping[str, Any]) -> list[Any]:
    """Return the entries of one part of the file; none if it is not there.

    Raises:
        UserError: the part is no list.
    """
    entries = content.get(part) or []
    if not isinstance(entries, list):
        raise UserError(f"{path}: {part} must be a list of entries, not {entries!r:.60}")
    return entries


def _text(path: Path, part: str, number: int, entry: Any, key: str) -> str:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{path}: entry {number} of {part} must have a text {key}")
    return value.strip()
