"""Scenarios of what is kept in files: users, all that a first start makes, a provider, updates."""

import contextlib
import json
import os

import disk
from scenario import PASSWORD, PATIENT, Refused, Scenario
from meter import backup_text
from certificates import Certificates
from provider import Provider
from publisher import Publisher, remove

OTHER = "another word"
TEXT = backup_text([("Grid", "P")], [(1_700_000_000 + at * 60, [at * 7]) for at in range(5)])


def can_log_in(service, user, password):
    service.token = None
    try:
        return bool(service.login(user, password))
    except KeyError:
        return False


def read(path):
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        return file.read()


class Users(Scenario):
    """A password is changed, a user made and removed again: each is as it was or as it was to be."""

    name, serves = "users", False
    STEPS = [("set", "owner", OTHER), ("set", "guest", OTHER), ("del", "guest", "")]
    # Who can log in after so many steps: owner by the old and by the new password, the guest.
    STATES = [(True, False, False), (False, True, False), (False, True, True), (False, True, False)]

    def act(self, service, say):
        for n, (verb, name, password) in enumerate(self.STEPS):
            try:
                service.cli("user", verb, name, stdin=password)
                say(step=n + 1, error=None)
            except Refused as err:
                return say(step=n + 1, error=str(err))

    def logins(self, service):
        pairs = [("owner", PASSWORD), ("owner", OTHER), ("guest", OTHER)]
        return tuple(can_log_in(service, *it) for it in pairs)

    def check(self, service, told):
        done = sum(not it["error"] for it in told)
        got = self.logins(service)
        # What was under way, or could not be made certain, may have come to its end.
        return [] if got in self.STATES[done : done + 2] else [f"{done} steps are done, logins {got}"]

    def look(self, service, told):
        return []

    def again(self, service):
        service.cli("user", "set", "owner", stdin=OTHER)
        return [] if self.logins_of_cli(service) else ["a user cannot be set any more"]

    def logins_of_cli(self, service):
        return "owner" in service.cli("user", "list")


class FirstStart(Scenario):
    """On an empty disk: a user, the first rows, the service itself."""

    name, serves = "first-start", False

    def prepare(self):
        pass

    def act(self, service, say):
        for step, words, text in (("user", ["user", "set", "owner"], PASSWORD), ("rows", ["ingest"], TEXT)):
            try:
                service.cli(*words, stdin=text)
                say(step=step, error=None)
            except Refused as err:
                return say(step=step, error=str(err))
        try:
            service.start()
            say(step="start", error=None)
        except RuntimeError as err:
            say(step="start", error=str(err))

    def check(self, service, told):
        done = [it["step"] for it in told if not it["error"]]
        res = [] if "user" not in done or can_log_in(service, "owner", PASSWORD) else ["the user is lost"]
        return res + ([] if "rows" not in done or len(service.rows()[1]) == 5 else ["rows are lost"])

    def again(self, service):
        service.cli("user", "set", "owner", stdin=PASSWORD)
        known = len(service.rows()[1])
        head, rows = TEXT.splitlines(True)[:2], TEXT.splitlines(True)[2:]
        service.cli("ingest", stdin="".join(head + rows[known:]))
        return [] if len(service.rows()[1]) == 5 else ["rows are lost"]


class Activate(Scenario):
    """A provider is activated in the place of another: what is stored is the one or the other."""

    name = "activate"

    def prepare(self):
        self.certificates = Certificates(self.dir)
        self.certificates.leaf("good", "DNS:localhost,IP:127.0.0.1")
        self.provider = Provider(self.certificates)
        super().prepare()

    def config(self, root):
        urls = {"Old": f"{self.provider.url}/bare", "New": f"{self.provider.url}/grant"}
        return {
            "identity": {"serial": "4711"},
            "tls": {"ca_file": self.certificates.path("ca.pem")},
            "providers": {"push": [{"name": name, "control": url} for name, url in urls.items()]},
            "allow_targets": ["127.0.0.1", "::1"],
        }

    def order(self, service, name):
        reply = service.call("POST", "/cmd/activate", {"service": "push", "provider": name})
        return reply if "token" not in reply else {**reply, **service.finish(reply["token"])}

    def furnish(self, service):
        service.start()
        status = self.order(service, "Old")
        assert "error" not in status, status

    def act(self, service, say):
        status = self.order(service, "New")
        say(activated=True, token=status.get("token"), error=status.get("error"), words=str(status.get("args")))

    def current(self, service):
        text = read(os.path.join(service.state, "service-push.json"))
        return json.loads(text)["provider"] if text else None

    def check(self, service, told):
        promised = any(not it["error"] for it in told)
        current = self.current(service)
        return [] if current == "New" or current == "Old" and not promised else [f"promised {promised}, now {current}"]

    def look(self, service, told):
        failed = [it for it in told if it["error"]]
        if failed and "may undo" not in failed[0]["words"] and self.current(service) != "Old":
            return [f"{failed}, and yet it is {self.current(service)}"]
        return self.check(service, told)

    def again(self, service):
        status = self.order(service, "New")
        return [] if "error" not in status and self.current(service) == "New" else [f"{status}"]

    def remove(self):
        self.provider.shutdown()
        super().remove()


