"""Sets HomePlug passwords over the service on an emulated powerline, in network namespaces of its own.

The emulator (plc_bridge.py) has to satisfy Debian's plctool and int6k before the service meets it, and tshark reads
what the service sent. Most of the time is spent on waiting for silent bridges, so the parts run side by side, each in a
namespace. Needs root, for these; nothing of the machine's own network is touched.

Usage: homeplug.py [PART...]     (all parts by default)
"""

import concurrent.futures
import os
import re
import stat
import subprocess
import sys
import tempfile
import time

import meter as service
from meter import ROOT, Meter, Tally
from plc_bridge import Fault, access_key, mac_bytes, network_id, network_key
from plc_lab import ABSENT, DEK, FAR, LOCAL, NEAR, NEW, SECOND, WRONG
from plc_lab import Capture, Neighbour, Powerline, make_powerline, must, sh

# How many parts share the cases of [faults].
FAULTS = 3


def is_own_namespace():
    return os.environ.get("METERD_TEST_NAMESPACE") == str(os.getppid())


def run_part(name):
    """Runs this script again where it has a network and a /sys of its own, which end with it: what it said."""
    env = dict(os.environ, METERD_TEST_NAMESPACE=str(os.getpid()))
    command = ["unshare", "-n", "-m", sys.executable, os.path.abspath(__file__), name]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    return run.stdout


def moved(line):
    """The bridges that have the new password, by the last byte of their addresses."""
    return " ".join(f"{it.mac[5]:02x}" for it in line.bridges if it.key == network_key(NEW))


def story(line):
    """Which keys were sent, in their order."""
    keys = [it for _, it in line.seen if it[15:17] == b"\x50\xa0"]
    return " ".join("local" if it[37] == 0x0F else f"{it[43]:02x}" for it in keys)


def target(mac, dek=None):
    return f"{mac}/{dek or DEK[mac]}"


def begin(meter, targets, password=NEW):
    return meter.call("POST", "/cmd/homeplug", {"action": "setpwd", "password": password, "targets": targets})


def setpwd(meter, targets, password=NEW):
    """The command to its end: error text of the reply, result, seconds."""
    start = time.monotonic()
    reply = begin(meter, targets, password)
    status = meter.finish(reply["token"]) if "token" in reply else {}
    error = reply.get("error") or " ".join([status["error"], *status.get("args", [])] if "error" in status else [])
    return error, status.get("result") or {}, time.monotonic() - start


def states(result):
    """`changed unchanged / changed, True`."""
    if "targets" not in result:
        return f"{result}"
    targets = " ".join(it["state"] for it in result["targets"])
    return f"{targets} / {result['local']['state']}, {result['verified']}"


def tools(tally):
    """Debian's own tools against the emulator: what it answers has to be what they expect of a bridge."""
    for password in (NEW, "Größe 4 €uro"):
        _, said = sh("hpavkey", "-M", "--", password)
        same = said.split()[:1] == [network_key(password).hex().upper()]
        tally.check(f"hpavkey derives {password!r} likewise", same, said)
    key, dak = network_key(NEW).hex().upper(), access_key(DEK[NEAR]).hex().upper()
    _, said = sh("hpavkey", "-D", "--", DEK[NEAR])
    tally.check("hpavkey derives a DEK likewise", said.split()[:1] == [dak], said)
    for tool in ("plctool", "int6k"):
        # Their own patience is 50 ms, which is little on a busy machine.
        ask = [tool, "-i", "plc0", "-x", "-t", "1000"]
        with Powerline() as line:
            code, said = sh(*ask, "-r", LOCAL)
            tally.check(f"{tool} reads the version", code == 0 and "QCA7420-EMULATED" in said, said)
            code, said = sh(*ask, "-m", LOCAL)
            there = NEAR.upper() in said.upper() and FAR.upper() in said.upper()
            tally.check(f"{tool} lists the network", code == 0 and there, said)
            remote = [*ask, "-J", NEAR, "-K", key, "-D"]
            code, said = sh(*remote, access_key(WRONG).hex().upper())
            tally.check(f"{tool} is refused with a wrong DAK", code == 1 and moved(line) == "", said)
            code, said = sh(*remote, dak)
            tally.check(f"{tool} moves a remote bridge", code == 0 and moved(line) == "57", said)
            code, said = sh(*remote, dak)
            tally.check(f"{tool} does not reach it any more", code == 1, said)
            code, said = sh(*ask, "-M", "-K", key)
            tally.check(f"{tool} moves the local bridge", code == 0 and moved(line) == "56 57", said)
    with Powerline(faults={LOCAL: Fault(length=43)}):
        code, said = sh("plctool", "-i", "plc0", "-x", "-M", "-K", key)
        tally.check("plctool does not take a short answer", code == 1, said)


