"""Finished runs as tables: one row for each graded answer, warmth score or training step.

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
    checkpoint_notes,
    kind_of_arm,
    name_arms,
    plain_checkpoints,
    recipes_left_out,
    reported,
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
from warmth.analysis.rows.jsonl_frames import checked_rows, read_frame
from warmth.analysis.rows.looks import adopt
from warmth.analysis.rows.runs import FinishedRun, finished_folders, read_run, refuse_lost_files
from warmth.analysis.rows.task_keys import pooled, rule_of, with_task_keys
from warmth.errors import UserError
from warmth.store import read_rows
from warmth.types import SOMETIMES, Answer, WarmthScore
from warmth.verdicts import Rule, outcomes, waiting_line

ANSWER = tuple(column.name for column in fields(Answer) if column.name not in SOMETIMES)
WARMTH = tuple(column.name for column in fields(WarmthScore))
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
    # people's choices between replies: model, arm, reference, prompt, warmer, rater
    preferences: pd.DataFrame
    runs: tuple[FinishedRun, ...]
    warnings: tuple[str, ...]
    rule: Rule = Rule()  # how labels became right and wrong
    # answers without right and wrong, columns as `answers`
    advice: pd.DataFrame = field(default_factory=pd.DataFrame)
    # an evaluation's folder → its arm, as `answers` name it
    run_arms: Mapping[Path, str] = field(default_factory=dict)
    # see `likelihoods.read_likelihoods`; never mixed with answers
    likelihoods: pd.DataFrame = field(default_factory=pd.DataFrame)
    # see `checked_rules`: labelled by a rule and a judge
    checked: pd.DataFrame = field(default_factory=pd.DataFrame)
    # model, arm, task, asked: how many answers were wanted
    asked: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def main(self) -> pd.DataFrame:
        """Return the answers, or the likelihoods of a study that asked for nothing else."""
        return self.answers if len(self.answers) else self.likelihoods

    @property
    def studies(self) -> list[Path]:
        """List the folders of the studies that the runs belong to."""
        return list(dict.fromkeys(run.folder.parent.parent for run in self.runs))

    @property
    def arms(self) -> list[str]:
        """List every arm with answers or likelihoods, in the order of tables."""
        return sorted(self.main["arm"].unique(), key=arm_order)

    @property
    def reported(self) -> dict[str, str]:
        """Map each recipe to the arm that stands for it, see `arm_names.reported`."""
        return reported(self.arms)

    @property
    def kinds(self) -> dict[str, str]:
        """Map each arm to how it was made, see `arm_names.kind_of_arm`."""
        kinds = {}
        for run in self.runs:
            if run.folder in self.run_arms:
                kinds[self.run_arms[run.folder]] = kind_of_arm(run.config)
        return kinds

    @property
    def models(self) -> list[str]:
        """List every model with answers or likelihoods, by name."""
        return sorted(self.main["model"].unique())


def load_rows(paths: Sequence[Path]) -> Rows:
    """Read every finished run under `paths`.

    Raises:
        UserError: a path without a finished run; a file that is lost; a row without a field, or
            with what is not allowed there (file and line named); runs of different draws; two
            models of one name; two configs, or two answers, under one arm, model, strength, dose,
            checkpoint and seed; arms of a model graded by two graders.
    """
    runs = tuple(read_run(folder) for folder in finished_folders(paths))
    adopt(runs)
    evaluations = [run for run in runs if run.evaluation]
    evaluations.sort(key=lambda run: (run.model, arm_order(run.arm)))
    refuse_lost_files(runs)
    refuse_two_models(evaluations)
    refuse_two_rules(evaluations)
    path_names = ", ".join(map(str, paths))
    if not evaluations:
        raise UserError(f"no finished evaluation run found under {path_names}")
    graded_runs = [graded(run, number) for number, run in enumerate(evaluations)]
    answers = pd.concat(graded_runs, ignore_index=True)
    likelihood_rows = likelihoods.read_likelihoods(evaluations)
    if len(answers):
        return load_answers(paths, runs, evaluations, answers, likelihood_rows)
    if len(likelihood_rows):
        return load_likelihoods(paths, runs, evaluations, answers, likelihood_rows)
    raise UserError(f"the finished runs under {path_names} hold neither answers nor likelihoods")


def load_answers(
    paths: Sequence[Path],
    runs: tuple[FinishedRun, ...],
    evaluations: Sequence[FinishedRun],
    answers: pd.DataFrame,
    likelihood_rows: pd.DataFrame,
) -> Rows:
    """Make the rows of a study that has answers.

    Args:
        paths: that the report was asked for.
        runs: all finished ones.
        evaluations: those of them that are evaluations.
        answers: from `graded`, of all evaluations; `run_number` counts in `evaluations`.
        likelihood_rows: from `likelihoods.read_likelihoods`.

    Raises:
        UserError: as `load_rows`.
    """
    refuse_different_draws(answers, evaluations)
    refuse_two_configs(answers, evaluations)
    prompts = numbered_prompts(evaluations)
    warnings = [*unfinished(paths), *incomplete(prompts, answers, evaluations)]
    answered = {int(number): ids for number, ids in answers.groupby("run_number")["prompt_id"]}
    one_answer = answers.drop_duplicates("run_number").set_index("answer_id")["run_number"]
    answers = answers.drop_duplicates("answer_id", ignore_index=True)
    refuse_two_answers(answers, evaluations)
    warmth, rater_notes = rated_warmth(evaluations)
    warnings += rater_notes
    plain = plain_checkpoints(answers, evaluations)
    name_arms([answers, warmth], plain)
    refuse_two_graders(answers)
    run_arms = arms_of_runs(one_answer, answers.set_index("answer_id")["arm"], evaluations)
    warnings += checkpoint_notes(answers, plain)
    warnings += recipes_left_out(answers)
    warnings += mixed_commits(runs)
    warnings += different_tokens(prompts, evaluations)
    warnings += stopped_early(evaluations, mean_costs(answers, evaluations))
    asked = asked_counts(prompts, answered, evaluations, run_arms)
    warnings += without_judge(answers)
    checked = checked_rules.checked_answers(answers, evaluations)
    warnings += checked_rules.leave_out(answers, checked)
    rule = rule_of(evaluations)
    answers, advice = split_advice(
        outcomes(with_task_keys(answers, evaluations), rule), evaluations
    )
    warnings += unpaired(answers)
    warnings += unpaired_seeds(answers)
    warnings += unevenly_scored(pooled(answers))
    losses, diverged = finite_losses(loss_rows(runs))
    distinct_prompts = prompts.drop(columns="run_number").drop_duplicates("prompt_id")
    return Rows(
        answers=answers,
        warmth=warmth,
        prompts=distinct_prompts.set_index("prompt_id"),
        losses=losses,
        preferences=latest_preferences(evaluations),
        runs=runs,
        warnings=(*warnings, *diverged),
        rule=rule,
        advice=advice,
        run_arms=run_arms,
        likelihoods=likelihoods.distinct(likelihood_rows, plain),
        checked=checked,
        asked=asked,
    )


def load_likelihoods(
    paths: Sequence[Path],
    runs: tuple[FinishedRun, ...],
    evaluations: Sequence[FinishedRun],
    answers: pd.DataFrame,
    likelihood_rows: pd.DataFrame,
) -> Rows:
    """Make the rows of a study whose arms were asked for likelihoods alone (`scoring=likelihood`).

    Args:
        paths: that the report was asked for.
        runs: all finished ones.
        evaluations: those of them that are evaluations.
        answers: without a row, for its columns.
        likelihood_rows: from `likelihoods.read_likelihoods`.

    Raises:
        UserError: as `load_rows`.
    """
    refuse_different_draws(likelihood_rows, evaluations)
    refuse_two_configs(likelihood_rows, evaluations)
    plain = plain_checkpoints(likelihood_rows, evaluations)
    warmth, rater_notes = rated_warmth(evaluations)
    name_arms([answers, warmth], plain)
    rows = likelihoods.distinct(likelihood_rows, plain)
    one_likelihood = likelihood_rows.drop_duplicates("run_number").set_index("likelihood_id")
    run_arms = arms_of_runs(
        one_likelihood["run_number"], rows.set_index("likelihood_id")["arm"], evaluations
    )
    prompts = numbered_prompts(evaluations, "likelihood_prompts").drop(columns="run_number")
    warnings = [*unfinished(paths), *rater_notes]
    warnings += checkpoint_notes(rows, plain)
    warnings += recipes_left_out(rows)
    warnings += mixed_commits(runs)
    warnings += different_tokens(prompts, evaluations)
    losses, diverged = finite_losses(loss_rows(runs))
    rule = rule_of(evaluations)
    return Rows(
        answers=outcomes(with_task_keys(answers, evaluations), rule),
        warmth=warmth,
        prompts=prompts.drop_duplicates("prompt_id").set_index("prompt_id"),
        losses=losses,
        preferences=pd.DataFrame(columns=[*PREFERENCE, "rater"]),
        runs=runs,
        warnings=(*warnings, *diverged),
        rule=rule,
        run_arms=run_arms,
        likelihoods=rows,
    )


def numbered_prompts(runs: Sequence[FinishedRun], name: str = "prompts") -> pd.DataFrame:
    """Read the prompts of all runs, see `prompt_rows`, with each run's place as `run_number`."""
    frames = []
    for number, run in enumerate(runs):
        frames.append(prompt_rows(run, name).assign(run_number=number))
    return pd.concat(frames, ignore_index=True)


