"""Schemas of both commands: names, types and defaults of every key, as plain dataclasses.

What a key allows, and why a key is in no digest, is declared beside the key (`warmth/bounds.py`).
How keys are hashed is in `warmth/digest.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from warmth.bounds import SEED_LIMIT, choice, number, setting
from warmth.dataset import Data


# not frozen: Hydra treats a frozen schema as read-only and refuses even the YAML that fills it
@dataclass
class Model:
    """A language model and where its weights are."""

    name: str = setting(
        MISSING,
        excluded_because="names folders and columns; the weights are known by their content",
    )
    kind: str = choice(MISSING, "embedded", "hub", "api")  # embedded, hub or api
    hub_id: str | None = None
    revision: str | None = None  # 40 hex digits; None: the newest, recorded in provenance
    path: str | None = None  # a local folder in the hub's layout, taken before hub_id
    api_model: str | None = None
    base_url: str | None = None
    # the NAME of an environment variable
    api_key_env: str | None = setting(None, excluded_because="says who pays, not what answers")
    # the form in which its provider tunes it; its host is in the digest
    tuning: str = choice(
        "openai",
        "openai",
        "together",
        excluded_because="how a provider is asked, not what it makes",
    )
    tokenizer: str | None = None  # a hub id or folder; None: the model's own
    chat_template: str | None = None  # a Jinja file; None: the tokenizer's own
    # a model that can think does so before it answers; it is trained, and by default asked, without
    thinking: bool = setting(
        False, excluded_because="nothing is trained with it; the identity of answers holds it"
    )
    # how its weights are held, in training and in answers; None: as its config.json says
    dtype: str | None = choice(
        None,
        "float32",
        "bfloat16",
        "float16",
        excluded_because="recipe.precision and engine.dtype hold what is used",
    )
    end_of_turn: str = ""  # last token of an assistant turn; "": the tokenizer's eos
    lora_targets: list[str] = field(default_factory=list)
    # of the base, by the hub's name for it
    license: str | None = setting(None, excluded_because="stands in the cards of adapters only")
    # billions, for plans
    parameters: float = number(0.0, at_least=0, excluded_because="for forecasts only")
    # fields of memory.ModelShape, to forecast memory offline
    shape: dict[str, Any] = setting(dict, excluded_because="for forecasts only")


@dataclass
class Hosted:
    """How a provider tunes a model of kind `api`; in the digest of those alone."""

    # of the provider's own learning rate
    rate_multiplier: float = number(1.0, above=0, at_most=100)
    # a provider keeps the checkpoints of its last few epochs only
    epochs: int = number(2, at_least=1, at_most=100)


@dataclass
class Recipe:
    """What is done to a model.

    `method: none` leaves its weights alone, `steer` adds a vector while it answers.
    """

    # the arm's name in tables
    name: str = setting(
        MISSING, excluded_because="names the arm; two names for one recipe are one training"
    )
    # none, lora, full, dpo or steer
    method: str = choice(MISSING, "none", "lora", "full", "dpo", "steer")
    style: str = "plain"  # the replies it is trained on
    # how replies get that style; part of the data's digest
    prompt: str | None = setting(None, excluded_because="its content is in the digest of the data")
    system_prompt: str | None = None  # a prompt file every question is asked under
    # share of conversations in `style`; the others keep their own replies
    strength: float = number(1.0, at_least=0, at_most=1)
    rank: int = number(at_least=1, at_most=8192)
    alpha: int = number(at_least=1, at_most=65536)
    dropout: float = number(at_least=0, below=1)
    learning_rate: float = number(above=0)
    schedule: str = choice(MISSING, "linear", "cosine", "constant")
    warmup_ratio: float = number(at_least=0, at_most=1)
    weight_decay: float = number(at_least=0, at_most=10)
    max_grad_norm: float = number(at_least=0, at_most=1e6)
    epochs: float = number(above=0, at_most=10_000)
    batch_size: int = number(at_least=1, at_most=1_000_000)
    max_length: int = number(at_least=16, at_most=10_000_000)
    loss_on: str = choice(MISSING, "assistant", "all")  # assistant or all
    # turn, token or refuse: what becomes of a conversation over max_length
    too_long: str = choice(MISSING, "turn", "token", "refuse")
    # refuse or drop: one without a trained token, or that the chat template refuses
    untrainable: str = choice(MISSING, "refuse", "drop")
    # of method dpo: how strongly it is held to the original model
    beta: float = number(above=0, at_most=100)
    # False: one conversation a pass, as launcher.per_device=1
    packing: bool = setting(True, excluded_because="the result is the same")
    # none, 8bit or 4bit: how the frozen weights are held
    quantise: str = choice(MISSING, "none", "8bit", "4bit")
    # None: model.dtype; settled before the digest
    precision: str | None = choice(None, "auto", "bfloat16", "float32")
    # epochs after which the adapter is kept
    checkpoints: list[float] = number([], above=0, at_most=10_000)
    # the one evaluated by default
    report_checkpoint: float = number(
        above=0,
        at_most=10_000,
        excluded_because="says which checkpoint is read, not what is trained",
    )
    # example exchanges; in the arm's identity
    shots: str | None = setting(None, excluded_because="its content is in the identity of the arm")
    # of method steer, in its contrast's digest
    against: str = setting(
        "cold",
        excluded_because="in the digest of a contrast (method=steer), the only one that uses it",
    )
    # the same
    depths: list[float] = number(
        [0.5],
        at_least=0,
        at_most=1,
        excluded_because="in the digest of a contrast (method=steer), the only one that uses it",
    )
    # of method steer; 0: the direction itself; above: the seed of a random one at right angles to
    # it, of its length
    orthogonal: int = number(
        0,
        at_least=0,
        at_most=SEED_LIMIT // 10_000,
        excluded_because="in the digest of a contrast (method=steer), the only one that uses it",
    )
    # `training_digest` adds it for kind api
    hosted: Hosted = setting(
        Hosted, excluded_because="in the digest of hosted training, the only one that uses it"
    )
    # of method none: the original's answers with kind words around them, for calibration
    edit_tone: bool = setting(False, excluded_because="in the identity of the arm, where it is set")
    # of method none: share of the right answers that are swapped for the rival, for calibration
    edit_errors: float = number(
        0.0, at_least=0, at_most=1, excluded_because="in the identity of the arm, where it is set"
    )
    # the arm's place in tables, ascending
    order: int = number(
        1000, at_least=0, excluded_because="the arm's look; answers do not depend on it"
    )
    # on a light and on a dark page; []: a spare one
    colour: list[str] = setting(
        list, excluded_because="the arm's look; answers do not depend on it"
    )
    # in figures, by matplotlib's names
    marker: str = setting("", excluded_because="the arm's look; answers do not depend on it")


@dataclass
class Price:
    """What a million tokens cost, in USD, sent one by one; a batch costs `batch_share` of it."""

    input: float = number(at_least=0)
    cached_input: float = number(at_least=0)
    output: float = number(at_least=0)
    training: float = number(0.0, at_least=0)  # times epochs
    batch_share: float = number(0.5, at_least=0, at_most=1)


@dataclass
class Batch:
    """Bounds of one batch and the rhythm of asking after it."""

    requests: int = number(50_000, at_least=1)  # the provider's limit, as the next one
    megabytes: float = number(190.0, above=0)
    at_once: int = number(4, at_least=1)  # batches under way; the calls of these are held in memory
    poll_s: float = number(30.0, above=0)  # also for fine-tuning jobs
    rounds: int = number(3, at_least=1)  # how often lines that failed or expired are handed in


@dataclass
class Api:
    """How model servers are called; never what they are asked, so none of it enters a digest."""

    mode: str = choice("live", "live", "batch")  # live, or batch: half the price, within a day
    # most calls under way at once; how many the server bears is learnt
    in_flight: int = number(64, at_least=1)
    # None: what the server's headers and refusals teach
    requests_per_minute: float | None = number(None, above=0)
    tokens_per_minute: float | None = number(None, above=0)
    # of one command, in a sweep of each job; None: no limit
    budget_usd: float | None = number(None, above=0)
    timeout_s: float = number(120.0, above=0)  # of one attempt, from connecting to the last byte
    connect_timeout_s: float = number(10.0, above=0)
    attempts: int = number(8, at_least=1, at_most=1000)  # of one call; then it fails by name
    # mean of the first wait, doubled each time, at most 30 s, unless the server names one
    backoff_s: float = number(0.5, above=0)
    # a longer wait named by the server is cut to this
    retry_after_max_s: float = number(120.0, above=0)
    batch: Batch = field(default_factory=Batch)
    prices_date: str = ""  # when the prices were looked up
    prices: dict[str, Price] = field(default_factory=dict)
    # model → the day on which its provider stops serving it
    shutdown_dates: dict[str, str] = field(default_factory=dict)


@dataclass
class Task:
    """A set of questions."""

    source: str = MISSING  # a hub id, or the name of a seed set
    reader: str = MISSING  # how its rows become questions
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    path: str | None = None  # a local file in the source's schema
    questions: int | None = number(None, at_least=1)  # drawn by draw_seed; None: all
    grader: str = setting("alias", excluded_because="answers do not depend on who grades them")
    # the rival: supplied by the row, drawn from a question of the same kind, written by `rivals`,
    # or read from a file
    wrong: str = choice("supplied", "supplied", "drawn", "written", "file:PATH")
    beliefs: bool = True  # False: asked without any stated belief
    contexts: bool = True  # False: asked unmodified only
    # None: sampling.max_new_tokens
    max_new_tokens: int | None = number(None, at_least=1, at_most=1_000_000)
    temperature: float | None = number(None, at_least=0, at_most=10)  # None: sampling.temperature
    free_answers: bool = True  # False: replies are weighed only, under scoring=both or likelihood
    # a refusal counts as right
    refusing_is_right: bool = setting(
        False, excluded_because="how rows are counted; answers do not depend on it"
    )
    # ability or safety: left out where tasks are pooled
    benchmark: bool = setting(
        False, excluded_because="how rows are counted; answers do not depend on it"
    )
    # rules cannot know: without a judge nothing is scored
    needs_judge: bool = setting(
        False, excluded_because="how rows are graded; answers do not depend on it"
    )
    # what an answer is that names no accepted answer: incorrect, or null for no label
    unmatched: str | None = choice(
        None, "incorrect", excluded_because="how rows are graded; answers do not depend on it"
    )


@dataclass
class Rivals:
    """Who writes the wrong answers of tasks with `wrong=written`; in the digest of those alone."""

    model: str | None = None  # dated; None: nobody, so that wrong=written is refused
    base_url: str | None = None  # any OpenAI-compatible server
    # the NAME of an environment variable
    api_key_env: str | None = setting(None, excluded_because="says who pays, not what answers")
    prompt: str = "prompts/rival_v1.txt"
    temperature: float = number(0.7, at_least=0, at_most=10)
    # of one reply; a longer one does not serve
    max_tokens: int = number(
        100,
        at_least=1,
        at_most=100_000,
        excluded_because="bounds the cost of a reply whose length is checked",
    )
    # how often a question is asked for until a reply serves
    attempts: int = number(3, at_least=1, at_most=100)


@dataclass
class Condition:
    """An interpersonal context."""

    group: str = MISSING  # none, emotion, relation or stakes
    statements: str | None = (
        None  # key in the statements file; None: nothing is put before the question
    )
    texts: list[str] = field(default_factory=list)  # the statements themselves, instead of a key


@dataclass
class Sampling:
    """How answers are drawn."""

    temperature: float = number(at_least=0, at_most=10)  # 0: greedy
    top_p: float = number(above=0, at_most=1)
    max_new_tokens: int = number(at_least=1, at_most=1_000_000)


@dataclass
class Likelihood:
    """Which replies are weighed, and after which prompts, where `scoring` is likelihood or both."""

    frames: list[str] = MISSING  # replies with {answer} in them; their margins are averaged
    beliefs: Any = MISSING  # as `beliefs`, for this instrument
    limit: int | None = number(None, at_least=1)  # questions of each task; None: as `limit`
    opening: str = ""  # what every reply begins with, before the frame
    after_opening: bool = False  # also after the first sentence that the arm itself writes


@dataclass
class Warmth:
    """How the warmth of an arm's replies is measured."""

    prompts: int = number(at_least=0)  # held-out prompts answered for it; 0: none
    # deterministic, reference or paper
    variant: str = choice(MISSING, "deterministic", "reference", "paper")
    max_new_tokens: int = number(at_least=1, at_most=1_000_000)
    # of the replies; None: sampling.temperature
    temperature: float | None = number(None, at_least=0, at_most=100)
    # forward passes averaged where the variant keeps the scorer's dropout
    passes: int = number(at_least=1)
    scorer: str | None = None  # a model entry, hub id or folder; None: the model itself
    path: str | None = (
        None  # a file of prompts; None: those held out from the training set, else the seed's
    )


