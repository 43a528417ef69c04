"""What the room offers is what is named here."""

from __future__ import annotations

from mctree import streaming


def test_the_public_names_are_these() -> None:
    assert sorted(streaming.__all__) == [
        "Counters", "Counts", "Delay", "Desk", "Device", "Fetch", "GISTS", "Ground", "HostDevice", "Key", "Lineage",
        "Loader", "MISSING", "NO_ROW", "Nodes", "PATCHES", "Plane", "Pool", "Request", "Residency", "Seen", "SlowRows",
        "StoredRows", "Stream", "TOKENS", "Threads", "Timed", "VirtualClock", "roots",
    ]  # fmt: skip
    assert all(hasattr(streaming, name) for name in streaming.__all__)
