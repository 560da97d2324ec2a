"""Flow of answers from asked to paired, with the reasons of those that were lost (CONSORT)."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

STAGES = ("asked", "answered", "scored", "paired")
NO_ROW = "no answer"  # a prompt without a row in answers.jsonl
NO_PARTNER = "no scored partner"
UNNAMED = "no reason given"


def flow_of_answers(
    answers: pd.DataFrame, asked: pd.DataFrame, pairs: Mapping[str, pd.DataFrame]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Follow the answers of every model and arm through the stages.

    Args:
        answers: of the tasks that are pooled, columns of `frames.load_rows`.
        asked: model, arm, task, asked.
        pairs: reference → `effects.pair`; an arm's answers are paired if they have a partner in the
            first that has the arm, an answer of the reference if any arm's answer is its partner.

    Returns:
        model, arm and a count for each of `STAGES`; and model, arm, stage (what was not reached),
        reason, count.
    """
    stages = []
    losses = []
    tasks = set(answers["task"])
    asked_of_arm = asked[asked["task"].isin(tasks)].groupby(["model", "arm"])["asked"].sum()
    for (model, arm), group in answers.groupby(["model", "arm"], sort=False):
        came = group[group["finish"].ne("error")]
        scored = came[came["wrong"].notna()]
        failed = group[group["finish"].eq("error")]
        count = {
            "asked": max(int(asked_of_arm.get((model, arm), 0)), len(group)),
            "answered": len(came),
            "scored": len(scored),
            "paired": paired_count(str(model), str(arm), pairs),
        }
        stages.append({"model": model, "arm": arm, **count})
        reasons = {
            "answered": why_unanswered(failed, count["asked"] - len(group)),
            "scored": why_unscored(came),
            "paired": {NO_PARTNER: count["scored"] - count["paired"]},
        }
        for stage, counts in reasons.items():
            for reason, number in counts.items():
                if number > 0:
                    losses.append((model, arm, stage, reason, int(number)))
    return (
        pd.DataFrame(stages, columns=["model", "arm", *STAGES]),
        pd.DataFrame(losses, columns=["model", "arm", "stage", "reason", "count"]),
    )


def paired_count(model: str, arm: str, pairs: Mapping[str, pd.DataFrame]) -> int:
    """Count the scored answers of an arm that stand in a pair."""
    if arm in pairs:
        pairs_of_model = pairs[arm][pairs[arm]["model"].eq(model)]
        return len(pairs_of_model.drop_duplicates(["prompt_id", "sample"]))
    for frame in pairs.values():
        pairs_of_arm = frame[frame["model"].eq(model) & frame["arm"].eq(arm)]
        if len(pairs_of_arm):
            return len(pairs_of_arm)
    return 0


def why_unanswered(failed: pd.DataFrame, without_row: int) -> dict[str, int]:
    """Count why prompts have no answer."""
    reasons = failed["reason"].replace("", UNNAMED).value_counts().to_dict()
    return {**reasons, NO_ROW: without_row}


def why_unscored(came: pd.DataFrame) -> dict[str, int]:
    """Count why answers are neither right nor wrong: refused, hedged, or without a label."""
    unscored = came[came["wrong"].isna()]
    dropped = unscored[unscored["label"].notna()]
    unlabelled = unscored[unscored["label"].isna()]
    refused = int(dropped["refused"].sum())
    by_rule = {"refused": refused, "hedged": len(dropped) - refused}
    return by_rule | unlabelled["reason"].replace("", UNNAMED).value_counts().to_dict()
