"""A value that a key does not allow is refused in one line that names the key, the value and what
is allowed.
"""

import math
import subprocess
import sys
import time

import pytest
from test_used_keys import BASE, replaced

from warmth.bounds import Bounds, Choices, leaves
from warmth.config import check_values
from warmth.digest import ROOT
from warmth.errors import UserError


def outside(allowed):
    """Values that bounds or choices do not allow."""
    if isinstance(allowed, Choices):
        return ["nosuch", ""]
    beyond = [math.nan, math.inf, -math.inf]
    if allowed.above is not None:
        beyond += [allowed.above, allowed.above - 1]
    if allowed.at_least is not None:
        beyond += [allowed.at_least - 1]
    if allowed.below is not None:
        beyond += [allowed.below, allowed.below + 1]
    if allowed.at_most is not None:
        beyond += [allowed.at_most * 2 + 1]
    return beyond


BAD = [
    (command, key, value, isinstance(held, list | tuple))
    for command, study in BASE.items()
    for key, held, metadata in leaves(study)
    if isinstance(metadata.get("allowed"), Bounds | Choices) and not key.startswith("api.prices.")
    for value in outside(metadata["allowed"])
]


def test_hundreds_of_bad_values_are_one_line_each_with_key_and_value():
    accepted = []
    for command, key, value, is_list in BAD:
        try:
            check_values(replaced(BASE[command], key, [value] if is_list else value))
        except UserError as error:
            line = str(error)
            if "\n" in line or key not in line or str(value) not in line:
                accepted.append(f"{key}={value}: {line}")
        else:
            accepted.append(f"{key}={value}")
    assert accepted == []
    assert len(BAD) > 300


@pytest.mark.parametrize(
    ("key", "value"), [("dose", math.nan), ("dose", [1.0, math.inf]), ("checkpoint", -1.0)]
)
def test_doses_and_checkpoints_are_finite(key, value):
    with pytest.raises(UserError, match=f"{key}="):
        check_values(replaced(BASE["evaluate"], key, value))


def test_a_bad_value_ends_the_command_at_once_and_leaves_no_folder(tmp_path):
    words = ["recipe=none", "sampling.temperature=nan", f"output={tmp_path / 'out'}"]
    began = time.process_time()
    done = subprocess.run(
        [sys.executable, str(ROOT / "evaluate.py"), *words], capture_output=True, text=True
    )
    assert time.process_time() - began < 2
    assert done.returncode == 2
    assert done.stderr == "error: sampling.temperature=nan must be at least 0, at most 10\n"
    assert not (tmp_path / "out").exists()
