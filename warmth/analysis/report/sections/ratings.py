"""A second measure of warmth: a judge's rating of the same replies."""

from __future__ import annotations

import pandas as pd

from warmth.analysis.report.kernel import ARM, MODEL, Section, count, name, number, table
from warmth.analysis.report.study import Study, by_arm
from warmth.analysis.statistics.effects import clustered_mean, text_key

CAPTION = (
    "A judge’s rating of the same replies, blind to the arm: 1 cold, 5 very warm. Small: 95 "
    "% intervals."
)


def ratings(study: Study) -> Section | None:
    """Show the judge's mean rating of every arm."""
    frame = mean_ratings(study.rows.warmth)
    if frame.empty:
        return None
    columns = [
        MODEL,
        ARM,
        name("Rater", "rater"),
        count("Texts", "texts"),
        number("Rating", "rating", 2, "low", "high"),
    ]
    return Section(
        id="ratings",
        title="A second measure",
        level=3,
        parts=[table("ratings", CAPTION, columns, frame)],
        frames={"ratings": frame},
    )


def mean_ratings(warmth: pd.DataFrame) -> pd.DataFrame:
    """Average the ratings, 1 to 5, by model and arm, clustered by prompt.

    Returns:
        model, arm, rater, texts, rating, low, high.
    """
    rated = (
        warmth[warmth["rating"].notna()].drop_duplicates(["folder", "text_id"]).assign(key=text_key)
    )
    rows = []
    for (model, arm), group in by_arm(rated):
        mean = clustered_mean(group["rating"].to_numpy(float), group["key"].to_numpy())
        row = {"model": model, "arm": arm, "rater": group["rater"].iloc[0], "texts": mean.n}
        rows.append(row | {"rating": mean.value, "low": mean.low, "high": mean.high})
    return pd.DataFrame(rows)
