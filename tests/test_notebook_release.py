"""The example notebook, executed by Jupyter itself in an environment that is made for it."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys

import pytest

from warmth.paths import ROOT

JUPYTER = ["nbclient", "nbformat", "ipykernel"]
RUN = """
import sys, nbformat
from nbclient import NotebookClient
book = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(book, timeout=1500, kernel_name="python3", resources={"metadata": {"path": sys.argv[2]}}).execute()
nbformat.write(book, sys.argv[3])
"""


@pytest.mark.release
@pytest.mark.timeout(2400)
def test_the_example_notebook_runs_from_an_empty_folder(tmp_path):
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True, timeout=120)
    python = environment / "bin" / "python"
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(
        "\n".join([*site.getsitepackages(), str(ROOT)]) + "\n"
    )
    install = [python, "-m", "pip", "install", "-q", *JUPYTER]
    if subprocess.run(install, capture_output=True, timeout=600).returncode:
        pytest.skip("Jupyter cannot be fetched: there is no network")
    folder = tmp_path / "empty"
    folder.mkdir()
    env = {
        **os.environ,
        "JUPYTER_PATH": str(environment / "share" / "jupyter"),
        "OMP_NUM_THREADS": "2",
    }
    book = tmp_path / "executed.ipynb"
    words = [python, "-c", RUN, ROOT / "examples" / "notebook.ipynb", folder, book]
    done = subprocess.run(words, capture_output=True, text=True, timeout=2000, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    cells = [cell for cell in json.loads(book.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in cells)
    shown = json.dumps([cell["outputs"] for cell in cells])
    assert "system_warm" in shown and "report.html" in shown and "evaluate/smollm2-none" in shown