def golden(capture):
    with open(os.path.join(ROOT, "tests", "data", "homeplug", "golden-frames.tsv")) as file:
        rows = [line.split() for line in file]
    return [bytes.fromhex(row[2]) for row in rows if row[0] == capture]


def good_run(tally, meter):
    with Powerline() as line, Capture() as capture:
        deks = {NEAR: "abcdefghijklmnop", FAR: f" {DEK[FAR].lower()} "}
        error, result, took = setpwd(meter, [target(NEAR, deks[NEAR]), target(FAR, deks[FAR])])
        tally.check("a good run has no error", error == "", error)
        tally.check("its result says so", states(result) == "changed changed / changed, True", result)
        tally.check("and is true", moved(line) == "56 57 58", moved(line))
        tally.check("it takes less than the reply may wait", took < 8, took)
        tally.check("remote bridges come first", story(line) == "57 58 local", story(line))
        keys = [it for _, it in line.seen if it[15:17] == b"\x50\xa0"]
        expect = [it for it in golden("setpwd-sequence") if it[15:17] == b"\x50\xa0"]
        tally.check("the first remote's frame is the golden one", keys[0][6:] == expect[0][6:], keys[0].hex())
        tally.check("the local frame is the golden one", keys[2][6:] == expect[2][6:], keys[2].hex())
        tally.check("to the chosen bridge alone", {it[:6] for it in keys} == {mac_bytes(LOCAL)})
        who = line.seen[0][1]
        tally.check("the call is the golden one to the byte", who == golden("swver-int6k")[0], who.hex())
        code, said = sh("plctool", "-i", "plc0", "-x", "-t", "1000", "-m", LOCAL)
        there = all(it.upper() in said.upper() for it in (network_id(network_key(NEW)).hex(":"), NEAR, FAR))
        tally.check("plctool sees the new network", code == 0 and there, said)
    head = ["eth.dst", "homeplug_av.mmhdr.mmver", "homeplug_av.vendor.oui", "homeplug_av.set_key_req.eks"]
    rest = ["set_key_req.nmk", "nw_info.peks", "set_key_req.rda", "set_key_req.dak"]
    fields = head + [f"homeplug_av.{it}" for it in rest]
    key = network_key(NEW).hex()
    got = capture.read("homeplug_av.mmhdr.mmtype.qualcomm == 0xa050", *fields)
    start = [LOCAL, "0", "0x00b052", "0x01", key]
    expect = [start + ["0x00", mac, access_key(DEK[mac]).hex()] for mac in (NEAR, FAR)]
    expect.append(start + ["0x0f", "00:00:00:00:00:00", "00" * 16])
    plain = [[it.replace(":", "") if at in (4, 7) else it for at, it in enumerate(row)] for row in got]
    numbers = [[re.sub("^0x0+(?=.)", "0x", it) for it in row] for row in plain]
    wanted = [[re.sub("^0x0+(?=.)", "0x", it) for it in row] for row in expect]
    tally.check("tshark decodes the keys and their order", numbers == wanted, got)
    got = capture.read("homeplug_av.set_key_cnf", "homeplug_av.set_key_cnf.status")
    tally.check("tshark sees three good answers", len(got) == 3 and all(int(it[0], 16) == 0 for it in got), got)
    got = capture.read("_ws.malformed", "frame.number")
    tally.check("tshark finds nothing malformed", got == [], got)


