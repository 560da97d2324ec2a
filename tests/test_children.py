"""Shards, ranks and the evaluation after a training end with the process that started them."""

import subprocess
import sys
import time

import pytest

PARENT = """
import os, subprocess, sys, time
from warmth.children import before_start
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], preexec_fn=before_start())
print(child.pid, flush=True)
time.sleep(60)
"""


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(
    sys.platform != "linux", reason="the kernel's signal on a parent's death is Linux's"
)
def test_a_child_ends_when_its_parent_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    assert is_alive(child)
    parent.kill()
    parent.wait()
    for _ in range(200):
        if not is_alive(child):
            return
        time.sleep(0.05)
    pytest.fail("the child outlived its parent")