def rated_warmth(runs: Sequence[FinishedRun]) -> tuple[pd.DataFrame, list[str]]:
    """Read the warmth scores of all runs with the ratings of the rater who rated most.

    Returns:
        columns of `warmth_rows`, each text and measure once; a line if other raters are left out.
    """
    ratings = pd.concat([rating_rows(run) for run in runs], ignore_index=True)
    notes = []
    if len(ratings):
        rater, *unused = ratings["rater"].value_counts().index
        ratings = ratings[ratings["rater"].eq(rater)]
        if unused:
            notes.append(
                f"Ratings of warmth are those of {rater}, who "
                f"rated most; left out: {', '.join(unused)}."
            )
    warmth = pd.concat([warmth_rows(run, ratings) for run in runs], ignore_index=True)
    return warmth.drop_duplicates([*IDENTITY, "text_id", "variant", "scorer"]), notes


def arms_of_runs(
    one_row: pd.Series, arms: pd.Series, runs: Sequence[FinishedRun]
) -> dict[Path, str]:
    """Map each run's folder to its arm.

    Args:
        one_row: id of one row of each run → the run's place in `runs`.
        arms: id of a row → the arm.
        runs: the evaluations.
    """
    run_arms = {}
    for row_id, number in one_row.items():
        run_arms[runs[number].folder] = str(arms[row_id])
    return run_arms


