"""Many spectra through one trained network, fast.

Batch normalisations become part of the convolution or dense layer before them, channels lie
last in memory, and blocks are small enough for the processor's cache.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from quasarloop.errors import WeightsError
from quasarloop.grid import RED_END, RedEnd
from quasarloop.network.decode import LineFinds, LineOutputs, decode_boxes
from quasarloop.network.device import pick_device
from quasarloop.network.model import Layers, Logits, folded_layers, forward, stacked_layers
from quasarloop.network.options import TrainingOptions
from quasarloop.network.weights import Weights, to_module

__all__ = ["BestBoxes", "Predictor", "computing", "finds_together", "on_cpu"]

# Rows in one block. Source: our measurement, benchmarks/bench_classify.py.
_BLOCK_ROWS_CPU: Final = 128
_BLOCK_ROWS_OTHER: Final = 4096


def on_cpu(logits: Logits) -> Logits:
    """Copy outputs to the CPU."""
    log_p = None if logits.log_p is None else logits.log_p.cpu()
    return Logits(logits.box.cpu(), logits.offset.cpu(), log_p, logits.hidden.cpu())


class BestBoxes(NamedTuple):
    """The most confident box of every line, on the device: (n, n_lines) each.

    Attributes:
        logit: of its confidence.
        box: its number.
        offset: place in it, in 0 to 1 of the range of offsets.
    """

    logit: Tensor
    box: Tensor
    offset: Tensor

    @classmethod
    def of(cls, logits: Logits) -> "BestBoxes":
        """Find them: few of all outputs, so that little is copied out."""
        logit, box = logits.box.max(dim=2)
        return cls(logit, box, logits.offset.sigmoid().gather(2, box[..., None])[..., 0])


class Predictor:
    """A trained network made ready to classify.

    Attributes:
        launch_rows: spectra times networks that are computed at once by `finds_together`; 0 on a
            CPU, where networks are faster one after the other.

    Args:
        weights: the network.
        device: ``"cpu"``, ``"cuda"``, ``"mps"``, or ``"auto"`` for the best there is.
        tf32: on CUDA take products of fractions of ten bits (TF32).

    Raises:
        WeightsError: no such device on this machine.
    """

    def __init__(
        self, weights: Weights, device: str = TrainingOptions.device, *, tf32: bool = False
    ) -> None:
        self.config = weights.config
        self.thresholds = weights.thresholds
        self.joint = weights.joint
        self.device = pick_device(device)
        self.tf32 = tf32
        on_cpu = self.device.type == "cpu"
        self._block_rows = _BLOCK_ROWS_CPU if on_cpu else _BLOCK_ROWS_OTHER
        self.launch_rows = 0 if on_cpu else _BLOCK_ROWS_OTHER
        self.layers = folded_layers(to_module(weights), self.device)

    def predict(self, flux: ArrayLike, *, redshifts: bool = False) -> LineOutputs:
        """Return confidences and offsets of all boxes.

        Args:
            flux: (n, n_bins) normalised spectra on the network's grid.
            redshifts: return ln p(z) of the redshift head too, if there is one.

        Raises:
            WeightsError: the spectra are on another grid.
        """
        config = self.config
        shape = (len(np.asarray(flux)), config.n_lines, config.n_boxes)
        outputs = LineOutputs(np.empty(shape, np.float64), np.empty(shape, np.float32))
        if redshifts and config.redshift is not None:
            log_p = np.empty((shape[0], config.redshift.n_z), np.float32)
            outputs = replace(outputs, log_p=log_p)
        for block, logits in self.logits(flux, redshifts=redshifts):
            part = self.outputs(logits)
            outputs.confidence[block], outputs.offset[block] = part.confidence, part.offset
            if outputs.log_p is not None and part.log_p is not None:
                outputs.log_p[block] = part.log_p
        return outputs

    def logits(self, flux: ArrayLike, *, redshifts: bool = False) -> Iterator[tuple[slice, Logits]]:
        """Yield the logits of some rows after the other, on the CPU; arguments as `predict`."""
        for block, logits in self.passes(flux, redshifts=redshifts):
            yield block, on_cpu(logits)

    def passes(
        self, flux: ArrayLike | Tensor, *, redshifts: bool = False
    ) -> Iterator[tuple[slice, Logits]]:
        """Yield the logits of some rows after the other, on the device.

        Args:
            flux: as `predict`, or what `upload` returned.
            redshifts: as `predict`.

        Raises:
            WeightsError: the spectra are on another grid.
        """
        rows = flux if isinstance(flux, Tensor) else np.asarray(flux)
        self.check_shape(tuple(rows.shape))
        layers = self.layers if redshifts else self.layers._replace(redshift=None)
        for start in range(0, len(rows), self._block_rows):
            block = slice(start, start + self._block_rows)
            x = rows[block] if isinstance(rows, Tensor) else self.upload(rows[block])
            yield block, self._forward(layers, x)

    def upload(self, flux: ArrayLike) -> Tensor:
        """Copy spectra to the device, once for all networks there.

        Raises:
            WeightsError: the spectra are on another grid.
        """
        rows = np.asarray(flux)
        self.check_shape(rows.shape)
        # CUDA copies from pinned memory while it computes. A copy on the CPU, too: rows of a store
        # are read-only, which torch's tensors cannot be.
        pinned = self.device.type == "cuda"
        host = torch.empty(rows.shape, dtype=torch.float32, pin_memory=pinned)
        host.numpy()[...] = rows
        return host.to(self.device, non_blocking=pinned)

    def finds(self, flux: ArrayLike | Tensor, red_end: RedEnd = RED_END) -> LineFinds:
        """Return the best box of every line and its redshift: what `decode` makes of `predict`.

        Args:
            flux: as `passes`.
            red_end: as `decode`.

        Raises:
            WeightsError: the spectra are on another grid.
        """
        parts = [self.decoded(BestBoxes.of(logits), red_end) for _, logits in self.passes(flux)]
        shape = (0, self.config.n_lines)
        confidence = [np.empty(shape), *(part.confidence for part in parts)]
        return LineFinds(
            np.concatenate(confidence), np.concatenate([np.empty(shape), *(p.z for p in parts)])
        )

    def decoded(self, best: BestBoxes, red_end: RedEnd = RED_END) -> LineFinds:
        """Copy best boxes out and return what they mean."""
        logit, box, offset = (part.cpu() for part in best)
        confidence = logit.double().sigmoid_().numpy()
        return decode_boxes(confidence, box.numpy(), self._in_range(offset), self.config, red_end)

    def _in_range(self, offset: Tensor) -> NDArray[np.float32]:
        values: NDArray[np.float32] = offset.numpy()
        values *= self.config.offset_high - self.config.offset_low
        values += self.config.offset_low
        return values

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise WeightsError if these are not spectra on the network's grid."""
        grid = self.config.grid
        if shape[1:] != (grid.n_bins,):
            raise WeightsError(
                f"spectra of shape {shape}; the network reads (n, {grid.n_bins}) on "
                f"the {grid.describe()}"
            )

    def predict_heads(
        self, flux: ArrayLike, networks: Mapping[str, Weights]
    ) -> Iterator[tuple[str, LineOutputs]]:
        """Yield the outputs of networks that differ from this one in what finds boxes, in one pass.

        Args and errors as `predict`; `networks` by name.
        """
        passes = [logits for _, logits in self.logits(flux)]
        box, offset, hidden = (
            torch.cat([getattr(logits, name) for logits in passes])
            for name in ("box", "offset", "hidden")
        )
        for name, weights in networks.items():
            parts = [
                hidden.numpy() @ weights.arrays[f"fc_box_{i}/kernel"]
                + weights.arrays[f"fc_box_{i}/bias"]
                for i in range(self.config.n_lines)
            ]
            own = torch.from_numpy(np.stack(parts, axis=1)).reshape(box.shape)
            yield name, self.outputs(Logits(own, offset, None, hidden))

    def _forward(self, layers: Layers, x: Tensor) -> Logits:
        with computing(self.tf32):
            return forward(layers, self.config, x, _relu)

    def outputs(self, logits: Logits) -> LineOutputs:
        """Return confidences and offsets of logits."""
        log_p = None if logits.log_p is None else logits.log_p.numpy()
        confidence = logits.box.double().sigmoid_().numpy()
        return LineOutputs(confidence, self._in_range(logits.offset.sigmoid()), log_p)


