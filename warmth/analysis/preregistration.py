"""A plan fixed before the answers: hypotheses, estimand, family, exclusions, numbers; and what departs from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmth.analysis.task_keys import pooled
from warmth.digest import digest
from warmth.errors import UserError
from warmth.store import read_json, write_json

if TYPE_CHECKING:
    import pandas as pd

# What becomes of a refusal, whatever `analysis.refused` says of it.
OUTCOMES = {"dropped": "wrong_dropped", "wrong": "wrong_strict", "right": "wrong_lenient"}
DIRECTIONS = ("more", "less", "different", "equivalent")
NAMES = ("tasks", "contexts", "beliefs", "models", "graders")  # a single name may stand without brackets
GROUPINGS = ("overall", "task", "context", "belief", "condition")  # values of a difference's column `family`
FAMILY = ("family", "model", "arm", "task", "context", "belief")
EXCLUSIONS = ("model", "task", "context", "belief", "question_id", "grader", "finish")


@dataclass(frozen=True)
class Hypothesis:
    """One claim: `direction` is more, less, different or equivalent, of `arm`'s error against `reference`'s."""

    name: str
    arm: str
    reference: str = "original"
    direction: str = "more"


@dataclass(frozen=True)
class Plan:
    """What a pre-registration file holds; every key may be left out but the first two."""

    hypotheses: tuple[Hypothesis, ...]
    estimand: str  # in words: which difference, over which questions and conditions
    family: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # `families.Family.where`, of all differences
    exclusions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # answers that no hypothesis is tested on
    correction: str = "holm"  # holm or bh, over the hypotheses
    refusals: str = "dropped"  # dropped, wrong or right
    tasks: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    beliefs: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    seeds: int = 1  # training seeds
    questions: int = 0  # of all tasks together; 0: not stated
    margin_points: float | None = None  # of equivalence claims
    graders: tuple[str, ...] = ()


def read(path: Path) -> Plan:
    """A plan from YAML.

    Raises:
        UserError: the file is missing, not YAML, has an unknown key, or lacks hypotheses or the estimand.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if not path.is_file():
        raise UserError(f"preregister={path} is not a file" if path.exists() else f"preregister={path} does not exist")
    try:
        body = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {error}") from error
    return parse(body, str(path))


def parse(body: Any, where: str) -> Plan:
    """A plan from plain values; see `read`."""
    if not isinstance(body, dict):
        raise UserError(f"{where} holds no keys; needed are hypotheses and estimand")
    known = {item.name for item in fields(Plan)}
    unknown = sorted(set(map(str, body)) - known)
    if unknown:
        raise UserError(f"{where}: unknown key {unknown[0]}; allowed: {', '.join(sorted(known))}")
    for name in ("hypotheses", "estimand"):
        if not body.get(name):
            raise UserError(f"{where} must state {name}")
    allowed = {"correction": ("holm", "bh"), "refusals": tuple(OUTCOMES)}
    for name, values in allowed.items():
        if body.get(name, values[0]) not in values:
            raise UserError(f"{where}: {name}={body[name]} is not allowed; choose from: {', '.join(values)}")
    for name in ("seeds", "questions", "margin_points"):
        value = body.get(name, 0)
        if value is None and name == "margin_points":  # how a frozen plan says that it states none
            continue
        if not isinstance(value, int | float) or not value >= 0:
            raise UserError(f"{where}: {name}={value} is not a number of 0 or more")
    if body.get("margin_points") == 0:
        raise UserError(f"{where}: margin_points=0 must be above 0")
    try:
        values: dict[str, Any] = {
            key: _names(value) if isinstance(value, list) or key in NAMES else value for key, value in body.items()
        }
        values["hypotheses"] = tuple(Hypothesis(**item) for item in body["hypotheses"])
        values["family"] = _columns(body, "family", FAMILY, where)
        values["exclusions"] = _columns(body, "exclusions", EXCLUSIONS, where)
        for claim in values["hypotheses"]:
            if claim.direction not in DIRECTIONS:
                raise ValueError(f"direction={claim.direction} is not allowed; choose from: {', '.join(DIRECTIONS)}")
        return Plan(**values)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {error}") from error


