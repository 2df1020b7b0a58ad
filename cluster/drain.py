"""python -m cluster.drain head|worker: before a node of a Ray cluster goes (`cluster.driver.drain`)."""

from __future__ import annotations

import sys

from cluster.driver.drain import main

if __name__ == "__main__":
    sys.exit(main())
