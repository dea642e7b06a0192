from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray

from quasarloop.errors import DataFormatError
from quasarloop.simulate.draw import draw_objects, quasars_at
from quasarloop.simulate.lattice import fine_lattice
from quasarloop.simulate.model import observed_flux
from quasarloop.simulate.population import Population, QuasarPopulation
from quasarloop.simulate.templates import (
    TemplateLibrary,
    read_template,
    read_templates,
    template_quasars,
    template_truth,
)
from quasarloop.truth import SpecType

OBSERVED = np.geomspace(3600.0, 9800.0, 1500)


def write_template(
    folder: Path,
    kind: str,
    basis: NDArray[np.float64],
    *,
    log: bool,
    coefficients: NDArray[np.float64] | None = None,
    **changed: object,
) -> Path:
    """A small redrock template: the format of redrock-templates, flat or log grid."""
    start, step = (3.0, 1e-4) if log else (1500.0, 4.0)
    spectype, _, subtype = kind.partition("-")
    header = fits.Header()
    header.update({"CRVAL1": start, "CDELT1": step, "RRTYPE": spectype, "RRSUBTYP": subtype})
    if log:
        header["LOGLAM"] = 1
    for key, value in changed.items():
        if value is None:
            header.remove(key)
        else:
            header[key] = value
    hdus = [fits.PrimaryHDU(basis, header)]
    hdus[0].header["EXTNAME"] = "BASIS_VECTORS"
    if coefficients is not None:
        hdus.append(fits.ImageHDU(coefficients, name="ARCHETYPE_COEFF"))
    path = folder / f"rrtemplate-{kind}-v0.fits"
    fits.HDUList(hdus).writeto(path)
    return path


