"""Reboot and factory restore on a whole meter, with the power cut at a seeded moment of the wipe. Around the order it is cut
in test_cuts."""

import random
import time

import test_service

ARCHES = ("x86", "arm")
SEED = 20261122
CUTS_IN_WIPE = 1
# Few, because this is about whether they are there.
ROWS = 500
# Enough that the wipe takes a while.
LOGS = 3000
NETWORK = 'ctrl_interface=DIR=/run/wpa_supplicant GROUP=netdev\\nupdate_config=1\\nnetwork={\\n\\tssid="old"\\n\\tkey_mgmt=NONE\\n}\\n'


def run(vm, tally):
    reboot(vm, tally)
    factory_restore(vm, tally)
    if vm.arch == "x86":
        vm.radios(False)
        cuts_in_wipe(vm, tally)
        vm.radios(True)


def guest_uptime(vm):
    """The guest's uptime less the host's clock, from the quickest of some questions, and how uncertain that is."""
    best = None
    for _ in range(10):
        before = time.monotonic()
        guest = vm.api.call("GET", "/sys/uptime")["result"]
        after = time.monotonic()
        if best is None or after - before < best[1]:
            best = guest - (before + after) / 2, after - before
    return best


def reboot(vm, tally):
    token = vm.api.login()
    offset, unsure = guest_uptime(vm)
    vm.sh("rm -f /data/reboots")
    operation = vm.api.call("POST", "/cmd/db", test_service.upload(40), Prefer="respond-async")["token"]
    status = vm.api.status(operation)
    tally.check("an operation runs when the reboot is asked for", not status["done"], status)
    began = time.monotonic()
    reply = vm.api.call("POST", "/cmd/reboot", {})
    answered = time.monotonic() + offset
    tally.check("reboot answers first", reply == {"status": "OK"}, reply)
    refused = lambda: vm.api.raw("GET", "/auth/unauthorized")[0]
    tally.check("then everything is 503", refused() == 503)
    vm.rebooted()
    print(f"figure: {vm.arch}: reboot, from the request to the first answer, {time.monotonic() - began:.1f} s")
    # What /sbin/reboot-logged noted; /proc/uptime has hundredths.
    ran = [float(line.split()[0]) for line in vm.out("cat /data/reboots").splitlines()]
    later = [at + 0.01 + unsure - answered for at in ran]
    tally.check("the command ran once, a second after the reply", len(ran) == 1 and 1.0 <= later[0] < 20, (ran, later))
    print(f"figure: {vm.arch}: the reboot command ran {later[0]:.2f} s after the reply, at most")
    status, _, _ = vm.api.raw("GET", "/auth/rights", None, {"Authorization": "Bearer " + token})
    tally.check("no token outlives it", status == 401, status)
    boot = vm.api.call("GET", "/sys/boot")["result"]
    tally.check("/sys/boot says that it was asked for", boot["reason"] == "software reset", boot)
    status = vm.api.finish(operation)
    tally.check("it stopped and went on after it", "error" not in status, status)
    tally.check("its rows are right", vm.api.backup() == test_service.text(40))
    vm.cut()
    vm.start()
    after = vm.api.call("GET", "/sys/boot")["result"]
    honest = after == {"reason": "unknown reset", "time": boot["time"]}
    tally.check("after a power cut it says that nobody asked", honest, after)


def text():
    """The rows that [furnish] makes."""
    return test_service.text(10, ROWS)


def furnish(vm, logs=1):
    """Data and settings of every kind that must not survive, `logs` files among them; a token that must not either."""
    vm.out("echo 'made up' | meterd user set technician --config /etc/meterd/meterd.json")
    vm.out(f"mkdir -p /data/log; i=0; while [ $i -lt {logs} ]; do : >/data/log/$i; i=$((i + 1)); done")
    vm.out(f"printf '{NETWORK}' > /data/wpa_supplicant.conf; mkdir -p /data/chrony; echo x > /data/chrony/y.sources; sync")
    vm.api.user, vm.api.password = "technician", "made up"
    vm.api.login_once_known()
    vm.api.restore(test_service.chunk(text()))
    return vm.api.token


def as_new(vm, token):
    """What is left of everything that [furnish] made; an empty list is as it must be."""
    left = []
    vm.api.token = None
    status, _, _ = vm.api.raw("GET", "/auth/rights", None, {"Authorization": "Bearer " + token})
    left += ["token"] if status != 401 else []
    try:
        vm.api.login("technician", "made up")
        left.append("password")
    except KeyError:
        pass
    vm.api.user, vm.api.password = vm.label
    vm.api.login()
    left += ["rows"] if vm.api.call("GET", "/register")["registers"] else []
    left += ["ledger"] if vm.api.call("GET", "/sys/ledger")["result"] else []
    left += ["network"] if vm.sh("grep -q old /data/wpa_supplicant.conf")[0] == 0 else []
    left += ["chrony"] if vm.sh("test -e /data/chrony/y.sources")[0] == 0 else []
    files = vm.sh("ls /data/log")[1].split()
    left += [f"{len(files)} log files"] if files else []
    return left


def factory_restore(vm, tally):
    vm.label = vm.api.user, vm.api.password
    token = furnish(vm)
    began = time.monotonic()
    reply = vm.api.call("POST", "/cmd/factory-restore")
    tally.check("factory-restore answers first", reply == {"status": "OK"}, reply)
    vm.rebooted()
    print(f"figure: {vm.arch}: factory restore, from the request to the first answer, {time.monotonic() - began:.1f} s")
    left = as_new(vm, token)
    tally.check("nothing is left of data and settings, and the label's login works", left == [], left)
    boot = vm.api.call("GET", "/sys/boot")["result"]
    tally.check("/sys/boot tells the truth after it", boot["reason"] == "software reset", boot)
    if vm.arch == "x86":
        running = vm.sh("pidof wpa_supplicant")[0]
        tally.check("the supplicant runs on a fresh configuration", running == 0, vm.sh("cat /data/wpa_supplicant.conf"))


def cuts_in_wipe(vm, tally):
    """The power fails while the boot after the order is wiping: the next one does it all."""
    chance = random.Random(SEED)
    begins, over = "rcS: S20factory-restore", "rcS: S40network"
    inside = 0
    for n in range(CUTS_IN_WIPE):
        token = furnish(vm, LOGS)
        boots = vm.console().count(begins)
        reply = vm.api.call("POST", "/cmd/factory-restore")
        until = time.monotonic() + 60
        while vm.console().count(begins) == boots and time.monotonic() < until:
            time.sleep(0.005)
        wait = chance.uniform(0, 0.3)
        time.sleep(wait)
        vm.cut()
        said = vm.console()
        inside += said.count(begins) == boots + 1 and over not in said.rpartition(begins)[2]
        vm.start()
        left = as_new(vm, token)
        gone = reply == {"status": "OK"} and left == []
        tally.check(f"cut {wait:.2f} s into the boot step: nothing is left", gone, left)
    tally.check("these cuts fell into the wipe", inside == CUTS_IN_WIPE, inside)
