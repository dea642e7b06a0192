"""Spectra meet labels: what trains, what is left out and counted, which rows are one object."""

import numpy as np
import pytest

from quasarloop.errors import DataFormatError, TruthError
from quasarloop.grid import WaveGrid
from quasarloop.network.labelled import TrainingData, hold_out, label_spectra
from quasarloop.spectra import Flag, Keys, RebinnedSpectra
from quasarloop.truth import SpecType, TruthTable

GRID = WaveGrid("log", 3600.0, 0.05, 8)


def spectra(target_id, flags=None, object_id=None):
    n = len(target_id)
    known = {} if object_id is None else {"object_id": np.array(object_id)}
    return RebinnedSpectra(
        grid=GRID,
        flux=np.arange(n * 8, dtype=np.float32).reshape(n, 8),
        ivar=np.ones((n, 8), np.float32),
        mean_flux=np.full(n, 3.0),
        rms_flux=np.full(n, 2.0),
        sn=np.ones((n, 3), np.float32),
        flags=np.zeros(n, np.int32) if flags is None else np.array(flags, np.int32),
        keys=Keys.make(np.array(target_id), **known),
        source=np.full(n, "f.fits"),
        row=np.arange(n),
    )


def truth(**changes):
    columns = {
        "target_id": np.array([1, 2, 3, 4, 5]),
        "spectype": np.array([2, 0, 1, 2, 2]),
        "z": np.array([1.0, 0.0, 0.3, 2.5, 2.0]),
        "quality": np.array([4.0, 3.0, 2.5, 2.4, 4.0]),
        "bal": np.array([0, -1, -1, 1, 1]),
    } | changes
    return TruthTable.make(
        columns.pop("target_id"), columns.pop("spectype"), columns.pop("z"), **columns
    )


def test_counts_and_rows_by_hand():
    parts = [
        spectra([1, 9, 2]),  # 9 has no label
        spectra([4, 3, 1, 1], flags=[0, 0, Flag.CORRUPTED, Flag.NAN_FLUX]),  # 4 is of low quality
    ]
    data, counts = label_spectra(parts, truth())
    assert data.spectype.tolist() == [SpecType.QSO, SpecType.STAR, SpecType.GALAXY, SpecType.QSO]
    assert data.flux[:, 0].tolist() == [0, 16, 8, 24]
    assert data.bal.tolist() == [0, -1, -1, 0]
    assert data.empty.tolist() == [-1.5] * 4
    assert data.trains.all()
    assert counts.spectra == 7
    assert (counts.unlabelled, counts.low_quality, counts.flagged, counts.used) == (1, 1, 1, 4)
    assert (counts.stars, counts.galaxies, counts.quasars, counts.bal_known) == (1, 1, 2, 2)
    assert counts.labels_without_spectrum == 1  # target 5
    assert "4 of 7 spectra train" in counts.describe()


def test_nothing_left_says_why():
    with pytest.raises(TruthError, match="2 have no label, 1 one of low quality"):
        label_spectra([spectra([7, 8, 4])], truth())
    with pytest.raises(TruthError, match="0 rows"):
        label_spectra([spectra([7])], truth()[:0])


def test_rows_are_one_object_if_truth_or_survey_says_so():
    # Truth links targets 1 and 2; the survey links 2 and 3; 5 stands alone.
    table = truth(object_id=np.array([11, 11, 13, 14, 15]), quality=np.full(5, 4.0))
    data, _ = label_spectra([spectra([1, 2, 3, 5], object_id=[70, 80, 80, 90])], table)
    assert data.object_id.tolist() == [11, 11, 11, 15]
    turned, _ = label_spectra([spectra([5, 3, 2, 1], object_id=[90, 80, 80, 70])], table)
    assert turned.object_id.tolist() == [15, 11, 11, 11]


def test_repeats_of_a_target_never_straddle():
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 6, 40)
    data, _ = label_spectra([spectra(ids)], truth(quality=np.full(5, 4.0)))
    held = hold_out(data, 0.4, seed=3)
    assert held.any()
    assert not set(ids[held]) & set(ids[~held])


def test_bad_training_data():
    flux = np.zeros((3, 8), np.float32)
    with pytest.raises(DataFormatError, match="differ in length"):
        TrainingData.make(flux, np.zeros(2), np.zeros(3))
    flux[1, 2] = np.nan
    with pytest.raises(DataFormatError, match="row 1"):
        TrainingData.make(flux, np.zeros(3), np.zeros(3))


def test_usable_rows():
    data = TrainingData.make(
        np.zeros((3, 8)), np.zeros(3), np.zeros(3), trains=np.array([True, False, True])
    )
    assert data.usable_rows.tolist() == [0, 2]
    assert len(data[np.array([2])]) == 1
