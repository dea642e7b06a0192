"""What every command shares: the console on stderr, logging, progress bars."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["console", "progress_bar", "start_logging"]

# Results go to stdout; everything a person reads along the way goes to stderr.
console = Console(stderr=True)


def start_logging(*, verbose: bool) -> None:
    """Send the package's log to stderr, once."""
    level = logging.DEBUG if verbose else logging.INFO
    logger = logging.getLogger("quasarloop")
    logger.setLevel(level)
    if not logger.handlers:
        logger.addHandler(RichHandler(console=console, show_path=False, markup=False))
        logger.propagate = False


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Give a progress display with count, elapsed and remaining time, on stderr."""
    with Progress(
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    ) as progress:
        yield progress
