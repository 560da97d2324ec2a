"""How much memory a rank will need, told from a model's shape before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from warmth.errors import UserError
from warmth.models import hub_file
from warmth.schemas import Model, Recipe

GIB = 2**30
# What a process holds before it loads a model: Python, torch, transformers and their libraries on a
# CPU (measured); on a GPU the CUDA context and the libraries' workspaces, of which PyTorch's own
# peak knows nothing.
BASE = {"cpu": 0.65 * GIB, "cuda": 1.0 * GIB}
# On a CPU, measured (docs/benchmarks.md): oneDNN's compiled bfloat16 products, of which it keeps
# 1,024, one for each shape; and what lies in holes of glibc's heap: a share of a pass, a larger one
# where PEFT's own layers make and drop float32 copies (DPO), and with ZeRO-3, which gathers and
# frees weights all the time, multiples of the gathered ones.
KERNELS = 0.35 * GIB
HOLES = 0.45
HOLES_OF_DPO = 0.85
HOLES_OF_ZERO3 = 4.5
# keys whose scores a token keeps in `short_attention`, in conversations of some 230 tokens
SCORES = 180
# of TRL's logits
TILE_TOKENS = 4096
TILE_VOCABULARY = 32768
# vLLM: answers that must fit its cache at once, of so many tokens, or it waits more than it works;
# and what each GPU holds besides, its CUDA graphs and the largest pass (assumed, not measured).
SEQUENCES = 64
SEQUENCE_TOKENS = 600
SERVING_BASE = 3.0 * GIB

LIVE = 1e9  # weights that ZeRO-3 keeps gathered (DeepSpeed's stage3_max_live_parameters)
# Under ZeRO-1 and 2 on a CPU, further float32 copies of a rank's part of the gradients or weights:
# one of a pass beside those that accumulate, and 2.6 (measured) while it steps: the gradients in
# one piece, AdamW's and the gathering's own.
COPIES = 3.6
# On a GPU, what PyTorch's allocator holds but cannot use: pieces left by passes of other lengths.
# Assumed.
FRAGMENTS = 0.05
# Bytes a trained weight costs beside itself: two moments of AdamW in float32.
MOMENTS = 8
FLOAT = 4
# Bytes a frozen linear weight takes: 4 bits, and the scales of its blocks of 64, themselves in 8
# bits (QLoRA, 2.1).
QUANTISED = {"none": None, "8bit": 1.0, "4bit": 0.5 + 0.127 / 8}


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a decoder of the Llama kind (Llama, Mistral, Qwen 2, SmolLM2) that memory
    depends on.
    """

    layers: int
    width: int  # of the hidden state
    heads: int
    key_heads: int
    head_size: int
    inner: int  # width inside the MLP
    vocabulary: int
    tied: bool  # one matrix for embeddings and logits

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """Return (in, out) of each linear layer, by the name LoRA targets have."""
        queries = self.heads * self.head_size
        keys = self.key_heads * self.head_size
        return {
            "q_proj": (self.width, queries),
            "k_proj": (self.width, keys),
            "v_proj": (self.width, keys),
            "o_proj": (queries, self.width),
            "gate_proj": (self.width, self.inner),
            "up_proj": (self.width, self.inner),
            "down_proj": (self.inner, self.width),
        }

    @property
    def linear_parameters(self) -> int:
        """Count the weights of all linear layers, without embeddings and logits."""
        return self.layers * sum(wide * tall for wide, tall in self.linear.values())

    @property
    def parameters(self) -> int:
        """Count all weights; biases, a thousandth at most, are left out."""
        norms = (2 * self.layers + 1) * self.width
        embeddings = self.vocabulary * self.width
        if not self.tied:
            embeddings *= 2
        return self.linear_parameters + norms + embeddings

    def adapter_parameters(self, rank: int, targets: Sequence[str] = ()) -> int:
        """Count the weights of a LoRA adapter of this rank on these layers (none named: all)."""
        width = 0  # inputs and outputs of the adapted layers of one block
        for name, (wide, tall) in self.linear.items():
            if not targets or name in targets:
                width += wide + tall
        return self.layers * rank * width


@dataclass(frozen=True)
class Memory:
    """Bytes one rank holds at its peak."""

    weights: float
    gradients: float
    optimiser: float
    activations: float  # of a forward and backward pass; while answering, the keys and values
    base: float  # the process itself
    host: float = 0.0  # in main memory beside a GPU: what was offloaded

    @property
    def total(self) -> float:
        """Sum all of it on the rank's device."""
        return self.weights + self.gradients + self.optimiser + self.activations + self.base

    def __str__(self) -> str:
        names = ("weights", "gradients", "optimiser", "activations", "base")
        shown = ", ".join(f"{name} {getattr(self, name) / GIB:.1f}" for name in names)
        return f"{self.total / GIB:.1f} GiB ({shown})"


