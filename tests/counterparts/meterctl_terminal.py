"""A part of meterctl.py: at a terminal. Prompts without echo, questions, bars, and Ctrl-C as a key."""

import glob
import os
import re
import socket

from meter import PASSWORD
from meterctl_tools import SECRETS, Ctl


def asked(tally, url):
    """A password is typed without being seen, and Ctrl-C at the prompt leaves the terminal as it was."""
    ctl = Ctl(url, password=None)
    screen = ctl.terminal("whoami")
    prompted = screen.expect("Password: ")
    blind = not screen.echoes()
    shown = open(f"/proc/{screen.process.pid}/cmdline").read() + open(f"/proc/{screen.process.pid}/environ").read()
    screen.type(PASSWORD + "\n")
    back = screen.expect("owner, with the rights")
    echo = screen.echoes()
    tally.check("a password is asked for without echo", prompted and blind and PASSWORD not in screen.text, screen.text)
    tally.check("and is neither in the arguments nor in the environment", PASSWORD not in shown)
    tally.check("and logs in", screen.end() == 0 and back and echo, screen.text)

    ctl = Ctl(url, password=None)
    screen = ctl.terminal("login")
    screen.expect("Password: ")
    screen.interrupt()
    screen.expect("Interrupted")
    echo = screen.echoes()
    tally.check("Ctrl-C at the prompt leaves, with the echo back", screen.end() == 130 and echo, screen.text)
    return [ctl]


def questions(tally, url, folder):
    ctl = Ctl(url)
    screen = ctl.terminal("zero", "--from", "2026-11-26")
    first = screen.expect(r"Zero ALL registers from 2026-11-26 00:00:00 UTC on\? \[y/N\] ")
    screen.type("\n")
    tally.check("Enter is no", screen.end() == 8 and first and "Nothing was done" in screen.text, screen.text)
    screen = ctl.terminal("zero", "--regs", "Solar+", cwd=folder)
    screen.expect(r"\[y/N\]")
    screen.type("y\n")
    offered = screen.expect(r"Take a backup of that time first, to (backup-127\.0\.0\.1\S*\.txt\.gz)\? \[Y/n\]")
    screen.type("\n")
    status = screen.end()
    saved = glob.glob(os.path.join(folder, "backup-127.0.0.1*.txt.gz"))
    tally.check("zero offers a backup first", status == 0 and offered and saved and "Done." in screen.text, screen.text)
    screen = ctl.terminal("restore", saved[0] if saved else "missing", cwd=folder)
    screen.expect(r"Restore [0-9]+ rows, from")
    screen.type("y\n")
    screen.expect(r"\[Y/n\]")
    screen.type("n\n")
    verified = screen.expect("Read back: [0-9]+ increments are the file's", 60)
    tally.check("restore asks, shows a bar and verifies", screen.end() == 0 and verified, screen.text)
    # As a terminal sees it: a bar with rate and time left, redrawn in place.
    bar = re.search(r"restore  [^\r\n]*%[^\r\n]*rows[^\r\n]*left", screen.text)
    tally.check("with rate and time left", bar, repr(screen.text[-800:]))

    screen = ctl.terminal("whoami", "--url", "http://127.0.0.1:1")
    tally.check("errors are coloured at a terminal", screen.end() == 4 and "\x1b[1;31m" in screen.text, repr(screen.text))
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        screen = ctl.terminal("whoami", "--url", "http://127.0.0.1:1", env={name: value})
        tally.check(f"but not with {name}={value}", screen.end() == 4 and "\x1b[1;3" not in screen.text, repr(screen.text))

    screen = ctl.terminal("homeplug", "set-password", "00:b0:52:ba:be:57", "--yes")
    screen.expect("DEK of 00:b0:52:ba:be:57")
    screen.type(SECRETS[3] + "\n")
    screen.expect("New HomePlug password: ")
    screen.type(SECRETS[2] + "\n")
    screen.expect("The same again: ")
    screen.type("something else\n")
    status = screen.end()
    tally.check("a new password is asked for twice", status == 2 and "not the same" in screen.text, screen.text)
    screen = ctl.terminal("wlan", "add", "Roof", "--yes")
    screen.expect("Key of Roof: ")
    screen.type(SECRETS[1] + "\n")
    tally.check("a key is asked for", screen.end() == 1 and "missing in its config" in screen.text, screen.text)
    return [ctl]


def control_c(tally, url):
    """The first one cancels and waits for the end; the second one leaves."""
    ctl = Ctl(url)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        command = ["test-remote", "modbus", f"sunspec.1@127.0.0.1:{silent.getsockname()[1]}"]
        screen = ctl.terminal(*command)
        seen = screen.expect(r"test-remote  .*%") and screen.expect(r"[0-9.]+ s  \S")
        screen.interrupt()
        cancelling = screen.expect("Cancelling; Ctrl-C again leaves")
        status = screen.end()
        told = seen and cancelling and "It was cancelled" in screen.text
        tally.check("Ctrl-C cancels an operation and waits for its end", status == 8 and told, f"{status} {screen.text}")
        screen = ctl.terminal("restore", "/dev/null", "--check")
        tally.check("an empty file is no backup, at a terminal too", screen.end() == 6, screen.text)
        status, out, _ = ctl.run(*command, "--detach")
        token = out.strip()
        # A meter that does not answer any more keeps the first Ctrl-C waiting.
        with socket.create_server(("127.0.0.1", 0)) as mute:
            screen = ctl.terminal("--url", f"http://127.0.0.1:{mute.getsockname()[1]}", "wait", token)
            screen.wait(1)
            screen.interrupt()
            screen.wait(0.5)
            alive = screen.process.poll() is None
            screen.interrupt()
            tally.check("a second Ctrl-C leaves at once", screen.end(5) == 130 and alive, screen.text)
        _, reply = ctl.json("status", token)
        tally.check("and what was begun goes on", reply["done"] is False, reply)
        ctl.run("cancel", token)
    return [ctl]


def run(tally, url, folder):
    return asked(tally, url) + questions(tally, url, folder) + control_c(tally, url)
