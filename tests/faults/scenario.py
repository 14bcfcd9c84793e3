"""What every scenario is made of: a service whose state is on the disk under test, and a course of commands on it that is
run undisturbed once, and judged after every kind of fault."""

import json
import os
import shutil
import sys
import tempfile
import time

import disk

sys.path.insert(0, os.path.join(os.path.dirname(disk.HERE), "counterparts"))
from meter import PASSWORD, Client, Meter  # noqa: E402

# It is the disk that fails here, not the patience of a machine that does a lot besides.
PATIENT = {"head_seconds": 60, "body_seconds": 60, "answer_seconds": 60, "reply_seconds": 30, "reserve_bytes": 0}
# The reply comes at once, so that a token is in hand before the first batch is done.
LIMITS = {**PATIENT, "reply_seconds": 0}


class Refused(Exception):
    """A program on the command line ended with an error; the text is its own."""


class Service(Meter):
    """A service on the disk `root`; its configuration and log are elsewhere."""

    def __init__(self, root, config, env=None):
        Client.__init__(self)
        self.dir = tempfile.mkdtemp(prefix="meterd-faults-", dir=disk.SCRATCH)
        self.root, self.state, self.env = root, os.path.join(root, "state"), env or {}
        self.config = os.path.join(self.dir, "meterd.json")
        settings = {"bench": False, "listen": ["127.0.0.1:0"], "state_dir": self.state, "limits": LIMITS, **config}
        with open(self.config, "w") as file:
            json.dump(settings, file)
        self.process, self.local_port = None, 0

    def connect(self, timeout=60):
        connection = super().connect(timeout)
        connection.connect()
        # By which the trace knows the answers to this connection.
        self.local_port = connection.sock.getsockname()[1]
        return connection

    def cli(self, *args, stdin=""):
        try:
            return super().cli(*args, stdin=stdin)
        except RuntimeError as err:
            raise Refused(str(err)) from None

    def is_up(self):
        return self.process is not None and self.process.poll() is None

    def end(self):
        if self.is_up():
            self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


class Scenario:
    """One course. `act` tells with `say` what it was told, and goes on after an error where a client would."""

    name = ""
    # Whether the service runs while it acts, or only programs on the command line.
    serves = True
    # Whether it ends with an orderly stop, or is left alone.
    stops = True
    # Whether it would be found out if all of it were forgotten; what is simply done again would not.
    promises = True

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="meterd-faults-", dir=disk.SCRATCH)
        self.image = os.path.join(self.dir, "image")
        os.mkdir(self.image)

    def config(self, root):
        """What is added to the configuration."""
        return {}

    def service(self, root, env=None):
        return Service(root, self.config(root), env)

    def prepare(self):
        """Makes the folder in which the course begins."""
        it = self.service(self.image)
        try:
            it.cli("user", "set", "owner", stdin=PASSWORD)
            self.furnish(it)
        finally:
            it.end()

    def furnish(self, service):
        """What there is besides a user."""

    def act(self, service, say):
        """The course; with a running service unless it is one of the command line."""
        raise NotImplementedError

    def is_telling(self, told):
        """Whether an undisturbed course went as it should, where that is a race."""
        return True

    def is_past(self, service):
        """Whether the service has gone on to what is no part of the course any more."""
        return False

    def check(self, service, told):
        """What is wrong when the service starts again on what a cut has left; `told` is what had been said by then."""
        raise NotImplementedError

    def look(self, service, told):
        """What is wrong once the fault is over, while the service still runs; `told` is what was said meanwhile."""
        return []

    def again(self, service):
        """Gives the same orders again, now that nothing fails: what is wrong."""
        raise NotImplementedError

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)


def wait_for(condition, within=20):
    until = time.monotonic() + within
    while not (res := condition()):
        if until < time.monotonic():
            return res
        time.sleep(0.002)
    return res


def problems(**conditions):
    """The names of all conditions that do not hold, with what was found instead."""
    return [f"{name}: {found}" for name, (holds, found) in conditions.items() if not holds]
