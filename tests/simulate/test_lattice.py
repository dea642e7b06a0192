import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasarloop.errors import GridError
from quasarloop.simulate.lattice import (
    LATTICE_DEX,
    PIXEL_KMS,
    BroadProfile,
    Lattice,
    RestTable,
    add_broad_lines,
    add_gaussians,
    fine_lattice,
    line_centre,
    resample,
    shifted_mix,
    window_pixels,
)

LN_PER_PIXEL = LATTICE_DEX * np.log(10.0)


def test_pixels_are_69_km_s_and_shared_by_all_lattices() -> None:
    assert pytest.approx(69.03, abs=0.01) == PIXEL_KMS
    short, long = fine_lattice(5000.0, 6000.0), fine_lattice(3500.0, 10_400.0)
    assert short.first - long.first == pytest.approx(
        round(np.log10(5000 / 3500) / LATTICE_DEX), abs=1
    )
    start = short.first - long.first
    assert np.array_equal(long.wave_aa[start : start + short.n_pix], short.wave_aa)


@given(st.floats(1000, 9000), st.floats(1.001, 2.0))
def test_a_lattice_holds_its_limits_and_no_pixel_more(low: float, ratio: float) -> None:
    lattice = fine_lattice(low, low * ratio)
    step = 1 + 1.01 * LN_PER_PIXEL
    assert low / step <= lattice.wave_aa[0] <= low * (1 + 1e-6)
    assert low * ratio * (1 - 1e-6) <= lattice.wave_aa[-1] <= low * ratio * step


@pytest.mark.parametrize("limits", [(0.0, 1.0), (5000.0, 4000.0), (np.nan, 1.0), (1.0, np.inf)])
def test_impossible_limits_are_refused(limits: tuple[float, float]) -> None:
    with pytest.raises(GridError):
        fine_lattice(*limits)
    with pytest.raises(GridError):
        Lattice(0, 0)


def test_resampling_is_a_cut_on_lattice_pixels_and_linear_between() -> None:
    lattice = fine_lattice(4000.0, 4100.0)
    values = np.random.default_rng(1).normal(size=(3, lattice.n_pix)).astype(np.float32)
    assert np.array_equal(resample(values, lattice, lattice.wave_aa[5:50]), values[:, 5:50])
    middle = 10 ** (LATTICE_DEX * (lattice.first + 7.25))
    expected = 0.75 * values[:, 7] + 0.25 * values[:, 8]
    assert resample(values, lattice, np.array([middle]))[:, 0] == pytest.approx(expected, abs=1e-4)


@given(st.floats(0, 5))
def test_a_redshift_moves_a_line_of_a_rest_table_to_within_nine_km_s(z: float) -> None:
    wave = np.geomspace(1400.0, 1600.0, 8000)
    line = np.exp(-0.5 * (np.log(wave / 1500.0) * 3e5 / 300.0) ** 2)
    table = RestTable.from_function(line, wave)
    lattice = fine_lattice(1450 * (1 + z), 1550 * (1 + z))
    seen = shifted_mix(table, np.array([z]), np.ones((1, 1), np.float32), lattice)[0]
    centroid = np.sum(np.log(lattice.wave_aa) * seen) / np.sum(seen)
    assert abs(np.exp(centroid) / (1500.0 * (1 + z)) - 1) * 3e5 < 10.0


def test_a_mix_adds_the_spectra_of_a_table_and_its_ends_go_on() -> None:
    wave = np.geomspace(4000.0, 5000.0, 3000)
    table = RestTable.from_function(np.stack([np.ones_like(wave), 3 * np.ones_like(wave)]), wave)
    weights = np.array([[1, 2], [0.5, 0]], np.float32)
    mixed = shifted_mix(table, np.array([0.0, 1.5]), weights, fine_lattice(3000.0, 9000.0))
    assert mixed[0] == pytest.approx(7.0)
    assert mixed[1] == pytest.approx(0.5)


@given(st.floats(800, 12_000), st.floats(0, 0.8), st.floats(0.2, 4), st.floats(0.001, 0.2))
def test_a_broad_line_has_its_equivalent_width_and_fwhm(
    fwhm: float, skew: float, roundness: float, strength: float
) -> None:
    spectra = np.zeros((2, 6001), np.float32)
    profile = BroadProfile(
        *(np.full(2, value, np.float32) for value in (fwhm, strength, skew, roundness))
    )
    add_broad_lines(spectra, np.array([np.nan, 3000.0]), profile)
    assert not spectra[0].any()
    # The wings end at a four-hundredth of the peak: 1.5 % of the light is beyond.
    assert np.sum(spectra[1]) * LN_PER_PIXEL == pytest.approx(strength, rel=0.03)
    above = np.flatnonzero(spectra[1] > 0.5 * spectra[1].max())
    measured = (above[-1] - above[0] + 1) * PIXEL_KMS
    # Skew widens the blue half alone.
    assert measured == pytest.approx(fwhm * (1 + 0.5 * skew), abs=2.2 * PIXEL_KMS)


def test_lines_at_the_ends_stay_in_their_row() -> None:
    spectra = np.zeros((3, 500), np.float32)
    for centre in (-40.0, 540.0, 1e5):
        add_gaussians(
            spectra,
            np.array([np.nan, centre, np.nan]),
            np.full(3, 3000.0, np.float32),
            np.ones(3, np.float32),
        )
    assert not spectra[0].any()
    assert not spectra[2].any()
    assert spectra[1, 0] == pytest.approx(spectra[1, -1], rel=0.2)


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=5), st.floats(1, 900))
def test_windows_never_leave_their_row_nor_repeat_a_pixel(
    centres: list[float], reach: float
) -> None:
    rows = np.arange(len(centres))
    index, _ = window_pixels(rows, np.array(centres), reach, 700)
    assert np.array_equal(index // 700, np.broadcast_to(rows[:, None], index.shape))
    assert len(np.unique(index)) == index.size


def test_the_company_of_wider_lines_changes_nothing() -> None:
    alone, together = np.zeros((1, 900), np.float32), np.zeros((2, 900), np.float32)
    one, wide = np.array([300.0], np.float32), np.array([300.0, 9000.0], np.float32)
    half = np.full(2, 0.5, np.float32)
    for spectra, fwhm in ((alone, one), (together, wide)):
        n = len(fwhm)
        profile = BroadProfile(fwhm, half[:n], np.zeros(n, np.float32), half[:n])
        add_broad_lines(spectra, np.full(n, 450.3), profile)
    assert np.array_equal(alone[0], together[0])


def test_line_centres_follow_redshift_and_velocity() -> None:
    lattice = fine_lattice(3000.0, 9000.0)
    z = np.array([0.0, 1.0])
    centre = line_centre(lattice, 4000.0, z, np.array([0.0, -PIXEL_KMS], np.float32))
    assert centre == pytest.approx(
        [np.log10(4000 / lattice.wave_aa[0]) * 1e4, np.log10(8000 / lattice.wave_aa[0]) * 1e4 - 1],
        abs=0.01,
    )
