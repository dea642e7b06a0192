"""``quasarloop select``: choose what experts look at next."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from quasarloop.cli.common import OptionsOf, Truth, Unvetted, print_table, with_options
from quasarloop.query.options import SelectionOptions

__all__ = ["select"]


@with_options(
    options=OptionsOf(
        SelectionOptions(),
        names={
            "surveys": "--survey",
            "programs": "--program",
            "spread": "--spread",
            "n_outliers": "--outliers",
        },
        leave_out=("per_cell",),
    )
)
def select(
    *,
    votes: Annotated[Path, typer.Option(help="Votes of `quasarloop ensemble vote`.")],
    out: Annotated[Path, typer.Option(help="Folder of the selection; made if needed.")],
    som: Annotated[
        Path | None,
        typer.Option(help="Cells of `quasarloop som fit` or `assign`; without, no outlier is cut."),
    ] = None,
    truth: Truth = None,
    unvetted: Unvetted = False,
    store: Annotated[
        Path | None,
        typer.Option(help="The store voted on: adds files and rows, needed by --spread."),
    ] = None,
    options: SelectionOptions,
    per_cell: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="At most so many objects of one map cell; 0: no limit. Default: 2 (with --spread "
            "or --class-share: no limit).",
        ),
    ] = None,
    class_share: Annotated[
        list[str] | None,
        typer.Option(help="Share of a predicted class, e.g. NOT_QSO=0.5; give one for each."),
    ] = None,
    exclude: Annotated[
        list[Path] | None, typer.Option(help="TARGETIDs not to show: text, CSV or Parquet.")
    ] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="Do not refuse this flag, e.g. ARM_B_MASKED.")
    ] = None,
    reasons: Annotated[
        Path | None, typer.Option(help="Also write the reason of every spectrum (Parquet).")
    ] = None,
    figures: Annotated[
        bool,
        typer.Option(help="Draw the scores (Fig. 3), where the chosen lie, outliers (Fig. 4)."),
    ] = True,
) -> None:
    """Choose the spectra whose labels would teach the networks most.

    In the paper's order: outliers of the map go, one spectrum of each object stays, objects with
    labels go, the highest scores are chosen. Every step is counted.

    Example: [bold]quasarloop select --votes votes-1 --som map.cells.parquet --truth truth.csv
    --n 1000 --outliers 100 --out round2[/]
    """
    from functools import partial

    from quasarloop.query.options import RECOMMENDED_PER_CELL, KnownObjects, refused_flags
    from quasarloop.query.select import reasons_of, write_reasons
    from quasarloop.query.select import select as choose
    from quasarloop.query.selection_files import store_features, with_sources, write_selection
    from quasarloop.query.som_files import cells_beside
    from quasarloop.query.votes_input import read_target_ids, read_votes_table
    from quasarloop.read import read_truths
    from quasarloop.store import open_store

    shares = _shares(class_share or ())
    usual = 0 if options.spread or shares else RECOMMENDED_PER_CELL
    options = replace(
        options,
        refused=refused_flags(allow or ()),
        per_cell=(usual if per_cell is None else per_cell) or None,
        class_shares=shares,
    )
    labels = read_truths(truth, unvetted=unvetted) if truth else None
    known = None if labels is None else KnownObjects(labels.target_id, labels.object_id)
    hidden = KnownObjects(read_target_ids(exclude)) if exclude else None
    cells = None if som is None else cells_beside(som)
    table = read_votes_table(votes)
    opened = None if store is None else open_store(store)
    features = None if opened is None else partial(store_features, opened)
    found = choose(table, cells, truth=known, excluded=hidden, options=options, features=features)
    if reasons is not None:
        write_reasons(reasons, reasons_of(table, cells, found, known, hidden, options))
    if opened is not None:
        found = with_sources(found, opened)
    inputs = {"votes": table.record, "cells": None if cells is None else cells.record}
    write_selection(found, out, record={"options": options.to_dict(), "inputs": inputs})
    if figures:
        _draw(found, out, options.score, cells)
    rows = [("all spectra", "", f"{found.n_spectra:,}")]
    rows += [(step.sentence, f"{step.removed:,}", f"{step.left:,}") for step in found.steps]
    print_table("from all spectra to the chosen ones", ["step", "removed", "left"], rows)
    if len(found.chosen):
        typer.echo(f"lowest score chosen: {found.score_cut:.4f}")
    if len(found.chosen) < options.n and options.limited:
        typer.echo(
            f"fewer than {options.n}: cells or classes gave their share; --per-cell 0 has no limit"
        )
    typer.echo(f"{len(found.chosen)} chosen, {len(found.outliers)} outliers -> {out}")


def _shares(words: Iterable[str]) -> dict[int, float]:
    from quasarloop.classes import Vote
    from quasarloop.errors import SelectionError

    shares = {}
    for word in words:
        name, _, share = word.partition("=")
        try:
            shares[int(Vote[name])] = float(share)
        except (KeyError, ValueError) as exc:
            known = ", ".join(vote.name for vote in Vote)
            raise SelectionError(
                f"{word!r} is no share of a class; write e.g. NOT_QSO=0.5 (classes: {known})"
            ) from exc
    return shares


def _draw(selection: Any, out: Path, score: str, cells: Any) -> None:
    from quasarloop.evaluate.figures import save_figure
    from quasarloop.evaluate.map_figures import chosen_figure
    from quasarloop.evaluate.selection_figures import (
        outlier_panels,
        outliers_figure,
        score_figure,
    )

    drawn = score_figure(selection.edges, selection.histogram, selection.chosen, score)
    save_figure(drawn, out / "scores.png")
    if cells is not None:
        cell = selection.chosen["CELL"].to_numpy()
        chosen = chosen_figure(selection.counts, cells.cells, selection.least_count, cell)
        save_figure(chosen, out / "chosen.png")
    panels = outlier_panels(selection.outliers, score)
    if panels:
        save_figure(outliers_figure(panels), out / "outliers.png")
