"""What several verbs take: folders of finished runs, and output for machines."""

from pathlib import Path
from typing import Annotated

import typer

Paths = Annotated[
    list[Path], typer.Argument(metavar="PATH...", help="Folders above finished run folders.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Machine-readable output, alone on standard output.")
]
