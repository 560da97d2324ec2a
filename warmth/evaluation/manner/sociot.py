"""SocioT: does a text sound as if someone close had said it? Source: Cheng et al.

A text is heard from four close and four distant speakers; its warmth is the difference of the mean
log-likelihoods per token, in nats, under a language model. Values compare only within one variant,
scorer and dtype.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from warmth import loaded
from warmth.digest import digest
from warmth.errors import UserError
from warmth.evaluation.answer import likelihood
from warmth.evaluation.answer.answers import answer_prompts
from warmth.evaluation.answer.arms import Arm
from warmth.evaluation.answer.engines import Engine
from warmth.evaluation.answer.likelihood import TokenRow
from warmth.evaluation.answer.weighing import Weighing
from warmth.evaluation.identity import scored_by_engine, scorer_of
from warmth.evaluation.progress import Meter, note_progress
from warmth.models import load_tokenizer
from warmth.precision import dtype_of
from warmth.schemas import Evaluate
from warmth.store import Run
from warmth.types import Prompt, WarmthScore

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CLOSE = ("My friend", "The lover", "The mentor", "The idol")  # so in the published code
CLOSE_PAPER = ("My friend", "My lover", "My mentor", "My idol")  # so in the paper's text
DISTANT = ("The stranger", "The enemy", "The examiner", "The dictator")
# The close ones of each variant
SPEAKERS = {
    "deterministic": CLOSE,
    "reference": CLOSE,
    "paper": CLOSE_PAPER,
}
CUT = 300  # characters of a text that `reference` and `paper` read
PASSES = 100  # of a scorer with dropout, as published
TEXTS = 64  # scored between two writes
PREFIX_TOKENS = 16  # room kept for a beginning in the scorer's window


@dataclass(frozen=True)
class Score:
    """The warmth of one text, in nats per token."""

    score: float  # close - distant; above 0 reads warmer
    close: float  # mean log-likelihood per token after the close speakers
    distant: float


@dataclass(frozen=True)
class Unscored:
    """A text that has no score, and why."""

    reason: str


def score_texts(
    texts: Sequence[str],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    variant: str = "deterministic",
    batch_tokens: int | None = None,
    passes: int = PASSES,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Score | Unscored]:
    """Score the warmth of each text; an empty or too long one has none, and says so.

    Args:
        texts: as they are, neither stripped nor normalised; a lone surrogate is read as U+FFFD.
        model: the scorer, any causal language model.
        tokenizer: the scorer's; no special token is added.
        variant: `deterministic` (the text's own tokens, whole text, no dropout), `reference` (what
            the published code computes, with the dropout that its scorer has), or `paper` (the same
            with the speakers as the text has it).
        batch_tokens: how many tokens, padding included, are read at once; bounds memory, changes no
            score but by rounding (in bfloat16 some 2e-4) and the dropout noise of `reference` and
            `paper`. Without one, as many as suit the device.
        passes: forward passes averaged where the scorer has dropout and the variant uses it;
            without dropout all passes are equal and one is made.
        seed: of the dropout, which a text's own content completes: its score does not depend on
        other texts.
        progress: told how many more texts are done.

    Raises:
        UserError: an unknown variant, or fewer than one pass.
    """
    if variant not in SPEAKERS:
        raise UserError(
            f"warmth.variant={variant} is not allowed; choose one of: {', '.join(SPEAKERS)}"
        )
    if passes < 1:
        raise UserError(f"warmth.passes={passes} must be above 0")
    texts = _without_surrogates(texts)
    speakers = SPEAKERS[variant] + DISTANT
    starts = _starts(tokenizer, speakers)
    limit = int(getattr(model.config, "max_position_embeddings", 0) or 0)
    result: list[Score | Unscored] = [Unscored("no text")] * len(texts)
    # the ids of a text's eight prompts, or of its body alone
    heard: dict[int, list[list[int]]] = {}
    for index, text in enumerate(texts):
        prompts = _prompts(text, speakers, tokenizer, variant)
        if not prompts or not prompts[0]:
            continue
        length = max(map(len, prompts))
        if variant == "deterministic":
            length += PREFIX_TOKENS
        if limit and length > limit:
            result[index] = Unscored(f"{length:,} tokens, of which the scorer reads {limit:,}")
        else:
            heard[index] = prompts
    progress(len(texts) - len(heard))
    batch_tokens = batch_tokens or likelihood.tokens_at_once(model)
    if variant == "deterministic":
        log_probs = _own_tokens(heard, starts, model, batch_tokens)
    elif likelihood.has_dropout(model):
        log_probs = _noisy_sets(heard, texts, model, batch_tokens, passes, seed)
    else:
        log_probs = _sets(heard, starts, model, batch_tokens)
    for index, values in log_probs:
        result[index] = _score_of(values)
        progress(1)
    return result


def score_by_engine(
    texts: Sequence[str], engine: Any, arm: Arm, tokenizer: Any
) -> list[Score | Unscored]:
    """Score the warmth of each text, variant `deterministic`, by the model that an engine holds,
    without adapters.

    Args:
        texts: as they are.
        engine: one that weighs replies, and knows its longest prompt as `max_length`.
        arm: whose engine it is.
        tokenizer: the scorer's; no special token is added.
    """
    starts = _starts(tokenizer, CLOSE + DISTANT)
    bodies = [tuple(_ids(tokenizer, text)) for text in _without_surrogates(texts)]
    result: list[Score | Unscored] = []
    heard: list[int] = []  # the texts that can be read
    weighings: list[Weighing] = []
    for index, body in enumerate(bodies):
        result.append(_unread(body, engine.max_length))
        if 0 < len(body) <= engine.max_length - PREFIX_TOKENS:
            heard.append(index)
            for start in starts:
                weighings.append(Weighing(tuple(start), (body,)))
    sums: dict[int, float] = {}
    for weighed in engine.weigh_by_base(arm, weighings):
        for number, (value,) in weighed.items():
            sums[number] = value
    for position, index in enumerate(heard):
        numbers = range(position * len(starts), (position + 1) * len(starts))
        result[index] = _score_of([sums[number] / len(bodies[index]) for number in numbers])
    return result


def _without_surrogates(texts: Sequence[str]) -> list[str]:
    """Return texts in which a lone surrogate is U+FFFD."""
    return [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]


def _starts(tokenizer: Any, speakers: Sequence[str]) -> list[list[int]]:
    """Return the ids of what stands before a text, for each speaker."""
    return [_ids(tokenizer, f'{speaker} said, "') for speaker in speakers]


def _score_of(values: Sequence[float]) -> Score:
    """Return the score of a text from its log-likelihood per token after each speaker."""
    close = fmean(values[: len(CLOSE)])
    distant = fmean(values[len(CLOSE) :])
    return Score(close - distant, close, distant)


def _unread(ids: Sequence[int], limit: int) -> Unscored:
    if not ids:
        return Unscored("no text")
    return Unscored(f"{len(ids):,} tokens, of which the scorer reads {limit:,}")


def _prompts(text: str, speakers: Sequence[str], tokenizer: Any, variant: str) -> list[list[int]]:
    """Return the text's own ids, once; for the other variants those of each speaker's whole prompt,
    tokenised in one piece.
    """
    if not text:
        return []
    if variant == "deterministic":
        return [_ids(tokenizer, text)]
    return [_ids(tokenizer, f'{speaker} said, "{text[:CUT]}"') for speaker in speakers]


def _own_tokens(
    heard: Mapping[int, list[list[int]]],
    starts: Sequence[list[int]],
    model: PreTrainedModel,
    batch_tokens: int,
) -> Iterator[tuple[int, list[float]]]:
    """Yield the mean log-probability of each text's tokens after each beginning: every speaker says
    the same tokens.
    """
    rows = []
    for bodies in heard.values():
        for start in range(len(starts)):
            rows.append(TokenRow(start, tuple(bodies[0])))
    gained = likelihood.token_log_probs(model, starts, rows, batch_tokens)
    means = ((at, fmean(values)) for at, values in gained)
    yield from _collected(list(heard), len(starts), means)


def _sets(
    heard: Mapping[int, list[list[int]]],
    starts: Sequence[list[int]],
    model: PreTrainedModel,
    batch_tokens: int,
) -> Iterator[tuple[int, list[float]]]:
    """Yield minus the loss of each set of four prompts, once for each of its speakers; what all
    texts share is read once.

    A prompt is padded to the longest of its set and its padding scored like text, as published.
    """
    readable_starts = []
    for number, start in enumerate(starts):
        readable_starts.append(_common(start, [prompts[number] for prompts in heard.values()]))
    start_values = likelihood.start_log_probs(model, readable_starts) if heard else []
    rows = []
    cells = []
    for prompts in heard.values():
        for number, ids in enumerate(prompts):
            is_close = number < len(CLOSE)
            group = prompts[: len(CLOSE)] if is_close else prompts[len(CLOSE) :]
            width = max(map(len, group))
            rows.append(
                TokenRow(number, tuple(ids[len(readable_starts[number]) :]), width - len(ids))
            )
            cells.append(width - 1)
    gained = likelihood.token_log_probs(model, readable_starts, rows, batch_tokens)
    means = (
        (row, (sum(values) + start_values[rows[row].start]) / cells[row]) for row, values in gained
    )
    yield from _collected(list(heard), len(starts), means)


def _noisy_sets(
    heard: Mapping[int, list[list[int]]],
    texts: Sequence[str],
    model: PreTrainedModel,
    batch_tokens: int,
    passes: int,
    seed: int,
) -> Iterator[tuple[int, list[float]]]:
    """Yield what `_sets` does with dropout on, the mean over passes; a text's noise comes from the
    seed and its own content.
    """
    for index, prompts in heard.items():
        values: list[float] = []
        with likelihood.dropout_on(model, int(digest([seed, texts[index]]), 16) % 2**63):
            for group in (prompts[: len(CLOSE)], prompts[len(CLOSE) :]):
                loss = likelihood.set_loss(group, model, passes, batch_tokens)
                values += [-loss] * len(group)
        yield index, values


def _collected(
    indices: Sequence[int], count: int, values: Iterator[tuple[int, float]]
) -> Iterator[tuple[int, list[float]]]:
    """Yield a text's `count` values as soon as all have come; they arrive row by row, in any
    order.
    """
    waiting: dict[int, dict[int, float]] = defaultdict(dict)
    for at, value in values:
        text = waiting[at // count]
        text[at % count] = value
        if len(text) == count:
            yield indices[at // count], [text[number] for number in range(count)]
            del waiting[at // count]


def _common(start: list[int], prompts: Sequence[list[int]]) -> list[int]:
    """Return the ids with which a beginning and all prompts of its speaker begin.

    A prompt keeps one token for itself.
    """
    length = min([len(start), *(len(ids) - 1 for ids in prompts)])
    while length > 1 and any(ids[:length] != start[:length] for ids in prompts):
        length -= 1  # a text that begins with a quotation mark joins it to the one before
    return start[:length]


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def is_reply(row: Mapping[str, Any]) -> bool:
    """Tell whether a row of `replies.jsonl` holds what the arm said, rather than a failure or
    nothing.
    """
    return row["finish"] in ("stop", "length") and bool(row["text"].strip())


class Heard:
    """Tell the stage under way how many texts of the batch are scored."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, count: int) -> None:
        """Count some more."""
        self.count += count
        note_progress(self.count, 0)


