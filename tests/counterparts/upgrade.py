"""The real service on a state folder that an older version left behind when it was killed in the middle of a restore, and
on one of a newer version."""

import os
import shutil
import sqlite3
import subprocess

from meter import BINARY, ROOT, Meter, Tally

OLD = os.path.join(ROOT, "tests", "data", "state-1")
# What the old service answered its client with; the last one's reply was never read.
FINISHED = "415950b323a2a701008536c19508b75c", "9a65ba1576012570b61ec7c6d9c6ebc6"
YOUNGEST = ["1700000300,3000,1500,0", "1700000240,3000,1500,0", "1700000180,3000,1500,1"]


def main():
    tally = Tally()
    meter = Meter(demo=False)
    shutil.rmtree(meter.state)
    shutil.copytree(OLD, meter.state)
    os.chmod(meter.state, 0o700)
    with open(os.path.join(meter.state, "meter.sql")) as file:
        sqlite3.connect(os.path.join(meter.state, "meter.db")).executescript(file.read()).connection.close()
    os.remove(os.path.join(meter.state, "meter.sql"))
    meter.start()
    tally.check("its users log in", meter.call("GET", "/auth/rights")["usr"] == "owner")
    backup = meter.backup().splitlines()
    tally.check("its rows and counters are there", backup[2:5] == YOUNGEST and len(backup) == 2 + 16, backup[:6])
    for token in FINISHED:
        status = meter.status(token)
        tally.check("the token of a finished operation answers", status["done"] and "error" not in status, status)
    with meter.database() as connection:
        (outcome,) = connection.execute("SELECT outcome FROM op WHERE id = 4").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    tally.check("the restore that cannot go on ends as interrupted", "INTERRUPTED" in outcome, outcome)
    tally.check("the folder has the new version", version == 2, version)
    tally.check("no staged file is left over", os.listdir(os.path.join(meter.state, "staged")) == [])
    status = meter.restore("\n".join(backup[:2] + backup[4:]).encode() + b"\n")
    tally.check("a restore works", status["done"] and "error" not in status, status)
    reply = meter.db(action="zero", **{"from": "1700000000"})
    tally.check("and so does a cancellation's journal", "error" not in meter.finish(reply["token"]), reply)
    meter.stop()
    lines = meter.read_log()
    tally.check("nothing went wrong on the way", "panicked" not in lines and "ERROR" not in lines, lines)

    sqlite3.connect(os.path.join(meter.state, "meter.db")).execute("PRAGMA user_version = 3").connection.close()
    for command in ("serve", "check", "backup", "ingest"):
        run = subprocess.run([BINARY, command, "--config", meter.config], input="", capture_output=True, text=True)
        said = run.stdout + run.stderr
        tally.check(f"{command} refuses a newer folder", run.returncode == 1 and "made by a newer meterd" in said, said)
    meter.remove()
    tally.close()


if __name__ == "__main__":
    main()
