"""`python -m mctree` is `mctree`."""

from __future__ import annotations

from mctree.cli.main import main

if __name__ == "__main__":
    main()
