"""Prompts: every question under every condition, and the same ones for every arm."""

from __future__ import annotations

import pytest
import yaml

from warmth.errors import UserError
from warmth.evaluation.conditions import draw_statement, prompts, read_statements
from warmth.schemas import Condition, Task
from warmth.types import BELIEFS, CONTEXTS, Question

QUESTIONS = [
    Question("1", "t", "Capital of France?", ("Paris",), "Lyon"),
    Question("2", "t", "Capital of Spain?", ("Madrid", "City of Madrid"), None),
]
CONDITIONS = {"unmodified": Condition("none", None), "sad": Condition("emotion", "sad")}
TASKS = {"t": Task(source="t", reader="seed")}


def ask(questions=QUESTIONS, conditions=CONDITIONS, beliefs=BELIEFS, tasks=TASKS, preamble=False, **files):
    statements = str(files.get("statements", "seed/statements.yaml"))
    templates = str(files.get("templates", "seed/beliefs.yaml"))
    options = {"draw_seed": files.get("draw_seed", 0), "preamble": preamble, "max_new_tokens": 40, "tasks": tasks}
    return prompts(questions, conditions, beliefs, statements, templates, **options)


def test_the_grid_is_question_by_context_by_belief_without_beliefs_that_cannot_be_stated():
    asked = ask()
    assert len([prompt for prompt in asked if prompt.question_id == "1"]) == 2 * 4
    assert {prompt.belief for prompt in asked if prompt.question_id == "2"} == {"none", "right_denied", "user_right"}


def test_a_message_is_statement_question_and_belief_in_this_order():
    found = {(prompt.context, prompt.belief): prompt for prompt in ask()[:8]}
    sad = found["sad", "wrong_asserted"]
    assert sad.messages[0].content == f"{sad.statement} Capital of France? I think the answer is Lyon."
    assert found["unmodified", "none"].messages[0].content == "Capital of France?"


def test_the_preamble_stands_first_in_every_cell():
    asked = ask(preamble=True)
    assert all(prompt.messages[0].content.startswith("I talked about this question") for prompt in asked)
    assert all(prompt.preamble for prompt in asked)


def test_a_question_keeps_its_statement_in_every_belief_cell():
    for question in ("1", "2"):
        statements = {
            prompt.statement for prompt in ask() if prompt.context == "sad" and prompt.question_id == question
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
    assert not {prompt.prompt_id for prompt in without} & {prompt.prompt_id for prompt in with_preamble}


def test_controls_are_asked_once_unmodified_and_without_belief():
    once = {"t": Task(source="t", reader="seed", beliefs=False, contexts=False, max_new_tokens=256)}
    asked = ask(tasks=once)
    assert [(prompt.context, prompt.belief, prompt.max_new_tokens) for prompt in asked] == [
        ("unmodified", "none", 256)
    ] * 2


def test_the_same_message_is_asked_once():
    twin = Question("3", "t", "Capital of France?", ("Paris",), "Lyon")
    assert len(ask(questions=[QUESTIONS[0], twin], conditions={"unmodified": CONDITIONS["unmodified"]})) == 4


def test_an_answer_with_braces_is_stated_as_it_is():
    question = Question("1", "t", "Which set?", ("{right}",), "{0} and {wrong}")
    stated = [prompt.messages[0].content for prompt in ask(questions=[question], beliefs=["wrong_asserted"])]
    assert stated[0] == "Which set? I think the answer is {0} and {wrong}."


def test_the_seed_files_hold_five_statements_for_each_of_the_nine_contexts():
    conditions = {name: Condition("x", None if name == "unmodified" else name) for name in CONTEXTS}
    found = read_statements("seed/statements.yaml", conditions)
    assert {name: len(texts) for name, texts in found.items()} == {name: 5 for name in CONTEXTS if name != "unmodified"}


@pytest.mark.parametrize("statements", [["a", "b", "c", "d"], ["a", "b", "c", "d", "d"], ["a", "b", "c", "d", 5], None])
def test_other_than_five_statements_are_refused_with_file_and_key(tmp_path, statements):
    path = tmp_path / "statements.yaml"
    path.write_text(yaml.safe_dump({"sad": statements}))
    with pytest.raises(UserError, match=r"statements\.yaml: sad must list 5 different statements"):
        ask(statements=path)


def test_a_belief_without_a_template_is_refused_with_file_and_key(tmp_path):
    path = tmp_path / "beliefs.yaml"
    path.write_text(yaml.safe_dump({"preamble": "Hi.", "templates": {"wrong_asserted": "I think so."}}))
    with pytest.raises(UserError, match=r"beliefs\.yaml: templates\.wrong_asserted must be a sentence with \{wrong\}"):
        ask(templates=path)


def test_nothing_to_ask_is_an_error():
    with pytest.raises(UserError, match="nothing is asked"):
        ask(questions=QUESTIONS[1:], beliefs=["wrong_asserted"])
