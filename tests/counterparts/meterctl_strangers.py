"""A part of meterctl.py: meters of other makers. A lax one, in every way that it may answer, and the one that Prism makes of
the maker's own description, which checks what it is sent against it."""

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from conformance_prism import Prism, with_a_login
from meter import backup_text
from meterctl_lax import LaxMeter
from meterctl_tools import SECRETS, Ctl, wait_for

ROWS = [(600 - at * 60, [1000 - at * 7]) for at in range(8)]


def lax(tally, folder):
    path = os.path.join(folder, "lax.txt")
    with open(path, "w") as file:
        file.write(backup_text([("Grid", "P")], ROWS))
    users = []
    for reading in ("status", "token", "both"):
        with LaxMeter(reading, polite=reading == "both") as meter:
            ctl = Ctl(meter.url)
            users.append(ctl)
            status, out, err = ctl.run("whoami")
            tally.check(f"{reading}: a nonce that expired is replaced", status == 0 and "save" in out, err)
            status, _, err = ctl.run("zero", "--regs", "Grid", "--yes")
            sent = meter.seen[-1][1]
            tally.check(f"{reading}: zero", status == 0 and sent == {"action": "zero", "regs": [3]}, f"{sent} {err}")
            status, reply = ctl.json("restore", path, "--yes")
            right = status == 0 and reply["verified"] is None and reply["rows"] == 8
            tally.check(f"{reading}: a restore that cannot be read back", right, reply)
            status, out, err = ctl.run("restore", path, "--yes")
            tally.check(f"{reading}: is said not to be verified", status == 0 and "not verified" in err, err)
            status, _, err = ctl.run("split", "--yes")
            tally.check(f"{reading}: an error, whatever its status", status == 1 and "Split is not supported" in err, err)
            status, out, _ = ctl.run("status", "0" * 32)
            tally.check(f"{reading}: an unknown token", status == 1, out)
    with LaxMeter() as meter:
        ctl = Ctl(meter.url)
        users.append(ctl)
        lacking(tally, ctl, folder)
        rest(tally, ctl, meter)
    return users


def lacking(tally, ctl, folder):
    """What is beyond the WebAPI is missed in words, with an exit code of its own."""
    for command, words in (
        ("ledger", "keeps no ledger"),
        (f"backup --out {folder}/none.txt", "does not offer|JSON where a file"),
        ("activate push x", "does not offer /cmd/activate"),
        ("activate alert", "does not offer /providers/alert"),
        ("clear web_cache", "does not offer /cmd/clear"),
    ):
        status, _, err = ctl.run(*command.split())
        named = any(it in err for it in words.split("|"))
        tally.check(f"lax: {command.split()[0]} is missed in words", status == 5 and named, f"{status} {err}")
    status, _, err = ctl.run("zero", "--yes", "--backup", f"{folder}/none.txt")
    tally.check("lax: no zero without the backup that was asked for", status == 5, f"{status} {err}")
    status, _, err = ctl.run("zero", "--regs", "Solar", "--yes")
    tally.check("lax: a register without an id", status == 5 and "Give the number" in err, err)
    other = os.path.join(folder, "other.bin")
    with open(other, "wb") as file:
        file.write(b"EGDB\0\1\2\3")
    tally.check("lax: a foreign backup is sent as it is", ctl.run("restore", other, "--as-is", "--yes")[0] == 0)


