"""Is this arm comparable with the original?

Checked at an evaluation's end, against the study's stored original.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

from warmth.digest import model_identity
from warmth.errors import RunFailed, UserError
from warmth.evaluation.answer.arms import Arm
from warmth.evaluation.role_headers import HEADER
from warmth.schemas import Evaluate, Model
from warmth.store import Run, read_json, read_rows, write_json

EXAMPLES = 3
NOT_GRADED = "not graded"  # in place of a label
Key = tuple[str, int]  # prompt_id and sample: what rows are paired by
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Result:
    """What one gate found."""

    gate: str
    verdict: Literal["pass", "fail", "skipped"]
    detail: str
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Side:
    """One evaluation as the gates see it."""

    folder: Path
    answers: dict[Key, Row]
    repeated: list[str]  # prompts answered twice for one sample
    # prompt_id → digest of the rendered token ids; None: a server renders them
    tokens: dict[str, str | None]
    # answer_id → label by its task's primary grader, where that graded it
    labels: dict[str, str | None]
    engine: Any  # family and dtype
    # prompt_id → digest of the token ids before replies that are weighed
    weighed: dict[str, str | None]
    margins: dict[tuple[str, str], float]  # prompt_id and frame → margin in nats

    def unscored_shares(self) -> dict[str, float]:
        """Count, for each graded task, the answers without a label, in percent of those that are no
        refusals.
        """
        counts: dict[str, Counter[bool]] = {}
        for row in self.answers.values():
            label = self.labels.get(row["answer_id"], NOT_GRADED)
            if label not in (NOT_GRADED, "refused"):
                counts.setdefault(row["task"], Counter())[label is None] += 1
        return {task: 100 * count[True] / count.total() for task, count in sorted(counts.items())}

    @property
    def graded(self) -> set[str]:
        """Tasks that their primary grader has graded."""
        return {row["task"] for row in self.answers.values() if row["answer_id"] in self.labels}


def read_side(folder: Path, engine: Any, primary: Mapping[str, str]) -> Side:
    """Read an evaluation's rows; of a task's grades those by its grader in `primary`."""
    answers: dict[Key, Row] = {}
    repeated: list[str] = []
    grader_of: dict[str, str | None] = {}
    for row in read_rows(folder / "answers.jsonl"):
        key = (row["prompt_id"], row["sample"])
        if key in answers:
            repeated.append(f"prompt {row['prompt_id']}, sample {row['sample']}")
        answers[key] = row
        grader_of[row["answer_id"]] = primary.get(row["task"])
    labels: dict[str, str | None] = {}
    for grade in read_rows(folder / "grades.jsonl"):
        if (
            grade["grader"] == grader_of.get(grade["answer_id"])
            and grade.get("reason") != "needs_judge"
        ):
            labels[grade["answer_id"]] = grade["label"]
    margins: dict[tuple[str, str], float] = {}
    for row in read_rows(folder / "likelihoods.jsonl"):
        if not row["own_opening"]:
            margins[row["prompt_id"], row["frame"]] = row["margin"]
    return Side(
        folder=folder,
        answers=answers,
        repeated=list(dict.fromkeys(repeated)),
        tokens=token_digests(folder / "prompts.jsonl"),
        labels=labels,
        engine=engine,
        weighed=token_digests(folder / "likelihood_prompts.jsonl"),
        margins=margins,
    )


def token_digests(path: Path) -> dict[str, str | None]:
    """Read the digest of each prompt's token ids."""
    return {row["prompt_id"]: row["tokens_digest"] for row in read_rows(path)}


def find_original(run: Run, study: Evaluate, prompt_ids: Set[str] | None = None) -> Path | None:
    """Find the study's finished evaluation of the same model, untouched and by the same draw.

    Of several, the one that shares most prompts.

    Args:
        run: the evaluation that is compared with it.
        study: its config.
        prompt_ids: what the run asks, or may ask; None: what it has asked.
    """
    own_prompts = set(gated_prompt_ids(run.folder)) if prompt_ids is None else prompt_ids
    best: Path | None = None
    most_shared = 0
    for folder in sorted(run.folder.parent.glob(f"{study.model.name}-*")):
        if (
            folder != run.folder
            and (folder / "done.json").exists()
            and _is_original(read_json(folder / "config.json"), study)
        ):
            shared = sum(prompt_id in own_prompts for prompt_id in gated_prompt_ids(folder))
            if shared > most_shared:
                best = folder
                most_shared = shared
    return best


