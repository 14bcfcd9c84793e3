"""Updates of a meter that starts from one of two slots: in the end it runs what was installed, and whenever the power
fails it comes back with the old system or the new one, which `/sys/version` tells, with users and data as they were."""

import os
import random
import tempfile
import time

import image
import test_service
from publisher import Publisher, remove
from slots import SlotVm

SEED = 20261122
PIECE = 1024 * 1024
# How much of an image comes before its download is cut: more than the service fetches between two syncs, so that there
# is something to go on from, and twice as much is not the whole.
CUT_AFTER = (4.5 * PIECE, 5.5 * PIECE)
DOWNLOAD_CUTS = 1
# What of an answer may still be on its way when the server pauses.
SLACK = 128 * 1024
FLASH_CUTS = 2
# One more comes right after the choice.
CUTS = DOWNLOAD_CUTS + FLASH_CUTS + 1
ROWS = 100
ORDER = ["CHKSIG", "FW_DOWNLOAD", "VALIDATE", "INSTALL", "FLASH", "FINALIZE"]


class Bench:
    """A publisher, and a meter that is updated from it. `images` are those that a meter can start from."""

    def __init__(self, arch):
        self.dir = tempfile.mkdtemp(prefix="meterd-slots-")
        self.publisher = Publisher(os.path.join(self.dir, "vendor"))
        self.chance = random.Random(SEED)
        self.cuts = self.half_done = 0
        try:
            url = self.publisher.url().replace("127.0.0.1", SlotVm.host)
            settings = {"update": {"url": url, "public_key": self.publisher.public_key}}
            versions = ["1.0", "2.0", "3.0"]
            image.firmware("amd64", os.path.join(image.ROOT, "target/dist/meterd-x86_64"), self.dir, versions, settings)
            self.images = {it: self.read(f"{it}.bin") for it in versions}
            self.vm = SlotVm(arch, os.path.join(self.dir, "1.0.bin"))
        except BaseException:
            self.publisher.close()
            remove(self.dir)
            raise

    def close(self):
        self.vm.remove()
        self.publisher.close()
        remove(self.dir)

    def read(self, name):
        with open(os.path.join(self.dir, name), "rb") as file:
            return file.read()

    def publish(self, version, content):
        """Makes this the only image there is."""
        self.publisher.publish({"version": version, **self.publisher.image(f"{version}.bin", content)})

    def install(self):
        reply = self.vm.api.call("POST", "/cmd/update", {"action": "install", "target": "fw"})
        if "token" not in reply:
            raise RuntimeError(reply)
        return reply["token"]

    def furnish(self):
        """What every later start must find: a user, rows, and a trace of who did it."""
        api = self.vm.api
        self.vm.out("echo 'made up' | meterd user set technician --config /etc/meterd/meterd.json")
        api.user, api.password = "technician", "made up"
        api.login_once_known()
        api.restore(test_service.chunk(test_service.text(10, ROWS)))

    def state(self):
        """Which version runs, what is wrong with that, and whether everything is still there."""
        vm = self.vm
        firmware, slot = vm.api.call("GET", "/sys/version")["result"]["firmware"], vm.running()
        wrong = [] if vm.holds(slot, self.images[firmware]) else [f"slot {slot} is not {firmware}"]
        wrong += [] if vm.api.backup() == test_service.text(10, ROWS) else ["rows"]
        ledger = [(it["user"], it["command"]) for it in vm.api.call("GET", "/sys/ledger")["result"]]
        wrong += [] if ("technician", "db restore") in ledger else ["ledger"]
        return firmware, slot, wrong

    def is_running(self, tally, name, version, slot):
        """Whether the meter runs this version from this slot, and everything is there."""
        state = self.state()
        fits = state == (version, slot, [])
        tally.check(f"{name}: {version} runs, from slot {slot}, and has everything", fits, state)
        return fits

    def cut(self, tally, name, version, slot):
        """The power fails now; afterwards the meter must run this version."""
        self.vm.cut()
        self.cuts += 1
        self.vm.start()
        self.half_done += not self.is_running(tally, name, version, slot)


