"""Where the spectra of simulated objects come from."""

from pathlib import Path
from typing import Literal

from quasarloop.simulate.templates import TemplateLibrary, read_templates

__all__ = ["Library", "load_library"]

# The built-in library of published numbers, or a folder of templates.
Library = Literal["builtin"] | TemplateLibrary


def load_library(folder: Path | str | None) -> Library:
    """Return the templates of a folder, or the built-in library without one.

    Args:
        folder: a redrock-templates folder (``rrtemplate-*.fits``), or None.

    Raises:
        DataFormatError: no template of some class there, or a file that is not a template.
    """
    return "builtin" if folder is None else read_templates(folder)
