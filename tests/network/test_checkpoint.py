"""Checkpoints and histories: what comes back, and what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.network.test_training import CONFIG, FAST, toy_sky

from quasarloop.errors import DataFormatError, WeightsError
from quasarloop.network.records import (
    Checkpoint,
    EpochRecord,
    read_checkpoint,
    read_history,
    write_checkpoint,
    write_history,
)
from quasarloop.network.training import (
    CHECKPOINT_NAME,
    optimizer_arrays,
    restore_optimizer,
    train,
)

RUN = {"options": {"epochs": 3, "learning_rate": 0.1}, "seed": {"entropy": "1"}}
RECORDS = (
    EpochRecord(1, 0.1, 0.1 + 0.2, 0.1, 0.1, 0.1),
    EpochRecord(2, 0.1, 1 / 3, 0.1, 0.1, 0.1, 2 / 3, 0.2, 0.2, 0.2, 0.9, 1.0, 1e-3, 2e-3, True),
)


def same(one, two):
    return all(
        a == b or (math.isnan(a) and math.isnan(b))
        for a, b in zip(vars(one).values(), vars(two).values(), strict=True)
    )


def test_a_checkpoint_comes_back_exactly(tmp_path):
    path = tmp_path / "c.npz"
    arrays = {"a.weight": np.float32([1 / 3, 2]), "n": np.int64(7)}
    stand = Checkpoint(RUN, RECORDS, arrays, {"0/step": np.float32(5)}, {})
    write_checkpoint(stand, path)
    back = read_checkpoint(path, RUN)
    np.testing.assert_array_equal(back.model["a.weight"], arrays["a.weight"])
    assert back.model["a.weight"].dtype == np.float32
    assert back.optimizer["0/step"] == 5
    assert back.best == {}
    assert all(same(one, two) for one, two in zip(back.records, RECORDS, strict=True))
    first = path.read_bytes()
    write_checkpoint(back, path)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["c.npz"]


def test_a_checkpoint_of_another_run_is_refused_by_name(tmp_path):
    path = tmp_path / "c.npz"
    write_checkpoint(Checkpoint(RUN, RECORDS, {}, {}, {}), path)
    other = {**RUN, "options": {"epochs": 3, "learning_rate": 0.2}}
    with pytest.raises(WeightsError, match=r"learning_rate was 0\.1, now 0\.2"):
        read_checkpoint(path, other)


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_broken_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "c.npz"
    write_checkpoint(Checkpoint(RUN, RECORDS, {"a": np.zeros(1000)}, {}, {}), path)
    path.write_bytes(path.read_bytes()[:900] if content is None else content)
    with pytest.raises(DataFormatError, match=r"c\.npz: cannot be read as a checkpoint.*remove it"):
        read_checkpoint(path, RUN)


def _zeros(content, start, stop):
    return content[:start] + bytes(stop - start) + content[stop:]


@pytest.mark.parametrize(
    "torn",
    [
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: _zeros(whole, 0, len(whole)),
        lambda whole: _zeros(whole, len(whole) // 2, len(whole)),
        lambda whole: _zeros(whole, len(whole) // 3, len(whole) // 3 + 512),
    ],
    ids=["empty", "half", "zeros", "half zeros", "a block of zeros"],
)
def test_after_a_power_cut_a_training_begins_anew_and_names_the_checkpoint(tmp_path, caplog, torn):
    data, options = toy_sky(80), replace(FAST, epochs=2)
    undisturbed = train(data, CONFIG, options, seed=0, out_dir=tmp_path)
    path = tmp_path / CHECKPOINT_NAME
    path.write_bytes(torn(path.read_bytes()))
    seen = []
    again = train(data, CONFIG, options, seed=0, out_dir=tmp_path, on_epoch=seen.append)
    assert [record.epoch for record in seen] == [1, 2]
    assert again.weights.digest() == undisturbed.weights.digest()
    (warning,) = (r.getMessage() for r in caplog.records if CHECKPOINT_NAME in r.getMessage())
    assert "cannot be read as a checkpoint" in warning
    assert warning.endswith("begins anew")


def test_a_checkpoint_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr("os.fsync", waited.append)
    write_checkpoint(Checkpoint(RUN, RECORDS, {}, {}, {}), tmp_path / "c.npz")
    assert not waited
    write_history(RECORDS, tmp_path / "h.parquet")
    assert waited


def test_an_npz_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "c.npz", x=np.zeros(3))
    with pytest.raises(DataFormatError, match=r"c\.npz: cannot be read as a checkpoint.*remove it"):
        read_checkpoint(tmp_path / "c.npz", RUN)


def test_adam_continues_as_if_never_stopped():
    def make(seed=0):
        layer = torch.nn.Linear(4, 3)
        torch.nn.init.uniform_(layer.weight, generator=torch.Generator().manual_seed(seed))
        torch.nn.init.zeros_(layer.bias)
        return layer, torch.optim.Adam(layer.parameters(), amsgrad=True, fused=True)

    def steps(layer, optimizer, n):
        for k in range(n):
            optimizer.zero_grad()
            layer(torch.arange(4.0) + k).square().sum().backward()
            optimizer.step()

    layer, optimizer = make()
    steps(layer, optimizer, 3)
    resumed, again = make(1)
    resumed.load_state_dict(layer.state_dict())
    restore_optimizer(again, optimizer_arrays(optimizer))
    steps(layer, optimizer, 4)
    steps(resumed, again, 4)
    assert torch.equal(layer.weight, resumed.weight)


def test_history_round_trip(tmp_path):
    write_history(RECORDS, tmp_path / "h.parquet")
    back = read_history(tmp_path / "h.parquet")
    assert all(same(one, two) for one, two in zip(back, RECORDS, strict=True))
    first = (tmp_path / "h.parquet").read_bytes()
    write_history(back, tmp_path / "h.parquet")
    assert (tmp_path / "h.parquet").read_bytes() == first


def test_judged_loss_is_that_of_validation_if_there_is_one():
    assert RECORDS[0].judged_loss == 0.1 + 0.2
    assert RECORDS[1].judged_loss == 2 / 3


def test_what_is_no_history_is_refused(tmp_path):
    with pytest.raises(DataFormatError, match="cannot be read as a training history"):
        read_history(tmp_path / "absent.parquet")
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(DataFormatError, match="cannot be read as a training history"):
        read_history(tmp_path / "x.parquet")
