"""Tests remote devices over the service: what pymodbus and libmodbus serve, read as pysunspec2's client reads it, and
devices that do wrong in every way that a technician meets.

Runs in a network namespace of its own, which needs root; nothing of the machine's own network is touched.
"""

import fcntl
import http.server
import json
import math
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time

import modbus_faults as faults
import sunspec_device as sunspec
from meter import ROOT, Meter, Tally
from remote_setup import Outcome, Servers, begin, free_port, listening, modbus, namespace

# Every family whole, so at least three models of each; a device like in the field at last.
FAMILIES = {
    "common": [1],
    "inverters": [1, 101, 102, 103],
    "inverters, real numbers": [1, 111, 112, 113],
    "settings and status": [1, 120, 121, 122, 123, 124],
    "meters": [1, 201, 202, 203, 204],
    "meters, real numbers": [1, 211, 212, 213, 214],
    "weather": [302, 303, 304, 305, 306, 307, 308],
    "strings, panels, trackers": [401, 402, 403, 404, 501, 502, 601],
    "DER": [1, 701, 702, 713, 714],
    "batteries": [1, 802, 803, 804, 805, 806, 807, 808, 809],
    "an inverter with its meter": [1, 103, 120, 160, 203, 203, 124, 802],
}


def same(ours, theirs):
    """Value and unit of one register, as both clients read them."""
    value, unit = theirs
    if ours is None or ours.get("unit", "") != unit or "value" not in ours:
        return False
    if isinstance(value, str):
        return ours["value"] == value
    return math.isclose(ours["value"], value, rel_tol=1e-12, abs_tol=0)


def compare(tally, name, outcome, theirs):
    """Everything that the client reads, value by value, and nothing else."""
    wanted = sunspec.names(theirs)
    tally.check(f"{name}: done", outcome.tag == "" and outcome.last == "Done.", outcome)
    missing = [it for it in wanted.values() if it not in outcome.regs]
    extra = sorted(set(outcome.regs) - set(wanted.values()))
    tally.check(
        f"{name}: the same {len(wanted)} registers", wanted and not missing and not extra, (missing[:5], extra[:5])
    )
    other = [
        (it, theirs[key], outcome.regs.get(it))
        for key, it in wanted.items()
        if not same(outcome.regs.get(it), theirs[key])
    ]
    tally.check(f"{name}: the same values and units", not other, other[:5])


def families(tally, servers, meter, program):
    """One device for each family, by pymodbus and by libmodbus, at all three bases."""
    devices, bases = {}, {}
    for at, (name, models) in enumerate(FAMILIES.items()):
        base = (40000, 50000, 0)[at % 3]
        devices[name] = (at + 1, base, servers.file(sunspec.device_bytes(models, seed=at)))
        bases[base] = bases.get(base, 0) + 1
    port = servers.pymodbus_tcp(*devices.values())
    for name, (unit, base, path) in devices.items():
        theirs = sunspec.by_client(sunspec.tcp_client(port, unit))
        found = {key[0] for key in theirs}
        tally.check(f"{name}: the client finds all its models", found == set(FAMILIES[name]), found)
        compare(tally, f"pymodbus, {name}", Outcome(meter, "modbus", modbus(port, unit)), theirs)
        own = free_port()
        servers.start(program, "tcp", str(own), str(base), path)
        listening(own)
        compare(tally, f"libmodbus, {name}", Outcome(meter, "modbus", modbus(own)), theirs)
    outcome = Outcome(meter, "modbus", modbus(port, 77))
    tally.check(
        "pymodbus, a foreign unit: words", "exception 04" in outcome.error and "unit id" in outcome.error, outcome
    )
    tally.check("its tag and last line", outcome.tag == "REMOTE" and outcome.last == outcome.error, outcome)


