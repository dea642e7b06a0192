"""What to inspect next: scores, the self-organizing map, and the choice."""

from typing import Final

__all__ = ["CHOSEN_NAME", "RANDOM", "WORKLIST_NAME"]

# Files of a selection that the inspection page opens.
CHOSEN_NAME: Final = "selection.parquet"
WORKLIST_NAME: Final = "worklist.json"
# What its columns `HOW` and `REASON` hold of an object drawn at random.
RANDOM: Final = "random"