def finds_together(
    networks: Sequence[Predictor], flux: Tensor, red_end: RedEnd = RED_END
) -> Iterator[LineFinds]:
    """Yield `Predictor.finds` of each of several networks of one shape, in their order.

    Where the spectra alone do not fill a GPU, several networks are computed in one launch.

    Args:
        networks: on one device.
        flux: what `Predictor.upload` returned.
        red_end: as `decode`.

    Raises:
        WeightsError: the spectra are on another grid.
    """
    most = max(1, networks[0].launch_rows // len(flux)) if len(flux) else 1
    for start in range(0, len(networks), most):
        group = networks[start : start + most]
        if len(group) == 1:
            yield group[0].finds(flux, red_end)
        else:
            yield from _stacked_finds(group, flux, red_end)


def _stacked_finds(
    networks: Sequence[Predictor], flux: Tensor, red_end: RedEnd
) -> Iterator[LineFinds]:
    first, n = networks[0], len(flux)
    first.check_shape(tuple(flux.shape))
    stacked = stacked_layers([one.layers for one in networks])

    def best_boxes(trunk: Sequence[Any], heads: Sequence[Any]) -> BestBoxes:
        return BestBoxes.of(forward(Layers(trunk, heads, None), first.config, flux, _relu))

    with computing(first.tf32):
        best = torch.vmap(best_boxes)(stacked.trunk, stacked.heads)  # (n_networks, n, n_lines) each
    finds = first.decoded(BestBoxes(*(values.flatten(0, 1) for values in best)), red_end)
    for start in range(0, len(networks) * n, n):
        rows = slice(start, start + n)
        yield LineFinds(finds.confidence[rows], finds.z[rows])


@contextmanager
def computing(tf32: bool) -> Iterator[None]:
    """Compute without gradients, on CUDA in float32 or TF32: torch's own choice is a mixture.

    Args:
        tf32: as of `Predictor`.
    """
    products = torch.backends.cuda.matmul
    before, products.allow_tf32 = products.allow_tf32, tf32
    convolutions = torch.backends.cudnn.flags(enabled=True, allow_tf32=tf32)
    try:
        with torch.inference_mode(), convolutions:
            yield
    finally:
        products.allow_tf32 = before


def _relu(outputs: Tensor, _: int) -> Tensor:
    return outputs.relu_()
