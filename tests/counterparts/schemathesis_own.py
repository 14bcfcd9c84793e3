"""schemathesis with the service's own description: every path and method that it lists, every check there is. The
description is also held against the maker's, and every reply without query options against the whole shape that it has.

Runs in a network of its own, because some commands reach out to whatever address they are given.
"""

import json
import os
import subprocess
import sys

import jsonschema_rs
import openapi_maker
from meter import Meter, Tally
from schemathesis_tool import finds_nothing

# A token does not outlive a logout, and a meter that goes down answers nobody else.
APART = "^/auth/logout$|^/cmd/(reboot|factory-restore)$"
# Its place is taken by a check of our own: what is refused is HTTP 200 with `error`.
REPLACED = "negative_data_rejection"


def is_fine(meter, token, *args):
    return finds_nothing(
        f"http://127.0.0.1:{meter.port}/api/openapi.json", meter.dir, token, "--continue-on-failure",
        "--max-examples", os.environ.get("EXAMPLES", "4"), "--phases", "examples,coverage,fuzzing",
        "--exclude-checks", REPLACED, *args, hooks=True,
    )


def whole(at):
    """The description without what is only true of cut-down replies."""
    if isinstance(at, list):
        return [whole(it) for it in at if it != {"$ref": "#/components/schemas/Shaped"}]
    return {name: whole(it) for name, it in at.items()} if isinstance(at, dict) else at


def check_whole_replies(tally, meter, description):
    token = meter.finish_one()
    description = whole(description)
    for path, item in description["paths"].items():
        operation = openapi_maker.resolve(description, item).get("get")
        # Neither a token nor a WLAN is there to be used up.
        if not operation or path in ("/auth/logout", "/openapi.json") or path.startswith("/sys/net/wlan"):
            continue
        schema = {**openapi_maker.reply(description, operation), "components": description["components"]}
        reply = meter.call("GET", path.replace("{token}", token).replace("{idx}", "0"))
        problems = [str(it) for it in jsonschema_rs.validator_for(schema).iter_errors(reply)]
        tally.check(f"the whole reply of {path} is as described", not problems, "; ".join(problems))


def check_alive(tally, meter):
    meter.login()
    tally.check("the service is alive", meter.call("GET", "/auth/rights")["usr"] == "owner")
    tally.check("nothing panicked", "panicked" not in meter.read_log())


class Bench(Meter):
    def finish_one(self):
        """The token of an operation that is over."""
        token = self.db(action="zero", **{"from": "1"})["token"]
        self.finish(token)
        return token


if os.environ.get("METERD_TEST_NETWORK") != "own":
    env = dict(os.environ, METERD_TEST_NETWORK="own")
    raise SystemExit(subprocess.run(["unshare", "-n", sys.executable, *sys.argv], env=env).returncode)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)

tally = Tally()
providers = {"push": [{"name": "Example", "control": "http://127.0.0.1:9/"}]}
meter = Bench(demo=True, limits={"reply_seconds": 1}, providers=providers)
meter.cli("user", "set", "visitor", stdin="visitor")
with meter:
    status, headers, text = meter.raw("GET", "/openapi.json")
    description = json.loads(text)
    tally.check("the description needs no login", status == 200 and headers["Content-Type"] == "application/json")
    unexplained, gone = openapi_maker.unexplained(description)
    tally.check("nothing differs from the maker's without a reason", not unexplained, "; ".join(unexplained))
    tally.check("every reason is for something that differs", not gone, "; ".join(gone))
    check_whole_replies(tally, meter, description)
    fine = is_fine(meter, meter.login("visitor", "visitor"), "--include-path", "/auth/logout")
    tally.check("schemathesis finds nothing in the logout", fine)
    tally.check("schemathesis finds nothing in the rest", is_fine(meter, meter.login(), "--exclude-path-regex", APART))
    check_alive(tally, meter)
# One that knows no way to reboot refuses it, and is there for the next request.
with Meter(demo=False) as meter:
    fine = is_fine(meter, meter.login(), "--include-path-regex", "^/cmd/(reboot|factory-restore)$")
    tally.check("schemathesis finds nothing in the way down", fine)
    check_alive(tally, meter)
tally.close()
