"""Scripts for sandboxes: one that makes files of every kind, one that edits at random, one that tells all there is to know of them."""

from __future__ import annotations

from typing import Final

from tests.support.raw_client import RawSandbox

ROOTS: Final = ("/data", "/etc", "/home", "/opt", "/root", "/tmp", "/usr/local", "/usr/share/doc", "/usr/share/common-licenses", "/var/lib")

MANIFEST: Final = r"""
import hashlib, os, stat, sys
OWN = {b"/etc/hostname", b"/etc/hosts", b"/etc/resolv.conf"}  # every sandbox has its own
exact = sys.argv[1] == "exact"
names = {}
def tell(path):
    status = os.lstat(path)
    kind, said = stat.S_IFMT(status.st_mode), b""
    if kind == stat.S_IFREG:
        first = names.setdefault(status.st_ino, path) if exact else path
        with open(path, "rb") as file:
            said = b"%d %s" % (status.st_size if exact else 0, hashlib.file_digest(file, "sha256").hexdigest()[:20].encode())
            said += b"" if first == path else b" linked to " + first
    elif kind == stat.S_IFLNK:
        said = os.readlink(path)
    mtime = status.st_mtime_ns if exact and path != b"/tmp" else ""  # the guest tidies up there
    print(repr(path), oct(status.st_mode), status.st_uid, status.st_gid, mtime, repr(said))
if exact:
    tell(b"/")
for root in map(os.fsencode, sys.argv[2:]):
    for directory, below, files in os.walk(root):
        below.sort()
        links = [name for name in below if os.path.islink(os.path.join(directory, name))]
        tell(directory)
        for name in sorted(files + links):
            if (path := os.path.join(directory, name)) not in OWN:
                tell(path)
"""
"""Prints a line for every path where :data:`EVERY_KIND` and :data:`EDITS` make files; a list of one is equal to that of its copy."""

EVERY_KIND: Final = r"""
import os, shutil
def put(path, content=b"x", mode=0o644, uid=0, gid=0, mtime_ns=None):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    os.chown(path, uid, gid)
    os.chmod(path, mode)
    if mtime_ns is not None:
        os.utime(path, ns=(0, mtime_ns))
put("/data/plain", os.urandom(300_000))
put("/data/empty", b"")
put("/data/program", b"#!/bin/sh\n", 0o755)
put("/data/setuid", mode=0o6755)
put("/data/nobodys", mode=0o000, uid=65534, gid=65534)
put("/data/large-ids", uid=4_000_000_000, gid=4_000_000_001)
put("/data/exact", mtime_ns=1234567890_123456789)
put("/data/before-1970", mtime_ns=-86400_000000000 + 1)
put("/data/far", mtime_ns=8_000_000_000_000000007)
put(b"/data/\xff\xfe not UTF-8")
put(b"/data/new\nline, \"quotes\" and \\ back")
put("/data/" + "n" * 255)
put("/data/" + "/".join(["deep" * 20] * 30) + "/bottom")
put("/data/sticky/file", mode=0o600)
os.chmod("/data/sticky", 0o1777)
os.makedirs("/data/shut/empty", 0o700)
os.chown("/data/shut", 1000, 1001)
os.chmod("/data/shut/empty", 0)
put("/data/names/one", b"several names")
os.makedirs("/data/other")
os.link("/data/names/one", "/data/names/two")
os.link("/data/names/one", "/data/other/three")
put("/data/was-linked", b"lost its other name")
os.link("/data/was-linked", "/data/gone"); os.unlink("/data/gone")
os.symlink("/nowhere/" + "x" * 3000, "/data/dangling")
os.symlink("../data/names", "/data/to-directory")
os.symlink(b"\xff\xfe", "/data/odd-target")
os.lchown("/data/dangling", 7, 8)
os.utime("/data/to-directory", ns=(1, 1111111111_111111111), follow_symlinks=False)
with open("/data/sparse", "wb") as file:
    file.seek(700 * 2**20); file.write(b"in the middle"); file.truncate(900 * 2**20)
with open("/data/zeros", "wb") as file:
    file.write(bytes(2**20))
put("/data/moved-from/in/it")
os.rename("/data/moved-from", "/data/moved-to")
put("/tmp/kept", b"temporary", 0o640, 1000, 1000)
os.makedirs("/tmp/directory/below")
# what the image has
shutil.rmtree("/usr/share/common-licenses"); put("/usr/share/common-licenses/ours")       # a directory replaced: opaque
os.rename("/etc/passwd", "/etc/passwd.moved"); shutil.copy("/etc/passwd.moved", "/etc/passwd")
os.unlink("/etc/debian_version")
os.unlink("/etc/issue"); put("/etc/issue/is/a/directory/now")
shutil.rmtree("/etc/default"); put("/etc/default", b"a file now")
shutil.rmtree("/etc/skel"); os.symlink("/data", "/etc/skel")
os.chmod("/etc/group", 0o600)
os.chmod("/etc", 0o751); os.chown("/etc", 0, 50)
os.chmod("/", 0o711)
os.chmod("/tmp", 0o1775); os.chown("/tmp", 9, 10)
os.chown("/etc/profile.d", 5, 6)
with open("/etc/profile", "ab") as file:
    file.write(b"# appended\n")
shutil.move("/usr/share/doc/base-files", "/data/documents")
shutil.rmtree("/var/lib/dpkg/info"); os.makedirs("/var/lib/dpkg/info")
# times of the sentry's own making reach the host as the host's: a few milliseconds off
os.utime("/", ns=(1, 1_650_000_000_000000001))
for root in ("/data", "/etc", "/tmp", "/usr/share/common-licenses", "/usr/share/doc", "/var/lib"):
    for number, (directory, below, files) in enumerate(os.walk(root, topdown=False)):
        for name in [*below, *files, "."]:
            path = os.path.join(directory, name)
            if os.path.isfile(path) and os.lstat(path).st_nlink > 1:
                os.utime(path, ns=(1, 1_700_000_000_000000001))
            elif (changed := os.lstat(path).st_mtime_ns) > 1_600_000_000_000000000 and changed < 7_000_000_000_000000000:
                os.utime(path, ns=(1, changed - number), follow_symlinks=False)
"""
"""Files, links and directories with every attribute that a sandbox can give them, and every kind of change to what the image brought.

What is not there, because the sentry has it in memory alone or refuses it: FIFOs, sockets, device nodes, extended attributes.
"""

