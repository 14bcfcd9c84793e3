"""What the tests of meterctl share: running it with a password in its environment alone, at a terminal of its own or
without one, and looking for what it must never show."""

import fcntl
import json
import os
import re
import select
import signal
import struct
import subprocess
import tempfile
import termios
import time

from meter import PASSWORD, ROOT

METERCTL = os.environ.get("METERCTL", os.path.join(ROOT, "target", "debug", "meterctl"))
# Everything secret that any test hands over.
SECRETS = [PASSWORD, "wlan key 4711", "HomePlugPass9", "ABCD-EFGH-IJKL-MNOP", "mail pass 0815"]


class Ctl:
    """meterctl with a cache of its own."""

    def __init__(self, url, folder=None, password=PASSWORD):
        self.dir = folder or tempfile.mkdtemp(prefix="meterctl-test-")
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": self.dir,
            "XDG_CACHE_HOME": os.path.join(self.dir, "cache"),
            "METERCTL_URL": url,
            "LC_ALL": "C.UTF-8",
            "TERM": "xterm",
        }
        if password:
            self.env["METERCTL_PASSWORD"] = password
        self.leaks = []

    @property
    def cache(self):
        return os.path.join(self.dir, "cache", "meterctl")

    def kept(self, kind):
        """Paths of the small files of one kind: `token`, `restore`."""
        names = os.listdir(self.cache) if os.path.isdir(self.cache) else []
        return [os.path.join(self.cache, it) for it in sorted(names) if re.fullmatch(kind + "-[0-9a-f]{32}.json", it)]

    def journal(self):
        """The journal of the restore that is under way, or nothing."""
        for path in self.kept("restore"):
            try:
                with open(path) as file:
                    return json.load(file)
            except (OSError, ValueError):
                pass
        return None

    def look_for_leaks(self, args, text):
        self.leaks += [f"{' '.join(args)}: {it}" for it in SECRETS if it in text]

    def run(self, *args, env=None, timeout=120, stdin=subprocess.DEVNULL):
        """Runs it without a terminal: exit code, standard output, standard error."""
        res = subprocess.run(
            [METERCTL, *args], stdin=stdin, capture_output=True, text=True, env={**self.env, **(env or {})}, timeout=timeout
        )
        self.look_for_leaks(args, res.stdout + res.stderr)
        return res.returncode, res.stdout, res.stderr

    def json(self, *args, **more):
        """The same with --json: exit code and object."""
        status, out, err = self.run("--json", *args, **more)
        try:
            return status, json.loads(out)
        except ValueError:
            return status, f"no JSON: {out!r} {err!r}"

    def start(self, *args, env=None):
        out = open(os.path.join(self.dir, "out"), "w+")
        process = subprocess.Popen(
            [METERCTL, *args], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**self.env, **(env or {})}
        )
        process.output = lambda: open(out.name).read()
        return process

    def terminal(self, *args, env=None, cwd=None):
        return Terminal(self, args, {**self.env, **(env or {})}, cwd)


class Terminal:
    """meterctl at a terminal of its own, which it controls, as a person would use it."""

    def __init__(self, ctl, args, env, cwd):
        self.ctl, self.args = ctl, args
        self.text = ""
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        # A session of its own, of which this terminal is the controlling one: that is where the key Ctrl-C leads.
        command = ["setsid", "--ctty", METERCTL, *args]
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=env, cwd=cwd)
        self.slave = slave

    def pump(self, seconds):
        ready, _, _ = select.select([self.master], [], [], seconds)
        if ready:
            try:
                self.text += os.read(self.master, 65536).decode(errors="replace")
            except OSError:
                pass
        return bool(ready)

    def wait(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.pump(0.05)

    def expect(self, pattern, timeout=30):
        """Waits until the screen shows it."""
        until = time.monotonic() + timeout
        while not re.search(pattern, self.text):
            if time.monotonic() > until or (self.process.poll() is not None and not self.pump(0.1)):
                return False
            self.pump(0.1)
        return True

    def type(self, text):
        os.write(self.master, text.encode())

    def interrupt(self):
        """Ctrl-C, as the key: the terminal makes the signal of it."""
        self.type("\x03")

    def echoes(self):
        return bool(termios.tcgetattr(self.slave)[3] & termios.ECHO)

    def end(self, timeout=60):
        """Its exit code, with all that it showed in `text`."""
        until = time.monotonic() + timeout
        while self.process.poll() is None and time.monotonic() < until:
            self.pump(0.1)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        while self.pump(0.05):
            if not self.text or self.process.poll() is not None and not select.select([self.master], [], [], 0)[0]:
                break
        os.close(self.slave)
        os.close(self.master)
        self.ctl.look_for_leaks(self.args, self.text)
        return self.process.returncode


def wait_for(condition, within=30):
    until = time.monotonic() + within
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
