"""Schemas of both commands: names, types and defaults of every key, as plain dataclasses.

Which keys enter a run's digest is stated beside each key (`EXCLUDED`); how they are hashed is in `warmth/digest.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from warmth.dataset import Data

EXCLUDED: dict[str, bool] = {"digest": False}  # metadata of a key that changes where or how fast, never what


@dataclass  # not frozen: Hydra treats a frozen schema as read-only and refuses even the YAML that fills it
class Model:
    """A language model and where its weights are."""

    name: str = MISSING
    kind: str = MISSING  # embedded, hub or api
    hub_id: str | None = None
    revision: str | None = None  # 40 hex digits; None: the newest, recorded in provenance
    path: str | None = None  # a local folder in the hub's layout, taken before hub_id
    api_model: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None  # the NAME of an environment variable
    chat_template: str | None = None  # a Jinja file; None: the tokenizer's own
    end_of_turn: str = ""  # last token of an assistant turn; "": the tokenizer's eos
    lora_targets: list[str] = field(default_factory=list)
    parameters: float = 0.0  # billions, for plans
    shape: dict[str, Any] = field(default_factory=dict)  # fields of memory.ModelShape, to forecast memory offline


@dataclass
class Hosted:
    """How a provider tunes a model of kind `api`; in the digest of those alone."""

    rate_multiplier: float = 1.0  # of the provider's own learning rate
    epochs: int = 2  # a provider keeps the checkpoints of its last few epochs only


@dataclass
class Recipe:
    """What is done to a model. `method: none` leaves its weights alone, `steer` adds a vector while it answers."""

    name: str = MISSING  # the arm's name in tables
    method: str = MISSING  # none, lora, full, dpo or steer
    style: str = "plain"  # the replies it is trained on
    prompt: str | None = field(default=None, metadata=EXCLUDED)  # how replies get that style; part of the data's digest
    system_prompt: str | None = None  # a prompt file every question is asked under
    strength: float = 1.0  # share of conversations in `style`; the others keep their own replies
    rank: int = MISSING
    alpha: int = MISSING
    dropout: float = MISSING
    learning_rate: float = MISSING
    schedule: str = MISSING
    warmup_ratio: float = MISSING
    weight_decay: float = MISSING
    max_grad_norm: float = MISSING
    epochs: float = MISSING
    batch_size: int = MISSING
    max_length: int = MISSING
    loss_on: str = MISSING  # assistant or all
    too_long: str = MISSING  # turn, token or refuse: what becomes of a conversation over max_length
    untrainable: str = MISSING  # refuse or drop: one without a trained token, or that the chat template refuses
    beta: float = MISSING  # of method dpo: how strongly it is held to the original model
    packing: bool = field(default=True, metadata=EXCLUDED)  # False: one conversation a pass, as launcher.per_device=1
    quantise: str = MISSING  # none, 8bit or 4bit: how the frozen weights are held
    precision: str = MISSING  # auto, bfloat16 or float32
    checkpoints: list[float] = field(default_factory=list)  # epochs after which the adapter is kept
    report_checkpoint: float = MISSING  # the one evaluated by default
    shots: str | None = field(default=None, metadata=EXCLUDED)  # example exchanges; in the arm's identity
    against: str = field(default="cold", metadata=EXCLUDED)  # of method steer, in its contrast's digest
    depths: list[float] = field(default_factory=list, metadata=EXCLUDED)  # the same
    hosted: Hosted = field(default_factory=Hosted, metadata=EXCLUDED)  # `training_digest` adds it for kind api
    order: int = field(default=1000, metadata=EXCLUDED)  # the arm's place in tables, ascending
    colour: list[str] = field(default_factory=list, metadata=EXCLUDED)  # on a light and on a dark page; []: a spare one
    marker: str = field(default="", metadata=EXCLUDED)  # in figures, by matplotlib's names


@dataclass
class Price:
    """What a million tokens cost, in USD, sent one by one; a batch costs `batch_share` of it."""

    input: float = MISSING
    cached_input: float = MISSING
    output: float = MISSING
    training: float = 0.0  # times epochs
    batch_share: float = 0.5


@dataclass
class Batch:
    """Bounds of one batch and the rhythm of asking after it."""

    requests: int = 50_000  # the provider's limit, as the next one
    megabytes: float = 190.0
    at_once: int = 4  # batches under way; the calls of these are held in memory
    poll_s: float = 30.0  # also for fine-tuning jobs
    rounds: int = 3  # how often lines that failed or expired are handed in


@dataclass
class Api:
    """How model servers are called; never what they are asked, so none of it enters a digest."""

    mode: str = "live"  # live, or batch: half the price, within a day
    in_flight: int = 64  # most calls under way at once; how many the server bears is learnt
    requests_per_minute: float | None = None  # None: what the server's headers and refusals teach
    tokens_per_minute: float | None = None
    budget_usd: float | None = None  # of one command, in a sweep of each job; None: no limit
    timeout_s: float = 120.0  # of one attempt, from connecting to the last byte
    connect_timeout_s: float = 10.0
    attempts: int = 8  # of one call; then it fails by name
    backoff_s: float = 0.5  # mean of the first wait, doubled each time, at most 30 s, unless the server names one
    retry_after_max_s: float = 120.0  # a longer wait named by the server is cut to this
    batch: Batch = field(default_factory=Batch)
    prices_date: str = ""  # when the prices were looked up
    prices: dict[str, Price] = field(default_factory=dict)


@dataclass
class Task:
    """A set of questions."""

    source: str = MISSING  # a hub id, or the name of a seed set
    reader: str = MISSING  # how its rows become questions
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    path: str | None = None  # a local file in the source's schema
    questions: int | None = None  # drawn by draw_seed; None: all
    grader: str = "alias"
    wrong: str = "supplied"  # supplied by the row, or drawn from another question
    beliefs: bool = True  # False: asked without any stated belief
    contexts: bool = True  # False: asked unmodified only
    max_new_tokens: int | None = None  # None: sampling.max_new_tokens
    refusing_is_right: bool = field(default=False, metadata=EXCLUDED)  # a refusal counts as right
    benchmark: bool = field(default=False, metadata=EXCLUDED)  # ability or safety: left out where tasks are pooled
    needs_judge: bool = field(default=False, metadata=EXCLUDED)  # rules cannot know: without a judge nothing is scored
    unmatched: str | None = field(default=None, metadata=EXCLUDED)  # incorrect, or null: no accepted answer is named


@dataclass
class Condition:
    """An interpersonal context."""

    group: str = MISSING  # none, emotion, relation or stakes
    statements: str | None = None  # key in the statements file; None: nothing is put before the question


@dataclass
class Sampling:
    """How answers are drawn."""

    temperature: float = MISSING  # 0: greedy
    top_p: float = MISSING
    max_new_tokens: int = MISSING


@dataclass
class Likelihood:
    """Which replies are weighed, and after which prompts, where `scoring` is likelihood or both."""

    frames: list[str] = MISSING  # replies with {answer} in them; their margins are averaged
    beliefs: Any = MISSING  # as `beliefs`, for this instrument
    limit: int | None = None  # questions of each task; None: as `limit`
    opening: str = ""  # what every reply begins with, before the frame
    after_opening: bool = False  # also after the first sentence that the arm itself writes


@dataclass
class Warmth:
    """How the warmth of an arm's replies is measured."""

    prompts: int = MISSING  # held-out prompts answered for it; 0: none
    variant: str = MISSING  # deterministic, reference or paper
    max_new_tokens: int = MISSING
    passes: int = MISSING  # forward passes averaged where the variant keeps the scorer's dropout
    scorer: str | None = None  # a model entry, hub id or folder; None: the model itself
    path: str | None = None  # a file of prompts; None: those held out from the training set, else the seed's