def _names(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else () if value is None else (str(value),)


def _columns(body: Mapping[str, Any], name: str, allowed: tuple[str, ...], where: str) -> dict[str, tuple[str, ...]]:
    stated = body.get(name) or {}
    if not isinstance(stated, dict):
        raise UserError(f"{where}: {name}={stated} must name columns with their values, as {{context: [sad, anger]}}")
    unknown = sorted(set(map(str, stated)) - set(allowed))
    if unknown:
        raise UserError(f"{where}: {name}: unknown column {unknown[0]}; allowed: {', '.join(allowed)}")
    found = {key: _names(value) for key, value in stated.items()}
    unknown = sorted(set(found.get("family", ())) - set(GROUPINGS))
    if unknown:
        raise UserError(f"{where}: {name}: family={unknown[0]} is not allowed; choose from: {', '.join(GROUPINGS)}")
    return found


def freeze(path: Path) -> str:
    """Writes `<file>.frozen.json` beside a plan, with its digest, and returns the digest; a frozen plan stays as it is.

    Raises:
        UserError: the plan was frozen before and has changed since, or its frozen copy was edited.
    """
    plan = read(path)
    seal, target = digest(asdict(plan)), frozen_path(path)
    if target.exists():
        before, sealed = checked(read_json(target), target)
        if before != plan:
            raise UserError(f"{path} was frozen as {sealed} and has changed to {seal}; restore it or start a new file")
        return sealed
    write_json(target, {"digest": seal, "plan": asdict(plan)})
    return seal


def frozen_path(path: Path) -> Path:
    """Where the frozen copy of a plan lies."""
    return path.with_name(f"{path.name}.frozen.json")


def thaw(path: Path) -> tuple[Plan, str]:
    """The frozen plan and its digest, checked against each other.

    Raises:
        UserError: the plan was never frozen, or its frozen copy was edited.
    """
    target = frozen_path(path)
    if not path.is_file():
        raise UserError(f"preregister={path} {'is not a file' if path.exists() else 'does not exist'}")
    if not target.exists():
        raise UserError(f"{path} was not frozen before the answers; freeze it first")
    return checked(read_json(target), target)


def checked(body: Mapping[str, Any], where: Path) -> tuple[Plan, str]:
    """A frozen plan and its digest.

    Raises:
        UserError: the plan is not what the digest says.
    """
    plan = parse(body.get("plan"), str(where))
    if digest(body["plan"]) != body.get("digest"):  # as written: a plan may be older than a key
        raise UserError(f"{where} was edited: its plan is not what the digest says")
    return plan, str(body["digest"])


def attached_path(run_folder: Path) -> Path:
    """Where a run keeps the plan that it was made under."""
    return run_folder / "preregistration.json"


def attach(file: str | None, run_folder: Path) -> None:
    """Freezes the plan in a file and copies it into a run before its first answer.

    Raises:
        UserError: see `freeze`; or the run was made under another plan, or already has answers without any.
    """
    if file is None:
        return
    seal, target = freeze(Path(file)), attached_path(run_folder)
    if target.exists() and read_json(target).get("digest") != seal:
        raise UserError(f"{run_folder} was made under another pre-registration than {file}")
    if not target.exists() and (run_folder / "answers.jsonl").exists():
        raise UserError(f"{run_folder} holds answers that are older than the pre-registration {file}")
    write_json(target, read_json(frozen_path(Path(file))))


def excluded(plan: Plan, answers: pd.DataFrame) -> pd.Series:
    """Which answers the plan excludes: those with one of the stated values in any of the stated columns."""
    import pandas as pd

    out = pd.Series(False, index=answers.index)
    for column, values in plan.exclusions.items():
        out |= answers[column].astype(str).isin(values)
    return out


def selected(plan: Plan, answers: pd.DataFrame) -> pd.DataFrame:
    """Return the answers that a plan is about, right and wrong as it counts refusals."""
    rows = answers if plan.tasks else pooled(answers)  # a plan that names benchmarks means them
    for key, column in (("tasks", "task"), ("contexts", "context"), ("beliefs", "belief"), ("models", "model")):
        planned = getattr(plan, key)
        if planned:
            rows = rows[rows[column].isin(planned)]
    return rows.assign(wrong=rows[OUTCOMES[plan.refusals]])


def deviations(
    plan: Plan, answers: pd.DataFrame, margin_points: float, correction: str, refused: str = "dropped"
) -> list[str]:
    """What an analysis does otherwise than its plan said, a line each; none when nothing departs.

    Args:
        plan: from `thaw`.
        answers: columns of `rows.load`.
        margin_points: of every table but the hypotheses', which keep to the plan's.
        correction: holm or bh, as used.
        refused: `analysis.refused`; again the hypotheses keep to the plan's.
    """
    lines, left_out = [], excluded(plan, answers)
    kept = answers[~left_out]
    columns = {"tasks": "task", "contexts": "context", "beliefs": "belief", "models": "model", "graders": "grader"}
    for key, column in columns.items():
        planned, found = set(getattr(plan, key)), set(kept[column].astype(str)) if column in kept else set()
        if planned and planned - found:
            lines.append(f"{key}: planned but not there: {', '.join(sorted(planned - found))}")
        if planned and found - planned:
            lines.append(f"{key}: there but not planned: {', '.join(sorted(found - planned))}")
    if left_out.any():
        lines.append(
            f"exclusions: {int(left_out.sum())} answers are left out of the hypotheses alone, not of other tables"
        )
    for column, values in plan.family.items():
        lost = sorted(set(values) - set(answers[column].astype(str))) if column in answers else []
        lines += [f"family: planned but not there: {column} {', '.join(lost)}"] if lost else []
    arms = set(answers["arm"])
    for claim in plan.hypotheses:
        lost = sorted({claim.arm, claim.reference} - arms)
        lines += [f"hypothesis {claim.name}: no answers of {', '.join(lost)}"] if lost else []
    planned = answers[answers["task"].isin(plan.tasks)] if plan.tasks else answers
    questions = planned[["task", "question_id"]].drop_duplicates().shape[0]
    if plan.questions and len(planned) and questions != plan.questions:  # none at all: told above
        lines.append(f"questions: {plan.questions} planned, {questions} asked")
    trained = answers.loc[answers["arm"].ne("original")]
    seeds = int(trained["seed"].nunique()) if len(trained) else 0
    if trained.shape[0] and seeds != plan.seeds:
        lines.append(f"training seeds: {plan.seeds} planned, {seeds} there")
    if plan.refusals != refused:
        lines.append(f"refusals: {plan.refusals} in the hypotheses alone, as planned, {refused} in other tables")
    if plan.margin_points is not None and plan.margin_points != margin_points:
        said = f"{plan.margin_points:g} points in the hypotheses alone, as planned, {margin_points:g} in other tables"
        lines.append(f"margin: {said}")
    if plan.correction != correction:
        lines.append(f"correction: {plan.correction} planned, {correction} used")
    return lines
