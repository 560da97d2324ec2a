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
    tokens: dict[
        str, str | None
    ]  # prompt_id → digest of the rendered token ids; None: a server renders them
    labels: dict[
        str, str | None
    ]  # answer_id → label by its task's primary grader, where that graded it
    engine: Any  # family and dtype
    weighed: dict[
        str, str | None
    ]  # prompt_id → digest of the token ids before replies that are weighed
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
    """Reads an evaluation's rows; `primary` is the grader of each task whose latest verdict
    counts.
    """
    rows = list(read_rows(folder / "answers.jsonl"))
    counts = Counter((row["prompt_id"], row["sample"]) for row in rows)
    wanted = {row["answer_id"]: primary.get(row["task"]) for row in rows}
    labels = {}
    for grade in read_rows(folder / "grades.jsonl"):
        if (
            grade["grader"] == wanted.get(grade["answer_id"])
            and grade.get("reason") != "needs_judge"
        ):
            labels[grade["answer_id"]] = grade["label"]
    return Side(
        folder,
        {(row["prompt_id"], row["sample"]): row for row in rows},
        [
            f"prompt {prompt_id}, sample {sample}"
            for (prompt_id, sample), count in counts.items()
            if count > 1
        ],
        {row["prompt_id"]: row["tokens_digest"] for row in read_rows(folder / "prompts.jsonl")},
        labels,
        engine,
        {
            row["prompt_id"]: row["tokens_digest"]
            for row in read_rows(folder / "likelihood_prompts.jsonl")
        },
        {
            (row["prompt_id"], row["frame"]): row["margin"]
            for row in read_rows(folder / "likelihoods.jsonl")
            if not row["own_opening"]
        },
    )


def find_original(run: Run, study: Evaluate, prompt_ids: Set[str] | None = None) -> Path | None:
    """Find the study's finished evaluation of the same model, untouched and by the same draw.

    Of several, the one that shares most prompts.

    Args:
        run: the evaluation that is compared with it.
        study: its config.
        prompt_ids: what the run asks, or may ask; None: what it has asked.
    """
    own = set(prompts_of(run.folder)) if prompt_ids is None else prompt_ids
    found: list[tuple[int, Path]] = []
    for folder in sorted(run.folder.parent.glob(f"{study.model.name}-*")):
        if (
            folder != run.folder
            and (folder / "done.json").exists()
            and _is_original(read_json(folder / "config.json"), study)
        ):
            shared = sum(prompt_id in own for prompt_id in prompts_of(folder))
            found.append((shared, folder))
    best = max(found, default=(0, None), key=lambda pair: pair[0])
    return best[1] if best[0] else None


def prompts_of(folder: Path) -> Iterator[str]:
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
    except (
        TypeError,
        UserError,
    ):  # written by another version, or a local model folder that is gone
        return False


def check(
    run: Run, study: Evaluate, arm: Arm, engine: Mapping[str, str], primary: Mapping[str, str]
) -> list[Result]:
    """Runs every gate and writes `gates.json`.

    Args:
        run: the evaluation, its answers and grades complete.
        study: its config; `gates` holds the bounds.
        arm: who answered.
        engine: family and dtype the answers were generated with.
        primary: task → the grader whose verdict counts, in both arms.

    Raises:
        RunFailed: a gate failed and `gates.mode` is `fail`.
    """
    own = read_side(run.folder, engine, primary)
    results = [role_headers(own), pairing_alone(own), unanswered(own, study), unscored(own, study)]
    against = dict(AGAINST_ORIGINAL)
    if study.scoring != "answers":
        results.append(weighed(own, study))
        against["weighed_alike"] = weighed_alike
    original = find_original(run, study)
    if arm.name == "original" or original is None:
        why = (
            "this is the original"
            if arm.name == "original"
            else "the study holds no finished original of this model and draw yet"
        )
        results += [Result(name, "skipped", why) for name in against]
    else:
        other = read_side(original, read_json(original / "summary.json").get("engine"), primary)
        results += [gate(own, other, study, arm) for gate in against.values()]
    write_json(run.folder / "gates.json", [asdict(result) for result in results])
    failed = [result for result in results if result.verdict == "fail"]
    if failed and study.gates.mode == "fail":
        first = failed[0]
        example = f"; first example: {first.examples[0]}" if first.examples else ""
        raise RunFailed(
            f"gate {first.gate} failed: {first.detail}{example} (gates=warn continues all the same)"
        )
    return results


