"""What is in memory is read as a file is: same numbers, same confidences; other kinds at once."""

import time
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import InverseVariance, StdDevUncertainty, VarianceUncertainty
from astropy.table import QTable, Table
from numpy.testing import assert_allclose

from quasarloop import Spectra, classify, ingest, open_store
from quasarloop.errors import DataFormatError
from quasarloop.read import list_sources, named_id, read_spectra, spectra_from_memory
from quasarloop.spectra import Flag

WAVE = np.arange(3600.0, 9800.0, 2.0)
RNG = np.random.default_rng(3)
FLUX = 2.0 + RNG.normal(size=(3, len(WAVE))) + 40 * np.exp(-0.5 * ((WAVE - 4860) / 40) ** 2)
IVAR = np.ones_like(FLUX)
IDS = np.array([11, 12, 13])
UNIT = u.Unit("1e-17 erg / (s cm2 AA)")


@pytest.fixture
def specutils():
    return pytest.importorskip("specutils")


def same(found, flux=FLUX, ids=IDS, **tolerance):
    """Check that spectra hold the rows above, and return them as one list of rows."""
    rows = [(one.arms[0], row, one) for one in found for row in range(len(one))]
    assert len(rows) == len(flux)
    for k, (arm, row, one) in enumerate(rows):
        assert_allclose(arm.wave_aa, WAVE, rtol=1e-12)
        assert_allclose(arm.flux[row], flux[k], rtol=1e-6, atol=1e-6)
        assert_allclose(arm.ivar[row], 1.0, rtol=1e-6)
        if ids is not None:
            assert one.keys.target_id[row] == ids[k]
    assert [n for one in found for n in one.row] == list(range(len(flux)))


@pytest.mark.parametrize("kind", ["std", "var", "ivar"])
def test_spectrum_of_specutils_with_any_uncertainty(specutils, kind):
    of = {"std": StdDevUncertainty, "var": VarianceUncertainty, "ivar": InverseVariance}
    sigma = np.full_like(FLUX, 10.0)  # in units of 1e-18
    values = {"std": sigma, "var": sigma**2, "ivar": sigma**-2}[kind]
    one = specutils.Spectrum(
        flux=FLUX * 10 * u.Unit("1e-18 erg / (s cm2 AA)"),
        spectral_axis=WAVE / 10 * u.nm,
        uncertainty=of[kind](values),
        meta={"TARGETID": IDS},
    )
    same(spectra_from_memory(one))


def test_lists_and_collections_of_specutils(specutils):
    each = [
        specutils.Spectrum(
            flux=flux * UNIT,
            spectral_axis=WAVE * u.AA,
            uncertainty=InverseVariance(np.ones(len(WAVE))),
        )
        for flux in FLUX
    ]
    same(spectra_from_memory(specutils.SpectrumList(each)), ids=None)
    same(spectra_from_memory(tuple(each)), ids=None)
    same(spectra_from_memory([each[:1], each[1:]]), ids=None)
    axes = np.tile(WAVE, (3, 1)) * u.AA
    collection = specutils.SpectrumCollection(
        flux=FLUX * UNIT, spectral_axis=axes, uncertainty=InverseVariance(IVAR)
    )
    same(spectra_from_memory(collection), ids=None)
    shifted = specutils.SpectrumCollection(
        flux=FLUX[:2] * UNIT,
        spectral_axis=np.stack([WAVE, WAVE + 1]) * u.AA,
        uncertainty=InverseVariance(IVAR[:2]),
    )
    first, second = spectra_from_memory(shifted)
    assert (first.arms[0].wave_aa[0], second.arms[0].wave_aa[0]) == (3600, 3601)


def test_a_mask_of_ones_own_counts_that_of_a_survey_does_not(specutils):
    def make(**meta):
        mask = np.arange(len(WAVE)) < 5
        return specutils.Spectrum(
            flux=FLUX[0] * UNIT,
            spectral_axis=WAVE * u.AA,
            mask=mask,
            uncertainty=InverseVariance(np.ones(len(WAVE))),
            meta=meta,
        )

    (own,) = spectra_from_memory(make())
    (survey,) = spectra_from_memory(make(header={}))
    assert not own.arms[0].ivar[0, :5].any()
    assert survey.arms[0].ivar.all()


