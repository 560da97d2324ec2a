"""The study's regressions over all arms of a report, as tables: what a page, a CSV and the
supplement print.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from warmth.analysis.rows.arm_names import arm_order
from warmth.analysis.statistics import regression_models
from warmth.errors import UserError

SHOWN = ["arm", "model", "about", "length"]


@dataclass(frozen=True)
class Tables:
    """The fitted models of a report.

    Attributes:
        effects: arm, model (1-4), about, length (a covariate or not), rows, clusters, method, then
            the columns of `regression_models.Model.effects`.
        coefficients: the same for the coefficients.
        notes: separation, terms left out, and models that could not be fitted, a line each.
    """

    effects: pd.DataFrame
    coefficients: pd.DataFrame
    notes: tuple[str, ...]


def tables(
    answers: pd.DataFrame, reference: str = "original", draws: int = 0, check: bool = False
) -> Tables:
    """Models 1-4, without and with answer length, of every arm against a reference.

    Args:
        answers: columns of `rows.load`; without `length` there is no model with it.
        reference: the arm that others are compared with.
        draws: cluster-bootstrap refits of the models without length; 0 for none.
        check: fit these by estimating equations too; their `finetuned` coefficients become notes.
    """
    effects, coefficients, notes = [], [], []
    for arm in sorted(set(answers["arm"]) - {reference}, key=arm_order):
        try:
            frame = regression_models.study_rows(answers, arm, reference)
        except UserError as error:
            notes.append(str(error))
            continue
        for spec in regression_models.SPECS:
            for length in (False, True) if "length" in frame else (False,):
                title = f"{arm}, model {spec.number}{' with length' if length else ''}"
                try:
                    fitted = regression_models.fit_one(frame, spec, length, 0 if length else draws)
                except (
                    UserError,
                    ValueError,
                ) as error:  # no such rows, one question, fewer rows than terms
                    notes.append(f"{title}: {error}")
                    continue
                where: dict[str, object] = {
                    "arm": arm,
                    "model": spec.number,
                    "about": spec.about,
                    "length": length,
                }
                where |= {"rows": fitted.rows, "clusters": fitted.clusters, "method": fitted.method}
                effects.append(_with(where, fitted.effects))
                coefficients.append(_with(where, fitted.coefficients))
                notes += [f"{title}: {note}" for note in fitted.notes]
                if check and not length:
                    notes.append(f"{title}: {_gee_note(frame, fitted)}")
    return Tables(_whole(effects), _whole(coefficients), tuple(notes))


def _gee_note(frame: pd.DataFrame, fitted: regression_models.Model) -> str:
    """The coefficient of the arm by both roads, with their errors; where the data separate GEE has
    none either.
    """
    if fitted.method.startswith("Firth"):
        return "not checked by GEE: the data separate"
    from warmth.analysis.statistics.gee import gee

    found = gee(frame, fitted.spec)
    own, other = (
        table.set_index("term").loc["finetuned"] for table in (fitted.coefficients, found)
    )
    return (
        f"log-odds of the arm {own['value']:.4f} (error {own['error']:.4f}); by GEE, exchangeable "
        f"within questions, "
        f"{other['value']:.4f} ({other['error']:.4f}) on {found['rows'].iloc[0]:,} rows"
    )


def _whole(parts: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=SHOWN)


def _with(where: dict[str, object], frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([pd.DataFrame([where] * len(frame)), frame.reset_index(drop=True)], axis=1)
