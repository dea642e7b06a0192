"""Many spectra through one trained network, fast.

Batch normalisations become part of the convolution or dense layer before them, channels lie
last in memory, and blocks are small enough for the processor's cache.
"""

from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from quasarloop.errors import WeightsError
from quasarloop.network.config import BATCH_NORM_EPS, NetworkConfig, Padding
from quasarloop.network.decode import LineOutputs
from quasarloop.network.model import Logits
from quasarloop.network.redshift_head import HeadArrays, Reader, head_logits
from quasarloop.network.weights import Weights, to_module

__all__ = ["Predictor", "pick_device", "predict_reference"]

# Rows handled at once. Source: our measurement, benchmarks/bench_classify.py.
_BLOCK_ROWS_CPU: Final = 128
_BLOCK_ROWS_OTHER: Final = 4096


class _Affine(NamedTuple):
    """A convolution or dense layer with the normalisation behind it folded in."""

    weight: Tensor
    bias: Tensor


class Predictor:
    """A trained network made ready to classify.

    Args:
        weights: the network.
        device: ``"cpu"``, ``"cuda"``, ``"mps"``, or ``"auto"`` for the best there is.

    Raises:
        WeightsError: no such device on this machine.
    """

    def __init__(self, weights: Weights, device: str = "cpu") -> None:
        self.config = weights.config
        self.device = pick_device(device)
        self._block_rows = _BLOCK_ROWS_CPU if self.device.type == "cpu" else _BLOCK_ROWS_OTHER
        module = to_module(weights)
        self._convs = [
            _to(_fold_conv(conv, norm), self.device)
            for conv, norm in zip(module.convs, module.conv_norms, strict=True)
        ]
        self._common = _to(_fold_dense(module.common, module.common_norm), self.device)
        heads = [module.get_submodule(name) for name in ("box", "offset")]
        self._heads = _to(
            _Affine(*(torch.cat([h.get_parameter(p) for h in heads]) for p in ("weight", "bias"))),
            self.device,
        )
        self._redshift: tuple[HeadArrays, Reader] | None = None
        if module.redshift is not None:
            head = module.redshift.arrays()
            arrays = HeadArrays(*(array.detach().to(self.device) for array in head))
            self._redshift = arrays, module.redshift.reader.to(self.device)

    def predict(self, flux: ArrayLike, *, redshifts: bool = False) -> LineOutputs:
        """Return confidences and offsets of all boxes.

        Args:
            flux: (n, n_bins) normalised spectra on the network's grid.
            redshifts: ask the redshift head too, if there is one.

        Raises:
            WeightsError: the spectra are on another grid.
        """
        rows = _checked(flux, self.config)
        asked = self.config.redshift if redshifts else None
        outputs = _empty_outputs(len(rows), self.config, 0 if asked is None else asked.n_z)
        # torch lets CUDA convolve with ten-bit fractions (TF32) unless told not to.
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            for start in range(0, len(rows), self._block_rows):
                block = slice(start, start + self._block_rows)
                # A copy: rows of a store are read-only, which torch's tensors cannot be.
                said = self._logits(torch.tensor(rows[block], device=self.device), redshifts)
                outputs.confidence[block] = said.box.cpu().double().sigmoid_().numpy()
                outputs.offset[block] = said.offset.cpu().sigmoid().numpy()
                if outputs.log_p is not None and said.log_p is not None:
                    outputs.log_p[block] = said.log_p.cpu().numpy()
        outputs.offset[:] *= self.config.offset_high - self.config.offset_low
        outputs.offset[:] += self.config.offset_low
        return outputs

    def _logits(self, x: Tensor, redshifts: bool) -> Logits:
        config, head = self.config, self.config.redshift
        x = x[:, None, None, :]  # (n, 1, 1, n_bins)
        cells = []
        for number, (layer, pad) in enumerate(zip(self._convs, config.paddings(), strict=True), 1):
            x = _convolve(x, layer, config.stride, pad).relu_()  # (n, n_filters, 1, width)
            if head is not None and number in head.maps:
                cells.append(x[:, :, 0].transpose(1, 2))  # (n, width, n_filters)
        flat = x.permute(0, 2, 3, 1).flatten(1)  # (n, width * n_filters), as Keras flattens
        hidden = functional.linear(flat, *self._common).relu_()  # (n, n_dense)
        said = functional.linear(hidden, *self._heads)
        boxes = said.view(-1, 2, config.n_lines, config.n_boxes)  # of boxes, then of offsets
        log_p = None
        if redshifts and self._redshift is not None:
            log_p = head_logits(cells, hidden, *self._redshift)
        return Logits(boxes[:, 0], boxes[:, 1], log_p)


