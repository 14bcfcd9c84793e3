"""The commands that touch the machine, in bench mode and with harmless programs in place of the machine's own."""

import base64
import json
import os
import random
import subprocess
import time

from meter import BINARY, Meter, Tally, backup_text, chunks

REAL = {"demo": False}
SEED = 20261122
CUTS = 12
# What a wipe has to remove, in the listed folder and again in the state folder: large enough to be cut in the middle.
FOLDERS, FILES = 60, 50
NETWORK = 'update_config=1\nnetwork={\n\tssid="old"\n\tkey_mgmt=NONE\n}\n'


def script(folder, name, text):
    """A program that notes that it was run, and when."""
    path = os.path.join(folder, name)
    with open(path, "w") as file:
        file.write(f"#!/bin/sh\necho {name} $(date +%s.%N) >> {folder}/run\n{text}\n")
    os.chmod(path, 0o755)
    return [path]


def ran(folder):
    try:
        with open(os.path.join(folder, "run")) as file:
            return [(line.split()[0], float(line.split()[1])) for line in file]
    except FileNotFoundError:
        return []


def wait_until_up(meter, within=40):
    """Waits until the service answers again, after nothing or only 503 came."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            if meter.raw("GET", "/auth/unauthorized")[0] == 401:
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise RuntimeError("the service does not come back")


def reboot_in_bench_mode(tally):
    with Meter() as meter:
        token = meter.login()
        before = meter.call("GET", "/sys/boot")["result"]
        tally.check("a first boot has no reason", before == {"reason": "unknown reset", "time": None}, before)
        for body in ("[]", '{"now":true}', "7", "{"):
            _, _, reply = meter.raw("POST", "/cmd/reboot", body, {"Authorization": "Bearer " + token})
            tally.check(f"reboot refuses {body}", b"error" in reply and b"body" in reply, reply)
        asked = time.time()
        for body in (None, "{}", "null"):
            began = time.monotonic()
            status, _, reply = meter.raw("POST", "/cmd/reboot", body, {"Authorization": "Bearer " + token})
            tally.check(f"reboot takes {body}", (status, json.loads(reply)) == (200, {"status": "OK"}), reply)
            status, headers, reply = meter.raw("GET", "/sys/time", None, {"Authorization": "Bearer " + token})
            down = status == 503 and headers["Retry-After"] and "error" in json.loads(reply)
            tally.check("meanwhile everything is 503", down, (status, reply))
            status, _, _ = meter.raw("POST", "/cmd/reboot", body, {"Authorization": "Bearer " + token})
            tally.check("a second reboot is 503 too", status == 503, status)
            wait_until_up(meter)
            took = time.monotonic() - began
            tally.check("it comes back, not before a second has passed", 1.0 <= took < 30, took)
            status, _, _ = meter.raw("GET", "/auth/rights", None, {"Authorization": "Bearer " + token})
            tally.check("tokens end with a reboot", status == 401, status)
            token = meter.login()
        boot = meter.call("GET", "/sys/boot")["result"]
        honest = boot["reason"] == "software reset" and asked - 1 < float(boot["time"]) < time.time()
        tally.check("/sys/boot says why and when", honest, boot)
        ledger = [line["command"] for line in meter.call("GET", "/sys/ledger")["result"]]
        tally.check("the ledger has them", ledger.count("reboot") >= 3, ledger)
        tally.check("the log says what would be run", meter.read_log().count("would run Reboot") == 3)


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


def reboot_for_real(tally):
    """With a program in place of /sbin/reboot that ends the service as an init would, after a while."""
    meter = Meter(**REAL)
    command = script(meter.dir, "reboot", f"(sleep 0.5; kill -TERM $(cat {meter.dir}/pid)) >/dev/null 2>&1 &")
    with open(meter.config) as file:
        config = json.load(file)
    config["platform"] = {"reboot": command}
    with open(meter.config, "w") as file:
        json.dump(config, file)
    with meter:
        with open(os.path.join(meter.dir, "pid"), "w") as file:
            file.write(str(meter.process.pid))
        meter.login()
        asked = time.time()
        meter.call("POST", "/cmd/reboot")
        replied = time.time()
        tally.check("the service ends well", meter.process.wait(timeout=20) == 0)
        (name, at), = ran(meter.dir)
        # What the request itself took belongs to the second here; that it was answered long before is the other half.
        right = asked + 1.0 <= at < asked + 30 and replied < at
        tally.check("the command ran once, a second after the request and after the reply", right, (asked, replied, at))
    with Meter(platform={"reboot": ["/bin/false"]}, **REAL) as meter:
        meter.call("POST", "/cmd/reboot")
        code = meter.process.wait(timeout=20)
        tally.check("a reboot that fails ends the service with an error", code == 1, code)
        tally.check("which names the key", "platform.reboot" in meter.read_log(), meter.read_log())
    with Meter(**REAL) as meter:
        for command in ("reboot", "factory-restore"):
            reply = meter.call("POST", f"/cmd/{command}")
            tally.check(f"{command}: a missing key is named", "platform.reboot" in reply["error"], reply)
        tally.check("and nothing was done", meter.call("GET", "/sys/time")["result"])


def operations_stop_at_a_safe_point(tally):
    # Recent rows, a minute apart: what is older than a year would be thinned out.
    stamps = range(int(time.time()) - 200_000 * 60, int(time.time()) - 60, 60)
    text = backup_text([("Grid", "P")], [(ts, [ts * 7]) for ts in reversed(stamps)])
    with Meter() as meter:
        meter.login()
        (data,) = chunks(text, len(stamps))
        body = {"action": "restore", "data": base64.b64encode(data).decode()}
        token = meter.call("POST", "/cmd/db", body, Prefer="respond-async")["token"]
        until = time.monotonic() + 30
        while (status := meter.status(token))["progress"] == 0 and time.monotonic() < until:
            pass
        meter.call("POST", "/cmd/reboot")
        running = not status["done"] and 0 < status["progress"] < 0.5
        tally.check("a restore is in its first half when the reboot is asked for", running, status)
        wait_until_up(meter)
        meter.login()
        after = meter.status(token)
        tally.check("it was stopped, not worked off", not after["done"], after)
        status = meter.finish(token)
        tally.check("it goes on after the reboot under its token", status["done"] and "error" not in status, status)
        with meter.database() as connection:
            missing = set(stamps) - {ts for ts, in connection.execute("SELECT ts FROM row")}
        tally.check("and every row is there", not missing, len(missing))


def set_time(tally):
    with Meter() as meter:
        reply = meter.call("POST", "/cmd/set-time", "1700000000.5")
        tally.check("bench mode sets no clock", reply == {"status": "OK"} and time.time() > 1_750_000_000, reply)
        for body, part in [(7, "string"), ("NaN", "decimal"), ("1e9", "decimal"), ("1", "2000"), ("9" * 12, "beyond")]:
            reply = meter.call("POST", "/cmd/set-time", body)
            tally.check(f"set-time refuses {body!r}", part in reply["error"], reply)
    meter = Meter(**REAL)
    stop, start = script(meter.dir, "stop", "exit 1"), script(meter.dir, "start", "")
    hang = script(meter.dir, "hang", "sleep 30")
    with open(meter.config) as file:
        config = json.load(file)
    config["platform"] = {"ntp": {"stop": stop, "start": start}, "ptp": {"stop": hang, "start": start}}
    with open(meter.config, "w") as file:
        json.dump(config, file)
    with meter:
        # Without a time nothing is set, so this is safe on any machine.
        began = time.monotonic()
        reply = meter.call("POST", "/cmd/set-time", None)
        took = time.monotonic() - began
        tally.check("an empty body restarts the services", reply["status"] in ("OK", "in progress") and took < 20, (reply, took))
        names = [name for name, _ in ran(meter.dir)]
        tally.check("also when stopping fails or hangs", names == ["stop", "hang", "start", "start"], names)


def web_cache(tally):
    meter = Meter(**REAL)
    cache = os.path.join(meter.dir, "cache")
    outside = os.path.join(meter.dir, "outside")
    with open(meter.config) as file:
        config = json.load(file)
    config["platform"] = {"web_cache_dir": cache}
    with open(meter.config, "w") as file:
        json.dump(config, file)
    with meter:
        reply = meter.call("POST", "/cmd/clear", "web_cache")
        tally.check("a missing folder is no error", reply["status"].startswith("OK; there was nothing"), reply)
        os.makedirs(os.path.join(cache, "deep"))
        os.makedirs(outside)
        with open(os.path.join(outside, "kept"), "w") as file:
            file.write("x")
        os.symlink(outside, os.path.join(cache, "link"))
        for n in range(100_000):
            os.close(os.open(os.path.join(cache, f"{n}.gz"), os.O_CREAT | os.O_WRONLY))
        memory = lambda: int(open(f"/proc/{meter.process.pid}/status").read().split("VmHWM:")[1].split()[0])
        before = memory()
        began = time.monotonic()
        reply = meter.call("POST", "/cmd/clear", "web_cache")
        answered = time.monotonic() - began
        visible = [name for name in os.listdir(cache) if not name.startswith(".cleared-")]
        tally.check("100,000 files are out of sight with the reply", reply == {"status": "OK"} and not visible, reply)
        deadline = time.monotonic() + 60
        while os.listdir(cache) and time.monotonic() < deadline:
            time.sleep(0.05)
        tally.check("and deleted after it", os.listdir(cache) == [])
        grown = memory() - before
        tally.check("in constant memory", grown < 1024, f"{grown} KiB more")
        tally.check("a link's target stays", os.path.exists(os.path.join(outside, "kept")))
        print(f"100,000 files: answered after {answered:.2f} s, {grown} KiB more memory")
        left = os.path.join(cache, ".cleared-0123456789abcdef")
        os.makedirs(os.path.join(left, "deep"))
        meter.stop()
        meter.start()
        tally.check("what a cut left goes at the next start", os.listdir(cache) == [])
        reply = meter.call("POST", "/cmd/clear", "caches")
        tally.check("anything else is refused", "excess" in reply["error"] and "web_cache" in reply["error"], reply)
    with Meter(disabled=["clear"], **REAL) as meter:
        reply = meter.call("POST", "/cmd/clear", "web_cache")
        tally.check("a disabled command says so", reply == {"error": "clear: this meter does not offer this command."}, reply)


def main():
    tally = Tally()
    for part in (
        reboot_in_bench_mode,
        factory_restore_in_bench_mode,
        factory_restore_cut,
        factory_wipe_cut,
        reboot_for_real,
        operations_stop_at_a_safe_point,
        set_time,
        web_cache,
    ):
        part(tally)
    tally.close()


main()
