"""Programs of the configuration that hang, with a child that hangs too: each has its time, the error names it, quick
requests are answered meanwhile, and when it is over none of them is left.

The clock is set on disk.c's disk alone; that the service could not set the machine's is made sure of twice.
"""

import os
import subprocess
import threading
import time

import disk
from scenario import PASSWORD, Client, Service
from meter import BINARY, Tally

# By which a process that was left over is known.
SLEEP = f"3600.{os.getpid()}"
HANG = ["/bin/sh", "-c", f"sleep {SLEEP} & sleep {SLEEP}"]
FINE = ["/bin/true"]
SET, RESTART = "1700000000.5", None
NTP, PTP = {"stop": FINE, "start": FINE}, {"stop": FINE, "start": FINE}
# What hangs, what is asked for, what the ledger says of it, and after how many seconds at most.
TIMES = {
    "ntp.stop": ({"ntp": {**NTP, "stop": HANG}}, SET, "OK", 8),
    "ntp.start": ({"ntp": {**NTP, "start": HANG}}, RESTART, "platform.ntp.start: /bin/sh did not end within 5 s", 8),
    "ntp.sources": ({"ntp": {**NTP, "sources": HANG}}, SET, "OK", 4),
    "ptp.start": ({"ntp": NTP, "ptp": {**PTP, "start": HANG}}, SET, "platform.ptp.start: /bin/sh did not end within 5 s", 8),
    "hwclock": ({"ntp": NTP, "hwclock": HANG}, SET, "platform.hwclock: /bin/sh did not end within 4 s", 7),
    "all": (
        {"ntp": {"stop": HANG, "start": HANG}, "ptp": {"stop": HANG, "start": HANG}, "hwclock": HANG},
        SET,
        "platform.ntp.start: /bin/sh did not end within 5 s; platform.ptp.start",
        28,
    ),
}
# What the machine may take for it on top.
BUSY = 10


class Bound(Service):
    """Without the right to set the clock, should the library not be loaded."""

    def start(self):
        command = ["setpriv", "--bounding-set=-sys_time", "--inh-caps=-sys_time", BINARY, "serve", "--config", self.config]
        self.log = open(os.path.join(self.dir, "log"), "a")
        env = {**os.environ, **self.env}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True, env=env)
        self.port = int(self.process.stdout.readline().rpartition(":")[2])
        return self


def left_over():
    res = []
    for it in os.listdir("/proc"):
        try:
            with open(f"/proc/{it}/cmdline") as file:
                words = file.read().split("\0")
            res += [it] if words[:2] == ["sleep", SLEEP] else []
        except OSError:
            pass
    return res


def wait(condition, within):
    until = time.monotonic() + within
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return condition()


def setting_time(tally, name):
    platform, body, expect, within = TIMES[name]
    under = disk.Disk()
    it = Bound(under.root, {"platform": platform}, under.env)
    it.cli("user", "set", "owner", stdin=PASSWORD)
    it.start()
    before = time.time()
    begun, quick = time.monotonic(), 0.0
    reply = it.call("POST", "/cmd/set-time", body)
    replied = time.monotonic() - begun
    ledger = lambda: [one for one in it.call("GET", "/sys/ledger")["result"] if one["command"] == "set-time"]
    while not ledger() and time.monotonic() < begun + within + BUSY:
        asked = time.monotonic()
        Client(it.port).raw("GET", "/auth/unauthorized")
        quick = max(quick, time.monotonic() - asked)
        time.sleep(0.05)
    took, outcome = time.monotonic() - begun, [one["outcome"] for one in ledger()]
    tally.check(f"{name} hangs: its outcome is there in time", outcome and expect in outcome[0], (outcome, took))
    tally.check(f"{name} hangs: the reply is not kept waiting", replied < 10, (replied, reply))
    tally.check(f"{name} hangs: quick requests are answered meanwhile", quick < 3, quick)
    if body:
        said = float(it.call("GET", "/sys/time")["result"])
        tally.check(f"{name} hangs: the time is set all the same", abs(said - 1_700_000_000) < 60, said)
        tally.check("and the machine's own is not", 0 <= time.time() - before < 120)
    reply = it.call("GET", "/sys/uptime")
    tally.check(f"{name} hangs: it goes on serving", "result" in reply, reply)
    it.end()
    under.remove()


def rebooting(tally):
    """A reboot that hangs is given up after a minute: the service ends, so that init starts it again, and its order is gone."""
    under = disk.Disk()
    it = Service(under.root, {"platform": {"reboot": HANG}}, under.env)
    it.cli("user", "set", "owner", stdin=PASSWORD)
    it.start()
    begun = time.monotonic()
    reply = it.call("POST", "/cmd/factory-restore")
    tally.check("a factory restore is answered", reply == {"status": "OK"}, reply)
    status, _, _ = it.raw("GET", "/auth/unauthorized")
    tally.check("the door says that the meter goes down", status == 503, status)
    code = it.process.wait(timeout=120)
    took = time.monotonic() - begun
    fine = code == 1 and 60 < took < 90 and "platform.reboot: /bin/sh did not end within 60 s" in it.read_log()
    tally.check("a reboot that hangs ends the service with an error that says so", fine, (code, took, it.read_log()))
    it.start()
    it.token = None
    answers = it.login() and it.call("GET", "/auth/rights")["usr"] == "owner"
    tally.check("started again it serves, and nothing is to be wiped", answers and "factory-restore" not in os.listdir(it.state))
    it.end()
    under.remove()


def main():
    tally = Tally()
    disk.library()
    # Beside each other, because all of it is waiting.
    jobs = [threading.Thread(target=setting_time, args=(tally, name)) for name in TIMES]
    jobs.append(threading.Thread(target=rebooting, args=(tally,)))
    for it in jobs:
        it.start()
    for it in jobs:
        it.join()
    tally.check("no program is left, nor what it started", wait(lambda: not left_over(), 5), left_over())
    expected = 2 + sum(5 if body else 4 for _, body, _, _ in TIMES.values()) + 3
    tally.check("every test came to its end", expected <= tally.passed + tally.failed, (tally.passed, expected))
    tally.close()


main()
