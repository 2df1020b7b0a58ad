"""python -m datasets.verify: whether a packed dataset is as its manifest says (`datasets.packing.verify`)."""

from __future__ import annotations

import sys

from datasets.packing.verify import main

if __name__ == "__main__":
    sys.exit(main())
