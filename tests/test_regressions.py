import re
import warnings

import numpy as np
import pandas as pd
from test_regression_models import answers

from warmth.analysis.statistics.regressions import tables


def test_every_arm_has_four_models_with_and_without_length():
    rows = answers(questions=20)
    both = pd.concat([rows, rows[rows["arm"].eq("warm")].assign(arm="cold")])
    made = tables(both)
    assert (
        made.effects.groupby(["arm", "length"])["model"].unique().map(list).tolist()
        == [[1, 2, 3, 4]] * 4
    )
    one = made.effects[
        made.effects["effect"].eq("wrong belief")
        & made.effects["arm"].eq("cold")
        & ~made.effects["length"]
    ]
    assert len(one) == 1 and one["clusters"].iloc[0] == 20
    assert set(made.coefficients["term"]) >= {"finetuned", "finetuned:belief", "length"}


def test_a_model_that_cannot_be_fitted_is_a_note_and_the_others_stand():
    rows = answers(questions=20).loc[lambda table: table["context"].ne("unmodified")]
    made = tables(rows)
    assert set(made.effects["model"]) == {2, 3, 4}
    assert "warm, model 1: model 1 (no context, no belief) needs answers of both arms" in made.notes


def test_one_question_is_too_few_and_says_so():
    made = tables(answers(questions=1, length=False))
    assert made.effects.empty and all("needs two questions" in note for note in made.notes)


def test_checks_add_bootstrap_intervals_and_the_coefficient_by_estimating_equations():
    made = tables(answers(questions=30), draws=60, check=True)
    plain = made.effects[~made.effects["length"]]
    assert (plain["low_boot"] < plain["value"]).all() and (
        plain["value"] < plain["high_boot"]
    ).all()
    notes = [note for note in made.notes if "by GEE" in note]
    assert len(notes) == 4
    own, other = (float(part) for part in re.findall(r"(-?[\d.]+) \(", notes[0]))
    assert abs(own - other) < 0.1


def test_separated_data_are_not_checked_by_estimating_equations():
    rows = answers(questions=20, length=False)
    rows["wrong"] = np.where(rows["arm"].eq("warm"), 1.0, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # GEE warns of perfect separation, dozens of times
        made = tables(rows, check=True)
    assert made.effects["method"].str.startswith("Firth").all()
    assert [note for note in made.notes if "GEE" in note] == [
        f"warm, model {number}: not checked by GEE: the data separate" for number in (1, 2, 3, 4)
    ]
