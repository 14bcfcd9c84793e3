"""The conformance suite on a whole meter, from outside, with every class allowed: one run that sets its clock, joins its
radios, re-keys its powerline, sends mail, installs firmware into its other slot, reboots into that, and ends with the
factory's settings. The suite's own servers are reached through QEMU's user network."""

import json
import os
import tempfile
import time

import image
import test_service
from conformance_suite import run as suite, verdicts
from plc_bridge import Line, bridges
from publisher import Publisher, free_port, remove
from slots import SlotVm

# Of the suite's classes all but `safe`, which needs no leave.
CLASSES = "time mail remote activate wlan homeplug db update-list update-install reboot factory-restore".split()
USER, PASSWORD = "technician", "made up"
GUEST, GUEST_PASSWORD = "guest", "just looking"
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
ROWS = 200
# What no such meter can show, by the beginning of the reason.
NOT_TESTED = (
    ("needs --max-wait of at least", "what lives for minutes is waited for elsewhere"),
    ("the sink has no TLS", "the suite speaks no TLS"),
    ("needs --with companion.mail-port=587", "the usual ports are not this test's to take"),
    ("needs --with mail.direct", "nobody here has mail exchangers"),
    ("every net register of the meter", "these registers all have their partners"),
    ("needs --with activate.nonce", "the meter has no key of its own"),
    ("no list had `minimum`", "`minimum` is optional"),
    ("needs --with auth.local", "nobody here may save at home only"),
    ("local-here was not tried", "nobody here may save at home only"),
    ("it was through before anybody could cancel it", "zeroing a window is a matter of milliseconds"),
    ("no register showed an excess", "no register of it is read from a remote device"),
    ("needs --with wlan.h", "neither a hidden network nor one with a key in hexadecimal is in the air"),
    ("the meter was in no network that could be selected again", "it knew none before"),
)


class Bench:
    """A meter that starts from a slot, its maker with a newer version, and what a tester of it would know."""

    def __init__(self, arch):
        self.dir = tempfile.mkdtemp(prefix="meterd-conformance-")
        self.publisher = Publisher(os.path.join(self.dir, "vendor"))
        try:
            binary = os.path.join(image.ROOT, "target/dist/meterd-x86_64")
            self.update_port, self.provider_port = free_port(), free_port()
            provider = {"name": "Example", "control": f"http://{SlotVm.host}:{self.provider_port}/activate"}
            url = f"http://{SlotVm.host}:{self.update_port}"
            settings = {
                "update": {"url": url, "public_key": self.publisher.public_key},
                "providers": {"alert": [provider], "push": [provider]},
                # Where plain HTTP will do.
                "allow_targets": [f"{SlotVm.host}/32"],
            }
            image.firmware("amd64", binary, self.dir, ["1.0"], settings, radios=True)
            with open(self.path("1.0.bin"), "rb") as file:
                first = file.read()
            # Radios cost a boot some seconds, and once this one runs they have been tried.
            image.firmware("amd64", binary, self.dir, ["1.1"], settings)
            with open(self.path("1.1.bin"), "rb") as file:
                self.second = file.read()
            images = {"1.0": first, "1.1": self.second}
            self.publisher.publish(
                *({"version": it, **self.publisher.image(f"{it}.bin", content)} for it, content in images.items())
            )
            self.vm = SlotVm(arch, self.path("1.0.bin"))
        except BaseException:
            self.close()
            raise

    def path(self, name):
        return os.path.join(self.dir, name)

    def kept(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text + "\n")
        return self.path(name)

    def close(self):
        self.publisher.close()
        remove(self.dir)

    def furnish(self):
        """Users of the tester's, networks in the air, and data that may be lost."""
        vm = self.vm
        for name, password, more in ((USER, PASSWORD, ""), (GUEST, GUEST_PASSWORD, " --priv view_settings")):
            vm.out(f"echo '{password}' | meterd user set {name}{more} --config /etc/meterd/meterd.json")
        vm.out(f"{INIT} stop; mkdir -p /data/ap")
        vm.write("/data/wpa_supplicant.conf", SUPPLICANT)
        vm.out(f"{INIT} start")
        vm.write("/data/ap/conformance.conf", RADIO)
        vm.out("ap start /data/ap/conformance.conf", timeout=30)
        vm.api.user, vm.api.password, vm.api.token = USER, PASSWORD, None
        vm.api.restore(test_service.chunk(test_service.text(20, ROWS)))

    def knowledge(self):
        first = test_service.START
        return {
            "auth.limited-user": GUEST,
            "auth.limited-password-file": self.kept("guest", GUEST_PASSWORD),
            "clear.excess": "yes",
            "companion.address": SlotVm.host,
            "companion.bind": "127.0.0.1",
            "companion.provider-port": self.provider_port,
            "activate.provider": "Example",
            "wlan.ssid": "Conformance",
            "wlan.key-file": self.kept("key", "correct horse"),
            "wlan.open": "Unlocked",
            "homeplug.targets": self.kept("targets", f"{NEAR}/{DEK}"),
            "homeplug.password-file": self.kept("password", "HomePlugAV"),
            "homeplug.lengths": "yes",
            "db.from": first + 60 * 60,
            "db.to": first + 90 * 60,
            "db.regs": "0,1,2",
            "db.net-register": "0",
            "db.folder": self.dir,
            "update.folder": self.publisher.root,
            "update.port": self.update_port,
            "update.allow-version": "1.1",
            "update.installed-version": "1.0",
            "update.latest-version": "1.1",
            "factory.data": f"{first},{first + 60 * 60}",
            "factory.user": image.USER,
            "factory.password-file": self.kept("label", image.PASSWORD),
        }


