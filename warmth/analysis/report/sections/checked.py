"""Rules that a judge completed: what each says of the answers to the same prompts."""

from __future__ import annotations

import math

import pandas as pd

from warmth.analysis.report.kernel import ARM, MODEL, Section, count, percent, shift, table, text
from warmth.analysis.report.study import Study, by_arm
from warmth.analysis.rows.checked_rules import PROMPT
from warmth.analysis.statistics.effects import clustered_mean

CAPTION = (
    "The answers to a tenth of the prompts, labelled by the judge too. Agree: of those that the "
    "rule decided; below "
    "95 % its labels are not used. Differences from original are paired by prompt: by the label "
    "that counts (the "
    "judge’s where the rule left an answer open), and by the judge alone. Small: 95 % intervals, "
    "clustered by question."
)


def checked(study: Study) -> Section | None:
    """Show how far rule and judge agree, and the difference by the judge alone, on the prompts of
    both.
    """
    sample = study.rows.checked
    if sample.empty:
        return None
    frame = by_rule_and_judge(sample)
    columns = [
        MODEL,
        ARM,
        text("Rule", "rule"),
        text("Judge", "judge"),
        count("Decided", "decided"),
        percent("Agree, %", "agreement"),
        count("Pairs", "pairs"),
        shift("Difference that counts", "both_difference", "both_low", "both_high"),
        shift("By judge alone", "judge_difference", "judge_low", "judge_high"),
    ]
    return Section(
        id="checked",
        title="Rule and judge on the same answers",
        nav="Rule and judge",
        parts=[table("checked", CAPTION, columns, frame, wide=True)],
        frames={"checked_rules": frame},
    )


def by_rule_and_judge(sample: pd.DataFrame, reference: str = "original") -> pd.DataFrame:
    """Count how often rule and judge agree in each arm, and pair the arm with a reference by each
    of them.

    Args:
        sample: from `checked_rules.checked_answers`.
        reference: the arm of which differences are taken.

    Returns:
        model, arm, rule, judge, decided, agreement, pairs, and `both_` and `judge_` difference, low
        and high (fractions; NaN without pairs).
    """
    rows = []
    for (model, arm), group in by_arm(sample):
        decided = group[group["by_rule"].notna()]
        same = decided["by_rule"].eq("correct").eq(decided["by_judge"].eq("correct"))
        row = {"model": model, "arm": arm, "decided": len(decided), "agreement": float(same.mean())}
        row |= {name: ", ".join(sorted(group[name].unique())) for name in ("rule", "judge")}
        pairs = group[:0]
        if arm != reference:
            of_reference = sample[sample["model"].eq(model) & sample["arm"].eq(reference)]
            pairs = group.merge(of_reference, on=PROMPT, suffixes=("", "_reference"))
        row["pairs"] = len(pairs)
        for name in ("both", "judge"):
            row |= paired_difference(pairs, name)
        rows.append(row)
    return pd.DataFrame(rows)


def paired_difference(pairs: pd.DataFrame, name: str) -> dict[str, float]:
    """Return the mean difference in what is not correct by one labelling, with its interval; NaN
    without pairs.
    """
    if pairs.empty:
        return dict.fromkeys((f"{name}_difference", f"{name}_low", f"{name}_high"), math.nan)
    wrong = pairs[f"by_{name}"].ne("correct").astype(float)
    wrong_reference = pairs[f"by_{name}_reference"].ne("correct").astype(float)
    clusters = (pairs["task"] + " " + pairs["question_id"]).to_numpy()
    mean = clustered_mean((wrong - wrong_reference).to_numpy(), clusters)
    return {f"{name}_difference": mean.value, f"{name}_low": mean.low, f"{name}_high": mean.high}