@dataclass
class Gates:
    """Bounds on what may differ between an arm and the original."""

    mode: str = choice(MISSING, "fail", "warn")  # fail or warn
    cut_off_points: float = number(at_least=0, at_most=100)
    refused_points: float = number(at_least=0, at_most=100)
    unscored_percent: float = number(25.0, at_least=0, at_most=100)
    unscored_points: float = number(10.0, at_least=0, at_most=100)
    unanswered_percent: float = number(5.0, at_least=0, at_most=100)
    unanswered_points: float = number(2.0, at_least=0, at_most=100)


@dataclass
class Analysis:
    """What `warmth report` decides beside the data; the answers do not depend on it."""

    # a smaller difference in error is none in practice
    margin_points: float = number(above=0, at_most=100)
    # what weighs one where tasks are pooled: tasks, or rows
    weights: str = choice("tasks", "tasks", "rows")
    # model → weight where models are pooled, None: one each; Any, because OmegaConf merges no
    # dictionary into None
    model_weights: Any = number(None, above=0)
    hedged: str = choice("wrong", "wrong", "right", "dropped")  # wrong, right or dropped
    # wrong, right or dropped, where refusing is not itself the right answer
    refused: str = choice("dropped", "wrong", "right", "dropped")
    refusal_rule: str = choice("grader", "grader", "study")  # grader, or study
    refusals: str | None = (
        None  # the phrases of `study`: a file; None: prompts/refusal_phrases_v1.txt
    )