def slow(tally, folder):
    """A meter without tokens that answers when it is done. That takes longer than any reply of one that answers at once."""
    path = os.path.join(folder, "slow.txt")
    with open(path, "w") as file:
        file.write(backup_text([("Grid", "P")], [(10_000_000 - at * 60, [1000 - at * 7]) for at in range(8000)]))
    restore = ["restore", path, "--chunk", "65536", "--plain", "--yes"]
    data = lambda meter: [body["data"] for path, body in meter.seen if path == "/cmd/db"]

    def patient():
        with LaxMeter() as meter:
            meter.delays = [0, 33]
            ctl = Ctl(meter.url)
            status, out, err = ctl.run(*restore)
            sent = data(meter)
            once = 2 < len(sent) == len(set(sent))
            tally.check("slow: each chunk is sent once", status == 0 and once, f"{status} {len(sent)} {out} {err}")
        return ctl

    def other():
        with LaxMeter() as meter:
            meter.delays = [33]
            ctl = Ctl(meter.url)
            status, out, err = ctl.run("wlan", "add", "Open", "--open", "--yes")
            tally.check("slow: another command is waited for", status == 0, f"{status} {out} {err}")
        return ctl

    def impatient():
        with LaxMeter() as meter:
            meter.delays = [45]
            ctl = Ctl(meter.url)
            status, _, err = ctl.run(*restore, "--patience", "31")
            given_up = status == 4 and len(data(meter)) == 1 and "--resume goes on there" in err
            tally.check("slow: what is given up was sent once", given_up, f"{status} {len(data(meter))} {err}")
        return ctl

    def left():
        with LaxMeter() as meter:
            meter.delays = [0, 60]
            ctl = Ctl(meter.url)
            process = ctl.start(*restore)
            waits = wait_for(lambda: len(data(meter)) == 2)
            time.sleep(1.5)
            process.send_signal(signal.SIGINT)
            begun = time.monotonic()
            status = process.wait(60)
            told = "--resume" in process.output() and "spike" in process.output()
            seen = waits and status == 130 and time.monotonic() - begun < 10
            tally.check("slow: Ctrl-C leaves a restore that waits, and says what that means", seen and told, process.output())
            status, _, err = ctl.run(*restore, "--resume")
            tally.check("slow: which can be resumed", status == 0, err)
        return ctl

    def fronted():
        with LaxMeter() as meter:
            meter.times_out = True
            ctl = Ctl(meter.url)
            status, _, err = ctl.run(*restore)
            once = status == 4 and len(data(meter)) == 1 and "--resume goes on there" in err
            tally.check("slow: nor is it sent again for a web server in front", once, f"{status} {len(data(meter))} {err}")
            meter.times_out = False
            status, _, err = ctl.run(*restore, "--resume")
            tally.check("slow: but when that is asked for", status == 0, err)
        return ctl

    with ThreadPoolExecutor() as pool:
        return [it.result() for it in [pool.submit(part) for part in (patient, other, impatient, left, fronted)]]


def rest(tally, ctl, meter):
    status, out, _ = ctl.run("update", "list", "fw")
    tally.check("lax: a version that is a number", status == 0 and out.startswith("4.4, for meters that have at least 4"), out)
    status, out, _ = ctl.run("wlan", "list")
    tally.check("lax: wlan list", status == 0 and "Roof" in out and "屋根" in out, out)
    env = {"METERCTL_WLAN_KEY": SECRETS[1]}
    for command, expect in (
        ("add Roof --hidden", {"action": "add", "ssid": "Roof", "key": SECRETS[1], "hidden": True}),
        ("add Open --open", {"action": "add", "ssid": "Open"}),
        ("select Roof", {"action": "select", "id": 0}),
        ("forget 2", {"action": "forget", "id": 2}),
    ):
        status, _, err = ctl.run("wlan", *command.split(), "--yes", env=env)
        tally.check(f"lax: wlan {command}", status == 0 and meter.seen[-1] == ("/cmd/wlan", expect), f"{meter.seen[-1]} {err}")
    status, _, err = ctl.run("wlan", "select", "Twin", "--yes")
    tally.check("lax: a name that two networks have", status == 2 and "Give the id" in err, err)
    env = {"METERCTL_HOMEPLUG_PASSWORD": SECRETS[2], "METERCTL_HOMEPLUG_TARGETS": f"00:b0:52:ba:be:57/{SECRETS[3]}"}
    status, _, err = ctl.run("homeplug", "set-password", "--yes", env=env)
    sent = {"action": "setpwd", "password": SECRETS[2], "targets": [f"00:b0:52:ba:be:57/{SECRETS[3]}"]}
    tally.check("lax: homeplug set-password", status == 0 and meter.seen[-1][1] == sent, f"{meter.seen[-1]} {err}")
    status, _, err = ctl.run("test-email", "me@example.test")
    tally.check("lax: test-email with a loose status", status == 0, err)
    tally.check("lax: test-remote", ctl.run("test-remote", "coap", "192.0.2.1")[0] == 0)
    status, reply = ctl.json("update", "install", "fw", "--yes")
    tally.check("lax: an update that reboots by itself is seen down and up", status == 0 and 1 < reply["up_after"], reply)
    status, reply = ctl.json("reboot", "--wait", "--yes")
    tally.check("lax: the way down and up without uptime", status == 0 and 1 < reply["up_after"], reply)
    tally.check("lax: set-time is missed in words", ctl.run("set-time", "now")[0] == 5)
    tally.check("lax: logout", ctl.run("logout")[0] == 0 and meter.token is None)


