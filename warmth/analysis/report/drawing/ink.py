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
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.transforms import Bbox

from warmth.analysis import wording
from warmth.analysis.rows.looks import known_looks, look_of, recipe_of

INK, MUTED, RULE = "#1d1c1a", "#6b675f", "#d9d5cb"
# CSS variable: (light, dark) of what is no arm
GROUND: dict[str, tuple[str, str]] = {
    "ink": (INK, "#e8e5de"),
    "muted": (MUTED, "#a19c92"),
    "rule": (RULE, "#3b3d40"),
}
TITLE = (
    22  # characters in a line of a panel's title, so that it ends before the next panel's begins
)
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
    """The id of the mark that stands for a cell, in every figure; the page opens the rows behind it
    by this id.
    """
    key = "\x1f".join(map(str, (model, arm, task, context, belief)))
    return f"point-{hashlib.sha256(key.encode(errors='replace')).hexdigest()[:10]}"


def reply_id(model: str, arm: str) -> str:
    """The id of a mark that stands for an arm's warmth: behind it are replies to held-out prompts,
    not answers.
    """
    return point_id(model, arm, "replies to held-out prompts")


def panel_title(axes: Axes, text: str, ink: str = INK) -> None:
    """Above a panel, in lines that end before the next panel begins."""
    axes.set_title(textwrap.fill(text, TITLE), loc="left", color=ink)


def finish(figure: Figure, name: str, caption: str, alt: str) -> Drawing:
    """Renders a figure drawn under `rc_context(STYLE)`."""
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
    whole = (
        f'<?xml version="1.0" encoding="utf-8"?>\n{opening} {shape} role="img" '
        f"{size}>{title}{svg}</svg>\n"
    )
    return Drawing(name, caption, alt, inline, whole, float(width * 4 / 3))


def _bare(svg: str, name: str) -> str:
    """The drawing inside matplotlib's SVG, with ids that stay unique when several stand in one
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
    for key, (light, _) in css_colours().items():
        svg = re.sub(rf"(fill|stroke): {light}\b", rf"\1: var(--{key})", svg)
    return svg


def _dark_rules(svg: str) -> str:
    rules = []
    for light, dark in css_colours().values():
        for kind in ("fill", "stroke"):
            if f"{kind}: {light}" in svg:
                rules.append(f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}')
    # the background only in the dark: in the light a figure sits on whatever paper it is put on
    return f"@media (prefers-color-scheme: dark){{svg{{background:#17181a}}{''.join(rules)}}}"


def bar(axes: Axes, low: float, high: float, place: float, ink: str, width: float) -> None:
    """An interval of a difference, fractions, drawn in points; where it goes on beyond ±100 an
    arrow says so.
    """
    ends = [max(-100.0, 100 * low), min(100.0, 100 * high)]
    axes.plot(ends, [place] * 2, color=ink, linewidth=width)
    for end, sign, beyond in ((ends[0], "<", low < -1), (ends[1], ">", high > 1)):
        if beyond:
            axes.plot(
                [end],
                [place],
                linestyle="none",
                marker=sign,
                markersize=4,
                color=ink,
                clip_on=False,
            )


def place_labels(
    axes: Axes,
    at: list[tuple[float, float]],
    texts: list[str],
    colours: list[str],
    size: float = 8,
    drop: bool = False,
) -> None:
    """Writes a label near each point where it covers fewest other labels, marks and lines; greedy,
    in drawing order.

    With `drop` a label that would cover another or a mark, or stand far from its point, is left
    out.
    """
    figure = axes.get_figure()
    assert figure is not None
    scale = figure.dpi / 72
    marks, lines = _drawn(axes)
    frame, aways = axes.get_window_extent(), (0.2, 0.8, 2.0) if drop else (0.8, 2.0, 3.4, 4.8, 6.2)
    boxes: list[tuple[float, float, float, float]] = []
    for (x, y), text, ink in zip(axes.transData.transform(at), texts, colours, strict=True):
        width, height, gap = 0.58 * size * scale * len(text), 1.15 * size * scale, 5 * scale
        options = []
        for dx, dy in ((dx, dy) for away in aways for dx in (1, -1) for dy in (away, -away)):
            left = x + gap if dx > 0 else x - gap - width
            bottom = y + dy * gap if dy > 0 else y + dy * gap - height
            box = (left, bottom, left + width, bottom + height)
            covered = 4 * sum(_overlap(box, other) for other in boxes)
            covered += 120 * sum(
                box[0] - gap / 2 < dot[0] < box[2] and box[1] < dot[1] < box[3] for dot in marks
            )
            covered += 10_000 * (
                box[2] > frame.x1 or box[0] < frame.x0 or box[3] > frame.y1 or box[1] < frame.y0
            )
            if drop and covered:
                continue
            cost = covered
            crossed = Bbox.from_extents(*box)
            cost += 30 * sum(
                opacity for line, opacity in lines if line.intersects_bbox(crossed, filled=False)
            )
            cost += 6 * abs(dy)  # a label far from its point is another's
            options.append((cost, len(options), box, dx))
        if not options:
            continue
        _, _, box, dx = min(options)
        boxes.append(box)
        anchor = axes.transData.inverted().transform(
            (box[0] if dx > 0 else box[2], box[1] + 0.2 * height)
        )
        axes.text(
            *anchor, text, color=ink, fontsize=size, ha="left" if dx > 0 else "right", va="baseline"
        )


def _drawn(axes: Axes) -> tuple[list[Any], list[tuple[Path, float]]]:
    """What stands in the way of labels, in pixels: the places of marks, and lines with their
    opacity.
    """
    marks, lines = [], []
    for line in axes.lines:
        points = axes.transData.transform(line.get_xydata())
        if line.get_marker() not in ("", "None", None):
            marks += list(points)
        if line.get_linestyle() != "None" and len(points) > 1:
            lines.append((Path(points), line.get_alpha() or 1.0))
    return marks, lines


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def spread(wanted: list[float], gap: float) -> list[float]:
    """Positions at least `gap` apart, in the order of `wanted` and near it."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    placed = [0.0] * len(wanted)
    last = float("-inf")
    for index in order:
        last = placed[index] = max(wanted[index], last + gap)
    shift = sum(placed[i] - wanted[i] for i in order) / max(len(order), 1)
    return [value - shift for value in placed]


def list_rows(axes: Axes, rows: int) -> None:
    """A figure of labelled rows, the first on top: no left spine, rules across for the eye."""
    axes.set_ylim(rows - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)


def row_of_panels(grid: Any, count: int) -> list[Axes]:
    """The first panels of a grid in reading order; the others are hidden, and what stands above
    them has its ticks.
    """
    panels = list(grid.flat)
    for axes in panels[count:]:
        axes.set_visible(False)
    for axes in panels[max(0, count - grid.shape[1]) : count]:
        axes.tick_params(labelbottom=True)
    return panels[:count]
