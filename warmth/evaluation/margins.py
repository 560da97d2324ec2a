"""From contrasts to rows of `likelihoods.jsonl`: each is looked up by content before it is weighed.

The margin of a row is log Σ p(accepted answers) − log Σ p(wrong answers) of one frame, in nats: the
log-odds of the truth among what was weighed. Nothing is generated and no text is read, unless
`likelihood.after_opening` asks for it.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from warmth.chat import render
from warmth.digest import digest
from warmth.errors import UserError
from warmth.evaluation.answer.answers import WINDOW, Book, batched, write_prompts
from warmth.evaluation.answer.answers import rendered_prompts as render_ids
from warmth.evaluation.answer.arms import Arm
from warmth.evaluation.answer.engines import Engine, Request
from warmth.evaluation.ask.contrasts import ReplyContrast, Weighed, reply, reply_contrasts
from warmth.evaluation.progress import Meter
from warmth.schemas import Evaluate, Sampling
from warmth.store import Run
from warmth.types import BELIEFS, Candidate, LikelihoodRow, Question

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from warmth.evaluation.answer.weighing import Weighing

LIKELIHOODS = "likelihoods"
PROMPTS = "likelihood_prompts"
OPENING_TOKENS = 40  # within which a first sentence has to end
SENTENCE = re.compile(r"\s*(\S.*?[.!?…])(?=\s|$)", re.DOTALL)


@dataclass(frozen=True)
class Opening:
    """What a reply begins with before the frame."""

    text: str = ""
    own: bool = False  # the arm wrote it


@dataclass(frozen=True)
class CandidateSlot:
    """The place of one row: a prompt, an opening and a frame."""

    contrast: ReplyContrast
    opening: Opening
    frame: str
    likelihood_id: str


@dataclass(frozen=True)
class WeighedReply:
    """One candidate in a frame."""

    answer: str
    right: bool
    text: str  # the whole reply, what joins it to an opening included


@dataclass(frozen=True)
class WeighingWork:
    """The missing rows of one prompt, and what is weighed for them."""

    slots: tuple[CandidateSlot, ...]
    weighing: Weighing
    ids: Mapping[str, tuple[int, ...]]  # of each reply's text


def score_likelihoods(
    run: Run, engine: Engine, arm: Arm, study: Evaluate, weighed: Weighed
) -> dict[str, Any]:
    """Fill `likelihoods.jsonl` with a row for each prompt and frame, and `likelihood_prompts.jsonl`
    beside it.

    Rows that exist are never written again, and those of another run of the study are copied. The
    rest is weighed pass by pass and kept at once, so a run that was killed continues where it was.

    Args:
        run: where rows are kept.
        engine: what weighs.
        arm: whose likelihoods.
        study: its config; `likelihood` says what is asked.
        weighed: the questions, and how many prompts they make.

    Returns:
        how many rows were weighed and copied now, the seconds it took, the tasks that have no
        rival, and the mean margin of each belief in nats; empty if nothing is weighed.

    Raises:
        UserError: the tokens of a reply do not begin where its prompt ends.
    """
    if not weighed.prompts:
        return {}
    scorer = Scorer(run, engine, arm, study)
    question_of = {(question.task, question.id): question for question in weighed.questions}
    total = weighed.prompts * (1 + study.likelihood.after_opening)
    with Meter(f"{arm.name} likelihoods", "prompts", total, run.folder) as meter:
        for window in batched(reply_contrasts(study, weighed.questions), WINDOW):
            scorer.write_prompts(window, question_of)
            openings = [words_before_frame(contrast, arm, study) for contrast in window]
            scorer.weigh(window, openings, meter)
            if study.likelihood.after_opening:
                scorer.weigh(*scorer.own_openings(window), meter)
    return {
        "weighed": scorer.weighed,
        "copied": scorer.copied,
        "prompts": weighed.prompts,
        "seconds": round(meter.seconds, 2),
        "not_measured": weighed.not_measured,
        "mean_margin": mean_margins(run),
    }


def words_before_frame(contrast: ReplyContrast, arm: Arm, study: Evaluate) -> Opening:
    """Return what stands before the frame: the study's words, or those of an arm whose answers get
    kind words.
    """
    edited = arm.edit.opening(contrast.prompt) if arm.edit else ""
    return Opening(study.likelihood.opening or edited)


def mean_margins(run: Run) -> dict[str, float]:
    """Return the mean margin under each belief, in nats, over all rows but those after the arm's
    own opening.
    """
    margins: dict[str, list[float]] = defaultdict(list)
    for row in run.rows(LIKELIHOODS):
        if not row["own_opening"]:
            margins[row["belief"]].append(row["margin"])
    return {belief: fmean(margins[belief]) for belief in BELIEFS if margins[belief]}


class Scorer:
    """Weighs the contrasts of one arm and keeps their rows."""

    def __init__(self, run: Run, engine: Engine, arm: Arm, study: Evaluate):
        from warmth.evaluation.answer.decoding import tokenizer_of

        self.run = run
        self.engine = engine
        self.arm = arm
        self.study = study
        self.tokenizer = tokenizer_of(arm.model)
        self.book = Book(run, arm.model.name, LIKELIHOODS, key="likelihood_id")
        self.prompts_written = {row["prompt_id"] for row in run.rows(PROMPTS)}
        # An edit of answers changes no likelihood; its opening is a field of the slot.
        weights = replace(arm, edit=None)
        self.fixed = digest({**weights.identity(), "engine": engine.weighing_identity()})
        self.columns = {
            **arm.columns,
            "draw_seed": study.draw_seed,
            "design": study.design,
            "run": run.digest,
        }
        self.weighed = 0
        self.copied = 0

    def write_prompts(
        self, window: Sequence[ReplyContrast], asked: Mapping[tuple[str, str], Question]
    ) -> None:
        """Add the prompts of a window to `likelihood_prompts.jsonl`."""
        prompts = [contrast.prompt for contrast in window]
        write_prompts(
            self.run, prompts, render_ids(self.arm, prompts), asked, self.prompts_written, PROMPTS
        )

    def weigh(
        self, window: Sequence[ReplyContrast], openings: Sequence[Opening], meter: Meter
    ) -> None:
        """Make the missing rows of contrasts, each after its opening."""
        work = []
        copies = []
        for contrast, opening in zip(window, openings, strict=True):
            missing = []
            for slot in self.slots(contrast, opening):
                if slot.likelihood_id in self.book.written:
                    continue
                row = self.book.row(slot.likelihood_id)
                if row is None:
                    missing.append(slot)
                else:
                    copies.append({**row, **self.columns})
            if missing:
                work.append(self.encoded(missing))
        self.run.append(LIKELIHOODS, copies)
        self.copied += len(copies)
        meter.skip(len(window) - len(work))
        if not work:
            return
        for values in self.engine.weigh(self.arm, [prompt_work.weighing for prompt_work in work]):
            rows = []
            for index, sums in values.items():
                rows += likelihood_rows(work[index], sums, self.columns)
            self.run.append(LIKELIHOODS, rows)
            self.weighed += len(rows)
            meter.add(len(values))

    def slots(self, contrast: ReplyContrast, opening: Opening) -> Iterator[CandidateSlot]:
        """Yield a slot for each frame; its id holds all that determines its values."""
        for frame in self.study.likelihood.frames:
            determining = [
                self.fixed,
                contrast.prompt.messages,
                [contrast.right, contrast.wrong],
                frame,
                opening.text,
                opening.own,
            ]
            yield CandidateSlot(contrast, opening, frame, digest(determining))

    def encoded(self, slots: Sequence[CandidateSlot]) -> WeighingWork:
        """Encode the prompt of some slots with its opening, and every different reply."""
        from warmth.evaluation.answer.weighing import Weighing

        contrast = slots[0].contrast
        before = render(self.tokenizer, self.arm.preface + contrast.prompt.messages, reply=True)
        before += slots[0].opening.text
        texts: list[str] = []
        for slot in slots:
            for candidate in reply_candidates(slot):
                if candidate.text not in texts:
                    texts.append(candidate.text)
        ids, ids_of_replies = reply_ids(self.tokenizer, before, texts, contrast.prompt.prompt_id)
        weighing = Weighing(ids, tuple(dict.fromkeys(ids_of_replies)))
        return WeighingWork(tuple(slots), weighing, dict(zip(texts, ids_of_replies, strict=True)))

    def own_openings(
        self, window: Sequence[ReplyContrast]
    ) -> tuple[list[ReplyContrast], list[Opening]]:
        """Let the arm begin its reply to each prompt, greedily, and keep first sentences that name
        no candidate.
        """
        prompts = [contrast.prompt for contrast in window]
        requests = []
        for prompt, ids in zip(prompts, render_ids(self.arm, prompts), strict=True):
            requests.append(Request(ids, OPENING_TOKENS, 0, prompt.messages))
        begun: dict[int, str] = {}
        greedy = Sampling(temperature=0.0, top_p=1.0, max_new_tokens=OPENING_TOKENS)
        for batch in self.engine.answer(self.arm, requests, greedy, lambda index: True):
            for index, completion in batch.items():
                begun[index] = completion.text
        contrasts_with_opening = []
        openings = []
        for index, contrast in enumerate(window):
            sentence = SENTENCE.match(begun[index])
            if sentence and not names_any(sentence[1], contrast.right + contrast.wrong):
                contrasts_with_opening.append(contrast)
                openings.append(Opening(sentence[1], own=True))
        return contrasts_with_opening, openings


def reply_candidates(slot: CandidateSlot) -> list[WeighedReply]:
    """Return the candidates of a slot in its frame, accepted answers first."""
    gap = " " if slot.opening.text else ""
    candidates = []
    for answer in slot.contrast.right:
        candidates.append(WeighedReply(answer, True, gap + reply(slot.frame, answer)))
    for answer in slot.contrast.wrong:
        candidates.append(WeighedReply(answer, False, gap + reply(slot.frame, answer)))
    return candidates


def reply_ids(
    tokenizer: PreTrainedTokenizerBase, before: str, texts: Sequence[str], prompt_id: str
) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """Encode what stands before, and every reply as its tokens behind that.

    Raises:
        UserError: a reply's first token straddles the border, so that it would not be what the
        model has to write.
    """
    whole_texts = [before] + [before + text for text in texts]
    encoded = tokenizer(whole_texts, add_special_tokens=False)["input_ids"]
    ids = tuple(encoded[0])
    result = []
    for text, encoded_row in zip(texts, encoded[1:], strict=True):
        if tuple(encoded_row[: len(ids)]) != ids or len(encoded_row) == len(ids):
            raise UserError(
                f"prompt {prompt_id}: the tokens of the reply {text!r} do not begin where the "
                f"prompt ends; choose other likelihood.frames for this tokenizer"
            )
        result.append(tuple(encoded_row[len(ids) :]))
    return ids, result


def likelihood_rows(
    work: WeighingWork, sums: Sequence[float], columns: Mapping[str, Any]
) -> list[LikelihoodRow]:
    """Make the rows of a prompt; one whose accepted answers are all the tokens of a wrong one is
    left out.
    """
    logprobs = dict(zip(work.weighing.replies, sums, strict=True))
    rows = []
    for slot in work.slots:
        candidates = candidates_of(slot, work.ids, logprobs)
        right = [candidate.logprob for candidate in candidates if candidate.right]
        wrong = [candidate.logprob for candidate in candidates if not candidate.right]
        if right and wrong:
            rows.append(likelihood_row(slot, candidates, log_sum(right), log_sum(wrong), columns))
    return rows


def candidates_of(
    slot: CandidateSlot,
    ids: Mapping[str, tuple[int, ...]],
    logprobs: Mapping[tuple[int, ...], float],
) -> list[Candidate]:
    """Return the candidates of a slot, each token sequence once; one that is right and wrong is
    wrong alone.
    """
    wrong_ids = {ids[reply.text] for reply in reply_candidates(slot) if not reply.right}
    candidates: dict[tuple[int, ...], Candidate] = {}
    for option in reply_candidates(slot):
        tokens = ids[option.text]
        if tokens in candidates or (option.right and tokens in wrong_ids):
            continue
        size = len(option.text.encode())
        candidates[tokens] = Candidate(
            option.answer, option.right, logprobs[tokens], len(tokens), size
        )
    return list(candidates.values())


def likelihood_row(
    slot: CandidateSlot,
    candidates: Sequence[Candidate],
    right: float,
    wrong: float,
    columns: Mapping[str, Any],
) -> LikelihoodRow:
    """Make the row of a slot."""
    prompt = slot.contrast.prompt
    return LikelihoodRow(
        likelihood_id=slot.likelihood_id,
        prompt_id=prompt.prompt_id,
        question_id=prompt.question_id,
        task=prompt.task,
        context=prompt.context,
        belief=prompt.belief,
        preamble=prompt.preamble,
        statement=prompt.statement,
        frame=slot.frame,
        opening=slot.opening.text,
        own_opening=slot.opening.own,
        answer=slot.contrast.right[0],
        position=slot.contrast.position,
        right_logprob=right,
        wrong_logprob=wrong,
        margin=right - wrong,
        candidates=tuple(candidates),
        **columns,
    )


def log_sum(values: Sequence[float]) -> float:
    """Return log Σ exp(value)."""
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))


def names_any(text: str, answers: Sequence[str]) -> bool:
    """Tell whether a text holds one of these answers as whole words, whatever the case."""
    for answer in answers:
        if re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text, re.IGNORECASE):
            return True
    return False
