"""The disk under test: the folder that an unchanged program works on with disk.c preloaded, what fails there, and what of
it a power cut would leave.

A trace holds every change in order, with what was synced and when answers left. `Replay` walks through it and knows, at
each point, which writes, truncations and names a disk may still forget; `Replay.cut` makes a folder of one of the many
outcomes. It is stricter than any file system: a file's sync does not make its name durable, only its folder's does; a
sync that failed never makes good what it was to write; sectors of an unsynced write reach the disk in any order, or in part.
"""

import collections
import ctypes
import json
import mmap
import os
import random
import shutil
import struct
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TARGET = os.path.join(os.path.dirname(os.path.dirname(HERE)), "target")
SECTOR = 512
# In memory: what a disk would forget is simulated, so nothing is gained by waiting for a real one.
SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
RECORD = struct.Struct("<IcBHHHIQQ")
NEVER, ONCE, FROM_THEN_ON = range(3)
# How much of what was not synced survives, from a mere kill of the process to a disk without any order.
OPEN, CERTAIN, CHANCE = range(3)
KINDS = ("killed", "forgets", "journal", "scattered")


class Control(ctypes.Structure):
    """disk.c has the same layout."""

    _fields_ = [
        ("calls", ctypes.c_uint64),
        ("at", ctypes.c_uint64),
        ("mode", ctypes.c_uint32),
        ("error", ctypes.c_int32),
        ("hits", ctypes.c_uint64),
        ("clock_off", ctypes.c_int64),
    ]


def library():
    """disk.c, compiled once."""
    source, res = os.path.join(HERE, "disk.c"), os.path.join(TARGET, "faults-disk.so")
    if not os.path.exists(res) or os.path.getmtime(res) < os.path.getmtime(source):
        draft = f"{res}.{os.getpid()}"
        subprocess.run(["gcc", "-O1", "-Wall", "-shared", "-fPIC", "-o", draft, source, "-ldl"], check=True)
        os.replace(draft, res)
    return res


class Disk:
    """A folder that is watched; everything that is started with `env` works on this disk."""

    def __init__(self):
        self.dir = os.path.realpath(tempfile.mkdtemp(prefix="meterd-faults-", dir=SCRATCH))
        self.root = os.path.join(self.dir, "disk")
        os.mkdir(self.root)
        self.trace, control = os.path.join(self.dir, "trace"), os.path.join(self.dir, "control")
        open(self.trace, "w").close()
        with open(control, "wb+") as file:
            file.truncate(ctypes.sizeof(Control))
            self.control = Control.from_buffer(mmap.mmap(file.fileno(), ctypes.sizeof(Control)))
        self.env = {"LD_PRELOAD": library(), "FAULT_ROOT": self.root, "FAULT_CONTROL": control, "FAULT_TRACE": self.trace}

    def lay(self, image):
        """Puts a copy of a folder on the disk, in the place of what is there, and forgets what was noted of it."""
        shutil.rmtree(self.root)
        shutil.copytree(image, self.root, symlinks=True)
        os.truncate(self.trace, 0)
        self.control.calls = self.control.hits = self.control.clock_off = 0
        self.works()
        self.inodes = {}
        for folder, _, files in os.walk(self.root):
            for name in files:
                path = os.path.join(folder, name)
                self.inodes[os.stat(path).st_ino] = path[len(self.root) :]

    def fails(self, at, mode, error):
        """Lets the change number `at` from now fail, or all from there."""
        self.control.error, self.control.at, self.control.hits = error, self.control.calls + at, 0
        self.control.mode = mode

    def works(self):
        """The fault is over."""
        self.control.mode = NEVER

    def mark(self, told, port=0):
        """Notes what somebody was told: by the last answer to this port, or by what has happened up to now."""
        data = json.dumps(told).encode()
        with open(self.trace, "ab", buffering=0) as file:
            file.write(RECORD.pack(RECORD.size + len(data), b"M", 0, 0, 0, 0, len(data), 0, port) + data)

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)


Change = collections.namedtuple("Change", "kind failed path other call inode offset data")


def read_trace(path):
    """All changes; what a client was told stands where its answer left, not where the client had noted it."""
    with open(path, "rb") as file:
        text = file.read()
    res, at, left = [], 0, {}
    # A service that still runs may be in the middle of a record: what it changes then comes after the moment of reading.
    while at + RECORD.size <= len(text):
        length, kind, failed, n_path, n_other, call, _, inode, offset = RECORD.unpack_from(text, at)
        if len(text) < at + length:
            break
        names = at + RECORD.size
        path, other = text[names : names + n_path].decode(), text[names + n_path : names + n_path + n_other].decode()
        change = Change(kind.decode(), failed, path, other, call, inode, offset, text[names + n_path + n_other : at + length])
        if change.kind == "a":
            left[offset] = len(res)
        elif change.kind == "M" and offset:
            res.insert(left[offset], change)
            left = {port: n + (left[offset] <= n) for port, n in left.items()}
        else:
            res.append(change)
        at += length
    return res


