"""The configuration alone: what it needs, and what it refuses."""

import subprocess
import sys


def test_the_configuration_needs_no_torch():
    code = "import sys, quasarloop.network.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
