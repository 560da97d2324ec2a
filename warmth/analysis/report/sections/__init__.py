"""The sections of the report, in the order of the page.

Adding one: a file here, and its name in `SECTIONS`.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from warmth.analysis.report.kernel import Section
from warmth.analysis.report.sections.accuracy import accuracy
from warmth.analysis.report.sections.answer import answer
from warmth.analysis.report.sections.answers import answers
from warmth.analysis.report.sections.calibration import calibration
from warmth.analysis.report.sections.checked import checked
from warmth.analysis.report.sections.contrasts import contrasts
from warmth.analysis.report.sections.controls import controls
from warmth.analysis.report.sections.differences import differences
from warmth.analysis.report.sections.dose import dose
from warmth.analysis.report.sections.errors import errors
from warmth.analysis.report.sections.every_difference import every_difference
from warmth.analysis.report.sections.examples import examples
from warmth.analysis.report.sections.failures import failures
from warmth.analysis.report.sections.flow import flow
from warmth.analysis.report.sections.graders import graders
from warmth.analysis.report.sections.length import length
from warmth.analysis.report.sections.likelihoods import likelihoods
from warmth.analysis.report.sections.measures import measures
from warmth.analysis.report.sections.plan import plan
from warmth.analysis.report.sections.preferences import preferences
from warmth.analysis.report.sections.provenance import provenance
from warmth.analysis.report.sections.published import published
from warmth.analysis.report.sections.ratings import ratings
from warmth.analysis.report.sections.refusals import refusals
from warmth.analysis.report.sections.regressions import regressions
from warmth.analysis.report.sections.sampling import sampling
from warmth.analysis.report.sections.seeds import seeds
from warmth.analysis.report.sections.social import social
from warmth.analysis.report.sections.training import training
from warmth.analysis.report.sections.warmth import warmth
from warmth.analysis.report.sections.weighed import weighed
from warmth.analysis.report.study import Study
from warmth.entries import own_folder, own_module
from warmth.errors import UserError, one_line

SECTIONS: tuple[Callable[[Study], Section | None], ...] = (
    answer,
    answers,
    flow,
    sampling,
    plan,
    likelihoods,
    differences,
    controls,
    contrasts,
    seeds,
    dose,
    every_difference,
    errors,
    regressions,
    published,
    warmth,
    ratings,
    preferences,
    measures,
    training,
    refusals,
    failures,
    accuracy,
    checked,
    graders,
    calibration,
    social,
    length,
    examples,
    provenance,
)
# Of a study whose arms were asked for likelihoods alone; each of the others is about answers.
WITHOUT_ANSWERS: tuple[Callable[[Study], Section | None], ...] = (
    weighed,
    likelihoods,
    warmth,
    training,
    calibration,
    provenance,
)
OWN = "report"  # folder of a user's own sections, in the folder that `--config-dir` names


def own_sections() -> list[Callable[[Study], Section | None]]:
    """Load the sections of the user's own folder: of every file `report/<name>.py` the function
    `<name>`.

    Raises:
        UserError: a file cannot be loaded, or has no function of its name.
    """
    folder = own_folder()
    sections = []
    for file in sorted((folder / OWN).glob("*.py")) if folder else ():
        section = getattr(own_module(f"{OWN}.{file.stem}"), file.stem, None)
        if not callable(section):
            raise UserError(
                f"{file} must have a function {file.stem}(study) that returns a Section or None"
            )
        sections.append(guarded_section(file, section))
    return sections


def guarded_section(file: Path, section: Callable[..., Any]) -> Callable[[Study], Section | None]:
    """Wrap a user's section, so that what goes wrong in it is one line that names its file."""

    def computed(study: Study) -> Section | None:
        try:
            result = section(study)
        except UserError:
            raise
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{file}: {type(error).__name__}: {one_line(error)}"
            raise UserError(f"{where} (in {Path(place.filename).name}:{place.lineno})") from error
        if result is not None and not isinstance(result, Section):
            raise UserError(
                f"{file}: {file.stem}(study) must return a Section or None, not a "
                f"{type(result).__name__}"
            )
        return result

    return computed
