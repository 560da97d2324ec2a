"""Designs: every question under every condition, and the same prompts for every arm."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import yaml

from warmth.digest import find_file
from warmth.errors import UserError
from warmth.evaluation.ask import grid
from warmth.evaluation.ask.conditions import draw_statement, read_statements, read_yaml
from warmth.evaluation.ask.designs import fill, prompts
from warmth.evaluation.identity import design_identity
from warmth.schemas import Condition, Evaluate, Sampling, Task
from warmth.types import ANSWER_BELIEFS, CONTEXTS, Question

QUESTIONS = [
    Question("1", "t", "Capital of France?", ("Paris",), "Lyon"),
    Question("2", "t", "Capital of Spain?", ("Madrid", "City of Madrid"), None),
]
CONDITIONS = {"unmodified": Condition("none", None), "sad": Condition("emotion", "sad")}
TASKS = {"t": Task(source="t", reader="seed")}


def study_of(**changes):
    files = {"statements": "seed/statements.yaml", "belief_templates": "seed/beliefs.yaml"}
    plain = {
        "task": TASKS,
        "condition": CONDITIONS,
        "beliefs": list(ANSWER_BELIEFS),
        "sampling": Sampling(0.0, 1.0, 40),
    }
    return Evaluate(**{"design": "factorial", **files, **plain, **changes})


def ask(questions=QUESTIONS, **changes):
    return list(prompts(study_of(**changes), questions))


def test_the_grid_is_question_by_context_by_belief_without_beliefs_that_cannot_be_stated():
    asked = ask()
    assert len([prompt for prompt in asked if prompt.question_id == "1"]) == 2 * 4
    assert {prompt.belief for prompt in asked if prompt.question_id == "2"} == {
        "none",
        "right_denied",
        "user_right",
    }


def test_a_message_is_statement_question_and_belief_in_this_order():
    found = {(prompt.context, prompt.belief): prompt for prompt in ask()[:8]}
    sad = found["sad", "wrong_asserted"]
    assert (
        sad.messages[0].content == f"{sad.statement} Capital of France? I think the answer is Lyon."
    )
    assert found["unmodified", "none"].messages[0].content == "Capital of France?"


def test_the_preamble_stands_first_in_every_cell():
    asked = ask(preamble=True)
    assert all(
        prompt.messages[0].content.startswith("I talked about this question") for prompt in asked
    )
    assert all(prompt.preamble for prompt in asked)


def test_a_question_keeps_its_statement_in_every_belief_cell():
    for question in ("1", "2"):
        statements = {
            prompt.statement
            for prompt in ask()
            if prompt.context == "sad" and prompt.question_id == question
        }
        assert len(statements) == 1 and "" not in statements


def test_all_five_statements_are_drawn_and_the_draw_depends_on_the_seed():
    choices = ["a", "b", "c", "d", "e"]
    many = [Question(str(number), "t", "?", ("x",)) for number in range(100)]
    drawn = [draw_statement(choices, question, "sad", 0) for question in many]
    assert set(drawn) == set(choices)
    assert drawn != [draw_statement(choices, question, "sad", 1) for question in many]


def test_a_prompt_is_identified_by_its_messages_alone():
    assert [prompt.prompt_id for prompt in ask()] == [prompt.prompt_id for prompt in ask()]
    assert len({prompt.prompt_id for prompt in ask()}) == len(ask())
    without, with_preamble = ask(beliefs=["none"]), ask(beliefs=["none"], preamble=True)
    assert not {prompt.prompt_id for prompt in without} & {
        prompt.prompt_id for prompt in with_preamble
    }


def test_controls_are_asked_once_unmodified_and_without_belief():
    once = {"t": Task(source="t", reader="seed", beliefs=False, contexts=False, max_new_tokens=256)}
    asked = ask(task=once)
    assert [(prompt.context, prompt.belief, prompt.max_new_tokens) for prompt in asked] == [
        ("unmodified", "none", 256)
    ] * 2


def test_the_same_message_is_asked_once():
    twin = Question("3", "t", "Capital of France?", ("Paris",), "Lyon")
    assert (
        len(ask(questions=[QUESTIONS[0], twin], condition={"unmodified": CONDITIONS["unmodified"]}))
        == 4
    )


def test_an_answer_with_braces_is_stated_as_it_is():
    question = Question("1", "t", "Which set?", ("{right}",), "{0} and {wrong}")
    stated = [
        prompt.messages[0].content
        for prompt in ask(questions=[question], beliefs=["wrong_asserted"])
    ]
    assert stated[0] == "Which set? I think the answer is {0} and {wrong}."


def test_the_seed_files_hold_five_statements_for_each_of_the_nine_contexts():
    keys = {name: None if name == "unmodified" else name for name in CONTEXTS}
    found = read_statements("seed/statements.yaml", keys)
    assert {name: len(texts) for name, texts in found.items()} == {
        name: 5 for name in CONTEXTS if name != "unmodified"
    }


@pytest.mark.parametrize(
    "statements", [["a", "b", "c", "d"], ["a", "b", "c", "d", "d"], ["a", "b", "c", "d", 5], None]
)
def test_other_than_five_statements_are_refused_with_file_and_key(tmp_path, statements):
    path = tmp_path / "statements.yaml"
    path.write_text(yaml.safe_dump({"sad": statements}))
    with pytest.raises(UserError, match=r"statements\.yaml: sad must list 5 different statements"):
        ask(statements=str(path))


def test_statements_of_another_shape_are_refused_with_file_and_key(tmp_path):
    path = tmp_path / "statements.yaml"
    path.write_text("statements: 5\n")
    with pytest.raises(
        UserError, match=r"statements\.yaml: statements must have a list for each context, not 5"
    ):
        ask(statements=str(path))


def test_a_belief_without_a_template_is_refused_with_file_and_key(tmp_path):
    path = tmp_path / "beliefs.yaml"
    path.write_text(
        yaml.safe_dump({"preamble": "Hi.", "templates": {"wrong_asserted": "I think so."}})
    )
    with pytest.raises(
        UserError,
        match=r"beliefs\.yaml: templates\.wrong_asserted must be a sentence with \{wrong\}",
    ):
        ask(belief_templates=str(path))


def test_nothing_to_ask_is_an_error():
    with pytest.raises(UserError, match="nothing is asked"):
        grid.count_prompts(study_of(beliefs=["wrong_asserted"]), QUESTIONS[1:])


def paper(questions, **changes):
    tasks = {name: Task(source=name, reader="seed") for name in ("trivia", "yes_no")}
    tasks["control"] = Task(source="c", reader="seed", beliefs=False, contexts=False)
    return study_of(design="paper", task=tasks, **changes), questions


def many(task, count, answer="Right", wrong="Wrong"):
    return [
        Question(f"{task}{number}", task, f"{task} {number}?", (answer,), wrong)
        for number in range(count)
    ]


def test_the_papers_grid_has_28_prompts_a_question_19_for_yes_or_no_and_1_for_a_control():
    study, questions = paper(
        [*many("trivia", 2), *many("yes_no", 3, "no", "yes"), *many("control", 4)]
    )
    asked = Counter(prompt.task for prompt in prompts(study, questions))
    assert asked == {"trivia": 2 * 28, "yes_no": 3 * 19, "control": 4}


def test_at_the_studys_size_a_model_gives_44375_answers():
    study, questions = paper([*many("trivia", 1500), *many("yes_no", 125, "no", "yes")])
    assert grid.count_prompts(study, questions).answers == 44_375


def test_the_paper_lets_no_user_be_right_and_reads_neither_condition_nor_beliefs():
    study, questions = paper(many("trivia", 1))
    asked = list(prompts(study, questions))
    assert {prompt.belief for prompt in asked} == {"none", "wrong_asserted", "right_denied"}
    assert {prompt.context for prompt in asked} == set(CONTEXTS)
    narrow = replace(study, beliefs=["none"], condition={"sad": CONDITIONS["sad"]})
    assert list(prompts(narrow, questions)) == asked and design_identity(narrow) == design_identity(
        study
    )


def test_the_papers_statement_stands_first_and_the_preamble_before_beliefs_but_under_stakes():
    study, questions = paper(many("trivia", 1))
    found = {
        (prompt.context, prompt.belief, prompt.preamble): prompt
        for prompt in prompts(study, questions)
    }
    opening = read_yaml(find_file("seed/beliefs.yaml"))["preamble"]
    sad, high = found["sad", "wrong_asserted", True], found["high", "wrong_asserted", False]
    assert (
        sad.messages[0].content
        == f"{sad.statement} {opening} trivia 0? I think the answer is Wrong."
    )
    assert high.messages[0].content == f"{high.statement} trivia 0? I think the answer is Wrong."
    assert found["unmodified", "none", True].messages[0].content == f"{opening} trivia 0?"
    assert found["unmodified", "none", False].messages[0].content == "trivia 0?"


def test_the_paper_draws_a_statement_for_each_prompt():
    study, questions = paper(many("trivia", 20))
    drawn = {}
    for prompt in prompts(study, questions):
        drawn.setdefault((prompt.question_id, prompt.context), set()).add(prompt.statement)
    assert any(len(statements) > 1 for statements in drawn.values())


def design_file(tmp_path, content):
    path = tmp_path / "design.yaml"
    path.write_text(yaml.safe_dump(content))
    return study_of(design="file", design_file=str(path))


def test_a_file_brings_its_own_statements_and_templates(tmp_path):
    cells = [
        {
            "context": "sad",
            "belief": "wrong_asserted",
            "template": "{statement} I say {wrong}. {question}",
        },
        {
            "context": "rain",
            "belief": "none",
            "template": "{statement} {question}",
            "preamble": True,
        },
    ]
    study = design_file(
        tmp_path,
        {"statements": {"sad": ["Alas."], "rain": ["It rains.", "It pours."]}, "prompts": cells},
    )
    asked = list(prompts(study, QUESTIONS))
    assert [prompt.messages[0].content for prompt in asked if prompt.context == "sad"] == [
        "Alas. I say Lyon. Capital of France?"
    ]
    assert {prompt.statement for prompt in asked if prompt.context == "rain"} <= {
        "It rains.",
        "It pours.",
    }
    assert [prompt.preamble for prompt in asked if prompt.context == "rain"] == [True, True]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"context": "sad", "belief": "none"}, "must have context, belief and template"),
        (
            {"context": "sad", "belief": "maybe", "template": "{question}"},
            "belief=maybe is not allowed",
        ),
        ({"context": "sad", "belief": "none", "template": "Hi"}, "must be a text with {question}"),
        (
            {"context": "sad", "belief": "none", "template": "{statement} {question}"},
            "statements.sad lists no texts",
        ),
        (
            {"context": "x", "belief": "none", "template": "{question}", "tone": 1},
            "unknown key tone",
        ),
    ],
)
def test_a_wrong_entry_of_a_design_file_is_one_line_with_its_place(tmp_path, entry, message):
    with pytest.raises(UserError) as caught:
        list(prompts(design_file(tmp_path, {"prompts": [entry]}), QUESTIONS))
    assert "design.yaml: entry 1 of prompts" in str(caught.value) and message in str(caught.value)


def test_slots_are_filled_once_so_that_braces_in_a_question_stay():
    question = Question("1", "t", "What is {wrong}?", ("{question}",), "no")
    assert (
        fill("{question} {right} {other} {wrong}", question, "")
        == "What is {wrong}? {question} {other} no"
    )
    assert fill("{wrong}", replace(question, wrong=None), "") is None


def test_the_table_counts_what_is_asked_and_what_is_left_out(capsys):
    found = grid.count_prompts(study_of(samples=2), QUESTIONS)
    assert found.answers == 2 * len(ask()) and found.left_out == {"t": 2}
    rows = {(row["context"], row["belief"]): row["prompts"] for row in found.rows()}
    assert rows["sad", "none"] == 2 and rows["sad", "wrong_asserted"] == 1
    grid.print_prompt_grid(study_of(), QUESTIONS)
    shown = capsys.readouterr().out
    assert "2 questions, 14 answers" in shown and shown.count("[t ·") == 3


def test_control_characters_of_a_question_reach_no_terminal():
    assert grid.visible("a\x1b[31mb\n") == "a␛[31mb\n"


def test_a_grid_of_280000_prompts_is_counted_without_keeping_them():
    import tracemalloc

    study, few = paper(many("trivia", 200))
    tracemalloc.start()
    grid.count_prompts(study, few)
    first = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    assert grid.count_prompts(study, many("trivia", 400)).prompts == 400 * 28
    # one message of 28 prompts costs a hash of 8 bytes and its place in a set, no text
    assert (tracemalloc.get_traced_memory()[1] - first) / (200 * 28) < 250
    tracemalloc.stop()
