"""The factory restore: in bench mode, cut after its reply, and cut while it removes things."""

import json
import os
import random
import subprocess
import time

from hands_tools import REAL, wait_until_up
from meter import BINARY, Meter

SEED = 20261122
CUTS = 12
# What a wipe has to remove, in the listed folder and again in the state folder: large enough to be cut in the middle.
FOLDERS, FILES = 60, 50
NETWORK = 'update_config=1\nnetwork={\n\tssid="old"\n\tkey_mgmt=NONE\n}\n'


def factory_restore_in_bench_mode(tally):
    with Meter() as meter:
        factory = os.path.join(meter.dir, "factory.json")
        label = Meter(demo=False)
        label.cli("user", "set", "label", stdin="as printed")
        label.cli("user", "del", "owner")
        os.rename(os.path.join(label.state, "users.json"), factory)
        label.remove()
        meter.stop()
        with open(meter.config) as file:
            config = json.load(file)
        precious = os.path.join(meter.dir, "precious")
        os.makedirs(precious)
        with open(os.path.join(precious, "file"), "w") as file:
            file.write("x")
        config.update(factory_users=factory, platform={"factory_restore": [precious]})
        with open(meter.config, "w") as file:
            json.dump(config, file)
        meter.start()
        token = meter.login()
        done = meter.db(action="zero")["token"]
        before = meter.rows()
        tally.check("there is something to lose", len(before[1]) > 100)
        reply = meter.call("POST", "/cmd/factory-restore", {})
        tally.check("factory-restore answers", reply == {"status": "OK"}, reply)
        wait_until_up(meter)
        status, _, _ = meter.raw("GET", "/auth/rights", None, {"Authorization": "Bearer " + token})
        tally.check("no old token works", status == 401, status)
        try:
            meter.login()
            tally.check("no old password works", False)
        except KeyError:
            tally.check("no old password works", True)
        meter.login("label", "as printed")
        tally.check("the label's login does", meter.call("GET", "/auth/rights")["usr"] == "label")
        tally.check("no old operation is known", "error" in meter.call("GET", f"/sys/status/{done}"))
        tally.check("no old row is there", not set(meter.rows()[1]) & set(before[1]))
        tally.check("what the platform lists stays in bench mode", os.listdir(precious) == ["file"])
        ledger = meter.call("GET", "/sys/ledger")["result"]
        tally.check("the ledger is empty", ledger == [], ledger)
        boot = meter.call("GET", "/sys/boot")["result"]
        tally.check("/sys/boot still tells the truth", boot["reason"] == "software reset", boot)


def next_boot(meter):
    """Makes the order that stands in the state folder one of an earlier boot, as if the machine had started anew."""
    path = os.path.join(meter.state, "factory-restore")
    with open(path) as file:
        order = json.load(file)
    order["boot"] = "an earlier one"
    with open(path, "w") as file:
        json.dump(order, file)


def factory_restore_cut(tally):
    """The service is killed right after the reply: the next boot wipes all the same, and nothing does before."""
    for wait in (0, 0.3, 0.9):
        with Meter(platform={"reboot": ["/bin/true"]}, **REAL) as meter:
            meter.cli("ingest", stdin="meterd-backup,1\nts,Grid:P\n1700000000,5\n1700000060,9\n")
            meter.call("POST", "/cmd/factory-restore")
            time.sleep(wait)
            meter.kill()
            left = set(os.listdir(meter.state))
            tally.check(f"cut after {wait} s: nothing is gone yet", {"meter.db", "users.json"} <= left, left)
            said = meter.cli("factory-wipe")
            tally.check("the boot step waits for a boot", said == "" and set(os.listdir(meter.state)) == left, said)
            meter.start()
            status, _, _ = meter.raw("GET", "/auth/unauthorized")
            down = status == 503 and len(meter.rows()[1]) == 2
            tally.check("a service that starts meanwhile goes down again", down, status)
            meter.kill()
            next_boot(meter)
            meter.cli("factory-wipe")
            left = set(os.listdir(meter.state))
            tally.check("then it removes everything", left == {"lock", "boot.json"}, left)
            said = meter.cli("factory-wipe")
            tally.check("and does nothing the second time", said == "", said)
            meter.start()
            _, _, body = meter.raw("GET", "/auth/unauthorized")
            tally.check("the service starts as new", b"nnc" in body and meter.rows() == ([], []))


