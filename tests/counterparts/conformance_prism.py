"""A part of conformance.py: the suite on a meter that nobody here wrote. Prism makes one of the maker's OpenAPI
description; it answers with the examples, checks bodies and the presence of a token, and does nothing.

Every FAIL must be a true fault of that mock: it must show one of the marks below, and every mark must be seen."""

import base64
import json
import os
import re
import socket
import subprocess
import time

import yaml

from conformance_suite import run as suite, verdicts
from meter import ROOT
from publisher import free_port

PRISM = os.path.join(ROOT, "target", "prism", "node_modules", ".bin", "prism")
DESCRIPTION = os.path.join(os.path.dirname(os.path.abspath(__file__)), "openapi", "webapi-4.6-subset.openapi.yaml")

# What a FAIL shows of the mock, and why that is a fault.
FAULTS = {
    r'"error":"Error message \(present': "its examples have `error` beside success",
    r"stoplight\.io/prism/errors": "its own refusals are problem documents, without `error`, `rlm` and `nnc`",
    r'"error":\{"code":': "what it cannot read has an object as `error`",
    r'"You are logged in\."': "/auth/unauthorized answers with a bare string, whatever the token",
    r'"jwt":"\*\*\*"': "it gives the same token to everybody, whatever the password",
    r"had the same nonce": "every challenge has the example's nonce",
    r"was given the same token": "every operation has the example's token",
    r'400 \{"error":"Bad Request"\}': "it reads bodies by their Content-Type only",
    r"the mail server saw \[\]|never asked|0 mails came": "it does nothing",
    r'"rights":\["save","ctrl"\]\} \((status 400|an error)': "it takes a request without Host and one without version",
}
# Rules whose verdicts are plain from the description.
FAILS = ("auth/login/04", "auth/tokens/08", "cmd/reboot/01", "sys/status/01", "http/replies/02")
PASSES = ("auth/login/01", "auth/login/02", "auth/login/03", "auth/rights/01", "auth/rights/02", "auth/tokens/06")


class Prism:
    """Serves a description on a port of its own."""

    def __init__(self, folder, description):
        self.port = free_port()
        command = [PRISM, "mock", "-h", "127.0.0.1", "-p", str(self.port), description]
        self.log = open(os.path.join(folder, "prism.log"), "a")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def __enter__(self):
        until = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                if self.process.poll() is not None or until < time.monotonic():
                    raise RuntimeError(f"Prism does not listen, see {self.log.name}")
                time.sleep(0.1)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.log.close()


def with_a_login(folder):
    """The description with two mends, or nobody gets in: a login needs no token, and its example is one."""
    with open(DESCRIPTION) as file:
        description = yaml.safe_load(file)
    segment = lambda it: base64.urlsafe_b64encode(json.dumps(it).encode()).decode().rstrip("=")
    payload = {"usr": "owner", "prv": 15, "beg": int(time.time()), "ltm": 600}
    token = ".".join([segment({"alg": "HS256", "typ": "JWT"}), segment(payload), "c2lnbmF0dXJl"])
    login = description["paths"]["/auth/login"]["post"]
    login["security"] = []
    login["responses"]["200"]["content"]["application/json"]["example"] = {"jwt": token}
    path = os.path.join(folder, "openapi.json")
    with open(path, "w") as file:
        json.dump(description, file)
    return path


def run(tally, folder):
    for name, description in (("as it is", DESCRIPTION), ("with a login", with_a_login(folder))):
        path = os.path.join(folder, "prism.json")
        with Prism(folder, description) as mock:
            args = ["--url", f"http://127.0.0.1:{mock.port}", "--user", "owner", "--allow", "all", "--quiet"]
            args += ["--rate", "200", "--max-wait", "10", "--with", "companion.address=127.0.0.1"]
            args += ["--with", "clear.excess=yes", "--report", "json", "--out", path]
            status, _, error = suite(*args, password="secret")
        tally.check(f"the suite runs to its end on the mock {name}, and fails it", status == 1, f"{status} {error}")
        found = verdicts(path)
        if name == "as it is":
            login = found["auth/login/02"]
            came = login.get("came", "")
            shown = login["result"] == "FAIL" and came.startswith("401") and "prism/errors" in came
            tally.check("the report shows that the mock lets nobody log in", shown, login)
            continue
        judge(tally, found)


def judge(tally, found):
    fails = [it for it in found.values() if it["result"] == "FAIL"]
    passes = sum(it["result"] == "PASS" for it in found.values())
    print(f"figure: Prism's mock passes {passes} rules and fails {len(fails)}")
    marks_of = lambda it: [mark for mark in FAULTS if re.search(mark, it.get("came", ""))]
    # What the documents do not demand is a warning.
    seen = {mark for it in found.values() if it["result"] == "WARN" for mark in marks_of(it)}
    for it in fails:
        marks = marks_of(it)
        seen.update(marks)
        detail = f"{it.get('sent')} => {it.get('came')}"
        tally.check(f"{it['id']} fails the mock for a fault that it has", marks, detail)
    for mark, fault in FAULTS.items():
        tally.check(f"the report has found that {fault}", mark in seen)
    for rule in FAILS:
        tally.check(f"{rule} fails the mock", found[rule]["result"] == "FAIL", found[rule])
    for rule in PASSES:
        tally.check(f"{rule} passes the mock", found[rule]["result"] == "PASS", found[rule])
