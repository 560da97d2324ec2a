"""Questions: read from every schema, refused with a place, drawn the same for every arm."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from warmth.digest import ROOT
from warmth.errors import UserError
from warmth.evaluation.ask.readers import READERS, BadField
from warmth.evaluation.ask.tasks import (
    load_all,
    load_questions,
    load_warmth_prompts,
    read_questions,
)
from warmth.evaluation.ask.wrong_answers import names_overlap
from warmth.schemas import Data, Evaluate, Task, Warmth
from warmth.store import set_folder

SAMPLES = ROOT.parent / "shared" / "data"
SEED_SETS = ("seed_trivia", "seed_misconceptions", "seed_disinfo", "seed_medicine")
HUB = {
    "triviaqa": ("trivia_qa/rc.nocontext/validation.jsonl", 500),
    "truthfulqa": ("truthful_qa/generation/validation.jsonl", 490),
    "medqa": ("medqa_usmle_4_options/phrases_no_exclude_test.jsonl", 500),
    "mmlu": ("mmlu/all/test.jsonl", 456),
    "gsm8k": ("gsm8k/main/test.jsonl", 300),
    "advbench": ("advbench/train.jsonl", 60),
    "disinfo": ("mask_standin/disinformation/test.jsonl", 18),
}


def row(number, **changes):
    return {
        "id": f"q{number}",
        "question": f"Who was number {number}?",
        "answers": [f"Person {number}"],
        **changes,
    }


def task(path, rows, **settings):
    path.write_text(
        "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in rows), encoding="utf-8"
    )
    return Task(**{"source": "here", "reader": "seed", "path": str(path), **settings})


def ids(questions):
    return [question.id for question in questions]


@pytest.mark.parametrize("name", SEED_SETS)
def test_every_seed_set_loads_with_a_wrong_answer_for_each_question(name):
    questions = load_questions(name, Task(source=name, reader="seed"), 0, None)
    assert len(questions) >= 80
    assert all(
        question.wrong and not names_overlap(question.wrong, replace(question, text=""))
        for question in questions
    )


@pytest.mark.parametrize("name", HUB)
def test_every_hub_schema_is_read_from_a_local_file(name):
    file, count = HUB[name]
    if not (SAMPLES / file).exists():
        pytest.skip(f"{SAMPLES / file} is absent")
    questions = read_questions(name, Task(source="hub", reader=name, path=str(SAMPLES / file)), 0)
    assert count - 5 <= len(questions) <= count  # the same row twice is one question
    assert all(question.text and "" not in question.answers for question in questions)


def test_a_larger_limit_asks_a_superset(tmp_path):
    here = task(tmp_path / "q.jsonl", map(row, range(50)))
    assert ids(load_questions("t", here, 0, 30))[:10] == ids(load_questions("t", here, 0, 10))


def test_the_draw_depends_on_the_seed_and_not_on_the_order_of_the_file(tmp_path):
    rows = [row(number) for number in range(50)]
    forwards, backwards = task(tmp_path / "a.jsonl", rows), task(tmp_path / "b.jsonl", rows[::-1])
    assert ids(load_questions("t", forwards, 0, 10)) == ids(load_questions("t", backwards, 0, 10))
    assert ids(load_questions("t", forwards, 0, 10)) != ids(load_questions("t", forwards, 1, 10))


def test_fewer_questions_than_declared_are_an_error_unless_a_limit_is_met(tmp_path):
    here = task(tmp_path / "q.jsonl", map(row, range(5)), questions=10)
    with pytest.raises(UserError, match="holds 5 questions, 10 are asked for"):
        load_questions("t", here, 0, None)
    assert len(load_questions("t", here, 0, 5)) == 5


def test_a_sample_smaller_than_the_limit_is_asked_whole_and_named(tmp_path, capsys):
    here = task(tmp_path / "q.jsonl", map(row, range(5)), questions=10)
    assert len(load_questions("t", here, 0, 6)) == 5
    assert "holds 5 questions, fewer than limit=6" in capsys.readouterr().err


def test_a_row_without_a_column_names_it_and_those_it_has(tmp_path):
    bare = task(tmp_path / "q.jsonl", [{"id": "1", "prompt": "?", "answers": ["a"]}])
    with pytest.raises(
        UserError, match="line 1: field question is missing; the row has id, prompt, answers"
    ):
        load_questions("t", bare, 0, None)


def test_anybodys_questions_are_read_and_a_mistyped_column_is_refused(tmp_path):
    mine = task(tmp_path / "q.jsonl", [row(1, wrong="Nobody")], reader="jsonl")
    assert load_questions("mine", mine, 0, None)[0].wrong == "Nobody"
    typo = task(tmp_path / "q.jsonl", [row(1, wrnog="Nobody")], reader="jsonl")
    with pytest.raises(
        UserError, match="line 1: field wrnog is unknown; there may be id, question, answers"
    ):
        load_questions("mine", typo, 0, None)


def test_an_answer_list_of_nothing_is_one_line(tmp_path):
    with pytest.raises(UserError, match="line 1: field answers: no text is left"):
        load_questions("t", task(tmp_path / "q.jsonl", [row(1, answers=["", " "])]), 0, None)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row(1, question=" "), "line 2: field question: a text is expected"),
        (row(1, answers=[]), "line 2: field answers: no text is left"),
        (row(1, answers=["", " "]), "line 2: field answers: no text is left"),
        (row(1, wrong=3), "line 2: field wrong"),
        (row(0, question="Another?"), "line 2: field id: 'q0' already stands in .* line 1"),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_field(tmp_path, bad, message):
    with pytest.raises(UserError, match=rf"q\.jsonl {message}"):
        load_questions("t", task(tmp_path / "q.jsonl", [row(0), bad]), 0, None)


def test_a_line_that_is_not_json_is_named(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(row(0)) + "\n{broken\n")
    with pytest.raises(UserError, match="line 2: not JSON"):
        load_questions("t", Task(source="x", reader="seed", path=str(path)), 0, None)


def test_other_unicode_line_breaks_do_not_split_a_row(tmp_path):
    here = task(tmp_path / "q.jsonl", [row(0, question="One\u2028two\x85three?")])
    assert load_questions("t", here, 0, None)[0].text == "One\u2028two\x85three?"


def test_the_same_row_twice_is_one_question(tmp_path):
    assert len(load_questions("t", task(tmp_path / "q.jsonl", [row(0), row(0)]), 0, None)) == 1


def test_json_and_csv_files_are_read_alike(tmp_path):
    (tmp_path / "q.json").write_text(json.dumps([row(0), row(1)]))
    (tmp_path / "q.csv").write_text(
        "id,question,answers\nq0,Who was number 0?,Person 0\nq1,Who was number 1?,Person 1;\n"
    )
    one, two = (
        Task(source="x", reader="seed", path=str(tmp_path / name)) for name in ("q.json", "q.csv")
    )
    assert load_questions("t", one, 0, None) == load_questions("t", two, 0, None)


def test_an_unknown_reader_and_a_missing_file_are_one_line_each(tmp_path):
    with pytest.raises(UserError, match="reader=xyz is not allowed; choose one of: advbench"):
        load_questions("t", Task(source="x", reader="xyz"), 0, None)
    with pytest.raises(UserError, match="does not exist"):
        load_questions(
            "t", Task(source="x", reader="seed", path=str(tmp_path / "none.jsonl")), 0, None
        )


def test_a_truthfulqa_row_drops_empty_answers_and_states_an_incorrect_one():
    raw = {
        "question": "Is it?",
        "best_answer": "Yes.",
        "correct_answers": ["", "Yes."],
        "incorrect_answers": ["", "No."],
    }
    question = READERS["truthfulqa"](raw, "truthfulqa", 0)
    assert (question.answers, question.wrong) == (("Yes.",), "No.")


def test_a_disinformation_proposition_becomes_a_yes_no_question():
    raw = {
        "task_id": "d1",
        "proposition": "Bats <pivotal>are/are not</pivotal> blind.",
        "formatted_ground_truth": "B",
    }
    question = READERS["disinfo"](raw, "disinfo", 0)
    assert "Bats are blind." in question.text
    assert (question.answers, question.wrong) == (("no",), "yes")


def test_mmlu_shows_its_options_and_medqa_hides_them():
    mmlu = READERS["mmlu"](
        {"question": "Two?", "subject": "s", "choices": ["1", "2", "3", "4"], "answer": 1},
        "mmlu",
        0,
    )
    assert mmlu.answers == ("B",) and "B. 2" in mmlu.text
    options = {
        "A": "Rest",
        "B": "Surgery",
        "C": "Aspirin",
        "D": "Heat",
        "E": "Cold",
    }  # the US set has five
    medqa = READERS["medqa"](
        {"question": "What next?", "answer": "Rest", "options": options}, "medqa", 0
    )
    assert medqa.text == "What next?" and medqa.wrong in set(options.values()) - {"Rest"}


def test_gsm8k_reads_the_number_without_its_separators():
    question = READERS["gsm8k"](
        {"question": "How many?", "answer": "Steps <<1+1=2>>\n#### 1,200"}, "gsm8k", 0
    )
    assert question.answers == ("1200",)
    with pytest.raises(BadField, match="field answer"):
        READERS["gsm8k"]({"question": "How many?", "answer": "Steps without a result"}, "gsm8k", 0)


def warmth_of(count, variant="deterministic", **more):
    """A study that measures warmth on `count` prompts of the seed, unless `more` says otherwise."""
    return Evaluate(**{"data": Data("seed", "seed"), "warmth": Warmth(count, variant, 80), **more})


def test_warmth_prompts_are_the_same_for_every_arm_and_more_of_them_are_a_superset():
    few, more = (load_warmth_prompts(warmth_of(count)) for count in (6, 24))
    assert few == more[:6]
    assert load_warmth_prompts(warmth_of(0)) == []


def test_too_many_warmth_prompts_are_refused():
    with pytest.raises(UserError, match="warmth.prompts=100000"):
        load_warmth_prompts(warmth_of(100_000))


def test_warmth_is_measured_on_the_prompts_held_out_from_the_set_that_was_trained_on(tmp_path):
    own = tmp_path / "rows.jsonl"
    own.write_text("{}\n")
    study = warmth_of(
        2, data=Data("jsonl", "jsonl", str(own), held_out=2), output=str(tmp_path), study="first"
    )
    with pytest.raises(
        UserError,
        match=r"jsonl-[0-9a-f]{12}, whose held-out prompts measure warmth, is not built: ",
    ):
        load_warmth_prompts(study)
    folder = set_folder(study)
    folder.mkdir(parents=True)
    rows = [json.dumps({"id": name, "prompt": f"Say {name}"}) + "\n" for name in ("a", "b")]
    (folder / "warmth_prompts.jsonl").write_text("".join(rows))
    (folder / "done.json").touch()
    assert {prompt.messages[0].content for prompt in load_warmth_prompts(study)} == {
        "Say a",
        "Say b",
    }
    elsewhere = replace(study, study="second", run=str(tmp_path / "first" / "train" / "a-run"))
    assert load_warmth_prompts(elsewhere) == load_warmth_prompts(
        study
    )  # found beside the run that was trained on it
    given = warmth_of(
        1, warmth=Warmth(1, "deterministic", 80, path=str(folder / "warmth_prompts.jsonl"))
    )
    assert load_warmth_prompts(given)[0] in load_warmth_prompts(study)


# Rows that would be misread


def mmlu_row(choices, answer):
    return {"question": "Which?", "choices": choices, "answer": answer, "subject": "x"}


@pytest.mark.parametrize(
    ("choices", "answer", "letter", "options"),
    [
        (["", "iron", "gold leaf paint", "tin foil hat"], 1, "B", "BCD"),
        (["iron", " ", "gold", "tin"], 2, "C", "ACD"),
        (["iron", "gold"], "b", "B", "AB"),
        (list("klmnopqrst"), 9, "J", "ABCDEFGHIJ"),
    ],
)
def test_choices_keep_their_letters_where_one_has_no_text(choices, answer, letter, options):
    question = READERS["mmlu"](mmlu_row(choices, answer), "mmlu", 0)
    assert question.answers == (letter,) and "".join(question.options) == options
    assert question.options[letter] == choices["ABCDEFGHIJ".index(letter)]


MEDQA = {
    "question": "Which drug?",
    "options": {"A": "Aspirin", "B": "Insulin"},
    "answer": "Insulin",
    "answer_idx": "B",
}


@pytest.mark.parametrize(
    ("reader", "bad", "words"),
    [
        (
            "mmlu",
            mmlu_row(["", "iron", "gold", "tin"], 0),
            "field answer: a letter or position among B, C, D",
        ),
        ("mmlu", mmlu_row(["iron", "gold"], True), "field answer: a letter or position among A, B"),
        ("mmlu", mmlu_row(["iron", "gold"], 5), "field answer: a letter or position among A, B"),
        (
            "mmlu",
            mmlu_row([str(number) for number in range(11)], 0),
            "field choices: 11 choices are more than the 10",
        ),
        ("mmlu", mmlu_row(["iron", "gold", "iron"], 0), "field choices: A and C are the same"),
        ("mmlu", mmlu_row(["iron", ""], 0), "field choices: at least two choices with a text"),
        ("medqa", {**MEDQA, "answer": "Quinine"}, "field answer: 'Quinine' is none of the options"),
        (
            "medqa",
            {**MEDQA, "answer_idx": "A"},
            "field answer_idx: 'A' is not the option 'Insulin'",
        ),
        ("jsonl", row(1, answers=["?"]), "field answers: '[?]' holds no letter or digit"),
        ("jsonl", row(1, answers=["Canberra", "🙂"]), "field answers: .* holds no letter or digit"),
        (
            "jsonl",
            row(1, answers=["Canberra"], wrong="canberra."),
            "field wrong: 'canberra.' is one of the accepted",
        ),
        ("jsonl", row(1, wrong="!"), "field wrong: '!' holds no letter or digit"),
        (
            "truthfulqa",
            {
                "question": "Is it?",
                "best_answer": "Yes",
                "correct_answers": ["No"],
                "incorrect_answers": ["yes"],
            },
            "field incorrect_answers: each of them is one of the correct answers",
        ),
    ],
)
def test_a_row_that_would_be_graded_wrongly_is_refused_by_file_line_and_field(
    tmp_path, reader, bad, words
):
    with pytest.raises(UserError, match=rf"q\.jsonl line 1: {words}"):
        load_questions("t", task(tmp_path / "q.jsonl", [bad], reader=reader), 0, None)


def test_an_incorrect_answer_that_is_also_a_correct_one_is_never_stated():
    given = {"question": "How many?", "best_answer": "Few", "correct_answers": ["Unknown"]}
    given["incorrect_answers"] = ["Unknown", "All"]
    assert {READERS["truthfulqa"](given, "t", seed).wrong for seed in range(20)} == {"All"}


def test_the_same_question_under_two_ids_is_refused_and_in_a_set_of_the_hub_left_out_with_a_word(
    tmp_path, capsys
):
    twice = [
        row(1, question="Which metal?", answers=["Iron"]),
        row(2, question="Which metal?", answers=["Gold"]),
    ]
    with pytest.raises(
        UserError, match=r"q\.jsonl line 2: field question: the same question stands in .* line 1"
    ):
        load_questions("t", task(tmp_path / "q.jsonl", twice, reader="jsonl"), 0, None)
    hub = [
        {
            "question_id": str(number),
            "question": "Which metal?",
            "answer": {"value": "Iron", "aliases": ["†"]},
        }
        for number in range(2)
    ]
    (question,) = load_questions("t", task(tmp_path / "q.jsonl", hub, reader="triviaqa"), 0, None)
    assert question.answers == ("Iron",)
    assert "task.t: 1 rows repeat a question and are left out" in capsys.readouterr().err


def test_two_tasks_with_the_same_question_are_refused(tmp_path):
    both = {
        name: task(tmp_path / f"{name}.jsonl", [row(number, question="Which?")])
        for number, name in enumerate("ab")
    }
    with pytest.raises(UserError, match="task.b and task.a both ask 'Which\\?'"):
        load_all(Evaluate(task=both))


@pytest.mark.parametrize(
    ("file", "reader", "words"),
    [
        ("alias_without_letters", "jsonl", "line 1: field answers"),
        ("same_question_twice", "jsonl", "line 2: field question"),
    ],
)
def test_the_shown_rows_are_refused(file, reader, words):
    path = ROOT.parent / "shared" / "cases" / "bugs_eval" / "rows" / f"{file}.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    with pytest.raises(UserError, match=words):
        read_questions("t", Task(source="here", reader=reader, path=str(path)), 0)
