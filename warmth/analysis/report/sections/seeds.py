"""How far the overall difference holds beyond the training seeds that were tried."""

from __future__ import annotations

import pandas as pd
from markupsafe import Markup

from warmth.analysis.report.kernel import ARM, MODEL, Section, count, shift, table
from warmth.analysis.report.study import Study, by_arm
from warmth.analysis.statistics import families
from warmth.analysis.statistics.estimand import EQUAL, Weights, weighted_design

CAPTION = (
    "The overall difference from original over training seeds. The recipe’s interval holds for a "
    "seed that was not "
    "trained here; the other one for these trained models alone."
)
METHOD = Markup(
    "Questions and training seeds are crossed: V = V<sub>question</sub> + V<sub>seed</sub> − "
    "V<sub>question∩seed</sub>, Satterthwaite’s degrees of freedom."
)


def seeds(study: Study) -> Section | None:
    """Show the overall difference over several training seeds: for these models, and for a seed not
    yet trained.
    """
    frame = seed_rows(study.pairs_with_original, study.settings.weights)
    if frame.empty:
        return None
    columns = [
        MODEL,
        ARM,
        count("Seeds", "seeds"),
        count("Questions", "questions"),
        shift("Difference, points", "value"),
        shift("Of the recipe, points", "value", "low_recipe", "high_recipe"),
    ]
    return Section(
        id="seeds",
        title="Training seeds",
        level=3,
        parts=[table("seeds", CAPTION, columns, frame)],
        frames={"seeds": frame},
        methods={"Seeds": METHOD},
    )


def seed_rows(pairs: pd.DataFrame, weights: Weights = EQUAL) -> pd.DataFrame:
    """Compute the difference of every model and arm with two seeds or more; columns of
    `families.crossed_mean`.
    """
    rows = []
    for (model, arm), group in by_arm(pairs):
        if group["seed"].nunique() > 1:
            values = [group[name].to_numpy() for name in ("difference", "question_id", "seed")]
            rows.append(
                {
                    "model": model,
                    "arm": arm,
                    **families.crossed_mean(*values, rows=weighted_design(group, weights)),
                }
            )
    return pd.DataFrame(rows)
