"""Draws the house in one picture from the imports: `python docs/make_house.py`.

An arrow goes from the importing folder to the imported one. Arrows between rooms are drawn once for
a whole room. Doors and verbs may import everything, and everything
imports the ground floor: these arrows are left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import grimp
import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

PICTURE = Path(__file__).resolve().parent / "pictures" / "house.svg"
Box = tuple[float, float, float, float]  # left, bottom, width, height
ARROW = "#8a5a2b"
GROUND = "ground floor"
DOORS = "doors"
DOOR_MODULES = ("cli", "entry", "inspect_tasks", "notebook")
ROOMS = ("api", "data", "training", "evaluation", "analysis", "sweep", "commands")
# Left edge, lower edge, width and height of each room; the folders of a room are stacked in it.
PLACES = {
    DOORS: (0.2, 10.3, 11.6, 0.7),
    "commands": (0.2, 9.3, 11.6, 0.7),
    "sweep": (0.2, 8.3, 11.6, 0.7),
    "data": (0.2, 5.3, 2.2, 1.6),
    "training": (2.7, 5.3, 2.2, 1.6),
    "evaluation": (5.2, 2.9, 3.1, 4.8),
    "analysis": (8.6, 2.9, 3.2, 4.8),
    "api": (0.2, 1.6, 8.1, 0.7),
    GROUND: (0.2, 0.4, 11.6, 0.8),
}
BETWEEN_ROOMS = 2.55  # where an arrow passes that goes from above the rooms to below them
# The folders of a room from the first stage of the data, at the bottom, to the last.
STACKS = {
    "evaluation": ("ask", "answer", "grade", "manner"),
    "analysis": ("rows", "statistics", "study", "report", "compare"),
}
WORDS = {
    DOORS: "train.py, evaluate.py, warmth, import warmth, inspect eval (may import everything)",
    "commands": "the verbs of warmth, one file each (may import everything below)",
    "sweep": "a grid of jobs: plan, launchers, claims, status",
    "data": "sources, select,\nrewrite, audit, sets",
    "training": "examples, packing,\ntrainer, checkpoints",
    "evaluation": "stages, gates, shards, summary",
    "analysis": "from rows to a page",
    "api": "one client for model servers",
    GROUND: "paths, config, schemas, digest, store, chat, models, devices, verdicts, text …",
    "evaluation.ask": "tasks, conditions, designs",
    "evaluation.answer": "arms, engines, decoding",
    "evaluation.grade": "rules, judges",
    "evaluation.manner": "SocioT, ratings",
    "analysis.rows": "checked frames",
    "analysis.statistics": "effects, bounds, plans",
    "analysis.study": "the authors' files",
    "analysis.report": "sections, figures, page",
    "analysis.compare": "other tools' logs",
}


def room_of(module: str) -> str:
    """Return the room that a module of `warmth` belongs to."""
    name = module.split(".")[1]
    if name in ROOMS:
        return name
    return DOORS if name in DOOR_MODULES else GROUND


def folder_of(module: str) -> str:
    """Return `room.folder` of a module; empty if it lies in the room itself."""
    names = module.split(".")
    folders = STACKS.get(names[1], ())
    return f"{names[1]}.{names[2]}" if len(names) > 2 and names[2] in folders else ""


def imports() -> dict[str, list[str]]:
    """Find which rooms import which, and inside a room which folders import which.

    Returns:
        importing place → imported places; without those of doors, verbs and the ground floor.
    """
    graph = grimp.build_graph("warmth")
    found: set[tuple[str, str]] = set()
    for module in graph.modules - {"warmth"}:
        for imported in graph.find_modules_directly_imported_by(module) - {"warmth"}:
            found.add((room_of(module), room_of(imported)))
            found.add((folder_of(module), folder_of(imported)))
    edges: dict[str, list[str]] = {}
    for importer, imported in sorted(found):
        is_free = importer in (DOORS, "commands", GROUND) or imported == GROUND
        if importer and imported and importer != imported and not is_free:
            edges.setdefault(importer, []).append(imported)
    return edges


def places() -> dict[str, Box]:
    """Return left, bottom, width and height of every box."""
    boxes = dict(PLACES)
    for room, folders in STACKS.items():
        left, bottom, width, height = PLACES[room]
        step = (height - 0.75) / len(folders)
        for level, folder in enumerate(folders):
            boxes[f"{room}.{folder}"] = (
                left + 0.25,
                bottom + 0.15 + level * step,
                width - 1.15,
                step - 0.3,
            )
    return boxes


def draw(edges: Mapping[str, Sequence[str]]) -> None:
    """Write the picture; its title holds the imports, so that a test sees if it is current."""
    style = {"font.family": "DejaVu Sans", "svg.hashsalt": "house", "svg.fonttype": "none"}
    with plt.rc_context(style):
        figure, axes = plt.subplots(figsize=(12, 11))
        boxes = places()
        for name, box in boxes.items():
            draw_box(axes, name, box)
        for importer, imported_places in edges.items():
            for imported in imported_places:
                draw_arrow(axes, boxes[importer], boxes[imported])
        axes.set_xlim(0, 12)
        axes.set_ylim(0.2, 11.2)
        axes.axis("off")
        title = json.dumps(edges)
        metadata = {"Title": title, "Date": None, "Creator": None}
        figure.savefig(PICTURE, bbox_inches="tight", metadata=metadata, facecolor="white")
        plt.close(figure)


def draw_box(axes, name: str, box: Box) -> None:
    """Draw a room or a folder with its name and a few words; a room with folders writes on top."""
    left, bottom, width, height = box
    inner = "." in name
    colour = "#ffffff" if inner else "#f3f1ea"
    patch = FancyBboxPatch(
        (left, bottom),
        width,
        height,
        boxstyle="round,pad=0.02",
        facecolor=colour,
        edgecolor="#555555",
    )
    axes.add_patch(patch)
    middle = left + width / 2
    title = name.rpartition(".")[2]
    height_of_text = bottom + height - 0.3 if name in STACKS else bottom + height / 2 + 0.12
    size = 10 if inner else 12
    axes.text(middle, height_of_text, title, ha="center", va="center", fontsize=size, weight="bold")
    below = height_of_text - 0.27
    axes.text(middle, below, WORDS[name], ha="center", va="center", fontsize=8, color="#333333")


def draw_arrow(axes, start: Box, end: Box) -> None:
    """Draw an arrow downward from one box to another.

    Boxes of one stack that are not neighbours are joined by a bow on their right.
    """
    start_left, start_bottom, start_width, start_height = start
    end_left, end_bottom, end_width, end_height = end
    is_same_stack = start_left == end_left and start_width == end_width
    gap = start_bottom - (end_bottom + end_height)
    if is_same_stack and gap > start_height:
        origin = (start_left + start_width, start_bottom + start_height / 2)
        target = (end_left + end_width, end_bottom + end_height / 2)
        bend = -0.3
    else:
        low = max(start_left, end_left)
        high = min(start_left + start_width, end_left + end_width)
        is_past_rooms = gap > PLACES["analysis"][3]
        middle = BETWEEN_ROOMS if is_past_rooms else (low + high) / 2
        origin = (middle, start_bottom)
        target = (middle, end_bottom + end_height)
        bend = 0.0
    arrow = FancyArrowPatch(
        origin,
        target,
        arrowstyle="-|>",
        mutation_scale=11,
        connectionstyle=f"arc3,rad={bend}",
        color=ARROW,
        linewidth=1.1,
        zorder=3,
    )
    axes.add_patch(arrow)


if __name__ == "__main__":
    draw(imports())
