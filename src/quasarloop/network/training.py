"""Train one network: same data, settings and seed, same bytes, even after a kill."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from quasarloop.artefacts import check_folder
from quasarloop.errors import WeightsError
from quasarloop.network.augment import shift_randomly
from quasarloop.network.checkpoint import (
    Checkpoint,
    optimizer_arrays,
    read_checkpoint,
    restore_optimizer,
    write_checkpoint,
)
from quasarloop.network.config import NetworkConfig
from quasarloop.network.dropout import DropoutSource
from quasarloop.network.history import EpochRecord
from quasarloop.network.labelled import TrainingData
from quasarloop.network.loss import line_finder_loss, redshift_loss, redshift_targets
from quasarloop.network.model import LineFinder, Logits, fold_biases, use_mean_statistics
from quasarloop.network.options import TrainingOptions, learning_rate
from quasarloop.network.redshift_reading import calibrate
from quasarloop.network.scores import score, target_tensors
from quasarloop.network.training_run import Rows, Run, prepare_run, provenance
from quasarloop.network.weights import Weights, from_module, to_module

__all__ = ["CHECKPOINT_NAME", "TrainingResult", "train"]

logger = logging.getLogger(__name__)

CHECKPOINT_NAME: Final = "checkpoint.npz"

# Keras's default, and QuasarNET's; torch's own is 1e-8.
_ADAM_EPS: Final = 1e-7
# Training batches that calibrate the statistics of batch normalisation: 4096 spectra measure a
# variance to 2 %, more only cost time.
_CALIBRATION_BATCHES: Final = 16
# Keys that spawn seeds from the root; far from the small ones its owner may have spawned.
_FIRST_WEIGHTS, _SHUFFLE, _SHIFT, _DROPOUT = (2**31 + key for key in range(4))


@dataclass(frozen=True)
class TrainingResult:
    """A trained network and how it came about.

    Attributes:
        weights: of the best epoch if validation rows decide, else of the last.
        history: one record per epoch.
    """

    weights: Weights
    history: tuple[EpochRecord, ...]


def train(
    data: TrainingData,
    network: NetworkConfig | Weights,
    options: TrainingOptions,
    *,
    seed: int | np.random.SeedSequence,
    rows: Rows | None = None,
    out_dir: str | Path | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> TrainingResult:
    """Train a network, from random first weights or on from given ones.

    Args:
        data: labelled spectra on the network's grid.
        network: a configuration to start anew, or weights to start from.
        options: how.
        seed: of first weights, order, shifts and dropout.
        rows: which to train and validate with; None trains with all usable ones.
        out_dir: folder of a checkpoint after every epoch. If one of the same run stands there,
            training goes on from it, and ends with the bytes of an undisturbed one.
        on_epoch: called after every epoch.

    Raises:
        GridError: the spectra are on another grid.
        TruthError: fewer than two rows train.
        WeightsError: the loss became infinite, the device is missing, or the checkpoint
            belongs to another run.

    Source: INTEROP.md, "Networks" and "Loss of a line"; Busca & Balland 2018.
    """
    run = prepare_run(data, network, options, seed, rows)
    checkpoint = None if out_dir is None else check_folder(out_dir) / CHECKPOINT_NAME
    with _compute_settings(run):
        model, optimizer = _start(run, network)
        records, best = _resume(run, model, optimizer, checkpoint)
        while not _is_finished(records, options):
            record = _one_epoch(run, model, optimizer, records)
            records.append(record)
            best = _arrays(model) if record.is_best else best
            if checkpoint is not None:
                stand = Checkpoint(
                    run.identity, tuple(records), _arrays(model), optimizer_arrays(optimizer), best
                )
                write_checkpoint(stand, checkpoint)
            if on_epoch is not None:
                on_epoch(record)
        if best:
            _load(model, best)
    weights = from_module(model.cpu().eval(), provenance(run, records))
    if run.validation is not None:
        weights = calibrate(weights, run.validation)
    return TrainingResult(weights, tuple(records))


def _start(run: Run, network: NetworkConfig | Weights) -> tuple[LineFinder, torch.optim.Optimizer]:
    if isinstance(network, Weights):
        model = to_module(network)
    else:
        first = int(run.seeds(_FIRST_WEIGHTS).generate_state(1, np.uint64)[0])
        model = LineFinder(run.config, torch.Generator().manual_seed(first))
    fold_biases(model)
    model.to(run.device).train()
    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=run.options.learning_rate,
        eps=_ADAM_EPS,
        amsgrad=run.options.amsgrad,
        fused=run.device.type in ("cpu", "cuda"),
    )
    return model, optimizer


def _resume(
    run: Run, model: LineFinder, optimizer: torch.optim.Optimizer, path: Path | None
) -> tuple[list[EpochRecord], Mapping[str, NDArray[Any]]]:
    if path is None or not path.exists():
        return [], {}
    stand = read_checkpoint(path, run.identity)
    _load(model, stand.model)
    restore_optimizer(optimizer, stand.optimizer)
    logger.info("resumed after epoch %d from %s", len(stand.records), path)
    return list(stand.records), stand.best


def _one_epoch(
    run: Run, model: LineFinder, optimizer: torch.optim.Optimizer, records: list[EpochRecord]
) -> EpochRecord:
    options, epoch = run.options, len(records) + 1
    order = np.random.default_rng(run.seeds(_SHUFFLE, epoch)).permutation(run.rows.train)
    shifts = np.random.default_rng(run.seeds(_SHIFT, epoch))
    dropout = run.seeds(_DROPOUT, epoch)
    source = DropoutSource(dropout)
    torch.manual_seed(int(dropout.generate_state(1, np.uint64)[0]))  # for devices but the CPU
    batches = _batches(order, options.batch_size)
    losses = [r.judged_loss for r in records]
    parts = []
    rate = options.learning_rate
    for number, batch in enumerate(batches):
        progress = (epoch - 1 + number / len(batches)) / options.epochs
        rate = learning_rate(options.schedule, options.learning_rate, progress, losses)
        for group in optimizer.param_groups:
            group["lr"] = rate
        parts.append(_step(run, model, optimizer, _shifted(run, batch, shifts), source))
    # Fetched once an epoch: a device need not wait for us after every step.
    terms = torch.stack(parts).cpu().double().mean(0).tolist()
    if not np.isfinite(terms).all():
        raise WeightsError(
            f"the loss became {sum(terms)} in epoch {epoch}; lower the learning rate "
            f"({options.learning_rate})"
        )
    *boxes, redshift = terms
    record = replace(EpochRecord(epoch, rate, sum(terms), *boxes), loss_redshift=redshift)
    if options.statistics == "calibrated" and (
        run.validation is not None or epoch == options.epochs
    ):
        use_mean_statistics(model, _calibration(run))
    return record if run.validation is None else _judged(run, model, record, records)


def _step(
    run: Run,
    model: LineFinder,
    optimizer: torch.optim.Optimizer,
    batch: TrainingData,
    source: DropoutSource,
) -> torch.Tensor:
    flux = torch.from_numpy(batch.flux).to(run.device)
    targets = target_tensors(batch, model, run.device)
    optimizer.zero_grad()
    low = torch.autocast(run.device.type, torch.bfloat16) if run.low_precision else nullcontext()
    with low:
        logits: Logits = model(flux, dropout=run.config.dropout, source=source)
    parts = line_finder_loss(
        logits.box.float(),
        logits.offset.float(),
        targets,
        run.config,
        mean_over=run.options.mean_over,
    )
    redshift = torch.zeros_like(parts.total)
    if logits.log_p is not None and run.config.redshift is not None:
        head = run.config.redshift
        true = redshift_targets(batch.spectype, batch.z, batch.trains, head)
        redshift = head.loss_weight * redshift_loss(logits.log_p, true)
    (parts.total + redshift).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return torch.stack([*parts, redshift]).detach()


def _judged(
    run: Run, model: LineFinder, record: EpochRecord, records: list[EpochRecord]
) -> EpochRecord:
    assert run.validation is not None
    found = score(model, run.validation, run.options)
    plain = {f.name: getattr(record, f.name) for f in fields(record)} | {
        "validation_loss": found.loss,
        "validation_positive": found.positive,
        "validation_negative": found.negative,
        "validation_offset": found.offset,
        "validation_redshift": found.redshift,
        "completeness": found.completeness,
        "purity": found.purity,
        "z_nmad": found.z_nmad,
        "z_scatter": found.z_scatter,
    }
    merit = _merit(EpochRecord(**plain), run.options)
    earlier = [_merit(r, run.options) for r in records if r.is_best]
    better = run.options.monitor != "none" and all(merit > other for other in earlier)
    return EpochRecord(**(plain | {"is_best": better}))


def _merit(record: EpochRecord, options: TrainingOptions) -> tuple[float, float]:
    # Of equally complete epochs the one of lower loss is better.
    first = np.nan_to_num(record.completeness) if options.monitor == "completeness" else 0.0
    return float(first), -record.validation_loss


def _is_finished(records: list[EpochRecord], options: TrainingOptions) -> bool:
    if len(records) >= options.epochs:
        return True
    best = max((r.epoch for r in records if r.is_best), default=None)
    if options.patience is None or best is None:
        return False
    return len(records) - best >= options.patience


def _batches(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    if len(parts) > 1 and len(parts[-1]) == 1:  # a lone spectrum has no batch to be normalised in
        parts[-2:] = [np.concatenate(parts[-2:])]
    return parts


def _shifted(run: Run, batch: NDArray[np.int64], rng: np.random.Generator) -> TrainingData:
    data = run.data[batch]
    if run.options.shift_bins == 0:
        return data
    moved = shift_randomly(
        data.flux, data.z, data.empty, run.config.grid, run.options.shift_bins, rng
    )
    return TrainingData(
        **{f.name: getattr(data, f.name) for f in fields(data)} | {"flux": moved.flux, "z": moved.z}
    )


def _calibration(run: Run) -> Iterator[torch.Tensor]:
    rows = np.unique(run.rows.train)
    most = _CALIBRATION_BATCHES * run.options.batch_size
    if len(rows) > most:
        rows = rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
    # Parts of equal size: a short last one would be normalised by a poor mean.
    for batch in np.array_split(rows, -(-len(rows) // run.options.batch_size)):
        yield torch.from_numpy(run.data.flux[batch]).to(run.device)


@contextmanager
def _compute_settings(run: Run) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(run.options.threads)
    # Adam's moments of silent filters decay into numbers so small that a CPU takes 100 times
    # longer over them.
    torch.set_flush_denormal(True)
    devices = [] if run.device.type != "cuda" else [torch.cuda.current_device()]
    try:
        with (
            torch.random.fork_rng(devices=devices),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
        ):
            yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def _arrays(model: LineFinder) -> dict[str, NDArray[Any]]:
    # Copies: the next step changes the parameters in place.
    return {name: value.cpu().numpy().copy() for name, value in model.state_dict().items()}


def _load(model: LineFinder, arrays: Mapping[str, NDArray[Any]]) -> None:
    model.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in arrays.items()})
