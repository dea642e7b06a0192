"""The notebooks of docs run as they are, cell by cell, and keep the outputs they had."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "docs" / "notebooks").glob("*.ipynb"))
# What a run has to print: its last step was reached.
SHOWN = {
    "desi_coadd": "completeness",
    "finetune": "fine-tuned completeness",
    "one_round": "150 labels before, 190 after",
    "own_arrays": "redshift of all lines together",
}


def cells(path):
    return [c for c in json.loads(path.read_text("utf-8"))["cells"] if c["cell_type"] == "code"]


def test_all_notebooks_are_here():
    assert [path.stem for path in NOTEBOOKS] == sorted(SHOWN)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs(path, tmp_path):
    script = tmp_path / "notebook.py"
    code = ["".join(cell["source"]) for cell in cells(path)]
    script.write_text("\n\n".join(code), encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert SHOWN[path.stem] in run.stdout


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_are_kept_and_show_what_the_run_has_to(path):
    outputs = [output for cell in cells(path) for output in cell["outputs"]]
    assert all(cell["execution_count"] for cell in cells(path))
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    text = "".join("".join(output.get("text", [])) for output in outputs)
    assert SHOWN[path.stem] in text
    if "plot_spectrum" in path.read_text("utf-8"):
        assert any("image/png" in output.get("data", {}) for output in outputs)
