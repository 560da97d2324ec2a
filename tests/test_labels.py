"""Raters' labels: a blinded, balanced sample with honest weights, read back and settled."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pandas as pd
import pytest
from study_fixture import write_study

from warmth.analysis.rows import keys, labels
from warmth.analysis.rows.frames import load_rows
from warmth.errors import UserError


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return load_rows(
        [write_study(tmp_path_factory.mktemp("study"), arms=("original", "warm"), training=False)]
    )


def test_a_sample_is_balanced_and_its_weights_add_up_to_all_answers_those_without_a_verdict_a_stratum_too(
    study,
):
    strata = [*labels.STRATUM, "verdict"]
    scored = study.answers.assign(verdict=study.answers["label"].fillna(labels.UNSCORED))
    drawn = labels.sample(study.answers, 120, 0)
    drawn = drawn.assign(verdict=drawn["label"].fillna(labels.UNSCORED))
    assert drawn["verdict"].eq(labels.UNSCORED).any()
    assert len(drawn) == 120 and drawn["answer_id"].is_unique
    for name, group in drawn.groupby(strata):
        stratum = scored.groupby(strata).get_group(name)
        assert group["weight"].sum() == pytest.approx(len(stratum))
        assert (group["probability"] * group["weight"]).to_numpy() == pytest.approx(1.0)
    sizes = drawn.groupby(strata).size()
    whole = scored.groupby(strata).size().loc[sizes.index]
    assert (
        sizes[sizes < whole].max() - sizes[sizes < whole].min() <= 1
    )  # those not taken whole are alike in size


def test_too_small_a_sample_is_refused_since_some_answers_could_not_be_drawn(study):
    with pytest.raises(UserError, match="--export=3 is too small"):
        labels.sample(study.answers, 3, 0)


def filled(path, target, label="correct", rater="ann", **more):
    """Fills a sheet in as one rater, the column `label` or others."""
    rows = list(csv.DictReader(path.open(encoding="utf-8-sig")))
    rows = [{**row, "rater": rater, "label": label, **more} for row in rows]
    with target.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return rows


def test_the_sheet_tells_raters_nothing_of_arm_or_verdict(study, tmp_path):
    path = tmp_path / "LABELS.csv"
    labels.export_sheet(study, path, 60, 0, str)
    rows = list(csv.DictReader(path.open(encoding="utf-8-sig")))
    assert list(rows[0]) == [
        "answer_id",
        "sheet",
        "rater",
        "label",
        "question",
        "accepted",
        "user",
        "answer",
    ]
    assert len(rows) == 60 and all(row["label"] == "" == row["rater"] for row in rows)
    answers = study.answers.set_index("answer_id").loc[[row["answer_id"] for row in rows]]
    for column in ("answer_id", "sheet"):  # no other value can stand for an arm or a verdict
        kinds = pd.DataFrame(
            {"value": [row[column] for row in rows], "arm": answers["arm"].to_numpy()}
        )
        assert kinds["value"].nunique() in (1, 60)
    items = json.loads(keys.beside(path).read_text())["items"]
    assert all(item["weight"] * item["probability"] == pytest.approx(1) for item in items.values())
    assert {item["arm"] for item in items.values()} == {"original", "warm"}
    before = path.read_bytes()
    with pytest.raises(UserError, match="exists; labels in it would be lost"):
        labels.export_sheet(study, path, 60, 0, str)
    path.unlink()
    with pytest.raises(UserError, match="LABELS.csv.key.json exists"):
        labels.export_sheet(study, path, 60, 1, str)
    path.write_bytes(before)


def test_a_key_is_found_by_the_sheets_own_digest_wherever_and_whatever_it_is_called(
    study, tmp_path
):
    labels.export_sheet(study, tmp_path / "a" / "L.csv", 60, 0, str)
    labels.export_sheet(study, tmp_path / "a" / "M.csv", 60, 1, str)
    elsewhere = tmp_path / "b"
    elsewhere.mkdir()
    rows = filled(tmp_path / "a" / "L.csv", elsewhere / "renamed.csv")
    with pytest.raises(UserError, match="no column weight, and the key of its sheet"):
        labels.read_labels([elsewhere / "renamed.csv"])
    found = labels.read_labels([elsewhere / "renamed.csv"], study.studies)
    items = json.loads((tmp_path / "a" / "L.csv.key.json").read_text())["items"]
    assert dict(zip(found["answer_id"], found["weight"], strict=True)) == {
        row["answer_id"]: items[row["answer_id"]]["weight"] for row in rows
    }
    swapped = (tmp_path / "a" / "L.csv.key.json").rename(tmp_path / "a" / "other")
    (tmp_path / "a" / "M.csv.key.json").rename(
        tmp_path / "a" / "L.csv.key.json"
    )  # a name proves nothing
    swapped.rename(tmp_path / "a" / "M.csv.key.json")
    filled(tmp_path / "a" / "L.csv", tmp_path / "a" / "L.csv")
    assert (
        labels.read_labels([tmp_path / "a" / "L.csv"])["weight"].tolist()
        == found["weight"].tolist()
    )
    assert (
        labels.sheet_key(elsewhere / "renamed.csv", study.studies).parent.name == keys.FOLDER
    )  # for a bundle
    assert labels.sheet_key(sheet(tmp_path / "own.csv", "x,ann,correct,1")) is None


def test_a_second_rater_is_a_second_column(study, tmp_path):
    path = tmp_path / "L.csv"
    labels.export_sheet(study, path, 60, 0, str)
    filled(path, path, label_bob="incorrect")
    found = labels.read_labels([path])
    assert len(found) == 120 and set(found["rater"]) == {"ann", "bob"}
    assert found[found["rater"].eq("bob")]["label"].eq("incorrect").all()


def test_a_correction_replaces_by_answer_and_rater_and_is_counted(tmp_path):
    first = sheet(tmp_path / "a.csv", "x,ann,correct,1", "y,ann,correct,1", "x,bob,correct,1")
    later = sheet(tmp_path / "b.csv", "x,ann,incorrect,1", "y,ann,correct,1")
    found = labels.read_labels([first, later])
    said = {(row["answer_id"], row["rater"]): row["label"] for row in found.to_dict("records")}
    assert said == {("x", "ann"): "incorrect", ("y", "ann"): "correct", ("x", "bob"): "correct"}
    assert found.attrs["corrected"] == 1
    unnamed = [sheet(tmp_path / f"{name}.csv", f"x,,{name},1") for name in ("correct", "incorrect")]
    with pytest.raises(
        UserError, match="more than one label by rater rater; each rater needs a name"
    ):
        labels.read_labels(unnamed)


def test_answers_whose_prompt_is_lost_are_not_drawn(study, tmp_path):
    lost = study.prompts.index[:5]
    made = labels.export_sheet(
        replace(study, prompts=study.prompts.drop(lost)), tmp_path / "L.csv", 1000, 0, str
    )
    shown = study.answers.set_index("answer_id").loc[made["answer_id"], "prompt_id"]
    assert set(shown) and not set(shown) & set(lost)


def sheet(path, *rows):
    path.write_text("answer_id,rater,label,weight\n" + "".join(f"{row}\n" for row in rows))
    return path


def test_two_raters_are_read_and_an_adjudicator_settles_them(tmp_path):
    ann = sheet(
        tmp_path / "a.csv", "x,ann,correct,2", "y,ann,Incorrect,1", "z,ann,correct,1", "v,ann,,1"
    )
    bob = sheet(tmp_path / "b.csv", "x,bob,correct,2", "y,bob,hedged,1", "z,bob,refused,1")
    given = labels.read_labels([ann, bob])
    assert len(given) == 6
    settled, open_ones = labels.settle_labels(given)
    assert settled["answer_id"].tolist() == ["x"] and open_ones == ["y", "z"]
    labels.write_open(given, open_ones, ann, tmp_path / "open.csv")
    text = (tmp_path / "open.csv").read_text(encoding="utf-8-sig")
    assert "ann: incorrect; bob: hedged" in text
    done = tmp_path / "done.csv"
    done.write_text(text.replace("adjudicated,,", "adjudicated,incorrect,"))
    settled, open_ones = labels.settle_labels(labels.read_labels([ann, bob, done]))
    assert not open_ones and dict(
        zip(settled["answer_id"], settled["truth_label"], strict=True)
    ) == {
        "x": "correct",
        "y": "incorrect",
        "z": "incorrect",
    }


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["x,ann,right,1"], "label=right is not allowed"),
        (["x,ann,correct,0"], "weight=0 must be a number above 0"),
        (["x,ann,correct,"], "weight= must be"),
        (
            ["x,ann,correct,1", "x,ann,hedged,1"],
            "answer x has more than one label by rater ann; each rater needs a name",
        ),
        (["x,ann,correct,1", "x,bob,correct,2"], "answer x has more than one weight"),
        (["x,ann,,1"], "no row has a label; write one of correct, "),
        ([" ,ann,correct,1"], "line 2: answer_id is empty"),
    ],
)
def test_a_sheet_that_cannot_be_meant_is_one_line(tmp_path, rows, message):
    with pytest.raises(UserError, match=message):
        labels.read_labels([sheet(tmp_path / "l.csv", *rows)])


def test_a_row_that_ends_before_its_answer_is_one_line(tmp_path):
    (tmp_path / "l.csv").write_text("label,rater,weight,answer_id\ncorrect,ann,1\n")
    with pytest.raises(UserError, match="line 2: answer_id is empty"):
        labels.read_labels([tmp_path / "l.csv"])


def test_a_file_without_the_columns_is_one_line(tmp_path):
    (tmp_path / "l.csv").write_text("answer_id,label\nx,correct\n")
    with pytest.raises(UserError, match="has no column rater"):
        labels.read_labels([tmp_path / "l.csv"])
