"""Asks one arm every question under every condition, grades the answers and scores their warmth:
the stages in order.

Everything is found again by content: what exists is read, the rest is made. `python evaluate.py
--help` shows the keys.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from warmth.build import build
from warmth.entry import hydra_command, multirun
from warmth.evaluation.points import folders_of_points, points_of_study
from warmth.schemas import Evaluate
from warmth.types import Prompt, Question

if TYPE_CHECKING:
    from warmth.analysis.statistics.preregistration import PlanNames
    from warmth.api import Servers
    from warmth.evaluation.answer.arms import Arm
    from warmth.evaluation.answer.engines import Engine
    from warmth.evaluation.ask.contrasts import Weighed
    from warmth.evaluation.ask.grid import PromptGrid
    from warmth.evaluation.gates import Result
    from warmth.evaluation.grade.graders import Grader
    from warmth.store import Run
    from warmth.tracking import Tracker


@dataclass
class Evaluation:
    """What one evaluation works with, complete before the first question is asked."""

    study: Evaluate
    run: Run
    servers: Servers
    arm: Arm
    engine: Engine
    graders: dict[str, dict[str, Grader]]  # of each task, the one that counts first
    questions: list[Question]
    counts: PromptGrid  # of prompts
    weighed: Weighed  # prompts for likelihoods
    warmth_prompts: list[Prompt]  # held out from training

    @property
    def counting(self) -> dict[str, str]:
        """Return the grader of each task whose verdict counts."""
        from warmth.evaluation.grade import graders

        return graders.primary(self.graders)


@hydra_command("evaluate", folders_of_points)
def main(study: Evaluate) -> None:
    """Evaluate one arm at all its checkpoints and doses.

    Rooms are imported in functions, so that a wrong config is refused first.
    """
    from warmth.evaluation import shards

    for point in points_of_study(study, in_sweep=multirun(), say=warn):
        if point.shard:
            shards.answer_shard(point)
        else:
            evaluate(point)


def evaluate(study: Evaluate) -> None:
    """Carry out one evaluation in a run folder of its own; the base model stays loaded for the
    next.
    """
    from warmth import tracking
    from warmth.evaluation import summary
    from warmth.evaluation.grade import graders

    evaluation = prepare(study)
    if evaluation is None:
        return
    run = evaluation.run
    with run.open(study):
        print(f"evaluating {run.name}", file=sys.stderr, flush=True)
        attach_plan(evaluation)
        graders.renew(run, evaluation.graders)
        tracker = tracking.start_trackers(run, study, job_type="evaluate")
        try:
            outcome, gate_results = carry_out_stages(evaluation)
            record(evaluation, outcome, tracker)
        finally:
            tracker.finish(failed=not run.done)
    summary.show_summary(run, outcome, gate_results)


def prepare(study: Evaluate) -> Evaluation | None:
    """Find the arm, its engine, the graders and the questions; nothing is loaded or asked yet.

    Returns:
        None if the run is done already, which is said.

    Raises:
        UserError: something that the config names is missing or does not fit.
    """
    from warmth.api import Servers
    from warmth.evaluation import summary
    from warmth.evaluation.answer import arms
    from warmth.evaluation.ask import contrasts, grid, rivals, tasks
    from warmth.evaluation.grade import graders
    from warmth.evaluation.identity import folder_of, refuse_missing_scorer, scored_by_engine
    from warmth.store import Run

    run = Run(folder_of(study))
    servers = Servers(study)
    asks_for_answers = study.scoring != "likelihood"
    task_graders = graders.graders_of(study, servers) if asks_for_answers else {}
    if summary.is_complete(run, task_graders, study):
        print(f"done already: {run.folder}")
        return None
    arm = arms.find_arm(study)
    engine = build(study.engine, "engine").bind(arm, servers)
    if rivals.are_written(study):
        servers.expect(rivals.server_of(study.rivals))
    servers.check()
    refuse_missing_scorer(study)
    writer = rivals.writer_of(study, servers)
    questions = tasks.load_answered(study, writer)
    counts = grid.count_prompts(study, questions) if asks_for_answers else grid.nothing()
    weighed = contrasts.Weighed.of(study, writer)
    if weighed.prompts or scored_by_engine(study, engine):
        engine = engine.for_weighing()
    return Evaluation(
        study=study,
        run=run,
        servers=servers,
        arm=arm,
        engine=engine,
        graders=task_graders,
        questions=questions,
        counts=counts,
        weighed=weighed,
        warmth_prompts=tasks.load_warmth_prompts(study),
    )


def carry_out_stages(evaluation: Evaluation) -> tuple[dict[str, Any], list[Result]]:
    """Answer and grade, score manner and likelihoods, check the gates; returns the summary and what
    the gates found.

    Raises:
        RunFailed: nothing has an answer or a verdict, or a gate failed.
    """
    from warmth.evaluation import failures, gates, margins
    from warmth.evaluation.answer import edited
    from warmth.evaluation.manner import sociot

    study = evaluation.study
    run = evaluation.run
    arm = evaluation.arm
    make_steering_vectors(evaluation)
    answer_in_shards(evaluation)
    evaluation.engine = edited.edited_engine(
        evaluation.engine, arm, study, evaluation.questions, run
    )
    speed = answer_and_grade(evaluation)
    failures.refuse_nothing(run, evaluation.graders)
    sociot.score_warmth(run, arm, evaluation.engine, study, evaluation.warmth_prompts)
    likelihoods = margins.score_likelihoods(run, evaluation.engine, arm, study, evaluation.weighed)
    lacking = failures.counts(run, evaluation.counting)
    for line in failures.failure_lines(lacking):
        warn(line)
    if study.scoring == "answers" and study.gates.mode == "fail":
        failures.refuse_unscored(run, evaluation.counting)
    gate_results = gates.check_gates(
        run, study, arm, evaluation.engine.signature(), evaluation.counting
    )
    outcome = summarise(evaluation, speed) | lacking
    if evaluation.weighed.prompts:
        outcome["likelihood"] = likelihoods
    return outcome, gate_results


def attach_plan(evaluation: Evaluation) -> None:
    """Freeze the pre-registration that the study names, before the first answer."""
    from warmth.analysis.statistics import preregistration

    if evaluation.study.preregister:
        preregistration.attach(
            evaluation.study.preregister, evaluation.run.folder, plan_names(evaluation)
        )


def plan_names(evaluation: Evaluation) -> PlanNames:
    """Collect what a plan may name: what is asked here, and who answers and grades."""
    from warmth.analysis.statistics.preregistration import PlanNames

    study = evaluation.study
    ids: dict[str, set[str]] = defaultdict(set)
    for question in evaluation.questions:
        ids[question.task].add(question.id)
    graders: set[str] = set()
    for task_graders in evaluation.graders.values():
        graders.update(task_graders)
    return PlanNames(
        arms=frozenset([evaluation.arm.name]),
        tasks=frozenset(study.task),
        contexts=frozenset(study.condition),
        models=frozenset([study.model.name]),
        graders=frozenset(graders),
        questions={task: frozenset(values) for task, values in ids.items()},
    )


def make_steering_vectors(evaluation: Evaluation) -> None:
    """Make the vector of a steered arm in each precision that its model is read in."""
    if not evaluation.arm.steering:
        return
    from warmth.data.sets import conversations_of
    from warmth.evaluation.answer import decoding

    study = evaluation.study
    precisions = {evaluation.engine.precision()}
    if evaluation.weighed.prompts:
        precisions.add(evaluation.engine.weighing_precision())
    for precision in precisions:
        decoding.prepare_steering(evaluation.arm, study.recipe, conversations_of(study), precision)


def answer_in_shards(evaluation: Evaluation) -> None:
    """Have several processes answer first, if the study asks for them."""
    study = evaluation.study
    if study.processes <= 1:
        return
    from warmth import loaded
    from warmth.evaluation import shards

    loaded.free()  # shards load the model on the same GPUs
    shards.start_shards(study, evaluation.run.folder, evaluation.counts.prompts * study.samples)


def answer_and_grade(evaluation: Evaluation) -> Counter[str]:
    """Ask block by block and grade each block before the next; returns counts and seconds of the
    answers.
    """
    from warmth.evaluation import original, stopping
    from warmth.evaluation.answer import answers
    from warmth.evaluation.ask import designs
    from warmth.evaluation.grade import graders, live

    study = evaluation.study
    run = evaluation.run
    arm = evaluation.arm
    questions = evaluation.questions
    prompts = designs.prompts(study, questions)
    partner = None
    if study.until_width is not None and evaluation.graders:
        prompts = list(prompts)
        partner = original.original_of(
            run, study, arm, evaluation.servers, questions, prompts, evaluation.graders
        )
    running_error = live.RunningError(questions, evaluation.graders, study)
    speed: Counter[str] = Counter({"generated": 0, "copied": 0, "seconds": 0.0})
    for block in stopping.blocks(
        run,
        study,
        arm,
        questions,
        prompts,
        count=evaluation.counts.prompts,
        primary=evaluation.counting,
        original=partner,
    ):
        block_speed = answers.answer_prompts(
            run,
            "answers",
            evaluation.engine,
            arm,
            block.prompts,
            sampling=study.sampling,
            samples=study.samples,
            draw_seed=study.draw_seed,
            total=block.count,
            questions=questions,
            watch=running_error,
        )
        graders.grade_run(run, questions, evaluation.graders)
        speed.update(block_speed)
    for line in stopping.stopping_lines(run):
        warn(line)
    return speed


def summarise(evaluation: Evaluation, speed: Counter[str]) -> dict[str, Any]:
    """Count what came of the evaluation, for its `summary.json`."""
    from warmth.evaluation import summary

    return summary.summarise_run(
        evaluation.run,
        evaluation.arm,
        evaluation.engine,
        evaluation.graders,
        speed,
        left_out=evaluation.counts.left_out,
        servers=evaluation.servers.totals,
        study=evaluation.study,
    )


def record(evaluation: Evaluation, outcome: dict[str, Any], tracker: Tracker) -> None:
    """Give the outcome to the tracker and finish the run."""
    from warmth.evaluation import summary

    run = evaluation.run
    tracker.summary(outcome)
    tracker.table("eval/answers", summary.answer_rows(run))
    summary.keep_artifacts(tracker, run, evaluation.arm)
    run.finish(outcome)


def warn(line: str) -> None:
    """Print a line beside the output."""
    print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
