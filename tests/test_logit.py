import math

import numpy as np
import pytest
import statsmodels.api as sm

from warmth.analysis.statistics import covariance, logit
from warmth.analysis.statistics.logit import Grouped


def grouped(design, wrong, cluster):
    """Rows as patterns and clusters, without summing: the worst case."""
    design, wrong = np.asarray(design, float), np.asarray(wrong, float)
    names = tuple(f"x{at}" for at in range(design.shape[1]))
    codes = np.unique(cluster, return_inverse=True)[1]
    return Grouped(names, design, codes, np.arange(len(wrong)), np.ones(len(wrong)), wrong)


def rows(clusters=30, size=300, seed=1):
    draw = np.random.default_rng(seed)
    cluster = np.concatenate([np.arange(clusters), draw.integers(0, clusters, size - clusters)])
    design = np.column_stack([np.ones(size), draw.integers(0, 2, size), draw.normal(size=size)])
    linear = design @ [-0.8, 0.6, 0.3] + draw.normal(0, 1, clusters)[cluster]
    return design, (draw.random(size) < 1 / (1 + np.exp(-linear))).astype(float), cluster


def test_estimate_naive_and_clustered_errors_equal_statsmodels():
    design, wrong, cluster = rows()
    model = sm.GLM(wrong, design, family=sm.families.Binomial())
    theirs = model.fit(tol=1e-14, cov_type="cluster", cov_kwds={"groups": cluster}, use_t=True)
    ours = logit.fit_logit(grouped(design, wrong, cluster))
    assert ours.beta == pytest.approx(theirs.params, abs=1e-8)
    assert covariance.cr1(ours) == pytest.approx(theirs.cov_params(), abs=1e-8)
    assert ours.bread == pytest.approx(model.fit(tol=1e-14).cov_params(), abs=1e-8)


