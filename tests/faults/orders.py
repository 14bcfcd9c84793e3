"""Scenarios of what outlives a boot: the order to restore the factory's state and the wipe that follows it, the reason of a
reboot, and a network that is being tried."""

import contextlib
import json
import os
import subprocess
import sys

import disk
from files import TEXT, can_log_in, read
from scenario import PASSWORD, Refused, Scenario, wait_for
from supplicant import read as networks_of

SUPPLICANT = os.path.join(disk.HERE, "supplicant.py")


class Factory(Scenario):
    """The order to restore the factory's state: once it was acknowledged everything goes at the next boot, before it nothing."""

    name, stops = "factory-restore", False
    KEPT = {"lock", "boot.json"}

    def config(self, root):
        platform = {"reboot": ["/bin/sh", os.path.join(root, "reboot")], "factory_restore": [os.path.join(root, "log")]}
        wlan = {"control": os.path.join(root, "none"), "config": os.path.join(root, "wpa.conf")}
        return {"platform": platform, "wlan": wlan}

    def furnish(self, service):
        service.cli("ingest", stdin=TEXT)
        os.mkdir(os.path.join(service.root, "log"))
        for name in "abc":
            with open(os.path.join(service.root, "log", name), "w") as file:
                file.write("x" * 1000)
        with open(os.path.join(service.root, "wpa.conf"), "w") as file:
            file.write('update_config=1\nnetwork={\n\tssid="old"\n}\n')
        # The machine never goes down by itself here.
        with open(os.path.join(service.root, "reboot"), "w") as file:
            file.write("exit 0\n")

    def act(self, service, say):
        reply = service.call("POST", "/cmd/factory-restore")
        say(ordered=True, error=reply.get("error"))

    def next_boot(self, service):
        """Makes the order one of an earlier boot, as if the machine had started anew, and carries it out."""
        path = os.path.join(service.state, "factory-restore")
        if text := read(path):
            with open(path, "w") as file:
                file.write(json.dumps({**json.loads(text), "boot": "an earlier one"}))
        service.cli("factory-wipe")

    def left(self, service):
        """What there is of all that must go together."""
        res = set(os.listdir(service.state)) - self.KEPT
        res |= {f"log/{it}" for it in os.listdir(os.path.join(service.root, "log"))}
        return res | ({"networks"} if b"old" in (read(os.path.join(service.root, "wpa.conf")) or b"old") else set())

    def check(self, service, told):
        service.kill()
        ordered = any(not it["error"] for it in told)
        self.next_boot(service)
        left = self.left(service)
        everything = {"users.json", "meter.db", "log/a", "log/b", "log/c", "networks"} <= left
        res = [] if not left or everything and not ordered else [f"ordered {ordered}, and there is {left}"]
        if everything:
            service.start()
            fine = can_log_in(service, "owner", PASSWORD) and len(service.rows()[1]) == 5
            res += [] if fine else ["not ordered, and not as it was"]
        return res

    def look(self, service, told):
        marked = os.path.exists(os.path.join(service.state, "factory-restore"))
        failed = [it["error"] for it in told if it["error"]]
        honest = not failed or "may remove everything" in failed[0]
        return [f"{failed}, and yet the order stands"] if marked and not honest else []

    def again(self, service):
        if not os.path.exists(os.path.join(service.state, "factory-restore")):
            reply = service.call("POST", "/cmd/factory-restore")
            if reply != {"status": "OK"}:
                return [f"again: {reply}"]
        service.kill()
        self.next_boot(service)
        return [f"left: {self.left(service)}"] if self.left(service) else []


class Wipe(Factory):
    """The boot after the order, which removes everything: the next one ends what was cut."""

    name, serves, promises = "factory-wipe", False, False
    OWN = {"meter.db", "meter.db-wal", "meter.db-shm", "staged"}

    def furnish(self, service):
        super().furnish(service)
        with open(os.path.join(service.state, "factory-restore"), "w") as file:
            json.dump({"time": "1700000000.5", "boot": "an earlier one"}, file)

    def act(self, service, say):
        try:
            service.cli("factory-wipe")
            say(wiped=True, error=None)
        except Refused as err:
            say(wiped=True, error=str(err))

    def check(self, service, told):
        # The service that has started ended it, as the boot step would, and has made its own files.
        left = [] if service.rows() == ([], []) else ["rows"]
        return [f"left: {left}"] if (left := left + list(self.left(service) - self.OWN)) else []

    def look(self, service, told):
        return []

    def again(self, service):
        service.kill()
        service.start()
        return self.check(service, [])


