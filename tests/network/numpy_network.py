"""An independent reader and forward pass: numpy, the HDF5 layout and nothing of ours."""

import json

import h5py
import numpy as np


def numpy_network(path, flux, *, rescale):
    """Confidences and offsets (n, lines, 13) from a Keras 2 file, layers in config order."""
    with h5py.File(path) as file:
        layers = json.loads(file.attrs["model_config"])["config"]["layers"]
        stored = {
            layer: {key[:-2]: value[()] for key, value in group[layer].items()}
            for layer, group in file["model_weights"].items()
            if len(group)
        }
    norms = [stored[x["config"]["name"]] for x in layers if x["class_name"] == "BatchNormalization"]
    convs = [x["config"] for x in layers if x["class_name"] == "Conv1D"]

    def relu_norm(x, norm):
        centred = (x - norm["moving_mean"]) / np.sqrt(norm["moving_variance"] + 1e-3)
        return np.maximum(centred * norm["gamma"] + norm["beta"], 0)

    x = flux.astype(float)[:, :, None]
    for conv, norm in zip(convs, norms, strict=False):
        kernel, bias = stored[conv["name"]]["kernel"], stored[conv["name"]]["bias"]
        width, stride = len(kernel), conv["strides"][0]
        if conv["padding"] == "same":
            n_out = int(np.ceil(x.shape[1] / stride))
            total = max((n_out - 1) * stride + width - x.shape[1], 0)
            x = np.pad(x, ((0, 0), (total // 2, total - total // 2), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, width, axis=1)[:, ::stride]
        x = relu_norm(np.einsum("nwct,tcf->nwf", windows, kernel, optimize=True) + bias, norm)
    common = stored["fc_common"]
    x = relu_norm(x.reshape(len(x), -1) @ common["kernel"] + common["bias"], norms[-1])

    def head(kind, line):
        dense = stored[f"fc_{kind}_{line}"]
        return 1 / (1 + np.exp(-(x @ dense["kernel"] + dense["bias"])))

    n_lines = sum(layer.startswith("fc_box_") for layer in stored)
    confidence = np.stack([head("box", i) for i in range(n_lines)], axis=1)
    offset = np.stack([head("offset", i) for i in range(n_lines)], axis=1)
    return confidence, -0.1 + 1.2 * offset if rescale else offset