def test_summing_equal_rows_changes_nothing():
    design, wrong, cluster = rows()
    design[:, 2] = design[:, 2].round()
    one = logit.fit_logit(grouped(design, wrong, cluster))
    patterns, at = np.unique(design, axis=0, return_inverse=True)
    key, cell = np.unique(cluster * len(patterns) + at, return_inverse=True)
    n, errors = np.bincount(cell).astype(float), np.bincount(cell, wrong)
    few = logit.fit_logit(
        Grouped(("a", "b", "c"), patterns, key // len(patterns), key % len(patterns), n, errors)
    )
    assert few.beta == pytest.approx(one.beta, abs=1e-10)
    assert covariance.cr1(few) == pytest.approx(covariance.cr1(one), abs=1e-12)
    assert covariance.cr2(few).covariance == pytest.approx(
        covariance.cr2(one).covariance, abs=1e-12
    )


def test_cr2_equals_its_definition_with_whole_matrices():
    design, wrong, cluster = rows(clusters=12, size=90)
    fit = logit.fit_logit(grouped(design, wrong, cluster))
    weight = np.sqrt(fit.rates * (1 - fit.rates))
    z, e = design * weight[:, None], (wrong - fit.rates) / weight
    hat = z @ fit.bread @ z.T
    meat, q = np.zeros((3, 3)), []
    contrast = np.array([0.0, 1.0, 0.0])
    for group in range(12):
        own = cluster == group
        values, vectors = np.linalg.eigh(np.eye(own.sum()) - hat[np.ix_(own, own)])
        adjust = vectors / np.sqrt(values) @ vectors.T
        score = z[own].T @ adjust @ e[own]
        meat += np.outer(score, score)
        column = np.zeros(len(wrong))
        column[own] = adjust @ z[own] @ fit.bread @ contrast
        q.append((np.eye(len(wrong)) - hat) @ column)
    found = covariance.cr2(fit)
    assert found.covariance == pytest.approx(fit.bread @ meat @ fit.bread, abs=1e-10)
    spectrum = np.linalg.eigvalsh(np.array(q) @ np.array(q).T)
    assert found.df(contrast) == pytest.approx(spectrum.sum() ** 2 / (spectrum**2).sum(), rel=1e-8)
    assert found.df(contrast) < 11


def test_cr2_of_a_rate_in_equal_clusters_as_worked_by_hand():
    # two rows a cluster, intercept alone, p = 1/2, G = 4: leverage of a cluster 1/4, so Σ s² grows
    # by 1/(1 - 1/4)
    wrong = np.array([1, 1, 0, 0, 1, 0, 1, 0], float)
    fit = logit.fit_logit(grouped(np.ones((8, 1)), wrong, np.repeat(np.arange(4), 2)))
    plain = (fit.bread @ (fit.scores.T @ fit.scores) @ fit.bread)[0, 0]
    assert covariance.cr2(fit).covariance[0, 0] == pytest.approx(plain * 4 / 3)
    assert covariance.cr2(fit).df(np.ones(1)) == pytest.approx(3)


def test_separated_data_name_their_terms_and_others_name_none():
    design = np.column_stack([np.ones(12), np.repeat([0, 1], 6), np.tile([0, 1, 2], 4)])
    wrong = np.where(
        np.repeat([0, 1], 6) == 1, np.tile([0, 1], 6), 0.0
    )  # never wrong where the second term is 0
    data = grouped(design, wrong, np.arange(12) // 2)
    fitted = logit.fit_logit(data)
    assert fitted.suspect
    assert logit.separated(data) == ["x0", "x1"]
    assert not logit.separated_completely(data)  # where the second term is 1 both outcomes occur
    assert logit.separated(grouped(*rows()[:2], rows()[2])) == []


def test_firth_and_its_refits_do_not_depend_on_the_unit_of_a_column():
    design, wrong, cluster = rows(clusters=20, size=120)
    wrong = np.where(design[:, 1] == 0, 0.0, wrong)  # never wrong where the second term is 0
    start = np.zeros(3)
    plain = grouped(design, wrong, cluster)
    scaled = grouped(design * [1, 1, 1e-3], wrong, cluster)
    beta, steep = (
        logit.fit_many(data.design, data.totals[0][None], data.totals[1][None], start, firth=True)[
            0
        ]
        for data in (plain, scaled)
    )
    assert steep == pytest.approx(beta * [1, 1, 1e3], rel=1e-6)
    refits = logit.firth_jackknife(plain, beta)
    assert logit.firth_jackknife(scaled, steep) == pytest.approx(refits * [1, 1, 1e3], rel=1e-5)
    score = design.T @ (wrong - 1 / (1 + np.exp(-(design @ beta))))
    assert np.abs(score).max() < 2  # what the penalty adds, and not a climb that was cut short


def test_firth_of_a_two_by_two_table_adds_one_half_to_each_cell():
    # 0 of 10 against 4 of 10: Firth's log odds ratio is log((4.5·10.5)/(6.5·0.5)), Heinze and
    # Schemper (2002)
    design = np.array([[1.0, 0.0], [1.0, 1.0]])
    beta = logit.fit_many(
        design, np.array([[10.0, 10.0]]), np.array([[0.0, 4.0]]), np.zeros(2), firth=True
    )[0]
    assert beta == pytest.approx(
        [math.log(0.5 / 10.5), math.log(4.5 * 10.5 / (6.5 * 0.5))], abs=1e-7
    )


def test_many_fits_at_once_equal_one_fit_each():
    design, wrong, cluster = rows(clusters=8, size=80)
    data = grouped(design, wrong, cluster)
    without = logit.fit_many(
        design,
        np.stack([cluster != g for g in range(8)]).astype(float),
        # fmt: skip
        np.stack([wrong * (cluster != g) for g in range(8)]),
        np.zeros(3),
    )
    for group in range(8):
        keep = cluster != group
        alone = sm.GLM(wrong[keep], design[keep], family=sm.families.Binomial()).fit(tol=1e-14)
        assert without[group] == pytest.approx(alone.params, abs=1e-7)
    assert logit.firth_jackknife(data, np.zeros(3)).shape == (8, 3)


def test_a_bootstrap_draws_whole_clusters_and_repeats_itself():
    fit = logit.fit_logit(grouped(*rows()[:2], rows()[2]))
    draws, counts = logit.bootstrap(fit, 200, seed=5)
    assert np.array_equal(draws, logit.bootstrap(fit, 200, seed=5)[0])
    assert draws.std(0) == pytest.approx(np.sqrt(np.diag(covariance.cr1(fit))), rel=0.25)
    first = fit.data.cluster == 0
    assert (
        np.ptp(counts[:, first], axis=1) == 0
    ).all()  # rows of one question come and go together


def test_a_term_that_others_make_up_is_found():
    design = np.array([[1, 0, 1], [1, 1, 0], [1, 0, 1], [1, 1, 0]], float)
    assert logit.independent_columns(design, np.ones(4)) == [0, 1]


def test_one_cluster_has_no_clustered_error():
    fit = logit.fit_logit(grouped(np.ones((4, 1)), [1, 0, 0, 1], np.zeros(4, int)))
    with pytest.raises(ValueError, match="1 clusters"):
        covariance.cr1(fit)
