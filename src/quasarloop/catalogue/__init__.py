"""Quasar catalogues: classify spectra into one, write it, read it back."""

from quasarloop.catalogue.classify import (
    ClassifyOptions,
    Summary,
    classify_spectra,
    classify_to_file,
    line_columns,
    read_catalogue,
)

__all__ = [
    "ClassifyOptions",
    "Summary",
    "classify_spectra",
    "classify_to_file",
    "line_columns",
    "read_catalogue",
]