def test_spectrum_without_uncertainty_is_flagged_and_a_cube_refused(specutils):
    bare = specutils.Spectrum(flux=FLUX * UNIT, spectral_axis=WAVE * u.AA)
    (spectra,) = spectra_from_memory(bare)
    assert (spectra.flags == Flag.ESTIMATED_IVAR).all()
    cube = specutils.Spectrum(flux=np.ones((2, 2, len(WAVE))) * UNIT, spectral_axis=WAVE * u.AA)
    with pytest.raises(DataFormatError, match="a cube"):
        spectra_from_memory(cube)


def columns():
    return {"TARGETID": IDS, "WAVELENGTH": np.tile(WAVE, (3, 1)), "FLUX": FLUX, "IVAR": IVAR}


@pytest.mark.parametrize(
    "given",
    [
        columns(),
        Table(columns()),
        Table(columns()).as_array(),
        QTable(columns() | {"FLUX": FLUX * UNIT, "WAVELENGTH": np.tile(WAVE, (3, 1)) / 10 * u.nm}),
        list(Table(columns())),
        columns() | {"WAVELENGTH": WAVE},
        [{name: values[row] for name, values in columns().items()} for row in range(3)],
        SimpleNamespace(
            records=[
                {"wavelength": WAVE, "flux": FLUX[k], "ivar": IVAR[k], "specid": int(IDS[k])}
                for k in range(3)
            ]
        ),
        Table({"loglam": np.log10(WAVE), "flux": FLUX[0], "ivar": IVAR[0]}),
    ],
    ids=["dict", "Table", "array", "QTable", "rows", "one wave", "dicts", "sparcl", "one spectrum"],
)
def test_tables_mappings_and_results_of_sparclclient(given):
    one = isinstance(given, Table) and "loglam" in given.colnames
    same(spectra_from_memory(given), FLUX[:1] if one else FLUX, None if one else IDS)


def test_sparcl_record_whose_specid_does_not_fit_is_known_by_its_name():
    record = {
        "wavelength": WAVE,
        "flux": FLUX[0],
        "ivar": IVAR[0],
        "specid": -5,
        "sparcl_id": "00-aa",
    }
    (spectra,) = spectra_from_memory(record)
    assert spectra.keys.target_id.tolist() == [named_id("00-aa")]


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (FLUX, r"ndarray of shape \(3, 3100\) holds no spectra.*Spectra.from_arrays"),
        (np.int64(3), "int64 holds no spectra"),
        ([1, 2], "int holds no spectra"),
        (None, "NoneType holds no spectra"),
        (WAVE * u.AA, "Quantity"),
        ({"flux": FLUX}, "no wavelengths or no flux"),
        (["a.fits", object()], "object holds no spectra"),
    ],
)
def test_a_wrong_kind_is_refused_at_once(given, match):
    start = time.process_time()
    with pytest.raises(DataFormatError, match=match):
        classify(given)
    assert time.process_time() - start < 5


def test_paths_and_spectra_keep_their_order():
    mine = Spectra.from_arrays(WAVE, FLUX, IVAR)
    first, second, third = list_sources(["a.fits", mine, "b.fits"])
    assert (first, third) == ("a.fits", "b.fits")
    assert len(second) == 3
    assert list_sources(np.array(["a.fits"])) == ["a.fits"]
    assert list_sources("a.fits") == ["a.fits"]


def test_same_confidences_from_file_arrays_spectrum_and_store(shared_data, specutils, tmp_path):
    path = sorted((shared_data / "boss_plate7102").glob("spec-*.fits"))[3]
    read = read_spectra(path)
    (arm,) = read.arms
    spectrum = specutils.Spectrum(
        flux=arm.flux[0] * UNIT,
        spectral_axis=arm.wave_aa * u.AA,
        uncertainty=InverseVariance(arm.ivar[0]),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # units that FITS discourages
        loaded, one = specutils.Spectrum.read(path), Table.read(path, hdu=1)
    ingest([path], tmp_path / "store")
    kinds = {
        "file": path,
        "ours": read,
        "arrays": Spectra.from_arrays(arm.wave_aa, arm.flux, arm.ivar),
        "Spectrum": spectrum,
        "loaded by specutils": loaded,
        "table": one,
        "store": tmp_path / "store",
        "opened store": open_store(tmp_path / "store"),
    }
    table = {name: classify(given) for name, given in kinds.items()}
    for name, found in table.items():
        assert len(found) == 1, name
        for column in (c for c in found.colnames if c.startswith("C_") or c == "Z_BEST"):
            assert found[column][0] == pytest.approx(table["file"][column][0], abs=1e-6), name
