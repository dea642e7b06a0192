"""The line-finder network: shape, targets, training, decoding and weights that travel."""
