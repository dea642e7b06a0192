"""Desispec's `desi_qso_qn_afterburner`: the same options, and the same `main(args, comm)`.

``from quasarloop.afterburner import qsoqn`` takes the place of ``from desispec.scripts import
qsoqn``. A file is done by one rank; ranks share the files.

Source: desihub/desispec, py/desispec/scripts/qsoqn.py and zproc.py (0.71.6).
"""

import logging
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from quasarloop.afterburner.file_columns import phase_of, target_mask
from quasarloop.afterburner.network_step import Network, load_network
from quasarloop.afterburner.options import RerunOptions
from quasarloop.afterburner.output import read_output, write_output
from quasarloop.afterburner.reruns import RerunBit, Selection
from quasarloop.afterburner.tiles import AfterburnerOptions, run_tile
from quasarloop.artefacts import write_atomically
from quasarloop.errors import QuasarloopError
from quasarloop.options import described_fields
from quasarloop.read.fits_reader import open_fits

__all__ = ["do_files", "files_parser", "main", "parse", "target_classes", "words_of"]

logger = logging.getLogger("quasarloop.afterburner")

# Options of ours beside desispec's.
_OURS: Final = ("policy", "rerun", "rrdesi")
# With either of these redrock was run again on the row, or will be.
_RERUN: Final = RerunBit.RERUN | RerunBit.WAITING


def parse(options: Sequence[str] | None = None) -> Namespace:
    """Return the values of desispec's options, with its defaults, and of a few of ours."""
    parser = files_parser("Run the network on coadds, and redrock again on the quasars it missed.")
    add = parser.add_argument
    add("--target_selection", default="qso_targets", help="Rows to test: qso_targets or all.")
    add("--c_thresh", type=float, default=0.5, help="Confidence that lines must exceed.")
    add("--n_thresh", type=int, default=1, help="Lines that must exceed it.")
    add("--templates", nargs="+", help="Quasar templates. Default: redrock's own.")
    add("--filename_priors", help="Prior file, if it is kept.")
    add("--filename_output_rerun_RR", help="Redrock's details, if they are kept.")
    add("--filename_redrock_rerun_RR", help="Redrock's result, if it is kept.")
    add("--delete_RR_output", default="True", help="False keeps these three, beside the output.")
    add("--clamp", action="store_true", help="Lines off the grid are put on its last edge.")
    for name, (field, text) in described_fields(RerunOptions).items():
        if name in _OURS:
            add(f"--{name}", default=field.default, help=text.help)
    return words_of(parser, options)


def main(args: Namespace | Sequence[str] | None = None, comm: Any = None) -> int:
    """Do what desispec's `qsoqn.main` does; return 0, or 1 if a file failed.

    Outputs that exist are replaced. The weights are those of $QN_MODEL_FILE, else those shipped.

    Args:
        args: words of the command line; None takes those of the process.
        comm: MPI communicator of any size. All ranks return the same number.
    """
    given = args if isinstance(args, Namespace) else parse(args)

    @cache
    def network() -> Network:
        return load_network(os.environ.get("QN_MODEL_FILE") or None)

    def one(coadd: Path, redrock: Path, output: Path) -> str:
        summary = run_tile(
            coadd, redrock, output, network(), _options(given, coadd, output), overwrite=True
        )
        n_saved = _keep_rows(output, given)
        later = f"; redrock is left for later: {summary.script}" if summary.script else ""
        return f"{n_saved} of {summary.n_rows} rows, {summary.counts['RERUN']} rerun{later}"

    return do_files(given, comm, one)


def files_parser(description: str) -> ArgumentParser:
    """Return a parser with what both of desispec's quasar steps have.

    Options that name files take several here, one in desispec.
    """
    parser = ArgumentParser(description=description)
    for name in ("coadd", "redrock", "output"):
        parser.add_argument(f"--{name}", nargs="+", type=Path, required=True)
    parser.add_argument(
        "--save_target",
        default="restricted",
        choices=("restricted", "all"),
        help="Write the rows where a quasar was found, or all that were tested.",
    )
    parser.add_argument(
        "--misscamera",
        action="store_true",
        help="Of a coadd without all three arms, write OUTPUT.misscamera.txt alone, as desispec.",
    )
    return parser


