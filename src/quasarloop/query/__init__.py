"""What to look at next: scores, the self-organizing map, and the choice."""