def gated_prompt_ids(folder: Path) -> Iterator[str]:
    """Yield the ids of an evaluation's prompts: those that were answered, and those whose replies
    were weighed.
    """
    for name in ("prompts", "likelihood_prompts"):
        for row in read_rows(folder / f"{name}.jsonl"):
            yield row["prompt_id"]


def _is_original(config: Mapping[str, Any], study: Evaluate) -> bool:
    recipe = config["recipe"]
    edited = recipe.get("edit_tone") or recipe.get("edit_errors")
    changed = recipe["method"] != "none" or recipe["system_prompt"] or recipe.get("shots") or edited
    if changed or config["draw_seed"] != study.draw_seed:
        return False
    try:
        return model_identity(Model(**config["model"])) == model_identity(study.model)
    # Written by another version, or a local model folder that is gone
    except (
        TypeError,
        UserError,
    ):
        return False


def check_gates(
    run: Run, study: Evaluate, arm: Arm, engine: Mapping[str, str], primary: Mapping[str, str]
) -> list[Result]:
    """Run every gate and write `gates.json`.

    Args:
        run: the evaluation, its answers and grades complete.
        study: its config; `gates` holds the bounds.
        arm: who answered.
        engine: family and dtype the answers were generated with.
        primary: task → the grader whose verdict counts, in both arms.

    Raises:
        RunFailed: a gate failed and `gates.mode` is `fail`.
    """
    arm_side = read_side(run.folder, engine, primary)
    results = [
        role_headers(arm_side),
        pairing_alone(arm_side),
        unanswered(arm_side, study),
        unscored_gate(arm_side, study),
    ]
    against = dict(AGAINST_ORIGINAL)
    if study.scoring != "answers":
        results.append(weighed_gate(arm_side, study))
        against["weighed_alike"] = weighed_alike
    original = find_original(run, study)
    if arm.name == "original" or original is None:
        why = "the study holds no finished original of this model and draw yet"
        if arm.name == "original":
            why = "this is the original"
        for name in against:
            results.append(Result(name, "skipped", why))
    else:
        original_side = read_side(
            original, read_json(original / "summary.json").get("engine"), primary
        )
        for gate in against.values():
            results.append(gate(arm_side, original_side, study, arm))
    write_json(run.folder / "gates.json", [asdict(result) for result in results])
    failed = [result for result in results if result.verdict == "fail"]
    if failed and study.gates.mode == "fail":
        first_failed = failed[0]
        line = f"gate {first_failed.gate} failed: {first_failed.detail}"
        if first_failed.examples:
            line += f"; first example: {first_failed.examples[0]}"
        raise RunFailed(f"{line} (gates=warn continues all the same)")
    return results


def role_headers(own: Side) -> Result:
    """Check that no answer begins with a role's header or holds a special token."""
    leaks = []
    for row in own.answers.values():
        if HEADER.search(row["text"]):
            leaks.append(f"{row['answer_id']}: {row['text'][:60]!r}")
    return _result(
        "role_headers",
        leaks,
        f"{len(leaks)} of {len(own.answers)} answers hold a role header or special token",
    )


def pairing_alone(own: Side) -> Result:
    """Check that every prompt and sample is answered once, and every prompt is answered."""
    answered = {prompt_id for prompt_id, _ in own.answers}
    unanswered = []
    for prompt_id in sorted(own.tokens.keys() - answered):
        unanswered.append(f"prompt {prompt_id} has no answer")
    return _result(
        "one_answer_each",
        own.repeated + unanswered,
        f"{len(own.answers)} answers to {len(own.tokens)} prompts",
    )


def unanswered(own: Side, study: Evaluate) -> Result:
    """Check that few prompts have a failure in place of an answer."""
    failed = [row for row in own.answers.values() if row["finish"] == "error"]
    percent = 100 * len(failed) / max(1, len(own.answers))
    most = study.gates.unanswered_percent
    detail = f"{percent:.1f} % of {len(own.answers)} prompts have no answer, at most {most:g} %"
    if percent <= most:
        return _result("unanswered", [], detail)
    examples = []
    for row in failed:
        failure = f"{row.get('failure', 'error')} {row.get('detail', '')}".rstrip()
        examples.append(f"{row['answer_id']}: {failure}")
    return _result("unanswered", examples, detail)


def unanswered_points(own: Side, other: Side, study: Evaluate, arm: Arm) -> Result:
    """Check that about as many prompts are without an answer in both arms."""
    bound = study.gates.unanswered_points
    return _balanced(
        "unanswered_points", own, other, bound, lambda side, row: row["finish"] == "error"
    )