def role_headers(own: Side) -> Result:
    """No answer begins with a role's header or holds a special token."""
    leaks = [
        f"{row['answer_id']}: {row['text'][:60]!r}"
        for row in own.answers.values()
        if HEADER.search(row["text"])
    ]
    return _result(
        "role_headers",
        leaks,
        f"{len(leaks)} of {len(own.answers)} answers hold a role header or special token",
    )


def pairing_alone(own: Side) -> Result:
    """Every prompt and sample is answered once, and every prompt is answered."""
    unanswered = [
        f"prompt {prompt_id} has no answer"
        for prompt_id in own.tokens.keys() - {key[0] for key in own.answers}
    ]
    return _result(
        "one_answer_each",
        own.repeated + sorted(unanswered),
        f"{len(own.answers)} answers to {len(own.tokens)} prompts",
    )


def unanswered(own: Side, study: Evaluate) -> Result:
    """Check that few prompts have a failure in place of an answer."""
    failed = [row for row in own.answers.values() if row["finish"] == "error"]
    percent = 100 * len(failed) / max(1, len(own.answers))
    most = study.gates.unanswered_percent
    detail = f"{percent:.1f} % of {len(own.answers)} prompts have no answer, at most {most:g} %"
    shown = [
        f"{row['answer_id']}: {row.get('failure', 'error')} {row.get('detail', '')}".rstrip()
        for row in failed
    ]
    return _result("unanswered", shown if percent > most else [], detail)


def unanswered_points(own: Side, other: Side, study: Evaluate, arm: Arm) -> Result:
    """Check that about as many prompts are without an answer in both arms."""
    bound = study.gates.unanswered_points
    return _balanced(
        "unanswered_points", own, other, bound, lambda side, row: row["finish"] == "error"
    )


def unscored(own: Side, study: Evaluate) -> Result:
    """Check that in no task many answers lack a label."""
    most = study.gates.unscored_percent
    shares = own.unscored_shares()
    too_many = [
        f"{task}: {share:.1f} % of answers have no label"
        for task, share in shares.items()
        if share > most
    ]
    shown = (
        ", ".join(f"{task} {share:.1f} %" for task, share in shares.items()) or "no task is graded"
    )
    return _result("unscored", too_many, f"answers without a label: {shown}; at most {most:g} %")


def unscored_balance(own: Side, other: Side, study: Evaluate, arm: Arm) -> Result:
    """Check that in each task about as many answers of both arms lack a label."""
    most = study.gates.unscored_points
    here, there = own.unscored_shares(), other.unscored_shares()
    shared = [task for task in here if task in there]
    if not shared:
        return Result("unscored_points", "skipped", "no task is graded in both arms")
    apart = [
        f"{task}: {here[task]:.1f} % here, {there[task]:.1f} % in the original" for task in shared
    ]
    too_far = [
        line
        for task, line in zip(shared, apart, strict=True)
        if abs(here[task] - there[task]) > most
    ]
    detail = f"answers without a label: {'; '.join(apart)}; at most {most:g} points apart"
    return _result("unscored_points", too_far, detail)


def weighed(own: Side, study: Evaluate) -> Result:
    """Check that every weighed prompt has a finite margin in every frame."""
    frames = study.likelihood.frames
    margins = {key: own.margins.get(key, math.nan) for key in product(own.weighed, frames)}
    missing = [
        f"prompt {prompt}, {frame}"
        for (prompt, frame), margin in margins.items()
        if not math.isfinite(margin)
    ]
    return _result("weighed", missing, f"{len(missing)} of {len(margins)} margins are missing")


def weighed_alike(own: Side, other: Side, study: Evaluate, arm: Arm) -> Result:
    """Check that replies are weighed after the same tokens in both arms, and that neither lacks a
    margin alone.
    """
    name = "weighed_alike"
    shared = sorted(own.weighed.keys() & other.weighed.keys())
    if not shared:
        return Result(name, "skipped", "the original weighed none of these prompts")
    wrong = []
    if not arm.preface:
        wrong = [
            f"prompt {prompt}: other tokens"
            for prompt in shared
            if own.weighed[prompt] != other.weighed[prompt]
        ]
    for prompt, frame in product(shared, study.likelihood.frames):
        if ((prompt, frame) in own.margins) != ((prompt, frame) in other.margins):
            wrong.append(f"prompt {prompt}, {frame}: no margin in one of both arms")
    return _result(
        name,
        wrong,
        f"{len(shared)} of {len(own.weighed)} weighed prompts are shared, {len(wrong)} differ",
    )


