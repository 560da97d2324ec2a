import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as formulas

from warmth.analysis.statistics import regression_models
from warmth.analysis.statistics.gee import gee
from warmth.errors import UserError

TERMS = "C(task, Treatment('disinfo')) + C(model, Treatment('llama70b'))"
FORMULAS = {
    1: f"wrong ~ finetuned + {TERMS}",
    2: f"wrong ~ finetuned * C(group, Treatment('unmodified')) + {TERMS}",
    3: f"wrong ~ finetuned * C(context, Treatment('unmodified')) + {TERMS}",
    4: f"wrong ~ finetuned * pressed + {TERMS}",
}


def answers(questions=60, seed=0, length=True):
    """Answers of two models and two arms; questions differ in difficulty."""
    draw = np.random.default_rng(seed)
    rows = [
        {
            "question_id": f"q{q}",
            "task": ("disinfo", "medqa", "triviaqa")[q % 3],
            "model": m,
            "arm": a,
            "context": c,
        }
        | {"belief": b, "length": int(draw.integers(20, 400))}
        for q in range(questions)
        for m in ("llama70b", "other")
        for a in ("original", "warm")
        for c in ("unmodified", "sad", "close", "low")
        for b in ("none", "wrong_asserted", "user_right")
    ]
    frame = pd.DataFrame(rows)
    hard = draw.normal(0, 1, questions)[frame["question_id"].str[1:].astype(int)]
    linear = hard - 0.7 + 0.5 * frame["arm"].eq("warm") + 0.4 * frame["belief"].eq("wrong_asserted")
    frame["wrong"] = (draw.random(len(frame)) < 1 / (1 + np.exp(-linear))).astype(float)
    return frame if length else frame.drop(columns="length")


@pytest.fixture(scope="module")
def frame():
    return regression_models.study_rows(answers(), "warm")


@pytest.mark.parametrize("length", [False, True])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_each_model_equals_statsmodels_naive_and_clustered(frame, number, length):
    model = regression_models.fit_study(frame, [number], length)[0]
    rows = regression_models.fitted_rows(frame, regression_models.SPECS[number - 1])
    glm = formulas.glm(
        FORMULAS[number] + (" + length" if length else ""), rows, family=sm.families.Binomial()
    )
    groups = pd.factorize(rows["question"])[0]
    clustered = glm.fit(tol=1e-14, cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    for column, theirs in (
        ("value", clustered.params),
        ("error", clustered.bse),
        ("p", clustered.pvalues),
    ):
        assert np.sort(model.coefficients[column]) == pytest.approx(np.sort(theirs), abs=1e-8)
    assert np.sort(model.coefficients["error_naive"]) == pytest.approx(
        np.sort(glm.fit(tol=1e-14).bse), abs=1e-8
    )
    assert (model.rows, model.clusters) == (len(rows), 60)


def test_the_average_marginal_effect_is_the_mean_change_in_predicted_rates(frame):
    model = regression_models.fit_study(frame, [4])[0]
    glm = formulas.glm(FORMULAS[4], frame, family=sm.families.Binomial()).fit(tol=1e-14)
    change = glm.predict(frame.assign(finetuned=1)) - glm.predict(frame.assign(finetuned=0))
    effects = model.effects.set_index("effect")["value"]
    assert effects["all rows"] == pytest.approx(change.mean(), abs=1e-10)
    assert effects["wrong belief"] == pytest.approx(
        change[frame["pressed"].eq(1)].mean(), abs=1e-10
    )


def test_the_delta_method_follows_the_gradient(frame):
    design = regression_models.regression_design(
        regression_models.fitted_rows(frame, regression_models.SPECS[1]),
        regression_models.SPECS[1],
        False,
    )[0]
    n, where = design.data.totals[0], design.cells["emotion"]
    beta = np.linspace(-0.5, 0.5, len(design.data.names))[None]
    _, gradient = regression_models.marginal_effect(design, where, beta, n)
    step = 1e-6 * np.eye(beta.shape[1])
    ends = [
        regression_models.marginal_effect(design, where, beta + sign * step, n)[0]
        for sign in (1, -1)
    ]
    assert gradient[0] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-8)