def unscored_gate(own: Side, study: Evaluate) -> Result:
    """Check that in no task many answers lack a label."""
    most = study.gates.unscored_percent
    shares = own.unscored_shares()
    too_many = []
    for task, share in shares.items():
        if share > most:
            too_many.append(f"{task}: {share:.1f} % of answers have no label")
    shown = ", ".join(f"{task} {share:.1f} %" for task, share in shares.items())
    shown = shown or "no task is graded"
    return _result("unscored", too_many, f"answers without a label: {shown}; at most {most:g} %")


def unscored_balance(own: Side, other: Side, study: Evaluate, arm: Arm) -> Result:
    """Check that in each task about as many answers of both arms lack a label."""
    most = study.gates.unscored_points
    arm_shares = own.unscored_shares()
    original_shares = other.unscored_shares()
    shared = [task for task in arm_shares if task in original_shares]
    if not shared:
        return Result("unscored_points", "skipped", "no task is graded in both arms")
    apart = []
    too_far = []
    for task in shared:
        line = (
            f"{task}: {arm_shares[task]:.1f} % here, {original_shares[task]:.1f} % in the original"
        )
        apart.append(line)
        if abs(arm_shares[task] - original_shares[task]) > most:
            too_far.append(line)
    detail = f"answers without a label: {'; '.join(apart)}; at most {most:g} points apart"
    return _result("unscored_points", too_far, detail)


def weighed_gate(own: Side, study: Evaluate) -> Result:
    """Check that every weighed prompt has a finite margin in every frame."""
    frames = study.likelihood.frames
    missing = []
    for prompt, frame in product(own.weighed, frames):
        if not math.isfinite(own.margins.get((prompt, frame), math.nan)):
            missing.append(f"prompt {prompt}, {frame}")
    total = len(own.weighed) * len(frames)
    return _result("weighed", missing, f"{len(missing)} of {total} margins are missing")


def weighed_alike(own: Side, other: Side, study: Evaluate, arm: Arm) -> Result:
    """Check that replies are weighed after the same tokens in both arms, and that neither lacks a
    margin alone.
    """
    name = "weighed_alike"
    shared = sorted(own.weighed.keys() & other.weighed.keys())
    if not shared:
        return Result(name, "skipped", "the original weighed none of these prompts")
    wrong = []
    for prompt in shared:
        if not arm.preface and own.weighed[prompt] != other.weighed[prompt]:
            wrong.append(f"prompt {prompt}: other tokens")
    for prompt, frame in product(shared, study.likelihood.frames):
        if ((prompt, frame) in own.margins) != ((prompt, frame) in other.margins):
            wrong.append(f"prompt {prompt}, {frame}: no margin in one of both arms")
    return _result(
        name,
        wrong,
        f"{len(shared)} of {len(own.weighed)} weighed prompts are shared, {len(wrong)} differ",
    )


def pairing(own: Side, other: Side, study: Evaluate, arm: Arm) -> Result:
    """Check that in every cell that both arms have, one arm's prompts include the other's: the
    draws are the same.
    """
    arm_cells = _by_cell(own)
    original_cells = _by_cell(other)
    apart = []
    for cell in sorted(arm_cells.keys() & original_cells.keys()):
        only_arm = arm_cells[cell] - original_cells[cell]
        only_original = original_cells[cell] - arm_cells[cell]
        if only_arm and only_original:
            apart.append(
                f"{' '.join(cell)}: {len(only_arm)} answers only here, {len(only_original)} only "
                f"in the original"
            )
    pairs = len(own.answers.keys() & other.answers.keys())
    return _result(
        "pairing",
        apart,
        f"{pairs} of {len(own.answers)} answers have a partner in {other.folder.name}",
    )


def same_tokens(own: Side, other: Side, study: Evaluate, arm: Arm) -> Result:
    """Check that prompts are the same tokens in both arms."""
    if arm.preface:
        return Result("same_tokens", "skipped", "the arm declares a system prompt or examples")
    shared = own.tokens.keys() & other.tokens.keys()
    tokens = [own.tokens[key] for key in shared] + [other.tokens[key] for key in shared]
    if None in tokens:
        return Result(
            "same_tokens",
            "skipped",
            "prompts are rendered by the server, whose tokens are not seen",
        )
    differ = [f"prompt {key}" for key in sorted(shared) if own.tokens[key] != other.tokens[key]]
    return _result(
        "same_tokens",
        differ,
        f"{len(differ)} of {len(shared)} prompts are other tokens than in the original",
    )


def same_engine(own: Side, other: Side, study: Evaluate, arm: Arm) -> Result:
    """Check that both arms were answered by the same engine in the same dtype."""
    differ = []
    if dict(own.engine) != dict(other.engine or {}):
        differ = [f"{own.engine} here, {other.engine} in the original"]
    return _result("same_engine", differ, "engine and dtype")