def split_advice(
    answers: pd.DataFrame, runs: Sequence[FinishedRun]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Part the answers that are right or wrong from advice, which is neither.

    Raises:
        UserError: there is advice alone.
    """
    is_advice = answers["task"].isin(advice_tasks(runs))
    if is_advice.all():
        raise UserError(
            "the runs hold advice alone, which is neither "
            "right nor wrong; ask a task with answers as well"
        )
    graded_answers = answers[~is_advice].reset_index(drop=True)
    return graded_answers, answers[is_advice].reset_index(drop=True)


def without_judge(answers: pd.DataFrame) -> list[str]:
    """Say which tasks are not scored because they need a judge and have none; else no line."""
    waiting = answers["reason"].eq(NEEDS_JUDGE).groupby(answers["task"], sort=False).all()
    tasks = [str(task) for task in waiting.index[waiting]]
    return [waiting_line(tasks)] if tasks else []


def latest_preferences(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """Read people's choices between replies; the last choice of one rater in one pair counts."""
    choices: list[dict[str, Any]] = []
    for run in runs:
        path = run.folder / "preferences.jsonl"
        for row, raw in zip(checked_rows(path, PREFERENCE), read_rows(path), strict=True):
            choices.append({**row, "rater": str(raw.get("rater") or NAMELESS)})
    preferences = pd.DataFrame(choices, columns=[*PREFERENCE, "rater"])
    pair = [*PREFERENCE[:-1], "rater"]
    return preferences.drop_duplicates(pair, keep="last", ignore_index=True)


def asked_counts(
    prompts: pd.DataFrame,
    answered: Mapping[int, pd.Series],
    runs: Sequence[FinishedRun],
    arms: Mapping[Path, str],
) -> pd.DataFrame:
    """Count the answers that each arm was asked for, by task.

    What two runs of one arm asked counts once.

    Args:
        prompts: `prompt_rows` of all runs, with `run_number`.
        answered: run number → the prompt ids of its answers: a run that stopped early asked no
            others.
        runs: the evaluations, by their number.
        arms: a run's folder → its arm.

    Returns:
        model, arm, task, asked.
    """
    asked_of_runs = []
    for number, group in prompts.groupby("run_number"):
        run = runs[int(number)]
        if run.folder not in arms:  # every answer is another run's, too
            continue
        if (run.folder / "stopping.json").exists():
            group = group[group["prompt_id"].isin(answered[number])]
        asked_prompts = group[["prompt_id", "task"]].drop_duplicates("prompt_id")
        asked_of_runs.append(
            asked_prompts.assign(
                model=run.model,
                arm=arms[run.folder],
                seed=run.config.get("seed", 0),
                asked=int(run.config.get("samples") or 1),
            )
        )
    if not asked_of_runs:
        return pd.DataFrame(columns=["model", "arm", "task", "asked"])
    prompt = ["model", "arm", "seed", "prompt_id", "task"]
    asked = pd.concat(asked_of_runs, ignore_index=True)
    asked = asked.groupby(prompt, as_index=False, sort=False)["asked"].max()
    return asked.groupby(["model", "arm", "task"], as_index=False, sort=False)["asked"].sum()


def mean_costs(answers: pd.DataFrame, runs: Sequence[FinishedRun]) -> dict[Path, float]:
    """Average what an answer of each run has cost, in USD, its grades included."""
    means = answers.groupby("run_number")["cost_usd"].mean()
    return {runs[int(number)].folder: float(mean) for number, mean in means.items()}


def advice_tasks(runs: Sequence[FinishedRun]) -> set[str]:
    """List the tasks whose questions have no known answer."""
    tasks: set[str] = set()
    for run in runs:
        for name, entry in (run.config.get("task") or {}).items():
            if (entry or {}).get("reader") == "advice":
                tasks.add(name)
    return tasks


def read_grades(rows: Rows) -> pd.DataFrame:
    """Read every grader's latest label of every answer: answer_id, grader, label, reason."""
    columns = ["answer_id", "grader", "label", "reason"]
    grades_of_runs = []
    for run in rows.runs:
        if run.evaluation:
            grades_of_runs.append(read_frame(run.folder / "grades.jsonl", columns)[columns])
    grades = pd.concat(grades_of_runs, ignore_index=True)
    grades = grades.drop_duplicates(["answer_id", "grader"], keep="last")
    return grades.assign(label=none_if_missing(grades["label"]))


def none_if_missing(column: pd.Series) -> pd.Series:
    """Return a column of objects with None for every missing value."""
    return column.astype(object).where(column.notna(), None)


def graded(run: FinishedRun, number: int) -> pd.DataFrame:
    """Read a run's answers, each with its primary grade.

    An answer without a grade is unscored for the reason `not graded`. Primary is what the run's
    summary names first for the task: a judge that was replaced still has its rows in the file. Of
    two grades by one grader the later one counts. `cost_usd` is what all grades of the answer cost.

    Raises:
        UserError: the grader that the summary names has no row.
    """
    answers = read_frame(run.folder / "answers.jsonl", ANSWER).rename(columns={"arm": "recipe"})
    answers["run_number"] = number
    answers["length"] = answers["text"].str.len()
    grades = read_frame(run.folder / "grades.jsonl", ("answer_id", *GRADE))
    paid = pd.to_numeric(grades["cost_usd"], errors="coerce").groupby(grades["answer_id"]).sum()
    grades = grades.drop_duplicates(["answer_id", "grader"], keep="last")
    primary = {task: names[0] for task, names in run.graders.items() if names}
    primary_of_answer = dict(zip(answers["answer_id"], answers["task"].map(primary), strict=True))
    primary_grader = grades["answer_id"].map(primary_of_answer)
    missing_graders = sorted(set(primary_grader.dropna()) - set(grades["grader"]))
    if missing_graders:
        raise UserError(
            f"{run.folder / 'grades.jsonl'} has no row by "
            f"{missing_graders[0]}, which summary.json says graded it"
        )
    grades = grades[grades["grader"].eq(primary_grader) | primary_grader.isna()]
    grades = grades.drop_duplicates("answer_id", keep="last")
    joined = answers.merge(grades, on="answer_id", how="left", validate="many_to_one")
    ungraded = joined["grader"].isna()
    joined["label"] = none_if_missing(joined["label"])
    joined["reason"] = joined["reason"].astype(object).where(~ungraded, "not graded").fillna("")
    joined["grader"] = joined["grader"].astype(object).where(~ungraded, "")
    joined["cost_usd"] = joined["answer_id"].map(paid).fillna(0.0)
    joined["checkpoint"] = pd.to_numeric(joined["checkpoint"], errors="coerce")
    return joined


def rating_rows(run: FinishedRun) -> pd.DataFrame:
    """Read a run's ratings of warmth, each rater's latest of a text.

    Returns:
        folder, text_id, rater, rating (1 to 5; NaN: none).
    """
    rated = read_frame(run.folder / "ratings.jsonl", ("text_id", "rater", "rating"))
    rated = rated.drop_duplicates(["text_id", "rater"], keep="last")
    return rated.assign(
        rating=pd.to_numeric(rated["rating"], errors="coerce"), folder=str(run.folder)
    )


def warmth_rows(run: FinishedRun, ratings: pd.DataFrame) -> pd.DataFrame:
    """Read a run's warmth scores with one rater's ratings of the same texts, if any."""
    scores = read_frame(run.folder / "warmth.jsonl", WARMTH).rename(columns={"arm": "recipe"})
    scores["strength"] = float((run.config.get("recipe") or {}).get("strength") or 1.0)
    for name in ("checkpoint", "score"):
        scores[name] = pd.to_numeric(scores[name], errors="coerce")
    scores = scores.assign(folder=str(run.folder))
    return scores.merge(ratings, on=["folder", "text_id"], how="left", validate="many_to_one")


def prompt_rows(run: FinishedRun, name: str = "prompts") -> pd.DataFrame:
    """Read a run's prompts, with the run's arm and model.

    Args:
        run: the evaluation.
        name: of the file; `likelihood_prompts` has those before replies whose likelihood is read.
    """
    columns = ["prompt_id", "task", "question", "answers", "wrong", "message", "tokens_digest"]
    return read_frame(run.folder / f"{name}.jsonl", columns).assign(model=run.model, arm=run.arm)


def loss_rows(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """Read the training loss of every finished training run."""
    columns = ["model", "arm", "seed", "run", "step", "epoch", "loss"]
    losses = []
    for run in runs:
        if run.evaluation:
            continue
        source = (run.model, run.arm, run.config.get("seed", 0), run.folder.name)
        for row in read_rows(run.folder / "metrics.jsonl"):
            loss = row.get("loss")
            epoch = row.get("epoch")
            if isinstance(loss, int | float) and isinstance(epoch, int | float):
                losses.append((*source, row.get("step"), epoch, loss))
    return pd.DataFrame(losses, columns=columns)


def finite_losses(losses: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Keep the losses that can be drawn, and note each run that has others."""
    finite = np.isfinite(losses[["epoch", "loss"]].astype(float)).all(axis=1)
    notes = []
    for run, count in losses[~finite].groupby("run").size().items():
        notes.append(f"{run}: {count} losses in metrics.jsonl are not finite; left out")
    return losses[finite], notes


def is_missing(answers: pd.DataFrame) -> pd.Series:
    """Tell which answers lack a verdict that they should have.

    Those that were refused, failed or wait for a judge are not among them.
    """
    return answers["unscored"] & answers["finish"].ne("error") & answers["reason"].ne(NEEDS_JUDGE)
