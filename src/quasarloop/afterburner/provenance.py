"""DEPNAMnn and DEPVERnn: packages, weights and templates, as desiutil and desispec record them.

desiutil lists what a process has loaded; redrock may run in another one, so here it is what is
installed.

Source: desihub/desiutil, py/desiutil/depend.py; desihub/desispec, py/desispec/scripts/qsoqn.py
(save_to_fits).
"""

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

__all__ = ["dependencies", "files_used"]

# Those of desiutil's list that this step or redrock's can use.
_PACKAGES: Final = (
    "numpy", "scipy", "astropy", "fitsio", "h5py", "mpi4py", "healpy", "desiutil", "desispec",
    "desitarget", "desimodel", "speclite", "redrock",
)  # fmt: skip
_VARIABLES: Final = (
    "DESI_ROOT", "DESI_SPECTRO_DATA", "DESI_SPECTRO_REDUX", "SPECPROD", "DESI_SPECTRO_CALIB",
    "DESI_BASIS_TEMPLATES", "DESI_TARGET", "DESIMODEL",
)  # fmt: skip


def files_used(weights: Path, templates: Sequence[Path]) -> dict[str, str]:
    """Return names and paths of weights and templates, as desispec's step records them.

    Args:
        weights: the file.
        templates: redrock's quasar templates; those in $RR_TEMPLATE_DIR go without their folder.
    """
    folder = os.environ.get("RR_TEMPLATE_DIR")
    found = {"QN_MODEL_FILE": str(weights), "RR_TEMPLATE_DIR": str(folder)}
    for number, path in enumerate(templates):
        inside = folder is not None and path.is_relative_to(folder)
        found[f"RR_TEMPLATE_{number}"] = path.name if inside else str(path)
    return found


def dependencies(recipe: Mapping[str, Any]) -> dict[str, str]:
    """Return name -> version, of packages, variables and files, for the header of an output.

    Args:
        recipe: of the output; what redrock's version was is in it.
    """
    found = {name: _version(name) for name in _PACKAGES if _version(name)}
    ran = {"redrock": recipe["redrock"]["version"]} if recipe["redrock"].get("used") else {}
    variables = {name: os.environ.get(name, "NOT_SET") for name in _VARIABLES}
    weights = {"QN_MODEL_SHA256": recipe["network"]["sha256"]}
    return {**recipe["versions"], **found, **ran, **variables, **recipe.get("files", {}), **weights}


def _version(package: str) -> str:
    """Return the version of an installed package, empty where there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        # Packages of DESI's environments are folders on the path, without metadata.
        known = find_spec(package)
        return str(getattr(import_module(package), "__version__", "unknown")) if known else ""
