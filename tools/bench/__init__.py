"""How fast is mctree beside the limit and beside its peers, over the same data, in one run?

    python -m tools.bench [--quick] [--only CASE] [--peer NAME] [--out FILE] [--json FILE] [--scratch FOLDER]

One run makes its data, lets every contender write them, checks that each gives back what it was given, and times the
contenders in turns, so that what else the machine does falls on all alike.  What is not installed is listed as
absent, what fails as failed (and the exit status says so); nothing is dropped.

    sizes      how much of everything: the full form, and the quick one that continuous integration runs
    data       the gists and tokens that all contenders store, and the requests that all of them answer
    timing     turns, warm-up, medians, spread
    peers/     one module per store: the limit first
    ours       mctree, behind the same protocols
    cases/     one module per measurement
    child      what must be measured in a process of its own
    runs       which contender meets which case
    targets    what the results are held against
    results, report, machine      what is written down, and how

It assumes Linux, and that the data fit in the page cache: all reads are of resident data.
"""

from __future__ import annotations

__all__: list[str] = []
