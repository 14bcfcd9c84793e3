"""Reboots around an update: one ends a download, none interrupts an installer, and what was installed asks for one."""

import os
import tempfile
import time

from meter import Meter, Tally
from publisher import Publisher, remove

# The reboot fails, so that the service ends at once and can be started again, as after a real one.
REBOOT = ["/bin/false"]


class Bench:
    """A publisher of one image, and an installer that writes until it is told to end."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="meterd-update-")
        self.publisher = Publisher(os.path.join(self.dir, "vendor"))
        self.publisher.publish({"version": "4.6", **self.publisher.image("fw.bin", os.urandom(2_000_000))})
        self.begun, self.end = os.path.join(self.dir, "begun"), os.path.join(self.dir, "end")
        self.installer = os.path.join(self.dir, "installer")
        with open(self.installer, "w") as file:
            file.write(f"#!/bin/sh\necho FLASH slot\ntouch {self.begun}\nuntil [ -e {self.end} ]; do sleep 0.1; done\n")
        os.chmod(self.installer, 0o755)

    def close(self):
        self.publisher.close()
        remove(self.dir)

    def meter(self, fault="", demo=False):
        identity = {"hardware": "1", "versions": {"fw": "4.5"}}
        update = {"url": self.publisher.url(fault), "public_key": self.publisher.public_key, "patience_seconds": 3}
        platform = {"install": {"fw": [self.installer]}, "reboot": REBOOT}
        targets = ["127.0.0.0/8"]
        return Meter(demo=demo, identity=identity, update=update, platform=platform, allow_targets=targets)


def install(meter):
    return meter.call("POST", "/cmd/update", {"action": "install", "target": "fw"})["token"]


def is_needed(meter):
    return meter.call("GET", "/sys/reboot")["result"]


def refusals(meter):
    """The commands of which the ledger says that an installer was in their way."""
    ledger = meter.call("GET", "/sys/ledger")["result"]
    return {it["command"] for it in ledger if it["outcome"].startswith("Nothing was done: an update is being installed")}


def is_up(meter):
    try:
        return meter.raw("GET", "/auth/unauthorized")[0] == 401
    except OSError:
        return False


def wait_for(condition, within=60):
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def installer_at_work(tally, bench):
    refused = lambda reply: "installer" in reply.get("error", "")
    with bench.meter() as meter:
        install(meter)
        tally.check("an installer writes", wait_for(lambda: os.path.exists(bench.begun)))
        for command in ("reboot", "factory-restore"):
            reply = meter.call("POST", f"/cmd/{command}")
            tally.check(f"{command} is refused meanwhile", refused(reply), reply)
        # A line of the ledger may be written a moment after the reply.
        tally.check("the ledger says why", wait_for(lambda: refusals(meter) == {"reboot", "factory-restore"}))
        # The installer outlives the service, and the next one knows of it.
        meter.kill()
        meter.start()
        reply = meter.call("POST", "/cmd/reboot")
        tally.check("an installer of an earlier run counts as well", refused(reply), reply)
        tally.check("nothing asks for a reboot yet", is_needed(meter) is False)
        with open(bench.end, "w"):
            pass
        installed = lambda: "error" not in meter.finish(install(meter))
        tally.check("once it has ended, another may begin", wait_for(installed))
        tally.check("what was installed asks for a reboot", is_needed(meter) is True)
        meter.kill()
        meter.start()
        tally.check("also after a restart of the service alone", is_needed(meter) is True)
        reply = meter.call("POST", "/cmd/reboot")
        tally.check("which is taken now", reply == {"status": "OK"}, reply)


def download(tally, bench):
    with bench.meter("slow") as meter:
        part = os.path.join(meter.state, "update", "image", "fw.bin")
        token = install(meter)
        tally.check("some of it comes", wait_for(lambda: os.path.exists(part) and os.path.getsize(part) > 400_000))
        reply = meter.call("POST", "/cmd/reboot")
        tally.check("a download does not hold up a reboot", reply == {"status": "OK"}, reply)
        meter.process.wait(timeout=60)
        meter.start()
        status = meter.status(token)
        tally.check("and is INTERRUPTED by it", status.get("error") == "INTERRUPTED", status)
        tally.check("nothing asks for another one", is_needed(meter) is False)


def bench_mode(tally, bench):
    with bench.meter(demo=True) as meter:
        status = meter.finish(install(meter))
        tally.check("bench mode asks for a reboot", "error" not in status and is_needed(meter) is True, status)
        meter.call("POST", "/cmd/reboot")
        tally.check("and plays it", wait_for(lambda: is_up(meter)))
        meter.token = None
        tally.check("then none is needed any more", is_needed(meter) is False)


def main():
    tally = Tally()
    bench = Bench()
    try:
        for part in (installer_at_work, download, bench_mode):
            part(tally, bench)
    finally:
        bench.close()
    tally.close()


main()
