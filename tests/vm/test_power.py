"""Reboot and factory restore on a whole meter, with the power cut at seeded points."""

import random
import time

import test_service

ARCHES = ("x86",)
SEED = 20261122
CUTS = 4
# Few, because this is about whether they are there.
ROWS = 500
NETWORK = 'ctrl_interface=/run/wpa_supplicant\\nupdate_config=1\\nnetwork={\\n\\tssid="old"\\n\\tkey_mgmt=NONE\\n}\\n'


def run(vm, tally):
    reboot(vm, tally)
    factory_restore(vm, tally)
    vm.radios(False)
    cuts(vm, tally)
    vm.radios(True)


def reboot(vm, tally):
    token = vm.api.login()
    operation = vm.api.call("POST", "/cmd/db", test_service.upload(40), Prefer="respond-async")["token"]
    began = time.monotonic()
    reply = vm.api.call("POST", "/cmd/reboot", {})
    answered = time.monotonic()
    tally.check("reboot answers first", reply == {"status": "OK"}, reply)
    refused = lambda: vm.api.raw("GET", "/auth/unauthorized")[0]
    tally.check("then everything is 503", refused() == 503)
    while time.monotonic() < answered + 0.8:
        alive = vm.sh("true")[0]
        time.sleep(0.05)
    tally.check("the guest still runs most of a second later", alive == 0)
    vm.rebooted()
    print(f"figure: {vm.arch}: reboot, from the request to the first answer, {time.monotonic() - began:.1f} s")
    status, _, _ = vm.api.raw("GET", "/auth/rights", None, {"Authorization": "Bearer " + token})
    tally.check("no token outlives it", status == 401, status)
    boot = vm.api.call("GET", "/sys/boot")["result"]
    tally.check("/sys/boot says that it was asked for", boot["reason"] == "software reset", boot)
    status = vm.api.finish(operation)
    tally.check("an operation stopped and went on after it", "error" not in status, status)
    tally.check("its rows are right", vm.api.backup() == test_service.text(40))
    vm.cut()
    vm.start()
    after = vm.api.call("GET", "/sys/boot")["result"]
    honest = after == {"reason": "unknown reset", "time": boot["time"]}
    tally.check("after a power cut it says that nobody asked", honest, after)


def furnish(vm):
    """Data and settings of every kind that must not survive; the password of the user that is made."""
    vm.out("echo 'made up' | meterd user set technician --config /etc/meterd/meterd.json")
    vm.out(f"printf '{NETWORK}' > /data/wpa_supplicant.conf; mkdir -p /data/chrony; echo x > /data/chrony/y.sources; sync")
    vm.api.user, vm.api.password, vm.api.token = "technician", "made up", None
    time.sleep(1.1)
    vm.api.restore(test_service.chunk(test_service.text(10, ROWS)))
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
    running = vm.sh("pidof wpa_supplicant")[0]
    tally.check("the supplicant runs on a fresh configuration", running == 0, vm.sh("cat /data/wpa_supplicant.conf"))


def cuts(vm, tally):
    """After a cut at any moment, either everything is there or nothing is."""
    chance = random.Random(SEED)
    outcomes = {"all": 0, "nothing": 0}
    for n in range(CUTS):
        token = furnish(vm)
        # The first cut comes before the command could have been acknowledged.
        wait = 0 if n == 0 else chance.uniform(0.05, 6)
        acknowledged = False
        if n == 0:
            connection = vm.api.connect()
            connection.request("POST", "/api/cmd/factory-restore", None, {"Authorization": "Bearer " + token})
        else:
            acknowledged = vm.api.call("POST", "/cmd/factory-restore") == {"status": "OK"}
            time.sleep(wait)
        vm.cut()
        vm.start()
        vm.api.user, vm.api.password = "technician", "made up"
        try:
            vm.api.login()
            there = vm.api.backup() == test_service.text(10, ROWS)
            there = there and vm.sh("grep -q old /data/wpa_supplicant.conf && test -e /data/chrony/y.sources")[0] == 0
            outcomes["all"] += 1
            tally.check(f"cut {n}: everything is there, and nothing was acknowledged", there and not acknowledged)
            vm.api.user, vm.api.password = vm.label
            vm.api.token = None
            vm.sh("meterd user del technician --config /etc/meterd/meterd.json")
        except KeyError:
            left = as_new(vm, token)
            outcomes["nothing"] += 1
            tally.check(f"cut {n} after {wait:.2f} s: nothing is left", left == [], left)
    print(f"figure: {vm.arch}: factory restore cut {CUTS} times: {outcomes}")
