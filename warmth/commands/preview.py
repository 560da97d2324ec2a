"""`warmth preview`: conversations with what is trained of them coloured, token by token, and
prompts as asked.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from warmth.analysis.wording import amount
from warmth.errors import UserError
from warmth.text import print_json, visible

if TYPE_CHECKING:
    from warmth.schemas import Evaluate, Train
    from warmth.types import Conversation, Message

WINDOW = 8  # tokens that are decoded before one, so that it reads as it does in the text
# how one token is shown, and the next, by whether it is trained
STYLES = {
    False: ("dim", "default"),
    True: ("bold black on green", "bold black on bright_green"),
}


@dataclass(frozen=True)
class Sample:
    """What a model sees at once: an example it is trained on, or a prompt it is asked."""

    id: str
    kind: str  # trained or asked
    tokens: tuple[str, ...]
    trained: tuple[bool, ...]
    problem: str = ""  # why there is nothing to show

    def row(self) -> dict[str, Any]:
        """Return the sample as a row of `--json`."""
        row: dict[str, Any] = {"id": self.id, "kind": self.kind}
        row |= {"tokens": list(self.tokens), "trained": list(self.trained)}
        row["text"] = "".join(self.tokens)
        if self.problem:
            row["problem"] = self.problem
        return row


def preview(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[OVERRIDES...]", help="Overrides as train.py and evaluate.py take them."
        ),
    ] = None,
    count: Annotated[
        int,
        typer.Option("--n", min=1, help="Number of conversations and number of prompts to show."),
    ] = 5,
    as_json: Annotated[
        bool, typer.Option("--json", help="Machine-readable output, alone on standard output.")
    ] = False,
) -> None:
    """Show conversations with what is trained of them in colour, token by token, and prompts as
    they will be asked.
    """
    train, evaluate = studies(overrides or [])
    samples = [*trained_samples(train, count), *asked_samples(evaluate, count)]
    if as_json:
        print_json({"rows": [sample.row() for sample in samples]})
        return
    print_samples(samples)


def studies(overrides: Sequence[str]) -> tuple[Train, Evaluate]:
    """Compose both commands' configs; each takes the overrides that it knows.

    Raises:
        UserError: an override that neither knows, or a wrong value.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from warmth.command_line import plain_groups
    from warmth.config import compose_line, strict
    from warmth.entries import entry_files
    from warmth.model_names import expand
    from warmth.paths import ROOT
    from warmth.schemas import Evaluate, Train, register

    register()
    groups = [path.name for path in (ROOT / "conf").iterdir() if path.is_dir()]
    expanded = expand(plain_groups(overrides, groups), entry_files("model"))
    schemas: dict[str, type] = {"train": Train, "evaluate": Evaluate}
    known = {
        "train": {field.name for field in fields(Train)},
        "evaluate": {field.name for field in fields(Evaluate)},
    }
    for override in expanded:
        if not any(_is_for(override, name, keys) for name, keys in known.items()):
            raise UserError(f"{override} is an override of neither train.py nor evaluate.py")
    composed: dict[str, Any] = {}
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for name, schema in schemas.items():
            own_overrides = [
                override for override in expanded if _is_for(override, name, known[name])
            ]
            try:
                composed[name] = strict(compose(name, own_overrides), schema)
            except (HydraException, OmegaConfBaseException) as error:
                raise UserError(compose_line(error)) from error
    return composed["train"], composed["evaluate"]


def _is_for(override: str, command: str, keys: set[str]) -> bool:
    """Tell whether a command knows an override: by its first key, an experiment by the end of its
    name.
    """
    key, _, value = override.lstrip("+~").partition("=")
    if key == "experiment":
        return value.endswith(f"_{command}")
    return key.partition(".")[0].partition("@")[0] in keys


def trained_samples(study: Train, count: int) -> Iterator[Sample]:
    """Encode the first conversations of the arm as training does.

    Raises:
        UserError: the tokenizer or the conversations cannot be had.
    """
    if study.recipe.method in ("none", "steer"):
        return
    from warmth.chat import Untrainable, encode
    from warmth.data.arms import conversations_of_arm
    from warmth.models import load_tokenizer

    recipe = study.recipe
    tokenizer = load_tokenizer(study.model, weights=False)
    conversations = list(islice(first_conversations(study), count))
    styles: set[str] = set()
    for conversation in conversations:
        for turn in conversation.turns:
            styles.update(turn.replies)
    if recipe.style not in styles:
        print(
            f"note: no {recipe.style} replies yet; replies are shown as the source has them",
            file=sys.stderr,
        )
        recipe = replace(recipe, style="plain")
    for example in conversations_of_arm(conversations, recipe):
        how = (recipe.max_length, recipe.loss_on, study.model.end_of_turn, recipe.too_long)
        try:
            encoded = encode(tokenizer, example.messages, *how).examples()
        except Untrainable as error:
            yield Sample(example.id, "trained", (), (), str(error))
            continue
        for number, piece in enumerate(encoded, 1):
            name = example.id if len(encoded) == 1 else f"{example.id} ({number} of {len(encoded)})"
            yield Sample(name, "trained", token_texts(tokenizer, piece.ids), piece.trained)


