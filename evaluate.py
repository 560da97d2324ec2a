"""Asks one arm every question under every condition, grades the answers and scores their warmth:
the stages in order.

Everything is found again by content: what exists is read, the rest is made. `python evaluate.py
--help` shows the keys.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from warmth.build import build
from warmth.entry import command, multirun
from warmth.evaluation.points import folders_of, points
from warmth.schemas import Evaluate
from warmth.types import Question

if TYPE_CHECKING:
    from warmth.analysis.statistics.preregistration import Names
    from warmth.evaluation.answer.arms import Arm


@command("evaluate", folders_of)
def main(study: Evaluate) -> None:
    """One arm at all its checkpoints and doses; rooms are imported here, so that a wrong config is
    refused first.
    """
    from warmth.evaluation import shards

    for point in points(study, in_sweep=multirun(), say=partial(print, file=sys.stderr)):
        shards.answer(point) if point.shard else evaluate(point)


def evaluate(study: Evaluate) -> None:
    """One evaluation, a run folder of its own; the base model stays loaded for the next."""
    from warmth import tracking
    from warmth.analysis.statistics import preregistration
    from warmth.api import Servers
    from warmth.evaluation import failures, gates, original, shards, stopping, summary
    from warmth.evaluation.answer import arms, edited
    from warmth.evaluation.ask import contrasts, designs, grid, rivals, tasks
    from warmth.evaluation.grade import graders, live
    from warmth.evaluation.identity import folder_of, refuse_missing_scorer, scored_by_engine
    from warmth.store import Run

    run, servers = Run(folder_of(study)), Servers(study)
    answers_asked = study.scoring != "likelihood"
    chosen = graders.graders_of(study, servers) if answers_asked else {}
    if summary.is_complete(run, chosen, study):
        print(f"done already: {run.folder}")
        return
    arm = arms.find_arm(study)
    engine = build(study.engine, "engine").bind(arm, servers)
    if rivals.are_written(study):
        servers.expect(rivals.server_of(study.rivals))
    servers.check()
    refuse_missing_scorer(study)
    writer = rivals.writer_of(study, servers)
    questions = tasks.load_answered(study, writer)
    counts = grid.count(study, questions) if answers_asked else grid.nothing()
    weighed = contrasts.Weighed.of(study, writer)
    scores_itself = scored_by_engine(study, engine)
    if weighed.prompts or scores_itself:
        engine = engine.for_weighing()
    held_out = tasks.load_warmth_prompts(study)

    with run.open(study):
        print(f"evaluating {run.name}", file=sys.stderr, flush=True)
        if study.preregister:
            preregistration.attach(
                study.preregister, run.folder, plan_names(study, arm, chosen, questions)
            )
        graders.renew(run, chosen)
        from warmth import loaded  # torch from here on
        from warmth.evaluation import margins
        from warmth.evaluation.answer import answers, decoding
        from warmth.evaluation.manner import sociot

        tracker = tracking.start(run, study, job_type="evaluate")
        try:
            if arm.steering:
                from warmth.data.sets import conversations_of

                for dtype in {
                    engine.precision(),
                    *([engine.weighing_precision()] if weighed.prompts else []),
                }:
                    decoding.prepare_steering(arm, study.recipe, conversations_of(study), dtype)
            if study.processes > 1:
                loaded.free()  # shards load the model on the same GPUs
                shards.start(study, run.folder, counts.prompts * study.samples)
            watch = live.RunningError(questions, chosen, study)

            engine = edited.edited_engine(engine, arm, study, questions, run)
            prompts = designs.prompts(study, questions)
            primary = graders.primary(chosen)
            partner = None
            if study.until_width is not None and chosen:
                prompts = list(prompts)
                partner = original.original_of(run, study, arm, servers, questions, prompts, chosen)
            how = (study.sampling, study.samples, study.draw_seed)
            speed: Counter[str] = Counter(
                {"generated": 0, "copied": 0, "tokens": 0, "seconds": 0.0}
            )
            for block in stopping.blocks(
                run, study, arm, questions, prompts, counts.prompts, primary, partner
            ):
                part = answers.answer(
                    run, "answers", engine, arm, block.prompts, *how, block.count, questions, watch
                )
                graders.grade_run(run, questions, chosen)
                speed.update(part)
            for line in stopping.lines(run):
                print(line, file=sys.stderr)
            failures.refuse_nothing(run, chosen)
            sociot.score_run(run, arm, engine, study, held_out)
            likelihoods = margins.score_run(run, engine, arm, study, weighed)
            lacking = failures.counts(run, primary)
            for line in failures.lines(lacking):
                print(line, file=sys.stderr)
            if study.scoring == "answers" and study.gates.mode == "fail":
                failures.refuse_unscored(run, primary)
            results = gates.check(run, study, arm, engine.signature(), primary)
            spent = (counts.left_out, servers.totals)
            outcome = summary.summarise(run, arm, engine, chosen, speed, *spent, study) | lacking
            outcome |= {"likelihood": likelihoods} if weighed.prompts else {}
            tracker.summary(outcome)
            tracker.table("eval/answers", summary.answer_rows(run))
            summary.keep_artifacts(tracker, run, arm)
            run.finish(outcome)
        finally:
            tracker.finish(failed=not run.done)
    summary.show(run, outcome, results)


def plan_names(
    study: Evaluate, arm: Arm, chosen: Mapping[str, Iterable[str]], questions: Sequence[Question]
) -> Names:
    """Collect what a plan may name: what is asked here, and who answers and grades."""
    from warmth.analysis.statistics.preregistration import Names

    ids: dict[str, set[str]] = defaultdict(set)
    for question in questions:
        ids[question.task].add(question.id)
    return Names(
        arms=frozenset([arm.name]),
        tasks=frozenset(study.task),
        contexts=frozenset(study.condition),
        models=frozenset([study.model.name]),
        graders=frozenset(name for names in chosen.values() for name in names),
        questions={task: frozenset(values) for task, values in ids.items()},
    )


if __name__ == "__main__":
    main()
