"""How figures are inked: arms in their colours (`looks.py`), and SVG that reads well on a light and
on a dark page.

A figure is drawn in the light colours. In the page every colour becomes a CSS variable; in a file
of its own a media query swaps them, so that programs without CSS variables still print it as drawn.
"""

from __future__ import annotations

import hashlib
import io
import re
import textwrap
from dataclasses import dataclass
from html import escape
from itertools import product
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.transforms import Bbox

from warmth.analysis import wording
from warmth.analysis.rows.looks import known_looks, look_of, recipe_of

INK = "#1d1c1a"
MUTED = "#6b675f"
RULE = "#d9d5cb"
Box = tuple[float, float, float, float]  # left, bottom, right, top, in pixels
# CSS variable: (light, dark) of what is no arm
GROUND: dict[str, tuple[str, str]] = {
    "ink": (INK, "#e8e5de"),
    "muted": (MUTED, "#a19c92"),
    "rule": (RULE, "#3b3d40"),
}
TITLE = 22  # characters in a line of a panel's title: it ends before the next panel's begins
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text: small files, the reader's own fonts, searchable
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.family": ["DejaVu Sans"],  # measures the layout; wider than what FONTS will show
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@dataclass(frozen=True)
class Drawing:
    """A finished figure: `inline` for the page, `file` to stand alone."""

    name: str
    caption: str
    alt: str
    inline: str
    file: str
    width: float  # natural width in CSS pixels


def css_colours() -> dict[str, tuple[str, str]]:
    """List every CSS variable of the page with its colour on a light and on a dark page."""
    arms = {variable(arm): (look.light, look.dark) for arm, look in known_looks().items()}
    return {**GROUND, **arms}


def variable(arm: str) -> str:
    """Name the CSS variable of an arm's colour; doses and checkpoints share their recipe's."""
    recipe = recipe_of(arm)
    safe = re.sub(r"[^a-zA-Z0-9_-]", "-", recipe)
    if safe != recipe:  # a name from elsewhere: two of them may not meet in one variable
        safe += "-" + hashlib.sha256(recipe.encode(errors="replace")).hexdigest()[:6]
    return f"arm-{safe}"


def colour(arm: str) -> str:
    """Find an arm's colour as drawn, on a light page."""
    return look_of(arm).light


def marker(arm: str) -> dict[str, Any]:
    """Give an arm's marker as matplotlib's keywords; the original's is hollow."""
    fill = "none" if arm == "original" else colour(arm)
    return {"marker": look_of(arm).marker, "markerfacecolor": fill, "markeredgecolor": colour(arm)}


def point_id(model: str, arm: str, task: str = "", context: str = "", belief: str = "") -> str:
    """Give the id of the mark that stands for a cell, in every figure; the page opens the rows
    behind it by this id.
    """
    key = "\x1f".join(map(str, (model, arm, task, context, belief)))
    return f"point-{hashlib.sha256(key.encode(errors='replace')).hexdigest()[:10]}"


def reply_id(model: str, arm: str) -> str:
    """Give the id of a mark that stands for an arm's warmth: behind it are replies to held-out
    prompts, not answers.
    """
    return point_id(model, arm, "replies to held-out prompts")


def panel_title(axes: Axes, text: str, ink: str = INK) -> None:
    """Write a panel's title, in lines that end before the next panel begins."""
    axes.set_title(textwrap.fill(text, TITLE), loc="left", color=ink)


def finish(figure: Figure, name: str, caption: str, alt: str) -> Drawing:
    """Render a figure drawn under `rc_context(STYLE)`."""
    stream = io.StringIO()
    with rc_context({**STYLE, "svg.hashsalt": name, "svg.id": name}):
        FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None})
    alt = wording.visible(alt)
    svg = _bare(stream.getvalue(), name)
    width, height = figure.get_size_inches() * 72
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    opening = f'<svg {names} viewBox="0 0 {width:g} {height:g}"'
    shape = 'stroke-linejoin="round" stroke-linecap="butt"'
    # a group, not an image: the page makes its marks buttons, and an image would hide them
    inline = f'{opening} {shape} role="group" aria-label="{escape(alt)}">{_variables(svg)}</svg>'
    title = f"<title>{escape(alt)}</title><style>{_dark_rules(svg)}</style>"
    size = f'width="{width * 4 / 3:g}" height="{height * 4 / 3:g}"'
    document = (
        f'<?xml version="1.0" encoding="utf-8"?>\n{opening} {shape} role="img" '
        f"{size}>{title}{svg}</svg>\n"
    )
    return Drawing(name, caption, alt, inline, document, float(width * 4 / 3))


def _bare(svg: str, name: str) -> str:
    """Take the drawing out of matplotlib's SVG, with ids that stay unique when several stand in one
    page.
    """
    body = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.S)
    body = re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.S)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = body.replace("url(#", f"url(#{name}-").replace('xlink:href="#', f'xlink:href="#{name}-')
    body = body.replace("'DejaVu Sans'", FONTS)
    return re.sub(r">\s+<", "><", body).strip()


def _variables(svg: str) -> str:
    """Turn every colour that is known into its CSS variable."""
    for key, (light, _) in css_colours().items():
        svg = re.sub(rf"(fill|stroke): {light}\b", rf"\1: var(--{key})", svg)
    return svg


