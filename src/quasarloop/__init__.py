"""quasarloop: find quasars in survey spectra, and label the fewest to find the most."""

__all__ = ["__version__"]

__version__ = "0.1.0"
