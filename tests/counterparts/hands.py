"""The commands that touch the machine, in bench mode and with harmless programs in place of the machine's own."""

import base64
import json
import os
import signal
import subprocess
import time

from hands_factory import factory_restore_cut, factory_restore_in_bench_mode, factory_wipe_cut
from hands_tools import REAL, ran, script, wait_until_up
from meter import Meter, Tally, backup_text, chunks


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


def stop_while_rebooting(tally):
    """A bench meter that plays a reboot hears a signal at every moment of it."""
    for wait in (0.0, 0.5, *(1 + at / 100 for at in range(0, 60, 6))):
        with Meter() as meter:
            meter.call("POST", "/cmd/reboot")
            time.sleep(wait)
            meter.process.send_signal(signal.SIGTERM)
            try:
                code = meter.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                code = "it goes on"
            tally.check(f"a service that is stopped {wait:.2f} s after a reboot was asked for stops", code == 0, code)


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
        stop_while_rebooting,
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
