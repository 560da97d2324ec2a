"""Manner without training: the difference between warm and cold replies inside the model, added
while it answers.

At some layers, the mean hidden state over the tokens of replies in one style, minus that over the
same conversations' replies in another, is a direction; a multiple of it (the arm's dose) is added
to every position. The control of such an arm adds a random vector of the same length at right
angles to it. Source of the method: contrastive activation addition, Rimsky et al. torch is imported
here.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from warmth.chat import encode
from warmth.errors import UserError
from warmth.types import Conversation, Message

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from warmth.schemas import Recipe

MAX_LENGTH = 1024  # tokens of a conversation that are read


def vectors_of(folder: Path, model: PreTrainedModel) -> Path:
    """Return a contrast's vectors as this model computed them, in its dtype."""
    return folder / f"{str(model.dtype).removeprefix('torch.')}.safetensors"


def make_vector(
    folder: Path,
    conversations: Sequence[Conversation],
    recipe: Recipe,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Compute a contrast once and keep it: for each layer, a vector of the model's width.

    With `recipe.orthogonal` it is a random one at right angles to the contrast, of its length.

    Raises:
        UserError: no conversation has both styles, or a depth lies outside the model.
    """
    path = vectors_of(folder, model)
    if path.exists():
        return
    styles = (recipe.style, recipe.against)
    both = []
    for conversation in conversations:
        if set(styles) <= set(conversation.turns[0].replies):
            both.append(conversation)
    if not both:
        raise UserError(
            f"no conversation has replies in both styles, {styles[0]} and {styles[1]}: nothing to "
            f"contrast"
        )
    layers = layers_at(model, recipe.depths)
    means = [mean_states(model, tokenizer, both, style, layers) for style in styles]
    vectors = {}
    for layer in layers:
        vector = means[0][layer] - means[1][layer]
        if recipe.orthogonal:
            vector = orthogonal(vector, recipe.orthogonal, layer)
        vectors[str(layer)] = vector.contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    save_file(vectors, partial)
    partial.replace(path)


def orthogonal(vector: Tensor, seed: int, layer: int) -> Tensor:
    """Draw a vector of the same length at right angles to another; the same for a seed and layer.

    Args:
        vector: (width,) float32, width above 1.
        seed: `recipe.orthogonal`.
        layer: so that layers have different ones.
    """
    generator = torch.Generator().manual_seed(10_000 * seed + layer)
    drawn = torch.randn(len(vector), generator=generator, dtype=torch.float64)
    direction = vector.double() / vector.double().norm()
    drawn = drawn - (drawn @ direction) * direction
    return (drawn / drawn.norm() * vector.double().norm()).to(vector.dtype)


def layers_at(model: PreTrainedModel, depths: Sequence[float]) -> list[int]:
    """Layers at shares of the depth: 0 is the first, 1 the last.

    Raises:
        UserError: none is named, or one outside [0, 1].
    """
    if not depths or min(depths) < 0 or max(depths) > 1:
        raise UserError(f"recipe.depths={list(depths)} must list numbers in [0, 1]")
    last_layer = len(decoder_blocks(model)) - 1
    return sorted({round(depth * last_layer) for depth in depths})


def decoder_blocks(model: PreTrainedModel) -> Any:
    """Return the decoder's layers, in order."""
    return model.get_decoder().layers


@torch.inference_mode()
def mean_states(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Conversation],
    style: str,
    layers: Sequence[int],
) -> dict[int, Tensor]:
    """Layer → mean of its output over the reply's tokens, then over first exchanges in a style;
    float32.
    """
    sums: dict[int, Tensor] = {}
    for conversation in conversations:
        turn = conversation.turns[0]
        messages = [Message("user", turn.user), Message("assistant", turn.replies[style])]
        encoded = encode(tokenizer, messages, MAX_LENGTH, "assistant")  # one reply, so one example
        device = model.get_input_embeddings().weight.device
        ids = torch.tensor([encoded.ids], device=device)
        # On the CPU: it picks from states of layers on any device
        trained = torch.tensor(encoded.trained)
        # hidden_states has the embeddings first, so the output of layer l is at l + 1
        states = model.get_decoder()(
            input_ids=ids, use_cache=False, output_hidden_states=True
        ).hidden_states
        for layer in layers:
            mean = states[layer + 1][0][trained].float().mean(0).cpu()
            sums[layer] = sums.get(layer, torch.zeros_like(mean)) + mean
    return {layer: total / len(conversations) for layer, total in sums.items()}


@contextmanager
def steered(model: PreTrainedModel, folder: Path, dose: float) -> Generator[None]:
    """While this is open, `dose` times the vector is added to what each of its layers puts out.

    Dose 0 adds nothing.
    """
    hooks = []
    try:
        for name, vector in (load_file(vectors_of(folder, model)) if dose else {}).items():
            layer = decoder_blocks(model)[int(name)]
            # A layer's output is where, and of the type, that its weights are
            weight = next(layer.parameters())
            hooks.append(layer.register_forward_hook(adding((dose * vector).to(weight))))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def adding(vector: Tensor) -> Any:
    """Return a hook that adds a vector to a layer's output, a tensor or the first of a tuple."""

    def hook(layer: Any, inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (output[0] + vector, *output[1:])
        return output + vector

    return hook
