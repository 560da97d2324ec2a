"""Finished runs as tables: one row for each answer with its primary grade, warmth score, or
training step.

Rows pair across arms on (model, prompt_id, sample). What would make two arms incomparable is an
error here, before any number is computed: different draws, or two configs that go by one name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from warmth.analysis.rows import checked_rules, likelihoods
from warmth.analysis.rows.arm_names import (
    arm_order,
    kind_of,
    name_arms,
    other_arms,
    plain_checkpoints,
    reported,
    told_checkpoints,
)
from warmth.analysis.rows.comparable import (
    IDENTITY,
    different_tokens,
    incomplete,
    mixed_commits,
    refuse_different_draws,
    refuse_two_answers,
    refuse_two_configs,
    refuse_two_graders,
    refuse_two_models,
    refuse_two_rules,
    stopped_early,
    unevenly_scored,
    unfinished,
    unpaired,
    unpaired_seeds,
)
from warmth.analysis.rows.jsonl_frames import checked_rows, frame
from warmth.analysis.rows.looks import adopt
from warmth.analysis.rows.runs import FinishedRun, finished, read_run, refuse_lost_files
from warmth.analysis.rows.task_keys import pooled, rule_of, with_task_keys
from warmth.errors import UserError
from warmth.store import read_rows
from warmth.types import SOMETIMES, Answer, WarmthScore
from warmth.verdicts import Rule, outcomes, waiting_line

ANSWER = tuple(item.name for item in fields(Answer) if item.name not in SOMETIMES)
WARMTH = tuple(item.name for item in fields(WarmthScore))
NEEDS_JUDGE = "needs_judge"  # the reason of answers that were never to be scored by rules
PREFERENCE = ("model", "arm", "reference", "prompt", "warmer")
NAMELESS = "rater"  # who chose and wrote no name
GRADE = ("grader", "label", "reason", "affirms", "cost_usd")


@dataclass(frozen=True)
class Rows:
    """All that a report is made of.

    `answers`: the contract's columns, where `arm` also says dose, strength and checkpoint if they
    differ from the plain arm's and `recipe` keeps the plain name; the primary grade's columns, but
    `cost_usd` of all its grades; `wrong`, `wrong_dropped`, `wrong_strict`, `wrong_lenient` (see
    `outcomes`); `refused`, `unscored`, `cut_off`.
    """

    answers: pd.DataFrame
    warmth: pd.DataFrame
    prompts: pd.DataFrame  # indexed by prompt_id
    losses: pd.DataFrame  # model, arm, seed, run, step, epoch, loss
    preferences: (
        pd.DataFrame
    )  # people's choices between replies: model, arm, reference, prompt, warmer, rater
    runs: tuple[FinishedRun, ...]
    warnings: tuple[str, ...]
    rule: Rule = Rule()  # how labels became right and wrong
    advice: pd.DataFrame = field(
        default_factory=pd.DataFrame
    )  # answers without right and wrong, columns as `answers`
    run_arms: Mapping[Path, str] = field(
        default_factory=dict
    )  # an evaluation's folder → its arm, as `answers` name it
    likelihoods: pd.DataFrame = field(
        default_factory=pd.DataFrame
    )  # see `likelihoods.read`; never mixed with answers
    checked: pd.DataFrame = field(
        default_factory=pd.DataFrame
    )  # see `checked_rules`: labelled by a rule and a judge
    asked: pd.DataFrame = field(
        default_factory=pd.DataFrame
    )  # model, arm, task, asked: how many answers were wanted

    @property
    def main(self) -> pd.DataFrame:
        """The answers; the likelihoods of a study that asked for nothing else."""
        return self.answers if len(self.answers) else self.likelihoods

    @property
    def studies(self) -> list[Path]:
        """The folders of the studies that the runs belong to."""
        return list(dict.fromkeys(run.folder.parent.parent for run in self.runs))

    @property
    def arms(self) -> list[str]:
        """Every arm that answered, or whose replies were weighed, in the order of tables."""
        return sorted(self.main["arm"].unique(), key=arm_order)

    @property
    def reported(self) -> dict[str, str]:
        """Recipe → the one arm of it that stands for it, see `arm_names.reported`."""
        return reported(self.arms)

    @property
    def kinds(self) -> dict[str, str]:
        """Map each arm to how it was made, see `arm_names.kind_of`."""
        return {
            self.run_arms[run.folder]: kind_of(run.config)
            for run in self.runs
            if run.folder in self.run_arms
        }

    @property
    def models(self) -> list[str]:
        """Every model that answered, or whose replies were weighed, by name."""
        return sorted(self.main["model"].unique())


def load(paths: Sequence[Path]) -> Rows:
    """Reads every finished run under `paths`.

    Raises:
        UserError: a path without a finished run; a file that is lost; a row without a field, or
            with what is not allowed there (file and line named); runs of different draws; two
            models of one name; two configs, or two answers, under one arm, model, strength, dose,
            checkpoint and seed; arms of a model graded by two graders.
    """
    runs = tuple(read_run(folder) for folder in finished(paths))
    adopt(runs)
    evaluations = sorted(
        (run for run in runs if run.evaluation), key=lambda run: (run.model, arm_order(run.arm))
    )
    refuse_lost_files(runs)
    refuse_two_models(evaluations)
    refuse_two_rules(evaluations)
    if not evaluations:
        raise UserError(f"no finished evaluation run found under {', '.join(map(str, paths))}")
    answers = pd.concat(
        [graded(run, number) for number, run in enumerate(evaluations)], ignore_index=True
    )
    weighed = likelihoods.read(evaluations)
    if answers.empty and len(weighed):
        return weighed_alone(paths, runs, evaluations, answers, weighed)
    if answers.empty:
        raise UserError(
            f"the finished runs under {', '.join(map(str, paths))} hold neither answers nor "
            f"likelihoods"
        )
    refuse_different_draws(answers, evaluations)
    refuse_two_configs(answers, evaluations)
    prompts = [prompt_rows(run).assign(run_number=number) for number, run in enumerate(evaluations)]
    prompts = pd.concat(prompts, ignore_index=True)
    warnings = [*unfinished(paths), *incomplete(prompts, answers, evaluations)]
    answered = {int(number): ids for number, ids in answers.groupby("run_number")["prompt_id"]}
    first = answers.drop_duplicates("run_number").set_index("answer_id")["run_number"]
    answers = answers.drop_duplicates("answer_id", ignore_index=True)
    refuse_two_answers(answers, evaluations)
    ratings = pd.concat([rating_rows(run) for run in evaluations], ignore_index=True)
    rater, *unused = ratings["rater"].value_counts().index if len(ratings) else [""]
    if unused:
        warnings.append(
            f"Ratings of warmth are those of {rater}, who rated most; left out: "
            f"{', '.join(unused)}."
        )
    ratings = ratings[ratings["rater"].eq(rater)]
    warmth = pd.concat([warmth_rows(run, ratings) for run in evaluations], ignore_index=True)
    warmth = warmth.drop_duplicates([*IDENTITY, "text_id", "variant", "scorer"])
    plain = plain_checkpoints(answers, evaluations)
    name_arms([answers, warmth], plain)
    refuse_two_graders(answers)
    arms = answers.set_index("answer_id")["arm"]
    run_arms = {evaluations[number].folder: str(arms[answer]) for answer, number in first.items()}
    warnings += [*told_checkpoints(answers, plain), *other_arms(answers)]
    warnings += [
        *mixed_commits(runs),
        *different_tokens(prompts, evaluations),
        *stopped_early(evaluations, mean_costs(answers, evaluations)),
    ]
    asked = asked_counts(prompts, answered, evaluations, run_arms)
    prompts = prompts.drop(columns="run_number").drop_duplicates("prompt_id").set_index("prompt_id")
    preferences = latest_preferences(evaluations)
    rule = rule_of(evaluations)
    warnings += without_judge(answers)
    checked = checked_rules.checked(answers, evaluations)
    warnings += checked_rules.leave_out(answers, checked)
    answers = outcomes(with_task_keys(answers, evaluations), rule)
    free = answers["task"].isin(advice_tasks(evaluations))
    if free.all():
        raise UserError(
            "the runs hold advice alone, which is neither right nor wrong; ask a task with "
            "answers as well"
        )
    answers, advice = answers[~free].reset_index(drop=True), answers[free].reset_index(drop=True)
    warnings += [
        *unpaired(answers),
        *unpaired_seeds(answers),
        *unevenly_scored(pooled(answers)),
    ]
    losses, diverged = finite_losses(loss_rows(runs))
    notes = (*warnings, *diverged)
    weighed = likelihoods.once(weighed, plain)
    return Rows(
        answers,
        warmth,
        prompts,
        losses,
        preferences,
        runs,
        notes,
        rule,
        advice,
        run_arms,
        weighed,
        checked,
        asked,
    )


def weighed_alone(
    paths: Sequence[Path],
    runs: tuple[FinishedRun, ...],
    evaluations: Sequence[FinishedRun],
    answers: pd.DataFrame,
    weighed: pd.DataFrame,
) -> Rows:
    """Make the rows of a study whose arms were asked for likelihoods alone (`scoring=likelihood`).

    Args:
        paths: that the report was asked for.
        runs: all finished ones.
        evaluations: those of them that are evaluations.
        answers: without a row, for its columns.
        weighed: from `likelihoods.read`.

    Raises:
        UserError: as `load`.
    """
    refuse_different_draws(weighed, evaluations)
    refuse_two_configs(weighed, evaluations)
    plain = plain_checkpoints(weighed, evaluations)
    ratings = pd.concat([rating_rows(run) for run in evaluations], ignore_index=True)
    warmth = pd.concat([warmth_rows(run, ratings) for run in evaluations], ignore_index=True)
    warmth = warmth.drop_duplicates([*IDENTITY, "text_id", "variant", "scorer"])
    name_arms([answers, warmth], plain)
    rows = likelihoods.once(weighed, plain)
    first = weighed.drop_duplicates("run_number").set_index("likelihood_id")["run_number"]
    arms = rows.set_index("likelihood_id")["arm"]
    run_arms = {
        evaluations[number].folder: str(arms[likelihood]) for likelihood, number in first.items()
    }
    prompts = pd.concat(
        [prompt_rows(run, "likelihood_prompts") for run in evaluations], ignore_index=True
    )
    warnings = [
        *unfinished(paths),
        *told_checkpoints(rows, plain),
        *other_arms(rows),
        *mixed_commits(runs),
    ]
    warnings += different_tokens(prompts, evaluations)
    losses, diverged = finite_losses(loss_rows(runs))
    return Rows(
        answers=outcomes(with_task_keys(answers, evaluations), rule_of(evaluations)),
        warmth=warmth,
        prompts=prompts.drop_duplicates("prompt_id").set_index("prompt_id"),
        losses=losses,
        preferences=pd.DataFrame(columns=[*PREFERENCE, "rater"]),
        runs=runs,
        warnings=(*warnings, *diverged),
        rule=rule_of(evaluations),
        run_arms=run_arms,
        likelihoods=rows,
    )


def without_judge(answers: pd.DataFrame) -> list[str]:
    """Say which tasks are not scored because they need a judge and have none; no line if there is
    no such task.
    """
    waiting = answers["reason"].eq(NEEDS_JUDGE)
    tasks = [str(task) for task, rows in waiting.groupby(answers["task"], sort=False) if rows.all()]
    return [waiting_line(tasks)] if tasks else []


def latest_preferences(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """Read people's choices between replies; of one rater's choices in one pair the last counts, a
    correction.
    """
    chosen: list[dict[str, Any]] = []
    for run in runs:
        path = run.folder / "preferences.jsonl"
        for row, raw in zip(checked_rows(path, PREFERENCE), read_rows(path), strict=True):
            chosen.append({**row, "rater": str(raw.get("rater") or NAMELESS)})
    frame = pd.DataFrame(chosen, columns=[*PREFERENCE, "rater"])
    return frame.drop_duplicates([*PREFERENCE[:-1], "rater"], keep="last", ignore_index=True)


def asked_counts(
    prompts: pd.DataFrame,
    answered: Mapping[int, pd.Series],
    runs: Sequence[FinishedRun],
    arms: Mapping[Path, str],
) -> pd.DataFrame:
    """Count the answers that each arm was asked for, by task; what two runs of one arm asked counts
    once.

    Args:
        prompts: `prompt_rows` of all runs, with `run_number`.
        answered: run number → the prompt ids of its answers: a run that stopped early asked no
        others.
        runs: the evaluations, by their number.
        arms: a run's folder → its arm.

    Returns:
        model, arm, task, asked.
    """
    parts = []
    for number, group in prompts.groupby("run_number"):
        run = runs[int(number)]
        if run.folder not in arms:  # every answer is another run's, too
            continue
        if (run.folder / "stopping.json").exists():
            group = group[group["prompt_id"].isin(answered[number])]
        part = group[["prompt_id", "task"]].drop_duplicates("prompt_id")
        samples = int(run.config.get("samples") or 1)
        parts.append(
            part.assign(
                model=run.model, arm=arms[run.folder], seed=run.config.get("seed", 0), asked=samples
            )
        )
    if not parts:
        return pd.DataFrame(columns=["model", "arm", "task", "asked"])
    each = pd.concat(parts, ignore_index=True)
    each = each.groupby(["model", "arm", "seed", "prompt_id", "task"], as_index=False, sort=False)[
        "asked"
    ].max()
    return each.groupby(["model", "arm", "task"], as_index=False, sort=False)["asked"].sum()


def mean_costs(answers: pd.DataFrame, runs: Sequence[FinishedRun]) -> dict[Path, float]:
    """Average what an answer of each run has cost, in USD, its grades included."""
    means = answers.groupby("run_number")["cost_usd"].mean()
    return {runs[int(number)].folder: float(mean) for number, mean in means.items()}


def advice_tasks(runs: Sequence[FinishedRun]) -> set[str]:
    """Tasks whose questions have no known answer."""
    tasks = [item for run in runs for item in (run.config.get("task") or {}).items()]
    return {name for name, task in tasks if (task or {}).get("reader") == "advice"}


def read_grades(rows: Rows) -> pd.DataFrame:
    """Every grader's latest label of every answer: answer_id, grader, label, reason."""
    columns = ["answer_id", "grader", "label", "reason"]
    found = [
        frame(run.folder / "grades.jsonl", columns)[columns] for run in rows.runs if run.evaluation
    ]
    grades = pd.concat(found, ignore_index=True).drop_duplicates(
        ["answer_id", "grader"], keep="last"
    )
    return grades.assign(label=grades["label"].astype(object).where(grades["label"].notna(), None))


