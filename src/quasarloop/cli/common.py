"""What every command shares: options made from options classes, console, log, progress bars."""

import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import typer
from rich.console import Console, RenderableType
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from quasarloop.options import Described, described_fields, field_types

__all__ = [
    "CatalogueFile",
    "FileFormat",
    "MendOutliers",
    "OptionsOf",
    "Overwrite",
    "Scheduler",
    "SkipBad",
    "SpectraPaths",
    "Truth",
    "Unvetted",
    "Workers",
    "console",
    "given_on_command_line",
    "name_bad_files",
    "plain_console",
    "print_error",
    "print_table",
    "progress_bar",
    "start_logging",
    "two_columns",
    "unless_given",
    "with_options",
]

CatalogueFile = Annotated[
    Path, typer.Option(help="Catalogue to write: .fits, .parquet, .csv or .ecsv.")
]
MendOutliers = Annotated[
    bool,
    typer.Option(
        help="Leave out single pixels that are impossible beside their neighbours and noise."
    ),
]
FileFormat = Annotated[
    str,
    typer.Option(
        "--format",
        help="specutils:NAME reads the files with that loader of specutils, specutils with the one "
        "it finds. Default: found from the content.",
    ),
]
Overwrite = Annotated[bool, typer.Option(help="Replace existing outputs.")]
Scheduler = Annotated[
    str | None, typer.Option(help="Address of a Dask scheduler, in place of --workers.")
]
SkipBad = Annotated[
    bool, typer.Option(help="Go on past files that cannot be used; they are named at the end.")
]
SpectraPaths = Annotated[
    list[Path], typer.Argument(help="Survey files, folders of them, or a store.", metavar="PATH…")
]
Truth = Annotated[
    list[Path] | None, typer.Option(help="Truth table: CSV, FITS or Parquet; several join.")
]
Unvetted = Annotated[
    bool,
    typer.Option(
        help="Take redrock's catalogues as truth too: rows without a warning, uninspected."
    ),
]
Workers = Annotated[int, typer.Option(min=1, help="Single-thread processes: one per core.")]

T = TypeVar("T")


def plain_console(**options: Any) -> Console:
    """Return a console that prints text as it is: no markup, no emoji, no colours of its own."""
    return Console(markup=False, emoji=False, highlight=False, **options)


# Results go to stdout; everything a person reads along the way goes to stderr.
console = plain_console(stderr=True)


@dataclass(frozen=True)
class OptionsOf:
    """Which options of a class a command has.

    Attributes:
        defaults: a class of options (`quasarloop.options`), or an instance with its defaults.
        names: of options not called as their field, e.g. ``{"n_epochs": "--epochs"}``.
        only: fields to take; empty takes all.
        leave_out: fields that keep their defaults.
    """

    defaults: Any
    names: Mapping[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()

    def parameters(self) -> dict[str, inspect.Parameter]:
        """Return a parameter of the command per option."""
        types = field_types(self.defaults)
        return {
            name: inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=self._default(name, own.default),
                annotation=_annotation(types[name], text, self.names.get(name)),
            )
            for name, (own, text) in described_fields(self.defaults).items()
            if name not in self.leave_out and (not self.only or name in self.only)
        }

    def take(self, values: dict[str, Any]) -> Any:
        """Make the options from a command's values, which are removed from there."""
        given = {name: values.pop(name) for name in self.parameters()}
        types = field_types(self.defaults)
        for name in [name for name in given if get_origin(types[name]) is tuple]:
            given[name] = tuple(given[name] or getattr(self.defaults, name))
        make = self.defaults if isinstance(self.defaults, type) else partial(replace, self.defaults)
        return make(**given)

    def _default(self, name: str, default: Any) -> Any:
        value = getattr(self.defaults, name, default)
        if value is MISSING:
            return inspect.Parameter.empty
        return None if isinstance(value, tuple) else value


def with_options(**groups: OptionsOf) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of classes, made where a parameter has a group's name."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters: list[inspect.Parameter] = []
        for name, parameter in inspect.signature(command).parameters.items():
            own = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            parameters += groups[name].parameters().values() if name in groups else [own]

        @wraps(command)
        def run(**values: Any) -> None:
            made = {name: group.take(values) for name, group in groups.items()}
            command(**values, **made)

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # for typer
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def given_on_command_line(context: typer.Context, name: str) -> bool:
    """Return whether the command line gave a parameter, rather than its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def unless_given(context: typer.Context, options: Any, defaults: T) -> T:
    """Return other defaults of the same options, with what the command line gave of them."""
    names = [f.name for f in fields(options)]
    given = [name for name in names if given_on_command_line(context, name)]
    return replace(defaults, **{name: getattr(options, name) for name in given})  # type: ignore[type-var]  # a dataclass


def _annotation(kind: Any, text: Described, name: str | None) -> Any:
    """Return what typer needs to know of an option: type, name, help and limits."""
    metavar = f"[{'|'.join(get_args(kind))}]" if get_origin(kind) is Literal else None
    if metavar:
        kind = str  # the options class checks the words
    elif get_origin(kind) is tuple:
        kind = list[get_args(kind)[0]] | None  # type: ignore[misc]  # a type made here
    numbers = kind in (int, float) or kind in (int | None, float | None)
    names = [name] if name else []
    option = typer.Option(
        *names,
        help=text.help,
        metavar=metavar,
        min=text.low if numbers else None,
        max=text.high if numbers else None,
    )
    return Annotated[kind, option]


def start_logging(*, verbose: bool) -> None:
    """Send the package's log to stderr, once."""
    level = logging.DEBUG if verbose else logging.INFO
    logger = logging.getLogger("quasarloop")
    logger.setLevel(level)
    if not logger.handlers:
        logger.addHandler(RichHandler(console=console, show_path=False, markup=False))
        logger.propagate = False


def print_error(heading: str, message: object) -> None:
    """Print a message to stderr as it is: brackets in it are no markup."""
    console.print(Text(heading, "bold red"), str(message), soft_wrap=True)


def print_table(
    title: str, header: Sequence[str | Column], rows: Iterable[Sequence[str | Text]]
) -> None:
    """Print a table on stdout."""
    table = Table(*header, title=title)
    for row in rows:
        table.add_row(*row)
    plain_console().print(table)


def two_columns(title: str, content: Mapping[str, object]) -> Table:
    """Return names and values as a table without a head."""
    table = Table(title=title, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in content.items():
        table.add_row(name, str(value))
    return table


def name_bad_files(bad: Sequence[tuple[Path, Exception]]) -> None:
    """Name files that could not be used, and end the command with status 1 if there are any."""
    for path, exc in bad:
        print_error("  not used", f"{path}: {exc}")
    if bad:
        raise typer.Exit(1)


class _BarWithNote(Progress):
    """A bar with its note in a line below: both are whole in 80 columns."""

    def get_renderables(self) -> Iterator[RenderableType]:
        for task in self.tasks:
            yield self.make_tasks_table([task])
            if note := task.fields["note"]:
                yield Text(f"  {note}", no_wrap=True, overflow="ellipsis")


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Give a progress display with count, elapsed and remaining time, on stderr."""
    with _BarWithNote(
        TextColumn("{task.description}", style="progress.description", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        yield progress