class Reboot(Scenario):
    """A reboot that was asked for is known as such after it."""

    name, stops = "reboot", False

    def config(self, root):
        return {"bench": True}

    def furnish(self, service):
        service.start()
        assert service.stop() == 0

    def act(self, service, say):
        reply = service.call("POST", "/cmd/reboot")
        # What it is remembered by is not worth a meter that does not reboot.
        forgotten = [line for line in service.read_log().splitlines() if "next boot could not be recorded" in line]
        say(asked=True, error=reply.get("error", *forgotten or [None]))

    def is_past(self, service):
        # The next boot tells it, and the one after that does not.
        return "would run Reboot" in service.read_log()

    def check(self, service, told):
        service.token = None
        reason = service.call("GET", "/sys/boot")["result"]["reason"]
        promised = any(not it["error"] for it in told)
        return [] if reason == "software reset" or not promised else [f"it was asked for, and is an {reason}"]

    def again(self, service):
        # It goes down all the same, and says so.
        status, _, _ = service.raw("GET", "/auth/unauthorized")
        return [] if status in (401, 503) else [f"it answers {status}"]


class Wlan(Scenario):
    """A network is added: once it was acknowledged the supplicant finds it in its file; a mark of a change under way goes."""

    name = "wlan-add"

    def config(self, root):
        wlan = {"control": os.path.join(root, "control"), "config": os.path.join(root, "wpa.conf")}
        return {"wlan": wlan}

    def furnish(self, service):
        with open(os.path.join(service.root, "wpa.conf"), "w") as file:
            file.write('update_config=1\n\nnetwork={\n\tssid=61\n\tpsk="old secret"\n\tkey_mgmt=WPA-PSK\n}\n')

    @contextlib.contextmanager
    def supplicant(self, service):
        control = os.path.join(service.root, "control")
        with contextlib.suppress(FileNotFoundError):
            os.remove(control)
        command = [sys.executable, SUPPLICANT, control, os.path.join(service.root, "wpa.conf")]
        process = subprocess.Popen(command, env={**os.environ, **service.env})
        try:
            wait_for(lambda: os.path.exists(control))
            yield
        finally:
            process.kill()
            process.wait()
            os.remove(control)

    def order(self, service):
        body = {"action": "add", "ssid": "b", "key": "new secret"}
        reply = service.call("POST", "/cmd/wlan", body)
        return {**reply, **service.finish(reply["token"])} if "token" in reply else reply

    def act(self, service, say):
        with self.supplicant(service):
            status = self.order(service)
        say(joined=True, error=status.get("error"), words=str(status.get("args")))

    def names(self, service):
        return [it["ssid"] for it in networks_of(os.path.join(service.root, "wpa.conf"))]

    def check(self, service, told):
        marker = os.path.join(service.state, "wlan-pending")
        with self.supplicant(service):
            gone = wait_for(lambda: not os.path.exists(marker), within=5)
            names = self.names(service)
        promised = any(not it["error"] for it in told)
        res = [] if gone else ["the mark stays"]
        return res + ([] if names == ["61", "62"] or names == ["61"] and not promised else [f"{promised}: {names}"])

    def look(self, service, told):
        names = self.names(service)
        promised = any(not it["error"] for it in told)
        return [] if "61" in names and ("62" in names or not promised) else [f"{told}: {names}"]

    def again(self, service):
        with self.supplicant(service):
            status = self.order(service)
        return [] if "error" not in status and "62" in self.names(service) else [f"again: {status}"]


SCENARIOS = {it.name: it for it in (Factory, Wipe, Reboot, Wlan)}