def pairing(own: Side, other: Side, study: Evaluate, arm: Arm) -> Result:
    """In every cell that both arms have, one arm's prompts include the other's: the draws are the
    same.
    """
    mine, theirs = _by_cell(own), _by_cell(other)
    apart = []
    for cell in sorted(mine.keys() & theirs.keys()):
        here, there = mine[cell] - theirs[cell], theirs[cell] - mine[cell]
        if here and there:
            apart.append(
                f"{' '.join(cell)}: {len(here)} answers only here, {len(there)} only in the "
                f"original"
            )
    pairs = len(own.answers.keys() & other.answers.keys())
    return _result(
        "pairing",
        apart,
        f"{pairs} of {len(own.answers)} answers have a partner in {other.folder.name}",
    )


def same_tokens(own: Side, other: Side, study: Evaluate, arm: Arm) -> Result:
    """Prompts are the same tokens in both arms."""
    if arm.preface:
        return Result("same_tokens", "skipped", "the arm declares a system prompt or examples")
    shared = own.tokens.keys() & other.tokens.keys()
    if any(side.tokens[key] is None for key in shared for side in (own, other)):
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
    """Both arms were answered by the same engine in the same dtype."""
    differ = (
        [f"{own.engine} here, {other.engine} in the original"]
        if dict(own.engine) != dict(other.engine or {})
        else []
    )
    return _result("same_engine", differ, "engine and dtype")


def cut_off(own: Side, other: Side, study: Evaluate, arm: Arm) -> Result:
    """About as many answers are cut off in both arms."""
    return _balanced(
        "cut_off",
        own,
        other,
        study.gates.cut_off_points,
        lambda side, row: row["finish"] == "length",
    )


def refused(own: Side, other: Side, study: Evaluate, arm: Arm) -> Result:
    """About as many questions are refused in both arms."""
    both = own.graded & other.graded
    if not both:
        another = "the original was graded by another grader; run recipe=none with this one"
        return Result("refused", "skipped", another if own.graded else "no answer is graded")
    own, other = (
        replace(
            side, answers={key: row for key, row in side.answers.items() if row["task"] in both}
        )
        for side in (own, other)
    )
    return _balanced(
        "refused",
        own,
        other,
        study.gates.refused_points,
        lambda side, row: side.labels.get(row["answer_id"]) == "refused",
    )


def adapter_applied(own: Side, other: Side, study: Evaluate, arm: Arm) -> Result:
    """An adapter or a vector changes at least one answer or margin."""
    if not arm.adapters and not (arm.steering and arm.dose):
        return Result("adapter_applied", "skipped", "no adapter is at work")
    shared = own.answers.keys() & other.answers.keys()
    changed = sum(own.answers[key]["text"] != other.answers[key]["text"] for key in shared)
    both = own.margins.keys() & other.margins.keys()
    moved = sum(own.margins[key] != other.margins[key] for key in both)
    if not shared and not both:
        return Result("adapter_applied", "skipped", "nothing has a partner in the original")
    counts = [f"{changed} of {len(shared)} answers"] if shared else []
    counts += [f"{moved} of {len(both)} margins"] if both else []
    same = [] if changed or moved else [f"{arm.adapter or arm.steering} changed none of them"]
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
    """A share over the paired answers differs by no more than `bound` percentage points."""
    shared = own.answers.keys() & other.answers.keys()
    if not shared:
        return Result(gate, "skipped", "no answer has a partner in the original")
    here, there = (
        [counts(side, side.answers[key]) for key in sorted(shared)] for side in (own, other)
    )
    mine, theirs = 100 * sum(here) / len(shared), 100 * sum(there) / len(shared)
    detail = f"{mine:.1f} % here, {theirs:.1f} % in the original, at most {bound:g} points apart"
    apart = [
        own.answers[key]["answer_id"]
        for key, one, two in zip(sorted(shared), here, there, strict=True)
        if one != two
    ]
    return _result(gate, apart if abs(mine - theirs) > bound else [], detail)


def _by_cell(side: Side) -> dict[tuple[str, ...], set[Key]]:
    cells: dict[tuple[str, ...], set[Key]] = {}
    for key, row in side.answers.items():
        cells.setdefault((row["task"], row["context"], row["belief"]), set()).add(key)
    return cells


def lines(results: Iterable[Result]) -> list[str]:
    """What a reader of the terminal needs to know: failures, and what could not be checked."""
    results = list(results)
    shown = [
        f"gate {result.gate}: {result.verdict}, {result.detail}"
        for result in results
        if result.verdict == "fail"
    ]
    why = {result.detail for result in results if result.verdict == "skipped"}
    return [
        *shown,
        f"gates: {sum(result.verdict == 'pass' for result in results)} passed"
        + "".join(f"; skipped: {item}" for item in sorted(why)),
    ]
