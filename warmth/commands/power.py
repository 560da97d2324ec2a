"""`warmth power`: how many questions show an effect."""

from __future__ import annotations

from typing import Annotated

import typer

from warmth.commands.options import Json
from warmth.text import print_json


def power(
    effect: Annotated[
        float, typer.Option(help="Difference in error rate to be shown, percentage points.")
    ] = 5.0,
    discordant: Annotated[
        float, typer.Option(help="Pairs of which one answer alone is wrong, %.")
    ] = 20.0,
    questions: Annotated[
        int | None, typer.Option(help="Power of so many, rather than how many are needed.")
    ] = None,
    wanted: Annotated[float, typer.Option("--power", help="Power to plan for.")] = 0.8,
    rows: Annotated[
        int, typer.Option(help="Paired rows of one question: contexts × beliefs × seeds × samples.")
    ] = 1,
    correlation: Annotated[float, typer.Option(help="Of two rows of one question; 0 to 1.")] = 0.0,
    alpha: Annotated[float, typer.Option(help="Two-sided size of the test.")] = 0.05,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Check the formula by simulated studies.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the simulation.")] = 0,
    as_json: Json = False,
) -> None:
    """How many questions show an effect, by formula and by simulation."""
    from warmth.analysis.report.terminal import plain_console
    from warmth.analysis.statistics import power as powers

    plan = powers.PowerDesign(effect / 100, discordant / 100, rows, correlation, alpha)
    summary = powers.power_summary(plan, questions, wanted, simulate, seed=seed)
    if as_json:
        print_json(summary)
        return
    console = plain_console()
    for line in powers.power_sentences(summary):
        console.print(line)
