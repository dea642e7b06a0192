"""The compact record: small, and every verdict can be read back from it exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quasarloop.classes import CONFIDENCE_THRESHOLD, HIGH_Z_MIN
from quasarloop.ensemble.member_record import (
    BYTES_PER_MEMBER,
    confidence_edges,
    decode_confidence,
    decode_z,
    encode_confidence,
    encode_z,
)
from quasarloop.errors import DataFormatError

THRESHOLDS = (0.5, 0.7, 0.8, 0.9, CONFIDENCE_THRESHOLD, 0.98, 0.99)
EDGES = confidence_edges(THRESHOLDS)


def test_three_bytes_per_member_and_spectrum():
    code = encode_confidence(np.array([0.3], dtype=np.float32), EDGES)
    z_code = encode_z(np.array([1.0]), high_z_min=HIGH_Z_MIN)
    assert code.nbytes + z_code.nbytes == BYTES_PER_MEMBER < 4


@given(hnp.arrays(np.float32, 50, elements=st.floats(0, 1, width=32)))
def test_verdicts_at_every_threshold_survive(confidence):
    confidence[:7] = np.array(THRESHOLDS, dtype=np.float32)  # exactly on the edge: not above it
    confidence[7:14] = np.nextafter(confidence[:7], np.float32(1))
    back = decode_confidence(encode_confidence(confidence, EDGES), EDGES)
    for threshold in THRESHOLDS:
        assert np.array_equal(back > threshold, confidence > threshold)


@given(hnp.arrays(np.float64, 50, elements=st.floats(-0.5, 7.5)))
def test_redshift_class_survives_and_redshifts_to_seven_km_per_second(z):
    z[:3] = [HIGH_Z_MIN, np.nextafter(HIGH_Z_MIN, 0), np.nextafter(HIGH_Z_MIN, 9)]
    back = decode_z(encode_z(z, high_z_min=HIGH_Z_MIN), high_z_min=HIGH_Z_MIN)
    assert np.array_equal(back >= HIGH_Z_MIN, z >= HIGH_Z_MIN)
    velocity_kms = 299792.458 * np.abs(np.log1p(back) - np.log1p(z))
    assert velocity_kms.max() < 7.0


def test_confidence_is_close_where_it_matters():
    confidence = np.linspace(0.001, 0.999, 4001, dtype=np.float32)
    back = decode_confidence(encode_confidence(confidence, EDGES), EDGES)
    error = np.abs(back - confidence)
    assert error.max() < 0.012
    assert error[confidence > 0.94].max() < 0.003


def test_missing_and_far_redshifts():
    code = encode_z(np.array([np.nan, -0.9, 50.0]), high_z_min=HIGH_Z_MIN)
    assert code.tolist() == [0, 1, 65535]
    assert np.isnan(decode_z(code, high_z_min=HIGH_Z_MIN)[0])


def test_thresholds_that_cannot_all_be_edges_are_refused():
    with pytest.raises(DataFormatError, match="too close together"):
        confidence_edges((0.95, 0.9501))
