"""Chains of chunks that go wrong, and what restarts do to promises: nothing between two chunks is lost, a cancellation
holds, a resent chunk is recognised, a locked database delays and never breaks an operation."""

import base64
import json
import shutil
import sqlite3
import threading
import time

from meter import Meter, Tally, backup_text, chunks

REGISTERS = [("Grid", "P")]
START = 1_600_000_000
ROWS = 3000
LIMITS = {"reply_seconds": 0}


def text(step):
    return backup_text(REGISTERS, [(START + at * 60, [at * step]) for at in reversed(range(ROWS))])


def body(chunk, **more):
    return {"action": "restore", "data": base64.b64encode(chunk).decode(), **more}


def increments(meter):
    with meter.database() as connection:
        return connection.execute("SELECT count(*), max(r0) FROM row").fetchone()


def fresh():
    meter = Meter(demo=False, limits=LIMITS).start()
    assert "error" not in meter.restore(text(100).encode())
    return meter


def refused_chunk(tally):
    meter = fresh()
    first, second, third = chunks(text(100), ROWS // 3)
    meter.restore(first, more_chunks=True)
    reply = meter.db(**body(second[:-20], more_chunks=True))
    tally.check("a chunk cut short is refused", "error" in reply, reply)
    meter.restore(third)
    tally.check("behind a refused chunk nothing is lost", increments(meter) == (ROWS, 100), increments(meter))
    meter.remove()


def headerless_chunk(tally):
    """A chunk without header lines still finds its header after one of the chain was refused, and is recognised when it is
    sent again, also after a kill."""
    meter = fresh()
    first, second, third = chunks(text(200), ROWS // 3, header=False)
    meter.restore(first, more_chunks=True)
    meter.db(**body(second[:-20], more_chunks=True))
    status = meter.restore(second, more_chunks=True)
    tally.check("the same chunk sent whole is taken", "error" not in status, status)
    status = meter.restore(third)
    tally.check("and so is the last one", "error" not in status, status)
    tally.check("the restored rates are there", increments(meter) == (ROWS, 200), increments(meter))
    meter.kill()
    meter.start()
    status = meter.restore(third)
    tally.check("a resent chunk is recognised after a restart", "error" not in status, status)
    meter.remove()


def big_chunk():
    """Rows older than all others, enough of them to keep the database busy for a moment."""
    return next(chunks(backup_text(REGISTERS, [(START - at * 60, [-at]) for at in range(1, 150_000)]), 150_000))


def caught(attempt):
    """Repeats what needs some luck: to act on an operation between its beginning and its end."""
    for _ in range(8):
        res = attempt()
        if res[0]:
            return res[1]
    return res[1]


def cancelled_chunk(tally):
    def attempt():
        meter = fresh()
        ahead = meter.db(**body(big_chunk()))["token"]
        tokens = []
        for chunk, more in zip(chunks(text(100), ROWS // 3), (True, True, False)):
            tokens.append(meter.db(**body(chunk, more_chunks=more))["token"])
        if not meter.status(tokens[1])["done"]:
            meter.call("POST", "/cmd/cancel", {"token": tokens[1]})
        statuses = [meter.finish(it) for it in (ahead, *tokens)]
        with meter.database() as connection:
            found = connection.execute("SELECT count(*), max(r0) FROM row WHERE ts > ?", [START]).fetchone()
        meter.remove()
        return statuses[2].get("error") == "CANCELED", (statuses[2], found)

    status, found = caught(attempt)
    tally.check("a waiting chunk is cancelled", status.get("error") == "CANCELED", status)
    tally.check("behind a cancelled chunk nothing is lost", found == (ROWS - 1, 100), found)


def cancel_survives(tally, stop):
    def attempt():
        meter = fresh()
        meter.login()
        token = meter.db(**body(big_chunk()))["token"]
        reply = meter.call("POST", "/cmd/cancel", {"token": token})
        (meter.stop if stop == "SIGTERM" else meter.kill)()
        meter.start()
        status = meter.finish(token)
        meter.remove()
        return "status" in reply, (reply, status)

    reply, status = caught(attempt)
    holds = "status" in reply and status.get("error") == "CANCELED"
    tally.check(f"a cancellation answered OK holds over {stop}", holds, (reply, status))


def moved_folder(tally):
    meter = fresh()
    meter.login()
    token = meter.db(**body(big_chunk()))["token"]
    meter.kill()
    moved = meter.state + "-moved"
    shutil.move(meter.state, moved)
    with open(meter.config) as file:
        settings = json.load(file)
    settings["state_dir"] = meter.state = moved
    with open(meter.config, "w") as file:
        json.dump(settings, file)
    meter.start()
    status = meter.finish(token)
    tally.check("an operation goes on in a folder that was moved", "error" not in status, status)
    meter.remove()


def locked(tally):
    """Another process holds the write lock before, while and after an operation begins."""
    meter = fresh()
    other = sqlite3.connect(f"{meter.state}/meter.db", timeout=30, isolation_level=None, check_same_thread=False)
    other.execute("PRAGMA wal_autocheckpoint = 0")
    other.execute("BEGIN IMMEDIATE")
    meter.login()
    timer = threading.Timer(1.5, lambda: other.execute("COMMIT"))
    timer.start()
    token = meter.db(action="zero")["token"]
    other2 = sqlite3.connect(f"{meter.state}/meter.db", timeout=30, isolation_level=None)
    other2.execute("PRAGMA wal_autocheckpoint = 0")
    status = meter.finish(token)
    tally.check("an operation that began beside a lock ends well", "error" not in status, status)
    other2.execute("BEGIN IMMEDIATE")
    before = time.monotonic()
    reply = meter.db(action="split")
    tally.check("a lock for longer is an error that says so", "locked" in reply.get("error", ""), reply)
    tally.check("and not a wait without end", time.monotonic() - before < 9, time.monotonic() - before)
    other2.execute("COMMIT")
    # Where another process writes, batches are short and leave gaps, so that the lock can be had between two of them.
    for number in range(10):
        other2.execute("UPDATE register SET excess = excess + 1")
        rows = [(START - (number * 200_000 + at) * 60, [-at]) for at in range(1, 150_000)]
        token = meter.db(**body(next(chunks(backup_text(REGISTERS, rows), 150_000))))["token"]
        other2.execute("BEGIN IMMEDIATE")
        if not meter.status(token)["done"]:
            break
        other2.execute("COMMIT")
    time.sleep(8)
    waits = not meter.status(token)["done"]
    if other2.in_transaction:
        other2.execute("COMMIT")
    status = meter.finish(token)
    tally.check("an acknowledged operation outlasts a lock of eight seconds", waits and "error" not in status, status)
    meter.remove()


tally = Tally()
refused_chunk(tally)
headerless_chunk(tally)
cancelled_chunk(tally)
for stop in ("SIGTERM", "SIGKILL"):
    cancel_survives(tally, stop)
moved_folder(tally)
locked(tally)
tally.close()
