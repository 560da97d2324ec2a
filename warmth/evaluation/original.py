"""The study's original while `until_width` asks an arm: it is asked whatever the arm needs a
partner for.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from warmth.api import Servers
from warmth.build import build
from warmth.errors import UserError
from warmth.evaluation import gates, stopping, summary
from warmth.evaluation.answer import answers, arms
from warmth.evaluation.answer.arms import Arm
from warmth.evaluation.answer.engines import Engine
from warmth.evaluation.grade import graders
from warmth.evaluation.grade.graders import Grader
from warmth.evaluation.identity import evaluation_digest
from warmth.schemas import Data, Evaluate, Recipe
from warmth.store import Run, read_json, write_json
from warmth.types import Prompt, Question


class Original:
    """A finished evaluation of the original; its own `until_width` may have stopped it before an
    arm's.
    """

    def __init__(
        self,
        folder: Path,
        study: Evaluate,
        servers: Servers,
        questions: Sequence[Question],
        prompts: Sequence[Prompt],
        chosen: Mapping[str, Mapping[str, Grader]],
    ):
        """Read what has been answered.

        Args:
            folder: of the run.
            study: the arm's config.
            servers: of the arm's command.
            questions: all that could be asked.
            prompts: theirs.
            chosen: the graders of each task.
        """
        self.folder = folder
        self.study = original_study(folder, study)
        self._servers = servers
        self._questions = questions
        self._prompts = prompts
        self._chosen = chosen
        self._answered = {row["prompt_id"] for row in Run(folder).rows("answers")}
        self._arm: Arm | None = None
        self._engine: Engine | None = None
        self._added = 0
        self._seconds = 0.0

    def ask(self, prompts: Sequence[Prompt]) -> None:
        """Ask the original those of the prompts that it has not answered, and grade its answers.

        Where its run has another design than the arm's, nothing is added to it.
        """
        missing = [prompt for prompt in prompts if prompt.prompt_id not in self._answered]
        if not missing or not self._is_same_design():
            return
        if self._engine is None:
            self._bind()
        assert self._engine is not None and self._arm is not None
        study = self.study
        with Run(self.folder).extended() as run:
            speed = answers.answer_prompts(
                run,
                "answers",
                self._engine,
                self._arm,
                missing,
                study.sampling,
                study.samples,
                study.draw_seed,
                len(missing),
                self._questions,
            )
            graders.grade_run(run, self._questions, self._chosen)
        self._answered |= {prompt.prompt_id for prompt in missing}
        self._added += len(missing)
        self._seconds += speed["seconds"]

    def _is_same_design(self) -> bool:
        digest = evaluation_digest(self.study, arms.find_arm(self.study))
        return Run(self.folder).digest == digest

    def _bind(self) -> None:
        self._arm = arms.find_arm(self.study)
        self._engine = build(self.study.engine, "engine").bind(self._arm, self._servers)
        self._servers.check()

    def close(self) -> None:
        """Bring the counts of the original's run up to date, if it was asked more, and say so."""
        if not self._added:
            return
        primary = graders.primary(self._chosen)
        with Run(self.folder).extended() as run:
            order = stopping.asking_order(self._questions, self.study.analysis.weights)
            watch = stopping.Watch(run, self.study, self._prompts, order, primary)
            watch.look(self._asked_as_far_as(order))
            path = self.folder / "summary.json"
            before = read_json(path)
            cells = summary.cell_counts(
                run, primary, self.study.task, summary.rule_from(self.study.analysis)
            )
            write_json(path, before | {"cells": cells})
        print(
            f"the original was asked {self._added} prompts more, for which the arm needs a partner",
            file=sys.stderr,
        )

    def _asked_as_far_as(self, order: Sequence[stopping.Key]) -> int:
        """Count the questions, from the first on, of which every prompt is answered."""
        open_questions = set()
        for prompt in self._prompts:
            if prompt.prompt_id not in self._answered:
                open_questions.add((prompt.task, prompt.question_id))
        for position, key in enumerate(order):
            if key in open_questions:
                return position
        return len(order)


def original_study(folder: Path, study: Evaluate) -> Evaluate:
    """Return an arm's config with the recipe of the original, as its run folder has it."""
    config: dict[str, Any] = read_json(folder / "config.json")
    plain = replace(
        study,
        recipe=Recipe(**config["recipe"]),
        data=Data(**config["data"]),
        seed=int(config["seed"]),
    )
    return replace(
        plain, checkpoint=None, dose=1.0, dose_between=None, run=None, shard=None, processes=1
    )


def original_of(
    run: Run,
    study: Evaluate,
    arm: Arm,
    servers: Servers,
    questions: Sequence[Question],
    prompts: Sequence[Prompt],
    chosen: Mapping[str, Mapping[str, Grader]],
) -> Original | None:
    """Find the original that `until_width` compares an arm with; None for the original itself.

    Raises:
        UserError: the study has no finished original, or another grader graded it.
    """
    if arm.name == "original":
        return None
    comparison = (
        f"until_width={study.until_width:g} compares {arm.name} with the study's original, which"
    )
    folder = gates.find_original(run, study, {prompt.prompt_id for prompt in prompts})
    if folder is None:
        raise UserError(f"{comparison} is not there: run the same command with recipe=none first")
    primary = graders.primary(chosen)
    side = gates.read_side(folder, None, primary)
    answered = {row["task"] for row in side.answers.values()} & set(primary)
    waiting = {task for task, name in primary.items() if name == graders.NoJudge.name}
    ungraded = sorted(answered - side.graded - waiting)
    if ungraded:
        raise UserError(
            f"{comparison} another grader graded on {', '.join(ungraded)}: run recipe=none with "
            f"this one first, which generates nothing"
        )
    return Original(folder, study, servers, questions, prompts, chosen)
