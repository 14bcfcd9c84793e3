"""The commands that touch the machine, in bench mode and with harmless programs in place of the machine's own."""

import base64
import json
import os
import time

from meter import Meter, Tally, chunks

REAL = {"demo": False}


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


def wait_until_up(meter, within=20):
    """Waits until the service answers again: how long nothing or only 503 came."""
    began = time.monotonic()
    while time.monotonic() < began + within:
        try:
            if meter.raw("GET", "/auth/unauthorized")[0] == 401:
                return time.monotonic() - began
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
            status, _, reply = meter.raw("POST", "/cmd/reboot", body, {"Authorization": "Bearer " + token})
            tally.check(f"reboot takes {body}", (status, json.loads(reply)) == (200, {"status": "OK"}), reply)
            status, headers, reply = meter.raw("GET", "/sys/time", None, {"Authorization": "Bearer " + token})
            down = status == 503 and headers["Retry-After"] and "error" in json.loads(reply)
            tally.check("meanwhile everything is 503", down, (status, reply))
            status, _, _ = meter.raw("POST", "/cmd/reboot", body, {"Authorization": "Bearer " + token})
            tally.check("a second reboot is 503 too", status == 503, status)
            took = wait_until_up(meter)
            tally.check("it comes back, not before a second has passed", 0.9 < took < 15, took)
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
        tally.check("what the platform lists is gone", not os.path.exists(precious))
        ledger = meter.call("GET", "/sys/ledger")["result"]
        tally.check("the ledger is empty", ledger == [], ledger)
        boot = meter.call("GET", "/sys/boot")["result"]
        tally.check("/sys/boot still tells the truth", boot["reason"] == "software reset", boot)


def factory_restore_cut(tally):
    """The service is killed right after the reply: the next start wipes all the same."""
    for wait in (0, 0.3, 0.9):
        with Meter(platform={"reboot": ["/bin/true"]}, **REAL) as meter:
            meter.cli("ingest", stdin="meterd-backup,1\nts,Grid:P\n1700000000,5\n1700000060,9\n")
            meter.call("POST", "/cmd/factory-restore")
            time.sleep(wait)
            meter.kill()
            left = set(os.listdir(meter.state))
            tally.check(f"cut after {wait} s: nothing is gone yet", {"meter.db", "users.json"} <= left, left)
            meter.cli("factory-wipe")
            left = set(os.listdir(meter.state))
            tally.check("the boot step removes everything", left == {"lock", "boot.json"}, left)
            said = meter.cli("factory-wipe")
            tally.check("and does nothing the second time", said == "", said)
            meter.start()
            _, _, body = meter.raw("GET", "/auth/unauthorized")
            tally.check("the service starts as new", b"nnc" in body and meter.rows() == ([], []))


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
        replied = None
        meter.call("POST", "/cmd/reboot")
        replied = time.time()
        tally.check("the service ends well", meter.process.wait(timeout=20) == 0)
        (name, at), = ran(meter.dir)
        tally.check("the command ran once, a second after the reply", 1.0 <= at - replied + 0.05 < 5, at - replied)
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
    with Meter() as meter:
        meter.login()
        rows = meter.rows()[1]
        (data,) = chunks(meter.backup(), 10**6)
        connection = meter.connect()
        body = json.dumps({"action": "restore", "data": base64.b64encode(data).decode()})
        headers = {"Authorization": "Bearer " + meter.token, "Prefer": "respond-async"}
        connection.request("POST", "/api/cmd/db", body, headers)
        token = json.loads(connection.getresponse().read())["token"]
        meter.call("POST", "/cmd/reboot")
        wait_until_up(meter)
        meter.login()
        status = meter.finish(token)
        tally.check("a restore goes on after a reboot under its token", status["done"] and "error" not in status, status)
        tally.check("and every row is there", len(meter.rows()[1]) >= len(rows) - 1)


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
        tally.check("an empty body restarts the services", reply["status"] in ("OK", "in progress") and took < 9, (reply, took))
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
        reboot_for_real,
        operations_stop_at_a_safe_point,
        set_time,
        web_cache,
    ):
        part(tally)
    tally.close()


main()
