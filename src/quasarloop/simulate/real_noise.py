"""Inverse variances of a real coadd, to simulate with the noise of nights that were."""

from pathlib import Path

import numpy as np

from quasarloop.artefacts import checksum
from quasarloop.errors import DataFormatError
from quasarloop.read import read_spectra
from quasarloop.simulate.instrument import Instrument
from quasarloop.simulate.noise import RealNoise

__all__ = ["read_real_noise"]


def read_real_noise(path: str | Path, instrument: Instrument) -> RealNoise:
    """Take the inverse variances (and so the masked pixels) of a coadd's fibres.

    Fibres without any data are left out. The real target's own photon noise is part of what
    is taken, so the noise is a little high where the real targets are bright.

    Args:
        path: a DESI coadd (or spectra) file.
        instrument: whose pixels the file must have.

    Raises:
        DataFormatError: other arms or pixels, or no fibre with data.
    """
    spectra = read_spectra(path)
    arms = {arm.name: arm for arm in spectra.arms}
    for model in instrument.arms:
        arm = arms.get(model.name)
        if arm is None or len(arm.wave_aa) != len(model.wave_aa):
            found = {name: len(arm.wave_aa) for name, arm in arms.items()}
            raise DataFormatError(
                f"{path}: arms and pixels are {found}; noise can be taken only from files with "
                f"arm {model.name!r} of {len(model.wave_aa)} pixels (a DESI coadd)"
            )
        if np.max(np.abs(arm.wave_aa - model.wave_aa)) > 0.01:  # noqa: PLR2004 -- Å, a hundredth of a pixel
            raise DataFormatError(f"{path}: arm {model.name!r} is not on DESI's wavelengths")
    used = np.logical_or.reduce([(arm.ivar > 0).any(axis=1) for arm in arms.values()])
    if not used.any():
        raise DataFormatError(f"{path}: no fibre has data; choose another file")
    source = f"{Path(path).name} sha256:{checksum(path)}"
    return RealNoise({name: arm.ivar[used] for name, arm in arms.items()}, source)
