"""Boxes and offsets to redshifts, and redshifts to quasars, by hand and by round trip."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasarloop.classes import Thresholds, Vote
from quasarloop.errors import WeightsError
from quasarloop.grid import LINEAR_GRID, LOG_GRID
from quasarloop.lines import BAL_LINE, EMISSION_LINES
from quasarloop.network.config import NetworkConfig
from quasarloop.network.decode import LineFinds, LineOutputs, classify_finds, decode
from quasarloop.network.loss import make_targets
from quasarloop.truth import SpecType

CONFIG = NetworkConfig()


def outputs_of(config, box, offset, confidence=0.9):
    """One spectrum, every line in the same box."""
    conf = np.full((1, config.n_lines, config.n_boxes), 0.01, np.float32)
    conf[:, :, box] = confidence
    return LineOutputs(conf, np.full(conf.shape, offset, np.float32))


def test_redshift_of_a_box_by_hand():
    # Box 6, half way: bin 6.5/13 of 443 = 221.5. Between bins 221 and 222 the edges are
    # 3600 * 10**0.221 = 5988.26... and 3600 * 10**0.222; half way is their mean.
    edges = 3600.0 * 10.0 ** np.array([0.221, 0.222])
    expected = edges.mean() / 1215.67 - 1
    finds = decode(outputs_of(CONFIG, 6, 0.5), CONFIG)
    assert finds.z[0, 0] == pytest.approx(expected, rel=1e-7)
    assert finds.confidence[0].tolist() == pytest.approx([0.9] * 7)
    # The seventh head looks for broad absorption at C IV: the same place, C IV's wavelength.
    assert finds.z[0, 6] == finds.z[0, 1] == pytest.approx(edges.mean() / 1548.2049 - 1, rel=1e-7)


def test_only_the_most_confident_box_counts():
    outputs = outputs_of(CONFIG, 3, 0.2)
    outputs.confidence[0, 0, 8] = 0.95
    outputs.offset[0, 0, 8] = 0.25
    finds = decode(outputs, CONFIG)
    wave = np.interp(8.25 * 443 / 13, np.arange(443), LOG_GRID.lower_edges_aa)
    assert finds.z[0, 0] == pytest.approx(wave / 1215.67 - 1, rel=1e-7)
    assert finds.confidence[0, 0] == np.float32(0.95)


def test_past_the_red_end_clamp_and_extrapolate_differ_as_documented():
    # Offset 1.1 in the last box: bin 13.1/13 * 443 = 446.4, beyond the last lower edge (442).
    outputs = outputs_of(CONFIG, 12, 1.1)
    clamped = decode(outputs, CONFIG, red_end="clamp").z[0, 0]
    further = decode(outputs, CONFIG, red_end="extrapolate").z[0, 0]
    assert clamped == pytest.approx(3600 * 10**0.442 / 1215.67 - 1, rel=1e-9)
    assert further == pytest.approx(3600 * 10 ** (13.1 / 13 * 0.443) / 1215.67 - 1, rel=1e-6)
    assert decode(outputs, CONFIG).z[0, 0] == further  # ours by default


def test_before_the_blue_end():
    # Offset -0.1 in box 0: bin -0.1/13 * 443 = -3.4.
    outputs = outputs_of(CONFIG, 0, -0.1)
    assert decode(outputs, CONFIG, "clamp").z[0, 0] == pytest.approx(3600 / 1215.67 - 1, rel=1e-9)
    blue = 3600 * 10 ** (-0.1 / 13 * 0.443)
    assert decode(outputs, CONFIG).z[0, 0] == pytest.approx(blue / 1215.67 - 1, rel=1e-6)


def test_an_empty_spectrum_decodes_without_nan():
    zeros = np.zeros((2, 7, 13), np.float32)
    finds = decode(LineOutputs(zeros, zeros), CONFIG)
    assert np.all(np.isfinite(finds.z))
    assert not classify_finds(finds, CONFIG).is_qso.any()


def test_no_spectra_at_all():
    none = np.zeros((0, 7, 13), np.float32)
    assert len(classify_finds(decode(LineOutputs(none, none), CONFIG), CONFIG).is_qso) == 0


def test_outputs_of_another_network_are_refused():
    wrong = np.zeros((2, 6, 13), np.float32)
    with pytest.raises(WeightsError, match="7 lines"):
        decode(LineOutputs(wrong, wrong), CONFIG)


def finds_of(rows):
    confidence = np.array(rows, np.float32)
    z = np.arange(confidence.size, dtype=float).reshape(confidence.shape) / 2
    return LineFinds(confidence, z)


def test_threshold_is_strict_and_lines_are_counted():
    at = np.float32(0.95)
    finds = finds_of(
        [
            [at, 0, 0, 0, 0, 0, 0],
            [np.nextafter(at, np.float32(1)), 0, 0, 0, 0, 0, 0],
            [0.99, 0.97, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0.999],  # broad absorption alone makes no quasar
        ]
    )
    threshold = float(at)
    assert classify_finds(finds, CONFIG, Thresholds(threshold)).is_qso.tolist() == [
        False,
        True,
        True,
        False,
    ]
    assert classify_finds(finds, CONFIG, Thresholds(threshold, n_lines=2)).is_qso.tolist() == [
        False,
        False,
        True,
        False,
    ]


def test_best_line_is_an_emission_line_and_ties_go_to_the_first():
    result = classify_finds(
        finds_of([[0.2, 0.7, 0.7, 0.1, 0, 0, 0.99], [0, 0, 0, 0, 0, 0.5, 0.6]]), CONFIG
    )
    assert result.best_line.tolist() == [1, 5]
    assert result.z_best.tolist() == [0.5, 6.0]
    assert result.bal_confidence.tolist() == pytest.approx([0.99, 0.6])


def test_votes_split_at_high_z():
    finds = LineFinds(
        np.array([[0.99] + [0] * 6, [0.99] + [0] * 6, [0.5] + [0] * 6], np.float32),
        np.array([[2.0] + [9] * 6, [2.1] + [0] * 6, [3.0] + [0] * 6]),
    )
    assert classify_finds(finds, CONFIG).vote.tolist() == [Vote.LOW_Z, Vote.HIGH_Z, Vote.NOT_QSO]
    assert classify_finds(finds, CONFIG, Thresholds(high_z_min=1.9)).vote.tolist()[0] == Vote.HIGH_Z


def test_a_network_without_bal_finder_says_nan_and_order_of_lines_is_free():
    plain = NetworkConfig(lines=EMISSION_LINES[:2])
    finds = LineFinds(np.array([[0.1, 0.99]], np.float32), np.array([[1.0, 2.0]]))
    assert np.isnan(classify_finds(finds, plain).bal_confidence).all()
    reversed_lines = NetworkConfig(lines=(BAL_LINE, EMISSION_LINES[0]))
    finds = LineFinds(np.array([[0.999, 0.2]], np.float32), np.array([[1.0, 2.0]]))
    result = classify_finds(finds, reversed_lines)
    assert result.best_line.tolist() == [1]
    assert result.z_best.tolist() == [2.0]
    with pytest.raises(WeightsError, match="emission"):
        classify_finds(finds, NetworkConfig(lines=(BAL_LINE, BAL_LINE)))


@given(
    z=st.floats(0.0, 7.0),
    grid=st.sampled_from([LOG_GRID, LINEAR_GRID]),
    n_boxes=st.sampled_from([5, 13, 29]),
)
def test_encode_then_decode_gives_the_redshift_back(z, grid, n_boxes):
    config = NetworkConfig(grid=grid, n_boxes=n_boxes)
    targets = make_targets([SpecType.QSO], [z], [1], [True], config)
    offset = np.repeat(targets.offset.numpy()[:, :, None], n_boxes, axis=2)
    finds = decode(LineOutputs(targets.box.numpy(), offset), config)
    there = targets.box[0].any(1).numpy()
    # float32 offsets, and up to a third of a bin where interpolation ends and the law goes on
    assert np.all(np.abs(finds.z[0, there] - z) < 1e-3 * (1 + z))
    inside = (1 + z) * np.array([line.wave_rest_aa for line in config.lines])
    well = there & (inside < grid.lower_edges_aa[-1])
    assert np.all(np.abs(finds.z[0, well] - z) < 2e-6 * (1 + z))


@given(
    confidence=st.lists(
        st.lists(st.floats(0, 1, width=32), min_size=7, max_size=7), min_size=1, max_size=8
    ),
    low=st.floats(0, 1),
    high=st.floats(0, 1),
    n_lines=st.integers(1, 6),
)
def test_a_higher_threshold_never_makes_a_quasar(confidence, low, high, n_lines):
    low, high = sorted((low, high))
    finds = finds_of(confidence)
    loose = classify_finds(finds, CONFIG, Thresholds(low, n_lines)).is_qso
    strict = classify_finds(finds, CONFIG, Thresholds(high, n_lines)).is_qso
    assert not (strict & ~loose).any()
    stricter = classify_finds(finds, CONFIG, Thresholds(low, n_lines + 1)).is_qso
    assert not (stricter & ~loose).any()


@given(
    box=st.integers(0, 12),
    offset=st.floats(-0.1, 1.1),
    red_end=st.sampled_from(["clamp", "extrapolate"]),
)
def test_decoding_agrees_with_quasarnps_formula_inside_the_grid(box, offset, red_end):
    finds = decode(outputs_of(CONFIG, box, offset), CONFIG, red_end=red_end)
    index = (box + float(np.float32(offset))) * 443 / 13
    if 0 <= index <= 442:
        wave = np.interp(index, np.arange(443), 3600 * 10 ** (np.arange(443) * 1e-3))
        np.testing.assert_allclose(finds.z[0, 0], wave / 1215.67 - 1, rtol=1e-9, atol=1e-9)
