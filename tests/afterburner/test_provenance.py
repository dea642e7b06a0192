"""DEPNAM and DEPVER of an output: what desiutil and desispec record, by desiutil's own rules."""

import shutil
from importlib.metadata import version
from pathlib import Path

import fitsio
import pytest
from astropy.io import fits

from quasarloop.afterburner import provenance
from quasarloop.afterburner.network_step import load_network
from quasarloop.afterburner.output import read_output
from quasarloop.afterburner.provenance import files_used
from quasarloop.afterburner.tiles import AfterburnerOptions, run_tile
from quasarloop.artefacts import checksum
from quasarloop.network.weights import default_weights_path


@pytest.fixture(scope="module")
def output(tile, template_files, tmp_path_factory):
    """An output whose weights and templates have long paths."""
    folder = tmp_path_factory.mktemp("a-folder-whose-name-is-longer-than-a-card-of-a-header-can-be")
    weights = shutil.copy(default_weights_path(), folder / "weights.h5")
    options = AfterburnerOptions(rerun="later", templates=(template_files,))
    out = folder / "qso_qn.fits"
    run_tile(tile.coadd, tile.redrock, out, load_network(weights), options)
    return out


def known(header):
    names = [name for name in list(header) if name.startswith("DEPNAM")]
    assert len(set(names)) == len(names) > 10
    return {header[name].strip(): header[name.replace("NAM", "VER")].strip() for name in names}


def test_weights_templates_and_packages(output, template_files):
    for header in (fitsio.read_header(output, ext="QN_RR"), fits.getheader(output, "QN_RR")):
        found = known(header)
        assert found["QN_MODEL_FILE"] == str(output.parent / "weights.h5")
        assert found["QN_MODEL_SHA256"] == checksum(default_weights_path())
        assert found["RR_TEMPLATE_0"] == str(template_files / "rrtemplate-QSO-HIZ-v1.1.fits")
        assert found["RR_TEMPLATE_1"] == str(template_files / "rrtemplate-QSO-LOZ-v1.1.fits")
        assert found["RR_TEMPLATE_DIR"] == "None"
        assert found["fitsio"] == version("fitsio")
        assert found["DESI_ROOT"] == "NOT_SET"
        assert "python" in found
        assert "quasarloop" in found


def test_templates_inside_the_folder_that_is_named(template_files, monkeypatch):
    monkeypatch.setenv("RR_TEMPLATE_DIR", str(template_files))
    paths = [template_files / "rrtemplate-QSO-LOZ-v1.1.fits", Path("/elsewhere/x.fits")]
    found = files_used(Path("/w.h5"), paths)
    assert found == {
        "QN_MODEL_FILE": "/w.h5",
        "RR_TEMPLATE_DIR": str(template_files),
        "RR_TEMPLATE_0": "rrtemplate-QSO-LOZ-v1.1.fits",
        "RR_TEMPLATE_1": "/elsewhere/x.fits",
    }


def test_packages_without_metadata(output, tmp_path, monkeypatch):
    """As desispec is in the survey's environments: a folder on the path."""
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted" / "__init__.py").write_text("__version__ = '0.19.3'")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(provenance, "_PACKAGES", ("planted", "redrock", "absent"))
    recipe = read_output(output).recipe
    # Redrock's version is that of the redrock that ran, wherever it did.
    recipe["redrock"] |= {"version": "0.20.3", "used": ["QSO:::LOZ 1.1"]}
    found = provenance.dependencies(recipe)
    assert (found["planted"], found["redrock"]) == ("0.19.3", "0.20.3")
    assert "absent" not in found


@pytest.mark.redrock
def test_desiutil_reads_them(output):
    depend = pytest.importorskip("desiutil.depend", reason="desiutil is absent")
    header = fits.getheader(output, "QN_RR")
    assert depend.getdep(header, "QN_MODEL_FILE").endswith("weights.h5")
    for name in ("desispec", "desitarget", "redrock", "fitsio"):
        assert depend.getdep(header, name) == version(name)
    probe = {}
    depend.add_dependencies(probe)
    theirs = dict(depend.iterdep(probe))
    ours = dict(depend.iterdep(header))
    packages = {"numpy", "scipy", "astropy", "fitsio", "h5py", "desiutil", *depend.possible_envvars}
    assert {n: v for n, v in theirs.items() if n in packages} == {
        n: ours[n] for n in theirs if n in packages
    }
