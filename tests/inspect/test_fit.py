"""Fits of every class: planted redshifts, masks, edges, speed of the process, real spectra."""

import csv

import numpy as np
import pytest

from quasarloop.errors import InspectionError
from quasarloop.inspect.fit import HALF_WIDTH, N_BEST, PROFILE_STEP, fit_spectrum
from quasarloop.inspect.library import USUAL, library, template_kind
from quasarloop.inspect.marks import MARKS, bands
from quasarloop.labels.merge import MAX_Z_RANGE
from quasarloop.lines import EMISSION_LINES
from quasarloop.read import read_spectra
from quasarloop.spectra import Arm
from quasarloop.truth import SpecType


def _planted(spectype, z, *, subtype="", noise=0.05, seed=1, varied=False):
    kind = template_kind(spectype, subtype)
    rng = np.random.default_rng(seed)
    usual = kind.vectors[0] + varied * rng.normal(size=len(kind.vectors) - 1) @ kind.vectors[1:]
    arms = []
    for name, low, high in (("b", 3600, 5800), ("r", 5760, 7620), ("z", 7520, 9824)):
        wave = np.arange(low, high, 0.8)
        flux = np.interp(wave, kind.wave_aa * (1 + z), usual)
        flux = flux + rng.normal(0, noise, len(wave))
        ivar = np.full(len(wave), noise**-2)
        arms.append(Arm(name, wave, flux[None].astype("f4"), ivar[None].astype("f4")))
    return tuple(arms)


@pytest.mark.parametrize(
    ("spectype", "subtype", "z"),
    [
        (SpecType.QSO, "QSO", 2.5),
        (SpecType.QSO, "QSO", 6.5),
        (SpecType.QSO, "BAL", 1.9),
        (SpecType.QSO, "reddened", 0.9),
        (SpecType.GALAXY, "early", 0.4),
        (SpecType.GALAXY, "ELG", 1.1),
        (SpecType.STAR, "M", 0.0005),
        (SpecType.STAR, "A", -0.0035),
        (SpecType.STAR, "DA", 0.0),
    ],
)
def test_a_planted_object_is_found_among_all_classes_and_redshifts(spectype, subtype, z):
    best, *others = fit_spectrum(_planted(spectype, z, subtype=subtype)).best
    assert best.spectype == spectype
    assert best.z == pytest.approx(z, abs=2e-4 * (1 + z))
    assert (best.delta_chi2, best.at_edge) == (0, False)
    assert len(others) < N_BEST
    assert all(other.delta_chi2 > 9 for other in others)


def test_the_uncertainty_is_that_of_objects_that_differ_and_of_noise():
    pull = []
    for seed in range(30):
        spectrum = _planted(SpecType.QSO, 2.5, noise=0.3, seed=seed, varied=True)
        best = fit_spectrum(spectrum, spectype=SpecType.QSO, z_near=2.5).best[0]
        pull.append((best.z - 2.5) / best.z_err)
    assert 0.6 < np.sqrt(np.mean(np.square(pull))) < 1.4


@pytest.mark.parametrize("offset", [-0.02, 0.013])
def test_near_a_trial_redshift_only_its_class_is_searched(offset):
    spectrum = _planted(SpecType.QSO, 2.5)
    found = fit_spectrum(spectrum, spectype=SpecType.QSO, z_near=3.5 * (1 + offset) - 1)
    assert found.best[0].z == pytest.approx(2.5, abs=4e-4)
    far = fit_spectrum(spectrum, spectype=SpecType.QSO, z_near=3.0, half_width=0.01)
    assert all(abs(fit.z - 3.0) <= 0.0101 * 4 for fit in far.best)
    with pytest.raises(InspectionError, match="no template at z = 3"):
        fit_spectrum(spectrum, spectype=SpecType.STAR, z_near=3.0)


def test_the_profile_is_lowest_at_the_best_redshift():
    found = fit_spectrum(_planted(SpecType.QSO, 2.5))
    place = int(np.argmin(found.profile))
    assert found.profile[place] == 0
    assert 10 ** (place * PROFILE_STEP) == pytest.approx(3.5, rel=0.006)


def test_masked_pixels_do_not_count():
    clean = _planted(SpecType.QSO, 2.5)
    spoiled = []
    for arm in clean:
        flux, ivar = arm.flux.copy(), arm.ivar.copy()
        flux[:, 100:400], ivar[:, 100:400] = 1e6, 0
        spoiled.append(Arm(arm.name, arm.wave_aa, flux, ivar))
    assert fit_spectrum(tuple(spoiled)).best[0].z == pytest.approx(2.5, abs=4e-4)


