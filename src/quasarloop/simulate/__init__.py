"""A sky with known truth, written as real surveys write theirs."""