def wait_for(condition, pause=0.002, within=60):
    """Looks often, since the meter goes on meanwhile; what asks the meter itself leaves it time for that."""
    until = time.monotonic() + within
    while not condition():
        if until < time.monotonic():
            raise TimeoutError("what was waited for does not come")
        time.sleep(pause)


def run(shared, tally):
    """How often the power was cut, and how often something was half done after it."""
    bench = Bench(shared.arch)
    try:
        with bench.vm as vm:
            bench.furnish()
            bench.is_running(tally, "in the beginning", "1.0", "a")
            try:
                for part in (bad_slots, cuts_in_download, cuts_in_flash, cut_after_switch, undisturbed):
                    part(tally, bench)
            except Exception:
                print(f"--- console of the meter with slots:\n{vm.console()[-2000:]}")
                raise
    finally:
        bench.close()
    tally.check("no start found anything half done", bench.cuts > 0 and bench.half_done == 0, bench.half_done)
    print(f"figure: {shared.arch}: power cut {bench.cuts} times during updates, half-done {bench.half_done}")
    return bench.cuts, bench.half_done


def bad_slots(tally, bench):
    """A slot that does not take the image, or does not keep it: the old system stays chosen, and the error says why."""
    vm = bench.vm
    too_large = os.urandom(vm.slot_bytes + 1)
    bench.publish("1.1", too_large)
    status = vm.api.finish(bench.install())
    said = "No space left" in status.get("args", [""])[0]
    tally.check("an image larger than the slot: FLASH_FAILED, with its last lines", said, status)
    tally.check("the old system stays chosen", status["error"] == "FLASH_FAILED" and vm.selection() == ["a"], status)
    content = os.urandom(vm.slot_bytes)
    bench.publish("1.1", content)
    token = bench.install()
    wait_for(lambda: vm.holds("b", content[:PIECE]))
    vm.overwrite("b", 1000, b"rot")
    status = vm.api.finish(token)
    said = "does not hold what was written" in status.get("args", [""])[0]
    tally.check("a slot that does not keep it: FLASH_FAILED", said and status["error"] == "FLASH_FAILED", status)
    tally.check("the old system stays chosen", vm.selection() == ["a"], vm.selection())
    tally.check("nothing asks for a reboot", vm.api.call("GET", "/sys/reboot")["result"] is False)
    bench.publisher.requests()


def interrupted(tally, bench, token, stage):
    status = bench.vm.api.status(token)
    told = status.get("error") == "INTERRUPTED" and status.get("result", {}).get("stage") == stage
    tally.check("its token says INTERRUPTED, and in what", told, status)


def cuts_in_download(tally, bench):
    vm, content = bench.vm, bench.images["2.0"]
    bench.publish("2.0", content)
    fetched = lambda: int(vm.out("stat -c %s /data/meterd/update/image/2.0.bin 2>/dev/null || echo 0"))
    for _ in range(DOWNLOAD_CUTS):
        after = int(bench.chance.uniform(*CUT_AFTER))
        bench.publisher.hold_after(after)
        bench.publisher.restart(0)
        before, token = fetched(), bench.install()
        wait_for(lambda: fetched() >= before + after - SLACK, pause=0.1)
        have, status = fetched(), vm.api.status(token)
        inside = status["info"] == "FW_DOWNLOAD" and have < len(content)
        tally.check(f"{have} of {len(content)} bytes are there when the power fails", inside, status)
        bench.cut(tally, "cut in the download", "1.0", "a")
        interrupted(tally, bench, token, "download")
    bench.publisher.hold_after(None)
    bench.publisher.restart(0)