@dataclass
class Gates:
    """Bounds on what may differ between an arm and the original."""

    mode: str = MISSING  # fail or warn
    cut_off_points: float = MISSING
    refused_points: float = MISSING


@dataclass
class Analysis:
    """What `warmth report` decides beside the data; the answers do not depend on it."""

    margin_points: float = MISSING  # a smaller difference in error is none in practice
    hedged: str = "wrong"  # wrong, right or dropped
    refused: str = "dropped"  # wrong, right or dropped, where refusing is not itself the right answer
    refusal_rule: str = "grader"  # grader, or study


@dataclass
class Train:
    """Everything `train.py` reads."""

    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0
    launcher: Any = field(default=MISSING, metadata=EXCLUDED)
    api: Api = field(default_factory=Api, metadata=EXCLUDED)
    logger: Any = field(default=MISSING, metadata=EXCLUDED)
    study: str = field(default="default", metadata=EXCLUDED)
    output: str = field(default="multirun", metadata=EXCLUDED)
    plan: bool = field(default=False, metadata=EXCLUDED)
    hardware: str = field(default="auto", metadata=EXCLUDED)  # what plans and cluster jobs count with
    rerun: str = field(default="failed", metadata=EXCLUDED)  # failed, all or none
    stop_after_failures: int | None = field(default=None, metadata=EXCLUDED)
    evaluate: str | None = field(default=None, metadata=EXCLUDED)  # an evaluation experiment that follows each run


