"""The verbs of `warmth`.

What a verb needs is imported when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from warmth import __version__
from warmth.commands import run_verbs
from warmth.commands.agreement import agreement
from warmth.commands.compare import compare
from warmth.commands.export import export
from warmth.commands.grade import grade
from warmth.commands.power import power
from warmth.commands.preview import preview
from warmth.commands.rate import rate
from warmth.commands.report import report
from warmth.commands.reproduce import reproduce
from warmth.commands.score import score
from warmth.commands.seal import seal
from warmth.commands.show import show
from warmth.commands.status import status
from warmth.commands.study import study
from warmth.commands.verify import verify
from warmth.errors import UserError, guarded


class Verbs(TyperGroup):
    """The verbs, in `--help` each with its whole first sentence: Typer cuts it at the edge of the
    terminal.
    """

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Find a verb, its line for the list of all set."""
        command = super().get_command(ctx, cmd_name)
        if command is not None and not command.short_help and command.help:
            command.short_help = " ".join(command.help.split("\n\n")[0].split())
        return command


app = typer.Typer(
    help="What does a change of a model's manner cost in truth? Train and evaluate models, and "
    "analyse what that made.",
    cls=Verbs,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@guarded
def main() -> None:
    """Entry point: usage errors, like all others, are one line and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    except TyperException as error:
        raise UserError(
            f"{getattr(error, 'format_message', error.__str__)()} (warmth --help lists what there "
            f"is)"
        ) from error
    raise SystemExit(code or 0)


def print_version(asked: bool) -> None:
    """Print the version and end, if it was asked for."""
    if asked:
        print(f"warmth {__version__}")
        raise typer.Exit()


@app.callback()
def verbs(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=print_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
) -> None:
    """Train and evaluate models, and analyse what that made."""


# In the order in which `warmth --help` lists them.
app.command(context_settings=run_verbs.AS_TYPED)(run_verbs.train)
app.command(context_settings=run_verbs.AS_TYPED)(run_verbs.evaluate)
app.command()(run_verbs.demo)
app.command()(report)
app.command()(show)
app.command()(export)
app.command()(score)
app.command()(grade)
app.command()(rate)
app.command()(reproduce)
app.command()(study)
app.command()(agreement)
app.command()(compare)
app.command()(verify)
app.command()(preview)
app.command()(seal)
app.command()(power)
app.command()(status)


if __name__ == "__main__":
    main()
