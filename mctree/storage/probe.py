"""Does LMDB get through an index without ending the process?  Another process finds out first.

    python -m mctree.storage.probe DESCRIPTOR WRITABLE PATH

What an index from a stranger does to LMDB cannot be told from its header, and what it does to a process cannot be
undone.  So a child opens it, after the gate of `mctree.storage.gate`: it looks at every page that LMDB will trust (see
`mctree.storage.pages`), and only if they are sound it lets LMDB go through all records, from both ends.  Whatever
becomes of the child, the parent goes on, and knows.

The child imports next to nothing, takes a slot among LMDB's readers where it may (so that somebody can write
meanwhile), and takes time and memory by what is in the file.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

from mctree.errors import BusyError, CorruptError, MctreeError, NotAStoreError, PlaceError, WriterFailedError
from mctree.storage.files import opened
from mctree.storage.pages import DATA_NAME

__all__ = ["check_in_child"]

_SOUND, _DAMAGED, _REFUSED = 0, 3, 4
_SAID = 2000
_REFUSALS = {kind.__name__: kind for kind in (BusyError, CorruptError, NotAStoreError, PlaceError, WriterFailedError)}
"""What opening an index may raise, and the parent raises in its place."""


def check_in_child(at: int, where: str, *, writable: bool) -> None:
    """Let another process open the index of a store first, and read all of it.

    Args:
        at: descriptor of the store's directory.
        where: its path, for messages.
        writable: whether this process may make LMDB's lock file there.

    Raises:
        CorruptError: pages of the index are damaged, or it ended the process that read it.
        MctreeError: the other process could not open it, and why.
        OSError: this one may not read it.
    """
    # What this process may not read says nothing of what is in it; what is not there, the child tells.
    with suppress(FileNotFoundError, NotADirectoryError), opened(DATA_NAME, os.O_RDONLY, at):
        pass
    # Wherever the parent has mctree from, the child takes it from there too.
    code = f"import sys; sys.path[:] = {sys.path!r}; from mctree.storage.probe import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, str(at), str(int(writable)), where]
    done = subprocess.run(command, pass_fds=(at,), stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603
    if done.returncode == _SOUND:
        return
    name = os.path.join(where, DATA_NAME)
    told = done.stdout.decode("utf-8", "surrogateescape")[: _SAID + len(where)].strip()
    if done.returncode == _REFUSED:
        kind, _, message = told.partition("\n")
        raise _REFUSALS.get(kind, CorruptError)(message)
    if done.returncode == _DAMAGED:
        what = told
    elif done.returncode < 0:
        what = f"ends the process that reads it ({_signal(-done.returncode)})"
    else:
        last = done.stderr.decode("utf-8", "backslashreplace").strip().rpartition("\n")[2]
        what = f"cannot be looked at ({''.join(filter(str.isprintable, last))[:200]})"
    raise CorruptError(f"the index file {name} {what}; restore the store from a copy")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of those for real time, which have no names
        return f"signal {number}"


def main(arguments: list[str]) -> None:
    """Run as the child."""
    import resource  # noqa: PLC0415  # systems without it have no use for this module

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    status, told = _looked(int(arguments[0]), arguments[2], writable=bool(int(arguments[1])))
    sys.stdout.buffer.write(told.encode("utf-8", "surrogateescape"))
    sys.stdout.flush()
    os._exit(status)


def _looked(at: int, where: str, *, writable: bool) -> tuple[int, str]:
    """The child's exit status, and what it tells: words that follow upon the name of the index, or an error."""
    # Imported here: the parent has no use for them in this module.
    from mctree.storage.environment import open_environment  # noqa: PLC0415
    from mctree.storage.pages import damaged_in  # noqa: PLC0415

    try:
        environment = open_environment(at, where, writable=writable)
        with environment.reading() as txn, opened(DATA_NAME, os.O_RDONLY, at) as fd:
            for fault in damaged_in(fd, txn):
                return _DAMAGED, f"is damaged: its page {fault.page} {fault.what}"
            with txn.cursor() as cursor:
                # Copied out of the map, so that every byte of it is touched.
                for step in (cursor.iternext, cursor.iterprev):
                    if not sum(len(key) + len(value) for key, value in step()):
                        return _DAMAGED, "holds nothing"
    except MctreeError as error:
        kind = next((name for name, kind in _REFUSALS.items() if isinstance(error, kind)), CorruptError.__name__)
        return _REFUSED, f"{kind}\n{error}"
    return _SOUND, ""
