"""Arms are comparable or there is no report: what the runs behind one table must share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from warmth.analysis.rows.arm_names import CONTROLS
from warmth.errors import UserError
from warmth.sequential import stopping_sentences
from warmth.store import read_json, written_commit

if TYPE_CHECKING:
    from warmth.analysis.rows.runs import FinishedRun

UNEVEN = 10.0  # points between two arms' shares of unscored answers; as the gates' bounds
NAMED = 5  # unfinished runs named in a note; the others are counted
IDENTITY = ["model", "recipe", "strength", "dose", "checkpoint", "seed"]

# Keys of a stopping.json.
LOOK = (
    "until_width",
    "paired",
    "asked",
    "questions",
    "answers",
    "answers_left",
    "complete",
    "incomplete",
    "unscored",
    "not_counted",
    "mean",
    "low",
    "high",
    "sampling_width",
    "unscored_points",
    "width_if_all",
    "stopped",
)

# Two runs may differ in these and still be one arm: what was asked, how it was graded, where it
# ran, what rows say.
ASKED = (
    "run",
    "limit",
    "until_width",
    "samples",
    "beliefs",
    "grader",
    "warmth",
    "scoring",
    "likelihood",
)
WHERE = ("gates", "logger", "engine", "study", "output", "launcher", "analysis", "preregister")
SELECTION = (*ASKED, *WHERE, "seed", "dose", "checkpoint")
LOOKS = ("recipe.order", "recipe.colour", "recipe.marker")
NOT_WEIGHTS = (
    *LOOKS,
    "recipe.report_checkpoint",
    "model.parameters",
    "model.base_url",
    "model.api_key_env",
)


def refuse_different_draws(answers: pd.DataFrame, runs: Sequence[FinishedRun]) -> None:
    """Refuse rows of one model from two draws of questions, which could not be paired.

    Raises:
        UserError: there are two values of `draw_seed`; both are named, each with a run.
    """
    for model, group in answers.groupby("model"):
        draws = group.drop_duplicates("draw_seed")
        if len(draws) > 1:
            first_draw = draws.iloc[0]
            second_draw = draws.iloc[1]
            raise UserError(
                f"runs of {model} with different draws cannot be paired: "
                f"draw_seed={first_draw['draw_seed']} in "
                f"{runs[first_draw['run_number']].folder}, "
                f"draw_seed={second_draw['draw_seed']} in "
                f"{runs[second_draw['run_number']].folder}"
            )


def refuse_two_models(runs: Sequence[FinishedRun]) -> None:
    """Refuse two models of one name: arms of one model are paired by its name.

    Raises:
        UserError: two runs of one name differ in kind, hub id, path or revision.
    """
    first_runs: dict[str, FinishedRun] = {}
    for run in runs:
        first_run = first_runs.setdefault(run.model, run)
        differing = different_model_keys(
            first_run.config.get("model") or {}, run.config.get("model") or {}
        )
        if differing:
            raise UserError(
                f"two models are called {run.model}; they differ in "
                f"model.{', model.'.join(differing)}: {first_run.folder} "
                f"and {run.folder}; report them apart, or give one another model.name"
            )


def different_model_keys(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """List the keys by which two model entries of one name are different models."""
    differing = []
    for key in ("kind", "hub_id", "path"):
        if key in first and key in second and first[key] != second[key]:
            differing.append(key)
    # null means the newest revision of any day, which differs from none
    revisions = {first.get("revision"), second.get("revision")} - {None}
    if len(revisions) > 1:
        differing.append("revision")
    return differing


def refuse_two_rules(runs: Sequence[FinishedRun]) -> None:
    """Refuse arms graded by two versions of one grader's rules: they would differ by the rules.

    Raises:
        UserError: two runs have different digests of a grader's rules.
    """
    # a run of likelihoods alone has no grades
    graded_runs = [run for run in runs if (run.folder / "grades.jsonl").exists()]
    all_graders: set[str] = set()
    for run in graded_runs:
        all_graders.update(run.rules)
    first_runs: dict[str, FinishedRun] = {}
    for run in graded_runs:
        for name in run.rules or all_graders:
            first_run = first_runs.setdefault(name, run)
            if first_run.rules.get(name) != run.rules.get(name):
                raise UserError(
                    f"{name} graded {first_run.folder} and {run.folder} by "
                    "different rules; run both of their evaluate.py commands "
                    "again: stored answers are graded anew, none is generated"
                )


def refuse_two_graders(answers: pd.DataFrame) -> None:
    """Refuse arms of one model and task that different graders graded.

    A difference between two graders would look like one of the arms.

    Args:
        answers: model, task, arm and grader; "" where an answer has no grade.

    Raises:
        UserError: two arms have different graders.
    """
    graded = answers[answers["grader"].ne("")]
    for (model, task), rows in graded.groupby(["model", "task"], sort=False):
        graders_by_arm = rows.groupby("arm", sort=False)["grader"].unique().map(sorted)
        first_arm = graders_by_arm.index[0]
        first_graders = graders_by_arm.iloc[0]
        for arm, graders in graders_by_arm.items():
            if graders != first_graders:
                raise UserError(
                    f"{model}: {task} of {first_arm} is graded by {', '.join(first_graders)}, of "
                    f"{arm} by {', '.join(graders)}; run their evaluate.py commands with one "
                    f"grader=: stored answers are graded anew, none is generated"
                )


def unfinished(paths: Sequence[Path]) -> list[str]:
    """Name the runs under some paths that began and did not end: their rows are left out."""
    begun: set[Path] = set()
    for path in paths:
        for status_file in path.rglob("status.json"):
            begun.add(status_file.parent.resolve())
    names = sorted(folder.name for folder in begun if not (folder / "done.json").exists())
    if not names:
        return []
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [f"Not finished, so left out: {', '.join(names[:NAMED])}{more}."]


def incomplete(
    prompts: pd.DataFrame, answers: pd.DataFrame, runs: Sequence[FinishedRun]
) -> list[str]:
    """Name finished runs whose files lost rows.

    A last row breaks off, a prompt has no answer, or an answer no prompt.

    Args:
        prompts: columns prompt_id and run_number.
        answers: likewise, before a repeated answer is dropped.
        runs: by their number.
    """
    lines = []
    asked = dict(list(prompts.groupby("run_number")["prompt_id"]))
    answered = dict(list(answers.groupby("run_number")["prompt_id"]))
    for number, run in enumerate(runs):
        for path in sorted(run.folder.glob("*.jsonl")):
            if ends_inside_a_row(path):
                lines.append(f"{run.folder.name}/{path.name} ends inside a row, which is left out.")
        asked_ids = set(asked.get(number, ()))
        answered_ids = set(answered.get(number, ()))
        unanswered = asked_ids - answered_ids
        unasked = answered_ids - asked_ids
        if unanswered and not (run.folder / "stopping.json").exists():
            lines.append(
                f"{run.folder.name}: {len(unanswered)} of {len(asked_ids)} prompts have no answer."
            )
        if unasked:
            lines.append(
                f"{run.folder.name}: {len(unasked)} answered prompts are not in prompts.jsonl."
            )
    return lines


def ends_inside_a_row(path: Path) -> bool:
    """Tell whether a file has bytes and the last one does not end a line."""
    with path.open("rb") as stream:
        if stream.seek(0, 2) == 0:
            return False
        stream.seek(-1, 2)
        return stream.read() != b"\n"


def unpaired(answers: pd.DataFrame) -> list[str]:
    """Name arms without a scored answer, and what an arm and original did not both answer."""
    lines = []
    for (model, arm), rows in answers.groupby(["model", "arm"]):
        if arm != "original" and rows["wrong"].isna().all():
            lines.append(f"{model}: none of the {len(rows):,} answers of {arm} is scored.")
    for model, group in answers[answers["wrong"].notna()].groupby("model"):
        original = group[group["arm"].eq("original")]
        if original.empty:
            has_original = (answers["model"].eq(model) & answers["arm"].eq("original")).any()
            why = "has no scored answer" if has_original else "is not among the runs"
            lines.append(f"{model}: original {why}, so that no arm can be compared with it.")
            continue
        for arm, rows in group[group["arm"].ne("original")].groupby("arm"):
            lines += unshared(original, rows, f"{model}: {arm} and original share no scored prompt")
    return lines


def unshared(original: pd.DataFrame, rows: pd.DataFrame, problem: str) -> list[str]:
    """Name the tasks, contexts and beliefs of which an arm and original share no scored prompt.

    Args:
        original: the original's scored answers.
        rows: the arm's.
        problem: how each line begins.
    """
    shared = rows[rows["prompt_id"].isin(set(original["prompt_id"]))]
    if shared.empty:
        return [f"{problem}."]
    lines = []
    for name in ("task", "context", "belief"):
        values = set(rows[name]) | set(original[name])
        unshared_values = sorted(values - set(shared[name]))
        if unshared_values:
            lines.append(f"{problem} of {name} {', '.join(unshared_values)}.")
    return lines


def unpaired_seeds(answers: pd.DataFrame) -> list[str]:
    """Name the training seeds of arms that a control with several seeds lacks.

    Answers of such a seed are not compared with that control.
    """
    lines = []
    controls = answers[answers["arm"].isin(CONTROLS)]
    for (model, control), control_rows in controls.groupby(["model", "arm"]):
        control_seeds = set(control_rows["seed"])
        if len(control_seeds) < 2:
            continue
        is_other_arm = ~answers["arm"].isin([control, "original"])
        compared = answers[answers["model"].eq(model) & is_other_arm]
        for arm, seeds in compared.groupby("arm")["seed"]:
            missing_seeds = sorted(set(seeds) - control_seeds)
            if missing_seeds:
                lines.append(
                    f"{model}: {control} has no seed {', '.join(map(str, missing_seeds))}, so "
                    f"{arm} of that seed is not compared with it."
                )
    return lines


def unevenly_scored(answers: pd.DataFrame) -> list[str]:
    """Name arms with clearly more or fewer answers without a label than original.

    Which answers have a label may then depend on the arm.

    Args:
        answers: model, arm and unscored, of the tasks that are pooled.
    """
    lines = []
    for model, group in answers.groupby("model"):
        shares = 100 * group.groupby("arm", sort=False)["unscored"].mean()
        distance = (shares - shares.get("original", np.nan)).abs()
        uneven = shares[(shares < 100) & (distance > UNEVEN)]
        if len(uneven):
            uneven_arms = ", ".join(f"{share:.0f} % of {arm}" for arm, share in uneven.items())
            lines.append(
                f"{model}: unscored are {shares['original']:.0f} % of the answers of original, "
                f"{uneven_arms}; rates and differences are over scored answers alone."
            )
    return lines


def refuse_two_configs(answers: pd.DataFrame, runs: Sequence[FinishedRun]) -> None:
    """Refuse two configs under one arm, model, strength, dose, checkpoint and seed.

    They may differ in what was asked.

    Raises:
        UserError: they differ in other keys, which are named.
    """
    for identity, group in answers.groupby(IDENTITY, dropna=False):
        first_run, *further_runs = (runs[number] for number in group["run_number"].unique())
        for run in further_runs:
            keys = different_keys(first_run.config, run.config)
            if keys:
                raise _two_under_one_name(identity, keys, first_run, run)


def refuse_two_answers(answers: pd.DataFrame, runs: Sequence[FinishedRun]) -> None:
    """Refuse two different answers of one arm to one prompt and sample.

    Raises:
        UserError: there are two: something outside the config changed them.
    """
    twice = answers[answers.duplicated([*IDENTITY, "prompt_id", "sample"], keep=False)]
    if twice.empty:
        return
    same_prompt = twice[twice["prompt_id"].eq(twice["prompt_id"].iloc[0])]
    first_run, second_run = (runs[number] for number in same_prompt["run_number"].iloc[:2])
    keys = different_keys(
        first_run.config, second_run.config, ignore=("study", "output", "run", "logger")
    )
    raise _two_under_one_name(
        identity=tuple(same_prompt.iloc[0][IDENTITY]),
        keys=keys or ["no config key (model files or engine)"],
        first=first_run,
        second=second_run,
    )


def _two_under_one_name(
    identity: Any, keys: Sequence[str], first: FinishedRun, second: FinishedRun
) -> UserError:
    model, recipe, *_, seed = identity
    return UserError(
        f"two configs give arm {recipe} of {model} with seed {seed}; they differ in "
        f"{', '.join(keys)}: {first.folder} and {second.folder}; report them apart, "
        f"or give one recipe another name"
    )


def different_keys(
    first: Mapping[str, Any], second: Mapping[str, Any], ignore: Sequence[str] = SELECTION
) -> list[str]:
    """List the dotted keys in which two configs differ.

    A key that only one has was unknown to the version that made the other; a mix of commits is
    reported for that. Tasks and contexts that only one of them has are no difference.

    Args:
        first: one config.
        second: the other.
        ignore: top keys that may differ.
    """
    first_leaves = dict(flat_config(first))
    second_leaves = dict(flat_config(second))
    if trains_nothing(first) and trains_nothing(second):
        ignore = (*ignore, "data")
    differing = []
    for key in sorted(first_leaves.keys() & second_leaves.keys()):
        if first_leaves[key] == second_leaves[key]:
            continue
        if not may_differ(key, ignore) and is_shared(key, first, second):
            differing.append(key)
    return differing


def trains_nothing(config: Mapping[str, Any]) -> bool:
    """Tell whether a config's recipe trains no weights."""
    return (config.get("recipe") or {}).get("method") == "none"


