"""meterctl as people and scripts use it: every command against the bench service, at a terminal and without one; restores
through everything that happens to one; and meters of other makers, one that Prism makes of the maker's description and a
lax one of our own. That none of its crates is in the service is looked at first."""

import gzip
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import meterctl_files
import meterctl_restore
import meterctl_strangers
import meterctl_terminal
from aiosmtpd.controller import Controller
from meter import BINARY, PASSWORD, ROOT, Client, Meter, Tally
from meterctl_tools import METERCTL, SECRETS, Ctl, wait_for
from publisher import Publisher, free_port

COMMANDS = (
    "login logout whoami reboot set-time restore backup zero split clear wlan homeplug test-email test-remote activate "
    "update factory-restore status wait cancel ledger completions man"
).split()
# Crates of the client alone, and what they leave in a binary.
CRATES = ("clap", "clap_builder", "clap_complete", "clap_mangen", "indicatif", "console", "rustix", "roff")
MARKS = (b"METERCTL_PASSWORD", b"clap_builder", b"indicatif", b"rustix-", b"clap_complete")


def apart(tally):
    """None of the client's crates is linked into the service, not even into one that is built beside it."""
    tree = ["cargo", "tree", "--offline", "-p", "meterd", "-e", "normal", "--prefix", "none"]
    plain = subprocess.run(tree, cwd=ROOT, capture_output=True, text=True).stdout
    with_it = subprocess.run([*tree, "--features", "meterctl"], cwd=ROOT, capture_output=True, text=True).stdout
    has = lambda text, crate: re.search(rf"^{crate} v", text, re.M)
    tally.check("the service depends on none of the client's crates", plain and not any(has(plain, it) for it in CRATES))
    tally.check("the client on all of them", all(has(with_it, it) for it in CRATES))
    beside = os.path.join(os.path.dirname(METERCTL), "meterd")
    for name, path, expect in (("meterd", BINARY, []), ("meterd beside meterctl", beside, []), ("meterctl", METERCTL, list(MARKS))):
        with open(path, "rb") as file:
            binary = file.read()
        found = [it for it in MARKS if it in binary]
        tally.check(f"their marks are as expected in {name}", found == expect, found)


def documents(tally, ctl, folder):
    """Help, completions and the man page come from one definition and are well-formed."""
    status, text, _ = ctl.run("--help")
    tally.check("--help names every command and the exit codes", status == 0 and all(it in text for it in COMMANDS) and "130" in text)
    _, text, _ = ctl.run("completions", "bash")
    path = os.path.join(folder, "meterctl.bash")
    with open(path, "w") as file:
        file.write(text)
    good = subprocess.run(["bash", "-n", path]).returncode == 0
    script = f'. {path}; COMP_WORDS=(meterctl wl) COMP_CWORD=1; _meterctl meterctl wl meterctl; echo "${{COMPREPLY[@]}}"'
    offered = subprocess.run(["bash", "-c", script], capture_output=True, text=True).stdout
    tally.check("completions work in bash", good and offered.strip() == "wlan", offered)
    for shell, first in (("zsh", "#compdef meterctl"), ("fish", "# Print an optspec")):
        status, text, _ = ctl.run("completions", shell)
        whole = text.startswith(first) and all(it in text for it in COMMANDS) and text.count("{") == text.count("}")
        tally.check(f"completions for {shell} are whole", status == 0 and whole, text[:200])
    _, page, _ = ctl.run("man")
    checked = subprocess.run(["groff", "-man", "-ww", "-z", "-K", "utf8"], input=page, capture_output=True, text=True)
    tally.check("groff finds no fault in the man page", checked.returncode == 0 and not checked.stderr, checked.stderr[:500])
    shown = subprocess.run(["groff", "-man", "-Tutf8", "-P-cbou"], input=page, capture_output=True, text=True).stdout
    missing = [it for it in COMMANDS if not re.search(rf"^ +meterctl {it}", shown, re.M)]
    missing += [it for it in ("METERCTL_WLAN_KEY", "EXIT STATUS", "--patience", "web_cache") if it not in shown]
    tally.check("it shows every command, the environment and the exit codes", not missing, missing)


