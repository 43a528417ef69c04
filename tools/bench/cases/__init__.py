"""The measurements, one module each.

`gather`, `windows` and `scan` time one kind of read each, by the protocol in `reads`; `opening`, `append`, `ingest`,
`growth`, `refocus`, `streaming`, `pyramid`, `tiles` and `pool` each say themselves how they go about it.
"""

from __future__ import annotations

__all__: list[str] = []
