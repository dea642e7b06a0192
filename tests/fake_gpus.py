"""GPUs that are not there: the CPU computes in their place, in workers too; uses are noted."""

import os
from pathlib import Path

import pytest

NAMES = ("GPU-a", "GPU-b")
_IN_WORKERS = """
import sys
if any("spawn_main" in word for word in sys.orig_argv):
    sys.path.insert(0, {tests!r})
    from pathlib import Path
    import pytest
    from fake_gpus import note_devices
    note_devices(pytest.MonkeyPatch(), Path({folder!r}))
"""


class _Device(str):
    """A device's name that can be used where torch's device is."""

    type = property(str)


def have_gpus(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let tasks be placed on two GPUs; each use of a device leaves a line in `folder`/used."""
    patch.setattr("quasarloop.network.device.pick_device", _Device)
    patch.setattr("quasarloop.network.device.visible_gpus", lambda: NAMES)
    note_devices(patch, folder)
    start = _IN_WORKERS.format(tests=str(Path(__file__).parent), folder=str(folder))
    (folder / "sitecustomize.py").write_text(start)
    before = os.environ.get("PYTHONPATH")
    patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), before])))


def note_devices(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Give networks the CPU, and note name of the device, the process, and the GPUs it sees."""
    import torch

    def pick(name: str = "not given") -> torch.device:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
        with (folder / "used").open("a") as stream:
            stream.write(f"{name} {os.getpid()} {seen}\n")
        return torch.device("cpu")

    for room in ("network.predict", "network.training_run"):
        patch.setattr(f"quasarloop.{room}.pick_device", pick)


def uses(folder: Path) -> list[list[str]]:
    """Return device, process and visible GPUs of each use so far, and forget them."""
    path = folder / "used"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [line.split() for line in lines]