def words_of(parser: ArgumentParser, options: Sequence[str] | None) -> Namespace:
    """Return the values that a command line gives; ends the program where it is wrong."""
    given = parser.parse_args(options)
    if not len(given.coadd) == len(given.redrock) == len(given.output):
        parser.error("--coadd, --redrock and --output need as many files each")
    return given


def do_files(given: Namespace, comm: Any, one: Callable[[Path, Path, Path], str]) -> int:
    """Do this rank's share of the files; return 1 on all ranks if a file of any rank failed.

    Args:
        given: from `words_of`.
        comm: MPI communicator or None.
        one: does one file; what it returns is logged.
    """
    rank, size = (0, 1) if comm is None else (comm.Get_rank(), comm.Get_size())
    files = list(zip(given.coadd, given.redrock, given.output, strict=True))
    status = 0
    for coadd, redrock, output in files[rank::size]:
        try:
            if given.misscamera and (note := _note_missing_arm(coadd, output)):
                logger.warning("%s: an arm is missing, see %s; no output", coadd, note)
            else:
                logger.info("%s: %s", output, one(coadd, redrock, output))
        except Exception as exc:  # on any: the other ranks wait for this one
            unexpected = not isinstance(exc, QuasarloopError)
            logger.log(logging.ERROR, "%s: %s", coadd, exc, exc_info=unexpected)
            status = 1
    return status if comm is None else int(max(comm.allgather(status)))


def _note_missing_arm(coadd: Path, output: Path) -> Path | None:
    """Write what desispec writes of a coadd without all three arms; None if it has them."""
    with open_fits(coadd) as fits:
        if all(fits.named(f"{arm}_FLUX") for arm in "BRZ"):
            return None
    note = output.with_suffix(".misscamera.txt")
    with write_atomically(note) as temporary:
        temporary.write_text(
            f"At least one camera is missing from the coadd file: {coadd}.\n"
            "This is expected for the exposure directory.\n"
            "This is NOT expected for cumulative / healpix directory!\n",
            encoding="utf-8",
        )
    return note


def target_classes(words: str) -> tuple[str, ...]:
    """Return the target classes that ``--target_selection`` names; nothing for all.

    >>> target_classes("qso_targets"), target_classes("all"), target_classes("QSO,elg")
    (('QSO',), (), ('QSO', 'ELG'))
    """
    names = [word.strip().upper() for word in words.split(",") if word.strip()]
    if names in (["ALL"], ["ALL_TARGETS"]):
        return ()
    return tuple(name.removesuffix("_TARGETS") for name in names)


def _options(given: Namespace, coadd: Path, output: Path) -> AfterburnerOptions:
    rest, kept = coadd.name.removeprefix("coadd-"), {}
    if given.delete_RR_output != "True":
        usual = {"priors_qn": rest, "rrdetails_qn": f"{Path(rest).stem}.h5", "redrock_qn": rest}
        named = [
            given.filename_priors,
            given.filename_output_rerun_RR,
            given.filename_redrock_rerun_RR,
        ]
        paths = [output.with_name(f"{kind}-{end}") for kind, end in usual.items()]
        kinds = ("priors", "details", "redrock")
        kept = {k: Path(n or path) for k, n, path in zip(kinds, named, paths, strict=True)}
    return AfterburnerOptions(
        selection=Selection(
            given.c_thresh,
            given.n_thresh,
            target_classes=target_classes(given.target_selection),
        ),
        templates=tuple(map(Path, given.templates or ())),
        red_end="clamp" if given.clamp else "extrapolate",
        kept=kept,
        **{name: getattr(given, name) for name in _OURS},
    )


def _keep_rows(output: Path, given: Namespace) -> int:
    """Leave the rows in an output that desispec writes; return how many these are."""
    written = read_output(output)
    table = written.table
    rows = np.ones(len(table), dtype=bool)
    if classes := target_classes(given.target_selection):
        phase = phase_of(table.dtype.names or ())
        rows = (table[phase.column] & target_mask(phase, classes)) != 0
    if given.save_target == "restricted":
        rows &= (table["RERUN_BITS"] & _RERUN) != 0
    if not rows.all():
        write_output(output, table[rows], written.recipe)
    return int(rows.sum())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    sys.exit(main())