def shape_of(model: Model) -> ModelShape | None:
    """Read a model's shape: a local folder's own `config.json`, `model.shape`, or the hub's
    `config.json`.

    Returns None for a network of another kind, and for a model that only an API serves.

    Raises:
        UserError: `model.shape` has a key too many or too few, or the hub's file could not be had.
    """
    if model.path:
        return read_shape(Path(model.path) / "config.json")
    if not model.shape:
        if model.kind == "hub" and model.hub_id:
            return read_shape(hub_file(model, "config.json"))
        return None
    names = [shape_field.name for shape_field in fields(ModelShape)]
    if sorted(model.shape) != sorted(names):
        raise UserError(
            f"model.shape has the keys {', '.join(sorted(model.shape))}; it needs "
            f"{', '.join(names)}"
        )
    return ModelShape(**model.shape)


def read_shape(path: Path) -> ModelShape | None:
    """Read the shape in a model folder's `config.json`; None where it is of another kind of network
    or missing.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        heads = int(config["num_attention_heads"])
        return ModelShape(
            layers=int(config["num_hidden_layers"]),
            width=int(config["hidden_size"]),
            heads=heads,
            key_heads=int(config.get("num_key_value_heads") or heads),
            head_size=int(config.get("head_dim") or config["hidden_size"] // heads),
            inner=int(config["intermediate_size"]),
            vocabulary=int(config["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings", False)),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def training_memory(
    shape: ModelShape,
    recipe: Recipe,
    launcher: Mapping[str, Any],
    device: str = "cuda",
    width: int | None = None,
    tokens: int | None = None,
    trained: int | None = None,
    targets: Sequence[str] = (),
) -> Memory:
    """Forecast the peak memory of one rank of a training run.

    Args:
        shape: of the model.
        recipe: method, adapter rank, length, quantisation.
        launcher: an entry of conf/launcher: ranks, nodes, zero_stage, offload, tokens_per_pass,
        checkpointing.
        device: cuda or cpu.
        width: bytes of a number in matrix products; None: 2, bfloat16.
        tokens: of the longest forward pass; None: the most that a pass may hold.
        trained: of these, those whose logits are computed; None: all.
        targets: layers with an adapter; none named: all.
    """
    width = width or 2
    tokens = tokens or max(recipe.max_length, int(launcher.get("tokens_per_pass") or 0))
    if trained is None:
        trained = tokens
    if recipe.method == "dpo":  # a chosen and a rejected reply in each pass
        tokens *= 2
        trained *= 2
    is_full = recipe.method == "full"
    on_cpu = device == "cpu"
    ranks = int(launcher.get("ranks", 1)) * int(launcher.get("nodes", 1))
    stage = int(launcher.get("zero_stage", 0))
    # ZeRO steps on a float32 copy of its part of the weights, which on a GPU are bfloat16
    # themselves
    is_narrow = device == "cuda" and stage > 0 and width == 2
    learnt_width = FLOAT
    if is_narrow:
        learnt_width = width
    if is_full:
        learnt = shape.parameters
        frozen = 0.0
    else:
        learnt = shape.adapter_parameters(recipe.rank, targets)
        frozen = frozen_bytes(shape, recipe, width)
    gradients = learnt * learnt_width / parts_of(ranks, stage, 2)
    if on_cpu and stage in (1, 2):
        gradients += COPIES * learnt * FLOAT / ranks
    weights = frozen + learnt * learnt_width
    gathered = 0.0
    host = 0.0
    if stage == 3:
        gathered = min(1.0, LIVE / shape.parameters) * weights
        weights /= ranks
        if launcher.get("offload", False) and not on_cpu:
            host = weights
    activations = pass_bytes(shape, recipe, launcher, tokens, trained, width, on_cpu)
    if on_cpu and recipe.method == "dpo":
        activations *= 1 + HOLES_OF_DPO
    elif on_cpu:
        activations *= 1 + HOLES
    if is_full:  # the gradient of the logits' weights, before it is added to that of the embeddings
        activations += shape.vocabulary * shape.width * learnt_width
        if not is_narrow and width == 2:  # autocast's copies of the weights it multiplies with
            activations += (shape.linear_parameters + shape.vocabulary * shape.width) * width
        activations += autocast_copies(shape, recipe, width)
    if on_cpu:
        activations += HOLES_OF_ZERO3 * gathered
    else:
        activations *= 1 + FRAGMENTS
    base = BASE[device]
    if on_cpu and width == 2:
        base += KERNELS
    return Memory(
        weights=weights - host + gathered,
        gradients=gradients,
        optimiser=optimiser_bytes(learnt, stage) / parts_of(ranks, stage, 1),
        activations=activations,
        base=base,
        host=host,
    )


def parts_of(ranks: int, stage: int, level: int) -> int:
    """Return among how many ranks something is divided: all from a ZeRO stage on, else one holds
    it whole.
    """
    if stage >= level:
        return ranks
    return 1


def optimiser_bytes(learnt: int, stage: int) -> int:
    """Count the bytes of AdamW's moments, and under ZeRO of the float32 copy that it steps on."""
    if stage:
        return learnt * (MOMENTS + FLOAT)
    return learnt * MOMENTS


