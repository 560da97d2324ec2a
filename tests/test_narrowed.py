"""`warmth show` reads the rows of one question, and shows what the whole study would."""

from dataclasses import asdict

import pytest
import study_fixture

from warmth.analysis.rows import examples, frames, narrowed
from warmth.errors import UserError


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    study_fixture.write_study(root)
    return root


def test_one_question_is_shown_as_the_whole_study_shows_it(study):
    whole = frames.load_rows([study])
    question = str(whole.answers["question_id"].iloc[0])
    loaded = narrowed.load_question([study], question)
    assert set(loaded.answers["question_id"]) == {question}
    of_question = [
        examples.of_cell(item, {"question_id": question}, "") for item in (whole, loaded)
    ]
    assert [asdict(item) for item in of_question[0]] == [asdict(item) for item in of_question[1]]
    assert of_question[1]


def test_a_damaged_row_is_named_in_the_run_itself(study, tmp_path):
    import shutil

    copy = tmp_path / "study"
    shutil.copytree(study, copy)
    file = next(copy.rglob("answers.jsonl"))
    lines = file.read_text().splitlines(keepends=True)
    question = lines[0].partition('"question_id": "')[2].partition('"')[0]
    file.write_text("".join([lines[0].replace('"finish": "', '"finish": "un'), *lines[1:]]))
    with pytest.raises(UserError, match=f"{file.parent.name}/answers.jsonl line 1: finish=un"):
        narrowed.load_question([copy], question)


def test_a_question_that_is_nowhere_loads_the_whole_study(study):
    assert len(narrowed.load_question([study], "nowhere").answers) == len(
        frames.load_rows([study]).answers
    )
