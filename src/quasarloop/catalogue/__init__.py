"""Quasar catalogues: classify spectra into one, write it, read it back."""

from quasarloop.catalogue.classify import ClassifyOptions, classify_spectra
from quasarloop.catalogue.reader import line_columns, read_catalogue
from quasarloop.catalogue.run import Summary, classify_to_file

__all__ = [
    "ClassifyOptions",
    "Summary",
    "classify_spectra",
    "classify_to_file",
    "line_columns",
    "read_catalogue",
]
