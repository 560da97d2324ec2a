"""Colours that can be read, on a light and on a dark page, and marks that a page can find."""

from __future__ import annotations

import re

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from warmth.analysis.report.drawing.ink import bar, css_colours, place_labels, point_id
from warmth.analysis.report.page import TEMPLATES

PAPER = re.findall(
    r"--paper:(#[0-9a-f]{6})", (TEMPLATES / "report.css").read_text(encoding="utf-8")
)


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    """WCAG 2's ratio, 1 to 21; text needs 4.5."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("name", sorted(set(css_colours()) - {"rule"}))  # rules are ornament
def test_every_colour_that_words_are_set_in_can_be_read_on_either_page(name):
    light, dark = css_colours()[name]
    assert contrast(light, PAPER[0]) >= 4.5 and contrast(dark, PAPER[1]) >= 4.5


def test_a_point_has_one_id_for_its_cell_whatever_the_figure():
    assert point_id("m", "warm") == point_id("m", "warm", "", "", "")
    assert (
        len(
            {
                point_id("m", "warm", "t"),
                point_id("m", "warm", "", "t"),
                point_id("m", "warm"),
                point_id("mw", "arm"),
            }
        )
        == 4
    )
    assert re.fullmatch(r"point-[0-9a-f]{10}", point_id("m", "=HYPERLINK(<b>\ud800"))


def test_a_label_stands_clear_of_marks_and_lines_of_others():
    figure = Figure(figsize=(4, 4))
    canvas, axes = FigureCanvasAgg(figure), figure.subplots()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    axes.plot([4], [5], "o")
    axes.plot([0, 10], [5.3, 5.3])  # where a label would stand first
    axes.plot([4.8], [4.7], "o")  # and where it would stand next
    place_labels(axes, [(4, 5)], ["named"], ["black"])
    canvas.draw()
    (box,) = (text.get_window_extent() for text in axes.texts)
    crossed = [
        line.get_path().transformed(axes.transData).intersects_bbox(box) for line in axes.lines[1:2]
    ]
    other = Bbox.from_extents(*axes.transData.transform([(4.7, 4.6), (4.9, 4.8)]).ravel())
    assert not any(crossed) and not box.overlaps(other)
    near = box.padded(30)
    assert near.contains(*axes.transData.transform((4, 5)))


def test_a_label_that_would_cover_another_or_a_mark_may_be_dropped():
    figure = Figure(figsize=(2, 2))
    canvas, axes = FigureCanvasAgg(figure), figure.subplots()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    at = [(5 + 0.1 * n, 5 + 0.1 * n) for n in range(9)]
    axes.plot(*zip(*at, strict=True), "o", linestyle="none")
    place_labels(axes, at, ["named"] * 9, ["black"] * 9, drop=True)
    canvas.draw()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert 2 <= len(boxes) < 9
    assert not any(one.overlaps(other) for n, one in enumerate(boxes) for other in boxes[:n])
    assert not any(box.contains(*axes.transData.transform(point)) for box in boxes for point in at)


def test_an_interval_beyond_all_answers_is_cut_with_an_arrow():
    axes = Figure().subplots()
    bar(axes, -0.4, 1.3, 0, "black", 1)
    line, arrow = axes.lines
    assert (
        list(line.get_xdata()) == [-40, 100]
        and arrow.get_marker() == ">"
        and list(arrow.get_xdata()) == [100]
    )
