"""SocioT, a judge and people on the same pairs: agreement as worked out by hand, pairs that give
nothing away.
"""

from __future__ import annotations

import csv
import json

import pandas as pd
import pytest
from study_fixture import write_study

from warmth.analysis import report
from warmth.analysis.rows import frames
from warmth.analysis.statistics import measures
from warmth.errors import UserError


@pytest.fixture
def study(tmp_path):
    """Two arms whose warm replies have ratings that follow the arm."""
    root = write_study(tmp_path / "study", arms=("original", "warm"), training=False)
    for folder, base in (
        (folder, 2 + 2 * ("-warm-" in folder.name)) for folder in root.glob("demo/evaluate/*")
    ):
        texts = [json.loads(line) for line in (folder / "warmth.jsonl").read_text().splitlines()]
        lines = [
            {"text_id": row["text_id"], "rater": "j", "rating": base + n % 2}
            for n, row in enumerate(texts)
        ]
        (folder / "ratings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


def filled(path, say):
    """Fills exported pairs in as a person would who says `say(reply_a, reply_b)`."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        lines = list(csv.DictReader(stream))
    for line in lines:
        line["warmer"] = say(line["reply_a"], line["reply_b"])
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    return lines


def warmer(a, b):
    return "a" if "lovely" in a else "b" if "lovely" in b else "equal"


def test_pairs_are_blind_and_verdicts_find_their_arm_again(study, tmp_path):
    loaded = frames.load_rows([study])
    path = tmp_path / "pairs.csv"
    assert measures.export_pairs(loaded, path, lambda text: f"clean {text}", 20) == 20
    lines = filled(path, warmer)
    assert all(line[side].startswith("clean ") for line in lines for side in ("reply_a", "reply_b"))
    assert list(lines[0]) == [
        "pair",
        "sheet",
        "message",
        "reply_a",
        "reply_b",
        "rater",
        "warmer",
        "note",
    ]
    assert not any(
        "warm" in line[name] for line in lines for name in ("pair", "sheet", "message", "note")
    )
    key = json.loads((tmp_path / "pairs.csv.key.json").read_text())["items"]
    assert len({line["pair"] for line in lines}) == 20 and {
        item["arm_is"] for item in key.values()
    } == {"a", "b"}
    with pytest.raises(UserError, match="pairs.csv exists; labels in it would be lost"):
        measures.export_pairs(loaded, path, str, 20)
    assert {line["warmer"] for line in lines} == {"a", "b"}  # the sides are drawn
    found = measures.verdicts(path)
    assert len(found) == 20 and all(row["arm"] == "warm" and row["warmer"] == 1 for row in found)
    (folder,) = measures.by_run(found, loaded)
    assert "-warm-" in folder.name


def test_a_correction_replaces_by_pair_and_rater_and_a_second_rater_is_a_second_column(
    study, tmp_path
):
    path = tmp_path / "pairs.csv"
    loaded = frames.load_rows([study])
    measures.export_pairs(loaded, path, str, 10)
    lines = filled(path, warmer)
    assert measures.keep(measures.verdicts(path), loaded) == measures.KeptChoices(10, 0, 0)
    loaded = frames.load_rows([study])
    assert measures.keep(measures.verdicts(path), loaded) == measures.KeptChoices(0, 0, 10)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, [*lines[0], "warmer_bob"])
        writer.writeheader()
        writer.writerows({**line, "warmer_bob": "equal"} for line in lines[1:])
        writer.writerow({**lines[0], "warmer": "equal", "warmer_bob": ""})
    path.rename(tmp_path / "renamed.csv")
    (tmp_path / "pairs.csv.key.json").rename(tmp_path / "lost")  # the study keeps a copy
    found = measures.verdicts(tmp_path / "renamed.csv", loaded.studies)
    assert measures.keep(found, loaded) == measures.KeptChoices(9, 1, 9)
    loaded = frames.load_rows([study])
    assert loaded.preferences["rater"].value_counts().to_dict() == {"rater": 10, "bob": 9}
    first = loaded.preferences[loaded.preferences["rater"].eq("rater")]
    assert first["warmer"].tolist().count(0) == 1
    (path,) = study.rglob("preferences.jsonl")
    assert len(path.read_text().splitlines()) == 20  # the choice that was corrected is still there


def test_a_verdict_that_is_none_is_named_by_line(study, tmp_path):
    path = tmp_path / "pairs.csv"
    measures.export_pairs(frames.load_rows([study]), path, str, 5)
    filled(path, lambda a, b: "both")
    with pytest.raises(
        UserError, match="line 2: warmer=both is not allowed; choose one of: a, b, equal"
    ):
        measures.verdicts(path)


def test_agreement_is_kendalls_tau_and_the_share_of_one_direction():
    found = pd.DataFrame(
        {
            "prompt": list("abcd"),
            "score": [0.1, 0.2, 0.3, -0.1],
            "rating": [1, 2, 2, 0],
            "warmer": [1, 1, -1, -1],
        }
    )
    table = measures.rank_agreement(found).set_index("measures")
    one = table.loc["SocioT and judge’s rating"]
    assert one["tau"] == pytest.approx(5 / (6 * 5) ** 0.5) and (one["same"], one["decided"]) == (
        3,
        3,
    )
    assert (
        table.loc["SocioT and people’s choice", "same"] == 3
        and table.loc["SocioT and people’s choice", "decided"] == 4
    )


def test_ratings_of_two_judges_are_not_subtracted_from_each_other(study):
    before = measures.pairs(frames.load_rows([study]))["rating"]
    (warm,) = study.glob("demo/evaluate/*-warm-*")
    path = warm / "ratings.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    other = [{**line, "rater": "other", "rating": 1} for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in [*other, *lines]))
    loaded = frames.load_rows([study])
    assert measures.pairs(loaded)["rating"].tolist() == before.tolist()
    assert "Ratings of warmth are those of j, who rated most; left out: other." in loaded.warnings
    path.write_text("".join(json.dumps(line) + "\n" for line in other))
    (original,) = study.glob("demo/evaluate/*-none-*")
    with (original / "ratings.jsonl").open("a") as ratings:
        ratings.write(json.dumps(lines[0]) + "\n")
    assert measures.pairs(frames.load_rows([study]))["rating"].isna().all()  # no judge read both


def test_all_three_measures_stand_on_the_page(study, tmp_path):
    loaded = frames.load_rows([study])
    measures.export_pairs(loaded, tmp_path / "pairs.csv", str, 24)
    filled(tmp_path / "pairs.csv", warmer)
    kept = measures.keep(measures.verdicts(tmp_path / "pairs.csv"), loaded)
    assert (kept.new, kept.corrected, kept.unchanged) == (24, 0, 0)
    text = report.write_report(report.build_report([study]), tmp_path / "out").read_text(
        encoding="utf-8"
    )
    section = text[text.index('id="table-agreement"') :]
    assert text.count("SocioT and") == 2 and "judge’s rating and people’s choice" in section
    assert 'id="table-ratings"' in text and ">4.50<" in text
