"""Redrock run again on some targets, with priors: as a library, as a program, or later by hand."""

import contextlib
import importlib.util
import logging
import os
import shlex
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from quasarloop.afterburner import launch_redrock
from quasarloop.afterburner.options import RerunOptions
from quasarloop.afterburner.redrock_file import RedrockFits, read_fits
from quasarloop.afterburner.templates import Template, find_quasar_templates
from quasarloop.artefacts import check_folder, write_atomically
from quasarloop.errors import RedrockError
from quasarloop.fits_tables import new_fits

__all__ = [
    "Priors",
    "RedrockOptions",
    "Run",
    "clear_priors",
    "has_redrock",
    "later_folder",
    "plan_runs",
    "run_redrock",
    "write_for_later",
    "write_priors",
]

Floats = NDArray[np.float64]

logger = logging.getLogger(__name__)

# A program's argument may be 128 KiB long (Linux); a TARGETID takes up to 21 characters of it.
_MOST_TARGETS: Final = 4000
_LOG_TAIL: Final = 2000


@dataclass(frozen=True, kw_only=True)
class RedrockOptions(RerunOptions):
    """How redrock is run; it and its templates are looked for before any work.

    Attributes:
        scratch: where private folders are made; None is the system's place.
        kept: ``"priors"``, ``"details"``, ``"redrock"`` -> where such files are kept; a second
            run's have ``-2`` in their names. Nothing is kept by default.
        how: `rerun`, decided.
        found: the quasar templates; empty if not known.

    Raises:
        RedrockError: templates are missing.
    """

    scratch: Path | None = None
    kept: Mapping[str, Path] = field(default_factory=dict)
    how: Literal["library", "program", "later"] = field(init=False)
    found: tuple[Template, ...] = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        how = self.rerun
        if how == "auto":
            here: Literal["library", "later"] = "library" if has_redrock() else "later"
            how = here if self.rrdesi is None else "program"
        known = how != "later" or self.templates
        object.__setattr__(self, "how", how)
        object.__setattr__(self, "found", find_quasar_templates(self.templates) if known else ())

    @property
    def program(self) -> str:
        """Redrock's program, or the Python that has it."""
        return self.rrdesi or "rrdesi"


@dataclass(frozen=True)
class Priors:
    """Flat priors of each row; a row can have several, each for a run of its own.

    Attributes:
        z: (n, k) centre; NaN where the row has no such prior.
        width: (n, k) FULL width in z; NaN likewise.
    """

    z: Floats
    width: Floats

    @property
    def present(self) -> NDArray[np.bool_]:
        """(n, k) True where there is a prior."""
        return np.isfinite(self.z) & np.isfinite(self.width)

    def contain(self, z: Floats) -> NDArray[np.bool_]:
        """Return (n, k) which priors allow these (n,) redshifts.

        >>> Priors(np.array([[2.0, np.nan]]), np.array([[0.1, np.nan]])).contain(np.array([2.04]))
        array([[ True, False]])
        """
        with np.errstate(invalid="ignore"):
            return np.asarray(np.abs(z[:, None] - self.z) <= self.width / 2)

    def only(self, kept: NDArray[np.bool_]) -> "Priors":
        """Return the same rows with some priors alone; ``kept`` (n, k) or (n, 1)."""
        return Priors(*(np.where(kept, part, np.nan) for part in (self.z, self.width)))


@dataclass(frozen=True)
class Run:
    """One run of redrock: at most one prior per target.

    Attributes:
        number: from 1, names its files.
        prior: which of the rows' priors this is, from 0.
        wide: in a wider window around that prior, to see which other fits there are. The run
            after it, of the same targets, takes its χ² at each redshift over: that is nearly all
            of redrock's work.
        target_id: (n,) int64, each once.
        z, width: (n,) the priors.
    """

    number: int
    prior: int
    wide: bool
    target_id: NDArray[np.int64]
    z: NDArray[np.float64]
    width: NDArray[np.float64]

    @property
    def prior_name(self) -> str:
        """Name of its prior file."""
        return f"priors-{self.number}.fits"

    @property
    def result_name(self) -> str:
        """Name of redrock's result."""
        return f"redrock-{self.number}.fits"


def has_redrock() -> bool:
    """Return whether redrock, and what its DESI reader needs, can be imported here."""
    return all(importlib.util.find_spec(name) for name in ("redrock", "desispec", "desiutil"))