def accounts(tally, meter, url):
    ctl = Ctl(url)
    tally.check("login keeps a token", ctl.run("login")[0] == 0 and len(ctl.kept("token")) == 1)
    modes = [oct(os.stat(it).st_mode & 0o777) for it in (ctl.cache, *ctl.kept("token"))]
    tally.check("in a folder and a file that are its owner's alone", modes == ["0o700", "0o600"], modes)
    status, reply = ctl.json("whoami", env={"METERCTL_PASSWORD": "not needed now"})
    tally.check("the token is used, not the password", status == 0 and reply["rights"] == ["save", "ctrl"], reply)

    target = os.path.join(ctl.dir, "target")
    open(target, "w").write("untouched")
    token = ctl.kept("token")[0]
    os.unlink(token)
    os.symlink(target, token)
    status, _ = ctl.json("login")
    held = open(target).read() == "untouched" and not os.path.islink(token)
    tally.check("a link in the token's place is not followed", status == 0 and held)
    os.chmod(token, 0o644)
    status, _, err = ctl.run("whoami", env={"METERCTL_PASSWORD": "wrong"})
    tally.check("a token that others could read is not trusted", status == 3 and "refused" in err, f"{status} {err}")
    tally.check("a wrong password says what to check", "METERCTL_PASSWORD" in err, err)

    with open(os.path.join(ctl.dir, "pw"), "w") as file:
        file.write(PASSWORD + "\n")
    no_password = Ctl(url, password=None)
    status, out, _ = no_password.run("--password-file", file.name, "whoami")
    tally.check("the password may be in a file", status == 0 and "owner" in out, out)
    tally.check("logout ends the token", no_password.run("logout")[0] == 0 and not no_password.kept("token"))
    no_password.run("--password-file", file.name, "login")
    with open(no_password.kept("token")[0]) as kept:
        meter.raw("GET", "/auth/logout", headers={"Authorization": "Bearer " + json.load(kept)["jwt"]})
    status, _, err = no_password.run("logout")
    tally.check("and needs none for one that has ended", status == 0 and not no_password.kept("token"), f"{status} {err}")
    status, _, err = no_password.run("whoami")
    tally.check("nobody is asked without a terminal", status == 2 and "--password-file" in err, f"{status} {err}")
    status, _, err = no_password.run("--password", "x", "whoami")
    tally.check("there is no option for a password", status == 2 and "--password" in err, err)
    status, _, err = ctl.run("--url", f"http://owner:{PASSWORD}@127.0.0.1:{meter.port}", "whoami")
    tally.check("nor a place for it in the address", status == 2 and "no account" in err, err)

    meter.cli("user", "set", "guest", "--priv", "view_settings", stdin="guest")
    meter.process.send_signal(signal.SIGHUP)
    env = {"METERCTL_PASSWORD": "guest"}
    Client(meter.port, "guest", "guest").login_once_known()
    status, out, _ = ctl.run("--user", "guest", "whoami", env=env)
    tally.check("an account without rights is shown as such", status == 0 and "no rights" in out, out)
    status, _, err = ctl.run("--user", "guest", "split", "--yes", env=env)
    tally.check("and is told that it may not", status == 3 and "may not use /cmd/db" in err, err)
    status, _, err = ctl.run("--url", f"127.0.0.1:{free_port()}", "whoami")
    tally.check("a meter that is not there is named", status == 4 and "does not answer" in err, err)
    status, _, err = ctl.run("--url", f"https://127.0.0.1:{meter.port}", "whoami")
    tally.check("nor one without TLS as one with a bad certificate", status == 4 and "Try http://" in err, f"{status} {err}")
    for wrong in (["restore"], ["nonsense"], []):
        status, reply = ctl.json(*wrong)
        tally.check(f"wrong usage is an object with --json: {wrong}", status == 2 and reply["exit"] == 2 and reply["error"], reply)
    status, _, err = ctl.run("whoami", env={"METERCTL_URL": ""})
    tally.check("no address is an error that says what to do", status == 2 and "--url" in err, err)
    return [ctl, no_password]


