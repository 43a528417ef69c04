"""What a stranger may have put into a store's folder is refused by name: it is not followed, waited for or believed."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import lmdb
import pytest

import mctree
from mctree.errors import CorruptError, MctreeError
from mctree.format.keys import Table, u32, u64
from mctree.format.values import frame
from mctree.testing.processes import in_child

pytestmark = pytest.mark.damages

FOLDERS = ("index.lmdb", "text", "gists", "generations", "leases", "epochs", "telemetry")
FILES = ("head", "lock", "zarr.json", "index.lmdb/data.mdb", "index.lmdb/lock.mdb")
PAGE = 4096


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("what", ["a link", "a FIFO", "a file"])
def test_a_folder_of_a_store_is_a_folder(path: Path, name: str, what: str) -> None:
    """Found by reading: a writer emptied the folder that `leases` or `generations` was a link to."""
    outside = path.parent / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"not of this store")
    if (path / name).exists():
        (path / name).rename(path.parent / "moved away")
    match what:
        case "a link":
            (path / name).symlink_to(outside)
        case "a FIFO":
            os.mkfifo(path / name)
        case _:
            (path / name).write_bytes(b"")
    with pytest.raises(MctreeError):
        mctree.open(path)
    assert (outside / "precious").read_bytes() == b"not of this store"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("what", ["a link", "a FIFO", "a folder", "a socket", "a terabyte"])
def test_a_file_of_a_store_is_a_small_file(path: Path, name: str, what: str) -> None:
    """Found by reading: opening a store took as much of the disk as its `lock.mdb` said, and a FIFO was waited for."""
    file = path / name
    kept = file.read_bytes()
    file.unlink()
    match what:
        case "a link":
            outside = path.parent / "outside"
            outside.write_bytes(kept)
            file.symlink_to(outside)
        case "a FIFO":
            os.mkfifo(file)
        case "a folder":
            file.mkdir()
        case "a socket":
            with socket.socket(socket.AF_UNIX) as listener:
                here = os.open(path.parent, os.O_RDONLY)
                listener.bind(f"/proc/self/fd/{here}/t.mctree/{name}")
                os.close(here)
        case _:
            file.write_bytes(kept)
            os.truncate(file, 1 << 40)
    if what == "a terabyte" and name in ("lock", "zarr.json", "index.lmdb/data.mdb"):
        with mctree.open(path) as tree, tree.writer() as writer:
            writer.add("second", b"as if nothing were")
    else:
        with pytest.raises(CorruptError):
            mctree.open(path)
    assert not file.is_file() or file.stat().st_blocks * 512 < 1 << 20


def test_a_link_on_the_way_to_an_array_leads_nowhere(path: Path) -> None:
    outside = path.parent / "outside"
    (path / "text/lod0").rename(outside)
    (path / "text/lod0").symlink_to(outside)
    before = (outside / "c.0").read_bytes()
    with mctree.open(path) as tree, tree.snapshot() as snapshot:
        with pytest.raises(CorruptError, match="symbolic link"):
            snapshot.view()
        with pytest.raises(MctreeError, match="symbolic link"), tree.writer() as writer:
            writer.add("second", b"text " * 50)
    assert (outside / "c.0").read_bytes() == before
    with mctree.open(path) as tree:
        assert any("symbolic link" in problem.what for problem in tree.verify())


@pytest.mark.parametrize("link", ["epochs/7", "epochs/7/leases", "epochs/7/epochs"])
def test_a_link_among_older_epochs_leads_nowhere(path: Path, link: str) -> None:
    """Found by reading: a writer removed the files of any folder that such a link led to, and moved others away."""
    outside = path.parent / "outside"
    for folder in ("leases", "epochs/8"):
        (outside / folder).mkdir(parents=True)
        (outside / folder / "precious").write_bytes(b"not of this store")
    before = sorted(outside.rglob("*"))
    (path / link).parent.mkdir(parents=True)
    (path / link).symlink_to(outside / link.rpartition("/")[2] if link.count("/") == 2 else outside)
    with mctree.open(path, trusted=False) as tree:
        with tree.writer() as writer:
            writer.add("second", b"text " * 50)
        tree.compact()
    assert sorted(outside.rglob("*")) == before
    assert not (path / "epochs/8").exists()


@pytest.mark.parametrize("place", ["gists/left over", "epochs/7"])
def test_a_folder_of_any_depth_is_removed(path: Path, place: str) -> None:
    """Found by trying: from a thousand folders on this was a RecursionError."""
    (path / place).mkdir(parents=True)
    at = os.open(path / place, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("deeper", dir_fd=at)
        below = os.open("deeper", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=at))
    os.symlink("/", "link", dir_fd=at)
    os.close(at)
    with mctree.open(path) as tree, tree.writer() as writer:
        writer.add("second", b"text " * 50)
    assert not (path / place).exists()


def test_a_file_in_the_place_of_an_array_is_damage(path: Path) -> None:
    """Found by the harness of strangers: it ended in an error of the operating system."""
    (path / "text/lod0").rename(path.parent / "moved away")
    (path / "text/lod0").write_bytes(b"")
    with mctree.open(path) as tree:
        assert list(tree.verify())
        with tree.snapshot() as snapshot, pytest.raises(CorruptError):
            snapshot.view()


@pytest.mark.parametrize("what", ["a folder", "a link"])
def test_what_is_no_generation_and_no_lease_is_left_alone(path: Path, what: str) -> None:
    outside = path.parent / "outside"
    outside.mkdir()
    for folder in ("generations", "leases"):
        if what == "a folder":
            (path / folder / "strange").mkdir()
        else:
            (path / folder / "strange").symlink_to(outside)
    with mctree.open(path) as tree:
        for i in range(20):
            with tree.writer() as writer:
                writer.add(f"{i}", b"text")
        assert tree.snapshot().documents_count == 21
    assert outside.is_dir()


def forge(path: Path, *records: tuple[bytes, bytes]) -> None:
    """Put records with valid checksums into an index."""
    with lmdb.open(str(path / "index.lmdb"), map_size=1 << 30, max_dbs=0) as index, index.begin(write=True) as txn:
        for key, payload in records:
            txn.put(key, frame(key, payload))


@pytest.mark.parametrize("tag", [table.value for table in Table])
def test_a_key_of_another_length_than_its_table_has_is_damage(path: Path, tag: bytes) -> None:
    """Found by reading: a key that was too short, under a valid checksum, ended in an error of `struct`."""
    forge(path, (tag + b"\0", b"\1"), (tag + b"\xff" * 3, b"\1"))
    with pytest.raises(MctreeError), mctree.open(path) as tree:
        problems = list(tree.verify())
        assert problems
        with tree.writer() as writer:
            writer.add("second", b"text")
        raise CorruptError("found")


@pytest.mark.parametrize("name", [b"keep", b"default-set"])
def test_a_setting_of_another_length_is_damage(path: Path, name: bytes) -> None:
    forge(path, (Table.SETTING + name + u64.pack(1), b"\1\2\3"))
    with mctree.open(path) as tree, pytest.raises(CorruptError, match="setting of"), tree.snapshot() as snapshot:
        assert snapshot.default_gists is None
        for i in range(20):
            with tree.writer() as writer:
                writer.add(f"{i}", b"text")


def header(data: bytearray, page: int, at: int, layout: str, value: int) -> None:
    struct.pack_into(layout, data, page * PAGE + at, value)


FORGERIES = {
    "the page number": (0, "<Q", 7),
    "what the page is": (10, "<H", 2),
    "the version": (20, "<I", 2),
    "the page size": (40, "<I", 8192),
    "how free pages are sorted": (44, "<H", 0),
    "how records are sorted": (92, "<H", 4),
    "the depth": (94, "<H", 60),
    "the root": (128, "<Q", 1 << 40),
    "a root in the header": (128, "<Q", 1),
    "a number that the other header would have": (144, "<Q", 1 << 40),
}


LEADING = ("the depth", "the root", "a root in the header")


@pytest.mark.parametrize("which", ["older", "newer"])
@pytest.mark.parametrize("what", FORGERIES)
def test_a_forged_header_is_refused_if_it_matters(path: Path, what: str, which: str) -> None:
    """Found by reading: LMDB reads the header that its number says, and not the one that was judged.

    Found by failing writes: when LMDB cannot write a header, it puts the older one's numbers back, but not its trees.
    """
    file = path / "index.lmdb/data.mdb"
    data = bytearray(file.read_bytes())
    numbers = [struct.unpack_from("<Q", data, page * PAGE + 144)[0] for page in range(2)]
    page = numbers.index((min if which == "older" else max)(numbers))
    at, layout, value = FORGERIES[what]
    value = value + (page == 0) if at == 144 else value
    header(data, page, at, layout, value)
    file.write_bytes(data)

    def child() -> None:
        if which == "older" and what in LEADING:
            with mctree.open(path) as tree, tree.writer() as writer:
                writer.add("second", b"as if nothing were")
            return
        with pytest.raises(CorruptError, match=r"data\.mdb is damaged"):
            mctree.open(path)

    assert in_child(child) == 0


@pytest.mark.parametrize("kept", range(2, 12))
@pytest.mark.parametrize("forged", ["neither", "a smaller last page", "the turn of the other header"])
def test_a_cut_off_file_ends_no_process_whatever_its_headers_say(path: Path, kept: int, forged: str) -> None:
    """Found by reading: a header that said too little of a file that was cut off led to SIGBUS."""
    file = path / "index.lmdb/data.mdb"
    data = bytearray(file.read_bytes()[: kept * PAGE])
    for page in range(2):
        if forged == "a smaller last page":
            header(data, page, 136, "<Q", kept - 1)
        elif forged == "the turn of the other header":
            number = struct.unpack_from("<Q", data, page * PAGE + 144)[0]
            header(data, page, 144, "<Q", number + 1)
    file.write_bytes(data)

    def child() -> None:
        try:
            with mctree.open(path) as tree, tree.snapshot() as snapshot:
                assert [document.name for document in snapshot.documents()] == ["first"]
                with tree.writer() as writer:
                    writer.add("second", b"text")
        except MctreeError:
            pass

    assert in_child(child) == 0


def test_records_that_lie_in_each_other_are_a_fault(path: Path) -> None:
    """Found by reading: a writer that takes one of them out moves bytes beyond the page."""
    file = path / "index.lmdb/data.mdb"
    data = bytearray(file.read_bytes())
    forged = 0
    for page in range(2 * PAGE, len(data), PAGE):
        flags, lower = struct.unpack_from("<HH", data, page + 10)
        starts = list(struct.unpack_from(f"<{(lower - 16) // 2}H", data, page + 16)) if flags == 2 else []
        for i, at in enumerate(starts[:-1]):
            size, _, big, key = struct.unpack_from("<HHHH", data, page + at)
            after = page + starts[i + 1]
            header = data[after : after + 8 + struct.unpack_from("<H", data, after + 6)[0]]
            if not big and size > len(header) + 8:
                inside = at + 8 + key + (at + key) % 2
                data[page + inside : page + inside + len(header)] = bytes(4) + header[4:]
                struct.pack_into("<H", data, page + 16 + 2 * (i + 1), inside)
                forged += 1
                break
    assert forged
    file.write_bytes(data)
    with pytest.raises(CorruptError, match="records in one place"):
        mctree.open(path, trusted=False)


def test_records_of_arrays_that_cannot_be_are_refused(path: Path) -> None:
    for fact in ({"fill": 1 << 40}, {"path": "text/\x1b[31m"}, {"path": "../out"}, {"rows_per_chunk": 1 << 40}):
        layout = {"path": "text/lod0", "dtype": "uint8", "row": [], "rows_per_chunk": 65536, "fill": 0, **fact}
        forge(path, (Table.ARRAY + u32.pack(0) + u64.pack(1), mctree.format.values.pack(layout)))
        with mctree.open(path) as tree, tree.snapshot() as snapshot, pytest.raises(CorruptError) as caught:
            snapshot.view()
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_metadata_that_cannot_be_overwritten_fails_no_commit(tmp_path: Path, kind: str) -> None:
    """Every sixteenth commit, which was made, ended the writer: hints for others are no part of a commit."""
    path = tmp_path / "t.mctree"
    with mctree.create(path, chunk_bytes=65536) as tree:
        metadata = path / "text" / "lod0" / "zarr.json"
        metadata.unlink()
        if kind == "folder":
            metadata.mkdir()
        else:
            metadata.symlink_to(tmp_path / "elsewhere")
        with tree.writer() as writer:
            for turn in range(20):
                writer.add(f"{turn}", b"some text")
                writer.commit()
        with tree.snapshot() as snapshot:
            assert snapshot.documents_count == 20
        assert any(problem.where == "text/lod0/zarr.json" for problem in tree.verify())
        assert not (tmp_path / "elsewhere").exists()
