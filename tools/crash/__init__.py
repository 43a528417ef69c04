"""Can what mctree promises be broken?  Crashes, power cuts, failing disks, flipped bits and strangers, by the thousand.

`python -m tools.crash` runs the long form of every part; `tests/promises` runs the same functions at a small scale.
"""
