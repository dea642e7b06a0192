"""``quasarloop evaluate``: a catalogue against truth; ``repeats``, ``compare``, ``oscillation``."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from quasarloop.classes import CONFIDENCE_THRESHOLD
from quasarloop.cli.common import Truth, Unvetted, print_table
from quasarloop.errors import reading
from quasarloop.grid import LOG_GRID
from quasarloop.lines import line_label

__all__ = ["app", "compare", "oscillation", "repeats"]

_OF_US = "give catalogues of quasarloop classify"

app = typer.Typer(invoke_without_command=True)


@app.callback()
def evaluate(
    context: typer.Context,
    catalogue: Annotated[
        list[Path] | None,
        typer.Option(help="Catalogue of quasarloop classify; give several to compare them."),
    ] = None,
    truth: Truth = None,
    unvetted: Unvetted = False,
    out: Annotated[Path, typer.Option(help="Folder for the numbers and the figure.")] = Path(
        "evaluation"
    ),
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Confidence threshold of the numbers. Default: the catalogue's."
        ),
    ] = None,
    n_lines: Annotated[
        int | None,
        typer.Option(min=1, help="Lines that must be above the threshold. Default: likewise."),
    ] = None,
) -> None:
    """Completeness, purity and redshift errors against truth; repeats; comparisons.

    Example: [bold]quasarloop evaluate --catalogue quasars.fits --truth truth.csv --out eval[/]
    """
    if context.invoked_subcommand is not None:
        return
    if not catalogue or not truth:
        raise typer.BadParameter("give --catalogue and --truth, or a subcommand; see --help")
    from quasarloop.artefacts import check_folder
    from quasarloop.catalogue.classify import catalogue_thresholds, line_columns, read_catalogue
    from quasarloop.evaluate.figures import judgement_figure, save_figure
    from quasarloop.evaluate.judge import judge_catalogue, judgement_record
    from quasarloop.read import read_truths
    from quasarloop.tables import read_record

    folder = check_folder(out)
    labels = read_truths(truth, unvetted=unvetted)
    judgements = {}
    for path in catalogue:
        block = read_catalogue(path, ["TARGETID"], judged=True)
        thresholds = catalogue_thresholds(read_record(path)).replaced(threshold, n_lines)
        with reading(_names(path, *truth), "a catalogue", _OF_US):
            judgements[path.stem] = judge_catalogue(
                block, labels, lines=line_columns(block), thresholds=thresholds
            )
    save_figure(judgement_figure(judgements), folder / "evaluation.png")
    numbers = {name: judgement_record(judgement) for name, judgement in judgements.items()}
    _print_judgements(json.loads(json.dumps(numbers)))
    _finish(folder, "evaluation", {"judgements": numbers}, [*catalogue, *truth])


def _print_judgements(numbers: dict[str, dict[str, Any]]) -> None:
    rows: dict[str, Callable[[dict[str, Any]], str]] = {
        "spectra judged (quasars)": lambda n: f"{n['n_judged']} ({n['n_true']})",
        "completeness": lambda n: _share(n["completeness"]),
        "purity": lambda n: _share(n["purity"]),
        "stars, galaxies called quasars": lambda n: (
            f"{n['false_found']['STAR']}, {n['false_found']['GALAXY']}"
        ),
        "complete at purity": lambda n: ", ".join(
            f"{purity}: {value:.3f}" for purity, value in n["completeness_at_purity"].items()
        ),
        "redshift right within 0.05(1+z)": lambda n: _share(n["redshift"]["right"]),
        "redshift NMAD, Δz/(1+z)": lambda n: (
            "–" if n["redshift"]["nmad"] is None else f"{n['redshift']['nmad']:.5f}"
        ),
    }
    cells = ([title, *map(cell, numbers.values())] for title, cell in rows.items())
    print_table("against truth", ["", *numbers], cells)


def _share(record: dict[str, Any]) -> str:
    if record["value"] is None:
        return "–"
    return (
        f"{record['value']:.3f} ({record['low']:.3f}–{record['high']:.3f}), "
        f"{record['part']}/{record['whole']}"
    )


Catalogues = Annotated[
    list[Path], typer.Option("--catalogue", help="Catalogue; one per weights file, repeatable.")
]
SameObjects = Annotated[
    list[Path] | None,
    typer.Option(help="Truth tables; they also name the targets that are one object."),
]
Out = Annotated[Path, typer.Option(help="Folder for numbers and figures.")]
Joint = Annotated[
    bool, typer.Option("--joint", help="Redshifts of all lines together (Z_JOINT), not of one.")
]


@app.command()
def repeats(
    catalogue: Catalogues,
    truth: SameObjects = None,
    unvetted: Unvetted = False,
    joint: Joint = False,
    out: Out = Path("evaluation-repeats"),
) -> None:
    """Repeat exposures: how consistent are class and redshift (paper, Figs. 8 and 9)?

    Example: [bold]quasarloop evaluate repeats --catalogue old.fits --catalogue quasars.fits[/]
    """
    from quasarloop.evaluate.figures import save_figure
    from quasarloop.evaluate.redshift_figures import confusion_figure, scatter_figure
    from quasarloop.evaluate.repeats import catalogue_repeats, repeats_record, scatter_in_bins

    column = _column(joint)
    folder, labels, blocks = _open(out, catalogue, column, truth, unvetted=unvetted)
    with reading(_names(*catalogue, *(truth or [])), "catalogues", _OF_US):
        found = {name: catalogue_repeats(block, column, labels) for name, block in blocks.items()}
        bins = {name: scatter_in_bins(one) for name, one in found.items()}
    save_figure(confusion_figure(found), folder / "repeats_confusion.png")
    save_figure(scatter_figure(bins), folder / "repeats_scatter.png")
    numbers = {name: repeats_record(one, bins[name]) for name, one in found.items()}
    _finish(folder, "repeats", {"numbers": numbers}, [*catalogue, *(truth or [])])
    names = ("objects", "confused", "mean_entropy_bits", "always_qso", "median_z_std")
    rows = ([row, *(_cell(one[row]) for one in numbers.values())] for row in names)
    print_table("repeat exposures", ["", *numbers], rows)


@app.command()
def compare(
    a: Annotated[Path, typer.Option(help="Catalogue, or weights file with --spectra.")],
    b: Annotated[Path, typer.Option(help="Catalogue, or weights file with --spectra.")],
    spectra: Annotated[
        list[Path] | None,
        typer.Option(help="Spectra or store to classify, if --a and --b are weights files."),
    ] = None,
    cosmology: Annotated[
        str, typer.Option(help="astropy name, H0=67.4,Om0=0.315 (flat), or with Ode0=0.68 curved.")
    ] = "Planck18",
    joint: Joint = False,
    out: Out = Path("evaluation-compare"),
) -> None:
    """Two weights files on the same spectra: redshifts, line confusions (Fig. 10, Table 1).

    Example: [bold]quasarloop evaluate compare --a old.h5 --b W.h5 --spectra sky[/]
    """
    from quasarloop.evaluate.compare import compare_redshifts, comparison_record, same_rows
    from quasarloop.evaluate.figures import save_figure
    from quasarloop.evaluate.redshift_figures import comparison_figure

    paths = [_as_catalogue(path, spectra, out, name) for path, name in ((a, "a"), (b, "b"))]
    column = _column(joint)
    folder, _, blocks = _open(out, paths, column, names=["a", "b"])
    with reading(_names(a, b), "catalogues", _OF_US):
        rows_a, rows_b = same_rows(blocks["a"], blocks["b"])
        first = {name: values[rows_a] for name, values in blocks["a"].items()}
        second = {name: values[rows_b] for name, values in blocks["b"].items()}
        result = compare_redshifts(
            first["IS_QSO"], first[column], second["IS_QSO"], second[column], cosmology=cosmology
        )
    save_figure(comparison_figure(result, a.stem, b.stem), folder / "compare.png")
    record = {"cosmology": cosmology, **comparison_record(result, a.stem, b.stem)}
    _finish(folder, "compare", {"numbers": record}, paths)
    confusions = record.pop("confusions")
    print_table("comparison", ["", ""], ([name, _cell(value)] for name, value in record.items()))
    print_table(
        "line confusions",
        [f"by {a.stem}", f"by {b.stem}", "spectra"],
        ([line_label(row["a"]), line_label(row["b"]), str(row["n"])] for row in confusions),
    )


@app.command()
def oscillation(
    catalogue: Catalogues,
    truth: SameObjects = None,
    unvetted: Unvetted = False,
    line: Annotated[
        list[str] | None, typer.Option(help="Line column, e.g. CIV; default LYA, CIV, CIII, MgII.")
    ] = None,
    min_confidence: Annotated[
        float, typer.Option(min=0, max=1, help="Use lines at least this confident.")
    ] = CONFIDENCE_THRESHOLD,
    grid: Annotated[str, typer.Option(help="The networks' grid: log or linear.")] = LOG_GRID.kind,
    n_boxes: Annotated[
        int | None, typer.Option(min=2, help="The networks' boxes; default QuasarNET's.")
    ] = None,
    joint: Annotated[
        bool, typer.Option("--joint", help="Measure Z_JOINT beside the lines' own redshifts.")
    ] = False,
    out: Out = Path("evaluation-oscillation"),
) -> None:
    """Do line positions clump in the boxes? Amplitude in km/s, with truth and without.

    Example: [bold]quasarloop evaluate oscillation --catalogue quasars.fits --truth truth.csv[/]
    """
    from quasarloop.evaluate.figures import save_figure
    from quasarloop.evaluate.oscillation import measure_lines
    from quasarloop.evaluate.redshift_figures import oscillation_figure
    from quasarloop.network.config import NetworkConfig

    folder, labels, blocks = _open(out, catalogue, _column(joint), truth, unvetted=unvetted)
    with reading(_names(*catalogue, *(truth or [])), "catalogues", _OF_US):
        found = measure_lines(
            blocks,
            labels,
            line_columns=line or ["LYA", "CIV", "CIII", "MgII"],
            min_confidence=min_confidence,
            grid_name=grid,
            n_boxes=n_boxes or NetworkConfig().n_boxes,
            joint=joint,
        )
    for kind, by_line in found.items():
        if by_line:
            save_figure(oscillation_figure(by_line), folder / f"oscillation_{kind}.png")
    numbers = {
        f"{kind}, {name}, {label}": {
            "half amplitude, km/s": one.half_amplitude_kms,
            "error, km/s": one.error_kms,
            "noise alone, km/s": one.noise_kms,
            "lines": one.n,
        }
        for kind, by_line in found.items()
        for name, by_label in by_line.items()
        for label, one in by_label.items()
    }
    _finish(folder, "oscillation", {"numbers": numbers}, [*catalogue, *(truth or [])])
    columns = ("half amplitude, km/s", "error, km/s", "noise alone, km/s", "lines")
    rows = ([name, *(f"{one[column]:.0f}" for column in columns)] for name, one in numbers.items())
    print_table("oscillation", ["", *columns], rows)


def _open(
    out: Path,
    catalogues: list[Path],
    column: str,
    truth: list[Path] | None = None,
    names: list[str] | None = None,
    *,
    unvetted: bool = False,
) -> Any:
    from quasarloop.artefacts import check_folder
    from quasarloop.catalogue.classify import read_catalogue
    from quasarloop.read import read_truths

    folder = check_folder(out)
    labels = read_truths(truth, unvetted=unvetted) if truth else None
    needed = ["TARGETID", "OBJECT_ID", "IS_QSO", column, "FLAGS"]
    keys = names or [path.stem for path in catalogues]
    blocks = {key: read_catalogue(path, needed) for key, path in zip(keys, catalogues, strict=True)}
    return folder, labels, blocks


def _names(*paths: Path) -> str:
    return " and ".join(map(str, paths))


def _column(joint: bool) -> str:
    return "Z_JOINT" if joint else "Z_BEST"


def _as_catalogue(path: Path, spectra: list[Path] | None, out: Path, name: str) -> Path:
    from quasarloop.artefacts import check_folder
    from quasarloop.catalogue.classify import classify_to_file

    if spectra is None:
        return path
    made = check_folder(out) / f"catalogue_{name}.parquet"
    classify_to_file(spectra, made, weights=path, overwrite=True)
    return made


def _finish(folder: Path, name: str, content: dict[str, Any], inputs: list[Path]) -> None:
    from quasarloop.artefacts import checksum, versions, write_manifest

    sums = {str(path): checksum(path) for path in inputs}
    write_manifest(folder / f"{name}.json", {**content, "inputs": sums, "versions": versions()})
    typer.echo(f"figures and numbers -> {folder}")


def _cell(value: Any) -> str:
    return f"{value:.5f}" if isinstance(value, float) else str(value)