def plan_runs(target_id: NDArray[np.int64], priors: Priors, window: float = 0.0) -> list[Run]:
    """Cut the priors of all rows into runs: a file holds one prior per target.

    Args:
        target_id: (n,) of the rows; where one repeats, its first row counts.
        priors: of the rows.
        window: if not 0, each run comes after a wide one with priors of at least this times 1 + z.
    """
    runs: list[Run] = []
    wide = np.fmax(priors.width, window * (1 + priors.z))
    for column in range(priors.z.shape[1]):
        rows = np.flatnonzero(priors.present[:, column])
        _, first = np.unique(target_id[rows], return_index=True)
        rows = rows[np.sort(first)]
        for start in range(0, len(rows), _MOST_TARGETS):
            some = rows[start : start + _MOST_TARGETS]
            for width, is_wide in ((wide, True), (priors.width, False)):
                if window or not is_wide:
                    prior = priors.z[some, column], width[some, column]
                    runs.append(Run(len(runs) + 1, column, is_wide, target_id[some], *prior))
    return runs


def clear_priors(priors: Priors, grids: tuple[Floats, ...], *, least: int) -> Priors:
    """Take out priors in which redrock would have too few redshifts to try.

    Redrock stops altogether, for all targets, if one of them has nothing to try.

    Args:
        priors: to look through.
        grids: redshifts each template is tried at.
        least: so many of them must lie inside, for at least one template.
    """
    reached = np.zeros(priors.z.shape, dtype=bool)
    low, high = priors.z - priors.width / 2, priors.z + priors.width / 2
    for grid in grids:
        ordered = np.sort(grid)
        inside = np.searchsorted(ordered, high, "left") - np.searchsorted(ordered, low, "right")
        reached |= inside >= least
    return priors.only(reached)


def write_priors(path: Path, target_id: NDArray[np.int64], z: Floats, width: Floats) -> None:
    """Write a prior file exactly as redrock.priors.Priors reads it.

    Args:
        path: the file.
        target_id: (n,) int64; the reader keeps one prior per target.
        z: (n,) centres.
        width: (n,) full widths; the column is called SIGMA.

    Raises:
        RedrockError: no rows, a repeated target, or a prior that is not finite.
    """
    good = np.isfinite(z) & np.isfinite(width) & (width > 0)
    if not len(target_id) or len(np.unique(target_id)) != len(target_id) or not good.all():
        raise RedrockError(
            f"{path}: {len(target_id)} priors, {np.sum(~good)} of them not finite, "
            f"{len(np.unique(target_id))} different targets; expected one finite prior per target"
        )
    # The reader takes the function of row 0 for all rows.
    function = np.full(len(target_id), b"tophat")
    dtype = [("TARGETID", "i8"), ("FUNCTION", function.dtype), ("Z", "f8"), ("SIGMA", "f8")]
    table = np.rec.fromarrays([target_id, function, z, width], dtype=np.dtype(dtype))
    with new_fits(path) as fits:
        fits.write(table, extname="PRIORS")


def run_redrock(coadd: Path, runs: Sequence[Run], options: RedrockOptions) -> list[RedrockFits]:
    """Run redrock with priors and return what it found, run by run.

    Everything temporary is in a folder that only this user can read, away from the input,
    and is removed whatever happens.

    Raises:
        RedrockError: redrock failed; the message has the end of its output.
    """
    if not runs:
        return []
    with tempfile.TemporaryDirectory(prefix="quasarloop-redrock-", dir=options.scratch) as name:
        folder, log = Path(name), Path(name, "log.txt")
        results = []
        for run in runs:
            arguments = _write_run(folder, coadd, run, runs, options)
            logger.info("redrock: %s %s", options.program, shlex.join(arguments))
            if options.how == "library":
                _as_library(arguments, log)
            else:
                _as_program(options.program, arguments, log)
            result = folder / run.result_name
            if not result.is_file():
                raise RedrockError(f"redrock wrote no result for run {run.number}{_tail(log)}")
            results.append(read_fits(result))
            for kind, path in options.kept.items():
                more = f"-{run.number}" if run.number > 1 else ""
                made = next(folder.glob(f"{kind}-{run.number}.*"))
                shutil.copyfile(made, path.with_stem(path.stem + more))
        return results


