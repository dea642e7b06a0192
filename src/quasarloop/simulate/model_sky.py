"""The light of a drawn population: where the model's objects meet the survey's tiles."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.simulate.draw import draw_objects
from quasarloop.simulate.model import known_truth, observed_flux
from quasarloop.simulate.observing import Light
from quasarloop.simulate.population import Population
from quasarloop.truth import SpecType

__all__ = ["ModelSky"]

# Told by the labels already, or of no use outside the program.
_LEFT_OUT: Final = ("spectype", "z")
_BAL_SUBTYPES: Final = ("BAL", "LoBAL")


@dataclass(frozen=True)
class ModelSky:
    """Draws objects and makes their spectra.

    Attributes:
        population: what is on the sky.
        templates: folder of redrock templates; None is the built-in library.
    """

    population: Population
    templates: Path | None = None

    @cached_property
    def library(self) -> Any:
        """The spectra all objects are made of, loaded once per worker."""
        if self.templates is None:
            return "builtin"
        from quasarloop.simulate.templates import read_templates  # noqa: PLC0415

        return read_templates(self.templates)

    def __call__(self, seed: int, first: int, n: int, wave_aa: NDArray[np.float64]) -> Light:
        """Return the light of objects first … first + n − 1; each depends on its number alone."""
        objects = draw_objects(self.population, n, np.random.SeedSequence(seed), first)
        quasar = objects.spectype == SpecType.QSO
        bal = np.where(quasar, np.isin(objects.subtype, _BAL_SUBTYPES), -1)
        return Light(
            flux=observed_flux(objects, wave_aa, self.library),
            spectype=objects.spectype,
            z=objects.z,
            bal=bal.astype(np.int8),
            # Templates do not follow every property of the objects drawn.
            hidden=_hidden(known_truth(objects, self.library).columns()),
        )

    def recipe(self) -> dict[str, Any]:
        """Return what the light depends on, for the manifest."""
        return {
            "population": self.population.model_dump(mode="json"),
            "templates": None if self.templates is None else self.templates.name,
        }


def _hidden(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    kept = {}
    for name, values in columns.items():
        if name not in _LEFT_OUT:
            # FITS has no unsigned 64-bit integers; seeds are below 2⁶³.
            wide = values.astype(np.int64) if values.dtype == np.uint64 else values
            kept[f"OBJECT_{name.upper()}" if name == "index" else name.upper()] = wide
    return kept
