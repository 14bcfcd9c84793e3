"""A part of meterctl.py: a restore of many chunks through everything that happens to one: SIGINT, a service that is killed
and started again, a token that ends, a link that breaks in the middle of an upload. What is in the database at the end
must be what an undisturbed restore leaves."""

import gzip
import json
import os
import random
import signal
import socket
import sqlite3
import threading
import time

from meter import Client, Meter, backup_text
from meterctl_tools import Ctl, wait_for
from publisher import free_port

REGISTERS = [("Grid", "P"), ("Solar", "P"), ("Rare", "P"), ("Door", "d")] + [(f"r{it}", "P") for it in range(8)]
ROWS = 12_000
START = 1_600_000_000
# So small that the file takes a dozen of them.
CHUNK = "131072"


def big_file(folder):
    """Rows that are a minute and then ten minutes apart, with fields that are empty and a register that is sampled rarely."""
    chance = random.Random(7)
    rows, ts = [], START
    counters = [0] * len(REGISTERS)
    for at in range(ROWS):
        ts += 600 if at % 2 else 60
        counters = [it + chance.randrange(-1_000_000_000, 2_000_000_000) for it in counters]
        counters[3] = chance.randrange(2)
        fields = [None if chance.random() < 0.02 else it for it in counters]
        if at % 5:
            fields[2] = None
        rows.append((ts, fields))
    path = os.path.join(folder, "big.txt")
    with open(path, "w") as file:
        file.write(backup_text(REGISTERS, rows[::-1]))
    return path


def other_rows():
    """Rows of before, in the gaps of the file: a meter drops those between two chunks only if it knows that the chunks
    belong together."""
    last = START + ROWS // 2 * 660 + 600
    return backup_text(REGISTERS, [(ts, [ts * 3] * len(REGISTERS)) for ts in range(last, START, -330)])


class Link:
    """A way to the meter that can break: the next connection is cut after so many bytes of a request, or of an answer."""

    def __init__(self, port):
        self.port = port
        self.cut_after = self.cut_answer_after = None
        self.cuts = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            client, _ = self.listener.accept()
            try:
                meter = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                client.close()
                continue
            threading.Thread(target=self.carry, args=(client, meter, True), daemon=True).start()
            threading.Thread(target=self.carry, args=(meter, client, False), daemon=True).start()

    def carry(self, source, sink, is_request):
        n = 0
        try:
            while data := source.recv(16384):
                n += len(data)
                if is_request and self.cut_after is not None and self.cut_after < n:
                    self.cut_after = None
                    self.cuts += 1
                    break
                if not is_request and self.cut_answer_after is not None and self.cut_answer_after < n:
                    self.cut_answer_after = None
                    self.cuts += 1
                    break
                sink.sendall(data)
        except OSError:
            pass
        for it in (source, sink):
            try:
                it.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            it.close()


def sent(ctl):
    """Rows that the journal counts as applied, and those on their way."""
    journal = ctl.journal() or {"done": 0, "flight": []}
    return journal["done"] + sum(it["rows"] for it in journal["flight"])


def truth(path, before=None):
    """What a single restore of the whole file leaves, of which meterctl knows nothing."""
    with Meter(demo=False) as meter, open(path, "rb") as file:
        if before:
            meter.restore(gzip.compress(before.encode()))
        assert "error" not in meter.restore(gzip.compress(file.read(), 9))
        return meter.rows()


