"""The next block of spectra is read while the caller works on one; order and errors stay."""

import threading
from contextlib import closing
from itertools import islice

import numpy as np
import pytest

from quasarloop.catalogue import inputs as inputs_module
from quasarloop.catalogue.inputs import find_inputs, iter_inputs
from quasarloop.errors import DataFormatError
from quasarloop.grid import LOG_GRID


@pytest.fixture
def files(tmp_path, spectrum_files, monkeypatch):
    """Five spec files; every file is a block."""
    monkeypatch.setattr(inputs_module, "_GATHER_ROWS", 1)
    return [spectrum_files.write_spec(tmp_path / f"spec-{i}.fits", fiber=i) for i in range(1, 6)]


def readers() -> int:
    return sum(thread.name.startswith("reader") for thread in threading.enumerate())


def test_one_block_ahead(files):
    passed = threading.Semaphore(0)
    with closing(iter_inputs(find_inputs(files), LOG_GRID, on_done=passed.release)) as blocks:
        for _ in range(3):
            next(blocks)
            # A file is done once the next one is begun, without a call for it; no other is.
            assert passed.acquire(timeout=30)
            assert not passed.acquire(timeout=0.2)


def test_order_and_values(files):
    together = list(iter_inputs(find_inputs(files), LOG_GRID))
    alone = [b for file in files for b in iter_inputs(find_inputs([file]), LOG_GRID)]
    assert [b.keys.target_id.tolist() for b in together] == [
        b.keys.target_id.tolist() for b in alone
    ]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one.flux, other.flux)


def test_blocks_before_an_error_are_returned(files):
    files[3].write_bytes(files[3].read_bytes()[:4000])
    blocks = iter_inputs(find_inputs(files), LOG_GRID)
    assert len(list(islice(blocks, 3))) == 3
    with pytest.raises(DataFormatError, match=r"spec-4\.fits"):
        next(blocks)
    assert readers() == 0


def test_an_early_stop_leaves_no_thread(files):
    blocks = iter_inputs(find_inputs(files), LOG_GRID)
    next(blocks)
    assert readers() == 1
    blocks.close()
    assert readers() == 0
