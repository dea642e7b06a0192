"""DESI: network and redrock together, row-matched output."""
