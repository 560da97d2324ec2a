"""A page as headless Chromium shows it: on a desktop, on a phone, on paper.

Skips the test where there is none.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

WIDTHS = {"phone": 390, "paper": 680, "tablet": 800, "desk": 1280}  # paper: A4 between its margins


def browse(
    path: Path, look: str, on: str = "desktop", fragment: str = ""
) -> tuple[dict[str, Any], list[Any], list[str]]:
    """Opens a page in headless Chromium: what a script sees, the console, and every address the
    page asked for.
    """
    binary, driver = (
        shutil.which("chromium") or shutil.which("chromium-browser"),
        shutil.which("chromedriver"),
    )
    if not binary or not driver:
        pytest.skip(
            "chromium and chromedriver are not installed (apt-get install chromium chromium-driver)"
        )
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    profile = tempfile.TemporaryDirectory()
    quiet = ("background-networking", "component-update", "sync")
    for flag in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        *(f"disable-{q}" for q in quiet),
    ):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={profile.name}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(service=Service(driver), options=options)
    try:
        if on == "paper":  # from a machine that is set to a dark scheme
            dark = [{"name": "prefers-color-scheme", "value": "dark"}]
            browser.execute_cdp_cmd(
                "Emulation.setEmulatedMedia", {"media": "print", "features": dark}
            )
        if on in WIDTHS:
            size = {
                "width": WIDTHS[on],
                "height": 1000,
                "deviceScaleFactor": 1,
                "mobile": on == "phone",
            }
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(path.resolve().as_uri() + fragment)
        seen = browser.execute_script(look)
        console = browser.get_log("browser")
        messages = [
            json.loads(entry["message"])["message"] for entry in browser.get_log("performance")
        ]
    finally:
        browser.quit()
        profile.cleanup()
    sent = [
        message["params"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    own = [
        item["request"]["url"]
        for item in sent
        if item["documentURL"].partition("#")[0] == path.resolve().as_uri()
    ]  # not a new tab's
    return seen, console, [url for url in own if not url.startswith("data:")]
