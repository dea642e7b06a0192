"""Holes inside an arm and steps between arms: flagged where planted, nowhere else."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.grid import LINEAR_GRID, LOG_GRID
from quasarloop.quality import GAP_KMS, NOT_TRAINED, REFUSED, UNUSABLE, arm_steps, gaps, prepare
from quasarloop.read import find_files, iter_spectra
from quasarloop.spectra import Arm, Flag, Keys, Spectra

RANGES = {"b": (3600.0, 5800.0), "r": (5760.0, 7620.0), "z": (7520.0, 9824.0)}
GRIDS = pytest.mark.parametrize("grid", [LOG_GRID, LINEAR_GRID], ids=["log", "linear"])


def spectra(ranges=RANGES, n=1, sn=5.0, step=0.8):
    """A rising continuum of 1, with noise."""
    rng = np.random.default_rng(0)
    arms = []
    for name, (low, high) in ranges.items():
        wave = np.arange(low, high + step / 2, step)
        flux = (wave / 6000 + rng.normal(0, 1 / sn, (n, len(wave)))).astype("f4")
        arms.append(Arm(name, wave, flux, np.full(flux.shape, sn**2, "f4")))
    keys = Keys.make(np.arange(1, n + 1))
    return Spectra(tuple(arms), keys, np.zeros(n, "i4"), "made.fits", np.arange(n))


def punch(observed, low, high, row=0):
    """Leave all pixels of a range without data."""
    for arm in observed.arms:
        arm.ivar[row, (arm.wave_aa >= low) & (arm.wave_aa < high)] = 0
    return observed


def has(observed, flag, grid=LOG_GRID):
    return ((prepare(observed, grid).flags & flag) > 0).tolist()


def test_they_are_counted_and_nothing_else():
    for flag in (Flag.GAPS, Flag.ARM_STEP):
        assert not flag & (UNUSABLE | NOT_TRAINED | REFUSED)


@GRIDS
@pytest.mark.parametrize("middle", [4200.0, 5000.0, 6600.0, 8800.0])
@pytest.mark.parametrize(("width_kms", "found"), [(0.5 * GAP_KMS, False), (1.6 * GAP_KMS, True)])
def test_a_hole_is_flagged_by_its_width(grid, middle, width_kms, found):
    """Bins are up to 1100 km/s wide: of a hole, less than two are partly filled."""
    half = middle * width_kms / SPEED_OF_LIGHT_KMS / 2
    assert has(punch(spectra(), middle - half, middle + half), Flag.GAPS, grid) == [found]


def test_bins_by_hand():
    """Six empty bins of the log grid are 4142 km/s, five 3452 km/s."""
    for n_bins, found in ((5, 0), (6, Flag.GAPS)):
        ivar = np.ones((1, LOG_GRID.n_bins))
        ivar[0, 100 : 100 + n_bins] = 0
        ivar[0, 200:203] = ivar[0, 204:207] = 0  # two holes of three are none of six
        arm = Arm("brz", LOG_GRID.lower_edges_aa + 1, ivar.astype("f4"), np.ones_like(ivar, "f4"))
        assert gaps([arm], ivar, LOG_GRID).tolist() == [found]


@pytest.mark.parametrize("name", ["b", "r", "z"])
def test_absent_and_masked_arms_are_no_holes(name):
    absent = spectra()
    absent = replace(absent, arms=tuple(a for a in absent.arms if a.name != name))
    masked = spectra()
    next(a for a in masked.arms if a.name == name).ivar[:] = 0
    assert has(absent, Flag.GAPS) == has(masked, Flag.GAPS) == [False]


def test_ends_of_an_arm_are_no_holes_but_those_of_joined_arms_are():
    ends = punch(punch(spectra(), 3600, 3800), 5650, 5810)  # b ends at 5650, r begins at 5810
    assert has(ends, Flag.GAPS) == [False]
    joined = punch(spectra({"brz": (3600.0, 9824.0)}), 5650, 5760)
    assert has(joined, Flag.GAPS) == [True]


def test_what_another_arm_sees_is_no_hole():
    observed = spectra({"b": (3600.0, 6200.0), "r": (5760.0, 7620.0), "z": (7520.0, 9824.0)})
    blue = observed.arms[0]
    blue.ivar[:, (blue.wave_aa > 5800) & (blue.wave_aa < 6100)] = 0
    assert has(observed, Flag.GAPS) == [False]


@given(st.data())
def test_as_counted_bin_by_bin(data):
    """Against a plain loop, for arms that begin and end anywhere."""
    grid = LOG_GRID
    full = np.array(data.draw(st.lists(st.booleans(), min_size=40, max_size=40)))
    ivar = np.zeros((1, grid.n_bins), "f4")
    ivar[0, 50:250] = np.repeat(full, 5)
    arm = Arm("brz", grid.lower_edges_aa + 0.5, np.ones_like(ivar), ivar)
    width, widest, filled = 0.0, 0.0, np.flatnonzero(ivar[0])
    for k in range(filled[0], filled[-1] + 1) if len(filled) else ():
        edges = grid.start_aa * 10 ** (grid.step * np.array([k, k + 1]))
        width = 0.0 if ivar[0, k] else width + SPEED_OF_LIGHT_KMS * np.log(edges[1] / edges[0])
        widest = max(widest, width)
    assert bool(gaps([arm], ivar, grid)[0]) == (widest > GAP_KMS)


def test_real_spectra_with_holes(shared_data):
    """LAMOST leaves out 3500 km/s at 7600 Å always, and between its arms sometimes."""
    for name, expected in {"lamost_dr1_stars": 9, "boss_plate7102": 0, "desi_tile80693": 0}.items():
        flags = np.concatenate(
            [
                prepare(part, LOG_GRID).flags
                for path in find_files([shared_data / name])
                for part in iter_spectra(path, masks=False)
            ]
        )
        assert np.count_nonzero(flags & Flag.GAPS) == expected
        assert not np.any(flags & Flag.ARM_STEP)


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize(("factor", "found"), [(1.05, False), (1.25, True), (0.75, True)])
def test_a_step_between_arms(number, factor, found):
    observed = spectra(n=2)
    observed.arms[number].flux[1] *= np.float32(factor)
    assert has(observed, Flag.ARM_STEP) == [False, found]


def test_noise_is_no_step_and_nor_is_a_masked_overlap():
    assert not any(has(spectra(n=300, sn=0.3), Flag.ARM_STEP))
    observed = spectra()
    observed.arms[1].flux[:] *= 2
    assert arm_steps(observed.arms).tolist() == [Flag.ARM_STEP]
    for arm in observed.arms:
        arm.ivar[:, (arm.wave_aa > 5750) & (arm.wave_aa < 5810)] = 0
        arm.ivar[:, (arm.wave_aa > 7510) & (arm.wave_aa < 7630)] = 0
    assert arm_steps(observed.arms).tolist() == [0]
    assert arm_steps([arm for arm in observed.arms if arm.name != "r"]).tolist() == [0]


def test_an_overlap_of_few_pixels_is_not_judged():
    coarse = spectra(step=4.0)  # ten pixels of b and r, twenty-five of r and z
    coarse.arms[0].flux[:] *= 2
    assert arm_steps(coarse.arms).tolist() == [0]
    coarse.arms[2].flux[:] *= 2
    assert arm_steps(coarse.arms).tolist() == [Flag.ARM_STEP]
