"""What every tool's log becomes: one evaluation, a row for each item at each epoch, a column for
each score.

    a tool's sample  →  task, item, epoch, cluster, content, words, and the score of each metric
    (NaN: no score)

Readers (`inspect_logs`, `lm_eval`, `lighteval`, `sheets`) make `Item`s; nobody past this file knows
a tool.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from warmth.analysis.wording import amount
from warmth.errors import UserError
from warmth.text import line

KEY = ["task", "item", "epoch"]
UNIT = 1  # the epoch of a tool that asks each item once
WORDS = 90  # characters of an item's text that a list of mismatches shows
CANONICAL = json.JSONEncoder(sort_keys=True, default=str)
# Inspect's letters and words, as its own `accuracy` counts them
LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
WORDS_FOR_NUMBERS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
WORDS_FOR_NOTHING = {"", "nan", "none", "null", "na", "n/a"}


class Item(NamedTuple):
    """One sample of any tool.

    Attributes:
        item: its id as text; "" if the tool gives none, so that its content must identify it.
        cluster: what it shares with other items, such as a passage; None: it stands alone.
        content: digests of what was asked and what is right, see `content_of`; "" if the log does
        not say.
        words: the beginning of its question, for people.
        scores: metric → value as the tool wrote it.
    """

    task: str
    item: str
    epoch: str
    cluster: str | None
    content: str
    words: str
    scores: Mapping[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """What one system scored.

    Attributes:
        system: its name in tables.
        source: the path it was read from, as the user wrote it.
        items: columns task, item, epoch (all text), cluster (None: alone), content, words; rows in
        the log's order.
        scores: metric → (rows,) scores; NaN where an item has none.
        notes: what a reader of the comparison should know of this log.
    """

    system: str
    source: str
    items: pd.DataFrame
    scores: pd.DataFrame
    notes: tuple[str, ...] = ()

    def metrics_of(self, task: str) -> list[str]:
        """List the metrics that at least one item of a task has, in the log's order."""
        of_task = self.scores[self.items["task"].eq(task)]
        return [metric for metric in of_task.columns if of_task[metric].notna().any()]


@dataclass
class Collector:
    """Gathers the items of one system and turns them into an `Evaluation`."""

    system: str
    source: str
    items: list[Item] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def evaluation(self) -> Evaluation:
        """Put all items into columns, and check that each is there once.

        Raises:
            UserError: no items, an item twice in one epoch, or no metric whose values are numbers.
        """
        if not self.items:
            raise UserError(f"{self.source} holds no samples")
        frame = pd.DataFrame(self.items, columns=list(Item._fields), dtype=object).drop(
            columns="scores"
        )
        without_id = frame["item"].eq("")
        frame.loc[without_id, "item"] = frame.loc[without_id, "content"]
        self._check_once(frame)
        scores = self._scores()
        return Evaluation(self.system, self.source, frame, scores, tuple(self.notes))

    def _check_once(self, frame: pd.DataFrame) -> None:
        nameless = frame["item"].eq("")
        if nameless.any():
            number = int(nameless.to_numpy().argmax()) + 1
            raise UserError(
                f"{self.source}: sample {number} has neither an id nor a question to know it by"
            )
        twice = frame[frame.duplicated(KEY)]
        if len(twice):
            example = twice.iloc[0]
            task = f" of task {shown(example['task'])}" if example["task"] else ""
            raise UserError(
                f"{self.source}: item {shown(example['item'])}{task} is there more than once in "
                f"epoch {example['epoch']} ({amount(len(twice), 'such row')}); give each sample an "
                f"id or an epoch of its own"
            )

    def _scores(self) -> pd.DataFrame:
        """Make a column of numbers for each metric; a metric whose values are no numbers is left
        out with a note.
        """
        names = list(dict.fromkeys(metric for item in self.items for metric in item.scores))
        columns = {}
        for name in names:
            try:
                columns[name] = [number_of(item.scores.get(name)) for item in self.items]
            except ValueError as error:
                self.notes.append(
                    f"{self.system}: {shown(name)} is left out, its values are no numbers ({error})"
                )
        if not columns:
            reason = f": {self.notes[-1]}" if names else ""
            raise UserError(f"{self.source} holds no scores{reason}")
        return pd.DataFrame(columns, dtype=float)


def number_of(value: Any) -> float:
    """Turn a tool's score into a number, as Inspect's own `accuracy` does; NaN if there is none.

    C 1, P 0.5, I and N 0; true and yes 1, false and no 0; numbers and their spellings as they are.

    Raises:
        ValueError: it is a word or a list.
    """
    if value is None:
        return math.nan
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:  # a whole number beyond any float
            return math.nan
        return number if math.isfinite(number) else math.nan
    if not isinstance(value, str):
        raise ValueError(f"such as {line(json.dumps(value, default=str), 40)}")
    text = value.strip()
    if text in LETTERS:
        return LETTERS[text]
    lowered = text.lower()
    if lowered in WORDS_FOR_NOTHING:
        return math.nan
    if lowered in WORDS_FOR_NUMBERS:
        return WORDS_FOR_NUMBERS[lowered]
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"such as {line(text, 40)}") from None
    return number if math.isfinite(number) else math.nan


def content_of(**fields: Any) -> str:
    """Digest what was asked and what is right, so that two logs can be compared field by field.

    Args:
        fields: name for people → value; what is empty is left out.

    Returns:
        `name=digest` of each field, joined by spaces; "" if nothing is known.
    """
    digests = []
    for name, value in fields.items():
        if value not in (None, "", [], {}):
            text = CANONICAL.encode(value)
            digest = hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
            digests.append(f"{name}={digest}")
    return " ".join(digests)


def differing_fields(content_a: str, content_b: str) -> list[str]:
    """List the fields by which two contents differ, also those that only one log has."""
    different = set(content_a.split()) ^ set(content_b.split())
    return sorted({digest.partition("=")[0] for digest in different})


def first_words(text: Any) -> str:
    """Give the beginning of a question on one line."""
    return line(str(text)[: 4 * WORDS], WORDS)


def shown(text: Any) -> str:
    """Write a name from a log so that it is safe and short in a message."""
    return line(text, 60)


def collect(
    system: str, source: str, items: Iterable[Item], notes: Iterable[str] = ()
) -> Evaluation:
    """Make an evaluation of items, see `Collector.evaluation`."""
    return Collector(system, source, list(items), list(notes)).evaluation()