def database(tally, meter, ctl, folder):
    before = meter.rows()
    out = os.path.join(folder, "backup.txt.gz")
    status, reply = ctl.json("backup", "--out", out)
    tally.check("a backup has every row", status == 0 and gzip.open(out, "rt").read() == meter.backup(), reply)
    first = before[1][-100][0]
    part = os.path.join(folder, "part.txt")
    status, reply = ctl.json("backup", "--out", part, "--from", str(first))
    tally.check("a part of it takes one neighbour along", reply.get("rows") == 101, reply)
    status, _, err = ctl.run("backup", "--out", out)
    tally.check("a file is not overwritten unasked", status == 2 and "--yes" in err, err)
    status, text, _ = ctl.run("backup", "--out", "-")
    tally.check("a backup can go to a pipe", status == 0 and text == meter.backup())

    for command in ("zero", "split", "restore " + part, "reboot", "factory-restore", "clear excess", "update install fw"):
        status, _, err = ctl.run(*command.split())
        refused = status == 2 and "Nobody can be asked here" in err and "--yes" in err
        tally.check(f"{command.split()[0]} does nothing unasked", refused and meter.rows() == before, f"{status} {err}")
    first_backup = os.path.join(folder, "first.txt")
    status, _, err = ctl.run("zero", "--from", str(first), "--regs", "Grid,1", "--backup", first_backup, "--yes")
    zeroed = meter.rows()[1]
    right = all(it[1] == it[2] == 0 for it in zeroed[-100:]) and zeroed[:-100] == before[1][:-100]
    tally.check("zero touches what was named alone", status == 0 and right, err)
    status, reply = ctl.json("restore", first_backup, "--from", str(first), "--yes")
    right = status == 0 and reply["verified"] and meter.rows() == before
    tally.check("what was saved first puts all of it back", right, reply)
    status, _, err = ctl.run("zero", "--regs", "Moon", "--yes")
    tally.check("a register that is not there is named, with those that are", status == 2 and "Grid+" in err, err)
    tally.check("split", ctl.run("split", "--yes")[0] == 0 and ctl.run("split", "--regs", "Solar", "--yes")[0] == 0)
    status, _, err = ctl.run("split", "--regs", "Heating", "--yes")
    tally.check("a failed split says why in words", status == 1 and "net power register" in err, err)
    status, reply = ctl.json("zero", "--from", "9", "--to", "8", "--yes")
    tally.check("an error is an object with --json", status == 1 and reply["exit"] == 1 and "from" in reply["error"], reply)


