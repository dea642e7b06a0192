"""The TOML file that describes a simulated survey: who is on the sky, and how it is observed."""

import tomllib
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from quasarloop.errors import DataFormatError
from quasarloop.simulate.observing import Observing
from quasarloop.simulate.population import Population

__all__ = ["read_survey_file"]

# Sections of ours; everything else belongs to the population.
_OWN_SECTIONS: Final = ("observing", "faults", "redrock")


def read_survey_file(path: str | Path) -> tuple[Population, Observing]:
    """Read a population file with optional sections ``[observing]``, ``[faults]``, ``[redrock]``.

    Args:
        path: TOML. What is left out keeps its default.

    Raises:
        DataFormatError: not readable as TOML, an unknown name, or a value out of range.
    """
    file = Path(path)
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise DataFormatError(f"{file}: cannot be read as a population file: {exc}") from exc
    own: dict[str, Any] = {name: content.pop(name, {}) for name in _OWN_SECTIONS}
    try:
        nested = {name: own[name] for name in ("faults", "redrock")}
        observing = Observing.model_validate({**own["observing"], **nested})
        return Population.model_validate(content), observing
    except (ValidationError, TypeError) as exc:
        raise DataFormatError(f"{file}: not a population file: {_explain(exc)}") from exc


def _explain(exc: ValidationError | TypeError) -> str:
    if isinstance(exc, TypeError):
        return "[observing], [faults] and [redrock] must be tables"
    return "; ".join(
        f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}" for error in exc.errors()
    )
