"""Rules that a judge completed: what each says of the answers that both labelled."""

from __future__ import annotations

import pandas as pd

from warmth.analysis.report.kernel import ARM, MODEL, Section, count, percent, points, rate, table, text
from warmth.analysis.report.study import Study, by_arm
from warmth.analysis.statistics.effects import clustered_mean

CAPTION = (
    "A tenth of the answers that the rule decided, labelled by the judge as well. Differences are from original, each "
    "arm on its own sample. Small: 95 % intervals."
)


def checked(study: Study) -> Section | None:
    """Show errors by rule and by judge alone on the sample that both labelled."""
    sample = study.rows.checked
    if sample.empty:
        return None
    frame = by_rule_and_judge(sample)
    columns = [
        MODEL,
        ARM,
        text("Rule", "rule"),
        text("Judge", "judge"),
        count("Answers", "answers"),
        percent("Agree, %", "agreement"),
        rate("Wrong by rule, %", "rule_rate", "rule_low", "rule_high"),
        rate("By judge, %", "judge_rate", "judge_low", "judge_high"),
        points("Difference by rule", "rule_difference"),
        points("By judge alone", "judge_difference"),
    ]
    return Section(
        id="checked",
        title="Rule and judge on the same answers",
        nav="Rule and judge",
        parts=[table("checked", CAPTION, columns, frame, wide=True)],
        frames={"checked_rules": frame},
    )


def by_rule_and_judge(sample: pd.DataFrame, reference: str = "original") -> pd.DataFrame:
    """Count what is not correct by rule and by judge, for each model and arm, and the difference from a reference."""
    rows = []
    for (model, arm), group in by_arm(sample):
        row = {"model": model, "arm": arm, "answers": len(group)}
        row |= {name: ", ".join(sorted(group[name].unique())) for name in ("rule", "judge")}
        row["agreement"] = float(group["by_rule"].eq("correct").eq(group["by_judge"].eq("correct")).mean())
        for name in ("rule", "judge"):
            wrong = group[f"by_{name}"].ne("correct").to_numpy(dtype=float)
            mean = clustered_mean(wrong, group["question_id"].to_numpy())
            row |= {f"{name}_rate": mean.value, f"{name}_low": mean.low, f"{name}_high": mean.high}
        rows.append(row)
    frame = pd.DataFrame(rows)
    for name in ("rule", "judge"):
        originals = frame[frame["arm"].eq(reference)].set_index("model")[f"{name}_rate"]
        difference = frame[f"{name}_rate"] - frame["model"].map(originals)
        frame[f"{name}_difference"] = difference.where(frame["arm"].ne(reference))
    return frame
