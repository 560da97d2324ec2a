"""What an evaluation is found again by: everything that determines its answers, and nothing
else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from warmth.build import build
from warmth.digest import arm_identity, digest, find_file, model_identity, path_digest, plain
from warmth.entries import named_model
from warmth.errors import NotTrained, UserError
from warmth.evaluation.answer.arms import Arm, dose_ends, find_arm
from warmth.evaluation.answer.engines import Engine
from warmth.evaluation.ask.rivals import FILE, are_written, rivals_identity
from warmth.evaluation.ask.tasks import file_of, warmth_prompts_file
from warmth.evaluation.stored_runs import from_run
from warmth.models import are_weights_there
from warmth.schemas import Evaluate, Model, Task
from warmth.store import Run, run_folder


def evaluation_digest(study: Evaluate, arm: Arm) -> str:
    """Identity of an evaluation. Graders and gates stay out: answers do not depend on them.

    Raises:
        UserError: a file that is named does not exist.
    """
    engine = build(study.engine, "engine")
    warmth = plain(study.warmth)
    del warmth["scorer"], warmth["path"]
    if study.warmth.variant == "deterministic":
        del warmth["passes"]  # nothing is drawn
    if study.warmth.prompts:
        warmth["file"] = path_digest(warmth_prompts_file(study))
        if scorer_of(study) != study.model:
            warmth["scorer"] = model_identity(scorer_of(study))
    determining: dict[str, Any] = {
        "checkpoint": arm.checkpoint,
        "dose": arm.dose,
        "draw_seed": study.draw_seed,
        "tasks": {name: task_identity(task) for name, task in study.task.items()},
        **design_identity(study),
        "sampling": study.sampling,
        "samples": study.samples,
        "limit": study.limit,
        "warmth": warmth,
        "engine": {"family": engine.family, **plain(engine)},
    }
    if study.dose_between:
        determining["arm"] = [arm_identity(end) for end in dose_ends(study)]
    else:
        determining["arm"] = arm_identity(study)
    if are_written(study):
        determining["rivals"] = rivals_identity(study.rivals)
    if study.until_width is not None:
        determining["until_width"] = study.until_width
    if study.scoring != "answers":
        determining["scoring"] = study.scoring
        determining["likelihood"] = study.likelihood
    if study.sampling.temperature > 0:
        determining["sampler"] = engine.sampler
    return digest(determining)


def design_identity(study: Evaluate) -> dict[str, Any]:
    """Tell what of the grid's settings its design reads, files by their content.

    Raises:
        UserError: `design=file` without a file.
    """
    if study.design == "file":
        if not study.design_file:
            raise UserError(
                "design=file needs design_file=FILE, a YAML file with statements and prompts"
            )
        return {"design": "file", "file": path_digest(find_file(study.design_file))}
    files = {
        "statements": path_digest(find_file(study.statements)),
        "templates": path_digest(find_file(study.belief_templates)),
    }
    if study.design == "paper":
        return {"design": "paper", **files}
    asked_conditions = {
        "conditions": study.condition,
        "beliefs": study.beliefs,
        "preamble": study.preamble,
    }
    return {"design": study.design, **files, **asked_conditions}


def scorer_of(study: Evaluate) -> Model:
    """Return the model that scores warmth: the one chosen, else the model itself, else (only an API
    has it) the embedded one.

    Raises:
        UserError: `warmth.scorer` names no model that can be loaded here.
    """
    name = study.warmth.scorer or ("smollm2" if study.model.kind == "api" else None)
    return named_model(name, "warmth.scorer") if name else study.model


def refuse_missing_scorer(study: Evaluate) -> None:
    """Check, before the first answer is asked and paid for, that the model that scores warmth can
    be had.

    Raises:
        UserError: its weights are neither here nor at the hub.
    """
    if not study.warmth.prompts:
        return
    scorer = scorer_of(study)
    if not are_weights_there(scorer):
        named = (
            f"warmth.scorer={study.warmth.scorer}"
            if study.warmth.scorer
            else f"warmth.scorer=null, {scorer.name},"
        )
        raise UserError(
            f"{named} cannot be loaded: its weights are not on this machine and the hub does not "
            f"give them; "
            "choose warmth.scorer=smollm2, or warmth.prompts=0 for no warmth score"
        )


def scored_by_engine(study: Evaluate, engine: Engine) -> bool:
    """Say whether the engine that answers scores warmth as well, because the scorer is the model
    that it holds.

    Raises:
        UserError: the variant needs what only a model in this process gives.
    """
    if not (study.warmth.prompts and engine.scores and scorer_of(study) == study.model):
        return False
    if study.warmth.variant != "deterministic":
        raise UserError(
            f"warmth.variant={study.warmth.variant} scores padding as well, which "
            f"engine={engine.family} cannot; "
            "set warmth.variant=deterministic, or another warmth.scorer= such as gpt2, or "
            "warmth.prompts=0"
        )
    return True


def task_identity(task: Task) -> dict[str, Any]:
    """Return a task's settings with a local file by its content."""
    values = plain(task)
    path = file_of(task)
    if path is not None:
        del values["source"], values["config"], values["split"], values["revision"]
        values["path"] = path_digest(path)
    if task.wrong.startswith(FILE):
        values["wrong"] = {"file": path_digest(Path(task.wrong.removeprefix(FILE)))}
    return values


def folder_of(study: Evaluate) -> Path:
    """Return where this evaluation's rows are, or will be; a finished one is found without its
    training.

    Raises:
        UserError: the adapter it needs has not been trained, or a file that is named does not
        exist.
    """
    study = from_run(study)
    try:
        arm = find_arm(study)
    except NotTrained as missing:
        finished = _finished_folder(study)
        if finished is None:
            raise missing
        return finished
    return run_folder(study, "evaluate", evaluation_digest(study, arm))


def _finished_folder(study: Evaluate) -> Path | None:
    try:
        folder = run_folder(study, "evaluate", evaluation_digest(study, expected_arm(study)))
    except NotTrained:  # the set with its held-out prompts is gone as well
        return None
    return folder if Run(folder).done else None


def expected_arm(study: Evaluate) -> Arm:
    """Describe the tuned arm that a config will have once it is trained, as far as its evaluation's
    digest needs it.
    """
    recipe = study.recipe
    checkpoints = {recipe.epochs}
    for epochs in recipe.checkpoints:
        if epochs <= recipe.epochs:
            checkpoints.add(epochs)
    default = recipe.report_checkpoint if recipe.report_checkpoint in checkpoints else recipe.epochs
    checkpoint = default if study.checkpoint is None else study.checkpoint
    return Arm(
        name=recipe.name,
        model=study.model,
        adapter=None,
        training=None,
        checkpoint=None if recipe.method in ("none", "steer") else checkpoint,
        dose=study.dose,
        strength=recipe.strength,
        seed=study.seed,
        system_prompt=None,
    )
