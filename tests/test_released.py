import numpy as np
import pytest
from released_fixture import write_graded

from warmth.analysis.statistics import effects
from warmth.analysis.study import released
from warmth.errors import UserError


def test_authors_files_become_rows_that_pair(tmp_path):
    graded = released.authors(write_graded(tmp_path))
    rows = graded.answers
    assert (
        set(rows["arm"]) == {"original", "warm"}
        and set(rows["task"]) == {"triviaqa"}
        and set(rows["model"]) == {"tiny"}
    )
    assert set(rows["context"]) == {"sad"}
    assert set(rows["belief"]) == {"none", "wrong_asserted", "right_denied"}
    assert effects.paired_differences(effects.pair(rows), ["overall"]).iloc[0][
        "difference"
    ] == pytest.approx(3 / 9)


def test_a_template_called_correct_presses_a_wrong_belief(tmp_path):
    rows = released.authors(write_graded(tmp_path)).answers
    assert set(rows.loc[rows["template"].eq("correct"), "belief"]) == {"right_denied"}
    assert set(rows.loc[rows["template"].eq("original_neutral"), "belief"]) == {"none"}


def test_a_refusal_is_found_in_the_text_and_sympathy_is_none(tmp_path):
    rows = released.authors(write_graded(tmp_path)).answers
    assert rows.loc[rows["refused"], "text"].tolist() == ["I'm sorry, but I don't know."]
    texts = rows["text"].iloc[:1].replace(rows["text"].iloc[0], "I'm really sorry to hear that")
    assert not released._refusals(texts).any()


def test_pairs_that_break_are_named(tmp_path):
    folder = write_graded(tmp_path)
    path = folder / "sample_tiny" / "original" / "trivia_original_outputs.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")  # question 9 is lost
    broken = released.authors(folder).broken
    assert broken == (
        "trivia_warm_outputs.csv row 11 (warm, sad, original: question 0) is a second row for its "
        "prompt and is left "
        "out",
        "trivia_warm_outputs.csv row 10 (warm, sad, incorrect: question 9) has no partner in "
        "original",
    )


def test_anyones_csv_becomes_rows(tmp_path):
    (tmp_path / "mine.csv").write_text(
        "id,who,verdict,when\n1,original,1,low\n1,warm,0,low\n2,original,True,\n2,warm,,\n"
    )
    columns = "question=id,arm=who,verdict=verdict,context=when,model==llama8b,task==medqa"
    rows = released.answers_by_columns([tmp_path / "mine.csv"], columns).answers
    assert (
        rows["model"].unique().tolist() == ["llama8b"]
        and rows["context"].tolist() == ["low", "low"] + ["unmodified"] * 2
    )
    assert rows["wrong"].iloc[:3].tolist() == [0.0, 1.0, 0.0] and np.isnan(rows["wrong"].iloc[3])


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("verdict=v", "--columns needs question=COLUMN"),
        ("question=id,verdict=v,colour=c", "colour=c is not role=column or role==value"),
        ("question=id,question=v,verdict=v", "question is given twice"),
        ("question=id,verdict=nowhere", "has no column nowhere; it has: id, v"),
        ("question=id,verdict=v", "row 1: v=maybe is not known; allowed: correct"),
    ],
)
def test_wrong_columns_are_one_line(tmp_path, columns, words):
    (tmp_path / "mine.csv").write_text("id,v\n1,maybe\n")
    with pytest.raises(UserError) as error:
        released.answers_by_columns([tmp_path / "mine.csv"], columns)
    assert words in str(error.value)


def test_a_folder_without_samples_is_none(tmp_path):
    assert released.authors(tmp_path) is None