def cuts_in_flash(tally, bench):
    vm, content = bench.vm, bench.images["2.0"]
    for n in range(FLASH_CUTS):
        # What an earlier attempt has written would be taken for this one's.
        vm.overwrite("b", 0, bytes(vm.slot_bytes))
        at = bench.chance.randrange(1, len(content) // PIECE // 2) * PIECE
        token = bench.install()
        wait_for(lambda: vm.holds("b", content[at : at + PIECE], at))
        vm.cut()
        inside = not vm.holds("b", content) and vm.selection() == ["a"]
        tally.check(f"byte {at} of {len(content)} is written, and not all, when the power fails", inside)
        if n == 1:
            # As a careless installer would leave it: now only the image's digest tells that it is not whole.
            vm.select(("b", content), ("a", bench.images["1.0"]))
        bench.cut(tally, "cut in the flash", "1.0", "a")
        if n == 1:
            refused = "slot b does not hold its image" in vm.console()
            tally.check("a half-written slot is not started, even if it is chosen", refused, vm.console())
        interrupted(tally, bench, token, "install")
    # All that was fetched of 2.0, over the cuts in its download and in its flash.
    requests = bench.publisher.requests()
    first = [int(range_[len("bytes=") : -1]) if range_ != "-" else 0 for _, _, range_, _ in requests]
    codes = [it[0] for it in requests] == [200] + [206] * DOWNLOAD_CUTS
    tally.check("each download went on after the one before", codes and first == sorted(set(first)), requests)
    print(f"figure: {vm.arch}: an image of {len(content)} bytes, cut {DOWNLOAD_CUTS} times, was asked for from {first}")


def cut_after_switch(tally, bench):
    vm = bench.vm
    token = bench.install()
    # The choice of the half-written slot is taken back first of all.
    wait_for(lambda: vm.selection() == ["a"])
    wait_for(lambda: vm.selection() == ["b", "a"])
    bench.cut(tally, "cut right after the switch", "2.0", "b")
    interrupted(tally, bench, token, "install")
    offer = vm.api.call("POST", "/cmd/update", {"action": "list", "target": "fw"})
    tally.check("2.0 is not offered any more", "not newer" in offer.get("status", ""), offer)


def undisturbed(tally, bench):
    vm = bench.vm
    bench.publish("3.0", bench.images["3.0"])
    needed = lambda: vm.api.call("GET", "/sys/reboot")["result"]
    token = bench.install()
    tags, shares, refused = [], [], None
    while not (status := vm.api.status(token))["done"]:
        shares.append(status["progress"])
        if status.get("info") not in [None, *tags[-1:]]:
            tags.append(status["info"])
        if tags[-1:] == ["FLASH"] and refused is None:
            refused = vm.api.call("POST", "/cmd/reboot")
        time.sleep(0.05)
    tally.check("an update is installed", "error" not in status, status)
    inside = set(tags) >= {"FW_DOWNLOAD", "FLASH"} and tags == [it for it in ORDER if it in tags]
    tally.check("its tags come in order", inside, tags)
    tally.check("its progress goes up", shares == sorted(shares) and len(set(shares)) > 5, shares)
    tally.check("a reboot while it writes is refused", "installer" in (refused or {}).get("error", ""), refused)
    tally.check("until the reboot it runs on as it was", vm.running() == "b" and vm.selection() == ["a", "b"])
    tally.check("a reboot is needed", needed() is True)
    tally.check("and done", vm.api.call("POST", "/cmd/reboot") == {"status": "OK"})
    vm.rebooted()
    bench.is_running(tally, "after the reboot", "3.0", "a")
    tally.check("no reboot is needed any more", needed() is False)
    boot = vm.api.call("GET", "/sys/boot")["result"]["reason"]
    tally.check("/sys/boot says that it was asked for", boot == "software reset", boot)
    status = vm.api.status(token)
    tally.check("the update's token still says that it is done", status["done"] and "error" not in status, status)
