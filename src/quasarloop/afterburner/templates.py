"""Redrock's quasar templates: all of them found, or a clear error."""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.artefacts import checksum
from quasarloop.errors import RedrockError
from quasarloop.read.fits_reader import open_fits

__all__ = ["Template", "find_quasar_templates"]

# Redrock's two quasar templates, below and above z = 1.5. Source: redrock-templates, since 2022.
_SUBTYPES: Final = ("HIZ", "LOZ")
_PATTERN: Final = "rrtemplate-QSO-*.fits*"
# Redrock's list of the templates of a folder that are in use (since January 2024).
_LIST: Final = "templates-default.txt"
_LIST_PREFIX: Final = "rrtemplate-QSO-"
_FOLDER_VARIABLE: Final = "RR_TEMPLATE_DIR"
# What redrock tries where a template does not say: z, z, step in log10(1 + z).
# Source: redrock.templates, default of --zscan-qso.
_SCAN: Final = (0.05, 6.0, 5e-4)


@dataclass(frozen=True)
class Template:
    """One quasar template file.

    Attributes:
        path: the file.
        subtype: ``"LOZ"``, ``"HIZ"``.
        version: of the template.
        sha256: of the file.
        redshifts: (k,) redshifts redrock tries it at.
    """

    path: Path
    subtype: str
    version: str
    sha256: str
    redshifts: NDArray[np.float64]


def find_quasar_templates(given: Sequence[str | Path] = ()) -> tuple[Template, ...]:
    """Find redrock's quasar templates.

    Args:
        given: template files, taken as they are; or one folder to look in. Nothing means the
            folder named by RR_TEMPLATE_DIR, else the one inside the installed redrock.

    Returns:
        The templates, sorted by subtype.

    Raises:
        RedrockError: a file is missing or is no quasar template, or a folder has not exactly one
            template of each subtype: redrock would run with too few, and nobody would notice.
    """
    paths = [Path(path) for path in given]
    if len(paths) == 1 and paths[0].is_dir():
        return _of_folder(paths[0])
    if paths:
        return tuple(sorted((_read(path) for path in paths), key=lambda t: t.subtype))
    return _of_folder(_usual_folder())


def _of_folder(folder: Path) -> tuple[Template, ...]:
    found = [_read(path) for path in _files_in(folder)]
    chosen = []
    for subtype in _SUBTYPES:
        same = [template for template in found if template.subtype == subtype]
        if len(same) != 1:
            names = ", ".join(template.path.name for template in found) or "none"
            raise RedrockError(
                f"{folder}: {len(same)} quasar templates {subtype}; expected one of each of "
                f"{', '.join(_SUBTYPES)}, found {names}. Give the files with --templates"
            )
        chosen += same
    return tuple(chosen)


def _files_in(folder: Path) -> list[Path]:
    listed = folder / _LIST
    if listed.is_file():
        lines = (line.split() for line in listed.read_text(encoding="utf-8").splitlines())
        names = [words[0] for words in lines if words and not words[0].startswith("#")]
        return [folder / name for name in names if Path(name).name.startswith(_LIST_PREFIX)]
    return sorted(folder.glob(_PATTERN))


def _usual_folder() -> Path:
    named = os.environ.get(_FOLDER_VARIABLE)
    if named:
        folder = Path(named)
    else:
        spec = importlib.util.find_spec("redrock")
        if spec is None or spec.origin is None:
            raise RedrockError(
                f"no templates given, {_FOLDER_VARIABLE} is not set, and redrock is not installed "
                "here; give the template files or their folder with --templates"
            )
        folder = Path(spec.origin).parent / "data" / "templates"
    if not folder.is_dir():
        raise RedrockError(
            f"redrock's templates are not in {folder}; install redrock-templates there, set "
            f"{_FOLDER_VARIABLE}, or give the files with --templates"
        )
    return folder


def _read(path: Path) -> Template:
    if not path.is_file():
        raise RedrockError(f"no template {path}; check the name")
    with open_fits(path) as file:
        header: dict[str, Any] = dict(file.hdus[0].header)
        redshifts = file.named("REDSHIFTS")
        tried = _default_scan() if redshifts is None else file.image(redshifts).astype(np.float64)
    if str(header.get("RRTYPE", "")).strip().upper() != "QSO":
        raise RedrockError(
            f"{path}: template of {header.get('RRTYPE', 'nothing')!r}; expected a quasar template"
        )
    return Template(
        path=path,
        subtype=str(header.get("RRSUBTYP", "")).strip(),
        version=str(header.get("VERSION", "unknown")),
        sha256=checksum(path),
        redshifts=tried,
    )


def _default_scan() -> NDArray[np.float64]:
    low, high, step = _SCAN
    return np.asarray(10 ** np.arange(np.log10(1 + low), np.log10(1 + high), step) - 1)