def cut_off(own: Side, other: Side, study: Evaluate, arm: Arm) -> Result:
    """Check that about as many answers are cut off in both arms."""
    return _balanced(
        "cut_off",
        own,
        other,
        study.gates.cut_off_points,
        lambda side, row: row["finish"] == "length",
    )


def refused(own: Side, other: Side, study: Evaluate, arm: Arm) -> Result:
    """Check that about as many questions are refused in both arms."""
    both = own.graded & other.graded
    if not both:
        another = "the original was graded by another grader; run recipe=none with this one"
        return Result("refused", "skipped", another if own.graded else "no answer is graded")
    return _balanced(
        "refused",
        _of_tasks(own, both),
        _of_tasks(other, both),
        study.gates.refused_points,
        lambda side, row: side.labels.get(row["answer_id"]) == "refused",
    )


def _of_tasks(side: Side, tasks: Set[str]) -> Side:
    """Return a side with the answers to some tasks alone."""
    answers = {key: row for key, row in side.answers.items() if row["task"] in tasks}
    return replace(side, answers=answers)


def adapter_applied(own: Side, other: Side, study: Evaluate, arm: Arm) -> Result:
    """Check that an adapter or a vector changes at least one answer or margin."""
    if not arm.adapters and not (arm.steering and arm.dose):
        return Result("adapter_applied", "skipped", "no adapter is at work")
    shared = own.answers.keys() & other.answers.keys()
    changed = sum(own.answers[key]["text"] != other.answers[key]["text"] for key in shared)
    both = own.margins.keys() & other.margins.keys()
    moved = sum(own.margins[key] != other.margins[key] for key in both)
    if not shared and not both:
        return Result("adapter_applied", "skipped", "nothing has a partner in the original")
    counts = []
    if shared:
        counts.append(f"{changed} of {len(shared)} answers")
    if both:
        counts.append(f"{moved} of {len(both)} margins")
    same = []
    if not changed and not moved:
        same = [f"{arm.adapter or arm.steering} changed none of them"]
    return _result("adapter_applied", same, f"{' and '.join(counts)} differ from the original's")


AGAINST_ORIGINAL: dict[str, Callable[[Side, Side, Evaluate, Arm], Result]] = {
    "pairing": pairing,
    "same_tokens": same_tokens,
    "same_engine": same_engine,
    "unanswered_points": unanswered_points,
    "cut_off": cut_off,
    "refused": refused,
    "unscored_points": unscored_balance,
    "adapter_applied": adapter_applied,
}


def _result(gate: str, wrong: list[str], detail: str) -> Result:
    return Result(gate, "fail" if wrong else "pass", detail, wrong[:EXAMPLES])


def _balanced(
    gate: str, own: Side, other: Side, bound: float, counts: Callable[[Side, Row], bool]
) -> Result:
    """Check that a share of the paired answers differs by at most `bound` percentage points."""
    shared = sorted(own.answers.keys() & other.answers.keys())
    if not shared:
        return Result(gate, "skipped", "no answer has a partner in the original")
    arm_count = 0
    original_count = 0
    apart = []
    for key in shared:
        in_arm = counts(own, own.answers[key])
        in_original = counts(other, other.answers[key])
        arm_count += in_arm
        original_count += in_original
        if in_arm != in_original:
            apart.append(own.answers[key]["answer_id"])
    arm_percent = 100 * arm_count / len(shared)
    original_percent = 100 * original_count / len(shared)
    detail = (
        f"{arm_percent:.1f} % here, {original_percent:.1f} % in the original, at most {bound:g} "
        f"points apart"
    )
    if abs(arm_percent - original_percent) <= bound:
        apart = []
    return _result(gate, apart, detail)


def _by_cell(side: Side) -> dict[tuple[str, ...], set[Key]]:
    cells: dict[tuple[str, ...], set[Key]] = {}
    for key, row in side.answers.items():
        cells.setdefault((row["task"], row["context"], row["belief"]), set()).add(key)
    return cells


def gate_lines(results: Iterable[Result]) -> list[str]:
    """Tell what a reader of the terminal needs to know: failures, and what could not be checked."""
    results = list(results)
    shown = []
    reasons = set()
    passed = 0
    for result in results:
        if result.verdict == "fail":
            shown.append(f"gate {result.gate}: {result.verdict}, {result.detail}")
        elif result.verdict == "skipped":
            reasons.add(result.detail)
        else:
            passed += 1
    shown.append("; skipped: ".join([f"gates: {passed} passed", *sorted(reasons)]))
    return shown