def interrupted(tally, path, expect):
    meter = Meter(demo=False, listen=[f"127.0.0.1:{free_port()}"]).start()
    ctl = Ctl(f"http://127.0.0.1:{meter.port}")
    restore = ["restore", path, "--chunk", CHUNK, "--yes"]

    process = ctl.start(*restore)
    begun = wait_for(lambda: (ctl.journal() or {}).get("chunks", 0) >= 2 or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    status = process.wait(60)
    journal = ctl.journal()
    left = begun and status == 130 and journal and 0 < journal["done"] < ROWS
    tally.check("SIGINT leaves a restore with 130 and a journal", left, f"{status} {process.output()} {journal}")
    tally.check("and says how to go on", "--resume goes on there" in process.output(), process.output())
    mode = os.stat(ctl.kept("restore")[0]).st_mode & 0o777 if journal else 0
    tally.check("the journal is its owner's alone", mode == 0o600, oct(mode))

    before = sent(ctl)
    process = ctl.start(*restore, "--resume")
    wait_for(lambda: sent(ctl) > before or process.poll() is not None)
    meter.kill()
    killed_at = sent(ctl)
    time.sleep(1)
    alive = process.poll() is None
    meter.start()
    went_on = wait_for(lambda: sent(ctl) > killed_at or process.poll() is not None, 60)
    tally.check("a killed service is waited for", alive and went_on and process.poll() is None, process.output())

    # Somebody ends the token meanwhile, as ten minutes do.
    client = Client(meter.port)
    token = ended = None

    def kept():
        with open(ctl.kept("token")[0]) as file:
            return json.load(file)["jwt"]

    def end():
        nonlocal token, ended
        token = kept()
        ended, _, _ = client.raw("GET", "/auth/logout", headers={"Authorization": "Bearer " + token})
        # Another one than the one in use may have been read, for after the restart there is a new one.
        return ended == 200 or process.poll() is not None

    wait_for(end, 60)
    renewed = wait_for(lambda: process.poll() is not None or kept() != token, 60)
    tally.check("a token that ended is replaced", ended == 200 and renewed, ended)
    status = process.wait(120)
    words = process.output()
    tally.check("the resumed restore ends well and verifies", status == 0 and "Read back" in words, f"{status} {words}")
    tally.check("no row differs from an undisturbed restore", meter.rows() == expect)
    tally.check("the journal is gone", not ctl.kept("restore"), ctl.kept("restore"))
    status, _, err = ctl.run(*restore, "--resume")
    tally.check("then there is nothing to resume", status == 2 and "Leave --resume away" in err, err)
    meter.remove()
    return ctl


def broken_link(tally, path):
    """Uploads that break off: the meter does not join what follows, so meterctl has to."""
    expect = truth(path, other_rows())
    with Meter(demo=False) as meter:
        meter.restore(gzip.compress(other_rows().encode()))
        link = Link(meter.port)
        ctl = Ctl(link.url)
        process = ctl.start("restore", path, "--chunk", CHUNK, "--yes", "--plain")
        cuts = 0
        for _ in range(5):
            n = sent(ctl)
            if not wait_for(lambda: sent(ctl) > n or process.poll() is not None):
                break
            link.cut_after = 40_000
            cuts += 1
            wait_for(lambda: link.cuts == cuts or process.poll() is not None)
        status = process.wait(120)
        words = process.output()
        tally.check("broken uploads are sent again", link.cuts == 5 and status == 0, f"{link.cuts} cuts, {status} {words}")
        tally.check("and leave no seam", meter.rows() == expect)

        out = os.path.join(ctl.dir, "backup.txt")
        link.cut_answer_after = 700_000
        status, reply = ctl.json("backup", "--out", out)
        whole = link.cuts == 6 and status == 0 and open(out).read() == meter.backup()
        tally.check("a backup over a link that breaks is whole", whole, f"{link.cuts} cuts, {reply}")

        process = ctl.start("restore", path, "--chunk", CHUNK, "--yes", "--patience", "2")
        wait_for(lambda: sent(ctl) or process.poll() is not None)
        meter.kill()
        status = process.wait(60)
        words = process.output()
        given_up = status == 4 and "does not answer" in words and ctl.kept("restore")
        tally.check("a meter that stays away is given up, and the journal kept", given_up, f"{status} {words}")
        return ctl


def ranges(tally, path, folder):
    """Part of a file into a database with other rows, against the same by the API alone."""
    rows = [(START + at * 3000, [at * 77, at * 5]) for at in range(2000)]
    other = backup_text(REGISTERS[:2], rows[::-1])
    first, last = START + 1_000_000, START + 3_000_000
    with open(path) as file:
        text = file.read()
    results = []
    for by_ctl in (False, True):
        with Meter(demo=False) as meter:
            full = backup_text(REGISTERS, [(START + 4_000_000, [9] * 12), (START, [1] * 12)])
            meter.restore(full.encode())
            meter.restore(other.encode())
            if by_ctl:
                ctl = Ctl(f"http://127.0.0.1:{meter.port}")
                args = ["restore", path, "--from", str(first), "--to", str(last), "--regs", "Grid,2", "--yes"]
                status, reply = ctl.json(*args, "--chunk", CHUNK, "--backup", os.path.join(folder, "before.gz"))
                right = status == 0 and reply.get("verified") is True and reply["sent"] < ROWS
                tally.check("a part of a file is restored and verified", right, reply)
                after = meter.rows()
                # The increments that were there come back, whatever happened to them.
                status, reply = ctl.json("restore", os.path.join(folder, "before.gz"), "--yes")
                tally.check("the backup that was taken first can be restored", status == 0, reply)
                results.append(after)
            else:
                data = gzip.compress(text.encode(), 9)
                meter.restore(data, **{"from": str(first), "to": str(last), "regs": [0, 2]})
                results.append(meter.rows())
    tally.check("as the API alone would have it", results[0] == results[1])
    return ctl


def spoiled(tally, folder):
    """A meter that stores something else than it was given is found out."""
    small = os.path.join(folder, "small.txt")
    with open(small, "w") as file:
        file.write(backup_text([("Grid", "P")], [(START + at * 60, [at * 7]) for at in reversed(range(100))]))
    with Meter(demo=False) as meter:
        ctl = Ctl(f"http://127.0.0.1:{meter.port}")
        status, reply = ctl.json("restore", small, "--yes")
        tally.check("a good restore verifies", status == 0 and reply["same"] == 99, reply)
        with sqlite3.connect(f"{meter.state}/meter.db", timeout=30) as database:
            for event in ("INSERT", "UPDATE"):
                database.execute(
                    f"CREATE TRIGGER spoil_{event} AFTER {event} ON row WHEN NEW.ts = {START + 600} AND NEW.r0 = 7 "
                    "BEGIN UPDATE row SET r0 = 8 WHERE ts = NEW.ts; END"
                )
        meter.db(action="zero")
        status, reply = ctl.json("restore", small, "--yes")
        found = status == 7 and "Grid at" in reply["error"] and "instead of 7" in reply["error"]
        tally.check("a wrong increment is found and named", found, reply)
        status, _, _ = ctl.run("restore", small, "--yes", "--no-verify")
        tally.check("unless nobody looks", status == 0, status)
    return ctl


def checks(tally, folder):
    """--check needs no meter and names lines."""
    ctl = Ctl("http://127.0.0.1:1")
    good = backup_text([("Grid", "P")], [(120, [2]), (60, [1])])
    for name, text, line in (
        ("good", good, None),
        ("field", good.replace("60,1", "60,x"), "line 4"),
        ("order", good.replace("60,1", "120,1"), "line 4"),
        ("header", good.replace(":P", ""), "line 2"),
        ("other", "PK\x03\x04 something else\n", "line 1"),
    ):
        path = os.path.join(folder, "check.txt")
        with open(path, "w") as file:
            file.write(text)
        status, out, err = ctl.run("restore", path, "--check")
        right = status == 0 and "sound" in out if line is None else status == 6 and line in err
        tally.check(f"restore --check, {name}", right, f"{status} {out} {err}")
    status, out, err = ctl.run("restore", path, "--yes")
    tally.check("what cannot be understood is refused with advice", status == 6 and "--as-is" in err, err)
    return ctl


def high_water(pid):
    """The most memory that a process has had, in KiB; 0 once it is gone."""
    try:
        with open(f"/proc/{pid}/status") as file:
            return next((int(it.split()[1]) for it in file if it.startswith("VmHWM:")), 0)
    except OSError:
        return 0


def memory(tally, folder):
    """A file of many times the memory that restoring it takes beyond what a small one takes."""
    peaks = []
    path = os.path.join(folder, "wide.txt")
    for rows in (10, 16_000):
        with open(path, "w") as file:
            file.write("meterd-backup,1\nts," + ",".join(f"r{it}:P" for it in range(64)) + "\n")
            for at in range(rows):
                fields = ",".join(str((at + 1) * (it + 1) * 2_654_435_761 % 10**12) for it in range(64))
                file.write(f"{1_700_000_000 - at * 60},{fields}\n")
        with Meter(demo=False) as meter:
            ctl = Ctl(f"http://127.0.0.1:{meter.port}")
            process = ctl.start("restore", path, "--yes", "--no-verify")
            peak = 0
            # Not from wait4, which counts in what this Python had when it forked.
            while process.poll() is None:
                peak = max(peak, high_water(process.pid))
                time.sleep(0.01)
        tally.check(f"a wide file of {rows} rows is restored", process.returncode == 0, process.output())
        peaks.append(peak)
    size, more = os.path.getsize(path) // 1024, peaks[1] - peaks[0]
    tally.check("in steady memory", more < size / 2, f"{peaks} KiB for {size} KiB")
    print(f"figure: meterctl restores a backup of {size} KiB with {more} KiB more memory than a tiny one takes")
    return ctl


def run(tally, folder):
    path = big_file(folder)
    expect = truth(path)
    parts = [interrupted(tally, path, expect), broken_link(tally, path), ranges(tally, path, folder)]
    parts += [spoiled(tally, folder), checks(tally, folder), memory(tally, folder)]
    leaks = [it for ctl in parts for it in ctl.leaks]
    tally.check("no restore shows a secret", not leaks, leaks)

