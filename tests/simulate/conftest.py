"""A quick, known source of light for tests of everything behind the model."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from quasarloop.simulate.observing import Light, LightSource


class _KnownLight:
    def __call__(self, seed: int, first: int, n: int, wave_aa: NDArray[Any]) -> Light:
        number = np.arange(first, first + n)
        level = 1.0 + number % 5
        line = 1 + 2 * np.exp(-0.5 * ((wave_aa - 6000.0) / 20.0) ** 2)
        spectype = (number % 3).astype(np.int8)
        quasar = spectype == 2
        return Light(
            flux=(level[:, None] * line).astype(np.float32),
            spectype=spectype,
            z=np.where(spectype == 0, 1e-4, 0.1 + (number % 29) / 10),
            bal=np.where(quasar, number % 2, -1).astype(np.int8),
            hidden={"SUBTYPE": np.where(quasar, "BAL", ""), "LEVEL": level, "OBJECT_INDEX": number},
        )

    def options(self) -> dict[str, Any]:
        return {"made_by": "test"}


@pytest.fixture
def known_light() -> LightSource:
    """Objects in turn star, galaxy, quasar; object i has flux 1 + i mod 5, a line at 6000 Å."""
    return _KnownLight()
