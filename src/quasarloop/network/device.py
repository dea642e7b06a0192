"""Where networks compute: a device of this machine, and of several GPUs one for each process."""

import os
from dataclasses import replace
from typing import cast

import torch

from quasarloop.engine import Engine
from quasarloop.errors import WeightsError
from quasarloop.network.options import DEVICES, Device

__all__ = ["pick_device", "place_tasks", "visible_gpus"]


def pick_device(name: str = "auto") -> torch.device:
    """Return a device of this machine.

    Args:
        name: ``"cpu"``, ``"cuda"``, ``"mps"`` (Apple), or ``"auto"``: CUDA, else Apple, else CPU.

    Raises:
        WeightsError: torch finds no such device here.
    """
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    usable = [*(device for device, there in found.items() if there), "cpu"]
    kind = usable[0] if name == "auto" else _kind(name)
    if kind not in usable:
        raise WeightsError(f"this machine has no usable {name} device; usable: {', '.join(usable)}")
    return torch.device(kind if name == "auto" else name)


def place_tasks(name: str, engine: Engine | None) -> tuple[Device, Engine]:
    """Return the kind of device that all tasks compute on, and the engine, with GPUs to share out.

    It is the same for any number of processes, so that results are, too. Workers of a cluster use
    the device they see, which is not looked for here: ``"auto"`` is the CPU there.

    Args:
        name: as of `pick_device`.
        engine: where tasks run; None is this process.

    Raises:
        WeightsError: torch finds no such device here.
    """
    where = engine or Engine()
    if where.scheduler is not None:
        return "cpu" if name == "auto" else _kind(name), where
    kind = cast("Device", pick_device(name).type)
    return kind, replace(where, gpus=visible_gpus() if kind == "cuda" else ())


def visible_gpus() -> tuple[str, ...]:
    """Return the names of the GPUs this process may use, as CUDA_VISIBLE_DEVICES has them."""
    n_gpus = torch.cuda.device_count()
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(n_gpus)) if listed is None else listed.split(",")
    return tuple(names)[:n_gpus]  # what follows a name that CUDA does not know does not count


def _kind(name: str) -> Device:
    kind = name.split(":", maxsplit=1)[0]
    if kind not in DEVICES:
        raise WeightsError(f"no device named {name!r}; known: {', '.join(DEVICES)}")
    return cast("Device", kind)