class File:
    """What a file holds for certain, and what happened to it since: [offset, bytes or None for a truncation, its fate]."""

    def __init__(self, content=b"", mode=0o600):
        self.content, self.mode = bytearray(content), mode
        self.pending = []

    def change(self, offset, data):
        self.pending.append([offset, data, OPEN])

    def synced(self, failed):
        for it in self.pending:
            if it[2] == OPEN:
                # After a failure the kernel takes its pages for clean: no later sync writes them again.
                it[2] = CHANCE if failed else CERTAIN
        while self.pending and self.pending[0][2] == CERTAIN:
            apply(self.content, *self.pending.pop(0)[:2])

    def after(self, kind, chance):
        """What is read of it after a cut."""
        res = bytearray(self.content)
        last = chance.randrange(len(self.pending) + 1)
        for n, (offset, data, fate) in enumerate(self.pending):
            if fate == CERTAIN or kind == "killed" or (kind == "journal" and n < last):
                apply(res, offset, data)
            elif kind == "journal" and n == last and data is not None:
                # Torn: the first part of the write that was under way.
                apply(res, offset, data[: chance.randrange(len(data) + 1)])
            elif kind == "scattered":
                scatter(res, offset, data, chance)
        return res


def apply(content, offset, data):
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
    elif data:
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data


def scatter(content, offset, data, chance):
    """Some of a write's sectors, one of them torn; or its length alone."""
    if data is None:
        if chance.random() < 0.5:
            apply(content, offset, None)
        return
    if chance.random() < 0.2 and len(content) < offset + len(data):
        apply(content, offset + len(data), None)
    end = offset + len(data)
    share, at = chance.random(), offset
    torn = chance.randrange(offset, end)
    while at < end:
        until = min(end, at - at % SECTOR + SECTOR)
        if chance.random() < share:
            apply(content, at, data[at - offset : (torn if at <= torn < until else until) - offset])
        at = until


class Replay:
    """A disk as it was at one point of a trace, that began as the folder `image`, laid on a disk that has `inodes`."""

    def __init__(self, image, inodes):
        self.base, self.names = {"": None}, []
        for folder, folders, files in os.walk(image):
            place = folder[len(image) :]
            self.base.update({f"{place}/{name}": None for name in folders})
            for name in files:
                path = os.path.join(folder, name)
                with open(path, "rb") as file:
                    self.base[f"{place}/{name}"] = File(file.read(), os.stat(path).st_mode & 0o777)
        self.files = {inode: self.base[path] for inode, path in inodes.items()}

    def step(self, change):
        """Takes the next change."""
        kind = change.kind
        if kind in "cm":
            made = File(mode=change.offset & 0o777) if kind == "c" else None
            if made:
                self.files[change.inode] = made
            self.names.append(Name("make", change.path, made))
        elif kind == "u":
            self.names.append(Name("remove", change.path))
        elif kind == "r":
            self.names.append(Name("move", change.path, other=change.other))
        elif kind in "wt":
            self.files[change.inode].change(change.offset, change.data if kind == "w" else None)
        elif kind == "s":
            self.files[change.inode].synced(change.failed)
        elif kind == "d" and not change.failed:
            self.sync_names(change.path)
        elif kind == "S":
            self.sync_names(None)
            for it in self.files.values():
                it.synced(False)

    def sync_names(self, folder):
        for it in self.names:
            it.synced(folder)
        while self.names and self.names[0].is_durable():
            self.names.pop(0).apply(self.base)

    def namespace(self, survives):
        res = dict(self.base)
        for it in self.names:
            if it.is_durable() or survives(it):
                it.apply(res)
        return res

    def cut(self, kind, chance, into):
        """Makes the folder that a start finds after a cut at this point."""
        last = chance.randrange(len(self.names) + 1)
        share = chance.random()
        survives = {
            "killed": lambda _: True,
            "forgets": lambda _: False,
            "journal": lambda it: it in self.names[:last],
            "scattered": lambda _: chance.random() < share,
        }[kind]
        names = self.namespace(survives)
        shutil.rmtree(into, ignore_errors=True)
        for path in sorted(names):
            file, place = names[path], into + path
            if path and not os.path.isdir(os.path.dirname(place)):
                # Its folder is lost, and all that was in it.
                continue
            if file is None:
                os.mkdir(place, 0o700)
            else:
                fd = os.open(place, os.O_WRONLY | os.O_CREAT, file.mode)
                content = file.after(kind, chance)
                os.write(fd, content) if content else None
                os.close(fd)


class Name:
    """A name that was made, removed or moved."""

    def __init__(self, kind, path, made=None, other=None):
        self.kind, self.path, self.made, self.other = kind, path, made, other
        # A move between two folders is one change, which needs both.
        self.unsynced = {it.rpartition("/")[0] for it in (path, other) if it}

    def synced(self, folder):
        self.unsynced -= self.unsynced if folder is None else {folder}

    def is_durable(self):
        return not self.unsynced

    def apply(self, names):
        if self.kind == "make":
            names[self.path] = self.made
        elif self.kind == "remove":
            for path in below(names, self.path):
                del names[path]
        else:
            moved = {self.other + path[len(self.path) :]: names.pop(path) for path in below(names, self.path)}
            names.update(moved)


def below(names, top):
    return [path for path in names if path == top or path.startswith(top + "/")]


def chance(*seed):
    return random.Random(repr(seed))
