"""`warmth rate`: a second measure of warmth, by a judge or by people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from warmth.commands.options import Json, Paths
from warmth.errors import UserError
from warmth.text import print_json


def rate(
    paths: Paths,
    pairs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write pairs of replies to this file, blinded, for people to judge.",
        ),
    ] = None,
    verdicts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Read pairs that people have judged from this file."),
    ] = None,
    count: Annotated[
        int, typer.Option(min=1, help="Number of pairs to write, as many of each arm.")
    ] = 200,
    seed: Annotated[int, typer.Option(help="Random seed for drawing the pairs.")] = 0,
    base_url: Annotated[
        str, typer.Option(help="Address of the server of the judge that rates.")
    ] = "https://api.openai.com/v1",
    model: Annotated[
        str, typer.Option(help="Dated name of the judge's model on that server.")
    ] = "gpt-5.4-mini-2026-03-17",
    api_key_env: Annotated[
        str, typer.Option(help="Environment variable with the judge's API key; empty: no key.")
    ] = "OPENAI_API_KEY",
    prompt: Annotated[
        str, typer.Option(help="File with the rubric that the judge is given.")
    ] = "prompts/warmth_rating_v1.txt",
    as_json: Json = False,
) -> None:
    """Measure the warmth of scored replies a second time: by a judge's rating, 1 to 5, or by
    people, blind.
    """
    from warmth.analysis.report.terminal import plain_console, terminal_text

    if pairs or verdicts:
        from dataclasses import asdict

        from warmth.analysis.rows import frames
        from warmth.analysis.statistics import measures
        from warmth.evaluation.grade.judge import without_headers

        loaded = frames.load_rows(paths)
        if pairs:
            drawn = measures.export_pairs(loaded, pairs, without_headers, count, seed)
            outcome = {"pairs": drawn, "file": str(pairs.resolve())}
        else:
            assert verdicts is not None
            counts = measures.keep(measures.verdicts(verdicts, loaded.studies), loaded)
            outcome: dict[str, Any] = {"verdicts": counts.new + counts.corrected + counts.unchanged}
            outcome |= asdict(counts)
            outcome["file"] = str(verdicts.resolve())
    else:
        from warmth.analysis.rows.runs import finished_folders
        from warmth.api import Server
        from warmth.evaluation.manner.rating import rate_runs
        from warmth.store import Run

        folders = finished_folders(paths)
        runs = [Run(folder) for folder in folders if (folder / "warmth.jsonl").exists()]
        if not runs:
            raise UserError(f"no finished run under {', '.join(map(str, paths))} has warmth scores")
        server = Server(base_url, model, api_key_env or None)
        outcome = rate_runs(runs, server, runs[0].folder.parents[2] / "replies", prompt)
    if as_json:
        print_json(outcome)
    else:
        plain_console().print(
            terminal_text(", ".join(f"{name}: {value}" for name, value in outcome.items())),
            soft_wrap=True,
        )