def test_an_empty_spectrum_cannot_be_fitted():
    arm = Arm("brz", np.arange(3600.0, 9800), np.zeros((1, 6200), "f4"), np.zeros((1, 6200), "f4"))
    with pytest.raises(InspectionError, match="too few"):
        fit_spectrum((arm,))


def test_real_boss_quasars_are_brought_to_their_inspected_redshifts(shared_data):
    folder = shared_data / "boss_plate7102"
    with (folder / "truth.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["class"] == "QSO"]
    rng = np.random.default_rng(0)
    close = free = 0
    for row in rows:
        z = float(row["z"])
        arms = read_spectra(folder / row["file"]).arms
        trial = (1 + z) * (1 + rng.uniform(-HALF_WIDTH / 2, HALF_WIDTH / 2)) - 1
        near = fit_spectrum(arms, spectype=SpecType.QSO, z_near=trial).best[0]
        close += abs(near.z - z) / (1 + z) < 2 * MAX_Z_RANGE
        free += abs(fit_spectrum(arms).best[0].z - z) / (1 + z) < 2 * MAX_Z_RANGE
    assert close / len(rows) > 0.9
    assert (
        free / len(rows) > 0.85
    )  # docs/measurements/inspection.md has the table of all real spectra


def test_real_galaxies_without_uncertainties_are_found(shared_data):
    folder = shared_data / "desi_andes"
    with (folder / "truth.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["class"] == "GALAXY"]
    right = 0
    for row in rows:
        spectra = read_spectra(folder / row["file"])
        place = spectra.keys.target_id.tolist().index(int(row["row"].removeprefix("TARGET")))
        z, best = float(row["z"]), fit_spectrum(spectra.arms, row=place).best[0]
        right += abs(best.z - z) < MAX_Z_RANGE * (1 + z)
    assert right >= 0.9 * len(rows)  # 4 of 11 when one noise of neighbours was that of all pixels


def test_the_library_has_every_kind_at_the_lines_of_its_class():
    kinds = {(kind.spectype.word, kind.subtype) for kind in library()}
    assert {("QSO", "BAL"), ("QSO", "reddened"), ("GALAXY", "E+A"), ("GALAXY", "ELG")} <= kinds
    assert {("STAR", name) for name in ("A", "F", "G", "K", "M", "DA", "DB", "C", "CV")} <= kinds
    assert all((spectype.word, usual) in kinds for spectype, usual in USUAL.items())
    quasar = template_kind(SpecType.QSO)
    for line in EMISSION_LINES:
        near = np.abs(quasar.wave_aa / line.wave_rest_aa - 1) < 0.01
        peak = quasar.wave_aa[near][np.argmax(quasar.vectors[0][near])]
        assert peak == pytest.approx(line.wave_rest_aa, rel=4e-3)  # C III] blends with Si III]


def test_marks_hold_the_networks_own_wavelengths_and_doublets():
    waves = [mark.wave_aa for mark in MARKS if mark.major]
    assert all(line.wave_rest_aa in waves for line in EMISSION_LINES)
    assert [m.wave_aa for m in MARKS] == sorted(m.wave_aa for m in MARKS)
    major = [(mark.name, mark.kind) for mark in MARKS if mark.major]
    for doublet in (("Mg II", "emission"), ("[O II]", "emission"), ("C IV", "absorption")):
        assert major.count(doublet) == 2
    assert {"[Ne III]", "[Ne V]", "Ca K", "Ca H"} <= {name for name, _ in major}
    assert all(band.low_aa < band.high_aa for band in bands())
    # The A band of oxygen begins at 7594 Å in air (Fraunhofer).
    assert any(band.low_aa < 7594 * 1.00028 < band.high_aa for band in bands())


def test_the_templates_that_ship_are_those_of_the_simulation():
    from page_templates import populations, vectors

    for spectype, subtype in (
        (SpecType.QSO, "BAL"),
        (SpecType.GALAXY, "late"),
        (SpecType.STAR, "M"),
    ):
        made = vectors(spectype, populations()[spectype, subtype])
        np.testing.assert_allclose(
            template_kind(spectype, subtype).vectors, made, rtol=2e-3, atol=2e-3
        )
