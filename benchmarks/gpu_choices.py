"""What a GPU might do otherwise: fewer bits, members stacked, processes that share it.

Networks predict in exact float32, and members are stacked where spectra are few: the rows made
here, on a card, decide whether that stays so, and how many processes are best.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.gpu_answers import compared, decided, seconds_of
from quasarloop.engine import Engine, keep_workers
from quasarloop.ensemble.options import EnsembleOptions, VoteOptions
from quasarloop.ensemble.train import train_ensemble
from quasarloop.ensemble.vote import vote
from quasarloop.ensemble.votes import VoteRule
from quasarloop.grid import WaveGrid
from quasarloop.network.decode import LineFinds
from quasarloop.network.device import place_tasks
from quasarloop.network.labelled import TrainingData
from quasarloop.network.model import Affine, forward
from quasarloop.network.options import Device
from quasarloop.network.predict import BestBoxes, Predictor, computing, finds_together
from quasarloop.spectra import Keys, RebinnedSpectra
from quasarloop.store import Store, create_store, open_store, shard_path
from quasarloop.store.files import schema_of, table_from_spectra

Bits = Literal["float32", "TF32", "bfloat16"]
FEWER: Final[tuple[Bits, ...]] = ("TF32", "bfloat16")
_BLOCK_ROWS: Final = 4096
_TRIES: Final = 3


def fewer_bits(
    name: str, networks: Sequence[Predictor], flux: NDArray[np.float32], rule: VoteRule
) -> list[dict[str, Any]]:
    """Compare decisions in fewer bits with those in float32 on the same device, and both rates.

    Where the device has no TF32 its products are made of rounded numbers, and have no rate.
    """
    there, device = networks[0].upload(flux), networks[0].device

    def finds(bits: Bits) -> list[LineFinds]:
        return [_finds(one, there, bits) for one in networks]

    exact, n = decided(networks, finds("float32")), len(flux) * len(networks)
    rows = []
    for bits in FEWER:
        row = compared(f"{bits}, {name}", exact, decided(networks, finds(bits)), rule)
        del row["agrees"]
        row |= {"per_s": None, "float32_per_s": None}
        if bits != "TF32" or device.type == "cuda":
            for kind, column in ((bits, "per_s"), ("float32", "float32_per_s")):
                row[column] = n / min(seconds_of(partial(finds, kind)) for _ in range(_TRIES))
        rows.append(row)
    return rows


def _finds(network: Predictor, there: Tensor, bits: Bits) -> LineFinds:
    """Return what `Predictor.finds` does, computed in these bits."""
    layers, parts = network.layers._replace(redshift=None), []
    emulated = bits == "TF32" and network.device.type != "cuda"
    rounded = ten_bits if emulated else lambda values: values
    if emulated:
        trunk, heads = (
            [Affine(ten_bits(weight), bias) for weight, bias in part]
            for part in (layers.trunk, layers.heads)
        )
        layers = layers._replace(trunk=trunk, heads=heads)
    with _computing_in(bits, network.device):
        for block in there.split(_BLOCK_ROWS):
            logits = forward(
                layers, network.config, rounded(block), lambda out, _: rounded(out.relu_())
            )
            float32 = logits._replace(box=logits.box.float(), offset=logits.offset.float())
            parts.append(network.decoded(BestBoxes.of(float32)))
    return LineFinds(
        np.concatenate([p.confidence for p in parts]), np.concatenate([p.z for p in parts])
    )


def ten_bits(values: Tensor) -> Tensor:
    """Round float32 numbers to TF32's: ten bits of fraction, the nearest, halves away from zero.

    Products of such numbers, added in float32, are those of TF32.
    Source: PTX ISA, ``cvt.rna.tf32.f32``.
    """
    whole = values.view(torch.int32)  # of the same strides
    return ((whole + (1 << 12)) & -(1 << 13)).view(torch.float32)


@contextmanager
def _computing_in(bits: Bits, device: torch.device) -> Iterator[None]:
    low = torch.autocast(device.type, torch.bfloat16, enabled=bits == "bfloat16")
    with computing(bits == "TF32"), low:
        yield


def stacked_rates(
    networks: Sequence[Predictor], flux: NDArray[np.float32]
) -> list[tuple[str, float]]:
    """Return rates of a few spectra: with one network after the other, with all in one launch."""
    there, m, n = networks[0].upload(flux), len(networks), len(flux)
    rates = []
    for name, launch_rows in ((f"{m} networks, one by one", 0), (f"{m} networks, stacked", m * n)):
        for one in networks:
            one.launch_rows = launch_rows

        def all_finds() -> None:
            list(finds_together(networks, there))

        all_finds()
        per_s = m * n / min(seconds_of(all_finds) for _ in range(_TRIES))
        rates.append((f"{n} spectra, {name}, spectra x networks", per_s))
    return rates


def rates_of_processes(
    device: Device,
    data: TrainingData,
    options: EnsembleOptions,
    *,
    n_shards: int,
    processes: Sequence[int],
    until: float,
) -> list[tuple[str, str, float]]:
    """Train an ensemble, and vote on a store, with 1, 2, … processes; all are started before.

    Args:
        device: of all.
        data: to train with, and the spectra of each shard of the store.
        options: of the ensemble.
        n_shards: of the store.
        processes: numbers of them.
        until: no further number is begun after this moment of `time.monotonic`.

    Returns:
        "vote" or "training", the row's name and its rate.
    """
    rates = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        store = repeated_store(data, options.network.grid, folder / "store", n_shards)
        ensemble = train_ensemble(data, options, folder / "members")
        n_votes = store.n_rows * len(ensemble)
        n_seen = len(data) * options.training.epochs * len(ensemble)
        for n in processes:
            if time.monotonic() > until:
                break
            with keep_workers(place_tasks(device, Engine(workers=n))[1]) as kept:
                votes = VoteOptions(device=device)
                a_vote = partial(vote, ensemble, store, options=votes, engine=kept)
                a_vote(folder / f"first-votes-{n}")
                vote_s = seconds_of(partial(a_vote, folder / f"votes-{n}"))
                again = partial(train_ensemble, data, options, folder / f"members-{n}")
                train_s = seconds_of(partial(again, engine=kept))
            here = f"{n} {'process' if n == 1 else 'processes'}"
            rates += [
                ("vote", f"vote on a store, {here}, spectra x networks", n_votes / vote_s),
                ("training", f"training, {here}, spectra x epochs x networks", n_seen / train_s),
            ]
    return rates


def repeated_store(data: TrainingData, grid: WaveGrid, folder: Path, n_shards: int) -> Store:
    """Make a store whose shards hold the same spectra."""
    n = len(data)
    spectra = RebinnedSpectra(
        grid=grid,
        flux=data.flux,
        ivar=np.ones_like(data.flux),
        mean_flux=np.zeros(n),
        rms_flux=np.ones(n),
        sn=np.ones((n, 3), np.float32),
        flags=np.zeros(n, np.int32),
        keys=Keys.make(np.arange(n)),
        source=np.full(n, "simulated"),
        row=np.arange(n),
    )
    create_store(folder, grid)
    shards = [shard_path(folder, f"{number:032x}") for number in range(n_shards)]
    for shard in shards:
        shard.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table_from_spectra(spectra, schema_of(grid)), shards[0])
    for shard in shards[1:]:
        shutil.copyfile(shards[0], shard)
    return open_store(folder)
