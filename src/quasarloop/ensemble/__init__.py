"""Many networks as one: bootstrap samples, training, votes, entropy."""