def odd_devices(tally, servers, meter):
    """Models that are not quite as they are defined, and one that nobody knows."""
    parts = [sunspec.device_bytes([it], seed=it)[4:-4] for it in (1, 103, 203)]
    common = parts[0][:2] + struct.pack(">H", 65) + parts[0][4:-2]
    unknown = struct.pack(">HHHHH", 64999, 3, 1, 2, 3)
    longer = parts[1][:2] + struct.pack(">H", 55) + parts[1][4:] + b"\x12\x34" * 5
    end = struct.pack(">HH", 0xFFFF, 0)
    content = b"SunS" + common + unknown + longer + parts[2] + end
    port = servers.pymodbus_tcp((1, 40000, servers.file(content)), (2, 40000, servers.file(content[:-2])))
    plain = b"SunS" + b"".join(parts) + end
    theirs = sunspec.by_client(sunspec.tcp_client(servers.pymodbus_tcp((1, 40000, servers.file(plain))), 1))
    for unit, name in ((1, "lengths that are not the definition's"), (2, "an end of one register")):
        outcome = Outcome(meter, "modbus", modbus(port, unit))
        compare(tally, name, outcome, theirs)
        told = any("64999" in it["msg"] and "not known" in it["msg"] for it in outcome.result["trace"])
        tally.check(f"{name}: the unknown model is named", told, outcome)


def serial(tally, servers, meter, program, ends):
    """libmodbus and pymodbus at the other end of a line."""
    content = servers.file(sunspec.device_bytes([1, 101, 203, 160], seed=5))
    tcp = servers.pymodbus_tcp((1, 40000, content))
    theirs = sunspec.by_client(sunspec.tcp_client(tcp, 1))
    servers.start(program, "rtu", ends["USB1"][1], "40000", content, "1")
    servers.pymodbus("rtu", ends["USB2"][1], (3, 40000, content))
    time.sleep(2)
    compare(tally, "libmodbus on a line", Outcome(meter, "slowd", "modbus://sunspec.1@USB1:9600"), theirs)
    compare(tally, "pymodbus on a line", Outcome(meter, "slowd", "modbus://sunspec.3@USB2:9600/8n1"), theirs)
    outcome = Outcome(meter, "slowd", "modbus://sunspec.9@USB1:9600")
    told = "Timeout" in outcome.error and "unit 9" in outcome.error and "unit id" in outcome.error
    tally.check("libmodbus on a line, a foreign unit: silence is told", told and outcome.took < 15, outcome)
    port = free_port()
    servers.start("socat", f"TCP-LISTEN:{port},bind=127.0.0.1,fork", f"{ends['USB1'][0]},raw,echo=0")
    time.sleep(0.5)
    compare(
        tally,
        "libmodbus behind a serial server",
        Outcome(meter, "slowd", f"modbus://sunspec.1@127.0.0.1:{port}"),
        theirs,
    )


