"""Which files does a folder hold?  A walk in the bytewise order of names that opens no file of them.

A folder's name counts with a `/` at its end, so that files come out sorted by their whole names.  The walk holds the
listing of each folder between the root and the current one, and nothing else; a `stat` is taken just before a file is
handed over.  A folder is opened relative to the one above it, which stays open: renaming a folder, or putting a link in
its place, while the walk is in it leads nobody out of the tree.

Never entered: version control (`.git` …), mctree stores, and what the filter ignores; none of these is reported.
Where images are wanted, a folder that is one (it holds Zarr's metadata, or is a pyramid of tiles) is handed over whole
and not entered; `include` patterns speak of it as of a folder.  To tell tiles from other pictures in numbered folders,
these are looked into.  A folder of numbered folders that a store knows as one image and that is none any more (`told`)
is reported and not entered, since one stray file would else make a document of each of its tiles.
Symbolic links are reported and not followed unless `follow` says so.  Then a link to a file gives that file under the
link's name, and a link to a folder is entered, except where that folder is above it, is a root, or was entered by way
of a link before.  So the walk ends, and enters a folder at most twice: by its own name and by way of links.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from mctree.sources.coverage import Coverage
from mctree.sources.files import RegularFile, kind_of
from mctree.sources.folders import ImageFolder
from mctree.sources.ignore import IGNORE_FILES, VERSION_CONTROL, Filter, read_ignore_file
from mctree.sources.images.folder_names import ZARR_NAMES, number
from mctree.sources.names import failure, joined, shown
from mctree.sources.patterns import Rules
from mctree.sources.protocol import Skipped
from mctree.sources.told import Told

__all__ = ["DEEPEST", "Identity", "Walk", "holds_store"]

DEEPEST = 256
_LISTINGS = 3
_STORE_SUFFIX = b".mctree"
_STORE_FILES = frozenset((b"zarr.json", b"index.lmdb"))

_KNOWN = (
    "so this is no image of tiles any more, and what the store has of it stays: take that away, or remove the image "
    "from the store if its files are to be documents"
)

Identity = tuple[int, int]


def holds_store(path: bytes) -> bool:
    """Whether the folder at `path` is an mctree store."""
    return all(os.path.lexists(joined(path, name)) for name in _STORE_FILES)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One name in a folder.

    Attributes:
        name: the name alone.
        folder: it is a folder, or a link to one that is to be followed.
        link: it is a symbolic link.
    """

    name: bytes
    folder: bool
    link: bool

    def key(self) -> bytes:
        return self.name + b"/" if self.folder else self.name


@dataclass(frozen=True, slots=True)
class _Listed:
    """What a folder holds, sorted; `steady` if it did not change while it was listed."""

    entries: list[_Entry]
    steady: bool


@dataclass(slots=True)
class _Folder:
    """A folder that the walk is in.

    Attributes:
        descriptor: open.
        relative: its path below the root, empty for the root.
        identity: its device and inode.
        linked: a symbolic link leads to it or to a folder above it.
        filter: what is wanted in it.
        entries: what is left of its listing.
        steady: it did not change while it was listed.
    """

    descriptor: int
    relative: bytes
    identity: Identity
    linked: bool
    filter: Filter
    entries: Iterator[_Entry]
    steady: bool


