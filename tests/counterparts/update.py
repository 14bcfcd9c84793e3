"""Updates from a real web server with real signatures: what is refused, what survives, and what the installer gets."""

import os
import tempfile
import time

from meter import Meter, Tally
from publisher import Publisher, remove

OLD = {"hardware": "1", "versions": {"fw": "4.5", "kernel": "5.15.95"}, "branch": "stable"}


class Bench:
    """A publisher, and meters that are updated from it."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="meterd-update-")
        self.publisher = Publisher(os.path.join(self.dir, "vendor"))
        self.got = os.path.join(self.dir, "got")
        self.copy = f'cp "$1" {self.got}; env | grep ^METERD_ | sort > {self.got}.env'

    def close(self):
        self.publisher.close()
        remove(self.dir)

    def meter(self, url=None, script=None, demo=False, identity=OLD, patience=3, targets=("127.0.0.0/8",), **config):
        """A meter whose installer is a script; it copies the image by default."""
        path = os.path.join(self.dir, "installer")
        with open(path, "w") as file:
            file.write(f"#!/bin/sh\n{script or self.copy}\n")
        os.chmod(path, 0o755)
        update = {
            "url": url or self.publisher.url(),
            "public_key": self.publisher.public_key,
            "patience_seconds": patience,
        }
        platform = {"install": {"fw": [path], "kernel": [path]}}
        if targets is not None:
            config["allow_targets"] = list(targets)
        return Meter(demo=demo, identity=identity, update=update, platform=platform, **config)

    def read(self, path=None):
        try:
            with open(path or self.got, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None


def install(meter, **members):
    return meter.call("POST", "/cmd/update", {"action": "install", "target": "fw", **members})


def outcome(meter, **members):
    """Installs to the end: the status."""
    reply = install(meter, **members)
    if "token" not in reply:
        raise RuntimeError(reply)
    return meter.finish(reply["token"])


def watch(meter, token, seen, until=60):
    """Polls an operation to its end and notes each change of `info`."""
    deadline = time.monotonic() + until
    while time.monotonic() < deadline:
        status = meter.status(token)
        step = (status.get("info"), tuple(status.get("args", ())))
        if not status["done"] and step[0] and step not in seen:
            seen.append(step)
        if status["done"]:
            return status
        time.sleep(0.005)
    raise RuntimeError(f"does not end: {status}")


def wait_for(condition, within=20):
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def listing(tally, bench):
    publisher = bench.publisher
    image = publisher.image("fw-4.6.bin", b"x")
    publisher.publish({"version": "4.6", "minimum": "4.1.2", **image}, {"version": "4.4", **image})
    publisher.publish({"version": "4.7rc1", **image}, branch="beta", target="fw")
    publisher.publish({"version": "5.16", **image}, target="kernel")
    with bench.meter() as meter:
        ask = lambda **members: meter.call("POST", "/cmd/update", {"action": "list", "target": "fw", **members})
        tally.check("list: the newest", ask() == {"version": "4.6", "minimum": "4.1.2"}, ask())
        tally.check("list: a branch", ask(branch="beta") == {"version": "4.7rc1"}, ask(branch="beta"))
        tally.check("list: the default branch", ask(branch="")["version"] == "4.6")
        tally.check("list: the kernel", ask(target="kernel") == {"version": "5.16"}, ask(target="kernel"))
        reply = ask(version="4.4")
        tally.check("list: why it is withheld", reply["version"] == "4.4" and "not newer" in reply["status"], reply)
        reply = ask(branch="nightly")
        tally.check("list: no such branch", "nightly" in reply["error"], reply)
        tally.check("list fetches no image", publisher.requests() == [])
    with bench.meter(targets=None) as meter:
        reply = meter.call("POST", "/cmd/update", {"action": "list", "target": "fw"})
        tally.check("a loopback server needs allow_targets", "allow_targets" in reply["error"], reply)
    for missing, key in ((dict(OLD, hardware=None), "identity.hardware"), ({"hardware": "1"}, "identity.versions.fw")):
        with bench.meter(identity=missing) as meter:
            reply = install(meter)
            tally.check(f"{key} is needed", key in reply["error"] and "token" not in reply, reply)
    with Meter(demo=False) as meter:
        for action in ("list", "install"):
            reply = meter.call("POST", "/cmd/update", {"action": action, "target": "fw"})
            tally.check(f"{action}: a missing key is named", "missing in its config" in reply["error"], reply)


def course(tally, bench):
    publisher = bench.publisher
    content = os.urandom(1_500_000)
    publisher.publish({"version": "4.6", **publisher.image("fw-4.6.bin", content)})
    steps = ("echo EXTRACT root", "echo FLASH slot-b 50%", bench.copy, "echo FINALIZE", "")
    script = "; sleep 0.2\n".join(steps)
    with bench.meter(publisher.url("slow"), script) as meter:
        seen = []
        reply = install(meter)
        tally.check("install answers with a token alone", set(reply) == {"token"}, reply)
        status = watch(meter, reply["token"], seen)
        tally.check("install: done", status["done"] and "error" not in status, status)
        tags = [tag for tag, _ in seen]
        expect = ["FW_DOWNLOAD", "EXTRACT", "FLASH", "FINALIZE"]
        tally.check("install: its steps are seen", [it for it in tags if it in expect] == expect, seen)
        tally.check("with their arguments", ("FW_DOWNLOAD", ("4.6",)) in seen and ("FLASH", ("slot-b",)) in seen, seen)
        tally.check("progress is a float in the end", status["progress"] == 1.0)
        tally.check("the installer gets the very image", bench.read() == content)
        told = bench.read(bench.got + ".env").decode().split()
        tally.check("and is told of it", told == ["METERD_HARDWARE=1", "METERD_TARGET=fw", "METERD_VERSION=4.6"], told)
        left = os.listdir(os.path.join(meter.state, "update", "image"))
        tally.check("nothing of it is left", left == [], left)
        ledger = [(it["command"], it["outcome"]) for it in meter.call("GET", "/sys/ledger")["result"]]
        tally.check("the ledger has it", ("update install fw", "OK") in ledger, ledger)
    publisher.publish({"version": "5.16", **publisher.image("k.bin", b"kernel", target="kernel")}, target="kernel")
    with bench.meter(script=f"sleep 0.2; cp $1 {bench.got}") as meter:
        status = outcome(meter, target="kernel")
        tally.check("a kernel as well", "error" not in status and bench.read() == b"kernel", status)
    with bench.meter(demo=True) as meter:
        os.remove(bench.got)
        status = outcome(meter)
        tally.check("bench mode fetches", "error" not in status, status)
        tally.check("and runs no installer", bench.read() is None)
        log = meter.read_log()
        tally.check("but logs it", "bench mode: would run" in log and "fw-4.6.bin" in log, log)


def refusals(tally, bench):
    publisher = bench.publisher
    image = publisher.image("fw.bin", b"x" * 100_000)
    publisher.requests()

    def refused(name, tag, args=None, meter=None, **members):
        status = outcome(meter, **members)
        fits = status.get("error") == tag and (args is None or status.get("args") == args)
        tally.check(f"refused: {name}", fits and status["result"]["message"], status)
        tally.check("nothing was fetched", publisher.requests() == [])

    with bench.meter() as meter:
        path = publisher.publish({"version": "4.6", **image}, key="stranger")
        refused("another key", "BADSIG", meter=meter)
        refused("another key, by force", "BADSIG", meter=meter, force=True)
        publisher.publish({"version": "4.6", **image}, legacy=True)
        refused("a legacy signature", "BADSIG", meter=meter)
        publisher.publish({"version": "4.6", **image})
        with open(path, "a") as file:
            file.write(" ")
        refused("one byte more", "BADSIG", meter=meter)
        os.remove(path + ".minisig")
        refused("no signature", "DOWNLOAD_FAILED", meter=meter)
        publisher.publish({"version": "4.6", **image}, branch="beta")
        os.rename(os.path.join(publisher.root, "fw", "beta"), os.path.join(publisher.root, "fw", "other"))
        refused("another branch's manifest", "NO_IMAGE", meter=meter, branch="other")
        publisher.publish({"version": "4.6", "hardware": ["2", "3"], **image})
        refused("other hardware", "INCOMPATBILE", ["2, 3", "1"], meter=meter)
        refused("other hardware, by force", "INCOMPATBILE", meter=meter, force=True)
        publisher.publish({"version": "4.5.0", **image})
        refused("not newer", "NOT_NEWER", ["4.5.0", "4.5"], meter=meter)
        publisher.publish({"version": "5.0", "minimum": "4.6", **image})
        refused("below the minimum", "INCOMPATBILE", ["4.6", "4.5"], meter=meter)
        refused("a version that is not there", "NO_IMAGE", ["4.7"], meter=meter, version="4.7")
        publisher.publish({"version": "4.6", **image}, issued="2026-11-22T10:00:01Z")
        tally.check("a newer manifest is taken", "error" not in outcome(meter))
        publisher.requests()
        publisher.publish({"version": "4.6", **image}, issued="2026-11-22T10:00:00Z")
        refused("an older manifest", "NO_IMAGE", meter=meter)
        refused("an older manifest, by force", "NO_IMAGE", meter=meter, force=True)
        meter.kill()
        meter.start()
        refused("an older manifest after a restart", "NO_IMAGE", meter=meter)
        publisher.publish({"version": "4.4", **image}, issued="2026-11-22T10:00:02Z")
        status = outcome(meter, force=True)
        tally.check("an older version by force", "error" not in status and bench.read() == b"x" * 100_000, status)
        publisher.publish({"version": "4.7", **image}, {"version": "4.6", **image}, issued="2026-11-22T10:00:03Z")
        status = outcome(meter, version="4.6")
        tally.check("a version of the list", "error" not in status and status["result"]["version"] == "4.6", status)
    publisher.publish({"version": "4.6", **image})
    publisher.requests()
    with bench.meter(limits={"reserve_bytes": 1 << 50}) as meter:
        refused("a disk that is too small", "DOWNLOAD_FAILED", meter=meter)


def mirrors(tally, bench):
    publisher = bench.publisher
    content = os.urandom(3_000_000)
    publisher.publish({"version": "4.6", **publisher.image("fw.bin", content)})
    for fault in ("moved", "loop", "gone", "busy", "hangup"):
        tag = None if fault == "moved" else "DOWNLOAD_FAILED"
        with bench.meter(publisher.url(fault)) as meter:
            status = outcome(meter)
            tally.check(f"mirror: {fault}", status.get("error") == tag and len(status.get("args", "xx")) == 2, status)
            print(f"      {status['result'].get('message', 'installed')}")
    with bench.meter(publisher.cutter.url()) as meter:
        status = outcome(meter)
        whole = "error" not in status and bench.read() == content
        asked = publisher.cutter.asked
        tally.check("a server that cuts every answer", whole and asked == [0, 10**6, 2 * 10**6], (status, asked))
    with bench.meter() as meter:
        damaged = bytearray(content)
        damaged[1_234_567] ^= 1
        for name, body in (("damaged", bytes(damaged)), ("shorter", content[:-1]), ("longer", content + b"x")):
            publisher.image("fw.bin", body)
            status = outcome(meter)
            tally.check(f"an image that is {name}", status.get("error") == "INVALID_IMAGE", status)
            left = os.listdir(os.path.join(meter.state, "update", "image"))
            tally.check("is not kept", left == [], left)
        publisher.image("fw.bin", content)
    secure = f"https://localhost:{publisher.tls_port}"
    with bench.meter(secure, tls={"ca_file": publisher.certificate}) as meter:
        status = outcome(meter)
        tally.check("HTTPS", "error" not in status and bench.read() == content, status)
    with bench.meter(secure) as meter:
        status = outcome(meter)
        tally.check("HTTPS of a stranger", status.get("error") == "DOWNLOAD_FAILED", status)
        print(f"      {status['result']['message']}")
    with bench.meter(secure.replace("localhost", "127.0.0.1"), tls={"ca_file": publisher.certificate}) as meter:
        status = outcome(meter)
        tally.check("HTTPS under another name", status.get("error") == "DOWNLOAD_FAILED", status)
        print(f"      {status['result']['message']}")
    with bench.meter(url="http://127.0.0.1:1") as meter:
        status = outcome(meter)
        tally.check("no server", status.get("error") == "DOWNLOAD_FAILED" and "refused" in status["args"][1], status)


def interrupted(tally, bench):
    """The service is killed during the download: the next one goes on from there, if the server's file is the same."""
    publisher = bench.publisher
    content = os.urandom(2_000_000)
    publisher.publish({"version": "4.6", **publisher.image("fw.bin", content)})
    for case in ("resumed", "stale If-Range", "norange"):
        with bench.meter(publisher.url("norange" if case == "norange" else "slow")) as meter:
            part = os.path.join(meter.state, "update", "image", "fw.bin")
            token = install(meter)["token"]
            tally.check("some of it comes", wait_for(lambda: os.path.exists(part) and os.path.getsize(part) > 400_000))
            meter.kill()
            have = os.path.getsize(part)
            if case == "stale If-Range":
                os.utime(os.path.join(publisher.root, "fw/stable/fw.bin"))
            publisher.requests()
            meter.start()
            status = meter.status(token)
            tally.check("INTERRUPTED after a kill", status.get("error") == "INTERRUPTED", status)
            tally.check("with what is known", status["result"].get("stage") == "download", status)
            status = outcome(meter)
            tally.check(f"{case}: installed", "error" not in status and bench.read() == content, status)
            (code, _, range_, if_range), = publisher.requests()
            fits = range_ == f"bytes={have}-" and if_range != "-"
            tally.check(f"{case}: asked for the rest", fits, (range_, if_range))
            tally.check(f"{case}: {code}", code == (206 if case == "resumed" else 200))
    with bench.meter(publisher.url("slow")) as meter:
        part = os.path.join(meter.state, "update", "image", "fw.bin")
        sizes = []
        for round in range(8):
            token = install(meter)["token"]
            time.sleep(0.1 + 0.07 * round)
            meter.kill()
            sizes.append(os.path.getsize(part) if os.path.exists(part) else 0)
            meter.start()
            tally.check(f"kill {round}", meter.status(token).get("error") == "INTERRUPTED", meter.status(token))
        tally.check("nothing is fetched twice", sizes == sorted(sizes) and sizes[-1] > 200_000, sizes)
        status = outcome(meter)
        tally.check("in the end it is whole", "error" not in status and bench.read() == content, status)
    with bench.meter(publisher.url("slow")) as meter:
        part = os.path.join(meter.state, "update", "image", "fw.bin")
        token = install(meter)["token"]
        wait_for(lambda: os.path.exists(part) and os.path.getsize(part) > 400_000)
        meter.stop()
        meter.start()
        status = meter.status(token)
        told = status.get("result", {}).get("message") == "Stopped with the service; nothing was installed."
        tally.check("a stop of the service is told as such", status.get("error") == "INTERRUPTED" and told, status)
    # nginx itself goes away and comes back.
    with bench.meter(publisher.url("slow"), patience=20) as meter:
        part = os.path.join(meter.state, "update", "image", "fw.bin")
        token = install(meter)["token"]
        wait_for(lambda: os.path.exists(part) and os.path.getsize(part) > 400_000)
        publisher.restart(pause=2)
        status = meter.finish(token)
        tally.check("a link that is lost for two seconds", "error" not in status and bench.read() == content, status)
        codes = [it[0] for it in publisher.requests()]
        tally.check("is taken up", codes[-1] == 206, codes)


