"""What a soak run knows must be in the database: a model of the old rows that commands change, in plain Python, and the
rows that the metering process was told are committed. It shares no code with the service."""

import random
import subprocess
import threading
import time

REGISTERS = [("Grid", "P"), ("Grid+", "P"), ("Solar", "P"), ("Solar+", "P"), ("Heating", "d")]
PAIRS = [(0, 1), (2, 3)]
DISCRETE = 4
START, STEP, ROWS = 1_700_000_000, 60, 60_000
NEWEST = START + ROWS * STEP
# What the metering process parks now and then for both solar registers; clearing pays it out.
EXCESS = 9


def history(rng):
    """Rows of increments, oldest first; the last column is a value."""
    res = []
    for _ in range(ROWS):
        grid, solar = rng.randrange(-200_000, 200_000), rng.randrange(-500, 300_000)
        res.append([grid, max(grid, 0), solar, max(solar, 0), rng.randrange(2)])
    return res


def stamp(at):
    return START + (at + 1) * STEP


class Old:
    """The rows up to NEWEST: how they were at first, and how they must be now."""

    def __init__(self, rng):
        self.first = history(rng)
        self.now = [list(it) for it in self.first]

    def backup(self, low, high, base):
        """Rows low..high as they were at first, youngest first, with counters that begin at `base`."""
        counters, rows = [base] * DISCRETE, []
        for at in range(low, high + 1):
            increments = self.first[at]
            if at > low:
                counters = [it + more for it, more in zip(counters, increments)]
            rows.append((stamp(at), [*counters, increments[DISCRETE]]))
        rows.reverse()
        return rows

    def restored(self, low, high):
        """The oldest row of a file has no neighbour in it, so that only its value is known, not its increments."""
        self.now[low][DISCRETE] = self.first[low][DISCRETE]
        for at in range(low + 1, high + 1):
            self.now[at] = list(self.first[at])

    def zeroed(self, low, high, regs):
        for row in self.now[low : high + 1]:
            for did in regs:
                row[did] = 0

    def split(self, low, high):
        for row in self.now[low : high + 1]:
            for net, positive in PAIRS:
                row[positive] = max(row[net], 0)

    def differences(self, connection):
        """How many old rows are not what they must be."""
        rows = connection.execute("SELECT ts, r0, r1, r2, r3, r4 FROM row WHERE ts <= ? ORDER BY ts", [NEWEST])
        found = {ts: list(values) for ts, *values in rows}
        wrong = sum(found.get(stamp(at)) != row for at, row in enumerate(self.now))
        return wrong + abs(len(found) - len(self.now))


class Writer(threading.Thread):
    """The metering process: plain `sqlite3` by the SQL contract, a row every `every` seconds."""

    def __init__(self, path, seed, every):
        super().__init__(daemon=True)
        self.rng, self.every = random.Random(seed), every
        self.process = subprocess.Popen(
            ["stdbuf", "-oL", "sqlite3", "-batch", path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.committed, self.parked, self.waits = {}, 0, []
        self.done = threading.Event()
        self.process.stdin.write("PRAGMA busy_timeout=20000; PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=FULL;\n")
        self.process.stdin.flush()
        for _ in range(2):
            self.process.stdout.readline()

    def run(self):
        ts = NEWEST
        while not self.done.is_set():
            ts += STEP
            before = time.monotonic()
            grid, solar = self.rng.randrange(-5000, 5000), self.rng.randrange(0, 5000)
            row = [grid, max(grid, 0), solar, solar, self.rng.randrange(2)]
            park = self.rng.random() < 0.02
            if not self.commit(ts, row, park):
                return
            self.committed[ts] = row
            self.parked += park
            self.waits.append(time.monotonic() - before)
            self.done.wait(max(0, self.every - (time.monotonic() - before)))

    def commit(self, ts, row, park):
        counters = "".join(f"UPDATE register SET counter = counter + {row[it]} WHERE did = {it};\n" for it in range(4))
        excess = f"UPDATE register SET excess = excess + {EXCESS} WHERE did IN (2, 3);\n" if park else ""
        self.process.stdin.write(
            f"BEGIN IMMEDIATE;\nINSERT INTO row(ts, r0, r1, r2, r3, r4) VALUES ({ts}, {', '.join(map(str, row))});\n"
            f"{counters}{excess}COMMIT;\nSELECT 'row';\n"
        )
        self.process.stdin.flush()
        return self.process.stdout.readline().strip() == "row"

    def stop(self):
        self.done.set()
        self.join(timeout=60)
        _, errors = self.process.communicate(timeout=60)
        return errors

    def differences(self, connection):
        """How many of its rows are missing, are not its own, or hold something else; what was parked may have been paid
        out into any of them."""
        wrong, paid = 0, 0
        rows = connection.execute("SELECT ts, r0, r1, r2, r3, r4 FROM row WHERE ts > ? ORDER BY ts", [NEWEST])
        found = {ts: list(values) for ts, *values in rows}
        for ts, row in self.committed.items():
            more = found[ts][2] - row[2] if ts in found else 0
            paid += more
            wrong += found.get(ts) != [row[0], row[1], row[2] + more, row[3] + more, row[4]]
        (left,) = connection.execute("SELECT excess FROM register WHERE did = 2").fetchone()
        wrong += len(found) - len(self.committed)
        return wrong + (paid + left != self.parked * EXCESS)

    def counters_differ(self, connection, before):
        """Whether the counters did not grow by exactly what is in the new rows."""
        for did in range(4):
            (sum_of_rows,) = connection.execute(f"SELECT total(r{did}) FROM row WHERE ts > ?", [NEWEST]).fetchone()
            (counter,) = connection.execute("SELECT counter FROM register WHERE did = ?", [did]).fetchone()
            if counter - before[did] != int(sum_of_rows):
                return True
        return False
