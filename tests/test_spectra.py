"""The frozen types: lengths, slicing, joining."""

import numpy as np
import pytest

from quasarloop.errors import DataFormatError
from quasarloop.grid import LINEAR_GRID, LOG_GRID
from quasarloop.spectra import Arm, Flag, Keys, RebinnedSpectra, Spectra, concatenate


def keys(n):
    return Keys.make(np.arange(1, n + 1), night=np.arange(n) + 20210101)


def spectra(n):
    wave = np.linspace(3600, 5800, 7)
    flux = np.arange(n * 7, dtype="f4").reshape(n, 7)
    arm = Arm("b", wave, flux, flux + 1, mask=flux.astype("i4"))
    return Spectra((arm,), keys(n), np.arange(n, dtype="i4"), "a.fits", np.arange(n))


def rebinned(n, grid=LOG_GRID, first=0):
    flux = np.arange(n, dtype="f4")[:, None] * np.ones(grid.n_bins, "f4")
    return RebinnedSpectra(
        grid=grid,
        flux=flux,
        ivar=flux,
        mean_flux=np.zeros(n),
        rms_flux=np.ones(n),
        sn=np.zeros((n, 3), "f4"),
        flags=np.zeros(n, "i4"),
        keys=keys(n),
        source=np.full(n, f"file{first}"),
        row=np.arange(first, first + n),
    )


def test_unknown_keys_are_minus_one_nan_or_empty():
    made = keys(2)
    assert made.object_id.tolist() == [1, 2]
    assert made.fiber.tolist() == made.fiber_status.tolist() == [-1, -1]
    assert np.isnan(made.ra_deg).all()
    assert made.survey.tolist() == ["", ""]
    assert made.night.tolist() == [20210101, 20210102]


def test_keys_of_different_lengths_are_refused():
    with pytest.raises(DataFormatError, match=r"Keys: columns differ in length .*night 3"):
        Keys.make(np.arange(2), night=np.arange(3))


@pytest.mark.parametrize(
    "index", [slice(1, 3), np.array([1, 2]), np.array([False, True, True, False])]
)
def test_rows_are_taken_everywhere_alike(index):
    some = spectra(4)[index]
    assert len(some) == 2
    assert some.keys.target_id.tolist() == [2, 3]
    assert some.flags.tolist() == some.row.tolist() == [1, 2]
    assert some.arms[0].flux[:, 0].tolist() == [7, 14]
    assert some.arms[0].mask[:, 0].tolist() == [7, 14]
    assert rebinned(4)[index].flux[:, 0].tolist() == [1, 2]
    assert rebinned(4)[index].keys.night.tolist() == [20210102, 20210103]


def test_parts_that_do_not_fit_are_refused():
    whole = spectra(3)
    with pytest.raises(DataFormatError, match=r"spectra of a\.fits: .*flags 3, row 3, arm b 2"):
        Spectra((whole.arms[0][:2],), whole.keys, whole.flags, whole.source, whole.row)


def test_joining_keeps_order_and_every_field():
    joined = concatenate([rebinned(2), rebinned(3, first=10)])
    assert joined.row.tolist() == [0, 1, 10, 11, 12]
    assert joined.source.tolist() == ["file0"] * 2 + ["file10"] * 3
    assert joined.keys.target_id.tolist() == [1, 2, 1, 2, 3]
    assert joined.flux.shape == (5, 443)
    assert joined.sn.shape == (5, 3)


def test_only_one_grid_can_be_joined():
    with pytest.raises(DataFormatError, match="no spectra to join"):
        concatenate([])
    with pytest.raises(DataFormatError, match="cannot join spectra on a linear grid"):
        concatenate([rebinned(1), rebinned(1, LINEAR_GRID)])


def test_flags_are_single_bits():
    values = [int(flag) for flag in Flag]
    assert values == [1 << i for i in range(len(values))]
