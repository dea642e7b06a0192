"""Public spectra for a start: files of DESI and SDSS by their addresses, SPARCL's by identifier.

Files keep the names of the survey. ``checksums.sha256`` beside them holds the SHA-256 of each, as
sha256sum writes it: what is there and unchanged is not fetched again. A transfer that was cut off
goes on where it ended.
"""

import csv
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import pooch
import requests

from quasarloop.artefacts import check_folder, checksum, write_atomically
from quasarloop.errors import DataFormatError, OutputError
from quasarloop.store import IngestSummary, ingest

__all__ = [
    "CHECKSUMS",
    "DESI",
    "RELEASES",
    "SDSS",
    "Remote",
    "desi_healpix",
    "desi_tile",
    "fetch_files",
    "fetch_sparcl",
    "sdss_field",
    "sdss_plate",
]

CHECKSUMS: Final = "checksums.sha256"
# Source: https://data.desi.lbl.gov/doc/releases and desihub/desidatamodel, doc/DESI_SPECTRO_REDUX.
DESI: Final = "https://data.desi.lbl.gov/public"
# Release -> name of its spectroscopic production.
RELEASES: Final = {"dr1": "iron", "edr": "fuji"}
# Source: https://www.sdss.org/dr19/data_access and sdss/tree, data/dr17.cfg and data/dr19.cfg.
SDSS: Final = "https://data.sdss.org/sas"
_BOSS: Final = "dr17/eboss/spectro/redux/v5_13_2"
_SDSS_I: Final = "dr17/sdss/spectro/redux/26"
_SDSS_V: Final = "dr19/spectro/boss/redux/v6_1_3"
# The first plate of BOSS; those before are of SDSS-I and II. Source: SDSS DR17, platelist.fits.
_FIRST_BOSS_PLATE: Final = 3510
_PETALS: Final = range(10)
_TIMEOUT_S: Final = 60
# At most so many bytes are lost where a transfer is cut off.
_CHUNK: Final = 2**16
# Records of SPARCL requested at once, and what of them. Source: sparclclient, client.retrieve.
_RECORDS: Final = 500
_FIELDS: Final = ("sparcl_id", "specid", "ra", "dec", "wavelength", "flux", "ivar")


class Remote(NamedTuple):
    """A file of a survey: its address, and its name below the folder it is fetched to."""

    url: str
    name: str


def desi_tile(
    tile: int, night: int | None, petals: Sequence[int], release: str, base: str = DESI
) -> list[Remote]:
    """Return the coadds of a tile, one per petal.

    Args:
        tile: TILEID.
        night: last night of the coadd, YYYYMMDD; None takes it from the release's list of tiles.
        petals: 0 to 9; empty takes all.
        release: of `RELEASES`.
        base: address of all releases.

    Raises:
        DataFormatError: no such tile in that list, or the list cannot be had.
    """
    redux = _redux(release, base)
    last = (
        night if night is not None else _last_night(tile, f"{redux}/tiles-{RELEASES[release]}.csv")
    )
    folder = f"{redux}/tiles/cumulative/{tile}/{last}"
    names = [f"coadd-{petal}-{tile}-thru{last}.fits" for petal in petals or _PETALS]
    return [Remote(f"{folder}/{name}", f"{tile}/{name}") for name in names]


def desi_healpix(
    pixels: Iterable[int], survey: str, program: str, release: str, base: str = DESI
) -> list[Remote]:
    """Return the coadds of healpix pixels (nside 64, nested) of a survey and program."""
    names = [(pixel, f"coadd-{survey}-{program}-{pixel}.fits") for pixel in pixels]
    folder = f"{_redux(release, base)}/healpix/{survey}/{program}"
    return [Remote(f"{folder}/{pixel // 100}/{pixel}/{name}", name) for pixel, name in names]


def sdss_plate(plate: int, mjd: int, fibers: Sequence[int], base: str = SDSS) -> list[Remote]:
    """Return spectra of a plate of SDSS, BOSS or eBOSS; without fibres its file of all of them."""
    redux = f"{base}/{_BOSS if plate >= _FIRST_BOSS_PLATE else _SDSS_I}"
    if not fibers:
        name = f"spPlate-{plate:04d}-{mjd}.fits"
        return [Remote(f"{redux}/{plate:04d}/{name}", name)]
    names = [f"spec-{plate:04d}-{mjd}-{fiber:04d}.fits" for fiber in fibers]
    folder = f"{redux}/spectra/lite/{plate:04d}"
    return [Remote(f"{folder}/{name}", f"{plate:04d}/{name}") for name in names]


def sdss_field(field: int, mjd: int, targets: Sequence[int], base: str = SDSS) -> list[Remote]:
    """Return spectra of a field of SDSS-V by CATALOGID; without any its file of all of them."""
    redux = f"{base}/{_SDSS_V}"
    if not targets:
        name = f"spField-{field:06d}-{mjd}.fits"
        return [Remote(f"{redux}/{field:06d}/{name}", name)]
    names = [f"spec-{field:06d}-{mjd}-{target}.fits" for target in targets]
    folder = f"{redux}/spectra/lite/{field:06d}/{mjd}"
    return [Remote(f"{folder}/{name}", f"{field:06d}/{name}") for name in names]


