"""``python -m quasarloop`` is the command ``quasarloop``."""

from quasarloop.cli import main

if __name__ == "__main__":
    main()