def _dark_rules(svg: str) -> str:
    """Write the CSS that swaps colours on a dark page."""
    rules = []
    for light, dark in css_colours().values():
        for kind in ("fill", "stroke"):
            if f"{kind}: {light}" in svg:
                rules.append(f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}')
    # the background only in the dark: in the light a figure sits on whatever paper it is put on
    return f"@media (prefers-color-scheme: dark){{svg{{background:#17181a}}{''.join(rules)}}}"


def bar(axes: Axes, low: float, high: float, place: float, ink: str, width: float) -> None:
    """Draw an interval of a difference, fractions, in points; if it goes on beyond ±100 an arrow
    says so.
    """
    ends = [max(-100.0, 100 * low), min(100.0, 100 * high)]
    axes.plot(ends, [place] * 2, color=ink, linewidth=width)
    arrow = {"linestyle": "none", "markersize": 4, "color": ink, "clip_on": False}
    if low < -1:
        axes.plot([-100.0], [place], marker="<", **arrow)
    if high > 1:
        axes.plot([100.0], [place], marker=">", **arrow)


def place_labels(
    axes: Axes,
    at: list[tuple[float, float]],
    texts: list[str],
    colours: list[str],
    size: float = 8,
    drop: bool = False,
) -> None:
    """Write a label near each point where it covers fewest other labels, marks and lines; greedy,
    in drawing order.

    With `drop` a label that would cover another or a mark, or stand far from its point, is left
    out.
    """
    figure = axes.get_figure()
    assert figure is not None
    scale = figure.dpi / 72
    marks, lines = _drawn(axes)
    frame = axes.get_window_extent()
    distances = (0.2, 0.8, 2.0) if drop else (0.8, 2.0, 3.4, 4.8, 6.2)
    boxes: list[Box] = []
    for (x, y), text, ink in zip(axes.transData.transform(at), texts, colours, strict=True):
        width = 0.58 * size * scale * len(text)
        height = 1.15 * size * scale
        gap = 5 * scale
        options = []
        for distance, dx, sign in product(distances, (1, -1), (1, -1)):
            dy = sign * distance
            x_start = x + gap if dx > 0 else x - gap - width
            bottom = y + dy * gap if dy > 0 else y + dy * gap - height
            box = (x_start, bottom, x_start + width, bottom + height)
            covered = _covered(box, boxes, marks, frame, gap)
            if drop and covered:
                continue
            # a label far from its point is another's
            cost = covered + _crossed(box, lines) + 6 * abs(dy)
            options.append((cost, len(options), box, dx))
        if not options:
            continue
        _, _, box, dx = min(options)
        boxes.append(box)
        side = box[0] if dx > 0 else box[2]
        anchor = axes.transData.inverted().transform((side, box[1] + 0.2 * height))
        align = "left" if dx > 0 else "right"
        axes.text(*anchor, text, color=ink, fontsize=size, ha=align, va="baseline")


def _covered(box: Box, boxes: list[Box], marks: list[Any], frame: Any, gap: float) -> float:
    """Say how bad a place for a label is: it covers other labels or marks, or leaves the panel."""
    cost = 4 * sum(_overlap(box, label) for label in boxes)
    for x, y in marks:
        cost += 120 * (box[0] - gap / 2 < x < box[2] and box[1] < y < box[3])
    is_outside = box[2] > frame.x1 or box[0] < frame.x0 or box[3] > frame.y1 or box[1] < frame.y0
    return cost + 10_000 * is_outside


def _crossed(box: Box, lines: list[tuple[Path, float]]) -> float:
    """Say how bad it is that lines run through a label there."""
    bounds = Bbox.from_extents(*box)
    cost = 0.0
    for line, opacity in lines:
        if line.intersects_bbox(bounds, filled=False):
            cost += opacity
    return 30 * cost


def _drawn(axes: Axes) -> tuple[list[Any], list[tuple[Path, float]]]:
    """List what stands in the way of labels, in pixels: the places of marks, and lines with their
    opacity.
    """
    marks = []
    lines = []
    for line in axes.lines:
        points = axes.transData.transform(line.get_xydata())
        if line.get_marker() not in ("", "None", None):
            marks += list(points)
        if line.get_linestyle() != "None" and len(points) > 1:
            lines.append((Path(points), line.get_alpha() or 1.0))
    return marks, lines


def _overlap(a: Box, b: Box) -> float:
    """Measure the area that two boxes share."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return width * height


def spread_positions(positions: list[float], gap: float) -> list[float]:
    """Move positions so far that they are at least `gap` apart, in their order and near where they
    were.
    """
    order = sorted(range(len(positions)), key=positions.__getitem__)
    placed = [0.0] * len(positions)
    previous = float("-inf")
    for index in order:
        previous = max(positions[index], previous + gap)
        placed[index] = previous
    shift = (sum(placed) - sum(positions)) / max(len(order), 1)
    return [value - shift for value in placed]


def list_rows(axes: Axes, rows: int) -> None:
    """Set up a panel of labelled rows, the first on top: no left spine, rules for the eye."""
    axes.set_ylim(rows - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)


def row_of_panels(grid: Any, count: int) -> list[Axes]:
    """Take the first panels of a grid in reading order; the others are hidden, and what stands
    above them has its ticks.
    """
    panels = list(grid.flat)
    for axes in panels[count:]:
        axes.set_visible(False)
    for axes in panels[max(0, count - grid.shape[1]) : count]:
        axes.tick_params(labelbottom=True)
    return panels[:count]
