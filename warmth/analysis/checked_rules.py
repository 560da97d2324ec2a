"""Rules that a judge completed (`grader.judge.when=unscored`): do both agree on the answers that both labelled?

The judge labels a tenth of what the rule has decided. Where they agree on less than 95 % of it, the rule's labels are
not used: the task is not scored, in no arm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from warmth.analysis.reading import frame

if TYPE_CHECKING:
    from warmth.analysis.runs import FinishedRun

ENOUGH = 0.95  # agreement of rule and judge, of answers that both label
FEWEST = 20  # answers on which that can be told
COLUMNS = ["model", "arm", "task", "rule", "judge", "question_id", "answer_id", "by_rule", "by_judge"]


def checked(answers: pd.DataFrame, runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """Find the answers that a rule decided and a judge labelled as well.

    Args:
        answers: model, arm, task, question_id, answer_id, grader, label and reason; the grader of a completed rule is
            called "rule+judge".
        runs: the evaluations that hold all graders' rows.

    Returns:
        COLUMNS; `by_rule` and `by_judge` are the labels.
    """
    both = answers[answers["grader"].str.contains("+", regex=False) & answers["label"].notna()]
    both = both[both["reason"].eq("")]  # beside its own label a judge gives a reason
    if both.empty:
        return pd.DataFrame(columns=COLUMNS)
    names = both["grader"].str.split("+", n=1, expand=True)
    both = both.assign(rule=names[0], judge=names[1], by_rule=both["label"])
    columns = ("answer_id", "grader", "label")
    grades = pd.concat([frame(run.folder / "grades.jsonl", columns) for run in runs], ignore_index=True)
    grades = grades.dropna(subset="label").drop_duplicates(["answer_id", "grader"], keep="last")
    grades = grades.rename(columns={"grader": "judge", "label": "by_judge"})[["answer_id", "judge", "by_judge"]]
    return both.merge(grades, on=["answer_id", "judge"])[COLUMNS]


def leave_out(answers: pd.DataFrame, sample: pd.DataFrame) -> list[str]:
    """Take away all labels of tasks whose rule and judge agree too little; say which, and what to do.

    Args:
        answers: changed in place.
        sample: from `checked`.
    """
    notes = []
    for (task, rule, judge), group in sample.groupby(["task", "rule", "judge"], sort=False):
        same = group["by_rule"].eq("correct").eq(group["by_judge"].eq("correct")).mean()
        if len(group) < FEWEST or same >= ENOUGH:
            continue
        rows = answers["task"].eq(task) & answers["grader"].eq(f"{rule}+{judge}")
        answers.loc[rows, "label"] = None
        answers.loc[rows, "reason"] = "needs_judge"
        notes.append(
            f"{task} is not scored: {rule} and {judge} agree on {100 * same:.0f} % of {len(group)} answers that both "
            f"labelled, less than {100 * ENOUGH:.0f} %; grade again with grader.judge.when=always."
        )
    return notes