def autocast_copies(shape: ModelShape, recipe: Recipe, width: int) -> float:
    """Count the bytes of the logits' weights that autocast copies in a pass: a quantised base has
    float32 ones.
    """
    if recipe.quantise == "none" or width == FLOAT:
        return 0.0
    return shape.vocabulary * shape.width * width


def frozen_bytes(shape: ModelShape, recipe: Recipe, width: int) -> float:
    """Count the bytes of a base model whose weights do not learn.

    Quantisation makes the linear layers small; embeddings, logits and norms of such a base are held
    in float32 (PEFT's `prepare_model_for_kbit_training`).
    """
    small = QUANTISED[recipe.quantise]
    if small is None:
        return shape.parameters * width
    return shape.linear_parameters * small + (shape.parameters - shape.linear_parameters) * FLOAT


def pass_bytes(
    shape: ModelShape,
    recipe: Recipe,
    launcher: Mapping[str, Any],
    tokens: int,
    trained: int,
    width: int,
    on_cpu: bool = False,
) -> float:
    """Count the bytes that one forward pass keeps for its backward pass, and the logits with their
    gradient.

    Args:
        shape: of the model.
        recipe: method, dropout.
        launcher: an entry of conf/launcher.
        tokens: of the pass.
        trained: of these, those whose logits are computed.
        width: bytes of a number in matrix products.
        on_cpu: short conversations are attended to by `short_attention` there, in bfloat16.
    """
    layer = layer_bytes(shape, recipe, int(launcher.get("zero_stage", 0)), width)
    if on_cpu and width == 2 and recipe.method == "lora":
        layer += width * shape.heads * SCORES
    logits = trained * shape.vocabulary * 2 * width
    if recipe.method == "dpo":
        # TRL computes them in tiles and keeps none; without Triton a tile has float32 copies
        logits = min(trained, TILE_TOKENS) * min(shape.vocabulary, TILE_VOCABULARY) * width
        if on_cpu:
            logits = logits // width * (width + 3 * FLOAT)
    if not launcher.get("checkpointing", False):
        return tokens * shape.layers * layer + logits
    residual = width * shape.width
    if recipe.method == "full":
        residual = FLOAT * shape.width
    return tokens * (shape.layers * residual + layer) + logits


def runs_peft(recipe: Recipe, stage: int) -> bool:
    """Tell whether adapted layers are PEFT's own rather than those of `warmth/training/lora.py`."""
    return recipe.method == "dpo" or (
        recipe.method == "lora" and (stage == 3 or recipe.quantise != "none")
    )


def layer_bytes(shape: ModelShape, recipe: Recipe, stage: int, width: int) -> float:
    """Count the bytes of one token in one layer of the Llama kind, as autograd keeps them (counted
    by its hooks).

    Norms keep their input in float32, and what they made of it where their weight learns; the MLP
    its gate, before and after its activation, and the other factor; attention its queries, keys,
    values and output.
    """
    queries = shape.heads * shape.head_size
    keys = shape.key_heads * shape.head_size
    norms = 2 * FLOAT * shape.width
    if recipe.method == "full":
        norms *= 2
    mlp = 3 * width * shape.inner
    attention = width * (2 * queries + 2 * keys)
    if recipe.method == "dpo":
        attention = width * 4 * queries  # TRL's repeats the keys
    return norms + mlp + attention + linear_input_bytes(shape, recipe, stage, width)


