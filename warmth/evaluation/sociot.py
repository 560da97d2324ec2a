"""SocioT: does a text sound as if someone close had said it? Source: Cheng et al.

A text is heard from four close and four distant speakers; its warmth is the difference of the mean log-likelihoods per
token, in nats, under a language model. Values compare only within one scoring model and dtype. torch is imported here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from warmth.errors import UserError
from warmth.evaluation.answers import answer, rendered_by
from warmth.evaluation.arms import Arm
from warmth.evaluation.decoding import base_of, tokenizer_of
from warmth.evaluation.engines import Engine
from warmth.evaluation.identity import scorer_of
from warmth.evaluation.progress import Meter
from warmth.schemas import Evaluate
from warmth.store import Run
from warmth.types import Prompt, WarmthScore

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CLOSE = ("My friend", "The lover", "The mentor", "The idol")
DISTANT = ("The stranger", "The enemy", "The examiner", "The dictator")
CUT = 300  # characters of a text that `reference` reads
TEXTS = 64  # scored between two writes


@dataclass(frozen=True)
class Score:
    """The warmth of one text, in nats per token."""

    score: float  # close - distant; above 0 reads warmer
    close: float  # mean log-likelihood per token after the close speakers
    distant: float


def score(
    texts: Sequence[str],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    variant: str = "deterministic",
    batch_tokens: int = 2048,
) -> list[Score | None]:
    """Warmth of each text; None for an empty one, which has no score.

    Args:
        texts: as they are, neither stripped nor normalised.
        model: the scorer, any causal language model.
        tokenizer: the scorer's; no special token is added.
        variant: `deterministic` (the text's own tokens, whole text) or `reference` (what the published code computes,
            without the dropout that its scorer has).
        batch_tokens: how many tokens, padding included, are scored at once; bounds memory, does not change results.

    Raises:
        UserError: a variant that is not implemented.
    """
    if variant not in SET_VALUES:
        raise UserError(f"warmth.variant={variant} is not available yet; choose one of: {', '.join(SET_VALUES)}")
    result: list[Score | None] = [None] * len(texts)
    filled = [index for index, text in enumerate(texts) if text]
    for index, values in zip(
        filled, SET_VALUES[variant]([texts[index] for index in filled], model, tokenizer, batch_tokens), strict=True
    ):
        close, distant = fmean(values[: len(CLOSE)]), fmean(values[len(CLOSE) :])
        result[index] = Score(close - distant, close, distant)
    return result


def deterministic(
    texts: Sequence[str], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_tokens: int
) -> list[list[float]]:
    """Mean log-probability of each text's tokens after each of the eight prefixes.

    Prefix and text are tokenised apart and joined, so that every speaker says the same tokens.
    """
    prefixes = [_ids(tokenizer, f'{speaker} said, "') for speaker in CLOSE + DISTANT]
    bodies = [_ids(tokenizer, text) for text in texts]
    longest = max(map(len, prefixes))
    result: list[list[float]] = [[] for _ in texts]
    for part in buckets([len(body) for body in bodies], batch_tokens // len(prefixes), longest):
        rows = [(prefix, bodies[index]) for index in part for prefix in prefixes]
        gained = token_log_probs(model, [prefix + body for prefix, body in rows], min(map(len, prefixes)) - 1)
        means = [sum(values[-len(body) :]) / len(body) for values, (_, body) in zip(gained, rows, strict=True)]
        for place, index in enumerate(part):
            result[index] = means[place * len(prefixes) : (place + 1) * len(prefixes)]
    return result


def reference(
    texts: Sequence[str], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_tokens: int
) -> list[list[float]]:
    """The published code's quantity: minus the loss of each set of four prompts, once for each of its speakers."""
    result = []
    for text in texts:
        quote = f'"{text[:CUT]}"'
        sets = [[f"{speaker} said, {quote}" for speaker in group] for group in (CLOSE, DISTANT)]
        losses = [set_loss([_ids(tokenizer, prompt) for prompt in prompts], model) for prompts in sets]
        result.append([-loss for loss, group in zip(losses, (CLOSE, DISTANT), strict=True) for _ in group])
    return result