def tcp_faults(tally, meter):
    """How each fault is told; the words that must be there, and how long it may take."""
    content = sunspec.device_bytes([1, 101])
    for name, spoil, words, seconds in (
        ("silence", faults.silent, ("Timeout", "unit 1 does not answer", "unit id"), 14),
        ("silence in between", faults.silent_after(4), ("Timeout", "unit 1 answered before"), 10),
        ("exception 04", faults.refuse(4), ("exception 04", "unit id"), 3),
        ("exception 0B", faults.refuse(11), ("exception 0B", "gateway", "unit id"), 3),
        ("a wrong transaction id", faults.wrong_transaction, ("transaction id",), 3),
        ("a wrong unit", faults.wrong_unit, ("Unit 0 answered instead of unit 1",), 3),
        ("a wrong length", faults.wrong_length, ("wrong length",), 3),
        ("a short frame", faults.short, ("too short", "10 of 13 bytes"), 6),
        ("a short frame and the end", faults.short_and_gone, ("too short",), 3),
        ("a closed connection", faults.gone, ("closed the connection",), 3),
        ("another protocol", faults.banner, ("does not speak Modbus/TCP",), 3),
        ("messages without end", faults.endless, ("without end",), 3),
        ("bytes without end", faults.garbage, ("does not speak Modbus/TCP",), 3),
    ):
        with faults.Tcp(spoil, content) as server:
            outcome = Outcome(meter, "modbus", modbus(server.port))
            told = (
                all(it in outcome.error for it in words) and outcome.tag == "REMOTE" and outcome.last == outcome.error
            )
            tally.check(f"{name} is told", told and outcome.took < seconds, outcome)
    with faults.Tcp(faults.good, b"\0\1\0\2\0\3") as server:
        outcome = Outcome(meter, "modbus", modbus(server.port))
        told = all(it in outcome.error for it in ("not as a SunSpec device", "40000 holds 0001 0002", "50000"))
        tally.check("a device without SunSpec is told", told, outcome)
    with faults.Tcp(faults.good, b"SunS" + struct.pack(">HH", 101, 65000)) as server:
        outcome = Outcome(meter, "modbus", modbus(server.port))
        tally.check("a list beyond the last register is told", "does not end" in outcome.error, outcome)
    with faults.Tcp(faults.one_by_one, content) as server:
        outcome = Outcome(meter, "modbus", modbus(server.port))
        tally.check("answers may come byte by byte", outcome.tag == "" and "W" in outcome.regs, outcome)
    for name, address, words, seconds in (
        ("refused", f"127.0.0.1:{free_port()}", ("refused", "Check the port"), 3),
        ("no route", "10.8.0.1:502", ("10.8.0.1:502", "No route"), 3),
        ("nobody there", "10.9.0.7:502", ("Timeout", "10.9.0.7:502", "firewall"), 25),
        ("no name server", "meter.example:502", ("meter.example", "no answer"), 25),
    ):
        outcome = Outcome(meter, "modbus", f"sunspec.1@{address}")
        tally.check(f"{name} is told", all(it in outcome.error for it in words) and outcome.took < seconds, outcome)


def serial_faults(tally, meter, ends):
    content = sunspec.device_bytes([1, 101])
    line, device = ends["USB3"]
    for name, spoil, words in (
        ("silence on a line", faults.rtu_silent, ("Timeout", "no answer from unit 1", "unit id")),
        ("a bad CRC", faults.rtu_bad(), ("CRC", "parity")),
        ("a short frame on a line", faults.rtu_short, ("too short", "6 of 9 bytes")),
        ("another unit on a line", faults.rtu_other_unit, ("Unit 9 answered instead of unit 1",)),
        ("noise without end", faults.rtu_noise, ("without end",)),
        ("one bad CRC", faults.rtu_bad(1), ()),
        ("every third answer lost", faults.rtu_every_third_lost, ()),
        ("an echo with noise", faults.rtu_echo, ()),
        ("an echo long before the answer", faults.rtu_clean_echo, ()),
        ("nothing wrong", faults.rtu_good, ()),
    ):
        with faults.Rtu(spoil, content) as at:
            os.path.lexists(line) and os.unlink(line)
            os.symlink(at.path, line)
            outcome = Outcome(meter, "slowd", "modbus://sunspec.1@USB3:9600")
            held = all(it in outcome.error for it in words) if words else outcome.tag == "" and "W" in outcome.regs
            tally.check(f"{name} is {'told' if words else 'lived with'}", held and outcome.took < 25, outcome)
            if not words:
                continue
            tally.check(
                f"{name}: its tag and last line", outcome.tag == "REMOTE" and outcome.last == outcome.error, outcome
            )
    with faults.Rtu(faults.rtu_silent) as at:
        os.unlink(line)
        os.symlink(at.path, line)
        threading.Timer(0.5, at.unplug).start()
        outcome = Outcome(meter, "slowd", "modbus://sunspec.1@USB3")
        tally.check("a pulled adapter is told", "pulled out" in outcome.error and outcome.took < 3, outcome)
        outcome = Outcome(meter, "slowd", "modbus://sunspec.1@USB3")
        tally.check("a port that is not there is told", "no such serial port" in outcome.error, outcome)
    with faults.Rtu(faults.rtu_good, content) as at, open(at.path, "rb", buffering=0) as port:
        os.unlink(line)
        os.symlink(at.path, line)
        fcntl.flock(port, fcntl.LOCK_EX)
        outcome = Outcome(meter, "slowd", "modbus://sunspec.1@USB3")
        tally.check("a port in use is told", "another program uses" in outcome.error, outcome)


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
            tally.check(f"cancelled while {name}: {took * 1000:.0f} ms", running and ended and took < 2, status)
            last = status["result"]["trace"][-1]["msg"]
            tally.check(f"cancelled while {name}: the trace says so", last == "Cancelled.", last)
        never.close()


