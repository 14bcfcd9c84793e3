"""Power cuts at seeded moments of every command that writes: what was acknowledged must be there after the boot and go on
to its end, what was not must be there as a whole or not at all.

What a killed QEMU had written stays written; the disk that forgets is tests/faults. POWER_CUTS=N cuts N times in all, the
cuts of test_update among them; without it each command but that one, which has its own there, is cut once.
"""

import base64
import http.client
import os
import random
import threading
import time

import test_power
import test_service
import test_update
import test_wlan
from meter import backup_text, chunks

SEED = 20261127
WANTED = int(os.environ.get("POWER_CUTS", "0"))
REGISTERS = test_service.REGISTERS
START, ROWS = 1_700_000_000, 4000


def rows_of(seed):
    """Increments of each row, oldest first."""
    rng = random.Random(seed)
    return [[rng.randrange(-500, 900), *(rng.randrange(900) for _ in REGISTERS[1:])] for _ in range(ROWS)]


def text_of(rows):
    """The backup of these increments, whose newest counters are always the same."""
    counters, res = [1_000_000] * len(REGISTERS), []
    for at in reversed(range(len(rows))):
        res.append((START + at * 60, list(counters)))
        counters = [it - grown for it, grown in zip(counters, rows[at])]
    return backup_text(REGISTERS, res)


def upload(text):
    [data] = chunks(text, 10**9)
    return {"action": "restore", "data": base64.b64encode(data).decode()}


class Sender(threading.Thread):
    """Sends one command; `reply` is what came before the power was gone."""

    def __init__(self, api, path, body):
        super().__init__()
        self.api, self.path, self.body, self.reply = api, path, body, None
        self.start()

    def run(self):
        try:
            self.reply = self.api.call("POST", self.path, self.body, Prefer="respond-async")
        except (OSError, http.client.HTTPException, ValueError):
            # The power went before the answer was there.
            pass


