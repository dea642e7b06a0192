"""Outputs with lines planted at a known redshift: the joint redshift must find it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quasarloop.errors import WeightsError
from quasarloop.grid import LINEAR_GRID, LOG_GRID
from quasarloop.lines import BAL_LINE, EMISSION_LINES
from quasarloop.network.config import NetworkConfig
from quasarloop.network.decode import LineOutputs, classify_finds, decode
from quasarloop.network.joint import JointCalibration, LineTrust, joint_redshifts
from quasarloop.network.redshift_reading import CONFUSION, JointRedshifts

CONFIG = NetworkConfig()
LINEAR = NetworkConfig(grid=LINEAR_GRID)
EMPTY = 1e-6  # confidence of a box without a line
SURE = 0.999
# All lines alike, so that what the tests expect can be worked out, whatever was fitted last.
PLAIN = JointCalibration(
    {"LYA": LineTrust(width=0.045, tempering=0.5, absence=0.1, floor=0.002)},
    growth=5.0,
    error_scale=1.0,
)
BOX = np.log(10) * 1e-3 * 443 / 13  # ln(1 + z) across one box of the log grid


def empty_outputs(n: int = 1, config: NetworkConfig = CONFIG) -> LineOutputs:
    """A network that sees nothing anywhere."""
    shape = (n, config.n_lines, config.n_boxes)
    return LineOutputs(np.full(shape, EMPTY), np.full(shape, 0.5, np.float32))


def plant(out, row, line, z, confidence=SURE, *, config=CONFIG, shift=0):
    """Let one line be found where redshift z puts it; `shift` puts it into the next box."""
    rest = config.lines[line].wave_rest_aa
    place = config.grid.position_of(rest * (1 + z)) * config.n_boxes / config.grid.n_bins
    if np.isnan(place):
        return
    box = int(np.floor(place)) + shift
    out.confidence[row, line, box] = confidence
    out.offset[row, line, box] = place - box


def planted(redshifts, config=CONFIG) -> LineOutputs:
    """A perfect network: every line of every quasar in its box, sure and exact."""
    out = empty_outputs(len(redshifts), config)
    for row, z in enumerate(redshifts):
        for line in config.emission_index:
            plant(out, row, line, z, config=config)
    return out


@pytest.mark.parametrize("config", [CONFIG, LINEAR], ids=["log grid", "linear grid"])
def test_perfect_outputs_give_the_redshift(config):
    z = np.linspace(0.05, 5.5, 60)
    found = joint_redshifts(planted(z, config), config, PLAIN)
    # A third of what one line's place is uncertain by: boxes fade at the ends of the grid.
    np.testing.assert_allclose(np.log1p(found.z), np.log1p(z), atol=1e-3)
    assert np.all(found.p_alt < 0.05)
    assert np.all(found.z_err > 0)
    assert np.all(found.z_err < 0.01 * (1 + z))


def test_one_line_alone_has_the_uncertainty_of_that_line():
    """Numbers by hand: t7's standard deviation is sqrt(7/5) scales; the power widens it."""
    z, line = 1.2, 3  # Mg II in the middle of the grid
    out = empty_outputs()
    plant(out, 0, line, z)
    trust = LineTrust(width=0.04, tempering=1.0, absence=0.3, floor=1e-3)
    alone = JointCalibration({"MgII": trust}, growth=5.0, error_scale=1.0)
    found = joint_redshifts(out, CONFIG, alone)
    scale = 0.04 * (1 + 5 * (1 - SURE)) * BOX
    expected = np.sqrt(7 / 5) * scale * (1 + z)
    assert found.z[0] == pytest.approx(z, abs=5e-4)
    # The ladder cuts the wings at 3.5 scales: a little less.
    assert 0.9 * expected < found.z_err[0] < expected


def test_lines_that_agree_are_more_certain_than_one():
    out = empty_outputs(2)
    plant(out, 0, 3, 1.2)
    for line in CONFIG.emission_index:
        plant(out, 1, line, 1.2)
    found = joint_redshifts(out, CONFIG, PLAIN)
    assert found.z_err[1] < 0.8 * found.z_err[0]


def test_uncertain_line_counts_less_than_a_sure_one():
    """C IV sure and C III doubtful, 0.1 box apart: the mean lies nearer to the sure one."""
    out = empty_outputs()
    plant(out, 0, 1, 2.0)
    plant(out, 0, 2, 3.0 * np.exp(0.1 * BOX) - 1, confidence=0.8)
    step = np.log((1 + joint_redshifts(out, CONFIG, PLAIN).z[0]) / 3.0) / BOX
    assert 0 < step < 0.05


def test_conflict_reports_the_second_peak():
    """One line at z = 0.7 and another at z = 2.4, nothing else: each might be the one."""
    first, second = 0.7, 2.4
    out = empty_outputs(3)
    for row, confidence in enumerate((SURE, SURE, 0.6)):
        plant(out, row, 3, first)
        plant(out, row, 2, second, confidence)
    found = joint_redshifts(out, CONFIG, PLAIN)
    for z in (found.z, found.z_alt):
        assert np.all(np.minimum(np.abs(z - first), np.abs(z - second)) < 0.01)
    assert np.all(np.abs(np.log((1 + found.z) / (1 + found.z_alt))) > CONFUSION)
    assert 0.05 < found.p_alt[0] <= 0.5
    assert found.z[2] == pytest.approx(first, abs=0.01)  # the doubtful line loses
    assert found.p_alt[2] < found.p_alt[0]