class Walk:
    """One walk through one root; iterate it once.

    Args:
        name: of the root.
        path: of the root, absolute.
        wanted: the filter of the root's own entries, before its ignore files.
        roots: device and inode of every root.
        coverage: where doubts are noted.
        ignore_files: whether ignore files count.
        follow: whether symbolic links are followed.
        told: what is known of folders that may be images; None: they are not wanted as such.
    """

    def __init__(
        self,
        name: bytes,
        path: bytes,
        wanted: Filter,
        roots: frozenset[Identity],
        coverage: Coverage,
        *,
        ignore_files: bool,
        follow: bool,
        told: Told | None,
    ) -> None:
        self._name = name
        self._path = path
        self._wanted = wanted
        self._roots = roots
        self._coverage = coverage
        self._ignore_files = ignore_files
        self._follow = follow
        self._told = told
        self._by_links: set[Identity] = set()
        self._stack: list[_Folder] = []

    def __iter__(self) -> Iterator[RegularFile | ImageFolder | Skipped]:
        """Find the files; what cannot be entered or examined is reported, and noted as a doubt."""
        try:
            yield from self._enter(None, _Entry(b"", folder=True, link=False))
            while self._stack:
                folder = self._stack[-1]
                entry = next(folder.entries, None)
                if entry is None:
                    os.close(self._stack.pop().descriptor)
                elif self._wants(folder, entry):
                    yield from self._enter(folder, entry) if entry.folder else self._file(folder, entry)
        finally:
            while self._stack:
                os.close(self._stack.pop().descriptor)

    def _wants(self, folder: _Folder, entry: _Entry) -> bool:
        if entry.name in VERSION_CONTROL or (entry.folder and entry.name.endswith(_STORE_SUFFIX)):
            return False
        relative = joined(folder.relative, entry.name)
        if folder.filter.ignores(relative, entry.folder):
            return False
        return entry.folder or folder.filter.includes(relative, folder=False)

    def _doubt(self, relative: bytes, reason: str) -> Skipped:
        name = self._full(relative)
        self._coverage.doubt(name)
        return Skipped(name, reason, certain=False)

    def _full(self, relative: bytes) -> bytes:
        return joined(self._name, relative) if relative else self._name

    def _file(self, folder: _Folder, entry: _Entry) -> Iterator[RegularFile | Skipped]:
        relative = joined(folder.relative, entry.name)
        try:
            status = os.stat(entry.name, dir_fd=folder.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            yield self._doubt(relative, "vanished while its folder was walked")
            return
        except OSError as error:
            yield self._doubt(relative, f"cannot be examined: {failure(error)}")
            return
        linked = stat.S_ISLNK(status.st_mode)
        if linked:
            try:
                status = os.stat(entry.name, dir_fd=folder.descriptor)
            except OSError as error:
                yield Skipped(self._full(relative), f"a symbolic link that leads nowhere: {failure(error)}")
                return
        if linked and not (self._follow and stat.S_ISREG(status.st_mode)):
            yield Skipped(self._full(relative), self._unfollowed(relative, status))
        elif stat.S_ISREG(status.st_mode):
            yield RegularFile.seen(self._full(relative), joined(self._path, relative), status, linked)
        else:
            yield Skipped(self._full(relative), kind_of(status))

    def _unfollowed(self, relative: bytes, target: os.stat_result) -> str:
        if stat.S_ISREG(target.st_mode) or stat.S_ISDIR(target.st_mode):
            root = os.path.realpath(self._path).rstrip(b"/") + b"/"
            real = os.path.realpath(joined(self._path, relative)) + b"/"
            where = "inside" if real.startswith(root) else "outside"
            return f"a symbolic link to {kind_of(target)} {where} the tree, not followed"
        return f"a symbolic link to {kind_of(target)}"

    def _enter(self, above: _Folder | None, entry: _Entry) -> Iterator[ImageFolder | Skipped]:
        """Open a folder and put it on the stack, unless it is not to be walked."""
        relative = joined(above.relative, entry.name) if above else b""
        if len(self._stack) > DEEPEST:
            yield self._doubt(relative, f"lies more than {DEEPEST} folders deep")
            return
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK | os.O_CLOEXEC
        if above and not entry.link:
            flags |= os.O_NOFOLLOW
        try:
            path = entry.name if above else self._path
            descriptor = os.open(path, flags, dir_fd=above.descriptor if above else None)
        except OSError as error:
            yield self._doubt(relative, f"cannot be entered: {failure(error)}")
            return
        kept = False
        try:
            found = self._opened(above, entry, relative, descriptor)
            if isinstance(found, _Folder):
                self._stack.append(found)
                kept = True
            elif found:
                yield found
        finally:
            if not kept:
                os.close(descriptor)
        if isinstance(found, _Folder) and not found.steady:
            yield self._doubt(relative, "kept changing while it was listed")

    def _opened(
        self, above: _Folder | None, entry: _Entry, relative: bytes, descriptor: int
    ) -> _Folder | ImageFolder | Skipped | None:
        """The open folder ready to be walked, or the image that it is, or why not, or None where none need know."""
        status = os.fstat(descriptor)
        identity = (status.st_dev, status.st_ino)
        linked = above is not None and (above.linked or entry.link)
        if linked:
            reason = self._visited(identity)
            if reason:
                return Skipped(self._full(relative), reason)
            self._by_links.add(identity)
        try:
            listed = _list(descriptor, self._follow)
        except OSError as error:
            return self._doubt(relative, f"cannot be listed: {failure(error)}")
        names = {found.name for found in listed.entries}
        if names >= _STORE_FILES:
            return None
        stays_whole, found = self._image(above, relative, identity, listed)
        if stays_whole:
            return found
        rules: list[Rules] = []
        for name in IGNORE_FILES:
            heeded = self._ignore_files and name in names
            read = read_ignore_file(descriptor, name, self._follow) if heeded else Rules(())
            if isinstance(read, str):
                return self._doubt(relative, read)
            rules.append(read)
        wanted_below = (above.filter if above else self._wanted).below(relative, rules)
        return _Folder(descriptor, relative, identity, linked, wanted_below, iter(listed.entries), listed.steady)

    def _image(
        self, above: _Folder | None, relative: bytes, identity: Identity, listed: _Listed
    ) -> tuple[bool, ImageFolder | Skipped | None]:
        """Whether a folder is one image, or was and is not to be entered; and what is to be said of it, if anything."""
        zarr = any(entry.name in ZARR_NAMES for entry in listed.entries)
        numbered = any(entry.folder and number(entry.name) is not None for entry in listed.entries)
        if self._told is None or not (zarr or numbered):
            return False, None
        path = joined(self._path, relative) if relative else self._path
        against = None if zarr else self._told.against(path, identity)
        if against is None:
            wanted = above is None or above.filter.includes(relative, folder=True)
            return True, ImageFolder(self._full(relative), path, identity) if wanted else None
        if not self._told.is_image(self._full(relative)):
            return False, None
        return True, self._doubt(relative, f"{against.removeprefix(shown(path)).lstrip('/ ')}, {_KNOWN}")

    def _visited(self, identity: Identity) -> str | None:
        if any(identity == folder.identity for folder in self._stack):
            return "a symbolic link to a folder above it"
        if identity in self._roots:
            return "by way of a symbolic link, a folder that is read already"
        if identity in self._by_links:
            return "by way of a symbolic link, a folder that another one led to"
        return None


def _list(descriptor: int, follow: bool) -> _Listed:
    steady = False
    entries: list[_Entry] = []
    for _ in range(_LISTINGS):
        before = os.fstat(descriptor)
        with os.scandir(descriptor) as found:
            entries = [_entry(one, follow) for one in found]
        after = os.fstat(descriptor)
        steady = (before.st_mtime_ns, before.st_ctime_ns) == (after.st_mtime_ns, after.st_ctime_ns)
        if steady:
            break
    entries.sort(key=_Entry.key)
    return _Listed(entries, steady)


def _entry(found: os.DirEntry[str], follow: bool) -> _Entry:
    link = found.is_symlink()
    try:
        folder = found.is_dir(follow_symlinks=follow)
    except OSError:
        folder = False
    return _Entry(os.fsencode(found.name), folder, link)