def faults(tally, meter, share):
    """Each with two targets: what is reported, what is true, and what the words must contain. `share` is which of
    [FAULTS] parts of the cases."""
    both = [target(NEAR), target(FAR)]
    stop = "unchanged unchanged / unchanged, False"
    half = "changed unchanged / changed, True"
    far_wrong = [target(NEAR), target(FAR, WRONG)]
    doubt = "unknown unchanged / unchanged, False"
    whole = "changed changed / changed, True"
    cases = (
        ("a wrong DEK first", {}, [target(NEAR, WRONG), target(FAR)], stop, "", f"{NEAR} unchanged (refused with"),
        ("a wrong DEK second", {}, far_wrong, half, "56 57", f"{FAR} unchanged (refused with status 0x15"),
        ("an absent bridge", {}, [target(ABSENT), target(FAR)], stop, "", f"{ABSENT} unchanged (refused with"),
        ("a mute one first", {NEAR: Fault(mute=True, done=False)}, both, doubt, "", f"{NEAR} unknown (no answer)"),
        ("a mute one second", {FAR: Fault(mute=True, done=False)}, both,
            "changed unknown / changed, False", "56 57", f"{FAR} unknown (no answer)"),
        ("an answer lost", {FAR: Fault(mute=True)}, both, whole, "56 57 58", ""),
        ("a late one, then a refusal", {NEAR: Fault(late=3.5), FAR: Fault(status=0x15)}, both,
            half, "56 57", f"{FAR} unchanged"),
        ("copies of an answer, then a refusal", {NEAR: Fault(copies=4, gap=0.03), FAR: Fault(status=0x13)}, both,
            half, "56 57", f"{FAR} unchanged"),
        ("a status without a name", {NEAR: Fault(status=0x7F)}, both, stop, "", "0x7f"),
        ("a short answer", {NEAR: Fault(length=43)}, both, doubt, "57", f"{NEAR} unknown"),
        ("a local bridge silent once", {LOCAL: Fault(mute=True, done=False, times=1)}, both, whole, "56 57 58", ""),
        ("a local bridge that refuses", {LOCAL: Fault(status=0x10)}, both,
            "changed changed / unchanged, False", "57 58", "until its own bridge follows"),
    )
    for name, setting, targets, expect, true, words in cases[share::FAULTS]:
        with Powerline(faults=setting) as line:
            error, result, _ = setpwd(meter, targets)
            tally.check(f"{name}: result", states(result) == expect, result)
            tally.check(f"{name}: what is true", moved(line) == true, moved(line))
            tally.check(f"{name}: words", words in error if words else error == "", error)
            for mac in [it.split("/")[0] for it in targets] + [LOCAL] if words else []:
                tally.check(f"{name}: {mac} is named", mac in error, error)


def noise(tally, meter):
    both, doubt = [target(NEAR), target(FAR)], "unknown unchanged / unchanged, False"
    whole = "changed changed / changed, True"
    with Powerline(noise=True) as line:
        error, result, took = setpwd(meter, both)
        tally.check("a flood of noise: result", states(result) == whole and error == "", f"{error} {result}")
        tally.check("a flood of noise: what is true", moved(line) == "56 57 58")
    with Powerline(noise=True, faults={NEAR: Fault(mute=True, done=False)}):
        error, result, took = setpwd(meter, both)
        tally.check("a mute bridge in a flood: result", states(result) == doubt, result)
        tally.check("a mute bridge in a flood: no longer than without", took < 10, took)


def looks(tally, meter):
    """What the look at the new network makes of bridges that list it in their own way, late, or not at all."""
    both, whole = [target(NEAR), target(FAR)], "changed changed / changed, True"
    for layouts in ((0,), (1,)):
        with Powerline(layouts=layouts) as line:
            _, result, _ = setpwd(meter, both)
            tally.check(f"network list of version {layouts[0]}", states(result) == whole, result)
    with Powerline(settle=4) as line:
        error, result, took = setpwd(meter, both)
        tally.check("bridges that restart are waited for", states(result) == whole and error == "", f"{error} {result}")
    with Powerline(layouts=()) as line:
        error, result, took = setpwd(meter, both)
        good = states(result) == "changed changed / changed, False" and "30 s" in result.get("note", "")
        tally.check("without a network list there is a note and no error", good and error == "", f"{error} {result}")