def graded(run: FinishedRun, number: int) -> pd.DataFrame:
    """Read a run's answers, each with its primary grade; without a grade it is unscored for the
    reason `not graded`.

    Primary is what the run's summary names first for the task: a judge that was replaced still has
    its rows in the file. Two grades by one grader: the later one counts. `cost_usd` is what all
    grades of the answer cost.

    Raises:
        UserError: the grader that the summary names has no row.
    """
    answers = frame(run.folder / "answers.jsonl", ANSWER).rename(columns={"arm": "recipe"})
    answers["run_number"] = number
    answers["length"] = answers["text"].str.len()
    grades = frame(run.folder / "grades.jsonl", ("answer_id", *GRADE))
    paid = pd.to_numeric(grades["cost_usd"], errors="coerce").groupby(grades["answer_id"]).sum()
    grades = grades.drop_duplicates(["answer_id", "grader"], keep="last")
    primary = {task: names[0] for task, names in run.graders.items() if names}
    primary_of_answer = dict(zip(answers["answer_id"], answers["task"].map(primary), strict=True))
    wanted = grades["answer_id"].map(primary_of_answer)
    lost = sorted(set(wanted.dropna()) - set(grades["grader"]))
    if lost:
        raise UserError(
            f"{run.folder / 'grades.jsonl'} has no row by {lost[0]}, which summary.json says "
            f"graded it"
        )
    grades = grades[grades["grader"].eq(wanted) | wanted.isna()].drop_duplicates(
        "answer_id", keep="last"
    )
    joined = answers.merge(grades, on="answer_id", how="left", validate="many_to_one")
    ungraded = joined["grader"].isna()
    joined["label"] = joined["label"].astype(object).where(joined["label"].notna(), None)
    joined["reason"] = joined["reason"].astype(object).where(~ungraded, "not graded").fillna("")
    joined["grader"] = joined["grader"].astype(object).where(~ungraded, "")
    joined["cost_usd"] = joined["answer_id"].map(paid).fillna(0.0)
    joined["checkpoint"] = pd.to_numeric(joined["checkpoint"], errors="coerce")
    return joined


