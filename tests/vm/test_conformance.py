"""The conformance suite on a whole meter, from outside: its clock, its radios, its powerline, its data and its power.
What does not need a whole machine is tried on a bench (tests/counterparts/conformance.py)."""

import json
import os
import shutil
import tempfile
import time

import image
import test_service
from conformance_suite import run as suite, verdicts
from plc_bridge import Line, bridges

ALLOWED = "time,wlan,homeplug,db,reboot"
LOCAL, NEAR, DEK = "00:b0:52:ba:be:56", "00:b0:52:ba:be:57", "ABCD-EFGH-IJKL-MNOP"
RADIO = """interface=wlan1
driver=nl80211
hw_mode=g
channel=6
ssid=Conformance
wpa=2
wpa_key_mgmt=WPA-PSK
rsn_pairwise=CCMP
wpa_passphrase=correct horse
bss=wlan1_1
bssid=02:00:00:00:01:01
ssid=Unlocked
"""
# One channel to scan: most of the time of this test would go into that.
SUPPLICANT = "ctrl_interface=DIR=/run/wpa_supplicant GROUP=netdev\nupdate_config=1\nfreq_list=2437\n"
INIT = "/etc/init.d/S60wlan"


def run(vm, tally):
    folder = tempfile.mkdtemp(prefix="meterd-conformance-")
    line = Line(vm.link.send, vm.link.recv, bridges([LOCAL], [f"{NEAR}/{DEK}"]))
    vm.out(f"{INIT} stop; mkdir -p /data/ap")
    vm.write("/data/wpa_supplicant.conf", SUPPLICANT)
    vm.out(f"{INIT} start")
    vm.write("/data/ap/conformance.conf", RADIO)
    vm.out("ap start /data/ap/conformance.conf", timeout=30)
    line.start()
    try:
        judge(vm, tally, folder)
    finally:
        line.stop()
        shutil.rmtree(folder, ignore_errors=True)
        # The radios' namespace went with the reboot, so that the others find the air as they left it.
        vm.out("rm -rf /data/ap/conformance.conf")


def judge(vm, tally, folder):
    def kept(name, text):
        path = os.path.join(folder, name)
        with open(path, "w") as file:
            file.write(text + "\n")
        return path

    # The data that the first test leaves, and what it leaves is what the others find.
    vm.api.restore(test_service.chunk(test_service.text(20)))
    first = test_service.START
    knows = {
        "db.from": first + 60 * 60,
        "db.to": first + 90 * 60,
        "db.regs": "0,1,2",
        "db.net-register": "0",
        "wlan.ssid": "Conformance",
        "wlan.key-file": kept("key", "correct horse"),
        "wlan.open": "Unlocked",
        "homeplug.targets": kept("targets", f"{NEAR}/{DEK}"),
        "homeplug.password-file": kept("password", "HomePlugAV"),
    }
    report = os.path.join(folder, "report.json")
    args = ["--url", f"http://127.0.0.1:{vm.api.port}/api", "--user", image.USER, "--allow", ALLOWED, "--quiet"]
    args += ["--rate", "100", "--max-wait", "40", "--report", "json", "--out", report]
    listed = suite("--list")[1]
    for name, value in knows.items():
        if f"--with {name}=" in listed:
            args += ["--with", f"{name}={value}"]
    begun = time.monotonic()
    status, _, error = suite(*args, password=image.PASSWORD)
    print(f"figure: {vm.arch}: conformance with {ALLOWED} took {time.monotonic() - begun:.0f} s")
    vm.rebooted()
    vm.api.token = None
    tally.check("the data are as they were", vm.api.backup() == test_service.text(20))
    found = verdicts(report)
    for it in found.values():
        if it["result"] in ("FAIL", "WARN"):
            tally.check(f"{it['id']} on a whole meter", False, json.dumps(it))
    bad = [name for name, it in found.items() if it["result"] in ("FAIL", "WARN")]
    tally.check("a whole meter fails no rule and gets no warning", status == 0 and not bad, f"{status} {error} {bad}")
    passed = {it["class"] for it in found.values() if it["result"] == "PASS"}
    tally.check("every class that was allowed was tried", passed >= {"safe", *ALLOWED.split(",")}, passed)
    heart = ("wlan/16", "wlan/19", "homeplug/14", "set-time/12", "reboot/11", "db/restore/02")
    for rule in (f"cmd/{it}" for it in heart):
        tally.check(f"{rule} was tried", found[rule]["result"] == "PASS", found[rule])