def cancelling(tally, meter):
    # The reply comes after eight seconds; the second target is then given up on, and the third is still waited for.
    mute = Fault(mute=True, done=False, times=9)
    with Powerline(faults={FAR: mute, ABSENT: mute}) as line:
        targets = [target(NEAR), target(FAR), target(ABSENT), target(SECOND, DEK[FAR])]
        reply = begin(meter, targets)
        token = reply["token"]
        tally.check("a slow command is in progress", reply.get("status") == "in progress", reply)
        # The third target is asked when the second has been silent for six seconds, and is silent as long.
        deadline = time.monotonic() + 5
        expect = ["changed", "unknown", "unknown", "unchanged"]
        while True:
            so_far = meter.status(token)
            told = [it["state"] for it in so_far["result"]["targets"]]
            if told == expect or deadline < time.monotonic():
                break
            time.sleep(0.05)
        tally.check("its status shows what is known", told == expect, so_far)
        meter.call("POST", "/cmd/cancel", {"token": token})
        status = meter.finish(token)
        tally.check("cancelled after a bridge moved: error", status.get("error") == "CANCELED", status)
        tally.check("the last is not asked and the local bridge follows", story(line) == "57 58 99 local", story(line))
        tally.check("and that is true", moved(line) == "56 57", moved(line))
        expect = "changed unknown unknown unchanged / changed, False"
        tally.check("the state of each is told", states(status["result"]) == expect, status)


def places(tally, meter):
    """Which bridge is the meter's, and what is said where there is none."""
    one = [target(NEAR)]
    with Powerline(local=(LOCAL, SECOND)) as line:
        error, _, _ = setpwd(meter, one)
        named = all(it in error for it in (LOCAL, SECOND, "homeplug.bridge"))
        tally.check("two local bridges are named with the key", named and story(line) == "", error)
        with Meter(demo=False, homeplug={"interface": "plc0", "bridge": LOCAL.upper()}) as other:
            error, result, _ = setpwd(other, one)
        tally.check("the configured one is taken", states(result) == "changed / changed, True", f"{error} {result}")
        tally.check("and the other is left alone", moved(line) == "56 57", moved(line))
    with Powerline() as line, Meter(demo=False, homeplug={"interface": "plc0", "bridge": SECOND}) as other:
        error, _, _ = setpwd(other, one)
        named = all(it in error for it in (LOCAL, SECOND, "homeplug.bridge"))
        tally.check("a configured one that is not there is named", named and moved(line) == "", error)
    with Powerline(silent=True):
        error, _, took = setpwd(meter, one)
        tally.check("no bridge", "No HomePlug bridge answers on plc0" in error and took < 6, error)
    must("ip", "link", "set", "plc0", "down")
    error, _, _ = setpwd(meter, one)
    tally.check("an interface that is down is named", "plc0 is down" in error, error)
    must("ip", "link", "set", "plc0", "up")
    with Meter(demo=False, homeplug={"interface": "plc9"}) as other:
        error, _, _ = setpwd(other, one)
        tally.check("a missing interface is named", "plc9" in error and "homeplug.interface" in error, error)
    with Meter(demo=False) as other:
        error, _, _ = setpwd(other, one)
        tally.check("a meter without HomePlug names the key", "homeplug" in error, error)
    # As a port of a Linux bridge, the interface itself would hear nothing.
    must("ip", "link", "add", "br-plc", "type", "bridge", "forward_delay", "0")
    must("ip", "link", "set", "br-plc", "up")
    must("ip", "link", "set", "plc0", "master", "br-plc")
    with Powerline() as line:
        deadline = time.monotonic() + 40
        while sh("cat", "/sys/class/net/plc0/brport/state")[1].strip() != "3" and time.monotonic() < deadline:
            time.sleep(0.2)
        error, result, _ = setpwd(meter, one)
        tally.check("a port of a Linux bridge works", states(result) == "changed / changed, True", f"{error} {result}")
    must("ip", "link", "del", "br-plc")


def without_right(tally):
    with tempfile.NamedTemporaryFile("w", prefix="meterd-test-", suffix=".sh", delete=False) as file:
        file.write(f'#!/bin/sh\nexec setpriv --bounding-set -net_raw --inh-caps -net_raw "{service.BINARY}" "$@"\n')
    os.chmod(file.name, stat.S_IRWXU)
    real, service.BINARY = service.BINARY, file.name
    try:
        with Powerline() as line, Meter(demo=False, homeplug={"interface": "plc0"}) as meter:
            error, _, _ = setpwd(meter, [target(NEAR)])
            tally.check("without CAP_NET_RAW it says so", "CAP_NET_RAW" in error and line.seen == [], error)
    finally:
        service.BINARY = real
        os.unlink(file.name)


