"""A disk that fills up: a tmpfs of a few MiB holds the state folder. Every refusal says so, nothing is half done, the
service goes on, and with room again the same command succeeds. Needs root, for the mount."""

import os
import random
import subprocess
import tempfile

from meter import Meter, Tally, backup_text, chunks

REGISTERS = [(f"R{at}", "P") for at in range(8)]


def text(seed, start, rows):
    rng = random.Random(seed)
    counters = [0] * len(REGISTERS)
    res = []
    for at in range(rows):
        counters = [it + rng.randrange(100_000) for it in counters]
        res.append((start + at * 60, list(counters)))
    res.reverse()
    return backup_text(REGISTERS, res)


def main():
    tally = Tally()
    folder = tempfile.mkdtemp(prefix="meterd-full-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=14m,mode=700", "tmpfs", folder], check=True)
    try:
        limits = {"reserve_bytes": 1 << 20}
        with Meter(demo=False, state=os.path.join(folder, "state"), limits=limits) as meter:
            refusals = []
            for number in range(12):
                chunk = next(chunks(text(number, 1_500_000_000 + number * 3_000_000, 30_000), 30_000))
                try:
                    status = meter.restore(chunk)
                except RuntimeError as err:
                    refusals.append(str(err))
                    continue
                if "error" in status:
                    refusals.append(f"{status['error']} {status.get('args')}")
            tally.check("a full disk refuses", bool(refusals), refusals)
            plain = [it for it in refusals if "room" not in it and "WRITE_FAILED" not in it]
            tally.check("every refusal says why", not plain, plain)
            print(f"refusals: {sorted(set(refusals))}")
            tally.check("the database is sound", meter.sound())
            tally.check("the service goes on", meter.call("GET", "/auth/rights")["usr"] == "owner")
            tally.check("no staged file is left", os.listdir(f"{meter.state}/staged") == [])
            before = meter.rows()
            meter.kill()
            meter.start()
            tally.check("a restart changes nothing", meter.rows() == before)
            subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
            chunk = next(chunks(text(0, 1_500_000_000, 30_000), 30_000))
            status = meter.restore(chunk, **{"from": "1500000000"})
            tally.check("with room again it succeeds", status["done"] and "error" not in status, status)
            tally.check("and is sound", meter.sound())
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        os.rmdir(folder)
    tally.close()


main()
