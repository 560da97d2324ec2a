"""Plans that are fixed before the answers, their seals, and what departs from them.

Freezing a plan seals it: digest, time and commit are written beside it. Whether it was sealed
before the answers of a report's runs is `standing.py`'s subject.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from warmth.analysis.rows.arm_names import (
    FINE_TUNED,
    STEERED,
    arm_order,
    kind_of_arm,
    settings_in,
    written_as_named,
)
from warmth.analysis.rows.task_keys import pooled
from warmth.digest import digest
from warmth.entries import entry_files
from warmth.errors import UserError
from warmth.store import FIRST_ANSWER, collect_provenance, read_json, write_json, written_commit
from warmth.types import BELIEFS, Finish

if TYPE_CHECKING:
    import pandas as pd

# What becomes of a refusal, whatever `analysis.refused` says of it.
OUTCOMES = {"dropped": "wrong_dropped", "wrong": "wrong_strict", "right": "wrong_lenient"}
DIRECTIONS = ("more", "less", "different", "equivalent")
# keys whose single name may stand without brackets, and the column that holds such names
NAMES = {
    "tasks": "task",
    "contexts": "context",
    "beliefs": "belief",
    "models": "model",
    "graders": "grader",
}
# values of a difference's column `family`
GROUPINGS = ("overall", "task", "context", "belief", "condition")
# what may set an arm of each kind apart from the plain one, see `arm_names`
SETTINGS_OF_KIND = {
    FINE_TUNED: ("strength", "dose", "epoch"),
    STEERED: ("strength", "dose"),
}
FAMILY = ("family", "model", "arm", "task", "context", "belief")
LATEST = 2.5e11  # seconds since 1970: the year 9892, before the last date there is
EXCLUSIONS = ("model", "task", "context", "belief", "question_id", "grader", "finish")


@dataclass(frozen=True)
class Hypothesis:
    """One claim of an arm's error against a reference's: more, less, different or equivalent."""

    name: str
    arm: str
    reference: str = "original"
    direction: str = "more"


@dataclass(frozen=True)
class Preregistration:
    """What a pre-registration file holds; every key may be left out but the first two."""

    hypotheses: tuple[Hypothesis, ...]
    estimand: str  # in words: which difference, over which questions and conditions
    # `families.Family.where`, of all differences
    family: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # answers that no hypothesis is tested on
    exclusions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
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


def read_plan(path: Path) -> Preregistration:
    """Read a plan from YAML.

    Raises:
        UserError: the file is missing, not YAML, has an unknown key, or lacks hypotheses or the
            estimand.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    refuse_missing(path)
    try:
        body = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {error}") from error
    return parse_plan(body, str(path))


def refuse_missing(path: Path) -> None:
    """Check that a plan's file is there.

    Raises:
        UserError: it is not.
    """
    if not path.exists():
        raise UserError(f"preregister={path} does not exist")
    if not path.is_file():
        raise UserError(f"preregister={path} is not a file")


def parse_plan(body: Any, where: str) -> Preregistration:
    """Make a plan from plain values; see `read_plan`."""
    if not isinstance(body, dict):
        raise UserError(f"{where} holds no keys; needed are hypotheses and estimand")
    known = {key.name for key in fields(Preregistration)}
    unknown = sorted(set(map(str, body)) - known)
    if unknown:
        raise UserError(f"{where}: unknown key {unknown[0]}; allowed: {', '.join(sorted(known))}")
    for name in ("hypotheses", "estimand"):
        if not body.get(name):
            raise UserError(f"{where} must state {name}")
    allowed = {"correction": ("holm", "bh"), "refusals": tuple(OUTCOMES)}
    for name, values in allowed.items():
        if body.get(name, values[0]) not in values:
            raise UserError(
                f"{where}: {name}={body[name]} is not allowed; choose from: {', '.join(values)}"
            )
    for name in ("seeds", "questions"):
        value = body.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise UserError(f"{where}: {name}={value} is not a whole number of 0 or more")
    margin = body.get("margin_points")  # a frozen plan that states none says None
    if margin is not None and not _is_margin(margin):
        raise UserError(f"{where}: margin_points={margin} must be a number above 0, at most 100")
    try:
        values: dict[str, Any] = {}
        for key, value in body.items():
            is_list = isinstance(value, list) or key in NAMES
            values[key] = _names(value) if is_list else value
        values["hypotheses"] = _hypotheses(body["hypotheses"], where)
        values["family"] = _columns(body, "family", FAMILY, where)
        values["exclusions"] = _columns(body, "exclusions", EXCLUSIONS, where)
        return Preregistration(**values)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {error}") from error


