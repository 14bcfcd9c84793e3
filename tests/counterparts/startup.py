"""What the service says when it cannot start, and the command line around it."""

import json
import os
import resource
import subprocess
import time

from meter import BINARY, PASSWORD, Meter, Tally, backup_text

REGISTERS = [("Grid", "P"), ("Door", "d")]


def attempt(meter, *args, stdin="", files=None):
    """Runs a command that should end by itself: its exit code and what it said."""
    limit = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))) if files else None
    run = subprocess.run(
        [BINARY, *args, "--config", meter.config], input=stdin, capture_output=True, text=True, timeout=30, preexec_fn=limit
    )
    return run.returncode, run.stdout + run.stderr


def configure(meter, **changes):
    with open(meter.config) as file:
        settings = json.load(file)
    with open(meter.config, "w") as file:
        json.dump({**settings, **changes}, file)
    return settings


def main():
    tally = Tally()
    meter = Meter(demo=False)
    code, said = attempt(meter, "serve", files=64)
    tally.check("too few open files are named", code == 1 and "only 64 are allowed" in said, said)
    settings = configure(meter, listn=[])
    code, said = attempt(meter, "serve")
    tally.check("an unknown key is named", code == 1 and "listn" in said, said)
    with open(meter.config, "w") as file:
        json.dump(settings, file)

    meter.start()
    tally.check("health answers", attempt_health(meter) == 0)
    code, said = attempt(meter, "serve")
    tally.check("a second service on the same folder is refused", code == 1 and "another meterd" in said, said)
    lines = backup_text(REGISTERS, [(1_700_000_000, [5, 1]), (1_700_000_060, [9, 0])])
    code, said = attempt(meter, "ingest", stdin=lines)
    tally.check("ingest appends while the service runs", code == 0, said)
    rows = meter.rows()[1]
    tally.check("its rows are increments and values", rows == [(1_700_000_000, 0, 1), (1_700_000_060, 4, 0)], rows)
    code, said = attempt(meter, "ingest", stdin="rubbish\n")
    tally.check("rubbish is refused with a reason", code == 1 and "meterd-backup" in said, said)
    code, said = attempt(meter, "backup")
    tally.check("backup on the command line is the API's", code == 0 and said == meter.backup(), said)
    code, said = attempt(meter, "check")
    tally.check("check finds everything sound", code == 0 and "sound, 2 registers" in said, said)

    code, said = attempt(meter, "user", "list")
    tally.check("users are listed with privileges", "owner\tunlimited_save" in said, said)
    attempt(meter, "user", "set", "guest", "--priv", "view_settings", stdin="guest\n")
    token = meter.login_once_known("guest", "guest")
    attempt(meter, "user", "del", "guest")
    until, status = time.monotonic() + 20, 200
    while status == 200 and time.monotonic() < until:
        status, _, _ = meter.raw("GET", "/auth/rights", None, {"Authorization": "Bearer " + token})
    tally.check("a removed user's token ends", status == 401, status)
    code, said = attempt(meter, "user", "set", "x", "--priv", "fly", stdin="x")
    tally.check("an unknown privilege is named", code == 1 and "fly" in said, said)
    mode = os.stat(os.path.join(meter.state, "users.json")).st_mode & 0o777
    tally.check("the users file is private", mode == 0o600, oct(mode))
    with open(os.path.join(meter.state, "users.json")) as file:
        tally.check("and holds no password", PASSWORD not in file.read())
    meter.stop()
    tally.check("health fails when nobody answers", attempt_health(meter) == 1)
    with open(os.path.join(meter.state, "users.json"), "w") as file:
        file.write("{")
    code, said = attempt(meter, "serve")
    tally.check("a broken users file is named", code == 1 and "users.json" in said, said)
    meter.remove()
    tally.close()


def attempt_health(meter):
    port = getattr(meter, "port")
    settings = configure(meter, listen=[f"127.0.0.1:{port}"])
    code, _ = attempt(meter, "health")
    with open(meter.config, "w") as file:
        json.dump(settings, file)
    return code


main()
