"""Desispec's `desi_qso_mgii_afterburner`: the same options, and the same `main(args)`.

``from quasarloop.afterburner import qsomgii`` takes the place of ``from desispec.scripts import
qsomgii``. Ranks share the files, as in `qsoqn`.

Source: desihub/desispec, py/desispec/scripts/qsomgii.py (0.71.6).
"""

import logging
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.afterburner.file_columns import target_mask
from quasarloop.afterburner.mgii import MgIIOptions
from quasarloop.afterburner.mgii_file import fit_mgii_file
from quasarloop.afterburner.qsoqn import do_files, files_parser, target_classes, words_of
from quasarloop.afterburner.redrock_file import RedrockRows
from quasarloop.afterburner.templates import usual_folder
from quasarloop.columns import Block

__all__ = ["main", "parse"]

# Desispec's option -> ours.
_OPTIONS: Final = {
    "lambda_width": "window_aa",
    "max_sigma": "max_sigma_aa",
    "min_sigma": "min_sigma_aa",
    "min_deltachi2": "min_delta_chi2",
    "min_signifiance_A": "min_significance",
    "min_A": "min_amplitude",
}


def parse(options: Sequence[str] | None = None) -> Namespace:
    """Return the values of desispec's options, with its defaults."""
    parser = files_parser("Look for broad Mg II at redrock's redshift in coadds.")
    add = parser.add_argument
    add(
        "--target_selection",
        default="restricted",
        help="Rows to test: restricted (quasar targets that redrock has as no quasars), "
        "qso_targets or all.",
    )
    add("--template_dir", type=Path, help="Folder of redrock's templates. Default: redrock's own.")
    for name, ours in _OPTIONS.items():
        add(f"--{name}", type=float, default=getattr(MgIIOptions, ours))
    return words_of(parser, options)


def main(args: Namespace | Sequence[str] | None = None, comm: Any = None) -> int:
    """Do what desispec's `qsomgii.main` does; return 0, or 1 if a file failed.

    Args:
        args: words of the command line; None takes those of the process.
        comm: MPI communicator of any size. All ranks return the same number.
    """
    given = args if isinstance(args, Namespace) else parse(args)
    options = MgIIOptions(**{ours: getattr(given, name) for name, ours in _OPTIONS.items()})

    def rows(redrock: RedrockRows, block: Block) -> NDArray[np.bool_]:
        return _saved(redrock, block, given)

    def one(coadd: Path, redrock: Path, output: Path) -> str:
        folder = given.template_dir or usual_folder()
        block = fit_mgii_file(
            coadd, redrock, output, templates=folder, options=options, rows=rows, overwrite=True
        )
        return f"{len(block['A'])} rows, {int(block['IS_QSO_MGII'].sum())} with a broad line"

    return do_files(given, comm, one)


def _saved(redrock: RedrockRows, block: Block, given: Namespace) -> NDArray[np.bool_]:
    """Return (n,) which rows desispec writes."""
    kind = given.target_selection
    rows = np.ones(len(redrock), dtype=bool)
    if classes := ("QSO",) if kind == "restricted" else target_classes(kind):
        rows = (redrock.target_bits & target_mask(redrock.phase, classes)) != 0
    if kind == "restricted":
        rows &= redrock.fits.spectype != "QSO"
    if given.save_target == "restricted":
        rows &= block["IS_QSO_MGII"]
    return rows


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    sys.exit(main())