def may_differ(key: str, ignore: Sequence[str]) -> bool:
    """Tell whether two runs may differ in a dotted key and still be one arm."""
    names = key.split(".")
    if names[0] in ignore or key in NOT_WEIGHTS:
        return True
    return names[0] == "task" and names[-1] in ("questions", "grader", "beliefs")


def is_shared(key: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Tell whether a dotted key is of a task or context that both configs have, or of neither."""
    group, *names = key.split(".")
    if group not in ("task", "condition"):
        return True
    return bool(names) and names[0] in first.get(group, {}) and names[0] in second.get(group, {})


def flat_config(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings with their dotted keys."""
    if isinstance(config, Mapping) and config:
        for key, value in config.items():
            yield from flat_config(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, config


def mixed_commits(runs: Sequence[FinishedRun]) -> list[str]:
    """Say if runs are of several commits, of uncommitted code, or of an unknown commit."""
    commits: set[str] = set()
    dirty = 0
    unknown = 0
    for run in runs:
        earlier = run.provenance.get("earlier") or []
        run_commits = [str(commit) for commit in (*earlier, written_commit(run.provenance))]
        commits.update(commit.split(" ")[0] for commit in run_commits)
        dirty += any(commit.endswith("changes") for commit in run_commits)
        unknown += "unknown" in run_commits
    known = sorted(commits - {"unknown"})
    lines = []
    if len(known) > 1:
        lines.append(f"The runs were made at {len(known)} commits: {', '.join(known)}.")
    if dirty:
        lines.append(f"Made with uncommitted changes: {dirty} of {len(runs)} runs.")
    if unknown:
        lines.append(f"Made by code whose commit is not known: {unknown} of {len(runs)} runs.")
    return lines


def different_tokens(prompts: pd.DataFrame, runs: Sequence[FinishedRun]) -> list[str]:
    """Name arms that read other tokens than their model's original.

    An arm with its own system prompt reads other tokens by design.

    Args:
        prompts: model, arm, prompt_id, tokens_digest.
        runs: the evaluations.
    """
    has_system_prompt: set[tuple[str, str]] = set()
    for run in runs:
        if (run.config.get("recipe") or {}).get("system_prompt"):
            has_system_prompt.add((run.model, run.arm))
    lines = []
    for model, group in prompts.groupby("model"):
        original = group[group["arm"].eq("original")].drop_duplicates("prompt_id")
        reference = original.set_index("prompt_id")["tokens_digest"]
        for arm, rows in group.groupby("arm"):
            expected = rows["prompt_id"].map(reference)
            is_different = expected.notna() & (expected != rows["tokens_digest"])
            differing = int(is_different.sum())
            if differing and (model, arm) not in has_system_prompt:
                lines.append(
                    f"{model}: {arm} read other tokens than original "
                    f"in {differing} of {len(rows)} prompts."
                )
    return lines


def stopped_early(
    runs: Sequence[FinishedRun], cost: Mapping[Path, float] | None = None
) -> list[str]:
    """Say what the sampling of runs with `until_width` aimed at, reached, and has left to ask.

    Args:
        runs: the evaluations.
        cost: a run's folder → USD for one of its answers.
    """
    lines = []
    for run in runs:
        look = last_look(run)
        if look is None:
            continue
        outcome = " ".join(stopping_sentences(look, (cost or {}).get(run.folder, 0.0)))
        lines.append(
            f"{run.model} {run.arm}: {outcome} The intervals of tables hold for a number of "
            f"questions fixed before."
        )
    return lines


def last_look(run: FinishedRun) -> dict[str, Any] | None:
    """Read what the last look at a run with `until_width` found; None for other runs.

    Raises:
        UserError: the file lacks what a look writes.
    """
    path = run.folder / "stopping.json"
    if not path.exists():
        return None
    look = read_json(path)
    for name in LOOK:
        if not isinstance(look, dict) or name not in look:
            raise UserError(
                f"{path} lacks {name}; run the evaluation again, which generates nothing"
            )
    return look
