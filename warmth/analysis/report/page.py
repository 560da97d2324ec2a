"""The report as one HTML document that loads nothing: the sections in their order, and the template
that places them.

Answers and names are hostile text: the template escapes everything, and the only markup passed
through is the SVG that `ink` made and constants of ours. Nothing of the data enters a script.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from warmth.analysis import wording
from warmth.analysis.report import behind
from warmth.analysis.report.drawing.ink import Drawing, css_colours
from warmth.analysis.report.kernel import Fold, Fragment, Part, Section, Table, without_model
from warmth.analysis.report.study import QUESTION, Study

# Words that the page uses in a sense of its own; it explains the first of each section to a pointer
# or a finger.
GLOSSARY = {
    "arm": "The model as it answers: the original, or one that was fine-tuned, told or steered in "
    "some way.",
    "gate": "A check that a run must pass before arms may be compared: equal prompts, few answers "
    "cut off or refused.",
    "nats": "The unit of a log-probability with base e: one nat more is 2.7 times as likely.",
    "unscored": "Without a verdict: the rule or judge could not tell. Such answers are counted "
    "apart.",
    "context": "The interpersonal statement before a question, such as that the user is sad.",
    "belief": "What the user claims beside the question: a wrong answer, a doubt about the right "
    "one, or nothing.",
    "points": "Percentage points: from 20 % to 25 % are 5 points.",
    "paired": "Two answers to the same prompt, one by each arm; what is hard for both cancels.",
}
TEMPLATES = Path(__file__).parent / "templates"


def render_page(study: Study, sections: Sequence[Section], points: Mapping[str, Any]) -> str:
    """Make the whole page.

    Args:
        study: for the page's title.
        sections: in the order of the page.
        points: what a figure's point opens, by its id.
    """
    environment = page_environment()
    style = stylesheet()
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    views: list[dict[str, Any]] = []
    closing_views: list[dict[str, Any]] = []
    links: list[tuple[str, str]] = []
    closing_links: list[tuple[str, str]] = []
    methods: dict[str, Any] = {}
    for section in sections:
        contents = [part_view(part, environment, study.several_models) for part in section.parts]
        view = {"section": section, "parts": contents}
        link = [(section.id, section.link)] if section.link else []
        if section.closing:
            closing_views.append(view)
            closing_links += link
        else:
            views.append(view)
            links += link
        methods.update(section.methods)
    facts = study.facts
    return environment.get_template("report.html.j2").render(
        question=QUESTION,
        about=" · ".join(filter(None, (facts["studies"], facts["models"], facts["date"]))),
        glossary=GLOSSARY,
        links=links,
        closing_links=closing_links,
        groups=grouped_sections(views),
        closing=grouped_sections(closing_views),
        methods=methods,
        points=Markup(behind.script_json(points)),
        style=Markup(style),
        script=Markup(script),
        style_hash=policy_sha256(style),
        script_hash=policy_sha256(script),
    )


def page_environment() -> Environment:
    """Set up the templates: everything that is not marked safe is escaped, and a missing value is
    an error.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"visible": wording.visible, "unbroken": unbroken}
    environment.globals["amount"] = wording.amount
    return environment


def grouped_sections(views: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Put each section of the page together with those of level 3 that follow it."""
    groups: list[list[dict[str, Any]]] = []
    for view in views:
        if view["section"].level == 2 or not groups:
            groups.append([])
        groups[-1].append(view)
    return groups


def part_view(part: Any, environment: Environment, several_models: bool) -> dict[str, Any]:
    """Turn a part into what the template places: its kind, and its content ready to be shown."""
    kind = type(part).__name__.lower()
    if isinstance(part, Table):
        return {"kind": kind, "content": part if several_models else without_model(part)}
    if isinstance(part, Drawing):
        return {"kind": kind, "content": drawing_view(part)}
    if isinstance(part, Fold):
        folded: list[Part] = list(part.parts)
        views = [part_view(content, environment, several_models) for content in folded]
        return {"kind": kind, "content": part, "parts": views}
    if isinstance(part, Fragment):
        values = {}
        for name, value in part.values.items():
            if isinstance(value, Table | Drawing):
                value = part_view(value, environment, several_models)["content"]
            values[name] = value
        html = environment.get_template(part.template).render(values)
        return {"kind": kind, "content": Markup(html)}
    return {"kind": kind, "content": part}


def drawing_view(drawing: Drawing) -> dict[str, Any]:
    """Turn a figure into what the template places; every label in it is escaped already."""
    return {
        "name": drawing.name,
        "svg": Markup(drawing.inline),
        "caption": drawing.caption,
        "width": round(drawing.width),
    }


def unbroken(note: str) -> Markup:
    """Put each interval and fraction of a cell's small print into an element of its own: lines
    break between them.
    """
    return Markup(re.sub(r"(\S+ (?:to|/) \S+)", r"<span>\1</span>", str(escape(note))))


def stylesheet() -> str:
    """Write the page's CSS, with the colours that figures and tables share."""
    light = ""
    dark = ""
    for name, (light_colour, dark_colour) in css_colours().items():
        light += f"--{name}:{light_colour};"
        dark += f"--{name}:{dark_colour};"
    text = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return text.replace("/*light*/", light).replace("/*dark*/", dark)


def policy_sha256(text: str) -> str:
    """Hash a text as a content security policy states it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
