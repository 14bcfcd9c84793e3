"""A part of meterctl.py: its files. What is saved first undoes a restore to the byte, and nothing is overwritten but what was
named to be written."""

import os
import shlex
import stat
import subprocess
import threading

from meter import Meter, backup_text
from meterctl_tools import METERCTL, Ctl

REGISTERS = [("Grid", "P"), ("Rare", "P"), ("Door", "d")]
START = 1_700_000_000


def rows(stamps, factor):
    """Youngest first; one of the registers has a sample in every fifth row alone."""
    row = lambda at, ts: (ts, [ts * factor, ts * factor // 7 if at % 5 == 2 else None, at % 2])
    return backup_text(REGISTERS, [row(at, ts) for at, ts in enumerate(stamps)][::-1])


def put(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w") as file:
        file.write(text)
    return path


def undone(tally, meter, ctl, folder):
    """A meter with a hole in its rows, and files that fill it or whose stamps are not the meter's."""
    minutes = lambda *span, off=0: [START + it * 60 + off for it in range(*span)]
    meter.restore(rows(minutes(150) + minutes(250, 400), 3).encode())
    before = meter.backup()
    clip = ["--from", str(START + 2_700), "--to", str(START + 5_000)]
    for name, stamps, more in (
        ("into a gap", minutes(180, 220), []),
        ("across a gap's end", minutes(230, 260), []),
        ("of stamps that are not the meter's", minutes(20, 60, off=30), []),
        ("of coarser rows", minutes(20, 100, 7, off=10), []),
        ("of a part of a file", minutes(20, 100, 7, off=10), clip),
        ("of one register", minutes(20, 60, off=30), ["--regs", "Rare"]),
    ):
        path = put(folder, "undo.txt", rows(stamps, 5))
        saved = os.path.join(folder, "saved.txt")
        status, out, err = ctl.run("restore", path, *more, "--backup", saved, "--yes")
        changed = meter.backup() != before
        tally.check(f"a restore {name}", status == 0 and changed, f"{status} {out} {err}")
        status, out, err = ctl.run("restore", saved, "--yes")
        same = meter.backup() == before
        tally.check("is undone by what was saved first", status == 0 and same, f"{status} {out} {err}")
        n = len(open(saved).read().splitlines()) - 2
        tally.check("which is not more than that takes", n < 140, n)

    path = put(folder, "undo.txt", rows(minutes(390, 420), 5))
    status, _, err = ctl.run("restore", path, "--backup", saved, "--yes")
    tally.check("rows beyond the youngest are said to stay", status == 0 and "after all of them stays" in err, err)
    path = put(folder, "undo.txt", rows(minutes(500, 520), 5))
    status, _, err = ctl.run("restore", path, "--backup", saved, "--yes")
    tally.check("where nothing can be saved, that is said", status == 0 and "cannot be undone" in err, err)


def kept(tally, ctl, folder):
    """The file that is restored is not the one that is written, by whatever name, nor one that has changed since."""
    text = rows([START + it * 60 for it in range(10, 60)], 4)
    path = put(folder, "rows.txt", text)
    link, hard = os.path.join(folder, "link.txt"), os.path.join(folder, "hard.txt")
    os.symlink(path, link)
    os.link(path, hard)
    for name in (path, link, hard):
        for more in ([], ["--as-is"]):
            status, _, err = ctl.run("restore", path, "--backup", name, *more, "--yes")
            refused = status == 2 and "would be lost" in err and open(path).read() == text
            tally.check(f"a backup over the file itself is refused, {os.path.basename(name)} {more}", refused, f"{status} {err}")
    screen = ctl.terminal("restore", path, "--no-backup")
    asked = screen.expect(r"Restore 50 rows")
    with open(path, "a") as file:
        file.write(f"{START},1,1,1\n")
    screen.type("y\n")
    status = screen.end()
    tally.check("a file that changes before it is sent is not sent", asked and status == 6 and "has changed" in screen.text, screen.text)
    status, _, err = ctl.run("zero", "--backup", "-", "--yes")
    tally.check("no backup goes where the result goes", status == 2 and "standard output" in err, err)

    fifo = os.path.join(folder, "fifo")
    os.mkfifo(fifo)
    status, _, err = ctl.run("restore", fifo, "--yes", timeout=20)
    tally.check("a pipe cannot be restored, which names it", status == 6 and "fifo: it is no regular file" in err, err)


def written(tally, meter, ctl, folder):
    """Devices and pipes stay what they are."""
    null, fifo = os.path.join(folder, "null"), os.path.join(folder, "pipe")
    os.mknod(null, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    status, out, err = ctl.run("backup", "--out", null, "--yes")
    still = stat.S_ISCHR(os.lstat(null).st_mode)
    tally.check("a backup into a device leaves it one", status == 0 and still, f"{status} {out} {err}")
    os.mkfifo(fifo)
    got = []
    reader = threading.Thread(target=lambda: got.append(open(fifo).read()), daemon=True)
    reader.start()
    status, out, err = ctl.run("backup", "--out", fifo, "--yes")
    reader.join(10)
    still = stat.S_ISFIFO(os.lstat(fifo).st_mode)
    tally.check("and one into a pipe arrives", status == 0 and still and got == [meter.backup()], f"{status} {out} {err}")


def unread(tally, ctl):
    """Whoever reads may have had enough, which is no mistake of anybody's."""
    for command in ("backup --out -", "man", "--json whoami"):
        # The reader is gone before anything is written.
        pipe = f"{{ sleep 0.3; {shlex.quote(METERCTL)} {command}; }} | true; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, env=ctl.env)
        quiet = not done.stderr and done.stdout == "141\n"
        tally.check(f"{command} without a reader is quiet", quiet, f"{done.stdout} {done.stderr}")


def run(tally, folder):
    folder = os.path.join(folder, "files")
    os.mkdir(folder)
    with Meter(demo=False) as meter:
        ctl = Ctl(f"http://127.0.0.1:{meter.port}")
        undone(tally, meter, ctl, folder)
        kept(tally, ctl, folder)
        written(tally, meter, ctl, folder)
        unread(tally, ctl)
        tally.check("no file and no pipe gets a secret", not ctl.leaks, ctl.leaks)