def predict_reference(weights: Weights, flux: ArrayLike) -> LineOutputs:
    """Return what `Predictor.predict` does, from the plain torch module: slow and obvious."""
    module = to_module(weights)
    with torch.inference_mode():
        said = module.logits(torch.tensor(_checked(flux, weights.config)))
        return LineOutputs(
            module.confidences(said.box.double()).numpy(),
            module.offsets(said.offset).numpy(),
            None if said.log_p is None else said.log_p.numpy(),
        )


def pick_device(name: str = "auto") -> torch.device:
    """Return a device of this machine.

    Args:
        name: ``"cpu"``, ``"cuda"``, ``"mps"`` (Apple), or ``"auto"``: CUDA, else Apple, else CPU.

    Raises:
        WeightsError: torch finds no such device here.
    """
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, there in present.items() if there))
    kind = name.split(":", maxsplit=1)[0]
    if not present.get(kind, False):
        usable = ", ".join(kind for kind, there in present.items() if there)
        raise WeightsError(f"no device {name!r} on this machine; there is: {usable}")
    return torch.device(name)


def _convolve(x: Tensor, layer: _Affine, stride: int, pad: Padding) -> Tensor:
    """Convolve (n, channels, 1, width) rows; the result has its channels last in memory."""
    n_filters, n_channels, _, kernel_width = layer.weight.shape
    if n_channels == 1:
        # One matrix product: it comes out channels last, where a convolution of a single
        # channel would have to be put in order afterwards.
        reads = functional.pad(x[:, 0, 0], pad).unfold(1, kernel_width, stride)
        kernel = layer.weight.reshape(n_filters, kernel_width)
        product = functional.linear(reads, kernel, layer.bias)  # (n, n_reads, n_filters)
        return product.unsqueeze(1).permute(0, 3, 1, 2)  # (n, n_filters, 1, n_reads)
    both = min(pad)  # zeros on both sides cost nothing inside the convolution
    if pad.left != pad.right:
        x = functional.pad(x, (pad.left - both, pad.right - both))
    return functional.conv2d(x, *layer, stride=(1, stride), padding=(0, both))


def _fold_conv(conv: nn.Module, norm: nn.Module) -> _Affine:
    weight, bias = _fold(conv, norm)
    image = weight.unsqueeze(2)  # (n_filters, channels, 1, kernel_width)
    return _Affine(image.contiguous(memory_format=torch.channels_last), bias)


def _fold_dense(dense: nn.Module, norm: nn.Module) -> _Affine:
    return _fold(dense, norm)


def _fold(layer: nn.Module, norm: nn.Module) -> _Affine:
    """Fold a normalisation in, in double precision: the result is rounded once."""
    state = {name: value.double() for name, value in norm.state_dict().items()}
    scale = state["weight"] / torch.sqrt(state["running_var"] + BATCH_NORM_EPS)
    weight = layer.get_parameter("weight").detach().double()
    bias = layer.get_parameter("bias").detach().double()
    folded = weight * scale.view(-1, *[1] * (weight.dim() - 1))
    return _Affine(folded.float(), ((bias - state["running_mean"]) * scale + state["bias"]).float())


def _to(layer: _Affine, device: torch.device) -> _Affine:
    return _Affine(*(tensor.detach().to(device) for tensor in layer))


def _checked(flux: ArrayLike, config: NetworkConfig) -> NDArray[np.float32]:
    rows = np.ascontiguousarray(flux, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != config.grid.n_bins:  # noqa: PLR2004 -- rows and bins
        raise WeightsError(
            f"spectra of shape {rows.shape}; the network reads (n, {config.grid.n_bins}) on the "
            f"{config.grid.describe()}"
        )
    return rows


def _empty_outputs(n_rows: int, config: NetworkConfig, n_z: int) -> LineOutputs:
    shape = (n_rows, config.n_lines, config.n_boxes)
    log_p = np.empty((n_rows, n_z), np.float32) if n_z else None
    return LineOutputs(np.empty(shape, np.float64), np.empty(shape, np.float32), log_p)
