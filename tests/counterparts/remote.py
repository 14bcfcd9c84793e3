"""Tests remote devices over the service: what pymodbus and libmodbus serve, read as pysunspec2's client reads it. Its parts
beside it are about devices that do wrong, about the course of a test, and about other meters.

Runs in a network namespace of its own, which needs root; nothing of the machine's own network is touched.
"""

import math
import os
import re
import struct
import subprocess
import sys

import sunspec_device as sunspec
from meter import ROOT, Meter, Tally
from remote_course import cancelling, growing, locked, stopped
from remote_faults import refusals, serial_faults, tcp_faults
from remote_meters import other_meters
from remote_setup import Outcome, Servers, bound, free_port, listening, modbus, namespace

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
    servers.on_line(ends["USB1"][1])
    servers.pymodbus("rtu", ends["USB2"][1], (3, 40000, content))
    servers.on_line(ends["USB2"][1])
    compare(tally, "libmodbus on a line", Outcome(meter, "slowd", "modbus://sunspec.1@USB1:9600"), theirs)
    compare(tally, "pymodbus on a line", Outcome(meter, "slowd", "modbus://sunspec.3@USB2:9600/8n1"), theirs)
    outcome = Outcome(meter, "slowd", "modbus://sunspec.9@USB1:9600")
    told = "Timeout" in outcome.error and "unit 9" in outcome.error and "unit id" in outcome.error
    tally.check("libmodbus on a line, a foreign unit: silence is told", told and outcome.took < 30, outcome)
    port = free_port()
    servers.start("socat", f"TCP-LISTEN:{port},bind=127.0.0.1,fork", f"{ends['USB1'][0]},raw,echo=0")
    bound(port)
    compare(
        tally,
        "libmodbus behind a serial server",
        Outcome(meter, "slowd", f"modbus://sunspec.1@127.0.0.1:{port}"),
        theirs,
    )


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
        locked(tally)
        stopped(tally)
    tally.close()


if __name__ == "__main__":
    main()
