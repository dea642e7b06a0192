"""Weights files for tests: random ones, and the same changed as other programs change them."""

import json

import h5py
import numpy as np
import torch

from quasarloop.network.config import preset
from quasarloop.network.model import LineFinder
from quasarloop.network.weights import (
    from_module,
)

SMALL = preset("green2025", n_filters=6, n_dense=5, dropout=0.2)


def random_weights(config=SMALL, seed=0, provenance=None):
    module = LineFinder(config, torch.Generator().manual_seed(seed))
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for norm in [*module.conv_norms, module.common_norm]:
            n = norm.num_features
            for tensor, values in (
                (norm.running_mean, rng.normal(0, 0.3, n)),
                (norm.running_var, rng.uniform(0.3, 3, n)),
                (norm.weight, rng.normal(1, 0.3, n)),
                (norm.bias, rng.normal(0, 0.3, n)),
            ):
                tensor.copy_(torch.from_numpy(values))
    return from_module(module, provenance)


def rebuild(path, *, rename=None, keep_group=None, edit=None, model_grid=True, note=False):
    """Rewrite a file with other layer names, fewer groups, another model_config."""
    rename = rename or {}

    def new(name):
        return rename.get(name, name)

    target = path.with_name("variant.h5")
    with h5py.File(path) as old, h5py.File(target, "w") as file:
        model = json.loads(old.attrs["model_config"])
        for layer in model["config"]["layers"]:
            layer["name"] = layer["config"]["name"] = new(layer["name"])
            for node in layer["inbound_nodes"]:
                for source in node:
                    source[0] = new(source[0])
        if edit:
            edit(model["config"]["layers"])
        file.attrs["model_config"] = json.dumps(model)
        if note:
            file.attrs["quasarloop"] = old.attrs["quasarloop"]
        groups = file.create_group("model_weights")
        for name, group in old["model_weights"].items():
            if keep_group is None or keep_group(name):
                made = groups.create_group(new(name))
                if name in group:
                    group.copy(name, made, new(name))
        if model_grid:
            old.copy("model_grid", file)
    return target


def change(path, action):
    with h5py.File(path, "r+") as file:
        action(file)
    return path


def replace_data(name, array):
    def action(file):
        del file[name]
        file[name] = array

    return action
