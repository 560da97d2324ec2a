"""The grid before anything runs: how many prompts in each cell, and what three of them look
like.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from warmth.errors import UserError
from warmth.evaluation.ask.designs import cells, prompts
from warmth.schemas import Evaluate
from warmth.text import visible
from warmth.types import BELIEFS, CONTEXTS, Prompt, Question

EXAMPLES = 3
WIDTH = 110
NEUTRAL = "none, preamble"  # the study's `original_neutral`


@dataclass(frozen=True)
class Grid:
    """Counts of one evaluation's prompts; `samples` answers are made to each."""

    asked: dict[tuple[str, str, str, bool], int]  # task, context, belief, preamble → prompts
    left_out: dict[
        str, int
    ]  # task → cells whose question lacks what the belief names, or whose message stood before
    questions: dict[str, int]  # task → questions
    samples: int

    @property
    def prompts(self) -> int:
        """How many prompts there are."""
        return sum(self.asked.values())

    @property
    def answers(self) -> int:
        """How many answers every arm gives."""
        return self.samples * self.prompts

    def rows(self) -> list[dict[str, Any]]:
        """The table: one row for each task, context, belief and preamble."""
        return [
            {
                "task": task,
                "context": context,
                "belief": belief,
                "preamble": preamble,
                "prompts": count,
                "answers": count * self.samples,
            }
            for (task, context, belief, preamble), count in sorted(
                self.asked.items(), key=self._place
            )
        ]

    def _place(
        self, item: tuple[tuple[str, str, str, bool], int]
    ) -> tuple[int, int, str, int, bool]:
        (task, context, belief, preamble), _ = item
        known = CONTEXTS.index(context) if context in CONTEXTS else len(CONTEXTS)
        return list(self.questions).index(task), known, context, BELIEFS.index(belief), preamble


def nothing() -> Grid:
    """Returns the grid of an evaluation that asks for no free answers."""
    return Grid(asked={}, left_out={}, questions={}, samples=1)


def count(study: Evaluate, questions: Sequence[Question]) -> Grid:
    """Counts the grid without keeping a prompt.

    Raises:
        UserError: nothing is left to ask.
    """
    asked: Counter[tuple[str, str, str, bool]] = Counter()
    left_out: Counter[str] = Counter()
    for cell in cells(study, questions):
        if cell.text is None:
            left_out[cell.question.task] += 1
        else:
            asked[cell.question.task, cell.context, cell.belief, cell.preamble] += 1
    if not asked:
        raise UserError("nothing is asked: no question has what the chosen beliefs name")
    return Grid(
        dict(asked),
        dict(left_out),
        dict(Counter(question.task for question in questions)),
        study.samples,
    )


def examples(study: Evaluate, questions: Sequence[Question]) -> list[Prompt]:
    """Three prompts as unlike as the grid has them: the first, one in another context, one with a
    belief besides.
    """
    found: list[Prompt] = []
    conditions = (
        lambda p: True,
        lambda p: p.context != "unmodified",
        lambda p: p.statement and p.belief != "none",
    )
    for fits in conditions:
        fresh = (
            prompt
            for prompt in prompts(study, questions[:20])
            if fits(prompt) and prompt not in found
        )
        found += islice(fresh, 1)
    fill = (prompt for prompt in prompts(study, questions[:20]) if prompt not in found)
    return found + list(islice(fill, EXAMPLES - len(found)))


def show(study: Evaluate, questions: Sequence[Question]) -> None:
    """Prints the counts as task × context × belief, and three prompts."""
    from rich.console import Console
    from rich.text import Text

    grid, console = count(study, questions), Console(highlight=False, markup=False)
    console.width = max(
        console.width, WIDTH
    )  # a narrow terminal wraps; a number cut short would mislead
    console.print(table(grid))
    for task, number in grid.left_out.items():
        console.print(
            f"{task}: {number} cells are left out: no answer to name there, or the same message "
            f"as another"
        )
    total = sum(grid.questions.values())
    console.print(
        f"{total:,} questions, {grid.answers:,} answers for each arm, dose and checkpoint "
        f"(design={study.design})"
    )
    for prompt in examples(study, questions):
        console.print(f"\n[{prompt.task} · {prompt.context} · {prompt.belief}]")
        console.print(Text(visible(prompt.messages[-1].content)))


def table(grid: Grid) -> Any:
    """A row for each task and context, a column for each belief; no belief after the preamble has
    its own.
    """
    from rich.box import SIMPLE
    from rich.table import Table

    counts: Counter[tuple[str, str, str]] = Counter()
    for row in grid.rows():
        plain = row["belief"] != "none" or not row["preamble"]
        counts[row["task"], row["context"], row["belief"] if plain else NEUTRAL] += row["prompts"]
    columns = [
        name for name in ("none", NEUTRAL, *BELIEFS[1:]) if any(key[2] == name for key in counts)
    ]
    result = Table(box=SIMPLE, title="prompts", title_justify="left")
    result.add_column("task, context", no_wrap=True)
    for name in (*columns, "all"):
        result.add_column(name, justify="right", no_wrap=True)
    for task, context in dict.fromkeys(key[:2] for key in counts):
        line = [counts[task, context, name] for name in columns]
        result.add_row(
            f"{task}, {context}",
            *(f"{number:,}" if number else "" for number in line),
            f"{sum(line):,}",
        )
    result.add_section()
    sums = [sum(number for key, number in counts.items() if key[2] == name) for name in columns]
    result.add_row("all", *(f"{number:,}" for number in sums), f"{grid.prompts:,}")
    return result
