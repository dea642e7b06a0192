"""Which files belong together: redrock's, and what other steps made of the same spectra."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from quasarloop.errors import DataFormatError

__all__ = ["companion", "find_redrocks", "opinion_files"]

_PREFIX: Final = "redrock-"
_PACKED: Final = ".gz"


def find_redrocks(paths: Sequence[str | Path]) -> list[Path]:
    """Expand folders into the redrock files below them, sorted; files stay as given.

    Raises:
        DataFormatError: a path does not exist, or a folder has none.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            below = sorted(p for end in ("", _PACKED) for p in path.rglob(f"{_PREFIX}*.fits{end}"))
            if not below:
                raise DataFormatError(f"{path}: no {_PREFIX}*.fits in this folder or below")
            found += below
        elif path.is_file():
            found.append(path)
        else:
            raise DataFormatError(f"{path}: no such file or folder; check the name")
    return found


def companion(redrock: Path, prefix: str, folder: str | Path | None = None) -> Path:
    """Return the file of the same spectra that another step made, whether it is there or not.

    Args:
        redrock: ``redrock-NAME.fits``.
        prefix: ``"coadd-"``, ``"qso_qn-"``, ...; of NAME.fits and NAME.fits.gz the one that is
            there.
        folder: where it is, there itself or in folders as those of the redrock file; None is
            beside the redrock file.

    Raises:
        DataFormatError: the redrock file has another kind of name.
    """
    if not redrock.name.startswith(_PREFIX):
        raise DataFormatError(
            f"{redrock}: expected a name {_PREFIX}…, from which those of the other files follow"
        )
    plain = prefix + redrock.name.removeprefix(_PREFIX).removesuffix(_PACKED)
    folders = [redrock.parent]
    if folder is not None:
        parts = redrock.parent.parts
        # The longest common path wins: several folders may hold files of one name.
        folders = [Path(folder).joinpath(*parts[start:]) for start in range(1, len(parts) + 1)]
    candidates = [place / (plain + end) for place in folders for end in ("", _PACKED)]
    return next((path for path in candidates if path.is_file()), folders[-1] / plain)


def opinion_files(
    redrock: Path,
    network_dir: str | Path | None,
    mgii: Literal["auto", "file", "fit", "none"],
) -> tuple[Path, Path | None, Path | None]:
    """Return the qso_qn file, and a qso_mgii file or a coadd to fit (or neither).

    Raises:
        DataFormatError: one that is needed is not there.
    """
    network = companion(redrock, "qso_qn-", network_dir)
    if not network.is_file():
        raise DataFormatError(
            f"{network} is missing; make it with quasarloop afterburner, or say where it is"
        )
    fitted, coadd = companion(redrock, "qso_mgii-"), companion(redrock, "coadd-")
    if mgii == "none":
        return network, None, None
    if mgii != "fit" and fitted.is_file():
        return network, fitted, None
    if mgii != "file" and coadd.is_file():
        return network, None, coadd
    wanted = {"file": fitted.name, "fit": coadd.name, "auto": f"{fitted.name} or {coadd.name}"}
    raise DataFormatError(f"no {wanted[mgii]} beside {redrock}; put it there, or go without Mg II")
