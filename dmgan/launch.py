# PYTHON_ARGCOMPLETE_OK
"""python -m dmgan.launch [COMMAND]: the door to `dmgan.cli`."""

from __future__ import annotations

import sys

from dmgan.cli.main import main, run

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(run())