def test_three_lines_overrule_one_that_is_surer():
    """Classic z_best follows the mistaken line; all together do not."""
    out = planted([2.3])
    plant(out, 0, 4, 0.4, confidence=0.99999)  # "Hbeta"
    one = classify_finds(decode(out, CONFIG), CONFIG)
    joint = joint_redshifts(out, CONFIG, PLAIN)
    assert one.z_best[0] == pytest.approx(0.4, abs=0.01)
    assert joint.z[0] == pytest.approx(2.3, abs=0.01)


def test_absent_lines_decide():
    """A line that could be two: the lines that ought to be there, and are not, say which."""
    z = 0.35  # Mg II, H beta and H alpha are on the grid
    out = empty_outputs(1)
    plant(out, 0, 5, z)
    plant(out, 0, 4, z)
    wave = CONFIG.lines[5].wave_rest_aa * (1 + z)
    wrong = wave / CONFIG.lines[2].wave_rest_aa - 1  # C III there would want Ly alpha, C IV, Mg II
    plant(out, 0, 2, wrong)
    found = joint_redshifts(out, CONFIG, PLAIN)
    assert found.z[0] == pytest.approx(z, abs=0.005)


@pytest.mark.parametrize("edge", [4, 7])
def test_neighbouring_boxes_at_an_edge_mean_one_place(edge):
    """Offset 1.02 in one box is -0.02... in the next: the same line, the same redshift."""
    rest = CONFIG.lines[3].wave_rest_aa
    places = edge + np.array([0.03, -0.03])
    z = CONFIG.grid.wave_at(places * 443 / 13) / rest - 1
    out = empty_outputs(4)
    plant(out, 0, 3, z[0])
    plant(out, 1, 3, z[0], shift=-1)  # offset 1.03 in the box before
    plant(out, 2, 3, z[1])
    plant(out, 3, 3, z[1], shift=1)  # offset -0.03 in the box after
    assert out.offset[1, 3, edge - 1] == pytest.approx(1.03, abs=1e-6)
    assert out.offset[3, 3, edge] == pytest.approx(-0.03, abs=1e-6)
    found = joint_redshifts(out, CONFIG, PLAIN)
    np.testing.assert_allclose(found.z, np.repeat(z, 2), atol=1e-5)
    np.testing.assert_allclose(found.z[[0, 2]], found.z[[1, 3]], atol=1e-7)
    np.testing.assert_allclose(found.z_err[[0, 2]], found.z_err[[1, 3]], rtol=1e-6)
    # Both boxes half sure: still one peak there, no second.
    both = empty_outputs()
    plant(both, 0, 3, z[0], confidence=0.5)
    plant(both, 0, 3, z[0], confidence=0.5, shift=-1)
    half = joint_redshifts(both, CONFIG, PLAIN)
    assert half.z[0] == pytest.approx(z[0], abs=1e-3)


def test_rows_do_not_depend_on_company():
    rng = np.random.default_rng(4)
    shape = (150, CONFIG.n_lines, CONFIG.n_boxes)
    out = LineOutputs(rng.random(shape) ** 8, rng.uniform(-0.1, 1.1, shape).astype(np.float32))
    whole = joint_redshifts(out, CONFIG, PLAIN)
    rows = np.array([149, 3, 77])
    part = joint_redshifts(LineOutputs(out.confidence[rows], out.offset[rows]), CONFIG, PLAIN)
    for name in ("z", "z_err", "z_alt", "p_alt"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[rows])


def test_rows_without_outputs_are_nan_and_none_is_fine():
    out = planted([1.0, 2.0, 3.0])
    out.confidence[1] = np.nan
    out.offset[2, 0, 0] = np.inf
    found = joint_redshifts(out, CONFIG, PLAIN)
    assert np.isfinite(found.z).tolist() == [True, False, False]
    assert np.isnan([found.z_err[1], found.z_alt[1], found.p_alt[1]]).all()
    assert len(joint_redshifts(empty_outputs(0), CONFIG, PLAIN)) == 0


def test_broad_absorption_finder_has_no_say():
    with_bal = planted([2.5])
    without = planted([2.5])
    plant(with_bal, 0, CONFIG.bal_index[0], 4.0)
    a, b = joint_redshifts(with_bal, CONFIG, PLAIN), joint_redshifts(without, CONFIG, PLAIN)
    assert a.z[0] == b.z[0]
    few = NetworkConfig(lines=(EMISSION_LINES[3],))
    assert joint_redshifts(planted([1.0], few), few, PLAIN).z[0] == pytest.approx(1.0, abs=1e-3)


def test_wrong_shapes_and_networks_are_refused():
    with pytest.raises(WeightsError, match="expected"):
        joint_redshifts(empty_outputs(2, NetworkConfig(n_boxes=9)), CONFIG)
    bal = NetworkConfig(lines=(BAL_LINE,))
    with pytest.raises(WeightsError, match="no redshift"):
        joint_redshifts(empty_outputs(1, bal), bal)


SHAPE = (3, CONFIG.n_lines, CONFIG.n_boxes)


@settings(max_examples=40, deadline=None)
@given(
    confidence=arrays(np.float64, SHAPE, elements=st.floats(0, 1)),
    offset=arrays(np.float32, SHAPE, elements=st.floats(-0.125, 1.125, width=32)),
    grid=st.sampled_from([LOG_GRID, LINEAR_GRID]),
)
def test_any_outputs_give_finite_numbers(confidence, offset, grid):
    found = joint_redshifts(LineOutputs(confidence, offset), NetworkConfig(grid=grid))
    assert np.isfinite(found.z).all()
    assert np.all((found.z > -0.2) & (found.z < 8.0))
    assert np.all(np.isfinite(found.z_err) & (found.z_err > 0))
    assert np.all((found.p_alt >= 0) & (found.p_alt <= 0.5))
    assert np.array_equal(np.isnan(found.z_alt), found.p_alt == 0)
    assert isinstance(found, JointRedshifts)
