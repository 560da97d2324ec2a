import os
import subprocess
import sys
import threading
import time

from warmth.training.prepare import STALE_S, drop_stale_locks, extensions_folder

COMMAND = [sys.executable, "-m", "warmth.training.prepare"]


def test_a_missing_compiler_is_one_line_and_code_2(tmp_path):
    environment = {
        **os.environ,
        "CXX": "no-such-compiler -O2",
        "TORCH_EXTENSIONS_DIR": str(tmp_path),
    }
    result = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: no C++ compiler (no-such-compiler) is found")
    assert len(result.stderr.splitlines()) == 1


def test_a_compiler_that_fails_is_code_1_and_shows_its_lines(tmp_path):
    environment = {**os.environ, "CXX": "false", "TORCH_EXTENSIONS_DIR": str(tmp_path)}
    result = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(
        "error: DeepSpeed's operation could not be built"
    )


def test_a_lock_left_by_killed_ranks_goes_and_that_of_a_running_build_is_waited_for(tmp_path):
    locks = [tmp_path / name / "lock" for name in ("killed", "running")]
    for lock in locks:
        lock.parent.mkdir()
        lock.touch()
    old = time.time() - STALE_S - 1
    os.utime(locks[0], (old, old))
    threading.Timer(2, locks[1].unlink).start()
    started = time.monotonic()
    drop_stale_locks(tmp_path)
    assert [lock.exists() for lock in locks] == [False, False]
    assert 1.5 < time.monotonic() - started < 10


def test_each_environment_compiles_for_itself(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR")
    monkeypatch.setenv("WARMTH_CACHE", str(tmp_path))
    here = extensions_folder()
    monkeypatch.setattr(sys, "prefix", "/another/environment")
    assert here.parent == extensions_folder().parent == tmp_path / "torch_extensions"
    assert here != extensions_folder()


def test_torchs_own_variable_decides_where_there_is_one(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    assert extensions_folder() == tmp_path