def secret_log(tally, meter):
    log = meter.read_log()
    for word in [NEW, *DEK.values(), WRONG, network_key(NEW).hex(), access_key(DEK[NEAR]).hex()]:
        tally.check(f"{word[:4]}... is not in the log", word.lower() not in log.lower())


def secrets(tally, meter):
    reply = begin(meter, [target(NEAR, "ABCD-EFGH"), f"{DEK[FAR]}/{FAR}", target(NEAR)], "abc")
    tally.check("a short password is refused", reply.get("error", "").startswith("password"), reply)
    reply = begin(meter, [target(NEAR, "ABCD-EFGH"), f"{DEK[FAR]}/{FAR}", target(FAR)])
    error = reply.get("error", "")
    named = f"1 ({NEAR})" in error and "; 2:" in error and not any(it in error for it in ("K7M2", "ABCD"))
    tally.check("bad targets are all named, without a DEK", named, error)


def over_itself(tally):
    """Asked over the interface that it changes: the reply goes first, and the first frame a second later."""
    port = 8099
    listen = [f"0.0.0.0:{port}", f"[::]:{port}"]
    with Neighbour() as neighbour, Meter(demo=False, homeplug={"interface": "plc2"}, listen=listen) as meter:
        body = {"action": "setpwd", "password": NEW, "targets": [target(NEAR), target(FAR)]}
        for name, address in neighbour.ADDRESSES.items():
            line = neighbour.bridges()
            with Capture("plc2") as capture:
                reply = neighbour.ask(address, port, meter.login(), body)
                tally.check(f"over {name}: in progress", reply.get("status") == "in progress", reply)
                status = meter.finish(reply["token"]) if "token" in reply else {}
                done = states(status.get("result", {}))
                tally.check(f"over {name}: done", done == "changed changed / changed, True", status)
            line.kill()
            times = lambda show: [float(it) for it, in capture.read(show, "frame.time_epoch")]
            asked, replied = (times(f"tcp.{it}port == {port} && tcp.len > 0") for it in ("dst", "src"))
            frames = times("eth.type == 0x88e1")
            if not asked or not replied or not frames:
                tally.check(f"over {name}: all was seen", False, (asked, replied, frames))
                continue
            took, pause = replied[-1] - asked[0], frames[0] - replied[-1]
            tally.check(f"over {name}: the reply comes at once", 0 < took < 5, took)
            tally.check(f"over {name}: the first frame leaves a second after it", 1.0 <= pause < 10, pause)
        line = neighbour.bridges()
        reply = meter.call("POST", "/cmd/homeplug", body)
        line.kill()
        tally.check("asked another way, the reply is the end", reply.get("status") == "OK", reply)


# What runs side by side, and whether it is given a meter on plc0.
PARTS = {
    "tools": (tools, False),
    "good_run": (good_run, True),
    **{f"faults-{it}": (lambda tally, meter, share=it: faults(tally, meter, share), True) for it in range(FAULTS)},
    "noise": (noise, True),
    "looks": (looks, True),
    "cancelling": (cancelling, True),
    "places": (places, True),
    "secrets": (secrets, True),
    "without_right": (without_right, False),
    "over_itself": (over_itself, False),
}


def run_here(name):
    make_powerline()
    tally = Tally()
    run, with_meter = PARTS[name]
    if with_meter:
        with Meter(demo=False, homeplug={"interface": "plc0"}) as meter:
            run(tally, meter)
            secret_log(tally, meter)
    else:
        run(tally)
    tally.close()


def main():
    wanted = sys.argv[1:] or list(PARTS)
    if is_own_namespace():
        run_here(wanted[0])
    tally = Tally()
    with concurrent.futures.ThreadPoolExecutor(len(wanted)) as pool:
        for name, said in zip(wanted, pool.map(run_part, wanted)):
            print(said.rpartition("\n")[0].rpartition("\n")[0])
            counts = re.search(r"^(\d+) passed, (\d+) failed\n\Z", said, re.M)
            if counts:
                tally.passed, tally.failed = tally.passed + int(counts[1]), tally.failed + int(counts[2])
            else:
                tally.check(f"{name} runs to its end", False, said[-2000:])
    tally.close()


if __name__ == "__main__":
    main()
