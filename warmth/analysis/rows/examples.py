"""Rows to read: the same prompt through every arm, drawn by seed so that nobody picks them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from warmth.analysis.rows.arm_names import arm_order
from warmth.analysis.rows.frames import Rows

DISAGREEING = 12  # prompts per report on which arms disagree
AGREEING = 4  # prompts per report on which they agree
SOME = 12  # values named where one is not known
WHERE = ("task", "context", "belief")  # of these a filter names one or several, a comma between


@dataclass(frozen=True)
class ArmReply:
    """One arm's answer to the example's prompt."""

    arm: str
    label: str  # the grade's label; "unscored" without one
    reason: str
    text: str
    cut_off: bool


@dataclass(frozen=True)
class PromptExample:
    """One prompt and what each arm answered."""

    model: str
    question_id: str
    task: str
    context: str
    belief: str
    message: str
    accepted: tuple[str, ...]
    wrong: str
    disagree: bool
    said: tuple[ArmReply, ...]


def draw_examples(rows: Rows, seed: int = 0) -> tuple[list[PromptExample], int]:
    """Draw some prompts on which arms disagree and a few on which they agree.

    Returns:
        The examples, disagreeing ones first, and the number of prompts on which arms disagree.
    """
    answers = rows.answers[rows.answers["sample"].eq(0)]
    answers = answers.drop_duplicates(["model", "arm", "prompt_id"])
    prompts = answers.groupby(["model", "prompt_id"], sort=True)
    verdicts = prompts["wrong"].nunique()
    several_arms = prompts["arm"].nunique() > 1
    disagreeing = verdicts.index[verdicts > 1]
    agreeing = verdicts.index[(verdicts == 1) & several_arms]
    rng = np.random.default_rng(seed)
    drawn_disagreeing = disagreeing[rng.permutation(len(disagreeing))[:DISAGREEING]]
    drawn_agreeing = agreeing[rng.permutation(len(agreeing))[:AGREEING]]
    prompt_ids = {*drawn_disagreeing.get_level_values(1), *drawn_agreeing.get_level_values(1)}
    groups = answers[answers["prompt_id"].isin(prompt_ids)].groupby(["model", "prompt_id"])
    examples = []
    for key in drawn_disagreeing:
        examples.append(example(groups.get_group(key), rows.prompts, disagree=True))
    for key in drawn_agreeing:
        examples.append(example(groups.get_group(key), rows.prompts, disagree=False))
    return examples, len(disagreeing)


def of_cell(rows: Rows, where: Mapping[str, str], arm: str = "") -> list[PromptExample]:
    """Find every prompt whose columns have these values, in the order of rows.

    Args:
        rows: the finished runs.
        where: column → value; of the columns `WHERE` several values with a comma between.
        arm: only prompts that it answered, with its answers and the original's; "" for all arms.
    """
    answers = rows.answers
    for column, value in where.items():
        answers = answers[among(answers[column], value)]
    if arm:
        answers = beside_original(answers, arm, "prompt_id")
    examples = []
    for _, group in answers.groupby(["model", "prompt_id", "sample"], sort=False):
        examples.append(example(group, rows.prompts, disagree=group["wrong"].nunique() > 1))
    return examples


def beside_original(rows: pd.DataFrame, arm: str, prompt: str) -> pd.DataFrame:
    """Select the rows of an arm and of the original on the prompts that the arm answered.

    Args:
        rows: `arm` and the prompt's column.
        arm: the arm.
        prompt: name of that column.
    """
    answered = set(rows.loc[rows["arm"].eq(arm), prompt])
    return rows[rows["arm"].isin([arm, "original"]) & rows[prompt].isin(answered)]


def misfit(rows: pd.DataFrame, given: Mapping[str, str]) -> str:
    """Say why no row fits: the first filter that no row passes, else all filters.

    Args:
        rows: what was filtered.
        given: column → the value that was asked for.

    Returns:
        the end of a sentence that begins with "no rows".
    """
    if rows.empty or not given:
        return ""
    for name, value in given.items():
        if among(rows[name], value).any():
            continue
        known = sorted(map(str, rows[name].unique()))
        more = f" and {len(known) - SOME} more" if len(known) > SOME else ""
        return f" fit {name}={value}; there are: {', '.join(known[:SOME])}{more}"
    return f" fit {' '.join(f'{name}={value}' for name, value in given.items())}"


def among(column: pd.Series, value: str) -> pd.Series:
    """Mark where a column has a value; of the columns `WHERE`, one of several between commas.

    An arm's name may have a comma itself.
    """
    if column.name in WHERE:
        return column.isin([value, *value.split(",")])
    return column.eq(value)


def of_replies(rows: Rows, model: str = "", arm: str = "") -> list[PromptExample]:
    """List replies to held-out prompts, a column per arm, with warmth scores (nats) as labels.

    Args:
        rows: the finished runs.
        model: the model's name; "" for all.
        arm: its replies and the original's alone; "" for all arms.
    """
    warmth = rows.warmth[rows.warmth["score"].notna()]
    if model:
        warmth = warmth[warmth["model"].eq(model)]
    if arm:
        warmth = beside_original(warmth, arm, "prompt")
    examples = []
    reply_to = ["model", "prompt", "variant", "scorer", "seed"]
    for (name, prompt, variant, scorer, _), group in warmth.groupby(reply_to, sort=False):
        replies = []
        for row in examples_in_order(group):
            replies.append(
                ArmReply(
                    arm=str(row["arm"]),
                    label=f"{row['score']:+.4f}",
                    reason="",
                    text=str(row["text"]),
                    cut_off=False,
                )
            )
        examples.append(
            PromptExample(
                model=str(name),
                question_id=str(group["text_id"].iloc[0]),
                task="held-out prompt",
                context=f"{variant} {scorer}",
                belief="none",
                message=str(prompt),
                accepted=(),
                wrong="",
                disagree=len(replies) > 1,
                said=tuple(replies),
            )
        )
    return examples


def examples_in_order(group: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a group in the order of arms."""
    places = group["arm"].map(arm_order)
    return group.assign(order=places).sort_values("order", kind="stable").to_dict("records")


def example(group: pd.DataFrame, prompts: pd.DataFrame, disagree: bool) -> PromptExample:
    """Collect the answers to one prompt, a column per arm.

    Args:
        group: the prompt's rows of `Rows.answers`.
        prompts: `Rows.prompts`; a prompt that it lacks is shown without its message.
        disagree: whether the arms disagree.
    """
    row = group.iloc[0]
    prompt: Any = prompts.loc[row["prompt_id"]] if row["prompt_id"] in prompts.index else {}
    replies = []
    for answer in examples_in_order(group):
        replies.append(
            ArmReply(
                arm=answer["arm"],
                label=answer["label"] if isinstance(answer["label"], str) else "unscored",
                reason=answer["reason"] or "",
                text=str(answer["text"]),
                cut_off=answer["cut_off"],
            )
        )
    return PromptExample(
        model=str(row["model"]),
        question_id=str(row["question_id"]),
        task=str(row["task"]),
        context=str(row["context"]),
        belief=str(row["belief"]),
        message=str(prompt.get("message", "")),
        accepted=tuple(map(str, prompt.get("answers", ()) or ())),
        wrong=str(prompt.get("wrong") or ""),
        disagree=disagree,
        said=tuple(replies),
    )
