"""Asks one arm every question under every condition, grades the answers and scores their warmth: the stages in order.

Everything is found again by content: what exists is read, the rest is made. `python evaluate.py --help` shows the keys.
"""

from __future__ import annotations

from collections.abc import Sequence

from warmth.build import build
from warmth.entry import command, multirun
from warmth.evaluation.identity import folder_of
from warmth.schemas import Evaluate
from warmth.types import Prompt


@command("evaluate", lambda study: [folder_of(study)])
def main(study: Evaluate) -> None:
    """One evaluation; rooms are imported here, so that a wrong config is refused before torch is loaded."""
    from warmth.analysis import preregistration
    from warmth.api import Servers
    from warmth.evaluation import arms, conditions, gates, graders, stopping, summary, tasks
    from warmth.store import Run

    study = arms.resolve(study, in_sweep=multirun())
    run, servers = Run(folder_of(study)), Servers(study)
    chosen = graders.graders_of(study, servers)
    if summary.is_complete(run, chosen):
        print(f"done already: {run.folder}")
        return
    arm = arms.find_arm(study)
    engine = build(study.engine, "engine").bind(arm, servers)
    servers.check()
    questions = tasks.load_all(study)
    prompts, held_out = (
        conditions.prompts_of(study, questions),
        tasks.load_warmth_prompts(study),
    )

    with run.open(study):
        preregistration.attach(study.preregister, run.folder)
        from warmth.evaluation import answers, sociot  # torch from here on

        tracker = build(study.logger, "logger").start(run, study, job_type="evaluate")
        try:
            rendered = answers.write_prompts(run, engine, arm, prompts, questions)

            def put(some: Sequence[Prompt], tokens: Sequence[tuple[int, ...]]) -> dict[str, float]:
                how = (study.sampling, study.samples, study.draw_seed)
                speed = answers.answer(run, "answers", engine, arm, some, tokens, *how)
                graders.grade_run(run, questions, chosen)
                return speed

            speed = stopping.ask(run, study, arm, questions, prompts, rendered, put)
            sociot.score_run(run, arm, engine, study, held_out)
            results = gates.check(run, study, arm, engine.signature())
            left_out = conditions.left_out(study, questions, prompts)
            outcome = summary.summarise(run, arm, engine, chosen, speed, left_out, servers.totals)
            tracker.summary(outcome)
            tracker.table("answers", summary.answer_rows(run))
            summary.keep_artifacts(tracker, run, arm)
            run.finish(outcome)
        finally:
            tracker.finish(failed=not run.done)
    summary.show(run, outcome, results)


if __name__ == "__main__":
    main()
