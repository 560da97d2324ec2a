"""The training loss of every run."""

from __future__ import annotations

from warmth.analysis import figures
from warmth.analysis.report.kernel import Section
from warmth.analysis.report.study import Study


def training(study: Study) -> Section | None:
    """Draw the training losses."""
    losses = figures.losses(study.rows.losses)
    if losses is None:
        return None
    return Section(id="training", title="Training", level=3, parts=[losses])
