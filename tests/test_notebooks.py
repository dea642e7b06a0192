"""The notebooks of docs run as they are, cell by cell, and keep the outputs they had."""

import json
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


@pytest.mark.parametrize("epochs", ["4", pytest.param("40", marks=pytest.mark.slow)])
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch, capsys, epochs):
    """Its forty epochs are four here: what is printed first is the same."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for cell in cells(path):
        code = "".join(cell["source"]).replace("epochs=40", f"epochs={epochs}")
        exec(compile(code, path.name, "exec"), names)
    assert SHOWN[path.stem] in capsys.readouterr().out


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_are_kept_and_show_what_the_run_has_to(path):
    outputs = [output for cell in cells(path) for output in cell["outputs"]]
    assert all(cell["execution_count"] for cell in cells(path))
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    text = "".join("".join(output.get("text", [])) for output in outputs)
    assert SHOWN[path.stem] in text
    if "plot_spectrum" in path.read_text("utf-8"):
        assert any("image/png" in output.get("data", {}) for output in outputs)