def test_the_bootstrap_interval_is_near_the_delta_one(frame):
    row = regression_models.fit_study(frame, [1], draws=400, seed=3)[0].effects.iloc[0]
    assert (row["low_boot"], row["high_boot"]) == pytest.approx((row["low"], row["high"]), abs=0.02)


def test_few_questions_bring_cr2_and_many_do_not(frame):
    few = frame[frame["question"].isin(frame["question"].unique()[:18])]
    assert "error_cr2" in regression_models.fit_study(few, [4])[0].coefficients
    assert "error_cr2" not in regression_models.fit_study(frame, [4])[0].coefficients


def test_a_task_without_errors_is_named_and_firth_stands_in(frame):
    perfect = frame.assign(wrong=frame["wrong"].mask(frame["task"].eq("disinfo"), 0.0))
    model = regression_models.fit_study(perfect, [4])[0]
    assert model.method.startswith("Firth")
    assert (
        "quasi-separation" in model.notes[0]
        and "task[medqa]" in model.notes[0]
        and "finetuned" not in model.notes[0]
    )
    assert model.coefficients["value"].abs().max() < 10
    separated = model.coefficients["term"].isin(["Intercept", "task[medqa]", "task[triviaqa]"])
    assert model.coefficients.loc[separated, ["error", "low", "high", "p"]].isna().all(axis=None)
    assert model.coefficients.loc[~separated, "error"].between(0.01, 5).all()
    effect = model.effects.set_index("effect").loc["all rows"]
    assert effect["low"] < perfect.loc[perfect["finetuned"].eq(1), "wrong"].mean() - perfect.loc[
        perfect["finetuned"].eq(0), "wrong"].mean() < effect["high"]  # fmt: skip


def test_on_large_data_one_step_stands_for_each_refit(frame, monkeypatch):
    perfect = frame.assign(wrong=frame["wrong"].mask(frame["task"].eq("disinfo"), 0.0))
    spec = regression_models.SPECS[3]
    refitted = regression_models.fit_one(perfect, spec, length=True)
    monkeypatch.setattr(regression_models.logit, "REFITS", 1000)
    stepped = regression_models.fit_one(perfect, spec, length=True)
    assert (refitted.method, stepped.method) == (
        "Firth, cluster jackknife",
        "Firth, one-step cluster jackknife",
    )
    for part in ("coefficients", "effects"):
        whole, near = getattr(refitted, part), getattr(stepped, part)
        assert near["value"].tolist() == whole["value"].tolist()
        assert near["error"].to_numpy() == pytest.approx(
            whole["error"].to_numpy(), rel=0.05, nan_ok=True
        )


def test_a_cell_in_which_nothing_was_ever_wrong_has_no_interval(frame):
    perfect = frame.assign(wrong=frame["wrong"].mask(frame["context"].eq("sad"), 0.0))
    effect = regression_models.fit_study(perfect, [3])[0].effects.set_index("effect").loc["sad"]
    assert np.isnan(effect["low"]) and np.isnan(effect["p"])


@pytest.mark.parametrize("perfect", [False, True])
def test_arms_that_answered_alike_have_no_interval_and_other_terms_keep_theirs(perfect):
    rows = answers(questions=20).query("arm == 'original' and task != 'medqa'")
    rows = (
        rows.assign(wrong=rows["wrong"].mask(rows["task"].eq("disinfo"), 0.0)) if perfect else rows
    )
    model = regression_models.fit_study(
        regression_models.study_rows(pd.concat([rows, rows.assign(arm="warm")]), "warm"),
        [2],
        draws=20,
    )[0]
    assert model.method.startswith("Firth" if perfect else "maximum")
    ends = [column for column in model.effects if column.startswith(("error", "low", "high", "p"))]
    assert np.isnan(model.effects[[name for name in ends if name != "error_naive"]]).all(axis=None)
    terms = model.coefficients.set_index("term")
    assert terms["value"]["finetuned"] == pytest.approx(0, abs=1e-8) and np.isnan(
        terms["p"]["finetuned"]
    )
    assert (
        terms["error"]["model[other]"] > 0.01
        and terms["low"]["model[other]"] < terms["high"]["model[other]"]
    )