class Cuts:
    def __init__(self, vm, tally):
        self.vm, self.tally, self.chance = vm, tally, random.Random(SEED)
        # What a restore takes on this machine, by which the moments of the cuts are measured.
        self.pace = 1.0
        self.count = self.acknowledged = self.lost = self.half_done = 0
        self.before = text_of(rows_of(1))

    def cut(self, path, body, share):
        """Sends a command, and lets the power fail at some moment within that share of a restore: the reply, if one came."""
        wait = self.chance.uniform(0, share * self.pace)
        self.vm.api.token or self.vm.api.login()
        sender = Sender(self.vm.api, path, body)
        time.sleep(wait)
        self.vm.cut()
        sender.join()
        self.vm.start()
        self.count += 1
        reply = sender.reply or {}
        told = "token" in reply or reply.get("status") == "OK"
        self.acknowledged += told
        return reply if told else None, f"after {wait:.2f} s, {'acknowledged' if told else 'not acknowledged'}"

    def judge(self, name, reply, when, is_before, is_after, found=""):
        """Counts what was promised and is not there, and what is neither as before nor as after."""
        lost = reply is not None and not is_after
        half = not is_before and not is_after
        self.lost, self.half_done = self.lost + lost, self.half_done + half
        outcome = "as after" if is_after else "as before" if is_before else f"neither: {found}"
        self.tally.check(f"{name} cut {when}: {outcome}", not lost and not half, outcome)

    def database(self, name, body, after):
        api = self.vm.api
        begun = time.monotonic()
        status = api.restore(base64.b64decode(upload(self.before)["data"]))
        self.pace = time.monotonic() - begun
        assert "error" not in status and api.backup() == self.before, status
        orders = lambda: sum(it["command"] == f"db {name}" for it in api.call("GET", "/sys/ledger")["result"])
        known = orders()
        reply, when = self.cut("/cmd/db", body, share=1.3)
        status = api.finish(reply["token"]) if reply else {}
        text, until = api.backup(), time.monotonic() + 60
        # Nobody has a token for a command whose reply was lost; it goes on all the same.
        while text != after and known < orders() and time.monotonic() < until:
            time.sleep(0.2)
            text = api.backup()
        fine = "error" not in status
        self.judge(name, reply, when, text == self.before, fine and text == after, f"{status}, {len(text)} bytes")

    def restore(self):
        after = text_of(rows_of(2))
        self.database("restore", upload(after), after)

    def zero(self):
        after = text_of([[0, *row[1:]] for row in rows_of(1)])
        # The oldest row has no increment that a backup could show.
        self.database("zero", {"action": "zero", "regs": [0]}, after)

    def split(self):
        after = text_of([[row[0], max(0, row[0]), *row[2:]] for row in rows_of(1)])
        self.database("split", {"action": "split"}, after)

    def factory_restore(self):
        vm, api = self.vm, self.vm.api
        vm.label = api.user, api.password
        token = test_power.furnish(vm)
        reply, when = self.cut("/cmd/factory-restore", None, share=2)
        api.user, api.password = "technician", "made up"
        try:
            api.login()
            kept = api.backup() == test_power.text()
            kept = kept and vm.sh("grep -q old /data/wpa_supplicant.conf && test -e /data/chrony/y.sources")[0] == 0
            self.judge("factory-restore", reply, when, kept, False, "a user, and not all that belongs to it")
            api.user, api.password = vm.label
            api.token = None
            vm.out("meterd user del technician --config /etc/meterd/meterd.json")
        except KeyError:
            left = test_power.as_new(vm, token)
            self.judge("factory-restore", reply, when, False, left == [], left)

    def wlan_add(self):
        vm, point = self.vm, test_wlan.Air(self.vm, self.tally)
        vm.out(f"rm -f /data/meterd/wlan-pending; {test_wlan.INIT} stop")
        vm.write(test_wlan.CONF, test_wlan.SETTINGS)
        vm.out(f"sync; {test_wlan.INIT} start; ap stop; ap start /data/ap/1.conf", timeout=40)
        # Acknowledged is the end of it, not its token.
        wait = self.chance.uniform(0, 6 * max(1, self.pace))
        token, until = point.begin(action="add", ssid="Meter-Lab", key="correct horse"), time.monotonic() + wait
        done = False
        while time.monotonic() < until:
            status = vm.api.status(token)
            done = status["done"] and "error" not in status
            time.sleep(0.05)
        vm.cut()
        vm.start()
        self.count, self.acknowledged = self.count + 1, self.acknowledged + done
        vm.out("ap start /data/ap/1.conf", timeout=40)
        marked, names = not point.is_unmarked(20), [it.rstrip("*") for it in point.networks()]
        joined = names == ["Meter-Lab"] and point.is_on("", 20) and not marked
        status = vm.api.status(token)
        honest = status["done"] and status.get("error") in (None, "INTERRUPTED")
        when = f"after {wait:.2f} s, {'acknowledged' if done else 'not acknowledged'}"
        reply = True if done else None
        self.judge("wlan add", reply, when, names == [] and not marked, joined and honest, (marked, names, status))


def run(vm, tally):
    cuts = Cuts(vm, tally)
    kinds = ["restore", "zero", "split", "factory_restore", "wlan_add"]
    updates = test_update.CUTS if WANTED else 0
    each = [kinds[n % len(kinds)] for n in range(max(len(kinds), WANTED - updates))]
    vm.radios(False)
    # All rows are its own.
    vm.out(f"{test_service.INIT} stop; rm -rf /data/chrony /data/meterd/meter.db*; {test_service.INIT} start")
    vm.wait_api()
    for kind in sorted(each, key=kinds.index):
        if kind == "wlan_add" and not vm.sh("test -e /data/no-radios")[0]:
            vm.radios(True)
            vm.out("mkdir -p /data/ap")
            vm.write("/data/ap/1.conf", test_wlan.points(1))
        getattr(cuts, kind)()
    vm.sh("ap stop")
    if updates:
        count, half_done = test_update.run(vm, tally)
        cuts.count, cuts.half_done = cuts.count + count, cuts.half_done + half_done
    tally.check("nothing that was acknowledged is lost, nothing is half done", cuts.lost == cuts.half_done == 0)
    print(
        f"figure: {vm.arch}: power cut {cuts.count} times, {cuts.acknowledged} of them after the answer: "
        f"acknowledged-but-lost {cuts.lost}, half-done {cuts.half_done}"
    )
