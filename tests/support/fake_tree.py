"""File trees of fake nodes: by absolute path, as far as builds look at them."""

from __future__ import annotations

import io
import posixpath
import tarfile

import msgspec

ACCOUNTS = "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\nodd:x:\u00b2:\u00b2::/:/bin/sh\n"
GROUPS = "root:x:0:\nstaff:x:50:\n"


class Thing(msgspec.Struct, frozen=True):
    """A file, directory or link. ``content`` is a link's target."""

    kind: bytes = tarfile.REGTYPE
    content: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_s: int = 0


Tree = dict[str, Thing]


def new_tree() -> Tree:
    """What every image has."""
    directories = {path: Thing(tarfile.DIRTYPE, mode=0o755) for path in ("/", "/etc", "/bin", "/tmp")}
    return directories | {"/etc/passwd": Thing(content=ACCOUNTS.encode()), "/etc/group": Thing(content=GROUPS.encode())}


def make_directories(tree: Tree, path: str) -> None:
    """``path`` with its parents; what is there stays."""
    while path not in tree:
        tree[path] = Thing(tarfile.DIRTYPE, mode=0o755)
        path = posixpath.dirname(path)


def put(tree: Tree, path: str, content: bytes, mode: int = 0o644) -> None:
    """A file, with the directories it is in."""
    make_directories(tree, posixpath.dirname(path))
    tree[path] = Thing(content=content, mode=mode)


def remove(tree: Tree, path: str) -> None:
    """With all below it."""
    for found in [found for found in tree if found == path or found.startswith(f"{path}/")]:
        del tree[found]


def unpack(tree: Tree, directory: str, archive: bytes) -> None:
    """As the guest does."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        for member in opened:
            path = posixpath.normpath(posixpath.join(directory, member.name))
            make_directories(tree, posixpath.dirname(path))
            content = opened.extractfile(member) if member.isfile() else None
            data = content.read() if content else member.linkname.encode("utf-8", "surrogateescape")
            tree[path] = Thing(
                tarfile.REGTYPE if member.isfile() else member.type, data, member.mode, member.uid, member.gid, int(member.mtime)
            )


def pack(tree: Tree, path: str) -> bytes:
    """As the guest does: a directory's members relative to it, the second name of a file as a hard link to the first."""
    target = io.BytesIO()
    names: dict[int, str] = {}
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for found in sorted(tree):
            if found != path and not found.startswith("/" if path == "/" else f"{path}/"):
                continue
            thing = tree[found]
            is_root = found == path
            member = tarfile.TarInfo("." if is_root and thing.kind == tarfile.DIRTYPE else posixpath.basename(path))
            if not is_root:
                member.name = posixpath.relpath(found, path)
            member.type, member.mode, member.uid, member.gid, member.mtime = thing.kind, thing.mode, thing.uid, thing.gid, thing.mtime_s
            if thing.kind == tarfile.SYMTYPE:
                member.linkname = thing.content.decode()
            elif thing.kind == tarfile.REGTYPE and id(thing) in names:
                member.type, member.linkname = tarfile.LNKTYPE, names[id(thing)]
            elif thing.kind == tarfile.REGTYPE:
                names[id(thing)] = member.name
                member.size = len(thing.content)
            archive.addfile(member, io.BytesIO(thing.content) if member.size else None)
    return target.getvalue()
