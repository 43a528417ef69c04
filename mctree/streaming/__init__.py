"""How does what a model looks at come to its device, ahead of need?  Requests, a residency pool, stand-ins.

    nodes       what is asked for, and the planes in which rows lie
    fetch       where rows come from: the border to everything that has some
    stored      a snapshot's gists and tokens
    requests    what somebody who asks gets at once
    queue       what is read next: pinned, then coarse, then by score; neighbours together
    desk        where those who read and the one who asks meet; the ring of buffers
    loading     who reads: threads, or a simulation
    slow        latency and bandwidth, for simulations
    pool        which rows are resident and where; eviction
    device      memory for resident rows, and copies to it
    uploads     from the ring to the slots, so many bytes a turn
    asking      who waits for what, and what they are told
    stream      all of that, driven turn by turn
    lineage     who is whose parent
    ancestors   what lies above a working context
    standing    what is seen while part of it is missing
    families    the children of what is wanted most, ahead of need
    residency   a working context on a device
    counters    how well it does

Planning is pure: queue, pool, lineage, standing are functions and bookkeeping over integers.  Threads read, and do
nothing else (`loading`); everything is decided by the one thread that takes the turns.
"""

from __future__ import annotations

from mctree.streaming.counters import Counters, Counts
from mctree.streaming.desk import Desk
from mctree.streaming.device import Device, HostDevice
from mctree.streaming.fetch import NO_ROW, Fetch, Plane
from mctree.streaming.lineage import Ground, Lineage, roots
from mctree.streaming.loading import Loader, Threads, Timed
from mctree.streaming.nodes import GISTS, PATCHES, TOKENS, Key, Nodes
from mctree.streaming.pool import MISSING, Pool
from mctree.streaming.requests import Request
from mctree.streaming.residency import Residency
from mctree.streaming.slow import Delay, SlowRows, VirtualClock
from mctree.streaming.standing import Seen
from mctree.streaming.stored import StoredRows
from mctree.streaming.stream import Stream

__all__ = [
    "GISTS",
    "MISSING",
    "NO_ROW",
    "PATCHES",
    "TOKENS",
    "Counters",
    "Counts",
    "Delay",
    "Desk",
    "Device",
    "Fetch",
    "Ground",
    "HostDevice",
    "Key",
    "Lineage",
    "Loader",
    "Nodes",
    "Plane",
    "Pool",
    "Request",
    "Residency",
    "Seen",
    "SlowRows",
    "StoredRows",
    "Stream",
    "Threads",
    "Timed",
    "VirtualClock",
    "roots",
]
