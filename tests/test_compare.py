"""`warmth compare`: other tools' logs agree with a computation by hand, and what does not match is
named.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import math
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
import statsmodels.api
import zstandard

from warmth import cli
from warmth.analysis.compare import differences, page, reading
from warmth.analysis.statistics import effects
from warmth.digest import ROOT
from warmth.errors import UserError

GOLDEN = ROOT / "tests" / "golden" / "other_tools"
LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}


def compare(*paths, cluster=None, **options):
    return differences.compare_evaluations(
        reading.read_all([Path(path) for path in paths], cluster), **options
    )


def row_of(comparison, **where):
    rows = comparison.rows
    for name, value in where.items():
        rows = rows[rows[name].eq(value)]
    (row,) = rows.to_dict("records")
    return row


def csv(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def inspect_json(path, samples, task="t", model="m", **more):
    log = {
        "version": 2,
        "status": "success",
        "eval": {"task": task, "model": model},
        "samples": samples,
    }
    path.write_text(json.dumps({**log, **more}), encoding="utf-8")
    return path


def sample(number, value, question=None, **more):
    score = {"match": {"value": value}}
    asked = question or f"Question {number}?"
    return {
        "id": number,
        "epoch": 1,
        "input": asked,
        "target": "x",
        "metadata": {},
        "scores": score,
        **more,
    }


# --- agreement with a hand computation ---


def samples_by_hand(path):
    """Every sample of an .eval log, without our reader."""
    samples = {}
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.filename.startswith("samples/"):
                start = entry.header_offset + 30 + len(entry.filename)
                text = zstandard.ZstdDecompressor().decompressobj().decompress(content[start:])
                found = json.loads(text)
                samples[found["id"]] = found
    return samples


def inspect_by_hand(scorer, key=None):
    """Differences and clusters of the golden logs, where both have a score."""
    a, b = (samples_by_hand(GOLDEN / "inspect" / f"{name}.eval") for name in "ab")
    assert list(a) == list(b) and len(a) == 24
    values, clusters = [], []
    for name in a:
        pair = [log[name]["scores"][scorer]["value"] for log in (a, b)]
        pair = [value[key] if key else LETTERS.get(value, value) for value in pair]
        if not any(isinstance(value, float) and math.isnan(value) for value in pair):
            values.append(float(pair[1]) - float(pair[0]))
            clusters.append(a[name]["metadata"]["cluster"])
    return np.array(values), pd.factorize(np.array(clusters))[0]


@pytest.mark.parametrize(("scorer", "key"), [("manner", "words"), ("letter", None)])
def test_logs_that_inspect_wrote_agree_with_a_clustered_regression(scorer, key):
    values, clusters = inspect_by_hand(scorer, key)
    model = statsmodels.api.OLS(values, np.ones(len(values)))
    kwds = {"groups": clusters, "df_correction": True}
    fit = model.fit(cov_type="cluster", cov_kwds=kwds, use_t=True)
    low, high = fit.conf_int()[0]
    found = row_of(
        compare(*sorted((GOLDEN / "inspect").iterdir())),
        metric=f"{scorer}/{key}" if key else scorer,
    )
    # statsmodels multiplies the variance by (n - 1)/(n - k), which is 1 for a mean
    assert found["difference"] == pytest.approx(fit.params[0])
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    assert found["p"] == pytest.approx(fit.pvalues[0])
    assert (found["items"], found["clusters"]) == (len(values), clusters.max() + 1)


def test_logs_that_inspect_wrote_count_letters_and_unscored_samples_as_inspect_does():
    a, b = (samples_by_hand(GOLDEN / "inspect" / f"{name}.eval") for name in "ab")
    missing = [
        sum(s["scores"]["letter"]["value"] not in LETTERS for s in log.values()) for log in (a, b)
    ]
    found = row_of(compare(*sorted((GOLDEN / "inspect").iterdir())), metric="letter")
    assert [found["unscored_a"], found["unscored_b"]] == missing and min(missing) > 0
    worst, best = found["bounds"]
    filled = [
        [LETTERS.get(s["scores"]["letter"]["value"], fill) for s in log.values()]
        for log, fill in ((a, 1.0), (b, 0.0), (a, 0.0), (b, 1.0))
    ]
    means = [sum(values) / 24 for values in filled]
    assert (worst, best) == pytest.approx((means[1] - means[0], means[3] - means[2]))


def test_right_and_wrong_have_the_interval_of_the_report():
    values, clusters = inspect_by_hand("includes")
    logs = [samples_by_hand(GOLDEN / "inspect" / f"{name}.eval").values() for name in "ab"]
    wrong_a, wrong_b = (
        np.array([1 - LETTERS[s["scores"]["includes"]["value"]] for s in log]) for log in logs
    )
    pairs = pd.DataFrame(
        {"wrong_arm": wrong_b, "wrong_reference": wrong_a, "question_id": clusters}
    )
    expected = effects.difference(pairs.assign(difference=wrong_b - wrong_a, task="t", model="m"))
    found = row_of(compare(*sorted((GOLDEN / "inspect").iterdir())), metric="includes")
    assert (
        found["difference"]
        == pytest.approx(values.mean())
        == pytest.approx(-expected["difference"])
    )
    assert (found["low"], found["high"]) == pytest.approx((-expected["high"], -expected["low"]))
    assert found["p"] == pytest.approx(expected["p"])


def test_samples_that_lm_evaluation_harness_wrote_agree_with_a_hand_count():
    found = compare(GOLDEN / "lm_eval" / "a", GOLDEN / "lm_eval" / "b")
    assert set(zip(found.rows["task"], found.rows["metric"], strict=True)) == {
        ("seed_choice", "acc"),
        ("seed_choice", "acc_norm"),
        ("seed_open", "exact_match,strict"),
        ("seed_open", "exact_match,last"),
    }
    counts = {}
    for system in "ab":
        for line in (
            next((GOLDEN / "lm_eval" / system).glob("*open*"))
            .read_text(encoding="utf-8")
            .splitlines()
        ):
            row = json.loads(line)
            if row["filter"] == "last":
                counts.setdefault(row["doc_id"], []).append(row["exact_match"])
    changes = [b - a for a, b in counts.values()]
    row = row_of(found, metric="exact_match,last")
    assert (
        row["difference"] == pytest.approx(sum(changes) / len(changes))
        and row["items"] == len(counts) == 24
    )
    better, worse = changes.count(1.0), changes.count(-1.0)
    assert better + worse > 0
    assert (
        0.3 < row["p"] / effects.mcnemar(better, worse) < 1.2
    )  # a score test beside the exact one, few pairs


def test_three_systems_are_each_compared_with_the_first_and_corrected_together(tmp_path):
    clustered = "item,cluster,system,score\n"
    draw = np.random.default_rng(0)
    for name, rate in (("base", 0.7), ("same", 0.7), ("worse", 0.3)):
        for number in range(200):
            clustered += f"q{number},c{number // 2},{name},{int(draw.random() < rate)}\n"
    found = compare(csv(tmp_path / "all.csv", clustered))
    assert list(found.rows["a"]) == ["base", "base"] and list(found.rows["b"]) == ["same", "worse"]
    p = list(found.rows["p"])
    smaller, larger = sorted(p)
    assert sorted(found.rows["p_holm"]) == pytest.approx(
        [min(1.0, 2 * smaller), max(larger, 2 * smaller)]
    )
    assert list(found.rows["clusters"]) == [100, 100]


# --- every tool's form ---


def test_one_evaluation_is_the_same_in_every_form(tmp_path):
    draw = np.random.default_rng(1)
    scores = {name: draw.integers(0, 2, 40).tolist() for name in "ab"}
    results = []
    for form in (as_csv, as_inspect, as_zip, as_lm_eval, as_details, as_old_details):
        folder = tmp_path / form.__name__
        folder.mkdir()
        paths = [form(folder, name, values) for name, values in scores.items()]
        (row,) = compare(*paths, cluster="passage").rows.to_dict("records")
        results.append(
            [row[name] for name in ("difference", "low", "high", "p", "items", "clusters")]
        )
    expected = (sum(scores["b"]) - sum(scores["a"])) / 40
    assert results[0][0] == pytest.approx(expected) and results[0][4:] == [40, 10]
    assert all(result == pytest.approx(results[0]) for result in results)


def as_csv(folder, name, values):
    lines = [f"{number};{number // 4};{value}" for number, value in enumerate(values)]
    return csv(folder / f"{name}.csv", "\ufeffItem;Passage;Score\n" + "\n".join(lines) + "\n")


def as_inspect(folder, name, values):
    rows = [sample(n, bool(v), metadata={"passage": n // 4}) for n, v in enumerate(values)]
    file = inspect_json(folder / f"{name}.json", rows, model=name)
    (folder / f"{name}.json.gz").write_bytes(gzip.compress(file.read_bytes()))
    return folder / f"{name}.json.gz"


def as_zip(folder, name, values):
    """An .eval file that is packed by Deflate and has no summaries, in another order."""
    path = folder / f"{name}.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        header = {"status": "success", "eval": {"task": "t", "model": name}}
        archive.writestr("header.json", json.dumps(header))
        places = list(range(40)) if name == "a" else list(reversed(range(40)))
        for n in places:
            row = sample(n, "C" if values[n] else "I", metadata={"passage": n // 4})
            archive.writestr(f"samples/{n}_epoch_1.json", json.dumps(row))
    return path


def as_lm_eval(folder, name, values):
    (folder / name).mkdir()
    lines = []
    for n, value in enumerate(values):
        doc = {"question": f"Question {n}?", "passage": n // 4}
        lines.append(
            json.dumps(
                {"doc_id": n, "doc": doc, "target": "x", "metrics": ["acc"], "acc": float(value)}
            )
        )
    return csv(folder / name / "samples_t_2026-01-01T00-00-00.000001.jsonl", "\n".join(lines))


def as_details(folder, name, values):
    rows = [
        {
            "__doc__": {
                "query": f"Question {n}?",
                "choices": ["x", "y"],
                "gold_index": 0,
                "specific": {"passage": n // 4},
            },
            "__model_response__": {"text": ["x"]},
            "__metric__": {"em": value},
        }
        for n, value in enumerate(values)
    ]
    return details(folder, name, rows)


def as_old_details(folder, name, values):
    """What lighteval could not store nested is there as Python writes it."""
    rows = [
        {
            "example": f"Question {n}?",
            "gold_index": "[0]",
            "choices": "['x']",
            "specifics": str({"passage": n // 4}),
            "metrics": str({"em": value}),
        }
        for n, value in enumerate(values)
    ]
    return details(folder, name, rows)


def details(folder, name, rows):
    time = "2026-01-01T00-00-00.000001"
    file = folder / "details" / name / time / f"details_community|t|0_{time}.parquet"
    file.parent.mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file


def test_an_item_of_several_epochs_is_one_cluster(tmp_path):
    for name, flip in (("a", 0), ("b", 1)):
        rows = [sample(n, (n + e * flip) % 2, epoch=e) for n in range(10) for e in (1, 2, 3)]
        inspect_json(tmp_path / f"{name}.json", rows, model=name)
    (row,) = compare(tmp_path / "a.json", tmp_path / "b.json").rows.to_dict("records")
    assert (row["pairs"], row["items"], row["clusters"]) == (30, 10, 10)


def epochs_of(path, scores):
    """Write a log whose items have as many epochs as they have scores."""
    rows = []
    for number, values in enumerate(scores):
        for epoch, value in enumerate(values, start=1):
            rows.append(sample(number, value, epoch=epoch))
    return inspect_json(path, rows, model=path.stem)


def test_one_epoch_against_three_compares_means_over_an_items_epochs(tmp_path):
    draw = np.random.default_rng(3)
    once = draw.integers(0, 2, (60, 1)).tolist()
    thrice = draw.integers(0, 2, (60, 3)).tolist()
    paths = [epochs_of(tmp_path / "a.json", once), epochs_of(tmp_path / "b.json", thrice)]
    found = compare(*paths)
    (row,) = found.rows.to_dict("records")
    assert row["difference"] == pytest.approx(np.mean(thrice) - np.mean(once))
    assert row["bounds"] == pytest.approx((row["difference"], row["difference"]))
    assert (row["items"], row["clusters"], row["only_a"], row["only_b"]) == (60, 60, 0, 0)
    changes = np.mean(thrice, axis=1) - np.mean(once, axis=1)
    by_hand = effects.clustered_mean(changes, np.arange(60))
    assert (row["low"], row["high"]) == pytest.approx((by_hand.low, by_hand.high), abs=0.02)
    (note,) = found.notes
    assert "a has 1 epoch of each item and b 3 epochs of each item" in note
    assert "the mean over an item’s epochs" in page.render_comparison(found, None)


def test_an_item_weighs_the_same_however_many_epochs_it_has(tmp_path):
    a = epochs_of(tmp_path / "a.json", [[0.5], [0.25, 0.75], [0.5]])
    b = epochs_of(tmp_path / "b.json", [[1.5] * 5, [0.5], [0.5, None]])
    found = compare(a, b, span=(0.0, 2.0))
    (row,) = found.rows.to_dict("records")
    assert row["difference"] == pytest.approx((1 + 0 + 0) / 3)
    assert (row["unscored_a"], row["unscored_b"], row["items"]) == (0, 1, 3)
    # the missing epoch is half of its item: it could be 0 or 2
    assert row["bounds"] == pytest.approx(((1 - 0.25) / 3, (1 + 0.75) / 3))
    assert "1 to 2 epochs of each item" in found.notes[0]


def test_epochs_that_only_one_log_has_of_some_items_are_not_lost(tmp_path):
    a = epochs_of(tmp_path / "a.json", [[1, 0], [1]])
    b = epochs_of(tmp_path / "b.json", [[1, 0], [1, 0]])
    (row,) = compare(a, b).rows.to_dict("records")
    assert row["difference"] == pytest.approx((0 - 0.5) / 2) and row["only_b"] == 0


def test_decimal_commas_and_other_names_of_the_score_are_read(tmp_path):
    a = csv(tmp_path / "a.csv", "id;Accuracy\n1;0,5\n2;1\n3;0,125\n")
    b = csv(tmp_path / "b.csv", 'item,correct\n1,"0,75"\n2,"1,0"\n3,"0,125"\n')
    (row,) = compare(a, b).rows.to_dict("records")
    assert row["difference"] == pytest.approx(0.25 / 3) and row["items"] == 3


def test_a_long_question_is_compared_whole_though_its_summary_is_cut(tmp_path):
    start = "x" * 2_000
    paths = []
    for name, end in (("a", "one"), ("b", "two")):
        path = tmp_path / f"{name}.eval"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(
                "header.json",
                json.dumps({"status": "success", "eval": {"task": "t", "model": name}}),
            )
            whole = [sample(1, "C", start + end), sample(2, "C", "short")]
            cut = [sample(1, "C", start[:1_000] + "..."), sample(2, "C", "short")]
            for row in whole:
                archive.writestr(f"samples/{row['id']}_epoch_1.json", json.dumps(row))
            archive.writestr("summaries.json", json.dumps(cut))
        paths.append(path)
    found = compare(*paths)
    assert list(found.mismatches["item"]) == ["1"] and found.rows["items"].tolist() == [1]


# --- what does not match ---


def test_one_id_with_two_questions_is_listed_and_in_no_pair(tmp_path):
    rows = [sample(n, "C") for n in range(6)]
    other = [sample(n, "I", "Another?" if n == 2 else None) for n in range(6)]
    a, b = inspect_json(tmp_path / "a.json", rows), inspect_json(tmp_path / "b.json", other)
    found = compare(a, b)
    (row,) = found.rows.to_dict("records")
    assert (row["items"], row["only_a"], row["only_b"], row["difference"]) == (5, 1, 1, -1.0)
    (mismatch,) = found.mismatches.to_dict("records")
    assert (mismatch["item"], mismatch["words_a"], mismatch["words_b"]) == (
        "2",
        "Question 2?",
        "Another?",
    )


def test_items_with_other_ids_are_matched_by_what_they_ask(tmp_path):
    a = inspect_json(tmp_path / "a.json", [sample(n, "C", f"Q{n}") for n in range(8)])
    b = inspect_json(
        tmp_path / "b.json", [sample(7 - n, "C" if n < 6 else "I", f"Q{n}") for n in range(8)]
    )
    found = compare(a, b)
    assert found.rows["items"].tolist() == [8] and found.rows["difference"].tolist() == [-0.25]
    assert found.mismatches.empty and "matched by content" in " ".join(found.notes)


def test_messages_are_compared_by_role_and_text_not_by_the_ids_drawn_for_them(tmp_path):
    def asked(name, text):
        return [{"id": name, "role": "user", "content": [{"type": "text", "text": text}]}]

    a = inspect_json(tmp_path / "a.json", [sample(n, 1, asked("x", f"Q{n}")) for n in range(3)])
    b = inspect_json(
        tmp_path / "b.json", [sample(n, 0, asked("y", f"Q{n if n else 9}")) for n in range(3)]
    )
    found = compare(a, b)
    assert found.rows["items"].tolist() == [2] and list(found.mismatches["words_b"]) == ["user: Q9"]


def test_missing_scores_are_counted_and_only_the_bounds_fill_them_in(tmp_path):
    a = csv(tmp_path / "a.csv", "item,score\n1,1\n2,0\n3,1\n4,NaN\n5,1\n")
    b = csv(tmp_path / "b.csv", "item,score\n1,1\n2,1\n3,\n4,1\n6,0\n")
    (row,) = compare(a, b).rows.to_dict("records")
    assert (row["items"], row["unscored_a"], row["unscored_b"], row["only_a"], row["only_b"]) == (
        2,
        1,
        1,
        1,
        1,
    )
    assert row["difference"] == 0.5 and row["bounds"] == pytest.approx(
        (3 / 4 - 3 / 4, 4 / 4 - 2 / 4)
    )


def test_a_scorer_without_any_verdict_prints_not_scored_and_no_zero(tmp_path):
    a = csv(tmp_path / "a.csv", "item,metric,score\n1,f,1\n2,f,\n1,g,1\n2,g,0\n")
    b = csv(tmp_path / "b.csv", "item,metric,score\n1,f,\n2,f,1\n1,g,1\n2,g,0\n")
    found = compare(a, b)
    row = row_of(found, metric="f")
    assert math.isnan(row["difference"]) and math.isnan(row["p_holm"]) and row["items"] == 0
    assert differences.comparison_records(found)[0]["difference"] is None
    cells = page.comparison_terminal_table(found).rows[0]
    assert "not scored" in [cell.text for cell in cells]


def test_a_metric_that_scored_nothing_in_one_evaluation_is_a_row_that_is_not_scored(tmp_path):
    both = [
        {**sample(n, "C"), "scores": {"m": {"value": "C"}, "judge": {"value": n % 2}}}
        for n in range(4)
    ]
    failed = [
        {**sample(n, "C"), "scores": {"m": {"value": "C"}, "judge": {"value": None}}}
        for n in range(4)
    ]
    found = compare(
        inspect_json(tmp_path / "a.json", both), inspect_json(tmp_path / "b.json", failed)
    )
    row = row_of(found, metric="judge")
    assert math.isnan(row["difference"]) and (
        row["items"],
        row["unscored_a"],
        row["unscored_b"],
    ) == (0, 0, 4)
    assert row["bounds"] == pytest.approx((-0.5, 0.5))


def test_a_number_beyond_any_float_is_no_score(tmp_path):
    rows = [sample(n, 10**400 if n == 0 else 1) for n in range(3)]
    (row,) = compare(
        *(inspect_json(tmp_path / f"{name}.json", rows) for name in "ab")
    ).rows.to_dict("records")
    assert (row["items"], row["unscored_a"], row["unscored_b"]) == (2, 1, 1)


def test_a_cluster_field_that_no_sample_has_is_refused_and_not_ignored(tmp_path):
    paths = [
        csv(tmp_path / f"{name}.csv", "item,passage,score\n1,p,1\n2,p,0\n3,q,1\n") for name in "ab"
    ]
    assert compare(*paths, cluster="passage").rows["clusters"].tolist() == [2]
    assert compare(*paths, cluster="none").rows["clusters"].tolist() == [3]
    with pytest.raises(UserError, match="--cluster=pasage is a field of no sample"):
        compare(*paths, cluster="pasage")


def test_scores_outside_the_range_have_bounds_only_where_nothing_is_missing(tmp_path):
    a = csv(tmp_path / "a.csv", "item,metric,score\n1,f,3\n2,f,5\n1,g,3\n2,g,5\n")
    b = csv(tmp_path / "b.csv", "item,metric,score\n1,f,4\n2,f,1\n1,g,4\n2,g,\n")
    found = compare(a, b)
    assert (
        row_of(found, metric="f")["bounds"] == (-1.5, -1.5)
        and row_of(found, metric="g")["bounds"] is None
    )
    assert row_of(compare(a, b, span=(1.0, 5.0)), metric="g")["bounds"] == pytest.approx(
        (-1.5, 0.5)
    )


def test_words_that_are_no_score_leave_their_metric_out_and_not_the_others(tmp_path):
    rows = [
        {**sample(n, "C"), "scores": {"m": {"value": "C"}, "style": {"value": "formal"}}}
        for n in range(3)
    ]
    a, b = inspect_json(tmp_path / "a.json", rows), inspect_json(tmp_path / "b.json", rows)
    found = compare(a, b)
    assert list(found.rows["metric"]) == ["m"] and "style is left out" in " ".join(found.notes)


def test_two_names_of_one_metric_are_compared_when_asked(tmp_path):
    a = csv(tmp_path / "a.csv", "item,metric,score\n1,acc,1\n2,acc,0\n")
    b = csv(tmp_path / "b.csv", "item,metric,score\n1,match,1\n2,match,1\n")
    with pytest.raises(UserError, match="--metric NAME_A=NAME_B"):
        compare(a, b)
    assert compare(a, b, metrics=["acc=match"]).rows["difference"].tolist() == [0.5]


# --- errors: one line each ---

TWO = "item,score\n1,1\n2,0\n"
REFUSED = {
    "no common item": (TWO, "item,score\n8,1\n9,0\n", "no item in common"),
    "an item twice": ("item,score\n1,1\n1,0\n", TWO, "more than once in epoch 1"),
    "no score column": (
        "item,right\n1,1\n",
        TWO,
        r"needs the columns item and score \(known names: item, .*; score, .*acc.*it has: item, "
        r"rig",
    ),
    "two score columns": ("item,acc,correct\n1,1,1\n", TWO, "could be the score: correct, acc"),
    "thousands": ("item;score\n1;1,234\n", TWO, "1,234 could be a thousand or a decimal"),
    "two marks": ("item;score\n1;1,5\n2;0.5\n", TWO, "has commas and points in its numbers"),
    "no item": ("item,score\n,1\n", TWO, "row 1 has no item"),
    "two clusters": (
        "item,cluster,score\n1,x,1\n",
        "item,cluster,score\n1,y,1\n",
        "is in cluster x",
    ),
    "words": ("item,score\n1,good\n", TWO, "holds no scores"),
    "empty": ("item,score\n", TWO, "holds no samples"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_compared_is_one_line(kind, tmp_path):
    first, second, words = REFUSED[kind]
    with pytest.raises(UserError, match=words):
        compare(csv(tmp_path / "a.csv", first), csv(tmp_path / "b.csv", second))


def damaged_logs(tmp_path):
    whole = (GOLDEN / "inspect" / "a.eval").read_bytes()
    yield "cut.eval", whole[: len(whole) // 2], "damaged Inspect log"
    with zipfile.ZipFile(GOLDEN / "inspect" / "a.eval") as archive:
        start = archive.getinfo("summaries.json").header_offset + 100
    yield "flipped.eval", whole[:start] + bytes(64) + whole[start + 64 :], "damaged Inspect log"
    yield "text.eval", b"hello", "damaged Inspect log: no ZIP file"
    yield "text.json", b"{", "is no JSON"
    yield "other.json", b"{}", "is no Inspect log"
    yield "none.json", b'{"eval": {"task": "t"}, "samples": []}', "holds no samples"
    yield "latin.csv", "item,score\nä,1\n".encode("latin-1"), "not in UTF-8"
    yield "bad.csv.gz", gzip.compress(b"item,score\n1,1\n")[:-6], "damaged gzip file"
    yield "bad.parquet", b"PAR1", "no readable Parquet file"
    yield "samples_t.jsonl", b'{"a": 1}\n', "is no sample of lm-evaluation-harness"
    yield "samples_u.jsonl", b"[1]\n", "line 1 is no JSON object"
    yield "notes.txt", b"x", "of no known form"


def test_a_damaged_log_is_one_line_that_names_it(tmp_path):
    for name, content, words in damaged_logs(tmp_path):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=words) as error:
            compare(tmp_path / name, GOLDEN / "inspect" / "b.eval")
        assert name in str(error.value), name


def test_an_item_without_id_or_epoch_is_refused_if_it_is_there_twice(tmp_path):
    rows = [sample(None, "C", "Same?"), sample(None, "I", "Same?")]
    a = inspect_json(tmp_path / "a.json", rows)
    with pytest.raises(UserError, match="more than once in epoch 1"):
        compare(a, GOLDEN / "inspect" / "b.eval")


def test_a_message_without_a_task_names_none(tmp_path):
    a = csv(tmp_path / "a.csv", "item,score\n1,1\n1,0\n")
    with pytest.raises(
        UserError, match=r"item 1 is there more than once in epoch 1 \(1 such row\)"
    ):
        compare(a, csv(tmp_path / "b.csv", TWO))
    lone = csv(tmp_path / "c.csv", "item,score\n9,1\n")
    with pytest.raises(UserError, match=r"c has 1 item, such as 9; b has 2 items, such as 1, 2$"):
        compare(lone, csv(tmp_path / "b.csv", TWO))


def test_items_of_equal_text_say_by_what_they_differ(tmp_path):
    for name, doc_hash in (("a", "x1"), ("b", "x2")):
        row = {"doc_id": 0, "doc": {"question": "Same?"}, "doc_hash": doc_hash, "acc": 1.0}
        (tmp_path / name).mkdir()
        csv(tmp_path / name / "samples_t_2026-01-01T00-00-00.000001.jsonl", json.dumps(row))
    with pytest.raises(
        UserError, match="1 id with different content.*both ask “Same.”,.*: doc_has"
    ):
        compare(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("folder", ["file/x", "/proc/nothing/x"])
def test_a_folder_that_cannot_be_written_is_one_line(folder, tmp_path):
    (tmp_path / "file").write_text("")
    paths = [str(csv(tmp_path / f"{name}.csv", TWO)) for name in "ab"]
    done = run("compare", *paths, "--out", str(tmp_path / folder))
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: --out=")


def test_a_folder_with_one_task_twice_names_both_files(tmp_path):
    for name in ("x", "y"):
        inspect_json(tmp_path / f"{name}.json", [sample(1, "C")])
    with pytest.raises(UserError, match=r"task t of m twice, in .*x\.json and in .*y\.json"):
        compare(tmp_path, GOLDEN / "inspect" / "b.eval")


def test_the_command_prints_a_table_and_errors_are_one_line(tmp_path):
    a, b = csv(tmp_path / "a.csv", TWO), csv(tmp_path / "b.csv", "item,score\n1,0\n2,0\n3,1\n")
    done = run("compare", str(a), str(b))
    assert done.returncode == 0 and "−0.500" in done.stdout and "1 only in b" in done.stdout
    done = run("compare", str(a), str(b), "--json", "--out", str(tmp_path / "page"))
    (row,) = json.loads(done.stdout)["rows"]
    contract = (
        "task metric a b difference low high p p_holm bounds items clusters only_a only_b "
        "unscored_a unscored_b"
    )
    assert (
        set(contract.split()) <= set(row)
        and row["difference"] == -0.5
        and row["bounds"] == [-0.5, -0.5]
    )
    assert (tmp_path / "page" / "compare.html").exists()
    done = run("compare", str(a), str(tmp_path / "none.csv"))
    assert (
        done.returncode == 2 and done.stderr.count("\n") == 1 and done.stderr.startswith("error: ")
    )
    assert (
        run("compare", str(a)).stderr.startswith("error: ")
        and run("compare", str(a), str(a)).returncode == 2
    )


def run(*arguments):
    """Run the command in this process, which takes less time than a new one."""
    out = io.StringIO()
    err = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["warmth", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        cli.main()
    return subprocess.CompletedProcess(
        arguments, ended.value.code or 0, out.getvalue(), err.getvalue()
    )


def test_markup_in_a_log_is_text_on_the_page_and_in_the_sheet(tmp_path):
    bad = "<script>alert(1)</script>"
    rows = [sample(n, "C", bad if n else None, metadata={}) for n in range(2)]
    other = [{**row, "input": f"=1+1{bad}"} if row["id"] else row for row in rows]
    a = inspect_json(tmp_path / "a.json", rows, task=bad, model=f"{bad}a\x1b[2J")
    b = inspect_json(tmp_path / "b.json", other, task=bad, model=f"{bad}b")
    written = page.write_comparison(compare(a, b), tmp_path / "out")
    html = written.read_text(encoding="utf-8")
    assert "<script" not in html and "&lt;script&gt;" in html and "\x1b" not in html
    assert "'=1+1" in (tmp_path / "out" / "tables" / "mismatches.csv").read_text(
        encoding="utf-8-sig"
    )


# --- the tools themselves ---


def other_tool(name):
    python = Path(os.environ.get("PEERS_VENVS", "/nowhere")) / name / "bin" / "python"
    if not python.exists():
        pytest.skip(f"PEERS_VENVS names no folder with an environment {name}")
    return python


@pytest.mark.release
@pytest.mark.parametrize(
    ("tool", "script"), [("inspect", "inspect_logs.py"), ("lm_eval", "lm_eval_samples.py")]
)
def test_what_the_tool_itself_writes_has_its_own_means(tool, script, tmp_path):
    seed = ROOT / "seed" / "questions" / "seed_trivia.jsonl"
    command = [
        str(other_tool(tool)),
        str(ROOT / "tests" / "other_tools" / script),
        str(seed),
        str(tmp_path),
        "24",
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    means = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            said = json.loads(line)
            means[said["system"]] = said["means"]
    (tmp_path / "questions.jsonl").unlink(missing_ok=True)
    found = compare(*(tmp_path / name for name in means))
    if tool == "inspect":
        row = row_of(found, metric="includes", b="mockllm/b")
        assert row["difference"] == pytest.approx(
            means["b"]["includes"]["accuracy"] - means["a"]["includes"]["accuracy"]
        )
        row = row_of(found, metric="manner/words", b="mockllm/c")
        assert row["difference"] == pytest.approx(
            means["c"]["words"]["mean"] - means["a"]["words"]["mean"]
        )
    else:
        for metric, key in (
            ("exact_match,last", "exact_match,last"),
            ("acc_norm", "acc_norm,none"),
        ):
            task = "seed_open" if "," in metric else "seed_choice"
            row = row_of(found, metric=metric)
            assert row["difference"] == pytest.approx(means["b"][task][key] - means["a"][task][key])
