"""What ``import quasarloop`` gives: single calls that do a whole step of the loop."""
