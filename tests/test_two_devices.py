"""A model that is split over two devices answers and scores: what its layers need follows them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from warmth.digest import ROOT


@pytest.fixture(scope="module")
def outcomes():
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tests" / "two_devices.py")]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", ["plain", "answer", "score", "weigh", "steer"])
def test_every_tensor_is_on_the_device_of_the_layer_that_reads_it(outcomes, case):
    assert outcomes[case] == "ok"
