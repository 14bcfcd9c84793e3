"""A part of remote.py: devices that do wrong in every way that a technician meets, and addresses that are refused; how each
is told, and how long that may take."""

import fcntl
import os
import socket
import struct
import threading

import modbus_faults as faults
import sunspec_device as sunspec
from meter import Meter
from remote_setup import Outcome, begin, free_port, modbus


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
