"""Where the difference arises: figures of every paired difference from the original."""

from __future__ import annotations

import pandas as pd
from markupsafe import Markup

from warmth.analysis.report.drawing import figures, own_figures
from warmth.analysis.report.kernel import Fragment, Paragraph, Section
from warmth.analysis.report.study import Study, points_of
from warmth.analysis.statistics import effects
from warmth.analysis.statistics.estimand import EQUAL, Weights

ABOUT = (
    "Every arm answered the same prompts, so each answer is compared with the original model’s "
    "answer to the very same "
    "prompt. A question returns under several contexts and beliefs; intervals count questions, "
    "not rows."
)
METHOD = Markup(
    "d = wrong in the arm − wrong in the reference, on one prompt and sample; its mean with V = "
    "G/(G − 1) · "
    "Σ<sub>g</sub>(Σ<sub>i∈g</sub>(d<sub>i</sub> − d̄))² / n² over G questions, and the interval "
    "d̄ ± "
    "t<sub>G−1</sub>·√V (CR1, as statsmodels has it). Over several tasks each task weighs one, "
    "over several models "
    "each model; a question is one cluster whichever model answered, and the interval is of these "
    "models, not of "
    "others. Where fewer than 40 questions hold a discordant pair that interval would be too "
    "short: there it is "
    "Tango’s score interval at an effective number of pairs, where all pairs are alike the exact "
    "one, a question "
    "counting as one answer. Pairs in which either side is unscored are left out."
)


def differences(study: Study) -> Section | None:
    """Draw the differences from the original by task, context and belief."""
    frame = study.differences
    conditions = condition_cells(study.pairs_with_original, frame, study.settings.weights)
    reported = list(study.reported.values())
    of_reported = frame[frame["arm"].isin(reported)] if len(frame) else frame
    drawings = []
    for number, model in enumerate(study.rows.models):
        drawings.append(figures.forest(frame, model, number, study.asked))
    drawings.append(figures.contexts(conditions, asked=study.asked))
    drawings.append(own_figures.changes(own_figures.change_cells(of_reported)))
    return Section(
        id="differences",
        title="Where the difference arises",
        nav="Differences",
        parts=[
            Fragment("hint.html.j2", {}),
            Paragraph(ABOUT),
            *(drawing for drawing in drawings if drawing is not None),
        ],
        methods={"Paired difference": METHOD},
        points=points_of(pd.concat([frame, conditions]), "pairs", paired=True),
    )


def condition_cells(
    pairs: pd.DataFrame, differences: pd.DataFrame, weights: Weights = EQUAL
) -> pd.DataFrame:
    """Compute differences by context and belief, with the interval of either rate on the paired
    rows.

    If there are several models, rows of all of them together follow, under the model "".
    """
    cells = differences[differences["family"].eq("condition")] if len(differences) else differences
    if cells.empty:
        return cells
    names = ["model", "arm", "context", "belief"]
    groups = list(pairs.groupby(names))
    if pairs["model"].nunique() > 1:
        groups += [(("", *key), group) for key, group in pairs.groupby(names[1:])]
    rows = []
    for key, group in groups:
        row = dict(zip(names, key, strict=True)) | {"pairs": len(group)}
        for side in ("arm", "reference"):
            wrong = group[f"wrong_{side}"].to_numpy(float)
            rate, low, high = effects.weighted_rate(group, wrong, weights)
            row |= {f"rate_{side}": rate, f"{side}_low": low, f"{side}_high": high}
        rows.append(row | {"difference": row["rate_arm"] - row["rate_reference"]})
    return pd.DataFrame(rows).assign(task="", family="condition")