def _write_run(
    folder: Path, coadd: Path, run: Run, runs: Sequence[Run], options: RedrockOptions
) -> list[str]:
    """Write the prior file of a run; return rrdesi's arguments."""
    write_priors(folder / run.prior_name, run.target_id, run.z, run.width)
    more = []
    if run.wide or "details" in options.kept:
        more += ["--details", str(folder / f"details-{run.number}.h5")]
    if any(other.wide and other.number == run.number - 1 for other in runs):
        more += ["--chi2-scan", str(folder / f"details-{run.number - 1}.h5")]
    return [
        "--infiles", str(coadd),
        "--templates", *(str(template.path.resolve()) for template in options.found),
        # Negative numbers look like options: hence the space before the first one.
        "--targetids", " " + ",".join(map(str, run.target_id.tolist())),
        "--priors", str(folder / run.prior_name),
        "--mp", str(options.processes),
        "--outfile", str(folder / run.result_name),
        *more,
    ]  # fmt: skip


def _as_library(arguments: list[str], log: Path) -> None:
    with log.open("a", encoding="utf-8") as stream:
        try:
            # It prints; results of ours go to stdout. Its warnings are its own affair.
            with contextlib.redirect_stdout(stream), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                launch_redrock.main(arguments)
        except ImportError as exc:
            raise RedrockError(
                f"redrock cannot be imported ({exc}); pip install 'quasarloop[redrock]', or give "
                "the rrdesi of another environment with --rrdesi"
            ) from exc
        except (Exception, SystemExit) as exc:
            stream.flush()
            raise RedrockError(f"redrock failed: {exc!r}{_tail(log)}") from exc


def _as_program(program: str, arguments: list[str], log: Path) -> None:
    command = [program, *arguments]
    if Path(program).name.startswith("python"):  # of another environment: with the launcher
        command.insert(1, launch_redrock.__file__)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        with log.open("ab") as stream:
            done = subprocess.run(
                command, stdout=stream, stderr=stream, check=False, env=environment
            )
    except OSError as exc:
        raise RedrockError(
            f"cannot run {program} ({exc.strerror}); give the path of rrdesi with --rrdesi"
        ) from exc
    if done.returncode != 0:
        tail = _tail(log)
        hint = ""
        if "np.NaN" in tail:
            hint = (
                ". This redrock cannot read priors under its numpy 2: give its environment's "
                "python, not its rrdesi, with --rrdesi"
            )
        raise RedrockError(f"{program} ended with status {done.returncode}{hint}{tail}")


def _tail(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    return f". Its output ends:\n{text[-_LOG_TAIL:]}" if text else ""


_COMMANDS: Final = "redrock.sh"


def later_folder(output: Path) -> Path:
    """Return the folder beside an output that its rerun waits in.

    >>> later_folder(Path("out/qso_qn-1.fits.gz")).name
    'qso_qn-1-rerun'
    """
    stem = output.name.removesuffix(".gz").removesuffix(".fits")
    return output.with_name(f"{stem}-rerun")


def write_for_later(
    output: Path, coadd: Path, runs: Sequence[Run], options: RedrockOptions
) -> Path:
    """Write prior files, target lists and a shell script with the commands.

    Returns:
        The script.
    """
    folder = check_folder(later_folder(output))
    # Results of an earlier rerun must not be taken for those of this one.
    for pattern in ("priors-*.fits", "targets-*.txt", "redrock-*.fits", "*.h5", _COMMANDS):
        for path in folder.glob(pattern):
            path.unlink()
    lines = [
        "#!/bin/sh",
        "# Redrock with priors, to be run where redrock is. Then:",
        f"#   quasarloop afterburner --output {shlex.quote(str(output))} --finish",
        "set -e",
        'cd "$(dirname "$0")"',
    ]
    for run in runs:
        arguments = _write_run(folder, coadd.resolve(), run, runs, options)
        listed = "\n".join(map(str, run.target_id.tolist())) + "\n"
        with write_atomically(folder / f"targets-{run.number}.txt") as temporary:
            temporary.write_text(listed, encoding="ascii")
        words = [shlex.quote(word.removeprefix(f"{folder}/")) for word in arguments]
        if not options.found:
            # Not known here: the place the survey's environments name.
            here = '"${RR_TEMPLATE_DIR:?}"/rrtemplate-QSO-*.fits'
            words.insert(words.index("--templates") + 1, here)
        lines.append(" ".join([shlex.quote(options.program), *words]))
    script = folder / _COMMANDS
    with write_atomically(script) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return script