def https(tally, folder):
    """A meter with a certificate of its own, as most have."""
    files = [os.path.join(folder, it) for it in ("meter.pem", "meter.key")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=meter"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run([*command, *names, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    with LaxMeter(certificate=files) as meter:
        ctl = Ctl(meter.url)
        status, _, err = ctl.run("whoami")
        tally.check("https: a stranger's certificate is refused with advice", status == 1 and "--cacert" in err, err)
        tally.check("https: nothing was sent to it", not meter.nonces, meter.nonces)
        status, out, err = ctl.run("whoami", "--cacert", files[0])
        tally.check("https: a named one is trusted", status == 0 and "save" in out, err)
        tally.check("https: or none is verified", ctl.run("whoami", "--insecure")[0] == 0)
        meter.delays = [60]
        process = ctl.start("zero", "--yes", "--cacert", files[0])
        waits = wait_for(lambda: any(path == "/cmd/db" for path, _ in meter.seen))
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        seen = waits and process.wait(90) == 130 and time.monotonic() - begun < 10
        tally.check("https: Ctrl-C is seen while a command works", seen and "look before" in process.output(), process.output())
        status, _, err = ctl.run("whoami", "--cacert", files[1])
        tally.check("https: a file without a certificate is named", status == 6 and "meter.key" in err, err)
    return [ctl]


def prism(tally, folder):
    """Prism refuses a body or a path that the description has not. Its examples carry an `error` beside every success, which
    is what commands then report."""
    with open(with_a_login(folder)) as file:
        description = json.load(file)
    description["paths"] = {"/api" + path: it for path, it in description["paths"].items()}
    below_api = os.path.join(folder, "below-api.json")
    with open(below_api, "w") as file:
        json.dump(description, file)
    with Prism(folder, below_api) as mock:
        ctl = Ctl(f"http://127.0.0.1:{mock.port}")
        env = {"METERCTL_WLAN_KEY": SECRETS[1], "METERCTL_HOMEPLUG_PASSWORD": SECRETS[2]}
        env["METERCTL_HOMEPLUG_TARGETS"] = "00:b0:52:ba:be:57/" + SECRETS[3]
        path = os.path.join(folder, "lax.txt")
        status, out, err = ctl.run("whoami")
        tally.check("Prism: whoami", status == 0 and "save" in out, err)
        for command in (
            "zero --from 1 --to 2.5 --regs 1,2",
            "split",
            f"restore {path}",
            "clear excess",
            "set-time now",
            "set-time",
            "reboot",
            "factory-restore",
            "wlan add Roof --hidden",
            "wlan select 1",
            "homeplug set-password",
            "test-email me@example.test --smarthost mail.example.test",
            "test-remote modbus sunspec.1@USB2",
            "activate push Cloudly",
            "update list fw --branch beta",
            "update install kernel --force --version 5.15",
            "cancel 473c31462e62848b5352314dfc608669",
        ):
            status, out, err = ctl.run(*command.split(), "--yes", env=env)
            taken = status == 1 and "Error message (present if an error occurred)" in err
            tally.check(f"Prism takes {command.split()[0]} as it is sent", taken, f"{command}: {status} {out} {err}")
        return [ctl]


def run(tally, folder):
    users = lax(tally, folder) + slow(tally, folder) + https(tally, folder) + prism(tally, folder)
    leaks = [it for user in users for it in user.leaks]
    tally.check("no stranger makes it show a secret", not leaks, leaks)