def wave_of(n: int, *, log: bool) -> NDArray[np.float64]:
    return 10 ** (3 + 1e-4 * np.arange(n)) if log else 1500.0 + 4.0 * np.arange(n)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole library: LOZ falls as λ⁻², HIZ rises as λ, so that one sees which was used."""
    log, flat = wave_of(9500, log=True), wave_of(2500, log=False)
    ripple = 0.01 * np.sin(np.arange(9500) / 40.0)
    write_template(tmp_path, "QSO-LOZ", np.stack([(log / 3000) ** -2, ripple]), log=True)
    write_template(tmp_path, "QSO-HIZ", np.stack([log / 3000, ripple]), log=True)
    line = np.exp(-0.5 * ((flat - 6564.61) / 5) ** 2)
    galaxies = np.stack([np.linspace(0.9, 0.1, 40), np.linspace(3, 0.01, 40)], axis=1)
    write_template(
        tmp_path, "GALAXY", np.stack([1 + 0 * flat, line]), log=False, coefficients=galaxies
    )
    star = np.stack([flat / 5000, (flat / 5000) ** 2])
    write_template(tmp_path, "STAR-K", star, log=False, coefficients=np.array([[1.0, 0.0]]))
    write_template(tmp_path, "STAR-CV", star[:, :], log=False)
    return tmp_path


def test_log_and_linear_grids_are_told_by_loglam(folder: Path) -> None:
    log = read_template(folder / "rrtemplate-QSO-LOZ-v0.fits")
    flat = read_template(folder / "rrtemplate-STAR-K-v0.fits")
    lattice = fine_lattice(4000.0, 8000.0)
    assert log.table.window(0.0, lattice)[0] == pytest.approx(
        (lattice.wave_aa / 3000) ** -2, rel=1e-4
    )
    assert flat.table.window(0.0, lattice)[0] == pytest.approx(lattice.wave_aa / 5000, rel=1e-4)
    assert log.wave_range_aa == pytest.approx((1000.0, 10**3.9499))
    assert flat.wave_range_aa == pytest.approx((1500.0, 11_496.0))
    # Redshift 1: the same template, seen at twice the wavelength.
    seen = flat.table.window(1.0, lattice)[0]
    assert seen == pytest.approx(lattice.wave_aa / 10_000, rel=1e-4)


def test_coefficients_come_from_the_file_or_are_loose(folder: Path) -> None:
    library = read_templates(folder)
    assert library.stars["K"].coefficients.tolist() == [[1.0, 0.0]]
    loose = library.stars["CV"].coefficients
    assert len(loose) > 10
    lattice = fine_lattice(3600.0, 9800.0)
    assert (loose @ library.stars["CV"].table.window(0.0, lattice) > -1e-3).all()
    # Galaxies are sorted from passive to strongest line.
    ratio = library.galaxy.coefficients[:, 1] / library.galaxy.coefficients[:, 0]
    assert (np.diff(ratio) > 0).all()
    assert library.low_z.coefficients.shape == (0, 2)


def test_quasars_are_joined_in_redshift(folder: Path) -> None:
    library = read_templates(folder)

    def rises(z: float) -> NDArray[np.bool_]:
        objects = quasars_at(
            QuasarPopulation(), np.full(80, z), np.full(80, 20.0), np.random.default_rng(1)
        )
        lattice = fine_lattice(5000.0, 6000.0)
        builtin = np.ones((80, lattice.n_pix), np.float32)
        spectra = template_quasars(builtin, objects, library, lattice)
        return spectra[:, -1] > spectra[:, 0]

    assert not rises(1.39).any()
    assert rises(1.61).all()
    assert 0.2 < rises(1.5).mean() < 0.8


def test_coefficients_of_quasars_come_nearest_the_built_in_spectrum(folder: Path) -> None:
    library = read_templates(folder)
    objects = quasars_at(QuasarPopulation(), [0.5], [20.0], np.random.default_rng(1))
    lattice = fine_lattice(4000.0, 9000.0)
    builtin = 7.0 * (lattice.wave_aa[None, :] / 4500) ** -2
    spectra = template_quasars(builtin.astype(np.float32), objects, library, lattice)
    assert spectra == pytest.approx(builtin, rel=1e-3)


def test_a_folder_with_one_quasar_template_uses_it_everywhere(folder: Path) -> None:
    (folder / "rrtemplate-QSO-LOZ-v0.fits").unlink()
    library = read_templates(folder)
    assert library.low_z is library.high_z


def test_truth_of_templates_says_only_what_holds(folder: Path) -> None:
    library = read_templates(folder)
    assert isinstance(library, TemplateLibrary)
    objects = draw_objects(Population(), 600, np.random.SeedSequence(6))
    known = template_truth(objects, library)
    star = known.spectype == SpecType.STAR
    assert set(known.subtype[star]) == {"K", "CV"}
    assert np.isnan(known.quasar.slope).all()
    assert np.isnan(known.galaxy.halpha_ew_aa).all()
    assert not known.quasar.weak_line.any()
    assert np.array_equal(known.quasar.bal.is_bal, objects.quasar.bal.is_bal)
    assert np.array_equal(known.z, objects.z)
    assert template_truth(objects, None) is objects
    flux = observed_flux(objects, OBSERVED, library)
    assert np.isfinite(flux).all()
    assert (flux >= 0).all()
    # Every star is a straight line here (K) or bent (CV).
    k_star = flux[star & (known.subtype == "K")]
    slope = k_star / OBSERVED
    assert slope.std(axis=1) / slope.mean(axis=1) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        ("STAR-A", {"CRVAL1": None}, "CRVAL1"),
        ("STAR-A", {"CDELT1": -1.0}, "not a usable template"),
        ("STAR-A", {"CRVAL1": -5000.0}, "not a usable template"),
    ],
)
def test_unusable_templates_are_named(
    tmp_path: Path, kind: str, changes: dict[str, object], says: str
) -> None:
    path = write_template(tmp_path, kind, np.ones((2, 100)), log=False, **changes)
    with pytest.raises(DataFormatError, match=says) as caught:
        read_template(path)
    assert path.name in str(caught.value)


def test_coefficients_of_another_basis_are_refused(tmp_path: Path) -> None:
    path = write_template(
        tmp_path, "STAR-A", np.ones((2, 100)), log=False, coefficients=np.ones((5, 3))
    )
    with pytest.raises(DataFormatError, match=r"\(5, 3\) for 2 basis"):
        read_template(path)


def test_folders_without_templates_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="redrock-templates folder"):
        read_templates(tmp_path)
    write_template(tmp_path, "STAR-A", np.ones((2, 100)), log=False)
    with pytest.raises(DataFormatError, match="GALAXY, QSO"):
        read_templates(tmp_path)
    (tmp_path / "rrtemplate-X.fits").write_bytes(b"no FITS")
    with pytest.raises(DataFormatError, match=r"rrtemplate-X\.fits"):
        read_templates(tmp_path)


def test_the_real_templates_are_read_and_used(shared_data: Path) -> None:
    library = read_templates(shared_data / "templates" / "redrock")
    assert set(library.stars) == {"A", "B", "F", "G", "K", "M", "WD", "CV"}
    assert (library.low_z.subtype, library.high_z.subtype) == ("LOZ", "HIZ")
    assert len(library.galaxy.coefficients) == 750
    objects = draw_objects(Population(), 512, np.random.SeedSequence(2))
    flux = observed_flux(objects, OBSERVED, library)
    builtin = observed_flux(objects, OBSERVED)
    assert np.isfinite(flux).all()
    assert (flux >= 0).all()
    assert not np.allclose(flux, builtin)
    # The same quasars: their spectra go up and down together.
    quasar = objects.spectype == SpecType.QSO
    together = [np.corrcoef(a, b)[0, 1] for a, b in zip(flux[quasar], builtin[quasar], strict=True)]
    assert np.median(together) > 0.95
