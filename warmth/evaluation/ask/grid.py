"""The grid before anything runs: how many prompts in each cell, and what three of them look
like.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from warmth.errors import UserError
from warmth.evaluation.ask.designs import prompt_cells, prompts
from warmth.schemas import Evaluate
from warmth.text import visible
from warmth.types import BELIEFS, CONTEXTS, Prompt, Question

EXAMPLES = 3
WIDTH = 110
NEUTRAL = "none, preamble"  # the study's `original_neutral`


@dataclass(frozen=True)
class PromptGrid:
    """Counts of one evaluation's prompts; `samples` answers are made to each."""

    asked: dict[tuple[str, str, str, bool], int]  # task, context, belief, preamble → prompts
    # task → cells whose question lacks what the belief names, or whose message stood before
    left_out: dict[str, int]
    questions: dict[str, int]  # task → questions
    samples: int

    @property
    def prompts(self) -> int:
        """Count the prompts."""
        return sum(self.asked.values())

    @property
    def answers(self) -> int:
        """Count the answers that every arm gives."""
        return self.samples * self.prompts

    def rows(self) -> list[dict[str, Any]]:
        """Return the table: one row for each task, context, belief and preamble."""
        rows = []
        ordered = sorted(self.asked.items(), key=self._place)
        for (task, context, belief, preamble), number in ordered:
            row = {
                "task": task,
                "context": context,
                "belief": belief,
                "preamble": preamble,
                "prompts": number,
                "answers": number * self.samples,
            }
            rows.append(row)
        return rows

    def _place(
        self, item: tuple[tuple[str, str, str, bool], int]
    ) -> tuple[int, int, str, int, bool]:
        (task, context, belief, preamble), _ = item
        known = CONTEXTS.index(context) if context in CONTEXTS else len(CONTEXTS)
        return list(self.questions).index(task), known, context, BELIEFS.index(belief), preamble


def nothing() -> PromptGrid:
    """Return the grid of an evaluation that asks for no free answers."""
    return PromptGrid(asked={}, left_out={}, questions={}, samples=1)


def count_prompts(study: Evaluate, questions: Sequence[Question]) -> PromptGrid:
    """Count the grid without keeping a prompt.

    Raises:
        UserError: nothing is left to ask.
    """
    asked: Counter[tuple[str, str, str, bool]] = Counter()
    left_out: Counter[str] = Counter()
    for cell in prompt_cells(study, questions):
        if cell.text is None:
            left_out[cell.question.task] += 1
        else:
            asked[cell.question.task, cell.context, cell.belief, cell.preamble] += 1
    if not asked:
        raise UserError("nothing is asked: no question has what the chosen beliefs name")
    return PromptGrid(
        asked=dict(asked),
        left_out=dict(left_out),
        questions=dict(Counter([question.task for question in questions])),
        samples=study.samples,
    )


def example_prompts(study: Evaluate, questions: Sequence[Question]) -> list[Prompt]:
    """Return three prompts as unlike as the grid has them: the first, one in another context, one
    with a belief besides.
    """
    candidates = list(prompts(study, questions[:20]))
    in_context = [prompt for prompt in candidates if prompt.context != "unmodified"]
    with_belief = [prompt for prompt in candidates if prompt.statement and prompt.belief != "none"]
    examples_so_far: list[Prompt] = []
    for fitting in (candidates, in_context, with_belief):
        for prompt in fitting:
            if prompt not in examples_so_far:
                examples_so_far.append(prompt)
                break
    for prompt in candidates:
        if len(examples_so_far) < EXAMPLES and prompt not in examples_so_far:
            examples_so_far.append(prompt)
    return examples_so_far


def print_prompt_grid(study: Evaluate, questions: Sequence[Question]) -> None:
    """Print the counts as task × context × belief, and three prompts."""
    from rich.console import Console
    from rich.text import Text

    grid = count_prompts(study, questions)
    console = Console(highlight=False, markup=False)
    # A narrow terminal wraps; a number cut short would mislead.
    console.width = max(console.width, WIDTH)
    console.print(grid_table(grid))
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
    for prompt in example_prompts(study, questions):
        console.print(f"\n[{prompt.task} · {prompt.context} · {prompt.belief}]")
        console.print(Text(visible(prompt.messages[-1].content)))


def grid_table(grid: PromptGrid) -> Any:
    """Return a table with a row for each task and context and a column for each belief.

    No belief after the preamble has a column of its own.
    """
    from rich.box import SIMPLE
    from rich.table import Table

    lines: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    totals: Counter[str] = Counter()
    for row in grid.rows():
        belief = row["belief"]
        if belief == "none" and row["preamble"]:
            belief = NEUTRAL
        lines[row["task"], row["context"]][belief] += row["prompts"]
        totals[belief] += row["prompts"]
    columns = [name for name in ("none", NEUTRAL, *BELIEFS[1:]) if name in totals]
    result = Table(box=SIMPLE, title="prompts", title_justify="left")
    result.add_column("task, context", no_wrap=True)
    for name in (*columns, "all"):
        result.add_column(name, justify="right", no_wrap=True)
    for (task, context), counts in lines.items():
        numbers = [f"{counts[name]:,}" if counts[name] else "" for name in columns]
        result.add_row(f"{task}, {context}", *numbers, f"{counts.total():,}")
    result.add_section()
    result.add_row("all", *[f"{totals[name]:,}" for name in columns], f"{grid.prompts:,}")
    return result