def run(shared, tally):
    bench = Bench(shared.arch)
    try:
        with bench.vm as vm:
            bench.furnish()
            line = Line(vm.link.send, vm.link.recv, bridges([LOCAL], [f"{NEAR}/{DEK}"]))
            line.start()
            try:
                judge(tally, bench)
            except Exception:
                print(f"--- console of the meter that is judged:\n{vm.console()[-2000:]}")
                raise
            finally:
                line.stop()
    finally:
        bench.close()


def judge(tally, bench):
    vm, report = bench.vm, bench.path("report.json")
    # That a meter is back within a minute cannot be asked of one that this host starts more slowly than any meter does.
    excused = {"cmd/reboot/09"} if 20 < vm.first_answer else set()
    args = ["--url", f"http://127.0.0.1:{vm.api.port}/api", "--user", USER, "--allow", "all", "--quiet"]
    # A command that takes its time answers after eight seconds, which are more on a busy host.
    args += ["--rate", "100", "--timeout", "60", "--max-wait", "40", "--report", "json", "--out", report]
    for name, value in bench.knowledge().items():
        args += ["--with", f"{name}={value}"]
    begun = time.monotonic()
    status, _, error = suite(*args, password=PASSWORD, timeout=1500)
    print(f"figure: {vm.arch}: every class of the suite in {time.monotonic() - begun:.0f} s")
    found = verdicts(report)
    bad = {name for name, it in found.items() if it["result"] in ("FAIL", "WARN")} - excused
    for it in found.values():
        if it["id"] in bad:
            tally.check(f"{it['id']} on a whole meter", False, json.dumps(it))
        if it["result"] == "NOT_TESTED":
            known = any(start in it["reason"] for start, _ in NOT_TESTED)
            tally.check(f"{it['id']} could not be tried for a reason that is known", known, it["reason"])
    tally.check("a whole meter fails no rule and gets no warning", status == 0 and not bad, f"{status} {error} {bad}")
    passed = [it["class"] for it in found.values() if it["result"] == "PASS"]
    print(f"figure: {vm.arch}: {len(passed)} of {len(found)} rules pass on a whole meter")
    tally.check("every class was tried", set(passed) == {"safe", *CLASSES}, set(passed))
    heart = "wlan/16 wlan/19 homeplug/14 set-time/12 db/restore/02 test-email/17 test-remote/23 activate/21 "
    heart += "update/list/03 update/install/11 reboot/11 factory-restore/11"
    for rule in (f"cmd/{it}" for it in heart.split()):
        tally.check(f"{rule} was tried", found[rule]["result"] == "PASS", found[rule])
    aftermath(tally, bench)


def aftermath(tally, bench):
    """What the suite says it did is what became of the meter."""
    vm = bench.vm
    # Once by command, once for the factory's settings.
    while vm.boots < 3:
        vm.rebooted()
    vm.api.user, vm.api.password, vm.api.token = image.USER, image.PASSWORD, None
    firmware, slot = vm.api.call("GET", "/sys/version")["result"]["firmware"], vm.running()
    installed = (firmware, slot) == ("1.1", "b") and vm.holds("b", bench.second)
    tally.check("it runs the version that was installed, from the other slot", installed, (firmware, slot))
    boots = len(vm.out("cat /data/reboots").split("\n"))
    tally.check("it was rebooted twice", boots == 2, boots)
    tally.check("its data are gone", str(test_service.START) not in vm.api.backup(), vm.api.backup()[:200])