def device(tally, meter, ctl):
    status, out, _ = ctl.run("set-time", "now")
    tally.check("set-time now", status == 0 and "set to" in out, out)
    status, _, err = ctl.run("set-time", "1000000000")
    tally.check("a day and more off is asked about", status == 2 and "Set the clock to 2001-09-09" in err, f"{status} {err}")
    tally.check("an hour is not", ctl.run("set-time", str(int(time.time()) - 3600))[0] == 0)
    tally.check("set-time with a date", ctl.run("set-time", "2026-11-22T10:00:00.5+01:00", "--yes")[0] == 0)
    tally.check("a stamp arrives to the digit", "1795338000.5" in meter.read_log(), meter.read_log()[-500:])
    tally.check("set-time alone restarts NTP", "restarted" in ctl.run("set-time")[1])
    tally.check("set-time refuses nonsense", ctl.run("set-time", "tomorrow")[0] == 2)
    status, _, err = ctl.run("clear", "web_cache")
    # What was in it is set aside before the answer, and deleted behind it.
    emptied = wait_for(lambda: not os.listdir(meter.web_cache))
    tally.check("clear web_cache", status == 0 and emptied, err)
    tally.check("clear excess", ctl.run("clear", "excess", "--yes")[0] == 0)
    env = {"METERCTL_WLAN_KEY": SECRETS[1]}
    for command, expect in (("list", "wlan"), ("add Roof --yes", "wlan"), ("select 1 --yes", "wlan"), ("forget 1 --yes", "wlan")):
        status, _, err = ctl.run("wlan", *command.split(), env=env)
        tally.check(f"wlan {command.split()[0]} says what this meter lacks", status == 1 and "missing in its config" in err, err)
    env = {"METERCTL_HOMEPLUG_PASSWORD": SECRETS[2], "METERCTL_HOMEPLUG_TARGETS": "00:b0:52:ba:be:57/" + SECRETS[3]}
    status, _, err = ctl.run("homeplug", "set-password", "--yes", env=env)
    tally.check("homeplug says what this meter lacks", status == 1 and "homeplug.interface" in err, err)
    status, _, err = ctl.run("homeplug", "set-password", "00:b0:52:ba:be:57/" + SECRETS[3], "--yes")
    tally.check("a DEK on the command line is refused", status == 2 and "--targets-file" in err, err)


def outward(tally, meter, ctl):
    class Handler:
        mails = []

        async def handle_DATA(self, server, session, envelope):
            self.mails.append(envelope)
            return "250 stored"

    mail = Controller(Handler(), "127.0.0.1", free_port())
    mail.start()
    status, reply = ctl.json("test-email", "user@example.test", "--smarthost", f"127.0.0.1:{mail.port}")
    tally.check("test-email hands a mail over", status == 0 and len(Handler.mails) == 1 and "250" in reply["result"]["log"], reply)
    env = {"METERCTL_MAIL_PASSWORD": SECRETS[4]}
    server = ["--smarthost", f"127.0.0.1:{mail.port}", "--mailuser", "me"]
    status, _, err = ctl.run("test-email", "user@example.test", *server, env=env)
    said = status == 1 and "was not taken" in err and "220 " in err
    tally.check("a mail that is not taken is an error, with the dialogue", said, err)
    mail.stop()
    status, _, err = ctl.run("test-remote", "tcp", f"127.0.0.1:{meter.port}")
    tally.check("test-remote says why in words", status == 1 and "wants a login" in err, err)
    status, out, _ = ctl.run("activate", "push")
    tally.check("activate lists providers", status == 0 and out == "Nobody\n", out)
    status, _, err = ctl.run("activate", "push", "Nobody")
    tally.check("a provider that is not there is an error in words", status == 1 and "provider" in err.lower(), err)


def update(tally, ctl):
    status, out, _ = ctl.run("update", "list", "fw")
    tally.check("update list", status == 0 and "4.6" in out and "4.1.2" in out, out)
    status, _, err = ctl.run("update", "install", "fw", "--version", "4.4", "--yes")
    tally.check("an older version is refused in words", status == 1 and "--force" in err, err)
    status, reply = ctl.json("update", "install", "fw", "--yes")
    right = status == 0 and reply["operation"]["done"] and reply["reboot_needed"]
    tally.check("update install, and what it takes to be in effect", right, reply)