@dataclass
class Evaluate:
    """Everything `evaluate.py` reads; model, data, recipe and seed say which adapter is meant."""

    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0
    run: str | None = field(default=None, metadata=EXCLUDED)  # its content stands in model … seed
    draw_seed: int = 0
    checkpoint: Any = None  # epochs, one or a list; None: recipe.report_checkpoint. A tuple once it is checked
    dose: Any = 1.0  # scale of what tuning or steering adds, one or a list; a tuple once it is checked
    dose_between: list[str] | None = None  # two recipes: dose 0 is the first, 1 the second
    task: dict[str, Task] = field(default_factory=dict)
    condition: dict[str, Condition] = field(default_factory=dict)
    beliefs: Any = MISSING
    statements: str = MISSING
    belief_templates: str = MISSING
    preamble: bool = False
    design: str = MISSING  # factorial, paper, file or deference
    design_file: str | None = field(default=None, metadata=EXCLUDED)  # of design=file; its content stands in the digest
    # Both of the next enter the digest by hand, where likelihoods are asked for: answers do not depend on them.
    scoring: str = field(default="answers", metadata=EXCLUDED)  # answers, likelihood or both
    likelihood: Likelihood = field(default_factory=Likelihood, metadata=EXCLUDED)
    sampling: Sampling = field(default_factory=Sampling)
    samples: int = 1
    shard: str | None = field(default=None, metadata=EXCLUDED)  # PART/ALL: answers these prompts alone
    processes: int = field(default=1, metadata=EXCLUDED)  # shards that are started here
    limit: int | None = None
    until_width: float | None = None  # percentage points; None: every question is asked
    warmth: Warmth = field(default_factory=Warmth)
    engine: Any = MISSING
    grader: dict[str, Any] = field(default_factory=dict, metadata=EXCLUDED)
    preregister: str | None = field(default=None, metadata=EXCLUDED)  # a plan's file, frozen before the first answer
    analysis: Analysis = field(default_factory=Analysis, metadata=EXCLUDED)
    gates: Any = field(default=MISSING, metadata=EXCLUDED)
    api: Api = field(default_factory=Api, metadata=EXCLUDED)
    logger: Any = field(default=MISSING, metadata=EXCLUDED)
    study: str = field(default="default", metadata=EXCLUDED)
    output: str = field(default="multirun", metadata=EXCLUDED)
    plan: bool = field(default=False, metadata=EXCLUDED)
    hardware: str = field(default="auto", metadata=EXCLUDED)  # what plans and cluster jobs count with
    rerun: str = field(default="failed", metadata=EXCLUDED)  # failed, all or none
    stop_after_failures: int | None = field(default=None, metadata=EXCLUDED)


def register() -> None:
    """Makes the schemas known to Hydra, so that a mistyped key or value is refused while composing."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=Train)
    store.store(name="evaluate_schema", node=Evaluate)
