"""python -m cluster.size: what a run will take (`cluster.sizing.size`)."""

from __future__ import annotations

import sys

from cluster.sizing.size import main

if __name__ == "__main__":
    sys.exit(main())
