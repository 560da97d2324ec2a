"""Arms are comparable or there is no report: what finished runs must share before their rows stand
in one table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from warmth.analysis.rows.arm_names import CONTROLS
from warmth.errors import UserError
from warmth.sequential import sentences
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
)
LOOK += (
    "not_counted",
    "mean",
    "low",
    "high",
    "sampling_width",
    "unscored_points",
    "width_if_all",
    "stopped",
)  # keys of stopping.json

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
    """Rows of one model are paired, so they must come from one draw of questions, statements and
    wrong answers.
    """
    for model, group in answers.groupby("model"):
        first = group.drop_duplicates("draw_seed")
        if len(first) > 1:
            a, b = first.iloc[0], first.iloc[1]
            raise UserError(
                f"runs of {model} with different draws cannot be paired: "
                f"draw_seed={a['draw_seed']} in "
                f"{runs[a['run_number']].folder}, draw_seed={b['draw_seed']} in "
                f"{runs[b['run_number']].folder}"
            )


def refuse_two_models(runs: Sequence[FinishedRun]) -> None:
    """Arms of one model are paired by its name, so that the name must mean one model."""
    first: dict[str, FinishedRun] = {}
    for run in runs:
        known = first.setdefault(run.model, run)
        one, other = known.config.get("model") or {}, run.config.get("model") or {}
        differing = [
            key
            for key in ("kind", "hub_id", "path")
            if key in one and key in other and one[key] != other[key]
        ]
        revisions = {entry.get("revision") for entry in (one, other)} - {
            None
        }  # null: the newest, of any day
        differing += ["revision"] if len(revisions) > 1 else []
        if differing:
            raise UserError(
                f"two models are called {run.model}; they differ in "
                f"model.{', model.'.join(differing)}: {known.folder} "
                f"and {run.folder}; report them apart, or give one another model.name"
            )


def refuse_two_rules(runs: Sequence[FinishedRun]) -> None:
    """Arms graded by two versions of one grader's rules would differ by the rules."""
    first: dict[str, FinishedRun] = {}
    graded = [
        run for run in runs if (run.folder / "grades.jsonl").exists()
    ]  # likelihoods alone have no grades
    for run in graded:
        for name in run.rules or {name for other in graded for name in other.rules}:
            known = first.setdefault(name, run)
            if known.rules.get(name) != run.rules.get(name):
                raise UserError(
                    f"{name} graded {known.folder} and {run.folder} by different rules; run both "
                    f"of their evaluate.py "
                    "commands again: stored answers are graded anew, none is generated"
                )


def refuse_two_graders(answers: pd.DataFrame) -> None:
    """Arms of one model are compared by one grader: a difference between two graders would look
    like one of the arms.

    Args:
        answers: model, task, arm and grader; "" where an answer has no grade.
    """
    for (model, task), rows in answers[answers["grader"].ne("")].groupby(
        ["model", "task"], sort=False
    ):
        by_arm = {arm: sorted(set(own)) for arm, own in rows.groupby("arm", sort=False)["grader"]}
        (arm, first), *others = by_arm.items()
        for other, second in others:
            if second != first:
                raise UserError(
                    f"{model}: {task} of {arm} is graded by {', '.join(first)}, of {other} by "
                    f"{', '.join(second)}; run "
                    "their evaluate.py commands with one grader=: stored answers are graded anew, "
                    "none is generated"
                )


def unfinished(paths: Sequence[Path]) -> list[str]:
    """Runs under the paths that began and did not end; their arms, or a part of them, are
    missing.
    """
    begun = {place.parent.resolve() for path in paths for place in path.rglob("status.json")}
    left = sorted(folder.name for folder in begun if not (folder / "done.json").exists())
    more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
    return [f"Not finished, so left out: {', '.join(left[:NAMED])}{more}."] if left else []


def incomplete(
    prompts: pd.DataFrame, answers: pd.DataFrame, runs: Sequence[FinishedRun]
) -> list[str]:
    """Finished runs whose files lost rows: a last row that breaks off, prompts without answer,
    answers without prompt.

    Args:
        prompts: columns prompt_id and run_number.
        answers: likewise, before a repeated answer is dropped.
        runs: by their number.
    """
    lines = []
    asked, said = (
        dict(list(rows.groupby("run_number")["prompt_id"])) for rows in (prompts, answers)
    )
    for number, run in enumerate(runs):
        for path in sorted(run.folder.glob("*.jsonl")):
            with path.open("rb") as stream:
                if stream.seek(0, 2) and stream.seek(-1, 2) >= 0 and stream.read() != b"\n":
                    lines.append(
                        f"{run.folder.name}/{path.name} ends inside a row, which is left out."
                    )
        ours, theirs = set(asked.get(number, ())), set(said.get(number, ()))
        if ours - theirs and not (run.folder / "stopping.json").exists():
            lines.append(
                f"{run.folder.name}: {len(ours - theirs)} of {len(ours)} prompts have no answer."
            )
        if theirs - ours:
            lines.append(
                f"{run.folder.name}: {len(theirs - ours)} answered prompts are not in "
                f"prompts.jsonl."
            )
    return lines


