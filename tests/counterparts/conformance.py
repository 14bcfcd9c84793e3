"""The conformance suite on the service itself: in bench mode, with every class allowed and everything named that it
asks for, it finds nothing; a record of that run says the same; the exit status is what it promises. Then on Prism."""

import os
import socket
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree

import conformance_prism
from conformance_suite import run, verdicts
from meter import PASSWORD, Meter, Tally
from publisher import Publisher, free_port, remove

# What a bench cannot have, by the beginning of the reason.
NOT_TESTED = (
    ("needs --max-wait of at least 605", "a token lives for ten minutes"),
    ("the sink has no TLS", "the suite speaks no TLS"),
    ("needs --with companion.mail-port=587", "the usual ports are not this test's to take"),
    ("needs --with mail.direct", "nobody here has mail exchangers"),
    ("every net register of the meter", "a bench's registers all have their partners"),
    ("needs --with factory.data", "the factory's settings of a bench are its demonstration data"),
    ("needs --with activate.nonce", "the bench has no key of its own"),
    ("no list had `minimum`", "`minimum` is optional"),
    ("needs --with auth.local", "the bench has no user of that kind"),
    ("local-here was not tried", "the bench has no user of that kind"),
    ("the meter does not have it: this meter is not set up for it: wlan", "a bench has no WLAN"),
    ("the meter says that it has no WLAN", "a bench has no WLAN"),
    ("no command gave a token", "a bench has neither WLAN nor HomePlug"),
    ("needs --with wlan.", "a bench has no WLAN"),
    ("needs --with homeplug.", "a bench has no HomePlug"),
    ("the tester says, by update.bench", "a bench only pretends to install"),
    ("it was through before anybody could cancel it", "zeroing a window is a matter of milliseconds"),
    ("no register showed an excess", "a bench has no remote registers"),
)