def rating_rows(run: FinishedRun) -> pd.DataFrame:
    """A run's ratings of warmth, each rater's latest of a text: folder, text_id, rater, rating (1
    to 5; NaN: none).
    """
    rated = frame(run.folder / "ratings.jsonl", ("text_id", "rater", "rating"))
    rated = rated.drop_duplicates(["text_id", "rater"], keep="last")
    return rated.assign(
        rating=pd.to_numeric(rated["rating"], errors="coerce"), folder=str(run.folder)
    )


def warmth_rows(run: FinishedRun, ratings: pd.DataFrame) -> pd.DataFrame:
    """A run's warmth scores with one rater's ratings of the same texts; empty when none were
    taken.
    """
    scores = frame(run.folder / "warmth.jsonl", WARMTH).rename(columns={"arm": "recipe"})
    scores["strength"] = float((run.config.get("recipe") or {}).get("strength") or 1.0)
    for name in ("checkpoint", "score"):
        scores[name] = pd.to_numeric(scores[name], errors="coerce")
    scores = scores.assign(folder=str(run.folder))
    return scores.merge(ratings, on=["folder", "text_id"], how="left", validate="many_to_one")


def prompt_rows(run: FinishedRun, name: str = "prompts") -> pd.DataFrame:
    """Read a run's prompts, with the run's arm and model; `likelihood_prompts` are those before
    weighed replies.
    """
    columns = ["prompt_id", "task", "question", "answers", "wrong", "message", "tokens_digest"]
    return frame(run.folder / f"{name}.jsonl", columns).assign(model=run.model, arm=run.arm)