def growing(tally, meter):
    """Trace and registers grow before the eyes of whoever waits."""
    with faults.Tcp(faults.slowly(0.25), sunspec.device_bytes([1, 101, 203, 103])) as server:
        start = time.monotonic()
        token = begin(meter, "modbus", modbus(server.port))["token"]
        tally.check("the token comes at once", time.monotonic() - start < 0.5)
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
        tally.check("the trace has its times", times == sorted(times) and 0 <= times[0] < 0.2 and times[-1] > 1, times)
        good = all(
            set(it) <= {"name", "type", "value", "unit"} and it["name"] and it["type"]
            for it in status["result"]["regs"]
        )
        tally.check("registers have name and type", good and status["result"]["regs"], status)


def named_maps(tally, meter, port):
    outcome = Outcome(meter, "modbus", f"pump.4@127.0.0.1:{port}")
    got = [(it["name"], it["type"], it["value"], it.get("unit")) for it in outcome.result["regs"]]
    wanted = [
        ("Power", "P", -123.4, "W"),
        ("Energy", "P", 16909060, None),
        ("Flow", "Q", 12.5, None),
        ("Maker", "d", "ACME", None),
    ]
    tally.check("a map of the configuration is read", got == wanted and outcome.tag == "", outcome)
    told = any("Missing" in it["msg"] and "exception 02" in it["msg"] for it in outcome.result["trace"])
    tally.check("a register that the device lacks is told", told, outcome)
    outcome = Outcome(meter, "modbus", f"pump.9@127.0.0.1:{port}")
    tally.check("a foreign unit is told", "unit id" in outcome.error, outcome)


