"""The spectra of all truth sets are read in one pass."""

from types import SimpleNamespace

import numpy as np
import pytest

from quasarloop.campaign.steps.networks import _data
from quasarloop.store import files, ingest
from quasarloop.truth import SpecType, TruthTable


@pytest.mark.parametrize("n_sets", [1, 4])
def test_flux_is_read_once_whatever_the_number_of_truth_sets(
    tmp_path, spectrum_files, monkeypatch, n_sets
):
    ids = np.arange(1, 9)
    coadd = spectrum_files.write_coadd(tmp_path / "coadd.fits", n_rows=8, target_ids=ids)
    ingest([coadd], tmp_path / "store")
    truth = TruthTable.make(
        ids, spectype=np.full(8, SpecType.STAR), z=np.zeros(8), quality=np.full(8, 4.0)
    )
    truths = {f"T{k}": truth[: k + 3] for k in range(n_sets)}
    named = SimpleNamespace(labelled=(), borrowed=(), unlabelled=("all",))
    context = SimpleNamespace(
        config=SimpleNamespace(data=named), store_folder=lambda _: tmp_path / "store"
    )
    read = []
    whole = files.read_shard
    monkeypatch.setattr(
        files, "read_shard", lambda shard, **how: read.append(shard) or whole(shard, **how)
    )
    found = _data(context, truths)
    assert [len(data) for data in found.values()] == [len(truth) for truth in truths.values()]
    assert len(read) == 1  # of the one shard
