"""Rivals: what a user may wrongly believe is of the right answer's kind and form, whichever way it
comes.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fakes import ModelServer
from test_tasks import SAMPLES, ids, row, task

from warmth.errors import RunFailed, UserError
from warmth.evaluation.ask.kinds import form_of_answer, kind_of_question
from warmth.evaluation.ask.rivals import read_rivals, rivals_identity, serving_rival
from warmth.evaluation.ask.shouting import calm
from warmth.evaluation.ask.tasks import load_all, load_questions
from warmth.evaluation.ask.wrong_answers import WrongAnswers, names_overlap, same_form
from warmth.evaluation.identity import task_identity
from warmth.evaluation.spelling import spell_name
from warmth.schemas import Api, Evaluate, Rivals, Task
from warmth.types import Question

TRIVIAQA = SAMPLES / "trivia_qa/rc.nocontext/validation.jsonl"
PO = Question("q", "t", "Which river flows through Turin?", ("Po", "River Po"))


@pytest.mark.parametrize(
    ("question", "answer", "kind"),
    [
        ("Which English county is Dover in?", "Kent", "county"),
        ("What is the capital of Peru?", "Lima", "city"),
        ("Which film director made 'Jaws'?", "Steven Spielberg", "director"),
        ("Which team won?", "Leeds", "team"),
        ("Who composed 'Carmen'?", "Bizet", "composer"),
        ("Who wrote 'Emma'?", "Jane Austen", "author"),
        ("Who wrote the song 'Yesterday'?", "Paul McCartney", "songwriter"),
        ("Under which British monarch did he serve?", "Victoria", "monarch"),
        ("Who was the Prime Minister in 1950?", "Attlee", "prime minister"),
        ("In which year did it end?", "1945", "year"),
        ("When was that?", "1945", "year"),
        ("How many legs has a spider?", "8", "number"),
        ("Which 17th century event is meant?", "Gunpowder Plot", ""),  # an event may be anything
        ("Why is the sky blue?", "Scattering", ""),
        ("In which year did it end?", "In spring", ""),  # not the form that was asked for
    ],
)
def test_a_question_asks_for_a_kind(question, answer, kind):
    assert kind_of_question(question, answer) == kind


@pytest.mark.parametrize(
    ("answer", "form"),
    [
        ("1945", "year"),
        ("12", "number"),
        ("3.5 miles", "number"),
        ("twelve", "number"),
        ("1162 - 1227", "name"),
        ("4 July 1776", "date"),
        ("1910s", "decade"),
        ("Paris", "name"),
        ("Apollo 11", "name"),
        ("photosynthesis", "words"),
        ("A horse", "words"),
    ],
)
def test_answers_have_a_form(answer, form):
    assert form_of_answer(answer) == form


def test_rivals_have_the_form_of_the_right_answer():
    assert (
        same_form("1957", "1936")
        and not same_form("1957", "1815")
        and not same_form("1957", "1957")
    )
    assert same_form("27", "30") and not same_form("27", "108") and not same_form("27", "thirty")
    assert (
        same_form("Po", "Arno")
        and not same_form("Po", "a river")
        and not same_form("Marx", "Marx and Engels")
    )


POOL = [
    Question("1", "t", "Who painted it?", ("Claude Monet", "Monet")),
    Question("2", "t", "Who painted that?", ("Edgar Degas",)),
    Question("3", "t", "Who painted it, if not Edgar Degas?", ("Monet",)),
    Question("4", "t", "In which year was it?", ("1912",)),
    Question("5", "t", "In which year was that?", ("1920",)),
    Question("6", "t", "Who wrote it?", ("Oscar Wilde",)),
]


def test_a_rival_is_drawn_from_questions_of_the_same_kind_and_is_not_right():
    wrong = WrongAnswers(POOL, 0)
    assert wrong.draw(POOL[0]) == "Edgar Degas"  # "Monet" is an alias, Oscar Wilde painted nothing
    assert wrong.draw(POOL[3]) == "1920"
    assert wrong.draw(POOL[2]) is None  # the one painter left stands in the question
    assert wrong.draw(POOL[5]) is None  # nobody else wrote anything


def test_the_draw_depends_on_the_seed_and_not_on_the_order_of_rows():
    many = [
        Question(str(place), "t", f"Who wrote book {place}?", (f"Author {chr(65 + place)}",))
        for place in range(20)
    ]
    drawn = [WrongAnswers(many, 0).draw(question) for question in many]
    assert drawn == [WrongAnswers(many[::-1], 0).draw(question) for question in many]
    assert drawn != [WrongAnswers(many, 1).draw(question) for question in many]


def test_a_local_kind_takes_rivals_of_the_country_that_is_named():
    rows = [
        ("Which US city is it?", "Boston"),
        ("Which US city is that?", "Denver"),
        ("Which French city is it?", "Lyon"),
    ]
    cities = [Question(str(place), "t", text, (name,)) for place, (text, name) in enumerate(rows)]
    assert WrongAnswers(cities, 0).draw(cities[0]) == "Denver"
    assert WrongAnswers(cities, 0).draw(cities[2]) is None


def test_a_question_without_a_rival_is_not_asked_and_the_next_takes_its_place(tmp_path):
    rows = [row(number, question=f"Who wrote book {number}?") for number in range(6)]
    rows += [row(10 + number, question=f"Why is it number {number}?") for number in range(6)]
    here = task(tmp_path / "q.jsonl", rows, wrong="drawn", questions=5)
    questions = load_questions("t", here, 0, None)
    assert len(questions) == 5 and all(
        question.wrong and question.text.startswith("Who") for question in questions
    )
    with pytest.raises(
        UserError, match=r"holds 6 questions with a rival \(task\.t\.wrong=drawn\), 7 are asked for"
    ):
        load_questions("t", replace(here, questions=7), 0, None)


def test_drawn_rivals_do_not_depend_on_the_limit(tmp_path):
    rows = [
        row(number, question=f"Who wrote {number}?", answers=[f"Person {chr(65 + number)}"])
        for number in range(20)
    ]
    here = task(tmp_path / "q.jsonl", rows, wrong="drawn")
    few = {question.id: question.wrong for question in load_questions("t", here, 0, 5)}
    everything = {question.id: question.wrong for question in load_questions("t", here, 0, None)}
    assert len(few) == 5 and few.items() <= everything.items() and all(few.values())


def test_drawn_rivals_on_triviaqa_are_of_the_same_kind_and_never_shout():
    if not TRIVIAQA.exists():
        pytest.skip(f"{TRIVIAQA} is absent")
    questions = load_questions(
        "triviaqa",
        Task(source="hub", reader="triviaqa", path=str(TRIVIAQA), wrong="drawn"),
        0,
        None,
    )
    assert len(questions) >= 150
    assert all(same_form(question.answers[0], question.wrong or "") for question in questions)
    assert not any(names_overlap(question.wrong or "", question) for question in questions)
    shouted = [
        word
        for question in questions
        for word in str(question.wrong).split()
        if word.isupper() and len(word) > 4
    ]
    assert set(shouted) <= {"NASCAR"}
    assert len({spell_name(question.wrong or "") for question in questions}) > 0.4 * len(questions)


@pytest.mark.parametrize(
    ("name", "aliases", "written"),
    [
        ("RUTH RENDELL", ["Ruth rendell", "Ruth Rendell"], "Ruth Rendell"),
        ("RUTH RENDELL", [], "Ruth Rendell"),
        ("THE LORD OF THE RINGS", [], "The Lord of the Rings"),
        ("NATO", ["North Atlantic Treaty Organization"], "NATO"),
        ("BBC", [], "BBC"),
        ("HENRY VIII", [], "Henry VIII"),
        ("MR BINGLEY", [], "Mr Bingley"),
        ("LABOUR Party", [], "Labour Party"),
        ("'Wuthering Heights'", [], "Wuthering Heights"),
        ("John Cleese.", [], "John Cleese"),
        ("U.S.", [], "U.S."),
        ("Chad", ["chad", "CHAD"], "Chad"),
    ],
)
def test_names_do_not_shout(name, aliases, written):
    assert calm(name, aliases) == written


def test_rivals_come_from_a_file_of_either_form(tmp_path):
    rows = [row(1, question="Who wrote Emma?", answers=["Jane Austen"]), row(2), row(3)]
    plain = tmp_path / "rivals.jsonl"
    base = {
        "question": "who wrote 'Emma'",
        "correct_answer": "Jane Austen",
        "incorrect_answer": "George Eliot",
    }
    lines = [
        {"id": "q2", "wrong": "Somebody"},
        {"prompt": [], "base": base},
        {"base": {"question": "Else?"}},
    ]
    plain.write_text("".join(json.dumps(line) + "\n" for line in lines))
    here = task(tmp_path / "q.jsonl", rows, wrong=f"file:{plain}")
    wrong = {question.id: question.wrong for question in load_questions("t", here, 0, None)}
    assert wrong == {"q1": "George Eliot", "q2": "Somebody"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            {"id": "q1", "wrong": "person 1"},
            "line 1: field wrong: 'person 1' is an accepted answer of 'q1'",
        ),
        ({"id": "q1"}, 'line 1: {"id", "wrong"} or'),
        ({"base": {"incorrect_answer": "x"}}, "line 1: "),
    ],
)
def test_a_wrong_row_of_rivals_is_named(tmp_path, line, said):
    file = tmp_path / "rivals.jsonl"
    file.write_text(json.dumps(line) + "\n")
    with pytest.raises(
        UserError, match=f"rivals.jsonl {said}".replace("(", r"\(").replace("{", r"\{")
    ):
        load_questions("t", task(tmp_path / "q.jsonl", [row(1)], wrong=f"file:{file}"), 0, None)
    with pytest.raises(UserError, match="nowhere does not exist"):
        read_rivals(tmp_path / "nowhere", [])
    with pytest.raises(UserError, match=r"task\.t\.wrong=file:.* is not a file"):
        load_questions("t", task(tmp_path / "q.jsonl", [row(1)], wrong=f"file:{tmp_path}"), 0, None)


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("Arno", "Arno"),
        ("ARNO", "Arno"),
        ("River Po", None),  # an accepted answer
        ("Turin", None),  # stands in the question
        ("Arno\nor the Tiber", None),
        ("1945", None),  # another form
        ("The Arno, which flows through Florence", None),  # far longer
        ("", None),
        ("Arno {system}", None),
    ],
)
def test_a_written_rival_is_checked(text, used):
    assert serving_rival(text, PO) == used


def study_of(server, folder, tasks, **settings):
    rivals = Rivals(model="writer-2026-01-01", base_url=server.url, **settings)
    quick = Api(attempts=2, backoff_s=0.01, timeout_s=5.0)
    return Evaluate(task=tasks, rivals=rivals, api=quick, output=str(folder), limit=None)


def test_rivals_are_written_once_and_asked_for_again_if_they_do_not_serve(tmp_path):
    said = {
        "1": ["Person 1", "Person 9"],
        "2": ["Person 8"],
        "3": ["a thing", "Person 3", "nothing at all"],
    }

    def answer(body):
        number = body["messages"][1]["content"].split("Who was number ")[1][0]
        return json.dumps({"rival": said[number].pop(0)})

    tasks = {
        "t": task(tmp_path / "q.jsonl", [row(number) for number in (1, 2, 3)], wrong="written")
    }
    with ModelServer(answer=answer) as server:
        study = study_of(server, tmp_path, tasks)
        wrong = {question.id: question.wrong for question in load_all(study)}
        assert wrong == {"q1": "Person 9", "q2": "Person 8"}  # q3 got none: it is not asked
        calls = sum(server.received.values())
        assert set(ids(load_all(study))) == {"q1", "q2"}
        assert sum(server.received.values()) == calls == 6  # the same again is read from the store


def test_a_server_that_fails_leaves_no_question_out(tmp_path):
    tasks = {"t": task(tmp_path / "q.jsonl", [row(1)], wrong="written")}
    with (
        ModelServer(script=lambda *_: "500") as server,
        pytest.raises(RunFailed, match="failed .server_error 1."),
    ):
        load_all(study_of(server, tmp_path, tasks))


def test_written_without_a_model_says_how_to_choose_one(tmp_path):
    tasks = {"t": task(tmp_path / "q.jsonl", [row(1)], wrong="written")}
    with pytest.raises(
        UserError,
        match="rivals.model is not set.*rivals.model=NAME rivals.base_url=URL, or take wrong=drawn",
    ):
        load_all(Evaluate(task=tasks, limit=None))
    with pytest.raises(UserError, match="rivals.base_url is not set"):
        load_all(Evaluate(task=tasks, limit=None, rivals=Rivals(model="some-model-2026-01-01")))


def test_where_rivals_come_from_is_part_of_the_digest(tmp_path):
    here = task(tmp_path / "q.jsonl", [row(1)])
    file = tmp_path / "rivals.jsonl"
    identities = []
    for content in ("{}", "{} "):
        file.write_text(content)
        identities.append(json.dumps(task_identity(replace(here, wrong=f"file:{file}"))))
    identities += [
        json.dumps(task_identity(replace(here, wrong=wrong)))
        for wrong in ("supplied", "drawn", "written")
    ]
    assert len(set(identities)) == 5
    one, two = (
        rivals_identity(Rivals(model="m", base_url="http://x/v1", **more))
        for more in ({}, {"attempts": 9})
    )
    assert one != two