def cancelled(tally, bench):
    publisher = bench.publisher
    content = os.urandom(4_000_000)
    publisher.publish({"version": "4.6", **publisher.image("fw.bin", content)})

    def cancel(meter, token):
        began = time.monotonic()
        meter.call("POST", "/cmd/cancel", {"token": token})
        status = meter.finish(token)
        return status, time.monotonic() - began

    with bench.meter(publisher.url("slow")) as meter:
        part = os.path.join(meter.state, "update", "image", "fw.bin")
        token = install(meter)["token"]
        reply = install(meter)
        tally.check("one update at a time", "running already" in reply["error"], reply)
        wait_for(lambda: os.path.exists(part) and os.path.getsize(part) > 400_000)
        status, took = cancel(meter, token)
        tally.check("a download is cancelled", status.get("error") == "CANCELED", status)
        print(f"figure: a download is cancelled in {took * 1000:.0f} ms")
        tally.check("at once", took < 8, took)
        tally.check("and what it has is kept", os.path.getsize(part) > 400_000)
    for script, begun, tag in (
        ("echo EXTRACT root; touch {0}; sleep 30; touch {0}.late", "EXTRACT", "CANCELED"),
        ("echo FLASH slot; touch {0}; sleep 1; touch {0}.late", "FLASH", None),
    ):
        mark = os.path.join(bench.dir, "mark-" + begun)
        with bench.meter(script=script.format(mark)) as meter:
            token = install(meter)["token"]
            wait_for(lambda: os.path.exists(mark) and meter.status(token).get("info") == begun)
            status, took = cancel(meter, token)
            tally.check(f"cancelled at {begun}", status.get("error") == tag and took < 15, (status, took))
            tally.check("its effect", os.path.exists(mark + ".late") == (tag is None))
            words = "let finish" if tag is None else "nothing was installed"
            tally.check("is told", words in status["result"]["message"], status)