class OtherMeter(http.server.BaseHTTPRequestHandler):
    """Answers with its server's `pages`: status, body with `?rate`, body without."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        status, with_rate, plain = self.server.pages
        text = with_rate if "?" in self.path else plain
        body = text if isinstance(text, bytes) else json.dumps(text).encode()
        self.send_response(status if self.path.startswith("/api/register") else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def other_meters(tally, meter):
    def ask(status, with_rate, plain=b""):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), OtherMeter)
        server.pages = (status, with_rate, plain)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            return Outcome(meter, "tcp", f"127.0.0.1:{server.server_port}|async")
        finally:
            server.shutdown()
            server.server_close()

    regs = [{"name": "Grid", "type": "P", "idx": 0, "did": 0}, {"name": "L1", "type": "V", "idx": 1, "did": 1}]
    rates = [dict(it, rate=value) for it, value in zip(regs, (-730.5, 230.1))]
    grid = {"name": "Grid", "type": "P"}
    outcome = ask(200, {"ts": "1", "registers": rates})
    tally.check("another meter with values", outcome.regs.get("Grid") == dict(grid, value=-730.5, unit="W"), outcome)
    outcome = ask(200, {"error": "rate: unknown"}, {"ts": "1", "registers": regs})
    tally.check("another meter without values", outcome.regs.get("Grid") == grid and len(outcome.regs) == 2, outcome)
    for name, status, text, words in (
        ("a login", 401, {"rlm": "x", "nnc": "y", "error": "Authentication required."}, "wants a login"),
        ("no such page", 404, b"not here", "status 404"),
        ("no JSON", 200, b"<html>", "no JSON"),
        ("no list", 200, {"result": 1}, "no list of registers"),
        ("too much", 200, b"[" * 300_000, "longer than"),
    ):
        outcome = ask(status, text, text)
        tally.check(f"another meter, {name}: told", words in outcome.error and outcome.tag == "REMOTE", outcome)
    with Meter() as second:
        outcome = Outcome(meter, "tcp", f"127.0.0.1:{second.port}")
        tally.check("this very service as the other meter wants a login", "wants a login" in outcome.error, outcome)
    with faults.Tcp(faults.banner) as server:
        outcome = Outcome(meter, "tcp", f"127.0.0.1:{server.port}")
        tally.check("another meter, a bad request", "no meter" in outcome.error, outcome)


def refusals(tally, meter):
    for linktype, address, words in (
        ("po", "2@10.0.0.1", 'linktype: "po" is not supported by this meter'),
        ("udp", "10.0.0.1", 'linktype: "udp" is not supported by this meter'),
        ("http", "10.0.0.1", "linktype: unknown"),
        ("slowd", "sma://USB1", "not supported by this meter"),
        ("slowd", "modbus://sunspec.1@/etc/passwd", "address: of paths only"),
        ("modbus", "nomap.1@10.0.0.1", "address: no such map"),
        ("modbus", "sunspec.1@h\r\nX", "address: must name a host"),
    ):
        reply = begin(meter, linktype, address)
        tally.check(
            f"{linktype} {address!r} is refused", words in reply.get("error", "") and "token" not in reply, reply
        )
    with Meter(demo=False, serial_ports={"USB1": "/dev/null"}) as strict, faults.Tcp(faults.good) as server:
        for address in (
            f"127.0.0.1:{server.port}",
            f"[::1]:{server.port}",
            "10.9.0.1:502",
            "169.254.1.1:502",
            "224.0.0.1:502",
        ):
            outcome = Outcome(strict, "modbus", f"sunspec.1@{address}")
            tally.check(f"{address} needs allow_targets", "allow_targets" in outcome.error, outcome)
        outcome = Outcome(strict, "tcp", "127.0.0.1")
        tally.check("so does another meter", "allow_targets" in outcome.error, outcome)
        outcome = Outcome(strict, "slowd", "modbus://sunspec.1@USB1")
        tally.check("a file that is no port is told", "no serial port" in outcome.error, outcome)
    allowed = {"allow_targets": ["127.0.0.0/8"]}
    with Meter(demo=False, **allowed) as strict, faults.Tcp(faults.good, sunspec.device_bytes([1, 101])) as server:
        outcome = Outcome(strict, "modbus", modbus(server.port))
        tally.check("allow_targets allows it", outcome.tag == "" and "W" in outcome.regs, outcome)


def main():
    namespace()
    tally = Tally()
    table = os.path.join(ROOT, "src", "drivers", "remote", "models.py")
    code = subprocess.run([sys.executable, table, "--check"]).returncode
    tally.check("the table of models is that of pysunspec2", code == 0)
    registers = [
        {"name": "Power", "register": 0, "type": "P", "unit": "W", "format": "int16", "scale": 0.1},
        {"name": "Missing", "register": 99, "type": "P"},
        {"name": "Energy", "register": 1, "type": "P", "format": "uint32"},
        {"name": "Flow", "register": 3, "type": "Q", "format": "float32le", "table": "input"},
        {"name": "Maker", "register": 5, "type": "d", "format": "string", "length": 3},
    ]
    content = struct.pack(">hI", -1234, 0x01020304) + b"\0\0\x41\x48" + b"ACME\0\0"
    with Servers() as servers:
        program = servers.libmodbus()
        ends = {it: servers.pty_pair(it) for it in ("USB1", "USB2")}
        ends["USB3"] = (servers.path("USB3"), None)
        port = servers.pymodbus_tcp((4, 0, servers.file(content)))
        config = {
            "serial_ports": {it: paths[0] for it, paths in ends.items()},
            "remote_maps": {"pump": {"registers": registers}},
        }
        with Meter(**config) as meter:
            families(tally, servers, meter, program)
            odd_devices(tally, servers, meter)
            tcp_faults(tally, meter)
            serial_faults(tally, meter, ends)
            cancelling(tally, meter, ends)
            growing(tally, meter)
            named_maps(tally, meter, port)
            other_meters(tally, meter)
            refusals(tally, meter)
            serial(tally, servers, meter, program, ends)
            tally.check("no panic in the log", not re.search("panicked", meter.read_log()))
    tally.close()


if __name__ == "__main__":
    main()
