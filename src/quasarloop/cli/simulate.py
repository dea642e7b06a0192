"""``quasarloop simulate``: a survey with known truth."""

from pathlib import Path
from typing import Annotated

import typer

from quasarloop.cli.common import Workers, progress_bar
from quasarloop.simulate import SurveyFormat

__all__ = ["simulate"]


def simulate(
    out: Annotated[Path, typer.Option(help="Folder of the survey; made if needed.")],
    objects: Annotated[int, typer.Option(min=1, help="How many fibres.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    templates: Annotated[
        Path | None,
        typer.Option(help="Folder of redrock templates. Default: the built-in library."),
    ] = None,
    noise_from: Annotated[
        Path | None, typer.Option(help="DESI coadd whose inverse variances are drawn from.")
    ] = None,
    survey_format: Annotated[
        SurveyFormat | None,
        typer.Option("--format", help="Whose files to write. Default: DESI's."),
    ] = None,
    exposures: Annotated[
        int | None,
        typer.Option(min=1, max=99, help="Observe each object so often, and coadd. Default: 1."),
    ] = None,
    population: Annotated[
        Path | None,
        typer.Option(help="TOML: what is on the sky, how it is observed, what goes wrong."),
    ] = None,
    resolution: Annotated[
        bool,
        typer.Option("--resolution", help="Write RESOLUTION matrices (rrdesi needs them)."),
    ] = False,
    workers: Workers = 1,
) -> None:
    """Make survey files of a sky whose every object is known.

    A folder that holds part of the same survey is completed, not begun again.

    Example: [bold]quasarloop simulate --out simulated --objects 5000 --seed 1 --workers 2[/]
    """
    from quasarloop.engine import Engine
    from quasarloop.simulate.model import ModelSky
    from quasarloop.simulate.observing import ObservingOptions
    from quasarloop.simulate.population import Population
    from quasarloop.simulate.survey import SurveyOptions, read_survey_file, simulate_survey

    objects_on_sky, observing = Population(), ObservingOptions()
    if population is not None:
        objects_on_sky, observing = read_survey_file(population)
    if exposures is not None:
        observing = observing.model_copy(update={"exposures": exposures})
    sky = ModelSky(objects_on_sky, templates)
    plan = SurveyOptions(
        out,
        seed=seed,
        survey_format=survey_format or SurveyOptions.survey_format,
        source=sky,
        observing=observing,
        noise_from=noise_from,
        with_resolution=resolution,
    )
    with progress_bar() as progress:
        task = progress.add_task("simulate", total=objects, note="")
        report = simulate_survey(
            plan,
            objects,
            engine=Engine(workers=workers),
            on_tile=lambda tile: progress.advance(task, tile.n_objects),
        )
    kept = f" ({report.n_kept} were there)" if report.n_kept else ""
    typer.echo(f"{report.n_objects} objects in {report.n_tiles} tiles{kept} -> {out}")