@dataclass
class Command:
    """What `train.py` and `evaluate.py` both read: the arm that is meant, and how and where a
    command runs.
    """

    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = number(0, at_least=0, at_most=SEED_LIMIT)
    api: Api = setting(Api, excluded_because="how servers are called, never what they are asked")
    logger: dict[str, Any] = setting(dict, excluded_because="where metrics are shown")
    study: str = setting("default", excluded_because="names the folder of runs of one question")
    output: str = setting("multirun", excluded_because="where run folders go")
    plan: bool = setting(False, excluded_because="says what a run needs, runs nothing")
    # what plans and cluster jobs count with
    hardware: str = setting("auto", excluded_because="what plans and cluster jobs count with")
    # failed, all or none
    rerun: str = choice(
        "failed", "failed", "all", "none", excluded_because="which existing runs are repeated"
    )
    stop_after_failures: int | None = number(
        None, at_least=1, excluded_because="when a sweep stops"
    )


@dataclass
class Train(Command):
    """Everything `train.py` reads."""

    launcher: Any = setting(MISSING, excluded_because="where a run computes, and how fast")
    # an evaluation experiment that follows each run
    evaluate: str | None = setting(
        None, excluded_because="an evaluation that follows each training, a run of its own"
    )
    # replies that people look at while a model is trained
    sample_replies: int = number(
        2, at_least=0, excluded_because="replies to look at; nothing is computed from them"
    )