def failing(tally, bench):
    publisher = bench.publisher
    publisher.publish({"version": "4.6", **publisher.image("fw.bin", b"image")})
    for script, tag, count in (
        ("echo one; echo two >&2; exit 3", "INSTALL_FAILED", 1),
        ("echo EXTRACT root; echo bad archive; exit 1", "EXTRACT_FAILED", 2),
        ("echo FLASH mtd3; echo write error; exit 1", "FLASH_FAILED", 1),
    ):
        with bench.meter(script=script) as meter:
            status = outcome(meter)
            fits = status.get("error") == tag and len(status["args"]) == count
            tally.check(f"installer: {tag}", fits and "failed (exit status" in status["args"][-1], status)
    done = os.path.join(bench.dir, "flashed")
    with bench.meter(script=f"echo FLASH slot; sleep 4; for i in 1 2 3; do echo line $i; done; touch {done}") as meter:
        token = install(meter)["token"]
        wait_for(lambda: meter.status(token).get("info") == "FLASH")
        meter.kill()
        meter.start()
        status = meter.status(token)
        known = status.get("error") == "INTERRUPTED" and status["result"]["stage"] == "install"
        tally.check("killed while the installer writes: INTERRUPTED, and how far it was", known, status)
        status = outcome(meter)
        refused = status.get("error") == "INSTALL_FAILED" and not os.path.exists(done)
        tally.check("no second installer beside it", refused, status)
        tally.check("it goes on to its end", wait_for(lambda: os.path.exists(done)))


def memory(tally, bench):
    publisher = bench.publisher
    publisher.publish({"version": "4.6", **publisher.image("fw.bin", os.urandom(96_000_000))})
    with bench.meter(script="true") as meter:
        meter.login()
        high = lambda: int(open(f"/proc/{meter.process.pid}/status").read().split("VmHWM:")[1].split()[0])
        status = outcome(meter)
        before = high()
        publisher.publish({"version": "4.6", **publisher.image("fw2.bin", os.urandom(96_000_000))})
        status = outcome(meter)
        grown = high() - before
        tally.check("96 MB take no more memory", "error" not in status and grown < 1024, (status, grown))
        print(f"figure: memory that a second download of 96 MB adds: {grown} KiB, in all {high()} KiB")


def main():
    tally = Tally()
    for part in (listing, course, refusals, mirrors, interrupted, cancelled, failing, memory):
        bench = Bench()
        try:
            part(tally, bench)
        finally:
            bench.close()
    tally.close()


main()
