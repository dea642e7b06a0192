"""Quasar catalogues: classify spectra into one, write it, read it back."""