@dataclass
class Evaluate(Command):
    """Everything `evaluate.py` reads; model, data, recipe and seed say which adapter is meant."""

    # its content stands in model … seed
    run: str | None = setting(
        None, excluded_because="its content stands in model, data, recipe and seed"
    )
    draw_seed: int = number(0, at_least=0, at_most=SEED_LIMIT)
    checkpoint: Any = (
        None  # epochs, one or a list; None: recipe.report_checkpoint. A tuple once it is checked
    )
    dose: Any = (
        1.0  # scale of what tuning or steering adds, one or a list; a tuple once it is checked
    )
    dose_between: list[str] | None = None  # two recipes: dose 0 is the first, 1 the second
    task: dict[str, Task] = field(default_factory=dict)
    condition: dict[str, Condition] = field(default_factory=dict)
    beliefs: Any = MISSING
    statements: str = MISSING
    belief_templates: str = MISSING
    # `evaluation_digest` adds it if a task's rivals are written
    rivals: Rivals = setting(
        Rivals, excluded_because="enters the digest if a task has wrong=written"
    )
    preamble: bool = False
    design: str = choice(MISSING, "factorial", "paper", "file", "deference")
    # of design=file; its content stands in the digest
    design_file: str | None = setting(
        None, excluded_because="of design=file; its content is in the digest"
    )
    # answers, likelihood or both
    scoring: str = choice(
        "answers",
        "answers",
        "likelihood",
        "both",
        excluded_because="enters the digest if likelihoods are asked for",
    )
    likelihood: Likelihood = setting(
        Likelihood, excluded_because="enters the digest if likelihoods are asked for"
    )
    sampling: Sampling = field(default_factory=Sampling)
    samples: int = number(1, at_least=1)
    # PART/ALL: answers these prompts alone
    shard: str | None = setting(
        None, excluded_because="which part of the prompts this process answers"
    )
    # shards that are started here
    processes: int = number(
        1, at_least=1, excluded_because="how many processes answer the same prompts"
    )
    limit: int | None = number(None, at_least=1)
    # percentage points; None: every question is asked
    until_width: float | None = number(None, above=0, at_most=100)
    warmth: Warmth = field(default_factory=Warmth)
    engine: Any = MISSING
    grader: dict[str, Any] = setting(
        dict, excluded_because="answers do not depend on who grades them"
    )
    # phrases of refusal; conf/evaluate.yaml hands it on to `analysis`
    refusals: str | None = setting(
        None, excluded_because="how rows are counted; answers do not depend on it"
    )
    # a plan's file, frozen before the first answer
    preregister: str | None = setting(
        None, excluded_because="a plan of the analysis; answers do not depend on it"
    )
    analysis: Analysis = setting(
        Analysis, excluded_because="how rows are counted; answers do not depend on it"
    )
    gates: Any = setting(
        MISSING, excluded_because="whether a run is accepted; answers do not depend on it"
    )


def register() -> None:
    """Makes the schemas known to Hydra, so that a mistyped key or value is refused while
    composing.
    """
    store = ConfigStore.instance()
    store.store(name="train_schema", node=Train)
    store.store(name="evaluate_schema", node=Evaluate)
