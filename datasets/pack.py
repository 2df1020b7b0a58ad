"""python -m datasets.pack: captioned images into tar shards and a manifest (`datasets.packing.command`)."""

from __future__ import annotations

import sys

from datasets.packing.command import main

if __name__ == "__main__":
    sys.exit(main())
