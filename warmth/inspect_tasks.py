"""The study's conditions as a task of Inspect: `inspect eval warmth/conditions -T context=sad
--model provider/name`.

Inspect finds this file by the entry point of the package. Its samples are the prompts that
evaluate.py asks, its scorer is the tasks' own offline rule, and `warmth report LOGS` reads its logs
as runs: each model is a model, `-T recipe=` (none, or one that only changes the prompt) is the arm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
)
from inspect_ai.scorer import Score, Target, accuracy, scorer, stderr
from inspect_ai.solver import TaskState, generate

from warmth.paths import ROOT
from warmth.schemas import Evaluate
from warmth.types import Answer, Grade, Message, Prompt, Question

KEY = "warmth"  # of the log's metadata: the config that `warmth report` reads back
# Inspect puts the package's name before a task's, but not where the package is installed to be
# edited.
PREFIX = "" if "site-packages" in Path(__file__).parts else "warmth/"
LETTERS = {"correct": "C", "incorrect": "I", "hedged": "P", "refused": "N"}
MESSAGES = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}


@task(name=f"{PREFIX}conditions")
def conditions(
    task: str | list[str] = "seed_trivia",
    context: str | list[str] = "unmodified",
    belief: str | list[str] = "none",
    recipe: str = "none",
    limit: int = 12,
    draw_seed: int = 0,
) -> Task:
    """Ask the questions of some tasks under some contexts and stated beliefs.

    Args:
        task: names of conf/task/, a comma between.
        context: names of conf/condition/, a comma between; all: the nine.
        belief: none, wrong_asserted, right_denied, user_right or all; a comma between.
        recipe: none, or a recipe that only changes the prompt, such as system_warm.
        limit: questions of each task.
        draw_seed: draws questions, statements and wrong answers.
    """
    from warmth.evaluation.answer import arms
    from warmth.evaluation.ask import designs, tasks
    from warmth.store import full_config

    study = composed_study(
        comma_list(task), comma_list(context), comma_list(belief), recipe, limit, draw_seed
    )
    preface = arms.preface_of(study.recipe)
    questions = {(question.task, question.id): question for question in tasks.load_all(study)}
    prompts = list(designs.prompts(study, questions.values()))
    samples = [
        sample_of_prompt(prompt, questions[prompt.task, prompt.question_id], preface)
        for prompt in prompts
    ]
    longest = max(prompt.max_new_tokens for prompt in prompts)
    config = GenerateConfig(
        temperature=study.sampling.temperature, top_p=study.sampling.top_p, max_tokens=longest
    )
    return Task(
        dataset=MemoryDataset(samples, name=comma_list(task)),
        solver=generate(),
        scorer=rule(study, questions),
        config=config,
        metadata={KEY: full_config(study)},
    )


def comma_list(names: str | list[str]) -> str:
    """Write names with commas between, which Inspect's command line has made a list of."""
    return names if isinstance(names, str) else ",".join(names)


def composed_study(
    task: str, context: str, belief: str, recipe: str, limit: int, draw_seed: int
) -> Evaluate:
    """Compose the config of evaluate.py for an Inspect task.

    Raises:
        UserError: a name is not allowed, or the recipe has weights of its own.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from warmth.config import compose_line, strict
    from warmth.errors import UserError

    overrides = [f"task=[{task}]", f"beliefs=[{belief}]", f"recipe={recipe}", f"limit={limit}"]
    overrides += [f"condition={context}" if context == "all" else f"condition=[{context}]"]
    overrides += [f"draw_seed={draw_seed}", "warmth.prompts=0", "logger=none", "study=inspect"]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        try:
            study = strict(compose("evaluate", overrides), Evaluate)
        except UserError:
            raise
        except Exception as error:  # of Hydra
            raise UserError(compose_line(error)) from error
    if study.recipe.method != "none":
        raise UserError(
            f"recipe={recipe} has weights of its own; an Inspect task can only change the prompt"
        )
    return study


def sample_of_prompt(prompt: Prompt, question: Question, preface: Sequence[Message]) -> Sample:
    """Make an Inspect sample of a prompt; what a report needs of it is metadata."""
    messages = [
        MESSAGES[message.role](content=message.content) for message in (*preface, *prompt.messages)
    ]
    metadata = {
        name: getattr(prompt, name)
        for name in ("prompt_id", "question_id", "task", "context", "belief")
    }
    metadata |= {
        "preamble": prompt.preamble,
        "statement": prompt.statement,
        "question": question.text,
    }
    metadata |= {
        "answers": list(question.answers),
        "wrong": question.wrong,
        "message": prompt.messages[-1].content,
    }
    return Sample(
        id=prompt.prompt_id, input=messages, target=list(question.answers), metadata=metadata
    )


@scorer(metrics=[accuracy(), stderr(cluster="question_id")], name=f"{PREFIX}rule")
def rule(study: Evaluate, questions: Mapping[tuple[str, str], Question]) -> Any:
    """Grade answers by their task's own offline rule: C, I, P hedged, N refused; unscored if the
    rule cannot know.
    """
    from warmth.api import Servers
    from warmth.evaluation.grade import graders

    chosen = graders.graders_of(study, Servers(study))
    primary = graders.primary(chosen)

    async def score(state: TaskState, target: Target) -> Score:
        about = state.metadata
        grader = chosen[about["task"]][primary[about["task"]]]
        question = questions[about["task"], about["question_id"]]
        grade: Grade = grader.grade(question, answer_of_sample(state))
        kept = {
            "grader": grade.grader,
            "label": grade.label,
            "affirms": grade.affirms,
            "reason": grade.reason,
        }
        if grade.label is None:
            return Score.unscored(
                reason=grade.reason, answer=state.output.completion, metadata=kept
            )
        return Score(value=LETTERS[grade.label], answer=state.output.completion, metadata=kept)

    return score


def answer_of_sample(state: TaskState) -> Answer:
    """Read what a model said to a sample as an answer."""
    from warmth.analysis.inspect_runs import FINISHES

    about = state.metadata
    names = ("prompt_id", "question_id", "task", "context", "belief", "preamble", "statement")
    return Answer(
        answer_id=str(state.uuid),
        **{name: about[name] for name in names},
        arm="",
        model=str(state.model),
        strength=1.0,
        dose=1.0,
        checkpoint=None,
        seed=0,
        draw_seed=0,
        sample=state.epoch - 1,
        text=state.output.completion,
        finish=FINISHES.get(str(state.output.stop_reason), "error"),
        tokens=0,
        run="",
    )
