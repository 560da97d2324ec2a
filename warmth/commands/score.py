"""`warmth score`: the SocioT warmth of anybody's texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from warmth.commands.options import Json
from warmth.text import print_json


def score(
    texts: Annotated[Path, typer.Argument(metavar="TEXTS.jsonl", help='Rows {"id", "text"}.')],
    variant: Annotated[
        Literal["reference", "paper", "deterministic"],
        typer.Option(help="Reading of the measure; docs/statistics.md tells them apart."),
    ] = "deterministic",
    scorer: Annotated[
        str,
        typer.Option(
            metavar="MODEL_OR_DIR", help="Model that scores: an entry, a hub id or a folder."
        ),
    ] = "smollm2",
    dtype: Annotated[
        Literal["float32", "bfloat16"],
        typer.Option(help="Number format of the scoring model; bfloat16 scores differ a little."),
    ] = "float32",
    passes: Annotated[
        int,
        typer.Option(
            min=1, help="Passes that are averaged if the variant keeps the scorer's dropout."
        ),
    ] = 100,
    seed: Annotated[int, typer.Option(help="Random seed of the scorer's dropout.")] = 0,
    as_json: Json = False,
) -> None:
    """The SocioT warmth of each text, in nats per token; above 0 reads warmer."""
    from warmth.analysis.report.terminal import plain_console, score_table
    from warmth.evaluation.manner.texts import text_rows

    rows = list(text_rows(texts))
    from dataclasses import asdict

    from warmth.entries import named_model
    from warmth.evaluation.progress import Meter
    from warmth.models import choose_dtype, load_tokenizer

    model = named_model(scorer, "--scorer")
    from warmth.evaluation.answer.decoding import base_of
    from warmth.evaluation.manner import sociot

    loaded = base_of(model, choose_dtype(dtype))
    tokenizer = load_tokenizer(model, chat=False)
    with Meter("warmth", "texts", len(rows)) as meter:
        scored = sociot.score_texts(
            [row["text"] for row in rows],
            loaded,
            tokenizer,
            variant,
            passes=passes,
            seed=seed,
            progress=meter.add,
        )
    result = []
    for row, score_of_text in zip(rows, scored, strict=True):
        unscored = {"id": row["id"], "score": None, "close": None, "distant": None}
        result.append(unscored | asdict(score_of_text))
    if as_json:
        print_json({"rows": result})
        return
    plain_console().print(score_table(result, rows))
