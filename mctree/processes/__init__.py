"""How does work that holds the interpreter lock use all cores?  In processes that wait for it, and outlive no one.

Threads share one lock: where work is many short calls, two of them are hardly faster than one.  Processes share
nothing, so what they work on is sent to them and what they have made is sent back: it pays where that takes far less
time than the work, and where there is enough of it to make up for their start (about half a second each).

What is done again and again goes as `Work`, pickled once, and each process unpickles it once: so it may be something
that opens a file.

Each has a pipe of its own, through which a few bytes go: everything else lies in files in memory, which both open, so
that nobody waits for a pipe to be emptied.  All is done by the thread that has something to be done; there is none
beside it.  When a process dies its pipe ends, and what it was asked for is lost; whoever asked can do that work.  Where
no process can be begun, or reached through such files, all work is lost in this way.

They are begun afresh, not forked: so none has the locks or files of the process that began them, and its main module
must be one that can be imported, as `multiprocessing` asks for.  They leave Ctrl-C to that process, and end with it
however it ends.
"""

from __future__ import annotations

from mctree.processes.jobs import Job, Work
from mctree.processes.processes import Processes

__all__ = ["Job", "Processes", "Work"]
