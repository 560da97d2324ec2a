"""Draws the pictures of the tutorial from a finished demo: `python docs/make_pictures.py
multirun/demo reports/demo`.

Terminal output becomes SVG by Rich; the page is photographed by a headless Chromium, if there is
one.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURES = Path(__file__).resolve().parent / "pictures"
COLUMNS = 100
FONT = re.compile(r"@font-face \{.*?\}", re.DOTALL)  # Rich's would be fetched from elsewhere


def terminal(name: str, shown: str, words: list[str], lines: int) -> None:
    """Run a command and draw the first lines of what it prints.

    Args:
        name: of the picture.
        shown: the command as the reader types it.
        words: what is run.
        lines: how many are drawn.
    """
    env = {**os.environ, "COLUMNS": str(COLUMNS), "FORCE_COLOR": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=env, check=True)
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(f"[bold]$ {shown}[/bold]", highlight=False)
    for line in done.stdout.splitlines()[:lines]:
        console.print(
            Text.from_ansi(line.rstrip()), soft_wrap=False, overflow="ellipsis", no_wrap=True
        )
    drawing = FONT.sub("", console.export_svg(title="warmth"))
    (PICTURES / f"{name}.svg").write_text(drawing, encoding="utf-8")


def photograph(page: Path, name: str, width: int, height: int) -> None:
    """Photograph the top of a page."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for option in (
        "--headless=new",
        "--no-sandbox",
        "--hide-scrollbars",
        "--force-device-scale-factor=1",
    ):
        options.add_argument(option)
    options.add_argument(f"--window-size={width},{height}")
    binary = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if binary is None:
        print(f"{name}.png: no Chromium here, left as it is", file=sys.stderr)
        return
    options.binary_location = binary
    with webdriver.Chrome(
        options=options, service=webdriver.ChromeService(shutil.which("chromedriver"))
    ) as browser:
        browser.get(page.resolve().as_uri())
        browser.save_screenshot(str(PICTURES / f"{name}.png"))


def main() -> None:
    """Draw all pictures."""
    study, report = sys.argv[1:3]
    PICTURES.mkdir(exist_ok=True)
    warmth = [sys.executable, "-m", "warmth.cli"]
    shown = "warmth report multirun/demo --out reports/demo"
    terminal("report", shown, [*warmth, "report", study, "--out", report], 40)
    terminal(
        "show", "warmth show trivia_150 multirun/demo", [*warmth, "show", "trivia_150", study], 40
    )
    output, _, name = study.rpartition("/")
    terminal("status", "warmth status demo", [*warmth, "status", name, "--output", output], 30)
    photograph(Path(report) / "report.html", "page", 1280, 1000)


if __name__ == "__main__":
    main()
