"""What to inspect next: scores, the self-organizing map, and the choice."""
