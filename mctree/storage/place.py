"""Can the file system that a folder is in keep what a store promises?  Network file systems cannot, and are refused.

A store rests on locks that every process sees, on one memory of a file that all who map it share, and on a sync that
means what it says.  On a file system whose other users are on other machines the first two do not hold, whatever each
of them promises by itself: LMDB forbids it.  What kind of file system a folder is in, the kernel says in a number, and
for those in user space (FUSE) the table of mounts says in a name.

Who knows better (one machine only uses it, and it maps files as a local one does) sets `MCTREE_NETWORK=allow`.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
from collections.abc import Callable

from mctree.errors import PlaceError

__all__ = ["check_place", "network_kind"]

_ALLOWED = "MCTREE_NETWORK"
_STATFS_BYTES = 256
_WORD = ctypes.sizeof(ctypes.c_long)

_NETWORK = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB2",
    0x01021997: "9P",
    0x5346414F: "AFS",
    0x6B414653: "AFS",
    0x73757245: "Coda",
    0x564C: "NCP",
    0x00C36400: "Ceph",
    0x0BD00BD0: "Lustre",
    0x47504653: "GPFS",
    0x20030528: "OrangeFS",
    0x013111A8: "IBRIX",
    0xAAD7AAEA: "PanFS",
    0xA501FCF5: "VxFS",
    0x19830326: "BeeGFS",
    0x7461636F: "OCFS2",
    0x01161970: "GFS2",
    0x786F4256: "a shared folder of VirtualBox",
    0xBACBACBC: "a shared folder of VMware",
}
"""What `statfs` calls the file systems that other machines, or the host of a virtual one, change as well."""
_FUSE = 0x65735546
_REMOTE = re.compile(
    r"fuse\.(sshfs|s3fs|s3ql|goofys|geesefs|rclone|gcsfuse|blobfuse2?|davfs2?|curlftpfs|smbnetfs|glusterfs|ceph.*|"
    r"mfs.*|moosefs|lizardfs|seaweedfs|weed|juicefs|hdfs.*|alluxio.*|cvmfs2?|xtreemfs|vmhgfs-fuse|gvfsd-fuse|osxfs|"
    r"grpcfuse|nfs.*|beegfs.*)",
    re.I,
)
"""The FUSE file systems that are known to be remote, as the table of mounts names them."""


def check_place(at: int, where: str) -> None:
    """Make sure that a folder lies where a store can keep its promises.

    Args:
        at: descriptor of the folder.
        where: its path, for messages.

    Raises:
        PlaceError: it is in a network file system, and nobody has said that this is all right.
    """
    kind = network_kind(at)
    if kind is not None and os.environ.get(_ALLOWED) != "allow":
        raise PlaceError(
            f"{where} is on {kind}, where neither locks nor mapped files can be relied upon: put the store on a local "
            f"disk, and copies of it there with `cp -r`; if one machine alone uses it, {_ALLOWED}=allow overrules this"
        )


def network_kind(at: int) -> str | None:
    """What the network file system is called that a folder is in; None: it is in a local one, or nobody can say."""
    magic = _magic(at)
    if magic == _FUSE:
        name = _mounted_as(os.fstat(at).st_dev)
        return name if name is not None and _REMOTE.fullmatch(name) else None
    return None if magic is None else _NETWORK.get(magic)


def _magic(at: int) -> int | None:
    """The number that `statfs` has for the file system; None where it cannot be asked."""
    statfs = _statfs()
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if statfs is None or statfs(at, buffer):
        return None
    # A `long` on all systems that have it; those of some file systems would be negative.
    return int.from_bytes(buffer.raw[:_WORD], "little") & 0xFFFFFFFF


@functools.cache
def _statfs() -> Callable[[int, object], int] | None:
    return getattr(ctypes.CDLL(None), "fstatfs", None) if os.path.exists("/proc/self/mountinfo") else None


def _mounted_as(device: int) -> str | None:
    """The type of the file system of a device, by the table of mounts."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            for line in table:
                before, _, after = line.partition(" - ")
                if before.split()[2] == wanted:
                    return after.split()[0]
    except (OSError, IndexError):
        pass
    return None
