"""Simulated objects: who they are and every hidden property, as arrays."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from quasarloop.lines import NEBULAR_AA
from quasarloop.simulate.absorbers import AbsorberTraits
from quasarloop.simulate.galaxies import GalaxyTraits
from quasarloop.simulate.quasar_lines import QUASAR_LINES
from quasarloop.simulate.quasar_traits import QuasarTraits
from quasarloop.simulate.stars import StarTraits

__all__ = ["Objects", "blank", "concatenate_objects", "spread"]

Traits = TypeVar("Traits")
Index = slice | NDArray[np.integer] | NDArray[np.bool_]


@dataclass(frozen=True)
class Objects:
    """Simulated objects; every field has one row per object.

    Traits of another class are there too, filled with NaN, 0 or False.

    Attributes:
        index: (n,) int64 number of the object in its simulation.
        spectype: (n,) int8 of `SpecType`.
        subtype: (n,) text: ``"BAL"``, ``"WLQ"`` or ``""`` for quasars, kinds of galaxies and stars.
        z: (n,) float64 redshift; v/c of stars.
        r_mag: (n,) float32 AB magnitude of the spectrum as seen.
        ebv: (n,) float32 reddening inside the object (SMC dust in quasars), magnitudes.
        seed: (n,) uint64 seed of the object's own random structure (its forest).
        quasar, absorbers, galaxy, star: traits of each class.
    """

    index: NDArray[np.int64]
    spectype: NDArray[np.int8]
    subtype: NDArray[np.str_]
    z: NDArray[np.float64]
    r_mag: NDArray[np.float32]
    ebv: NDArray[np.float32]
    seed: NDArray[np.uint64]
    quasar: QuasarTraits
    absorbers: AbsorberTraits
    galaxy: GalaxyTraits
    star: StarTraits

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.index)

    def __getitem__(self, rows: Index) -> "Objects":
        """Return some rows."""
        return _map_arrays(self, lambda values: values[rows])

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return every property as named (n,) columns, nested and many-valued ones taken apart.

        A trait of a class has the class before its name (``quasar_slope``), a line its name after
        (``quasar_line_ew_aa_civ``), a slot its number (``absorbers_dla_z_0``).
        """
        return dict(_flat_columns("", self))


def spread(part: Traits, rows: NDArray[np.integer], n: int) -> Traits:
    """Put traits of some rows into arrays of n rows, the rest NaN, 0 or False.

    Args:
        part: a traits dataclass of len(rows) rows.
        rows: (m,) where they belong.
        n: rows of the result.
    """

    def place(values: NDArray[Any]) -> NDArray[Any]:
        whole = _nothing(values.dtype, (n, *values.shape[1:]))
        whole[rows] = values
        return whole

    return _map_arrays(part, place)


def blank(traits: Traits) -> Traits:
    """Return traits of the same shape with nothing in them: NaN, 0 or False."""
    return _map_arrays(traits, lambda values: _nothing(values.dtype, values.shape))


def concatenate_objects(parts: Sequence[Objects]) -> Objects:
    """Join objects, in order; at least one part."""
    return _join(parts)


def _nothing(dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    return np.full(shape, np.nan if dtype.kind == "f" else 0, dtype=dtype)


def _join(parts: Sequence[Traits]) -> Traits:
    joined = {}
    for f in fields(parts[0]):  # type: ignore[arg-type]  # a TypeVar cannot say "any dataclass"
        values = [getattr(part, f.name) for part in parts]
        joined[f.name] = _join(values) if is_dataclass(values[0]) else np.concatenate(values)
    return type(parts[0])(**joined)


def _map_arrays(part: Traits, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Traits:
    """Rebuild a dataclass of arrays (or of such) with every array changed."""
    changed = {}
    for f in fields(part):  # type: ignore[arg-type]  # a TypeVar cannot say "any dataclass"
        value = getattr(part, f.name)
        changed[f.name] = _map_arrays(value, change) if is_dataclass(value) else change(value)
    return type(part)(**changed)


def _flat_columns(prefix: str, part: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    for f in fields(part):
        value, name = getattr(part, f.name), prefix + f.name
        if is_dataclass(value):
            yield from _flat_columns(f"{name}_", value)
        elif value.ndim == 1:
            yield name, value
        else:
            for slot, suffix in enumerate(_suffixes(name, value.shape[1])):
                yield f"{name}_{suffix}", value[:, slot]


def _suffixes(name: str, width: int) -> list[str]:
    if name.startswith("quasar_line"):
        return [line.name for line in QUASAR_LINES]
    if name == "galaxy_line_ratio":
        return list(NEBULAR_AA)
    if name == "galaxy_light":
        return ["old", "middle", "young"]
    return [str(slot) for slot in range(width)]