class Update(Scenario):
    """An update is listed, which the meter must remember for ever, fetched, and handed to an installer, which itself leaves
    the old system or the new one."""

    name = "update"

    def prepare(self):
        self.publisher = Publisher(os.path.join(self.dir, "vendor"))
        self.content = disk.chance("image").randbytes(1_300_000)
        # What was issued earlier, at another address.
        self.publish("4.5", "2026-01-01T00:00:00Z", "fw-old.bin")
        os.renames(os.path.join(self.publisher.root, "fw"), self.publisher.root + "/old/fw")
        self.publish("4.6", "2026-11-01T00:00:00Z", "fw-new.bin")
        super().prepare()

    def publish(self, version, issued, name):
        image = {"version": version, **self.publisher.image(name, self.content)}
        self.publisher.publish(image, issued=issued)

    def config(self, root, url=""):
        installer = os.path.join(root, "installer")
        return {
            "identity": {"hardware": "1", "versions": {"fw": "4.4"}, "branch": "stable"},
            "update": {"url": self.publisher.url() + url, "public_key": self.publisher.public_key, "patience_seconds": 2},
            "platform": {"install": {"fw": ["/bin/sh", installer]}},
            # Other commands have an operation to say more; a list is its reply.
            "limits": PATIENT,
            "allow_targets": ["127.0.0.1"],
        }

    def furnish(self, service):
        slot = os.path.join(service.root, "slot")
        with open(slot, "w") as file:
            file.write("old")
        with open(os.path.join(service.root, "installer"), "w") as file:
            # As an installer should: the slot's content is durable before it is chosen.
            file.write('cd "$(dirname "$0")" && cp "$1" slot.new && sync slot.new && mv slot.new slot && sync .\n')

    def list(self, service):
        return service.call("POST", "/cmd/update", {"action": "list", "target": "fw"})

    def install(self, service, say=lambda **_: None):
        reply = service.call("POST", "/cmd/update", {"action": "install", "target": "fw"})
        say(installing=reply.get("token"), error=reply.get("error"))
        return service.finish(reply["token"]) if "token" in reply else reply

    def act(self, service, say):
        offer = self.list(service)
        say(listed=True, error=offer.get("error"))
        status = self.install(service, say)
        words = [status.get("args"), status.get("result")]
        say(installed=True, error=status.get("error"), words=json.dumps(words))

    def slot(self, service):
        return {b"old": "old", self.content: "new"}.get(read(os.path.join(service.root, "slot")), "neither")

    def check(self, service, told):
        known = [it for it in told if not it["error"]]
        slot = self.slot(service)
        res = [] if slot in ("old", "new") else ["the slot holds neither"]
        if any("installed" in it for it in known) and slot != "new":
            res.append("installed, and the slot is old")
        for it in known:
            if it.get("installing"):
                status = service.finish(it["installing"])
                # After a failure that had been told, or an interruption.
                failed = [one["error"] for one in told if "installed" in one]
                if status.get("error") not in (None, "INTERRUPTED", *failed):
                    res.append(f"its token says {status}")
                if "error" not in status and slot != "new":
                    res.append("its token says that it is done")
        if any("listed" in it for it in known):
            res += self.refuses_the_past(service)
        return res + self.again(service)

    def refuses_the_past(self, service):
        """What was issued before something that was listed is not taken any more."""
        service.kill()
        with open(service.config) as file:
            config = json.load(file)
        current = config["update"]["url"]
        for url in (current + "/old", current):
            config["update"]["url"] = url
            with open(service.config, "w") as file:
                json.dump(config, file)
            if url != current:
                service.start()
                offer = self.list(service)
                service.kill()
        service.start()
        return [] if "is older than" in offer.get("error", "") else [f"an older manifest is taken: {offer}"]

    def look(self, service, told):
        failed = not any("installed" in it and not it["error"] for it in told)
        slot = self.slot(service)
        return [] if slot == "new" or failed and slot == "old" else [f"{told}, slot {slot}"]

    def again(self, service):
        status = self.install(service)
        return [] if "error" not in status and self.slot(service) == "new" else [f"again: {status}, {self.slot(service)}"]

    def remove(self):
        self.publisher.close()
        remove(self.publisher.dir)
        super().remove()


SCENARIOS = {it.name: it for it in (Users, FirstStart, Activate, Update)}