def password_file(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w") as file:
        file.write(text + "\n")
    return path


class Bench:
    """A meter with a label, a guest, a provider and updates, and what a tester of it would know."""

    def __init__(self, folder):
        self.folder = folder
        self.publisher = Publisher(folder)
        images = [{"version": version, **self.publisher.image(name, os.urandom(200_000))} for version, name in
                  [("1.0", "one.bin"), ("1.1", "two.bin")]]
        self.publisher.publish(*images)
        self.update_port, self.control_port = free_port(), free_port()
        label = Meter(demo=False)
        label.cli("user", "set", "label", stdin="as printed")
        label.cli("user", "del", "owner")
        factory = os.path.join(folder, "factory-users.json")
        os.rename(os.path.join(label.state, "users.json"), factory)
        label.remove()
        provider = {"name": "Example", "control": f"http://127.0.0.1:{self.control_port}/activate"}
        cache = os.path.join(folder, "cache")
        os.makedirs(cache)
        self.meter = Meter(
            factory_users=factory,
            identity={"hostname": "bench", "serial": "0001", "model": "bench", "hardware": "1",
                      "versions": {"fw": "1.0"}, "branch": "stable"},
            platform={"web_cache_dir": cache},
            allow_targets=["127.0.0.0/8"],
            providers={"alert": [provider], "push": [provider]},
            update={"url": f"http://127.0.0.1:{self.update_port}", "public_key": self.publisher.public_key},
        )
        self.meter.cli("user", "set", "guest", "--priv", "view_settings", stdin="just looking")
        self.meter.start()

    def args(self):
        """How a tester calls the suite who knows all this and allows everything."""
        # The last morning, when the demonstration's net register turns from growing to shrinking.
        dawn = (int(time.time()) - 30_000) // 86_400 * 86_400 + 21_600
        knows = {
            "auth.limited-user": "guest",
            "auth.limited-password-file": password_file(self.folder, "guest", "just looking"),
            "clear.excess": "yes",
            "companion.address": "127.0.0.1",
            "companion.provider-port": str(self.control_port),
            "activate.provider": "Example",
            "db.from": str(dawn),
            "db.to": str(dawn + 2400),
            "db.regs": "0,1,2",
            "db.net-register": "0",
            "db.folder": self.folder,
            "update.bench": "yes",
            "update.folder": self.publisher.root,
            "update.port": str(self.update_port),
            "update.allow-version": "1.1",
            "update.installed-version": "1.0",
            "update.latest-version": "1.1",
            "factory.user": "label",
            "factory.password-file": password_file(self.folder, "label", "as printed"),
        }
        listed = run("--list")[1]
        res = ["--url", f"http://127.0.0.1:{self.meter.port}/api", "--user", "owner", "--quiet", "--rate", "200"]
        for name, value in knows.items():
            if f"--with {name}=" in listed:
                res += ["--with", f"{name}={value}"]
        return res

    def close(self):
        self.meter.remove()
        self.publisher.close()


def nothing_is_found(tally, found):
    for it in found.values():
        if it["result"] in ("FAIL", "WARN"):
            tally.check(f"{it['id']} on a bench", False, f"{it['result']}: {it.get('sent')} => {it.get('came')}")
    bad = sum(it["result"] in ("FAIL", "WARN") for it in found.values())
    tally.check("the bench meter fails nothing and warns of nothing", found and not bad, f"{bad} of {len(found)}")
    for it in found.values():
        if it["result"] == "NOT_TESTED":
            reason = it.get("reason", "")
            known = any(start in reason for start, _ in NOT_TESTED)
            tally.check(f"{it['id']} could not be tried for a reason that is known", known, reason)
    passed = sum(it["result"] == "PASS" for it in found.values())
    print(f"figure: {passed} of {len(found)} rules pass on a bench meter")


def safe(tally, folder):
    """On a meter of its own, since its failed logins would slow down those of the next run."""
    path = os.path.join(folder, "safe.json")
    with Meter(platform={"web_cache_dir": folder}) as meter:
        rows = meter.rows()
        args = ["--url", f"http://127.0.0.1:{meter.port}/api", "--user", "owner", "--quiet", "--rate", "200"]
        args += ["--max-wait", "5", "--report", "json", "--out", path]
        status, _, error = run(*args, password=PASSWORD)
        tally.check("a safe run ends with 0", status == 0, f"{status} {error}")
        tried = {rule["class"] for rule in verdicts(path).values() if rule["result"] != "NOT_TESTED"}
        tally.check("a safe run judges nothing but what is safe", tried == {"safe"}, tried)
        status, _, error = run(*args, password="wrong")
        tally.check("with a wrong password the run is no basis for a verdict", status == 2, f"{status} {error}")
        log = meter.read_log()
        tally.check("a safe run ran nothing on the machine", "would" not in log, log[-500:])
        tally.check("a safe run changed no data", meter.rows() == rows)


def bench(tally, folder):
    path = lambda name: os.path.join(folder, name)
    it = Bench(folder)
    try:
        args = it.args()
        begun = time.monotonic()
        record = path("record")
        status, _, error = run(
            *(*args, "--allow", "all", "--max-wait", "90", "--record", record),
            *("--report", "json", "--out", path("all.json")),
            password=PASSWORD,
        )
        print(f"figure: every class in {time.monotonic() - begun:.0f} s on a bench meter")
        tally.check("a run with every class ends with 0", status == 0, f"{status} {error}")
        found = verdicts(path("all.json"))
        nothing_is_found(tally, found)
        classes = {rule["class"] for rule in found.values() if rule["result"] == "PASS"}
        wanted = {"safe", "time", "mail", "remote", "activate", "db", "reboot", "factory-restore"}
        wanted |= {"update-list", "update-install"}
        tally.check("every class that a bench has passed something", wanted <= classes, wanted - classes)
    finally:
        it.close()

    status, _, error = run("--replay", record, "--report", "json", "--out", path("replay.json"), "--quiet")
    tally.check("the record of the run ends with 0", status == 0, f"{status} {error}")
    replay = verdicts(path("replay.json"))
    differ = [name for name in found if found[name] != replay.get(name)]
    tally.check("the record says what the run said", not differ and len(found) == len(replay), differ[:5])
    with open(record) as file:
        text = file.read()
    secrets = [secret for secret in (PASSWORD, "as printed", "just looking") if secret in text]
    tally.check("the record has no password in it", not secrets, secrets)


def reports(tally, folder):
    """The other forms, made of the record, and what a program can do with them."""
    record = os.path.join(folder, "record")
    for form in ("text", "markdown", "junit"):
        status, output, error = run("--replay", record, "--report", form, "--quiet")
        tally.check(f"the record as {form}", status == 0 and "cmd/db" in output, f"{status} {error}")
    cases = list(ElementTree.fromstring(output).iter("testcase"))
    old = os.path.join(folder, "all.json")
    tally.check("junit has a case for every rule", len(cases) == len(verdicts(old)), len(cases))
    status, output, error = run("--replay", record, "--compare", old, "--report", "markdown", "--quiet")
    tally.check("a report compares with an older one", status == 0, f"{status} {error}")


def exit_codes(tally, folder):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    url = ["--url", f"http://127.0.0.1:{port}/api", "--user", "owner", "--quiet", "--timeout", "2"]
    tally.check("nobody there ends with 2", run(*url, password="x")[0] == 2)
    tally.check("an unknown option ends with 2", run("--no-such-option")[0] == 2)
    tally.check("an unknown class ends with 2", run(*url, "--allow", "everything", password="x")[0] == 2)
    tally.check("an unknown rule ends with 2", run(*url, "--only", "cmd/no-such", password="x")[0] == 2)
    tally.check("no password ends with 2", run(*url)[0] == 2)
    tally.check("a list ends with 0", run("--list")[0] == 0)
    with Refuser() as server:
        url[1] = f"http://127.0.0.1:{server.port}/api"
        status, _, error = run(*url, "--only", "auth/login", "--report", "json", "--out", os.devnull, password="x")
        tally.check("a meter that knows nothing ends with 1", status == 1, f"{status} {error}")


class Refuser:
    """Answers every connection with 404 and nothing else."""

    def __enter__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def __exit__(self, *_):
        self.socket.close()


def main():
    tally = Tally()
    folder = tempfile.mkdtemp(prefix="meterd-conformance-")
    try:
        exit_codes(tally, folder)
        safe(tally, folder)
        bench(tally, folder)
        reports(tally, folder)
        conformance_prism.run(tally, folder)
    finally:
        remove(folder)
    tally.close()


if __name__ == "__main__":
    main()
