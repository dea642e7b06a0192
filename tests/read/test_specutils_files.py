"""specutils' loaders read what we have no format for; ours and theirs agree on real files."""

import sys

import numpy as np
import pytest
from astropy import units
from astropy.table import QTable
from numpy.testing import assert_allclose
from typer.testing import CliRunner

from quasarloop import Spectra, ingest, open_store, read_spectra, spectrum_list
from quasarloop.arrays import FLUX_UNIT
from quasarloop.cli import app
from quasarloop.errors import DataFormatError
from quasarloop.read import find_files, iter_spectra, spectra_from_memory
from quasarloop.store import read_shard
from quasarloop.tables import read_table

specutils = pytest.importorskip("specutils")

# Folder of real spectra -> the loader for its files.
LOADERS = {
    "boss_plate7102": "SDSS-III/IV spec",
    "boss_qso_plates": "SDSS-III/IV spec",
    "boss_agn": "SDSS-III/IV spec",
    "sdss_misc": "SDSS-III/IV spec",
    "rm017_repeats": "SDSS-III/IV spec",
    "desi_tile80693": "DESI coadd",
    "desi_healpix9144": "DESI coadd",
    "desi_redrock": "DESI coadd",
}


@pytest.mark.parametrize("folder", LOADERS)
def test_their_loaders_and_ours_agree_on_real_files(shared_data, folder):
    for path in find_files([shared_data / folder]):
        ours, theirs = (
            read_spectra(path),
            read_spectra(path, format=f"specutils:{LOADERS[folder]}"),
        )
        assert len(ours) == len(theirs)
        assert [arm.name for arm in ours.arms] == [arm.name for arm in theirs.arms]
        if folder.startswith("desi"):
            assert theirs.keys.target_id.tolist() == ours.keys.target_id.tolist()
        for one, other in zip(ours.arms, theirs.arms, strict=True):
            # specutils raises 10 to loglam in float32: 1e-7 of the wavelength.
            assert_allclose(other.wave_aa, one.wave_aa, rtol=0 if len(ours.arms) > 1 else 2e-7)
            assert (other.flux == one.flux).all()
            assert (other.ivar == one.ivar).all()


@pytest.fixture
def table_file(tmp_path):
    """A file no survey wrote: a table of one spectrum that specutils reads."""
    wave = np.linspace(3600, 9800, 3000)
    flux = 2 + np.random.default_rng(1).normal(size=3000)
    unit = units.Unit("1e-17 erg / (s cm2 AA)")
    table = QTable(
        {"wavelength": wave * units.AA, "flux": flux * unit, "uncertainty": np.ones(3000) * unit}
    )
    table.write(tmp_path / "mine.fits")
    return tmp_path / "mine.fits", wave, flux


def test_a_format_of_specutils_is_read_and_ingested(table_file, tmp_path):
    path, wave, flux = table_file
    with pytest.raises(DataFormatError, match="no spectra of a known format"):
        read_spectra(path)
    spectra = read_spectra(path, format="specutils:tabular-fits")
    assert_allclose(spectra.arms[0].wave_aa, wave)
    assert_allclose(spectra.arms[0].flux[0], flux, rtol=1e-6)
    assert_allclose(spectra.arms[0].ivar[0], 1, rtol=1e-6)
    assert spectra.source == str(path)
    (again,) = iter_spectra(path, format="specutils")
    assert again.keys.target_id.tolist() == spectra.keys.target_id.tolist()
    summary = ingest([path], tmp_path / "store", format="specutils:tabular-fits")
    assert summary.n_rows == 1
    assert ingest([path], tmp_path / "store", format="specutils:tabular-fits").n_skipped == 1


def test_classify_and_ingest_have_the_option(table_file, tmp_path):
    path, *_ = table_file
    out = tmp_path / "found.fits"
    run = CliRunner()
    classify = ["classify", str(path.parent), "--out", str(out), "--format", "specutils"]
    assert run.invoke(app, classify, catch_exceptions=False).exit_code == 0
    assert len(read_table(out)["TARGETID"]) == 1
    store = ["ingest", str(path), "--store", str(tmp_path / "store"), "--format"]
    run.invoke(app, [*store, "specutils:tabular-fits"], catch_exceptions=False)
    assert open_store(tmp_path / "store").n_rows == 1


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("specutils:nonsense", "no loader 'nonsense'; it has .*DESI coadd"),
        ("DESI", "'DESI' is no format; .* give specutils:NAME"),
        ("specutils:GAMA", "specutils cannot read it as GAMA"),
    ],
)
def test_formats_that_are_none_are_refused(table_file, name, match):
    with pytest.raises(DataFormatError, match=match):
        read_spectra(table_file[0], format=name)


def test_a_file_on_several_grids_is_read_in_parts(tmp_path, monkeypatch):
    two = [Spectra.from_arrays(np.linspace(3600, end, 9), np.arange(9.0)) for end in (8e3, 9e3)]
    listed = specutils.SpectrumList([item for one in two for item in spectrum_list(one)])
    monkeypatch.setattr(specutils.SpectrumList, "read", lambda *_, **__: listed)
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataFormatError, match="2 wavelength grids; read them with iter_spectra"):
        read_spectra(tmp_path / "a.txt", format="specutils")
    parts = list(iter_spectra(tmp_path / "a.txt", format="specutils"))
    assert [part.row.tolist() for part in parts] == [[0], [1]]


def test_there_and_back(spectrum_files, tmp_path):
    spectra = read_spectra(spectrum_files.write_coadd(tmp_path / "coadd.fits"))
    made = spectrum_list(spectra)
    assert isinstance(made, specutils.SpectrumList)
    assert [one.meta["band"] for one in made] == ["b", "r", "z"]
    assert made[0].flux.unit == units.Unit(FLUX_UNIT)
    (again,) = spectra_from_memory(made)
    assert again.keys.target_id.tolist() == spectra.keys.target_id.tolist()
    for one, other in zip(spectra.arms, again.arms, strict=True):
        assert (other.wave_aa == one.wave_aa).all()
        assert (other.flux == one.flux).all()
        assert (other.ivar == one.ivar).all()


def test_spectra_in_memory_are_ingested_once(spectrum_files, tmp_path):
    path = spectrum_files.write_coadd(tmp_path / "coadd.fits")
    spectra = read_spectra(path, masks=False)
    summary = ingest([spectra], tmp_path / "mine")
    ingest([path], tmp_path / "theirs")
    assert summary.n_rows == len(spectra)
    one, other = (read_shard(open_store(tmp_path / name).shards[0]) for name in ("mine", "theirs"))
    assert (one.flux == other.flux).all()
    assert one.keys.target_id.tolist() == other.keys.target_id.tolist()
    assert ingest(spectra, tmp_path / "mine").n_skipped == 1
    assert open_store(tmp_path / "mine").n_rows == len(spectra)


def test_without_specutils_the_remedy_is_named(monkeypatch, tmp_path):
    (tmp_path / "a.fits").touch()
    monkeypatch.setitem(sys.modules, "specutils", None)
    with pytest.raises(DataFormatError, match=r"pip install \"quasarloop\[specutils\]\""):
        read_spectra(tmp_path / "a.fits", format="specutils")
