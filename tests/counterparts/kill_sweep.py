"""Kills the service with SIGKILL at batch boundaries and at seeded random moments of restore, zero and split.

After each kill it starts again, and then: the database is sound, the token that was given answers, the operation ends
by itself, and every row and counter is what an undisturbed run gives. A command without an answer is either not begun
at all, with nothing changed, or ends the same way.

Usage: kill_sweep.py POINTS [SEED]
"""

import base64
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import threading
import time

from meter import Meter, Tally, backup_text, chunks

REGISTERS = [("A", "P"), ("A+", "P"), ("B", "P"), ("B+", "P"), ("V", "V"), ("T", "d")]
START = 1_600_000_000
BASE_ROWS = 60_000
CHUNK_ROWS = 60_000
# The reply comes at once, so that a token is in hand before the first batch is done.
LIMITS = {"reply_seconds": 0}


def history(rng, start, rows, step):
    """Counters that go both ways, with gaps: rows youngest first."""
    counters = [rng.randrange(10**9) for _ in REGISTERS]
    res = []
    ts = start
    for _ in range(rows):
        ts += step if rng.random() > 0.001 else step * rng.randrange(2, 50)
        for at in range(len(counters) - 1):
            counters[at] += rng.randrange(-1000, 3000)
        counters[-1] = rng.randrange(100)
        res.append((ts, list(counters)))
    res.reverse()
    return res


def prepare(folder):
    """A state folder with some history, stopped in good order."""
    rng = random.Random(7)
    text = backup_text(REGISTERS, history(rng, START, BASE_ROWS, 60))
    meter = Meter(demo=False, state=folder, limits=LIMITS).start()
    for chunk in chunks(text, 30_000):
        status = meter.restore(chunk, more_chunks=True)
        assert "error" not in status, status
    assert meter.stop() == 0
    meter.remove()


def commands():
    rng = random.Random(8)
    # Finer than what is there, reaching over both ends of it in part.
    text = backup_text(REGISTERS, history(rng, START + 600_000, CHUNK_ROWS, 30))
    data = base64.b64encode(next(chunks(text, CHUNK_ROWS))).decode()
    return {
        "restore": {"action": "restore", "data": data},
        "zero": {"action": "zero", "from": str(START + 1000), "regs": [0, 2, 5]},
        "split": {"action": "split"},
    }


class Run:
    """One command on a copy of the base folder."""

    def __init__(self, base, body):
        self.folder = tempfile.mkdtemp(prefix="meterd-kill-")
        self.state = os.path.join(self.folder, "state")
        shutil.copytree(base, self.state)
        self.body = body
        self.reply = None
        self.meter = Meter(demo=False, state=self.state, limits=LIMITS).start()
        self.meter.login()

    def send(self):
        try:
            self.reply = self.meter.db(**self.body)
        except Exception:
            # The service was killed before it could answer.
            self.reply = None

    def close(self):
        self.meter.remove()
        shutil.rmtree(self.folder, ignore_errors=True)


def batches(path, limit, stop, reached):
    """Counts committed batches of the youngest operation and calls `reached` right after the `limit`-th, or after the
    last one if there are fewer."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
    query = "SELECT id, position, outcome FROM op ORDER BY id DESC LIMIT 1"
    last, seen = connection.execute(query).fetchone(), 0
    before = last[0]
    while not stop.is_set():
        row = connection.execute(query).fetchone()
        if row != last:
            # The first change is the begin row.
            last, seen = row, seen + 1
            if seen > limit or (row[0] > before and row[2]):
                reached()
                break
    connection.close()
    return seen - 1


def undisturbed(base, body):
    """What the command gives when nothing goes wrong: rows, seconds, number of batches."""
    run = Run(base, body)
    count = []
    stop = threading.Event()
    watch = lambda: count.append(batches(f"{run.state}/meter.db", 10**6, stop, lambda: None))
    watcher = threading.Thread(target=watch)
    watcher.start()
    before = time.monotonic()
    run.send()
    assert "token" in run.reply, run.reply
    status = run.meter.finish(run.reply["token"])
    seconds = time.monotonic() - before
    stop.set()
    watcher.join()
    assert "error" not in status, status
    res = run.meter.rows()
    run.close()
    return res, seconds, count[0]


def point(base, body, before, after, tally, name, boundary=None, delay=None):
    run = Run(base, body)
    sender = threading.Thread(target=run.send)
    if boundary is not None:
        stop = threading.Event()
        watcher = threading.Thread(target=batches, args=(f"{run.state}/meter.db", boundary, stop, run.meter.kill))
        watcher.start()
        sender.start()
        watcher.join(timeout=20)
        stop.set()
        watcher.join()
    else:
        sender.start()
        time.sleep(delay)
    if run.meter.process.poll() is None:
        run.meter.kill()
    sender.join()
    run.meter.start()
    sound = run.meter.sound()
    with run.meter.database() as connection:
        begun = connection.execute("SELECT count(*) FROM op WHERE kind = ?", [body["action"]]).fetchone()[0] > before[2]
    detail = ""
    if run.reply and "token" in run.reply:
        status = run.meter.finish(run.reply["token"])
        truthful = status["done"] and "error" not in status
        detail = str(status)
        begun_or_lost = begun
    else:
        truthful, begun_or_lost = True, True
        until = time.monotonic() + 60
        while begun and time.monotonic() < until:
            with run.meter.database() as connection:
                if connection.execute("SELECT outcome FROM op ORDER BY id DESC LIMIT 1").fetchone()[0]:
                    break
            time.sleep(0.02)
    expected = after if begun else before[:2]
    same = run.meter.rows() == expected
    left = os.listdir(os.path.join(run.state, "staged"))
    holds = sound and truthful and begun_or_lost and same and not left
    tally.check(name, holds, f"sound={sound} truthful={truthful} kept={begun_or_lost} same={same} left={left} {detail}")
    run.close()
    return begun


def main():
    points = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    rng = random.Random(seed)
    tally = Tally()
    base = os.path.join(tempfile.mkdtemp(prefix="meterd-base-"), "state")
    prepare(base)
    bodies = commands()
    probe = Run(base, bodies["zero"])
    before_rows = probe.meter.rows()
    counts = {}
    with probe.meter.database() as connection:
        for kind in bodies:
            counts[kind] = connection.execute("SELECT count(*) FROM op WHERE kind = ?", [kind]).fetchone()[0]
    probe.close()
    for number, (kind, body) in enumerate(bodies.items()):
        share = points // 3 + (1 if number < points % 3 else 0)
        after, seconds, count = undisturbed(base, body)
        before = (*before_rows, counts[kind])
        tally.check(f"{kind}: undisturbed, {seconds:.2f} s, {count} batches, changes the database", after != before_rows)
        begun = 0
        for at in range(share):
            if at % 2 == 0:
                boundary = at // 2 % (count + 1)
                name = f"{kind}: killed after batch {boundary}"
                begun += point(base, body, before, after, tally, name, boundary=boundary)
            else:
                delay = rng.uniform(0, seconds)
                name = f"{kind}: killed after {delay * 1000:.0f} ms"
                begun += point(base, body, before, after, tally, name, delay=delay)
        tally.check(f"{kind}: at least half of the kills hit a begun operation", 2 * begun >= share, f"{begun}/{share}")
    shutil.rmtree(os.path.dirname(base), ignore_errors=True)
    tally.close()


main()
