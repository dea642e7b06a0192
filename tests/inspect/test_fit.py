import csv

import numpy as np
import pytest

from quasarloop.errors import InspectionError
from quasarloop.inspect.fit import HALF_WIDTH, fit_redshift
from quasarloop.inspect.restframe import MARKS, rest_template
from quasarloop.lines import EMISSION_LINES
from quasarloop.read import read_spectra
from quasarloop.spectra import Arm
from quasarloop.truth import SpecType


def _planted(spectype, z, *, noise=0.05, seed=1):
    template = rest_template(spectype)
    rng = np.random.default_rng(seed)
    arms = []
    for name, low, high in (("b", 3600, 5800), ("r", 5760, 7620), ("z", 7520, 9824)):
        wave = np.arange(low, high, 0.8)
        flux = np.interp(wave, template.wave_aa * (1 + z), template.flux)
        flux = flux + rng.normal(0, noise, len(wave))
        ivar = np.full(len(wave), noise**-2)
        arms.append(Arm(name, wave, flux[None].astype("f4"), ivar[None].astype("f4")))
    return tuple(arms)


@pytest.mark.parametrize(
    ("spectype", "z"),
    [(SpecType.QSO, 2.5), (SpecType.QSO, 0.9), (SpecType.GALAXY, 0.4), (SpecType.STAR, 0.0005)],
)
@pytest.mark.parametrize("offset", [-0.02, 0.013])
def test_a_planted_redshift_is_found_from_a_trial_beside_it(spectype, z, offset):
    found = fit_redshift(_planted(spectype, z), rest_template(spectype), (1 + z) * (1 + offset) - 1)
    assert found.z == pytest.approx(z, abs=1e-4 * (1 + z))
    assert found.correlation > 0.5
    assert not found.at_edge


def test_a_redshift_outside_the_search_is_reported_as_at_its_edge_or_weak():
    spectrum = _planted(SpecType.QSO, 2.5)
    found = fit_redshift(spectrum, rest_template(SpecType.QSO), 2.5 * 1.2, half_width=0.01)
    near = fit_redshift(spectrum, rest_template(SpecType.QSO), 2.5)
    assert found.at_edge or found.correlation < 0.5 * near.correlation
    assert abs(found.z - 3.0) <= 0.0101 * 4


def test_masked_pixels_do_not_count():
    clean = _planted(SpecType.QSO, 2.5)
    spoiled = []
    for arm in clean:
        flux, ivar = arm.flux.copy(), arm.ivar.copy()
        flux[:, 100:400], ivar[:, 100:400] = 1e6, 0
        spoiled.append(Arm(arm.name, arm.wave_aa, flux, ivar))
    found = fit_redshift(tuple(spoiled), rest_template(SpecType.QSO), 2.49)
    assert found.z == pytest.approx(2.5, abs=4e-4)


def test_an_empty_spectrum_cannot_be_fitted():
    arm = Arm("brz", np.arange(3600.0, 9800), np.zeros((1, 6200), "f4"), np.zeros((1, 6200), "f4"))
    with pytest.raises(InspectionError, match="too few"):
        fit_redshift((arm,), rest_template(SpecType.QSO), 2.0)


def test_real_boss_quasars_are_brought_to_their_inspected_redshifts(shared_data):
    folder = shared_data / "boss_plate7102"
    with (folder / "truth.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["class"] == "QSO"]
    rng = np.random.default_rng(0)
    close = 0
    for row in rows:
        z = float(row["z"])
        trial = (1 + z) * (1 + rng.uniform(-HALF_WIDTH / 2, HALF_WIDTH / 2)) - 1
        found = fit_redshift(
            read_spectra(folder / row["file"]).arms, rest_template(SpecType.QSO), trial
        )
        close += abs(found.z - z) / (1 + z) < 2000 / 299792.458
    assert close / len(rows) > 0.9


def test_templates_are_positive_and_stand_where_the_lines_are():
    for spectype in (SpecType.STAR, SpecType.GALAXY, SpecType.QSO):
        template = rest_template(spectype)
        assert np.all(template.flux > 0)
        assert np.all(np.diff(template.wave_aa) > 0)
    quasar = rest_template(SpecType.QSO)
    for line in EMISSION_LINES:
        near = np.abs(quasar.wave_aa / line.wave_rest_aa - 1) < 0.01
        peak = quasar.wave_aa[near][np.argmax(quasar.flux[near])]
        assert peak == pytest.approx(line.wave_rest_aa, rel=3e-3)  # C III] blends with Si III]


def test_marks_hold_the_networks_own_wavelengths():
    waves = [mark.wave_aa for mark in MARKS if mark.major]
    assert all(line.wave_rest_aa in waves for line in EMISSION_LINES)
    assert [m.wave_aa for m in MARKS] == sorted(m.wave_aa for m in MARKS)
