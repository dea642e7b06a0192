"""Many spectra through one trained network, fast.

Batch normalisations become part of the convolution or dense layer before them, channels lie
last in memory, and blocks are small enough for the processor's cache.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from quasarloop.errors import WeightsError
from quasarloop.network.decode import LineOutputs
from quasarloop.network.model import Layers, Logits, folded_layers, forward, pick_device
from quasarloop.network.options import TrainingOptions
from quasarloop.network.weights import Weights, to_module

__all__ = ["Predictor"]

# Rows in one block. Source: our measurement, benchmarks/bench_classify.py.
_BLOCK_ROWS_CPU: Final = 128
_BLOCK_ROWS_OTHER: Final = 4096


class Predictor:
    """A trained network made ready to classify.

    Args:
        weights: the network.
        device: ``"cpu"``, ``"cuda"``, ``"mps"``, or ``"auto"`` for the best there is.

    Raises:
        WeightsError: no such device on this machine.
    """

    def __init__(self, weights: Weights, device: str = TrainingOptions.device) -> None:
        self.config = weights.config
        self.thresholds = weights.thresholds
        self.joint = weights.joint
        self.device = pick_device(device)
        self._block_rows = _BLOCK_ROWS_CPU if self.device.type == "cpu" else _BLOCK_ROWS_OTHER
        self._layers = folded_layers(to_module(weights), self.device)

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
        config = self.config
        rows = np.ascontiguousarray(flux, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != config.grid.n_bins:  # noqa: PLR2004 -- rows and bins
            raise WeightsError(
                f"spectra of shape {rows.shape}; the network reads (n, {config.grid.n_bins}) on "
                f"the {config.grid.describe()}"
            )
        layers = self._layers if redshifts else self._layers._replace(redshift=None)
        for start in range(0, len(rows), self._block_rows):
            block = slice(start, start + self._block_rows)
            yield block, self._forward(layers, rows[block])

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

    def _forward(self, layers: Layers, rows: NDArray[np.float32]) -> Logits:
        # torch lets CUDA convolve with ten-bit fractions (TF32) unless this is set.
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            # A copy: rows of a store are read-only, which torch's tensors cannot be.
            x = torch.tensor(rows, device=self.device)
            logits = forward(layers, self.config, x, lambda out, _: out.relu_())
            log_p = None if logits.log_p is None else logits.log_p.cpu()
            return Logits(logits.box.cpu(), logits.offset.cpu(), log_p, logits.hidden.cpu())

    def outputs(self, logits: Logits) -> LineOutputs:
        """Return confidences and offsets of logits."""
        offset = logits.offset.sigmoid().numpy()
        offset *= self.config.offset_high - self.config.offset_low
        offset += self.config.offset_low
        log_p = None if logits.log_p is None else logits.log_p.numpy()
        return LineOutputs(logits.box.double().sigmoid_().numpy(), offset, log_p)
