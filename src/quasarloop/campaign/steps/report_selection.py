"""The report's part on what was chosen, and why the rest was not."""

from typing import Any

import numpy as np
import polars as pl

from quasarloop.artefacts import read_manifest
from quasarloop.campaign.parts import truth_set
from quasarloop.campaign.state import Context
from quasarloop.campaign.steps.map import CELLS_NAME
from quasarloop.campaign.steps.selection import CHOSEN_NAME, OUTLIERS_NAME, STEPS_NAME
from quasarloop.evaluate.report import Picture, Section, Table
from quasarloop.evaluate.selection_figures import score_figure
from quasarloop.evaluate.som_figures import chosen_figure, counts_by_class, counts_figure
from quasarloop.evaluate.spectrum_figures import outlier_panels, outliers_figure
from quasarloop.query.cells import read_cells

__all__ = ["selection_section"]


def selection_section(context: Context) -> Section:
    """Return the count table and Figs. 2 to 4."""
    record = read_manifest(context.step_folder("selection") / STEPS_NAME)
    rows = [["all spectra", "", f"{record['n_spectra']:,}"]]
    rows += [[s["what"], f"{s['removed']:,}", f"{s['left']:,}"] for s in record["steps"]]
    table = Table("From all spectra to the chosen ones", ["step", "removed", "left"], rows)
    pictures = [*_map_pictures(context, record), _score_picture(context, record)]
    return Section("What was chosen", (), [table], [*pictures, *_outlier_pictures(context)])


def _map_pictures(context: Context, record: dict[str, Any]) -> list[Picture]:
    path = context.step_folder("map") / CELLS_NAME
    if not path.is_file():
        return []
    cells_file = read_cells(path)
    frame = cells_file.scan().select("TARGETID", "CELL").collect()
    by_class = counts_by_class(
        frame["TARGETID"].to_numpy(),
        frame["CELL"].to_numpy(),
        truth_set(context, context.round_number),
        cells_file.cells,
    )
    counts, least = np.array(record["counts"], dtype=np.int64), float(record["least_count"])
    chosen = pl.read_parquet(context.step_folder("selection") / CHOSEN_NAME)
    return [
        Picture(
            "The map",
            counts_figure(counts, by_class, cells_file.cells, least),
            "Spectra in every cell of the map: all of the pool, and those with a label, class by "
            "class; cells below the cut are outlined (paper, Fig. 2).",
        ),
        Picture(
            "Where the chosen ones lie",
            chosen_figure(counts, cells_file.cells, least, chosen["CELL"].to_numpy()),
            "Chosen spectra (dots, larger for more) over the counts of the map.",
        ),
    ]


def _score_picture(context: Context, record: dict[str, Any]) -> Picture:
    cut = float("nan") if record["score_cut"] is None else float(record["score_cut"])
    score = context.config.selection.score
    return Picture(
        "How confused the ensemble is",
        score_figure(np.array(record["edges"]), np.array(record["histogram"]), cut, score),
        "Scores of the objects that could be chosen; the line is the lowest score chosen "
        "(paper, Fig. 3).",
    )


def _outlier_pictures(context: Context) -> list[Picture]:
    outliers = pl.read_parquet(context.step_folder("selection") / OUTLIERS_NAME)
    panels = outlier_panels(outliers)
    if not panels:
        return []
    caption = "The most confused spectra that the map rejected, as observed and smoothed (Fig. 4)."
    return [Picture("Rejected outliers", outliers_figure(panels), caption)]
