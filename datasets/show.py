"""python -m datasets.show: a page with images and captions of a packed dataset (`datasets.packing.show`)."""

from __future__ import annotations

import sys

from datasets.packing.show import main

if __name__ == "__main__":
    sys.exit(main())