def linear_input_bytes(shape: ModelShape, recipe: Recipe, stage: int, width: int) -> float:
    """Count the bytes of one token that the linear layers of a block keep.

    Layers that share an input keep it once, unless autocast or an adapter makes each its own copy.
    """
    queries = shape.heads * shape.head_size
    shared = 2 * shape.width + queries + shape.inner
    per_layer = 5 * shape.width + queries + shape.inner
    has_dropout = bool(recipe.dropout)
    if recipe.method == "full":
        if width == FLOAT:
            return width * shared
        if stage == 3:
            return FLOAT * 2 * shape.width + width * (queries + shape.inner)
        return width * per_layer
    if stage == 3:
        # PEFT's layers, whose weights DeepSpeed gathers: input, mask and what it lets through
        if has_dropout:
            return width * shared + 2 * FLOAT * per_layer
        if width < FLOAT:
            return width * shared + FLOAT * per_layer
        return width * shared
    if runs_peft(recipe, stage):
        if has_dropout:
            return (FLOAT + width) * per_layer
        if width == FLOAT:
            return width * shared
        return width * per_layer
    # `warmth/training/lora.py`
    if has_dropout:
        return 2 * width * per_layer
    return width * shared


def answering_memory(
    shape: ModelShape, batch: int, prompt: int, answer: int, device: str = "cuda", width: int = 2
) -> Memory:
    """Forecast the peak memory of a process that answers: weights, the cache of `batch` prompts and
    answers, and the first pass.

    Args:
        shape: of the model.
        batch: prompts answered at once.
        prompt: tokens of the longest prompt.
        answer: most tokens of an answer.
        device: cuda or cpu.
        width: bytes of a number: 2 in bfloat16, 4 in float32.
    """
    cache = cache_bytes(shape, width) * batch * (prompt + answer)
    first_pass = batch * prompt * width * (2 * shape.width + 3 * shape.inner)
    logits = batch * shape.vocabulary * (width + FLOAT)
    return Memory(
        weights=shape.parameters * width,
        gradients=0.0,
        optimiser=0.0,
        activations=cache + first_pass + logits,
        base=BASE[device],
    )


def cache_bytes(shape: ModelShape, width: int) -> int:
    """Count the bytes of the keys and values of one token."""
    return 2 * shape.layers * shape.key_heads * shape.head_size * width


def serving_memory(
    shape: ModelShape, gpus: int, sequences: int = SEQUENCES, width: int = 2
) -> Memory:
    """Count what vLLM needs at least on each of the GPUs that share a model: its part of weights
    and cache.

    Args:
        shape: of the model.
        gpus: that share each layer.
        sequences: answers under way at once; more wait for room.
        width: bytes of a number.
    """
    cache = cache_bytes(shape, width) * SEQUENCE_TOKENS * min(sequences, SEQUENCES)
    return Memory(
        weights=shape.parameters * width / gpus,
        gradients=0.0,
        optimiser=0.0,
        activations=cache / gpus,
        base=SERVING_BASE,
    )


def gpus_to_serve(
    shape: ModelShape, available: float, sequences: int = SEQUENCES, width: int = 2
) -> int:
    """Choose how many GPUs share a model: the fewest that hold it, of numbers that divide its
    heads; else the most.

    Args:
        shape: of the model.
        available: bytes of each GPU that vLLM may take.
        sequences: answers under way at once.
        width: bytes of a number.
    """
    allowed = [gpus for gpus in (1, 2, 4, 8) if shape.heads % gpus == 0]
    for gpus in allowed:
        if serving_memory(shape, gpus, sequences, width).total <= available:
            return gpus
    return allowed[-1]


def refuse_if_too_big(
    need: Memory, available: float, launcher: Mapping[str, Any], method: str
) -> None:
    """End a run that cannot fit before it loads anything.

    Args:
        need: of one rank.
        available: bytes free for one rank.
        launcher: what could be changed about it.
        method: of the recipe.

    Raises:
        UserError: with the forecast, what there is, and what to change.
    """
    if need.total <= available:
        return
    remedies = []
    if launcher.get("tokens_per_pass"):
        remedies.append("launcher.tokens_per_pass=null")
    if not launcher.get("checkpointing", False):
        remedies.append("launcher.checkpointing=true")
    if int(launcher.get("zero_stage", 0)) < 3:
        remedies.append("launcher=deepspeed_zero3 on several GPUs, or launcher=auto")
    else:
        remedies.append("more launcher.ranks")
        if not launcher.get("offload", False):
            remedies.append("launcher=deepspeed_zero3_offload")
    if method == "lora":
        remedies.append("recipe.quantise=4bit")  # suggested, never chosen: it changes the result
    raise UserError(
        f"a rank would need {need}, but {available / GIB:.1f} GiB are free; try "
        f"{', '.join(remedies)}"
    )