class Belongings:
    """What a factory restore has to remove, in the state folder and outside of it."""

    def __init__(self, meter):
        self.state = meter.state
        self.listed, self.staged = os.path.join(meter.dir, "listed"), os.path.join(meter.state, "staged")
        self.file, self.networks = os.path.join(meter.dir, "single"), os.path.join(meter.dir, "wpa.conf")

    def config(self):
        platform = {"reboot": ["/bin/true"], "factory_restore": [self.listed, self.file]}
        return {"platform": platform, "wlan": {"control": self.networks + ".socket", "config": self.networks}}

    def make(self):
        for top in (self.listed, self.staged):
            for folder in range(FOLDERS):
                path = os.path.join(top, f"folder{folder}")
                os.makedirs(path)
                for name in range(FILES):
                    os.close(os.open(os.path.join(path, str(name)), os.O_CREAT | os.O_WRONLY))
        for path, text in ((self.file, "x"), (self.networks, NETWORK)):
            with open(path, "w") as file:
                file.write(text)

    def folders(self):
        """How many of the many folders are left."""
        count = 0
        for top in (self.listed, self.staged):
            try:
                count += sum(name.startswith("folder") for name in os.listdir(top))
            except FileNotFoundError:
                pass
        return count

    def ordered(self):
        return os.path.exists(os.path.join(self.state, "factory-restore"))

    def left(self):
        """Everything that should be gone and is not; what is gone and should not be is named too."""
        left = [f"{self.folders()} folders"] if self.folders() else []
        left += ["the file"] if os.path.exists(self.file) else []
        left += ["no listed folder"] if not os.path.isdir(self.listed) else os.listdir(self.listed)
        with open(self.networks) as file:
            text = file.read()
        left += [f"networks: {text}"] if text != "update_config=1\n" else []
        return left + ["the order"] if self.ordered() else left


def factory_wipe_cut(tally):
    """The wipe itself is killed in the middle, also twice: whoever comes next, boot step or service, ends it."""
    chance = random.Random(SEED)
    halfway = 0
    for n in range(CUTS):
        meter = Meter(**REAL)
        things = Belongings(meter)
        with open(meter.config) as file:
            config = json.load(file)
        with open(meter.config, "w") as file:
            json.dump({**config, **things.config()}, file)
        with meter:
            meter.cli("ingest", stdin="meterd-backup,1\nts,Grid:P\n1700000000,5\n1700000060,9\n")
            reply = meter.call("POST", "/cmd/factory-restore")
            meter.kill()
            things.make()
            next_boot(meter)
            tally.check(f"cut {n}: it was ordered", reply == {"status": "OK"} and things.ordered(), reply)
            for _ in range(1 + n % 2):
                halfway += cut_wipe(meter, things, chance)
            if n % 3 == 0:
                meter.start()
                known = {"users.json"} & set(os.listdir(meter.state))
                tally.check(f"cut {n}: the service starts as new", meter.rows() == ([], []) and not known)
                meter.stop()
            else:
                meter.cli("factory-wipe")
                left = set(os.listdir(meter.state))
                tally.check(f"cut {n}: nothing is left of the state", left == {"lock", "boot.json"}, left)
            left = things.left()
            tally.check(f"cut {n}: nor of all the rest", left == [], left)
    wanted = CUTS // 2
    tally.check(f"{wanted} or more of the cuts came halfway", wanted <= halfway, halfway)
    print(f"figure: a wipe of {2 * FOLDERS * FILES} files was killed {CUTS + CUTS // 2} times, {halfway} times halfway")


def cut_wipe(meter, things, chance):
    """Kills the boot step when a part of the folders has gone: whether that was halfway, with the order still there."""
    before = things.folders()
    until_left = chance.randrange(before + 1)
    wipe = subprocess.Popen([BINARY, "factory-wipe", "--config", meter.config], stdout=subprocess.DEVNULL)
    while wipe.poll() is None and until_left < things.folders():
        pass
    wipe.kill()
    wipe.wait()
    return 0 < things.folders() < before and things.ordered()