EDITS: Final = r"""
import os, random, shutil, sys
rng = random.Random(int(sys.argv[1]))
def pick(kinds):
    found = []
    for root in ("/data", "/usr/share/doc", "/etc/init.d", "/opt"):
        for directory, below, files in os.walk(root):
            found += [os.path.join(directory, name) for name in sorted(below if kinds == "directories" else files)]
    found = [path for path in found if not (kinds == "directories" and os.path.islink(path))]
    return rng.choice(sorted(found)) if found else None
def fresh():
    base = rng.choice(["/data", "/opt", pick("directories") or "/data"])
    os.makedirs(base, exist_ok=True)
    return os.path.join(base, f"{rng.choice('abcdef')}{rng.randrange(4)}")
def clear(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
for _ in range(25):
    file, directory, new = pick("files"), pick("directories"), fresh()
    clear(new)
    if not os.path.isdir(os.path.dirname(new)):
        continue
    if file is not None and not os.path.lexists(file): file = None
    if directory is not None and not os.path.isdir(directory): directory = None
    what = rng.randrange(11)
    if what == 0: open(new, "wb").write(rng.randbytes(rng.randrange(50_000)))
    elif what == 1: os.makedirs(os.path.join(new, "x", "y")); open(os.path.join(new, "x", "f"), "w").write(new)
    elif what == 2 and file: os.unlink(file)
    elif what == 3 and directory: shutil.rmtree(directory)
    elif what == 4 and directory: shutil.rmtree(directory); os.mkdir(directory); open(directory + "/replaced", "w").write("r")
    elif what == 5 and file and not os.path.islink(file): open(file, "ab").write(b"more")
    elif what == 6 and file and not os.path.islink(file): os.link(file, new)
    elif what == 7: os.symlink(file or "/nowhere", new)
    elif what == 8 and directory and not new.startswith(directory + "/"): shutil.move(directory, new)
    elif what == 9 and file and not os.path.islink(file): os.chmod(file, rng.choice([0o600, 0o755, 0o4711]))
    elif what == 10 and directory: os.chmod(directory, rng.choice([0o700, 0o1777]))
os.makedirs("/data", exist_ok=True)
"""
"""Some edits that follow from the seed in its argument."""


def python(sandbox: RawSandbox, script: str, *arguments: str) -> str:
    """Run a script that must succeed; returns what it prints."""
    exec_id = sandbox.start("python3", "-c", script, *arguments)
    output = sandbox.output(exec_id)
    assert sandbox.wait(exec_id).exit_code == 0, sandbox.output(exec_id, fd=2).decode("utf-8", "replace")[-2000:]
    return output.decode()


def manifest(sandbox: RawSandbox, *roots: str, exact: bool = True) -> list[str]:
    """All there is to know of a sandbox's files below ``roots``. Not ``exact``: without mtimes, hard links and told sizes.

    The sentry keeps times by its own clock, and of several names of one file each has what it saw last; a copy shows what the host has.
    """
    return python(sandbox, MANIFEST, "exact" if exact else "", *(roots or ROOTS)).splitlines()
