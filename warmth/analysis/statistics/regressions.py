"""The study's regressions over all arms of a report, as tables for page, CSV and supplement."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

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
            the columns of `regression_models.FittedModel.effects`.
        coefficients: the same for the coefficients.
        notes: separation, terms left out, and models that could not be fitted, a line each.
    """

    effects: pd.DataFrame
    coefficients: pd.DataFrame
    notes: tuple[str, ...]


def tables(
    answers: pd.DataFrame, reference: str = "original", draws: int = 0, check: bool = False
) -> Tables:
    """Fit models 1-4, without and with answer length, to every arm against a reference.

    Args:
        answers: columns of `frames.load_rows`; without `length` there is no model with it.
        reference: the arm that others are compared with.
        draws: cluster-bootstrap refits of the models without length; 0 for none.
        check: fit these by estimating equations too; their `finetuned` coefficients become notes.
    """
    effects: list[pd.DataFrame] = []
    coefficients: list[pd.DataFrame] = []
    notes: list[str] = []
    lengths = (False, True) if "length" in answers else (False,)
    for arm in sorted(set(answers["arm"]) - {reference}, key=arm_order):
        try:
            frame = regression_models.study_rows(answers, arm, reference)
        except UserError as error:
            notes.append(str(error))
            continue
        for spec, length in product(regression_models.SPECS, lengths):
            title = f"{arm}, model {spec.number}{' with length' if length else ''}"
            try:
                fitted = regression_models.fit_one(frame, spec, length, 0 if length else draws)
            except (UserError, ValueError) as error:  # no such rows, or fewer rows than terms
                notes.append(f"{title}: {error}")
                continue
            effects.append(_labelled(fitted.effects, arm, fitted))
            coefficients.append(_labelled(fitted.coefficients, arm, fitted))
            notes += [f"{title}: {note}" for note in fitted.notes]
            if check and not length:
                notes.append(f"{title}: {_gee_note(frame, fitted)}")
    return Tables(_joined(effects), _joined(coefficients), tuple(notes))


def _gee_note(frame: pd.DataFrame, fitted: regression_models.FittedModel) -> str:
    """Give the arm's coefficient by both methods, with errors; GEE needs a finite estimate."""
    if fitted.method.startswith("Firth"):
        return "not checked by GEE: the data separate"
    from warmth.analysis.statistics.gee import gee

    by_gee = gee(frame, fitted.spec)
    clustered = fitted.coefficients.set_index("term").loc["finetuned"]
    exchangeable = by_gee.set_index("term").loc["finetuned"]
    return (
        f"log-odds of the arm {clustered['value']:.4f} (error {clustered['error']:.4f}); by GEE, "
        f"exchangeable within questions, {exchangeable['value']:.4f} "
        f"({exchangeable['error']:.4f}) on {by_gee['rows'].iloc[0]:,} rows"
    )


def _joined(tables_of_models: list[pd.DataFrame]) -> pd.DataFrame:
    """Join the tables of all models; the columns of `SHOWN` if there are none."""
    if not tables_of_models:
        return pd.DataFrame(columns=SHOWN)
    return pd.concat(tables_of_models, ignore_index=True)


def _labelled(table: pd.DataFrame, arm: str, fitted: regression_models.FittedModel) -> pd.DataFrame:
    """Put columns that say which model it is before a model's table."""
    labels = {
        "arm": arm,
        "model": fitted.spec.number,
        "about": fitted.spec.about,
        "length": fitted.length,
        "rows": fitted.rows,
        "clusters": fitted.clusters,
        "method": fitted.method,
    }
    columns = pd.DataFrame([labels] * len(table))
    return pd.concat([columns, table.reset_index(drop=True)], axis=1)