def _hypotheses(stated: Any, where: str) -> tuple[Hypothesis, ...]:
    """Return the hypotheses of a plan, from plain values.

    Raises:
        UserError: they are no list of mappings, one lacks a key or has an unknown one, a value is
            no text, a direction is unknown, or two have the same name, by which a line of the
            report says what it is about.
    """
    if not isinstance(stated, list):
        raise UserError(
            f"{where}: hypotheses={stated} must be a list, as [{{name: main, arm: warm}}]"
        )
    allowed = [key.name for key in fields(Hypothesis)]
    claims: dict[str, Hypothesis] = {}
    for number, entry in enumerate(stated, 1):
        place = f"{where}: hypothesis {number}"
        if not isinstance(entry, Mapping):
            raise UserError(f"{place}={entry} must name its keys, as {{name: main, arm: warm}}")
        for key, value in entry.items():
            if key not in allowed:
                raise UserError(f"{place}: unknown key {key}; allowed: {', '.join(allowed)}")
            if not isinstance(value, str | int | float) or value == "":
                raise UserError(f"{place}: {key}={value} must be one name, as text")
        for key in ("name", "arm"):
            if key not in entry:
                raise UserError(f"{place} must state {key}")
        claim = Hypothesis(**{key: str(value) for key, value in entry.items()})
        if claim.direction not in DIRECTIONS:
            raise UserError(
                f"{place}: direction={claim.direction} is not allowed; choose from: "
                f"{', '.join(DIRECTIONS)}"
            )
        if claim.name in claims:
            raise UserError(
                f"{place}: name={claim.name} is another "
                "hypothesis's too; give each a name of its own"
            )
        claims[claim.name] = claim
    return tuple(claims.values())


