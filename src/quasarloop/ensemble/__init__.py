"""Many members as one: bootstrap samples, features, heads, networks, votes, entropy."""
