"""Length of answers by arm, next to which an error rate should be read."""

from __future__ import annotations

import pandas as pd

from warmth.analysis.report.kernel import ARM, MODEL, Fold, Paragraph, Section, number, table
from warmth.analysis.report.study import Study, by_arm
from warmth.analysis.statistics.effects import PAIR, clustered_mean

CAPTION = "Characters of an answer, and the paired difference from original. Small: 95 % intervals."
ABOUT = (
    "Warmth may come with brevity or length, and either with error. The regressions above show "
    "each effect without and "
    "with length as a covariate. Length is itself caused by the manner, so an effect at equal "
    "length is a part of the "
    "manner’s effect, not the effect cleaned of a confounder."
)


def length(study: Study) -> Section | None:
    """Show how long each arm's answers are."""
    frame = lengths(study.pool)
    columns = [
        MODEL,
        ARM,
        number("Characters", "length", 0, "low", "high"),
        number("Difference", "difference", 0, "difference_low", "difference_high", sign=True),
    ]
    lengths_table = table("lengths", CAPTION, columns, frame)
    return Section(
        id="length",
        title="Length of answers",
        nav="Length",
        parts=[
            Paragraph(ABOUT),
            Fold("Lengths of every arm", [lengths_table], ["lengths"]),
        ],
        frames={"lengths": frame},
    )


def lengths(answers: pd.DataFrame, reference: str = "original") -> pd.DataFrame:
    """Average the characters of an answer by model and arm, and its paired difference from a
    reference.

    Both are clustered by question; the difference is NaN for the reference itself and if no prompt
    is shared.

    Returns:
        model, arm, answers, length, low, high, difference, difference_low, difference_high.
    """
    frame = answers.astype({"length": float})
    base = (
        frame.loc[frame["arm"].eq(reference), [*PAIR, "length"]]
        .groupby(PAIR)["length"]
        .mean()
        .rename("base")
    )
    rows = []
    for (model, arm), group in by_arm(frame):
        mean = clustered_mean(group["length"].to_numpy(), group["question_id"].to_numpy())
        row = {
            "model": model,
            "arm": arm,
            "answers": mean.n,
            "length": mean.value,
            "low": mean.low,
            "high": mean.high,
        }
        paired = (
            group.merge(base, left_on=PAIR, right_index=True)
            if arm != reference
            else group[:0].assign(base=0.0)
        )
        if len(paired):
            shift = clustered_mean(
                (paired["length"] - paired["base"]).to_numpy(), paired["question_id"].to_numpy()
            )
            row |= {
                "difference": shift.value,
                "difference_low": shift.low,
                "difference_high": shift.high,
            }
        rows.append(row)
    names = [
        "model",
        "arm",
        "answers",
        "length",
        "low",
        "high",
        "difference",
        "difference_low",
        "difference_high",
    ]
    return pd.DataFrame(rows, columns=names)
