"""Train one network: same data, options and seed, same bytes, even after a kill."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from quasarloop.artefacts import check_folder
from quasarloop.constants import nmad
from quasarloop.errors import DataFormatError, WeightsError
from quasarloop.network.calibration import calibrate
from quasarloop.network.config import NetworkConfig
from quasarloop.network.decode import LineOutputs, classify_finds, decode
from quasarloop.network.dropout import DropoutSource
from quasarloop.network.labelled import TrainingData
from quasarloop.network.loss import (
    line_finder_loss,
    make_targets,
    redshift_loss,
    redshift_targets,
)
from quasarloop.network.model import LineFinder, Logits, fold_biases, use_mean_statistics
from quasarloop.network.options import TrainingOptions, learning_rate
from quasarloop.network.records import (
    Arrays,
    Checkpoint,
    EpochRecord,
    read_checkpoint,
    write_checkpoint,
)
from quasarloop.network.training_run import Rows, Run, prepare_run, provenance
from quasarloop.network.weights import Weights, from_module, to_module

__all__ = ["CHECKPOINT_NAME", "TrainingResult", "optimizer_arrays", "restore_optimizer", "train"]

logger = logging.getLogger(__name__)

CHECKPOINT_NAME: Final = "checkpoint.npz"

# Keras's default, and QuasarNET's; torch's own is 1e-8.
_ADAM_EPS: Final = 1e-7


@dataclass(frozen=True)
class TrainingResult:
    """A trained network and how it came about.

    Attributes:
        weights: of the best epoch if validation rows decide, else of the last.
        history: one record per epoch.
    """

    weights: Weights
    history: tuple[EpochRecord, ...]

    def __repr__(self) -> str:
        """Return one line: arrays are not printed."""
        number = self.weights.provenance["epoch_kept"]
        kept = self.history[number - 1]
        return (
            f"TrainingResult(epoch {number} of {len(self.history)} kept: {kept.describe()}; "
            f"{self.weights})"
        )


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
        options: of the training.
        seed: of first weights, order, shifts and dropout.
        rows: of training and validation; None trains with all usable ones.
        out_dir: folder of a checkpoint after every epoch. If it contains one of the same run,
            training goes on from it, and ends with the bytes of an undisturbed one.
        on_epoch: called after every epoch.

    Raises:
        GridError: the spectra are on another grid.
        TruthError: fewer than two rows train.
        WeightsError: the loss became infinite, the device is missing, or the checkpoint
            belongs to another run.

    Source: Busca & Balland 2018; docs/reference/network.md, "Training in the released code".
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
                state = _arrays(model), optimizer_arrays(optimizer), best
                write_checkpoint(Checkpoint(run.identity, tuple(records), *state), checkpoint)
            if on_epoch is not None:
                on_epoch(record)
        if best:
            _load(model, best)
    weights = from_module(model.cpu().eval(), provenance(run, records))
    if run.validation is not None:
        weights = calibrate(weights, run.validation, device=run.options.device)
    return TrainingResult(weights, tuple(records))


def _start(run: Run, network: NetworkConfig | Weights) -> tuple[LineFinder, torch.optim.Optimizer]:
    if isinstance(network, Weights):
        model = to_module(network)
    else:
        model = LineFinder(run.config, torch.Generator().manual_seed(run.first_weights_seed))
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
) -> tuple[list[EpochRecord], Arrays]:
    if path is None or not path.exists():
        return [], {}
    try:
        checkpoint = read_checkpoint(path, run.identity)
    except DataFormatError as exc:  # after a power cut: it is not flushed to the disk
        logger.warning("%s: this training begins anew", exc)
        return [], {}
    _load(model, checkpoint.model)
    restore_optimizer(optimizer, checkpoint.optimizer)
    logger.info("resumed after epoch %d from %s", len(checkpoint.records), path)
    return list(checkpoint.records), checkpoint.best


def _one_epoch(
    run: Run, model: LineFinder, optimizer: torch.optim.Optimizer, records: list[EpochRecord]
) -> EpochRecord:
    options, epoch = run.options, len(records) + 1
    seeds, torch_seed = run.dropout_seeds(epoch)
    source = DropoutSource(seeds)
    torch.manual_seed(torch_seed)  # for devices but the CPU
    n_batches, batches = run.batches(epoch)
    losses = [r.judged_loss for r in records]
    terms, rate = [], options.learning_rate
    for number, batch in enumerate(batches):
        progress = (epoch - 1 + number / n_batches) / options.epochs
        rate = learning_rate(options.schedule, options.learning_rate, progress, losses)
        for group in optimizer.param_groups:
            group["lr"] = rate
        terms.append(_step(run, model, optimizer, batch, source))
    # Fetched once an epoch: a device need not wait for us after every step.
    means = torch.stack(terms).cpu().double().mean(0).tolist()
    if not np.isfinite(means).all():
        raise WeightsError(
            f"the loss became {sum(means)} in epoch {epoch}; lower the learning rate "
            f"({options.learning_rate})"
        )
    positive, negative, offset, redshift = means
    record = EpochRecord(
        epoch, rate, sum(means), positive, negative, offset, loss_redshift=redshift
    )
    if options.statistics == "calibrated" and (
        run.validation is not None or epoch == options.epochs
    ):
        flux = (torch.from_numpy(part).to(run.device) for part in run.calibration_flux())
        use_mean_statistics(model, flux)
    if run.validation is None:
        return record
    judged = _validated(record, model, run.validation, options)
    merit = _merit(judged, options)
    earlier = [_merit(r, options) for r in records if r.is_best]
    better = options.monitor != "none" and all(merit > other for other in earlier)
    return replace(judged, is_best=better)


def _step(
    run: Run,
    model: LineFinder,
    optimizer: torch.optim.Optimizer,
    batch: TrainingData,
    source: DropoutSource,
) -> torch.Tensor:
    """Take one step; return the terms of the loss: of boxes, empty ones, offsets, redshifts."""
    flux = torch.from_numpy(batch.flux).to(run.device)
    targets = make_targets(batch.spectype, batch.z, batch.bal, batch.trains, run.config)
    optimizer.zero_grad()
    low = torch.autocast(run.device.type, torch.bfloat16) if run.low_precision else nullcontext()
    with low:
        logits: Logits = model(flux, dropout=run.config.dropout, source=source)
    box, offset = logits.box.float(), logits.offset.float()
    targets = targets.to(run.device)
    parts = line_finder_loss(box, offset, targets, run.config, mean_over=run.options.mean_over)
    redshift = _redshift_loss(logits, batch, run.config)
    (parts.total + redshift).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return torch.stack([*parts, redshift]).detach()


def _redshift_loss(logits: Logits, batch: TrainingData, config: NetworkConfig) -> torch.Tensor:
    """Return the weighted loss of the redshift head; 0 without one."""
    if logits.log_p is None or config.redshift is None:
        return torch.zeros((), device=logits.box.device)
    targets = redshift_targets(batch.spectype, batch.z, batch.trains, config.redshift)
    return config.redshift.loss_weight * redshift_loss(logits.log_p, targets)


def _validated(
    record: EpochRecord, model: LineFinder, data: TrainingData, options: TrainingOptions
) -> EpochRecord:
    """Return a record with the scores of a model, left in training mode, on spectra held out.

    Source: the paper, Eq. 4.1 (true AND found over true) and 4.2.
    """
    device, config = model.box.weight.device, model.config
    outputs: list[list[torch.Tensor]] = []
    redshift = 0.0
    model.eval()
    with torch.no_grad():
        for start in range(0, len(data), options.batch_size):
            batch = data[slice(start, start + options.batch_size)]
            logits: Logits = model(torch.from_numpy(batch.flux).to(device))
            outputs.append([logits.box.float().cpu(), logits.offset.float().cpu()])
            redshift += float(_redshift_loss(logits, batch, config)) * len(batch)
    model.train()
    redshift /= len(data)
    box, offset = (torch.cat(parts) for parts in zip(*outputs, strict=True))
    targets = make_targets(data.spectype, data.z, data.bal, data.trains, config)
    parts = line_finder_loss(box, offset, targets, config, mean_over=options.mean_over)
    positive, negative, misplaced = (float(term) for term in parts)
    decoded = LineOutputs(box.sigmoid().numpy(), model.offsets(offset).numpy())
    found = classify_finds(decode(decoded, config), config, options.thresholds)
    both = found.is_qso & data.is_qso
    errors = (found.z_best[both] - data.z[both]) / (1 + data.z[both])
    n_both, n_true, n_found = (int(one.sum()) for one in (both, data.is_qso, found.is_qso))
    return replace(
        record,
        validation_loss=positive + negative + misplaced + redshift,
        validation_positive=positive,
        validation_negative=negative,
        validation_offset=misplaced,
        validation_redshift=redshift,
        completeness=n_both / n_true if n_true else np.nan,
        purity=n_both / n_found if n_found else np.nan,
        z_nmad=nmad(errors),
        z_scatter=float(np.std(errors)) if len(errors) else np.nan,
    )


def _merit(record: EpochRecord, options: TrainingOptions) -> tuple[float, float]:
    # Of equally complete epochs the one of lower loss is better.
    first = np.nan_to_num(record.completeness) if options.monitor == "completeness" else 0.0
    return float(first), -record.validation_loss


def _is_finished(records: list[EpochRecord], options: TrainingOptions) -> bool:
    best = max((r.epoch for r in records if r.is_best), default=len(records))
    waited = options.patience is not None and len(records) - best >= options.patience
    return waited or len(records) >= options.epochs


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


def _load(model: LineFinder, arrays: Arrays) -> None:
    model.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in arrays.items()})


def optimizer_arrays(optimizer: torch.optim.Optimizer) -> dict[str, NDArray[Any]]:
    """Return the state of an optimizer: Adam's moments by parameter number and name."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}/{name}": value.detach().cpu().numpy()
        for number, memory in state.items()
        for name, value in memory.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, arrays: Arrays) -> None:
    """Load the state of an optimizer of the same parameters."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, array in arrays.items():
        number, _, name = key.partition("/")
        state.setdefault(int(number), {})[name] = torch.from_numpy(np.array(array))
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