def _is_margin(value: Any) -> bool:
    """Tell whether a value is a finite number of percentage points above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and 0 < value <= 100


def _names(value: Any) -> tuple[str, ...]:
    """Read one name, or a list of names, as texts; none for null."""
    if value is None:
        return ()
    if isinstance(value, list):
        return tuple(map(str, value))
    return (str(value),)


def _columns(
    body: Mapping[str, Any], name: str, allowed: tuple[str, ...], where: str
) -> dict[str, tuple[str, ...]]:
    """Read a key that names columns with their values.

    Raises:
        UserError: it is no mapping, or a column or a grouping is unknown.
    """
    stated = body.get(name) or {}
    if not isinstance(stated, dict):
        raise UserError(
            f"{where}: {name}={stated} must name columns with their values, as {{context: [sad, "
            f"anger]}}"
        )
    unknown = sorted(set(map(str, stated)) - set(allowed))
    if unknown:
        raise UserError(
            f"{where}: {name}: unknown column {unknown[0]}; allowed: {', '.join(allowed)}"
        )
    columns = {key: _names(value) for key, value in stated.items()}
    unknown = sorted(set(columns.get("family", ())) - set(GROUPINGS))
    if unknown:
        raise UserError(
            f"{where}: {name}: family={unknown[0]} is not allowed; choose from: "
            f"{', '.join(GROUPINGS)}"
        )
    return columns


@dataclass(frozen=True)
class PlanNames:
    """Names that a plan may use beside the entries of conf/: those of one evaluation."""

    arms: frozenset[str] = frozenset()
    tasks: frozenset[str] = frozenset()
    contexts: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    graders: frozenset[str] = frozenset()
    # task → ids; of these tasks alone
    questions: Mapping[str, frozenset[str]] = field(default_factory=dict)


def check_plan_names(plan: Preregistration, where: str, names: PlanNames = PlanNames()) -> None:
    """Check that all that a plan names could be there: arms, tasks, contexts, questions and so on.

    Raises:
        UserError: a name matches nothing, no recipe makes an arm of that name, or a hypothesis
            compares an arm with itself.
    """
    for claim in plan.hypotheses:
        if claim.arm == claim.reference:
            raise UserError(f"{where}: hypothesis {claim.name} compares {claim.arm} with itself")
    known: dict[str, set[str]] = {
        "arm": {"original", *entry_files("recipe"), *names.arms} - {"none"},
        "task": {*entry_files("task"), *names.tasks},
        "context": {*entry_files("condition"), *names.contexts} - {"all"},
        "belief": {*map(str, BELIEFS)},
        "model": {*entry_files("model"), *names.models},
        "grader": {*entry_files("grader"), *names.graders},
        "finish": set(get_args(Finish)),
        "family": set(GROUPINGS),
    }
    planned_tasks = set(plan.tasks or names.questions)
    if planned_tasks and planned_tasks <= set(names.questions):
        known["question_id"] = set().union(*(names.questions[task] for task in planned_tasks))
    for key, column, values in _named(plan):
        if column not in known:
            continue
        for value in values:
            if not _matches(value, column, known[column]):
                shown = "ids of the questions asked"
                if column != "question_id":
                    shown = ", ".join(sorted(known[column])[:40])
                raise UserError(f"{where}: {key}={value} matches nothing; there are: {shown}")
            fault = arm_fault(value, names.arms) if column == "arm" else ""
            if fault:
                raise UserError(f"{where}: {key}={value} is an arm that no recipe makes: {fault}")


def _named(plan: Preregistration) -> Iterable[tuple[str, str, tuple[str, ...]]]:
    """Yield the names in a plan: the key, the column that holds such names, and the names."""
    for claim in plan.hypotheses:
        yield f"hypothesis {claim.name}: arm", "arm", (claim.arm,)
        yield f"hypothesis {claim.name}: reference", "arm", (claim.reference,)
    for key, column in NAMES.items():
        yield key, column, getattr(plan, key)
    for key in ("family", "exclusions"):
        for column, values in getattr(plan, key).items():
            yield f"{key}: {column}", column, values


def _matches(value: str, column: str, allowed: set[str]) -> bool:
    """Tell whether a name is known: of an arm its recipe, of a grader its entry.

    A hub's model is not looked up.
    """
    if value in allowed:
        return True
    if column == "arm":
        recipe = value.partition(",")[0]  # what follows is a dose, strength or checkpoint
        return recipe in allowed or all(end in allowed for end in recipe.split("-"))
    if column == "grader":
        return value.partition(":")[0] in allowed
    return column == "model" and "--" in value


def arm_fault(arm: str, evaluated: Iterable[str] = ()) -> str:
    """Say why no recipe makes an arm of this name; "" if one can.

    Args:
        arm: its name, whose recipe is known.
        evaluated: arms that an evaluation has.
    """
    recipe = arm.partition(",")[0]
    if arm in evaluated or arm == recipe:
        return ""
    if written_as_named(arm) != arm:
        return (
            "after the recipe's name stand strength, dose and epoch in this order, each with a "
            "number and only if it is not the plain arm's, as warm, dose 0.5"
        )
    allowed = settings_of_recipe(recipe)
    for setting in settings_in(arm):
        if setting not in allowed:
            return f"{recipe} has no {setting} of its own"
    strength = arm_order(arm).strength
    if not 0 <= strength <= 1:
        return f"a strength of {strength:g} is not between 0 and 1"
    return ""


def settings_of_recipe(recipe: str) -> tuple[str, ...]:
    """List what may set an arm of a recipe apart: a tuned one has a strength, a dose and epochs."""
    files = entry_files("recipe")
    if recipe not in files:  # two ends with a dash between, of `dose_between`; or the original
        return () if recipe == "original" else ("strength", "dose", "epoch")
    import yaml

    entry = yaml.safe_load(files[recipe].read_text(encoding="utf-8")) or {}
    kind = kind_of_arm({"recipe": {**entry, "name": recipe}})
    return SETTINGS_OF_KIND.get(kind, ())


@dataclass(frozen=True)
class Seal:
    """When and at which commit a plan was frozen."""

    digest: str  # of the plan
    time: float | None  # seconds since 1970; None: a frozen file without one
    commit: str
    stamp: str  # SHA-256 of the three; publish it, and nobody can date the plan back

    @property
    def date(self) -> str:
        """Write the time as people read it."""
        return date(self.time)

    def line(self, file: str) -> str:
        """Write a line to publish, in a pull request or an OSF note."""
        return (
            f"{file} sealed {self.date} at commit {self.commit}, "
            f"plan {self.digest}, seal {self.stamp}"
        )


def date(seconds: float | None) -> str:
    """Write a time in UTC, to the minute; "at an unknown time" if there is none."""
    if seconds is None:
        return "at an unknown time"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def stamp_of(plan_digest: str, seconds: float | None, commit: str) -> str:
    """Return the SHA-256 that binds a plan's digest to its time and commit."""
    text = json.dumps([plan_digest, seconds, commit], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def freeze(path: Path, names: PlanNames = PlanNames()) -> str:
    """Write `<file>.frozen.json` beside a plan; a frozen plan stays as it is.

    The file holds the plan, its digest, the time and the commit.

    Returns:
        the plan's digest.

    Raises:
        UserError: the plan names what is not there, was frozen before and has changed since, or its
            frozen copy was edited.
    """
    return seal_plan(path, names).digest


def seal_plan(path: Path, names: PlanNames = PlanNames()) -> Seal:
    """Freeze a plan as `freeze` does, and return its seal."""
    plan = read_plan(path)
    target = frozen_path(path)
    if target.exists():
        before, sealed = opened(target)
        if before != plan:
            changed = digest(asdict(plan))
            raise UserError(
                f"{path} was frozen as {sealed.digest} and has "
                f"changed to {changed}; restore it or start a new file"
            )
        return sealed
    check_plan_names(plan, str(path), names)
    plan_digest = digest(asdict(plan))
    now = time.time()
    commit = written_commit(collect_provenance())
    stamp = stamp_of(plan_digest, now, commit)
    body = {
        "digest": plan_digest,
        "time": now,
        "date": date(now),
        "commit": commit,
        "seal": stamp,
        "plan": asdict(plan),
    }
    write_json(target, body)
    return Seal(plan_digest, now, commit, stamp)


def frozen_path(path: Path) -> Path:
    """Return where the frozen copy of a plan lies."""
    return path.with_name(f"{path.name}.frozen.json")


def thaw(path: Path) -> tuple[Preregistration, Seal]:
    """Read the frozen plan and its seal, checked against each other.

    Raises:
        UserError: the plan was never frozen, or its frozen copy was edited or emptied.
    """
    target = frozen_path(path)
    refuse_missing(path)
    if not target.exists():
        raise UserError(
            f"{path} was not frozen before the answers; freeze it first (warmth seal {path})"
        )
    return opened(target)


def opened(target: Path) -> tuple[Preregistration, Seal]:
    """Read a frozen file.

    Raises:
        UserError: it is missing, emptied, or not what its digest and seal say.
    """
    if target.exists() and not target.read_bytes().strip():
        raise UserError(f"{target} was emptied: it holds no plan")
    return checked_plan(read_json(target), target)


def checked_plan(body: Any, where: Path) -> tuple[Preregistration, Seal]:
    """Check a frozen plan against its digest and seal.

    Raises:
        UserError: the plan is not what the digest says, the time or commit not what the seal says,
            or the time is no time.
    """
    if not isinstance(body, Mapping) or not body.get("plan"):
        raise UserError(f"{where} was emptied: it holds no plan")
    plan = parse_plan(body["plan"], str(where))
    if digest(body["plan"]) != body.get("digest"):  # as written: a plan may be older than a key
        raise UserError(f"{where} was edited: its plan is not what the digest says")
    seconds = body.get("time")
    if not (seconds is None or _is_time(seconds)):
        raise UserError(
            f"{where} was edited: time={str(seconds)[:60]} must be a number of seconds since 1970"
        )
    plan_digest = str(body["digest"])
    commit = str(body.get("commit") or "unknown")
    sealed = Seal(plan_digest, seconds, commit, stamp_of(plan_digest, seconds, commit))
    stamp = None if seconds is None else sealed.stamp  # a file without a time proves nothing
    if body.get("seal") != stamp:
        raise UserError(f"{where} was edited: its time and commit are not what the seal says")
    return plan, sealed


def _is_time(value: Any) -> bool:
    """Tell whether a value is a time, in seconds since 1970, that a date can be made of."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value < LATEST


def attached_path(run_folder: Path) -> Path:
    """Return where a run keeps the plan that it was made under."""
    return run_folder / "preregistration.json"


def attach(file: str | None, run_folder: Path, names: PlanNames = PlanNames()) -> None:
    """Freeze the plan in a file and copy it into a run before its first answer.

    Nothing is frozen if that is too late.

    Raises:
        UserError: see `freeze`; or the run was made under another plan, or already has answers
            without any.
    """
    if file is None:
        return
    path = Path(file)
    target = attached_path(run_folder)
    if target.exists():
        plan, attached = opened(target)
        if read_plan(path) != plan:
            raise UserError(f"{run_folder} was made under another pre-registration than {file}")
        if not frozen_path(path).exists():
            raise UserError(
                f"{frozen_path(path)} is missing, though "
                f"{run_folder} was made under it; copy {target} there"
            )
        if thaw(path)[1] != attached:
            raise UserError(
                f"{frozen_path(path)} is not the one that "
                f"{run_folder} was made under: its seal differs"
            )
        return
    if has_older_answers(run_folder, path):
        raise UserError(
            f"{run_folder} holds answers that are older than the pre-registration {file}"
        )
    seal_plan(path, names)
    write_json(target, read_json(frozen_path(path)))


def has_older_answers(run_folder: Path, path: Path) -> bool:
    """Tell whether a run has answers that are not shown to be younger than a plan's seal."""
    noted = run_folder / FIRST_ANSWER
    if not noted.exists():
        return any(run_folder.glob("answers*"))
    if not frozen_path(path).exists():
        return True
    _, sealed = thaw(path)
    return sealed.time is None or float(read_json(noted)["time"]) <= sealed.time


def excluded_answers(plan: Preregistration, answers: pd.DataFrame) -> pd.Series:
    """Mark the answers a plan excludes: those with a stated value in any of the stated columns."""
    import pandas as pd

    is_excluded = pd.Series(False, index=answers.index)
    for column, values in plan.exclusions.items():
        is_excluded |= answers[column].astype(str).isin(values)
    return is_excluded


def selected(plan: Preregistration, answers: pd.DataFrame) -> pd.DataFrame:
    """Return the answers that a plan is about, right and wrong as it counts refusals."""
    rows = answers if plan.tasks else pooled(answers)  # a plan that names benchmarks means them
    for key in ("tasks", "contexts", "beliefs", "models"):
        planned = getattr(plan, key)
        if planned:
            rows = rows[rows[NAMES[key]].isin(planned)]
    return rows.assign(wrong=rows[OUTCOMES[plan.refusals]])


def deviations(
    plan: Preregistration,
    answers: pd.DataFrame,
    margin_points: float,
    correction: str,
    refused: str = "dropped",
) -> list[str]:
    """List what an analysis does otherwise than its plan said; empty if nothing departs.

    Args:
        plan: from `thaw`.
        answers: columns of `frames.load_rows`.
        margin_points: of every table but the hypotheses', which keep to the plan's.
        correction: holm or bh, as used.
        refused: `analysis.refused`; again the hypotheses keep to the plan's.
    """
    lines = []
    is_excluded = excluded_answers(plan, answers)
    included = answers[~is_excluded]
    for key, column in NAMES.items():
        planned = set(getattr(plan, key))
        if not planned:
            continue
        present = set(included[column].astype(str)) if column in included else set()
        if planned - present:
            lines.append(f"{key}: planned but not there: {', '.join(sorted(planned - present))}")
        if present - planned:
            lines.append(f"{key}: there but not planned: {', '.join(sorted(present - planned))}")
    if is_excluded.any():
        lines.append(
            f"exclusions: {int(is_excluded.sum())} answers are "
            "left out of the hypotheses alone, not of other tables"
        )
    for column, values in plan.family.items():
        if column in answers:
            missing = sorted(set(values) - set(answers[column].astype(str)))
            if missing:
                lines.append(f"family: planned but not there: {column} {', '.join(missing)}")
    arms = set(answers["arm"])
    for claim in plan.hypotheses:
        missing = sorted({claim.arm, claim.reference} - arms)
        if missing:
            lines.append(f"hypothesis {claim.name}: no answers of {', '.join(missing)}")
    lines += departing_counts(plan, answers)
    if plan.refusals != refused:
        lines.append(
            f"refusals: {plan.refusals} in the hypotheses "
            f"alone, as planned, {refused} in other tables"
        )
    if plan.margin_points is not None and plan.margin_points != margin_points:
        lines.append(
            f"margin: {plan.margin_points:g} points in the hypotheses alone, as planned, "
            f"{margin_points:g} in other tables"
        )
    if plan.correction != correction:
        lines.append(f"correction: {plan.correction} planned, {correction} used")
    return lines


def departing_counts(plan: Preregistration, answers: pd.DataFrame) -> list[str]:
    """Say if other numbers of questions or training seeds were used than planned."""
    lines = []
    planned = answers[answers["task"].isin(plan.tasks)] if plan.tasks else answers
    questions = len(planned[["task", "question_id"]].drop_duplicates())
    if plan.questions and len(planned) and questions != plan.questions:  # none at all: said above
        lines.append(f"questions: {plan.questions} planned, {questions} asked")
    trained = answers[answers["arm"].ne("original")]
    seeds = int(trained["seed"].nunique())
    if len(trained) and seeds != plan.seeds:
        lines.append(f"training seeds: {plan.seeds} planned, {seeds} there")
    return lines
