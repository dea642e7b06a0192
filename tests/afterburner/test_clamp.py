"""`--clamp`: line redshifts of an output are those of QuasarNP, off the grid too."""

import os
import sys

import fitsio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from quasarloop.afterburner.output import read_output
from quasarloop.cli import app
from quasarloop.network.config import NetworkConfig
from quasarloop.network.decode import LineOutputs, decode
from quasarloop.network.weights import default_weights_path

CONFIG = NetworkConfig()
N_BOXES = CONFIG.n_boxes


@given(box=st.integers(0, N_BOXES - 1), offset=st.floats(-0.1, 1.1), line=st.integers(0, 5))
def test_a_line_is_where_quasarnp_puts_it(box, offset, line):
    """Its formula: interpolation of lower edges, which stays on the last one."""
    confidence = np.full((1, CONFIG.n_lines, N_BOXES), 0.1)
    confidence[:, line, box] = 0.9
    place = np.full(confidence.shape, offset, np.float32)
    found = decode(LineOutputs(confidence, place), CONFIG, "clamp").z[0, line]
    edges = CONFIG.grid.lower_edges_aa
    position = (box + np.float64(np.float32(offset))) * len(edges) / N_BOXES
    wave_aa = np.interp(position, np.arange(len(edges)), edges)
    assert found == pytest.approx(wave_aa / CONFIG.lines[line].wave_rest_aa - 1, abs=1e-12)
    assert wave_aa <= edges[-1]


def lines_of(path):
    """Return line -> observed wavelength of every row of an output, from its redshifts."""
    table = read_output(path).table
    lines = [line for line in CONFIG.lines if not line.is_bal]
    return {x.column: (1 + table[f"Z_{x.column}"]) * x.wave_rest_aa for x in lines}


def burn(tile, out, *more):
    words = ["afterburner", "--coadd", tile.coadd, "--redrock", tile.redrock, "--output", out]
    done = CliRunner().invoke(app, [*map(str, words), "--rerun", "later", *more])
    assert done.exit_code == 0, done.output
    return lines_of(out)


def test_no_line_of_an_output_is_off_the_grid(tile, tmp_path):
    """Every line of 120 spectra; those on the grid are as they were."""
    first, last = CONFIG.grid.lower_edges_aa[[0, -1]]
    free, clamped = burn(tile, tmp_path / "a.fits"), burn(tile, tmp_path / "b.fits", "--clamp")
    n_off = 0
    for name, values in free.items():
        np.testing.assert_allclose(clamped[name], np.clip(values, first, last), rtol=1e-6)
        n_off += np.count_nonzero((values > last * 1.00001) | (values < first * 0.99999))
    assert n_off > 1
    assert read_output(tmp_path / "b.fits").recipe["options"]["red_end"] == "clamp"


@pytest.mark.redrock
@pytest.mark.filterwarnings("ignore")  # of its own
@pytest.mark.skipif("QUASARNP_DIR" not in os.environ, reason="set QUASARNP_DIR to a checkout")
def test_every_line_is_quasarnps(tile, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(os.environ["QUASARNP_DIR"].split(os.pathsep)[0])
    sys.modules.pop("quasarnp", None)
    from quasarnp.io import load_desi_coadd, load_model
    from quasarnp.utils import process_preds

    burn(tile, tmp_path / "o.fits", "--clamp")
    table = read_output(tmp_path / "o.fits").table
    model, wave = load_model(str(default_weights_path()))
    n = len(fitsio.read(tile.coadd, ext="FIBERMAP"))
    flux, rows = load_desi_coadd(str(tile.coadd), np.ones(n, bool), out_grid=wave)
    names = ["LYA", "CIV(1548)", "CIII(1909)", "MgII(2796)", "Hbeta", "Halpha"]
    outputs = model.predict(flux[:, :, None])
    found = process_preds(outputs, names, ["CIV(1548)"], verbose=False, wave=wave)
    # Outliers that we mend, and rows that get no prediction here, are another matter.
    same = np.isin(table["FLAGS"][rows], 0)
    assert same.sum() > 20
    for i, name in enumerate(names):
        column = name.split("(")[0]
        np.testing.assert_allclose(
            table[f"Z_{column}"][rows][same], found[1][i][same], rtol=1e-6, atol=2e-6
        )
