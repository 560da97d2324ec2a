"""Every file of `examples/` is read as what its table says; the commands beside it are run by
`test_commands.py`.
"""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir

from warmth.analysis.statistics import preregistration
from warmth.config import strict
from warmth.data.ledger import Ledger
from warmth.data.reading import read_candidates
from warmth.evaluation.answer import arms
from warmth.evaluation.ask import designs, tasks
from warmth.evaluation.grade.own_answers import grade_file
from warmth.evaluation.manner.texts import text_rows
from warmth.paths import ROOT
from warmth.schemas import Evaluate, Train, register

EXAMPLES = ROOT / "examples"


@pytest.fixture(autouse=True)
def from_the_clone(monkeypatch):
    monkeypatch.chdir(ROOT)


def study(schema, *overrides):
    register()
    name = "train" if schema is Train else "evaluate"
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return strict(compose(name, ["logger=none", *overrides]), schema)


def test_questions_and_rows_in_a_hubs_schema_are_questions():
    own = study(Evaluate, "task=[jsonl]", "task.jsonl.path=examples/questions.jsonl", "limit=null")
    assert {question.wrong for question in tasks.load_all(own)} == {
        "Cusco",
        "Sydney",
        "Istanbul",
        "Toronto",
    }
    hub = study(
        Evaluate, "task=[triviaqa]", "task.triviaqa.path=examples/triviaqa.jsonl", "limit=3"
    )
    assert {question.answers[0] for question in tasks.load_all(hub)} == {
        "Mercury",
        "Jupiter",
        "Saturn",
    }


def test_a_design_in_ones_own_words_makes_its_prompts():
    chosen = study(Evaluate, "design=file", "design_file=examples/design.yaml", "limit=2")
    prompts = list(designs.prompts(chosen, tasks.load_all(chosen)))
    assert len(prompts) == 4 and {prompt.context for prompt in prompts} == {"unmodified", "rain"}
    assert any("I am sure it is" in prompt.messages[-1].content for prompt in prompts)


def test_the_plan_is_one_that_can_be_frozen():
    plan = preregistration.read_plan(EXAMPLES / "plan.yaml")
    assert [item.name for item in plan.hypotheses] == ["H1"]


def test_held_out_prompts_exchanges_and_a_system_prompt_are_read():
    chosen = study(
        Evaluate, "warmth.path=examples/prompts.jsonl", "warmth.prompts=2", "recipe=none"
    )
    assert len(tasks.load_warmth_prompts(chosen)) == 2
    assert [message.role for message in arms.read_shots("examples/shots.jsonl")] == [
        "user",
        "assistant",
    ]
    prompted = study(Evaluate, "recipe=system_warm", "recipe.system_prompt=examples/system.txt")
    assert arms.read_system_prompt(prompted.recipe) == "Answer in one short sentence."


@pytest.mark.parametrize(
    ("source", "file", "count"),
    [("jsonl", "conversations.jsonl", 3), ("sharegpt", "sharegpt.json", 2)],
)
def test_conversations_are_read_whole(source, file, count):
    chosen = study(
        Train,
        f"data={source}",
        f"data.path=examples/{file}",
        "data.styles=[]",
        "data.conversations=null",
    )
    assert len(read_candidates(chosen.data, Ledger())) == count


def test_answers_and_texts_are_read():
    grades = list(grade_file(EXAMPLES / "answers.jsonl", None, None))
    assert [row.label for _, row in grades] == ["correct", "incorrect", "correct"]
    assert len(list(text_rows(EXAMPLES / "texts.jsonl"))) == 2