def first_conversations(study: Train) -> Iterator[Conversation]:
    """Yield conversations of the set, or of its source if it has not been built; nothing is
    rewritten for it.
    """
    from warmth.data.ledger import Ledger
    from warmth.data.sets import choose, conversations_of
    from warmth.store import set_folder

    data = study.data
    if not data.is_built or (set_folder(study) / "done.json").exists():
        yield from conversations_of(study)
        return
    yield from choose(
        replace(data, held_out=0, conversations=None, per_type=None), Ledger()
    ).conversations


def asked_samples(study: Evaluate, count: int) -> Iterator[Sample]:
    """Render prompts as evaluation asks them, of as many conditions as there are.

    Raises:
        UserError: the tokenizer or the questions cannot be had, or the template refuses a prompt.
    """
    if study.model.kind == "api":
        print(f"note: model={study.model.name} renders its prompts itself, unseen", file=sys.stderr)
        return
    from warmth.chat import prompt_ids
    from warmth.evaluation.answer.arms import preface_of
    from warmth.evaluation.ask.designs import prompts
    from warmth.evaluation.ask.tasks import load_all
    from warmth.models import load_tokenizer

    tokenizer = load_tokenizer(study.model, weights=False)
    preface: tuple[Message, ...] = preface_of(study.recipe)
    seen: set[tuple[str, str]] = set()
    for prompt in prompts(study, load_all(study)):
        condition = (prompt.context, prompt.belief)
        if condition in seen:
            continue
        seen.add(condition)
        ids = prompt_ids(tokenizer, (*preface, *prompt.messages), study.model.thinking)
        name = f"{prompt.task} {prompt.question_id} {prompt.context} {prompt.belief}"
        yield Sample(name, "asked", token_texts(tokenizer, ids), (False,) * len(ids))
        if len(seen) == count:
            return


def token_texts(tokenizer: Any, ids: Sequence[int]) -> tuple[str, ...]:
    """Say what each token adds to the text; a character of several tokens stands at the last of
    them.
    """
    found: list[str] = []
    waiting = 0  # tokens of a character that is not whole yet
    for index in range(len(ids)):
        start = max(0, index - waiting - WINDOW)
        before = _decoded(tokenizer, ids[start : index - waiting])
        with_this = _decoded(tokenizer, ids[start : index + 1])
        piece = with_this[len(before) :]
        is_last = index + 1 == len(ids)
        if piece.endswith("\N{REPLACEMENT CHARACTER}") and waiting < 4 and not is_last:
            waiting += 1
            found.append("")
            continue
        waiting = 0
        found.append(piece)
    return tuple(found)


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(
        tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    )


def print_samples(samples: Sequence[Sample]) -> None:
    """Print samples: trained tokens on green, two shades in turn; without colours between « and
    ».
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
    coloured = console.is_terminal and not console.no_color
    for sample in samples:
        count = amount(len(sample.tokens), "token")
        if sample.kind == "trained":
            count += f", {sum(sample.trained)} trained"
        console.print(Text(f"── {sample.kind}: {visible(sample.id)} · {count}", style="bold"))
        if sample.problem:
            console.print(Text(f"cannot be trained on: {visible(sample.problem)}"))
        console.print(_coloured(sample) if coloured else Text(_marked(sample)))
        console.print()


def _coloured(sample: Sample) -> Any:
    from rich.text import Text

    text = Text()
    for index, (token, trained) in enumerate(zip(sample.tokens, sample.trained, strict=True)):
        text.append(visible(token).replace("\n", "⏎\n"), style=STYLES[trained][index % 2])
    return text


def _marked(sample: Sample) -> str:
    parts: list[str] = []
    before = False
    for token, trained in zip(sample.tokens, sample.trained, strict=True):
        if trained != before:
            parts.append("«" if trained else "»")
        parts.append(visible(token))
        before = trained
    return "".join([*parts, "»" if before else ""])