def unpaired(answers: pd.DataFrame) -> list[str]:
    """Arms without a scored answer, and what an arm and original did not both answer: no difference
    to show.
    """
    lines = [
        f"{model}: none of the {len(rows):,} answers of {arm} is scored."
        for (model, arm), rows in answers.groupby(["model", "arm"])
        if arm != "original" and rows["wrong"].isna().all()
    ]
    for model, group in answers[answers["wrong"].notna()].groupby("model"):
        original = group[group["arm"].eq("original")]
        if original.empty:
            there = (answers["model"].eq(model) & answers["arm"].eq("original")).any()
            why = "has no scored answer" if there else "is not among the runs"
            lines.append(f"{model}: original {why}, so that no arm can be compared with it.")
            continue
        asked = set(original["prompt_id"])
        for arm, rows in group[group["arm"].ne("original")].groupby("arm"):
            shared = rows[rows["prompt_id"].isin(asked)]
            for name in ("task", "context", "belief"):
                alone = sorted((set(rows[name]) | set(original[name])) - set(shared[name]))
                if alone and len(shared):
                    lines.append(
                        f"{model}: {arm} and original share no scored prompt of {name} "
                        f"{', '.join(alone)}."
                    )
            if shared.empty:
                lines.append(f"{model}: {arm} and original share no scored prompt.")
    return lines


def unpaired_seeds(answers: pd.DataFrame) -> list[str]:
    """Training seeds of arms that a control with several seeds of its own lacks: they are not
    compared with it.
    """
    lines = []
    for (model, control), own in answers[answers["arm"].isin(CONTROLS)].groupby(["model", "arm"]):
        there = set(own["seed"])
        if len(there) > 1:
            others = answers[
                answers["model"].eq(model) & ~answers["arm"].isin([control, "original"])
            ]
            for arm, seeds in others.groupby("arm")["seed"]:
                if alone := sorted(set(seeds) - there):
                    told = ", ".join(map(str, alone))
                    lines.append(
                        f"{model}: {control} has no seed {told}, so {arm} of that seed is not "
                        f"compared with it."
                    )
    return lines


def unevenly_scored(answers: pd.DataFrame) -> list[str]:
    """Arms with clearly more or fewer answers without a label than original: which ones have one
    may depend on the arm.

    Args:
        answers: model, arm and unscored, of the tasks that are pooled.
    """
    lines = []
    for model, group in answers.groupby("model"):
        shares = 100 * group.groupby("arm", sort=False)["unscored"].mean()
        uneven = shares[(shares < 100) & ((shares - shares.get("original", np.nan)).abs() > UNEVEN)]
        if len(uneven):
            told = ", ".join(f"{share:.0f} % of {arm}" for arm, share in uneven.items())
            lines.append(
                f"{model}: unscored are {shares['original']:.0f} % of the answers of original, "
                f"{told}; rates and "
                "differences are over scored answers alone."
            )
    return lines


def refuse_two_configs(answers: pd.DataFrame, runs: Sequence[FinishedRun]) -> None:
    """One arm, model, strength, dose, checkpoint and seed must come from one config, up to what was
    asked of it.
    """
    for identity, group in answers.groupby(IDENTITY, dropna=False):
        numbers = group["run_number"].unique()
        for other in numbers[1:]:
            keys = different_keys(runs[numbers[0]].config, runs[other].config)
            if keys:
                raise _two_under_one_name(identity, keys, runs[numbers[0]], runs[other])


def refuse_two_answers(answers: pd.DataFrame, runs: Sequence[FinishedRun]) -> None:
    """Two different answers of one arm to one prompt and sample: something outside the config
    changed them.
    """
    twice = answers[answers.duplicated([*IDENTITY, "prompt_id", "sample"], keep=False)]
    if twice.empty:
        return
    one = twice[twice["prompt_id"].eq(twice["prompt_id"].iloc[0])]
    first, second = (runs[number] for number in one["run_number"].iloc[:2])
    keys = different_keys(first.config, second.config, ignore=("study", "output", "run", "logger"))
    raise _two_under_one_name(
        tuple(one.iloc[0][IDENTITY]),
        keys or ["no config key (model files or engine)"],
        first,
        second,
    )


