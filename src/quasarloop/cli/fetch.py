"""``quasarloop fetch``: public spectra of DESI, SDSS and SPARCL."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quasarloop.cli.common import progress_bar
from quasarloop.errors import DataFormatError

if TYPE_CHECKING:
    from quasarloop.fetch import Remote

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Fetch public spectra. What is there already, by its checksum, is not fetched again.",
)

Out = Annotated[Path, typer.Option(help="Folder for the files; made if needed.")]


@app.command()
def desi(
    out: Out,
    tile: Annotated[int | None, typer.Option(help="TILEID.")] = None,
    night: Annotated[
        int | None, typer.Option(help="The tile's last night. Default: from the list of tiles.")
    ] = None,
    petal: Annotated[
        list[int] | None, typer.Option(min=0, max=9, help="Petals; give several. Default: all.")
    ] = None,
    healpix: Annotated[
        list[int] | None, typer.Option(min=0, max=49151, help="Healpix pixels; give several.")
    ] = None,
    survey: Annotated[str, typer.Option(help="With --healpix: main, sv1, sv3, …")] = "main",
    program: Annotated[str, typer.Option(help="With --healpix: dark, bright, …")] = "dark",
    release: Annotated[str, typer.Option(help="dr1 (iron) or edr (fuji).")] = "dr1",
) -> None:
    """Fetch coadds of DESI: 100 to 200 MB each.

    Example: [bold]quasarloop fetch desi --tile 80605 --petal 0 --release edr --out desi[/]
    """
    from quasarloop.fetch import desi_healpix, desi_tile

    if (tile is None) == (not healpix):
        raise DataFormatError("give either --tile or --healpix")
    if tile is not None:
        _fetch(desi_tile(tile, night, petal or [], release), out)
    else:
        _fetch(desi_healpix(healpix or [], survey, program, release), out)


@app.command()
def sdss(
    out: Out,
    mjd: Annotated[int, typer.Option(help="MJD of the observation.")],
    plate: Annotated[int | None, typer.Option(help="Plate of SDSS, BOSS or eBOSS.")] = None,
    fiber: Annotated[
        list[int] | None, typer.Option(min=1, help="Fibres of the plate. Default: spPlate, all.")
    ] = None,
    field: Annotated[int | None, typer.Option(help="Field of SDSS-V.")] = None,
    catalogid: Annotated[
        list[int] | None, typer.Option(help="Targets of the field. Default: spField, all.")
    ] = None,
) -> None:
    """Fetch spectra of SDSS: DR17 by plate, DR19 by field.

    Example: [bold]quasarloop fetch sdss --plate 7102 --mjd 56666 --fiber 82 --out sdss[/]
    """
    from quasarloop.fetch import sdss_field, sdss_plate

    if (plate is None) == (field is None):
        raise DataFormatError("give either --plate or --field")
    if plate is not None:
        _fetch(sdss_plate(plate, mjd, fiber or []), out)
    elif field is not None:
        _fetch(sdss_field(field, mjd, catalogid or []), out)


@app.command()
def sparcl(
    store: Annotated[Path, typer.Option(help="Store the spectra go into; made if needed.")],
    ids: Annotated[list[str], typer.Option(help="sparcl_ids, or a file with one per line.")],
) -> None:
    """Fetch spectra of NOIRLab's SPARCL into a store (the extra sparcl).

    Example: [bold]quasarloop fetch sparcl --ids my-ids.txt --store sky[/]
    """
    from quasarloop.fetch import fetch_sparcl

    wanted = [one for item in ids for one in _lines(item)]
    with progress_bar() as progress:
        task = progress.add_task("fetch", total=len(wanted), note="")
        summaries = fetch_sparcl(wanted, store, on_batch=lambda n: progress.advance(task, n))
    typer.echo(f"{sum(summary.n_rows for summary in summaries)} spectra -> {store}")


def _lines(item: str) -> list[str]:
    if Path(item).is_file():
        return Path(item).read_text(encoding="utf-8").split()
    return [item]


def _fetch(remotes: "list[Remote]", out: Path) -> None:
    from quasarloop.fetch import fetch_files

    with progress_bar() as progress:
        task = progress.add_task("fetch", total=len(remotes), note="")
        files = fetch_files(remotes, out, lambda path: progress.advance(task))
    for path in files:
        typer.echo(f"-> {path}")