def score_warmth(
    run: Run, arm: Arm, engine: Engine, study: Evaluate, prompts: Sequence[Prompt]
) -> None:
    """Fill `replies.jsonl`, the arm's replies to held-out prompts, and `warmth.jsonl`, the
    scorer's scores.
    """
    if not prompts:
        return
    sampling = study.sampling
    if study.warmth.temperature is not None:
        sampling = replace(sampling, temperature=study.warmth.temperature)
    answer_prompts(run, "replies", engine, arm, prompts, sampling, 1, study.draw_seed)
    scored = {row["text_id"] for row in run.rows("warmth")}
    replies = [
        row for row in run.rows("replies") if row["answer_id"] not in scored and is_reply(row)
    ]
    if not replies:
        return
    messages = {prompt.prompt_id: prompt.messages[-1].content for prompt in prompts}
    scorer = scorer_of(study)
    dtype = engine.precision() if scorer == study.model else dtype_of(scorer)
    tokenizer = load_tokenizer(scorer, chat=False)
    by_engine = scored_by_engine(study, engine)
    scored_by = f"{scorer.name} {dtype}"
    model = None
    if by_engine:
        scored_by += f" {engine.family}"
    else:  # a scorer of its own stays beside the model that answers, if there is room
        model = loaded.load_once(scorer, getattr(torch, dtype), "scores")
    columns = {name: value for name, value in arm.columns.items() if name != "strength"}
    with Meter(f"{arm.name} warmth", "texts", len(replies), run.folder) as meter:
        for start in range(0, len(replies), TEXTS):
            reply_rows = replies[start : start + TEXTS]
            texts = [row["text"] for row in reply_rows]
            if by_engine:
                scores = score_by_engine(texts, engine, arm, tokenizer)
            else:
                scores = score_texts(
                    texts,
                    model,
                    tokenizer,
                    study.warmth.variant,
                    passes=study.warmth.passes,
                    seed=study.draw_seed,
                    progress=Heard().add,
                )
            rows = []
            for row, text_score in zip(reply_rows, scores, strict=True):
                if isinstance(text_score, Unscored):
                    continue
                warmth_row = WarmthScore(
                    text_id=row["answer_id"],
                    **columns,
                    draw_seed=study.draw_seed,
                    # ty: ignore[invalid-argument-type]  (its choices are checked at the door)
                    variant=study.warmth.variant,
                    scorer=scored_by,
                    **asdict(text_score),
                    text=row["text"],
                    prompt=messages[row["prompt_id"]],
                    run=run.digest,
                )
                rows.append(warmth_row)
            run.append("warmth", rows)
            meter.add(len(reply_rows))