def _two_under_one_name(
    identity: Any, keys: Sequence[str], first: FinishedRun, second: FinishedRun
) -> UserError:
    model, recipe, *_, seed = identity
    return UserError(
        f"two configs give arm {recipe} of {model} with seed {seed}; they differ in "
        f"{', '.join(keys)}: "
        f"{first.folder} and {second.folder}; report them apart, or give one recipe another name"
    )


def different_keys(
    first: Mapping[str, Any], second: Mapping[str, Any], ignore: Sequence[str] = SELECTION
) -> list[str]:
    """Dotted keys in which two configs differ, leaving out `ignore` and tasks or contexts that only
    one of them has.

    A key that only one has was unknown to the version that made the other; that is told as a mix of
    commits.
    """
    a, b = dict(flat(first)), dict(flat(second))
    if (
        (first.get("recipe") or {}).get("method")
        == (second.get("recipe") or {}).get("method")
        == "none"
    ):
        ignore = (*ignore, "data")  # nothing was trained on it
    differing = []
    for key in sorted(a.keys() & b.keys()):
        top, *rest = key.split(".")
        shared = top not in ("task", "condition") or (
            rest and rest[0] in first.get(top, {}) and rest[0] in second.get(top, {})
        )
        selects = (
            top in ignore
            or key in NOT_WEIGHTS
            or (top == "task" and rest[-1] in ("questions", "grader", "beliefs"))
        )
        if shared and not selects and a[key] != b[key]:
            differing.append(key)
    return differing


def flat(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings with their dotted keys."""
    if isinstance(config, Mapping) and config:
        for key, value in config.items():
            yield from flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, config


def mixed_commits(runs: Sequence[FinishedRun]) -> list[str]:
    """Runs of several commits, or of uncommitted code, are comparable only if the reader thinks
    so.
    """
    made = [
        [*(run.provenance.get("earlier") or []), written_commit(run.provenance)] for run in runs
    ]
    commits = sorted({str(one).split(" ")[0] for own in made for one in own} - {"unknown"})
    dirty = sum(any(str(one).endswith("changes") for one in own) for own in made)
    lines = (
        [f"The runs were made at {len(commits)} commits: {', '.join(commits)}."]
        if len(commits) > 1
        else []
    )
    if dirty:
        lines.append(f"Made with uncommitted changes: {dirty} of {len(runs)} runs.")
    unknown = sum("unknown" in own for own in made)
    if unknown:
        lines.append(f"Made by code whose commit is not known: {unknown} of {len(runs)} runs.")
    return lines


def different_tokens(prompts: pd.DataFrame, runs: Sequence[FinishedRun]) -> list[str]:
    """Arms of one model must have read the same tokens; an arm with a system prompt of its own
    cannot.
    """
    system = {
        (run.model, run.arm)
        for run in runs
        if (run.config.get("recipe") or {}).get("system_prompt")
    }
    lines = []
    for model, group in prompts.groupby("model"):
        reference = (
            group[group["arm"].eq("original")]
            .drop_duplicates("prompt_id")
            .set_index("prompt_id")["tokens_digest"]
        )
        for arm, rows in group.groupby("arm"):
            expected = rows["prompt_id"].map(reference)
            differing = int((expected.notna() & (expected != rows["tokens_digest"])).sum())
            if differing and (model, arm) not in system:
                lines.append(
                    f"{model}: {arm} read other tokens than original in {differing} of "
                    f"{len(rows)} prompts."
                )
    return lines


def stopped_early(
    runs: Sequence[FinishedRun], cost: Mapping[Path, float] | None = None
) -> list[str]:
    """Say of runs with `until_width` what their sampling was aimed at, whether it got there, and
    what is left to ask.

    Args:
        runs: the evaluations.
        cost: a run's folder → USD for one of its answers.
    """
    lines = []
    for run in runs:
        found = last_look(run)
        if found is not None:
            said = " ".join(sentences(found, (cost or {}).get(run.folder, 0.0)))
            lines.append(
                f"{run.model} {run.arm}: {said} The intervals of tables hold for a number of "
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
    found = read_json(path)
    lacking = [name for name in LOOK if not isinstance(found, dict) or name not in found]
    if lacking:
        raise UserError(
            f"{path} lacks {lacking[0]}; run the evaluation again, which generates nothing"
        )
    return found