def fetch_files(
    remotes: Iterable[Remote],
    out: str | Path,
    on_file: Callable[[Path], None] = lambda path: None,
) -> list[Path]:
    """Fetch files that are not there yet.

    Args:
        remotes: what to fetch.
        out: folder; made if needed.
        on_file: called with each file once it is there.

    Returns:
        The files, in order.

    Raises:
        DataFormatError: an address that cannot be had, or a file that differs from its checksum.
        OutputError: the folder cannot be written.
    """
    folder = check_folder(out)
    known = _read_checksums(folder / CHECKSUMS)
    files = []
    for remote in remotes:
        target = folder / remote.name
        check_folder(target.parent)
        part = target.with_name(f".{target.name}.part")
        sha = known.get(remote.name)
        try:
            pooch.retrieve(
                remote.url,
                None if sha is None else f"sha256:{sha}",
                fname=target.name,
                path=target.parent,
                downloader=partial(_download, part=part),
            )
        except requests.RequestException as exc:
            raise DataFormatError(f"{remote.url}: {_reason(exc)}") from exc
        except ValueError as exc:
            raise DataFormatError(
                f"{remote.url} is not the file that was fetched before ({CHECKSUMS} in {folder}); "
                f"remove the line of {remote.name} there to take the new one"
            ) from exc
        except OSError as exc:
            raise OutputError(f"{target}: cannot be written ({exc.strerror or exc})") from exc
        if sha is None:
            known[remote.name] = checksum(target)
            _write_checksums(folder / CHECKSUMS, known)
        files.append(target)
        on_file(target)
    return files


def fetch_sparcl(
    ids: Sequence[str],
    store: str | Path,
    *,
    client: Any = None,
    on_batch: Callable[[int], None] = lambda n: None,
) -> list[IngestSummary]:
    """Fetch spectra of SPARCL into a store, in batches; those already there are skipped.

    Args:
        ids: sparcl_ids.
        store: folder of the store; made if needed.
        client: of sparclclient; None makes one.
        on_batch: called with the number of spectra of each batch.

    Raises:
        DataFormatError: sparclclient is missing, or SPARCL has none of the spectra.
    """
    server = client or _sparcl_client()
    summaries = []
    for start in range(0, len(ids), _RECORDS):
        batch = list(ids[start : start + _RECORDS])
        got = server.retrieve(uuid_list=batch, include=list(_FIELDS), limit=len(batch))
        if not len(got.records):
            raise DataFormatError(
                f"SPARCL has none of {len(batch)} spectra (first: {batch[0]}); give its sparcl_ids"
            )
        summaries.append(ingest(got, store))
        on_batch(len(got.records))
    return summaries


def _redux(release: str, base: str) -> str:
    if release not in RELEASES:
        raise DataFormatError(f"no release {release!r} of DESI; known are {', '.join(RELEASES)}")
    return f"{base}/{release}/spectro/redux/{RELEASES[release]}"


def _last_night(tile: int, url: str) -> int:
    try:
        reply = requests.get(url, timeout=_TIMEOUT_S)
        reply.raise_for_status()
    except requests.RequestException as exc:
        raise DataFormatError(f"{url}: {_reason(exc)}; or give the tile's --night") from exc
    for row in csv.DictReader(reply.text.splitlines()):
        if row.get("TILEID") == str(tile):
            return int(row["LASTNIGHT"])
    raise DataFormatError(f"{url} has no tile {tile}; check its number and the release")


def _download(url: str, output_file: str, _: Any, *, part: Path) -> None:
    """Download for pooch; what an earlier try left in ``part`` is not fetched again."""
    done = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as reply:
        if reply.status_code == requests.codes.requested_range_not_satisfiable:
            part.unlink()  # longer than the file is now
            return _download(url, output_file, _, part=part)
        reply.raise_for_status()
        goes_on = reply.status_code == requests.codes.partial_content
        with part.open("ab" if goes_on else "wb") as stream:
            for chunk in reply.iter_content(_CHUNK):
                stream.write(chunk)
    part.replace(output_file)
    return None


def _reason(exc: requests.RequestException) -> str:
    if exc.response is not None:
        return (
            f"the survey's server replied {exc.response.status_code} {exc.response.reason}; check "
            "tile, night, pixel, plate or field, and the release"
        )
    return (
        f"cannot be fetched ({type(exc).__name__}); check the network and run the same command "
        "again: what is there is kept"
    )


def _read_checksums(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    pairs = (line.split(maxsplit=1) for line in lines if line.strip())
    return {pair[1].strip().lstrip("*"): pair[0] for pair in pairs if len(pair) > 1}


def _write_checksums(path: Path, known: dict[str, str]) -> None:
    with write_atomically(path) as temporary:
        text = "".join(f"{sha}  {name}\n" for name, sha in sorted(known.items()))
        temporary.write_text(text, encoding="utf-8")


def _sparcl_client() -> Any:
    try:
        from sparcl.client import SparclClient  # noqa: PLC0415 -- an extra
    except ImportError as exc:
        raise DataFormatError(
            'sparclclient is missing; install it with: pip install "quasarloop[sparcl]"'
        ) from exc
    return SparclClient(announcement=False)