SET_VALUES = {"deterministic": deterministic, "reference": reference}


@torch.inference_mode()
def set_loss(rows: Sequence[Sequence[int]], model: PreTrainedModel) -> float:
    """Mean loss over all positions of right-padded rows; padding (token 0) is scored like text, as published."""
    width = max(map(len, rows))
    device = model.get_input_embeddings().weight.device
    tokens = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in rows], device=device)
    mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in rows], device=device)
    positions = torch.arange(width, device=device).expand(len(rows), -1)
    logits = model(input_ids=tokens, attention_mask=mask, position_ids=positions, use_cache=False).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten()).item()


@torch.inference_mode()
def token_log_probs(model: PreTrainedModel, rows: Sequence[Sequence[int]], skip: int) -> list[list[float]]:
    """Log-probability of every token after the first `skip + 1`, given those before it, for each row.

    Rows are padded on the right, where a causal model cannot see; logits are made only where they are read.
    """
    width = max(map(len, rows))
    device = model.get_input_embeddings().weight.device
    tokens = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in rows], device=device)
    logits = model(input_ids=tokens, use_cache=False, logits_to_keep=width - skip).logits[:, :-1]
    targets = tokens[:, skip + 1 :, None]
    # Row by row: a float32 copy of a whole batch's logits is what would not fit. log_softmax, as the golden values have
    # it: on this many tokens it is some 9e-6 off the exact value, alike for every speaker, so scores do not change.
    gained = torch.stack(
        [
            own.float().log_softmax(-1).gather(-1, target.to(own.device))[:, 0]
            for own, target in zip(logits, targets, strict=True)
        ]
    )
    return [line[: len(ids) - skip - 1] for line, ids in zip(gained.tolist(), rows, strict=True)]


def buckets(lengths: Sequence[int], tokens: int, extra: int) -> Iterator[list[int]]:
    """Positions grouped by like length; a padded group holds at most `tokens`, `extra` more for each, or is one."""
    part: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if part and (len(part) + 1) * (lengths[part[0]] + extra) > tokens:
            yield part
            part = []
        part.append(index)
    if part:
        yield part


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def score_run(run: Run, arm: Arm, engine: Engine, study: Evaluate, prompts: Sequence[Prompt]) -> None:
    """Fills `replies.jsonl`, the arm's replies to held-out prompts, and `warmth.jsonl`, the scorer's scores."""
    if not prompts:
        return
    rendered = rendered_by(engine, arm, prompts)
    answer(run, "replies", engine, arm, prompts, rendered, study.sampling, 1, study.draw_seed)
    scored = {row["text_id"] for row in run.rows("warmth")}
    replies = [row for row in run.rows("replies") if row["answer_id"] not in scored and row["text"].strip()]
    if not replies:
        return
    messages = {prompt.prompt_id: prompt.messages[-1].content for prompt in prompts}
    scorer, dtype = scorer_of(study), engine.precision()
    model, tokenizer = base_of(scorer, getattr(torch, dtype)), tokenizer_of(scorer)
    with Meter(f"{arm.name} warmth", "texts", len(replies)) as meter:
        for start in range(0, len(replies), TEXTS):
            part = replies[start : start + TEXTS]
            scores = score([row["text"] for row in part], model, tokenizer, study.warmth.variant)
            rows = [
                WarmthScore(
                    text_id=row["answer_id"],
                    **{name: value for name, value in arm.columns.items() if name != "strength"},
                    draw_seed=study.draw_seed,
                    variant=study.warmth.variant,  # ty: ignore[invalid-argument-type]  (its choices are checked at the door)
                    scorer=f"{scorer.name} {dtype}",
                    **asdict(found),
                    text=row["text"],
                    prompt=messages[row["prompt_id"]],
                    run=run.digest,
                )
                for row, found in zip(part, scores, strict=True)
                if found is not None
            ]
            run.append("warmth", rows)
            meter.add(len(part))
