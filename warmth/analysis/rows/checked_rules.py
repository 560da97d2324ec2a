"""Agreement of rules with the judge that completed them (`grader.judge.when=unscored`).

The judge labels all that the rule leaves open, and what the rule has decided on a tenth of the
prompts. Where they agree on less than 95 % of that tenth, the rule's labels are not used: the task
is not scored, in no arm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from warmth.analysis.rows.jsonl_frames import read_frame

if TYPE_CHECKING:
    from warmth.analysis.rows.runs import FinishedRun

ENOUGH = 0.95  # agreement of rule and judge, of answers that both label
FEWEST = 20  # answers on which that can be told
PROMPT = ["model", "task", "prompt_id", "sample"]
COLUMNS = [
    *PROMPT,
    "arm",
    "seed",
    "rule",
    "judge",
    "question_id",
    "answer_id",
    "by_both",
    "by_rule",
    "by_judge",
]


def checked_answers(answers: pd.DataFrame, runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """Find the answers to the prompts on which a judge checked a rule.

    Args:
        answers: PROMPT, arm, seed, question_id, answer_id, grader, label and reason; the grader of
            a completed rule is called "rule+judge".
        runs: the evaluations that hold all graders' rows.

    Returns:
        COLUMNS, of every arm; `by_judge` is the judge's label, `by_rule` that of the rule, None if
        it left the answer open, `by_both` the one that counts.
    """
    completed = answers[answers["grader"].str.contains("+", regex=False) & answers["label"].notna()]
    if completed.empty:
        return pd.DataFrame(columns=COLUMNS)
    names = completed["grader"].str.split("+", n=1, expand=True)
    decided = completed["reason"].eq("")  # beside its own label a judge gives a reason
    by_rule = completed["label"].astype(object).where(decided, None)
    completed = completed.assign(
        rule=names[0], judge=names[1], by_both=completed["label"], by_rule=by_rule
    )
    columns = ["answer_id", "grader", "label"]
    grades_of_runs = [read_frame(run.folder / "grades.jsonl", columns) for run in runs]
    grades = pd.concat(grades_of_runs, ignore_index=True)
    grades = grades.dropna(subset="label").drop_duplicates(["answer_id", "grader"], keep="last")
    grades = grades.rename(columns={"grader": "judge", "label": "by_judge"})
    judged = completed.merge(grades, on=["answer_id", "judge"])
    checked_prompts = judged[judged["by_rule"].notna()][PROMPT].drop_duplicates()
    return judged.merge(checked_prompts, on=PROMPT)[COLUMNS]


def leave_out(answers: pd.DataFrame, sample: pd.DataFrame) -> list[str]:
    """Take away all labels of tasks whose rule and judge agree too little.

    Args:
        answers: changed in place.
        sample: from `checked`.

    Returns:
        a line for each task: its agreement, and what to do.
    """
    notes = []
    decided = sample[sample["by_rule"].notna()]
    for (task, rule, judge), group in decided.groupby(["task", "rule", "judge"], sort=False):
        right_by_rule = group["by_rule"].eq("correct")
        right_by_judge = group["by_judge"].eq("correct")
        same = right_by_rule.eq(right_by_judge).mean()
        if len(group) < FEWEST or same >= ENOUGH:
            continue
        rows = answers["task"].eq(task) & answers["grader"].eq(f"{rule}+{judge}")
        answers.loc[rows, "label"] = None
        answers.loc[rows, "reason"] = "needs_judge"
        notes.append(
            f"{task} is not scored: {rule} and {judge} agree on {100 * same:.0f} % of "
            f"{len(group)} answers that both labelled, less than {100 * ENOUGH:.0f} %; grade "
            f"again with grader.judge.when=always."
        )
    return notes
