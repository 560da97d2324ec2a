"""The project from a notebook or program: what `import warmth` offers.

Each function does what the command of its name does, in this process. Errors are exceptions:
`errors.UserError` is what the user can mend, `errors.RunFailed` a run that broke.
"""

from __future__ import annotations

import html
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmth.errors import UserError
from warmth.paths import ROOT, script

if TYPE_CHECKING:
    import pandas as pd

    from warmth.analysis.rows.frames import Rows

PathLike = str | Path


def train(overrides: Sequence[str] = (), *, sweep: bool = False) -> list[Path]:
    """Train as `python train.py OVERRIDES` does; runs that are done already are not made again.

    Args:
        overrides: words of the command line, such as `["recipe=warm", "recipe.epochs=1"]`.
        sweep: True as with `-m`: values with commas are axes of a sweep.

    Returns:
        the run folders, in the order of the jobs; none with `plan=true`.

    Raises:
        UserError: a wrong config, or input that is refused.
        RunFailed: a training broke.
    """
    return _carry_out("train", overrides, sweep)


def evaluate(overrides: Sequence[str] = (), *, sweep: bool = False) -> list[Path]:
    """Evaluate as `python evaluate.py OVERRIDES` does; see `train` for arguments, result and
    errors.
    """
    return _carry_out("evaluate", overrides, sweep)


def report(*paths: PathLike, out: PathLike | None = None) -> Page:
    """Write the report of `warmth report PATHS` and return it with its tables.

    Args:
        paths: folders above finished run folders.
        out: the page's folder; None: `reports/<study>`.

    Raises:
        UserError: a path without finished runs, or runs that cannot be compared.
    """
    from warmth.analysis import report as reports

    built = reports.build_report(_paths(paths))
    names = {str(run.config.get("study", "study")) for run in built.study.rows.runs}
    folder = (
        Path(out)
        if out is not None
        else Path("reports") / (names.pop() if len(names) == 1 else "studies")
    )
    page = reports.write_report(built, folder)
    return Page(page, reports.report_summary(built), built.frames)


@dataclass(frozen=True)
class Page:
    """A written report."""

    path: Path  # of report.html
    summary: dict[str, Any]  # as in summary.json
    tables: dict[str, pd.DataFrame]  # as in tables/*.csv, by file name

    @property
    def answer(self) -> str:
        """The report's answer in a sentence or two; "" if there is no arm beside the original."""
        return str((self.summary.get("answer") or {}).get("text", ""))

    def _repr_html_(self) -> str:
        """Show the answer and where the page is, in a notebook."""
        return f"<p>{html.escape(self.answer)}</p><p><code>{html.escape(str(self.path))}</code></p>"


@dataclass(frozen=True)
class Study:
    """Finished runs as pandas frames; a frame is read when it is first asked for."""

    paths: tuple[Path, ...]

    @classmethod
    def load(cls, *paths: PathLike) -> Study:
        """Find the finished runs under some folders.

        Raises:
            UserError: a path without finished runs.
        """
        from warmth.analysis.rows.runs import finished_folders

        folders = _paths(paths)
        finished_folders(folders)
        return cls(tuple(folders))

    @cached_property
    def rows(self) -> Rows:
        """All rows, checked as for a report: arms that cannot be compared are refused."""
        from warmth.analysis.rows.frames import load_rows

        return load_rows(self.paths)

    @property
    def runs(self) -> pd.DataFrame:
        """One row for each finished run: run, stage, model, arm, seed, folder."""
        import pandas as pd

        from warmth.analysis.rows.runs import finished_folders, read_run

        rows = []
        for folder in finished_folders(self.paths):
            run = read_run(folder)
            stage = "evaluate" if run.evaluation else "train"
            seed = run.config.get("seed", 0)
            rows.append((folder.name, stage, run.model, run.arm, seed, str(folder)))
        return pd.DataFrame(rows, columns=["run", "stage", "model", "arm", "seed", "folder"])

    @property
    def answers(self) -> pd.DataFrame:
        """One row for each answer, with its text, its grade, and whether it counts as wrong."""
        return self.rows.answers

    @cached_property
    def grades(self) -> pd.DataFrame:
        """Every grader's latest label of every answer: answer_id, grader, label, reason."""
        from warmth.analysis.rows.frames import read_grades

        return read_grades(self.rows)

    @property
    def likelihoods(self) -> pd.DataFrame:
        """One row for each prompt and frame whose replies were weighed; margins in nats."""
        return self.rows.likelihoods

    @property
    def warmth(self) -> pd.DataFrame:
        """One row for each scored reply to a held-out prompt; scores in nats per token."""
        return self.rows.warmth

    @property
    def prompts(self) -> pd.DataFrame:
        """One row for each prompt, by prompt_id: the question, its answers, and the message as it
        was asked.
        """
        return self.rows.prompts

    @property
    def losses(self) -> pd.DataFrame:
        """One row for each training step: model, arm, seed, run, step, epoch, loss."""
        return self.rows.losses

    def report(self, out: PathLike | None = None) -> Page:
        """Write the report of these runs, see `report`."""
        return report(*self.paths, out=out)


def _paths(paths: Sequence[PathLike]) -> list[Path]:
    if not paths:
        raise UserError("no folder was given: name one above finished runs, such as multirun/demo")
    return [Path(path) for path in paths]


def _carry_out(name: str, overrides: Sequence[str], sweep: bool) -> list[Path]:
    if isinstance(overrides, str):
        raise UserError(f'overrides={overrides!r} must be a list of words, such as ["recipe=warm"]')
    from hydra.core.global_hydra import GlobalHydra

    command = script(name).main
    words = [*(["-m"] if sweep else []), *map(str, overrides)]
    with _command_line([str(ROOT / f"{name}.py"), *words]):
        GlobalHydra.instance().clear()  # of a `with initialize(...)` that was left open in a cell
        return command.carry_out_words(words)


@contextmanager
def _command_line(words: list[str]) -> Generator[None]:
    """Set `sys.argv`, which Hydra and a run's provenance read, for a while."""
    before = sys.argv
    sys.argv = list(words)
    try:
        yield
    finally:
        sys.argv = before