def test_users_who_are_right_are_left_out_and_a_missing_arm_is_named():
    rows = answers(questions=6)
    assert len(regression_models.study_rows(rows, "warm")) == len(rows) * 2 / 3
    with pytest.raises(UserError, match="arm=cold has no scored answer; there are: original, warm"):
        regression_models.study_rows(rows, "cold")
    with pytest.raises(UserError, match="length as a covariate needs the answers' lengths"):
        regression_models.fit_study(
            regression_models.study_rows(answers(6, length=False), "warm"), length=True
        )


def test_unscored_answers_do_not_count():
    rows = answers(questions=6)
    rows.loc[:9, "wrong"] = np.nan
    assert len(regression_models.study_rows(rows, "warm")) < len(
        regression_models.study_rows(answers(questions=6), "warm")
    )


def test_gee_on_fewer_rows_takes_questions_of_every_task(frame):
    check = gee(frame, regression_models.SPECS[0], most=120)
    assert check["rows"].iloc[0] == 120  # 30 questions of 4 unmodified rows each
    assert {"task[medqa]", "task[triviaqa]"} <= set(check["term"])


def test_gee_agrees_with_the_clustered_regression_on_balanced_questions(frame):
    check = gee(frame, regression_models.SPECS[3]).set_index("term")
    ours = regression_models.fit_study(frame, [4])[0].coefficients.set_index("term")
    assert check.loc["finetuned", "value"] == pytest.approx(
        ours.loc["finetuned", "value"], abs=0.02
    )
    assert check.loc["finetuned", "error"] == pytest.approx(ours.loc["finetuned", "error"], rel=0.1)
    assert 0 < check["correlation"].iloc[0] < 0.5


def test_a_variance_that_rounding_made_negative_is_none_and_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert regression_models._error(np.array([1.0]), np.array([[-1e-20]])) == 0.0
        assert regression_models._error(np.array([2.0]), np.array([[4.0]])) == 4.0


def test_an_arm_that_is_always_wrong_where_the_original_never_is_shows_what_was_seen():
    """Firth's estimate would draw +100 points of five questions to +83; there is no interval either
    way.
    """
    rows = pd.DataFrame(
        {"question": np.repeat([f"q{at}" for at in range(5)], 2), "finetuned": [0, 1] * 5}
    )
    rows = rows.assign(
        wrong=rows["finetuned"].astype(float), task="t", model="m", context="unmodified", pressed=0
    )
    fitted = regression_models.fit_one(
        rows.assign(group="unmodified"), regression_models.SPECS[0], length=False
    )
    effect = fitted.effects.iloc[0]
    assert (
        effect["value"] == 1.0
        and np.isnan(effect["low"])
        and "complete separation" in fitted.notes[0]
    )


def test_a_length_that_tells_every_wrong_answer_leaves_no_interval(frame):
    """Firth's estimate is found although a character's difference in length asks for a steep
    coefficient.
    """
    told = frame.assign(length=np.where(frame["wrong"].eq(1), 0.23, 0.24))
    fitted = regression_models.fit_one(told, regression_models.SPECS[0], length=True)
    assert "complete separation" in fitted.notes[0]
    assert fitted.coefficients[["low", "high", "p"]].isna().all(axis=None)
    assert fitted.effects[["low", "high", "p"]].isna().all(axis=None)
    assert abs(fitted.effects["value"].iloc[0]) < 0.05