def loss_rows(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """Training loss of every finished training run."""
    columns = ["model", "arm", "seed", "run", "step", "epoch", "loss"]
    rows = []
    for run in runs:
        if run.evaluation:
            continue
        seed = run.config.get("seed", 0)
        for row in read_rows(run.folder / "metrics.jsonl"):
            if isinstance(row.get("loss"), int | float) and isinstance(
                row.get("epoch"), int | float
            ):
                rows.append(
                    (
                        run.model,
                        run.arm,
                        seed,
                        run.folder.name,
                        row.get("step"),
                        row["epoch"],
                        row["loss"],
                    )
                )
    return pd.DataFrame(rows, columns=columns)


def finite_losses(losses: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The losses that can be drawn, and a note on each run that has others."""
    finite = np.isfinite(losses[["epoch", "loss"]].astype(float)).all(axis=1)
    lost = losses[~finite].groupby("run").size()
    notes = [
        f"{run}: {count} losses in metrics.jsonl are not finite; left out"
        for run, count in lost.items()
    ]
    return losses[finite], notes


def is_missing(answers: pd.DataFrame) -> pd.Series:
    """Tell which answers lack a verdict that they should have: not refused, not failed, not waiting
    for a judge.
    """
    return answers["unscored"] & answers["finish"].ne("error") & answers["reason"].ne(NEEDS_JUDGE)
