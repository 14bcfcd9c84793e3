"""A part of remote.py: the course of a test. It grows before the eyes of whoever waits, and it can be cancelled at any
moment, also while another program has the database locked; an end of the service is told from a cancellation."""

import os
import socket
import sqlite3
import time

import modbus_faults as faults
import sunspec_device as sunspec
from meter import Meter
from remote_setup import begin, modbus


def cancelling(tally, meter, ends):
    """In every phase: how long it takes until the operation is over."""
    content = sunspec.device_bytes([1, 101, 203])
    with faults.Tcp(faults.silent) as mute, faults.Tcp(faults.slowly(0.3), content) as slow, faults.Rtu(
        faults.rtu_silent
    ) as line:
        os.unlink(ends["USB3"][0])
        os.symlink(line.path, ends["USB3"][0])
        never = socket.create_server(("127.0.0.1", 0))
        for name, linktype, address in (
            ("connecting", "modbus", "sunspec.1@10.9.0.7"),
            ("looking up a name", "modbus", "sunspec.1@meter.example"),
            ("waiting for an answer", "modbus", modbus(mute.port)),
            ("walking", "modbus", modbus(slow.port)),
            ("waiting on a line", "slowd", "modbus://sunspec.1@USB3:9600"),
            ("waiting for a meter", "tcp", f"127.0.0.1:{never.getsockname()[1]}"),
        ):
            token = begin(meter, linktype, address)["token"]
            time.sleep(0.8)
            running = not meter.status(token)["done"]
            start = time.monotonic()
            reply = meter.call("POST", "/cmd/cancel", {"token": token})
            status = meter.finish(token)
            took = time.monotonic() - start
            ended = status.get("error") == "CANCELED" and reply.get("status") == "OK"
            tally.check(f"cancelled while {name}: {took * 1000:.0f} ms", running and ended and took < 3, status)
            last = status["result"]["trace"][-1]["msg"]
            tally.check(f"cancelled while {name}: the trace says so", last == "Cancelled.", last)
        never.close()


def growing(tally, meter):
    """Trace and registers grow before the eyes of whoever waits."""
    with faults.Tcp(faults.slowly(0.25), sunspec.device_bytes([1, 101, 203, 103])) as server:
        start = time.monotonic()
        token = begin(meter, "modbus", modbus(server.port))["token"]
        tally.check("the token comes at once", time.monotonic() - start < 3)
        seen, shares, status = [], [], meter.status(token)
        while not status["done"]:
            result = status.get("result") or {"trace": [], "regs": []}
            seen.append((len(result["trace"]), len(result["regs"])))
            shares.append(status["progress"])
            again = begin(meter, "modbus", modbus(server.port)) if len(seen) == 3 else {"error": "is running already"}
            if "running already" not in again.get("error", ""):
                tally.check("a second test at once is refused", False, again)
            time.sleep(0.05)
            status = meter.status(token)
        both = len({it for it, _ in seen}) >= 4 and len({it for _, it in seen}) >= 4
        tally.check("trace and registers grow", both and seen == sorted(seen), seen)
        tally.check(
            "so does the progress",
            len(set(shares)) >= 4 and shares == sorted(shares) and status["progress"] == 1.0,
            shares,
        )
        times = [it["dt"] for it in status["result"]["trace"]]
        tally.check("the trace has its times", times == sorted(times) and 0 <= times[0] < 3 and times[-1] > 1, times)
        good = all(
            set(it) <= {"name", "type", "value", "unit"} and it["name"] and it["type"]
            for it in status["result"]["regs"]
        )
        tally.check("registers have name and type", good and status["result"]["regs"], status)


def locked(tally):
    """Another program has the database for itself: nothing of a running test waits for that."""
    content = sunspec.device_bytes([1, 101, 203, 103])
    with Meter() as meter, faults.Tcp(faults.slowly(0.25), content) as server, faults.Tcp(faults.silent) as mute:
        other = sqlite3.connect(os.path.join(meter.state, "meter.db"), isolation_level=None, timeout=30)
        for name, port in (("walking", server.port), ("waiting for an answer", mute.port)):
            token = begin(meter, "modbus", modbus(port))["token"]
            time.sleep(0.5)
            other.execute("BEGIN IMMEDIATE")
            before = len(meter.status(token)["result"]["trace"])
            time.sleep(1.5)
            status = meter.status(token)
            after = len(status["result"]["trace"])
            grew = before < after if name == "walking" else before == after
            tally.check(f"database locked, {name}: the trace is shown", not status["done"] and grew, f"{before} {after}")
            start = time.monotonic()
            reply = meter.call("POST", "/cmd/cancel", {"token": token})
            status = meter.finish(token)
            took = time.monotonic() - start
            ended = status.get("error") == "CANCELED" and reply == {"status": "OK"}
            # The wait for the lock alone would be two seconds.
            tally.check(f"database locked, {name}: cancelled: {took * 1000:.0f} ms", ended and took < 1.8, status)
            other.execute("ROLLBACK")
            # The database's thread works in order, so that what came before this is on disk then.
            meter.call("POST", "/cmd/clear", "excess")
            meter.kill()
            meter.start()
            again = meter.status(token)
            same = all(again.get(it) == status.get(it) for it in ("error", "result"))
            tally.check(f"database locked, {name}: still cancelled after a kill", same and again["done"], again)
        other.close()


def stopped(tally):
    """A service that is stopped says so, and not that somebody cancelled."""
    with Meter() as meter, faults.Tcp(faults.silent) as mute:
        token = begin(meter, "modbus", modbus(mute.port))["token"]
        time.sleep(0.5)
        code = meter.stop()
        meter.start()
        status = meter.status(token)
        last = status["result"]["trace"][-1]["msg"]
        told = status.get("error") == "INTERRUPTED" and last == "Stopped with the service." and code == 0
        tally.check("a stop of the service is told as such", told, f"{code} {status}")
        ledger = str(meter.call("GET", "/sys/ledger"))
        tally.check("also in the ledger", "Stopped with the service. Start it again." in ledger, ledger[:500])