def operations(tally, meter, ctl):
    """The life of one that takes long: towards a device that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"sunspec.1@127.0.0.1:{silent.getsockname()[1]}"
        status, out, _ = ctl.run("test-remote", "modbus", address, "--detach")
        token = out.strip()
        tally.check("--detach prints the token alone", status == 0 and re.fullmatch("[0-9a-f]{32}", token), out)
        status, reply = ctl.json("status", token)
        tally.check("status shows it under way", status == 0 and reply["done"] is False, reply)
        process = ctl.start("wait", token)
        time.sleep(0.5)
        children = open(f"/proc/{process.pid}/task/{process.pid}/children").read()
        shown = open(f"/proc/{process.pid}/cmdline").read()
        tally.check("it starts no other program and has no secret in its arguments", not children and PASSWORD not in shown)
        tally.check("cancel", ctl.run("cancel", token)[0] == 0)
        status = process.wait(30)
        tally.check("whoever waits is told that it was cancelled", status == 8 and "cancelled" in process.output(), process.output())
    status, _, err = ctl.run("cancel", token)
    tally.check("what is over cannot be cancelled", status == 1 and "over" in err, err)
    for bad in ("../time", "0" * 32):
        status, _, err = ctl.run("wait", bad)
        tally.check(f"wait {bad[:8]} is refused", status in (1, 2) and "operation" in err, err)
    status, out, _ = ctl.run("ledger")
    tally.check("ledger", status == 0 and "test-remote modbus" in out and "db zero" in out, out[:300])


def power(tally, meter, ctl):
    status, reply = ctl.json("reboot", "--wait", "--yes")
    seen = status == 0 and reply["down_after"] <= reply["up_after"]
    tally.check("reboot --wait shows the way down and up", seen, reply)
    tally.check("and the meter can be used at once", ctl.run("whoami")[0] == 0)
    status, out, _ = ctl.run("factory-restore", "--yes")
    tally.check("factory-restore", status == 0 and "from the factory" in out, out)
    tally.check("the token is forgotten with it", not ctl.kept("token"))


def bench(tally, folder):
    publisher = Publisher(os.path.join(folder, "vendor"))
    image = publisher.image("fw-4.6.bin", b"x")
    publisher.publish({"version": "4.6", "minimum": "4.1.2", **image}, {"version": "4.4", **image})
    installer = os.path.join(folder, "installer")
    with open(installer, "w") as file:
        file.write("#!/bin/sh\necho 'FLASH /dev/mtd3 40%'\n")
    os.chmod(installer, 0o755)
    web_cache = os.path.join(folder, "www")
    os.mkdir(web_cache)
    open(os.path.join(web_cache, "page.gz"), "w").close()
    meter = Meter(
        listen=[f"127.0.0.1:{free_port()}"],
        identity={"hostname": "meter-7", "serial": "7", "hardware": "1", "versions": {"fw": "4.5"}, "branch": "stable"},
        providers={"push": [{"name": "Nobody", "control": f"https://127.0.0.1:{free_port()}/"}], "decrypt": ["cat"]},
        update={"url": publisher.url(), "public_key": publisher.public_key},
        platform={"install": {"fw": [installer]}, "web_cache_dir": web_cache},
        allow_targets=["127.0.0.0/8"],
    )
    meter.web_cache = web_cache
    with meter:
        url = f"http://127.0.0.1:{meter.port}"
        ctl = Ctl(url)
        users = accounts(tally, meter, url)
        database(tally, meter, ctl, folder)
        device(tally, meter, ctl)
        outward(tally, meter, ctl)
        update(tally, ctl)
        operations(tally, meter, ctl)
        users += meterctl_terminal.run(tally, url, folder)
        power(tally, meter, ctl)
    publisher.close()
    leaks = [it for user in [ctl, *users] for it in user.leaks]
    tally.check("nothing that was printed holds a secret", not leaks, leaks)


def main():
    tally = Tally()
    folder = tempfile.mkdtemp(prefix="meterctl-")
    try:
        apart(tally)
        documents(tally, Ctl("http://127.0.0.1:1"), folder)
        # Much of each is waiting.
        with ThreadPoolExecutor() as pool:
            for it in [pool.submit(part, tally, folder) for part in (bench, meterctl_strangers.run, meterctl_restore.run, meterctl_files.run)]:
                it.result()
        print(f"size: meterctl, debug build {os.path.getsize(METERCTL) / 1e6:.1f} MB")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    tally.close()


main()
