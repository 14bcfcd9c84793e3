"""Scenarios of the register database and its journal of operations."""

import base64
import os
import random
import shutil
import sqlite3
import time

from scenario import Refused, Scenario, wait_for
from meter import backup_text, chunks

REGISTERS = [("A", "P"), ("A+", "P"), ("B", "P"), ("B+", "P"), ("V", "V"), ("T", "d")]
START = 1_600_000_000
ROWS = 3000
STEP = 60
# No sum of increments comes near; a counter that was taken for one would be far above.
SPIKE = 10**8


def history(seed, start, rows, step):
    """Counters that go both ways, with gaps: rows youngest first."""
    rng = random.Random(seed)
    counters = [rng.randrange(10**9, 2 * 10**9) for _ in REGISTERS]
    res, ts = [], start
    for _ in range(rows):
        ts += step if rng.random() > 0.002 else step * rng.randrange(2, 50)
        for at in range(len(counters) - 1):
            counters[at] += rng.randrange(-1000, 3000)
        counters[-1] = rng.randrange(100)
        res.append((ts, list(counters)))
    return res[::-1]


def body(rows, **members):
    [data] = chunks(backup_text(REGISTERS, rows), len(rows))
    return {"action": "restore", "data": base64.b64encode(data).decode(), **members}


def stored(path):
    """Registers and rows of a database that nobody else uses."""
    connection = sqlite3.connect(path)
    registers = connection.execute("SELECT did, name, type, counter, excess FROM register ORDER BY did").fetchall()
    rows = connection.execute("SELECT * FROM row ORDER BY ts").fetchall()
    sound = connection.execute("PRAGMA integrity_check").fetchone()[0]
    connection.close()
    return registers, rows, sound


class Database(Scenario):
    """Commands one after the other, of which each begins before the one before has ended. `states[n]` is what the database
    holds after the first n."""

    bodies = ()

    def __init__(self, name="", bodies=()):
        super().__init__()
        self.name, self.bodies = name or self.name, bodies or self.bodies
        self.states = []

    def furnish(self, service):
        service.start()
        half = ROWS // 2
        for part in (history(7, START, ROWS, STEP)[:half], history(7, START, ROWS, STEP)[half:]):
            status = service.restore(base64.b64decode(body(part)["data"]), more_chunks=True)
            assert "error" not in status, status
        assert service.stop() == 0

    def prepare(self):
        super().prepare()
        place = os.path.join(self.dir, "undisturbed")
        shutil.copytree(self.image, place)
        it = self.service(place).start()
        self.first = self.last_op(it)
        self.states.append(it.rows())
        for one in self.bodies:
            self.order(it, one)
            self.states.append(it.rows())
        it.end()
        assert self.states[0] != self.states[-1]

    def order(self, service, one):
        status = service.finish(service.db(**one)["token"])
        assert "error" not in status, status

    def last_op(self, service):
        with service.database() as connection:
            return connection.execute("SELECT coalesce(max(id), 0) FROM op").fetchone()[0]

    def act(self, service, say):
        tokens = []
        for n, one in enumerate(self.bodies):
            reply = service.db(**one)
            say(begun=n, token=reply.get("token"), error=reply.get("error"))
            if "token" not in reply:
                break
            tokens.append(reply["token"])
        for token in tokens:
            status = service.finish(token)
            say(done=token, error=status.get("error"), args=status.get("args"))

    def unfinished(self, service):
        """Operations of this course: how many have begun, and whether one has not ended."""
        with service.database() as connection:
            rows = connection.execute("SELECT outcome FROM op WHERE id > ? ORDER BY id", [self.first]).fetchall()
        return len(rows), any(outcome is None for outcome, in rows)

    def spikes(self, service):
        registers, rows = service.rows()
        widths = {len(row) for row in rows}
        bad = [row for row in rows for it in row[1:] if it is not None and not -SPIKE < it < SPIKE]
        return [f"spikes: {bad[:3]}"] if bad or len(widths) > 1 else []

    def check(self, service, told):
        res = [] if service.sound() else ["the database is not sound"]
        res += self.spikes(service)
        failed = {it["done"]: it["error"] for it in told if it.get("done") and it["error"]}
        for it in told:
            if it.get("token"):
                status = service.finish(it["token"])
                # A failure that the disk did not take down either is forgotten with the power: then it goes on.
                if "error" in status and status["error"] != failed.get(it["token"]):
                    res.append(f"token {it['begun']}: {status}")
        wait_for(lambda: not self.unfinished(service)[1])
        begun, running = self.unfinished(service)
        promised = sum(bool(it.get("token")) for it in told)
        if running or begun < promised:
            res.append(f"{begun} of {promised} are there, running {running}")
        elif not failed and service.rows() != self.states[begun]:
            res.append(f"the rows are not those of {begun} commands")
        left = os.listdir(os.path.join(service.state, "staged"))
        return res + ([f"staged: {left}"] if left else [])

    def look(self, service, told):
        res = [] if service.sound() else ["the database is not sound"]
        res += self.spikes(service)
        failed = [it for it in told if it.get("error")]
        done = sum("done" in it and not it["error"] for it in told)
        if not failed and done == len(self.bodies) and service.rows() != self.states[-1]:
            res.append("all went well, and the rows are others")
        if failed and "begun" in failed[0] and done == len(told) - 1 - done and service.rows() != self.states[done]:
            res.append(f"refused, and yet the rows are not those of {done} commands")
        return res

    def again(self, service):
        for one in self.bodies:
            self.order(service, one)
        return [] if service.rows() == self.states[-1] else ["given again, it does not end as undisturbed"]


class Checkpoint(Database):
    """A log that is due to be copied into the database and shortened, while commands run."""

    def furnish(self, service):
        super().furnish(service)
        path = os.path.join(service.state, "meter.db")
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        while not os.path.exists(path + "-wal") or os.path.getsize(path + "-wal") < 4_100_000:
            connection.execute("UPDATE row SET r0 = r0 + 1")
            connection.execute("UPDATE row SET r0 = r0 - 1")
        # Closing it would copy the log.
        for name in ("meter.db", "meter.db-wal"):
            shutil.copy(os.path.join(service.state, name), os.path.join(self.dir, name))
        connection.close()
        for name in ("meter.db", "meter.db-wal"):
            shutil.move(os.path.join(self.dir, name), os.path.join(service.state, name))


class Cancel(Database):
    """A cancellation that was answered holds, also after a cut: of a command that waits for those before it."""

    def act(self, service, say):
        tokens = [service.db(**one).get("token") for one in self.bodies]
        if None in tokens:
            return say(token=None, error="WRITE_FAILED")
        reply = service.call("POST", "/cmd/cancel", {"token": tokens[-1]})
        if "over already" in reply.get("error", ""):
            # The one before it has failed, and so has this one.
            return say(token=None, error="WRITE_FAILED")
        say(token=tokens[-1], error=None if reply == {"status": "OK"} else str(reply))
        for token in tokens:
            status = service.finish(token)
            say(done=token, error=status.get("error"), args=status.get("args"))

    def is_telling(self, told):
        """Whether the cancellation came in time: on a quick machine nothing may be left to cancel."""
        return told[-1]["error"] == "CANCELED"

    def check(self, service, told):
        res = [] if service.sound() else ["the database is not sound"]
        res += self.spikes(service)
        wait_for(lambda: not self.unfinished(service)[1])
        cancelled = [it["token"] for it in told if it.get("token") and not it["error"]]
        # It may have been done when the cancellation came.
        done = [it["done"] for it in told if it.get("done") and not it["error"]]
        # Nor does it change what comes of those before it, unless they fail.
        failed = [it for it in told if it.get("done") and it["error"] not in (None, "CANCELED")]
        if cancelled and cancelled[0] not in done:
            status = service.finish(cancelled[0])
            if "error" not in status:
                res.append(f"cancelled, and now {status}")
            elif status["error"] == "CANCELED" and not failed and service.rows() != self.states[-2]:
                res.append("cancelled, and yet its rows are there")
        return res

    def look(self, service, told):
        return self.spikes(service)

    def again(self, service):
        self.order(service, self.bodies[-1])
        return self.spikes(service)


class Excess(Database):
    """What a remote device had counted is added to the record, once."""

    name = "clear-excess"
    bodies = ("excess",)

    def furnish(self, service):
        super().furnish(service)
        connection = sqlite3.connect(os.path.join(service.state, "meter.db"))
        connection.execute("UPDATE register SET excess = 1000 * (did + 1) WHERE type <> 'd'")
        connection.commit()
        connection.close()

    def order(self, service, one):
        reply = service.call("POST", "/cmd/clear", one)
        assert reply == {"status": "OK"}, reply

    def act(self, service, say):
        reply = service.call("POST", "/cmd/clear", "excess")
        say(cleared=True, error=reply.get("error"))

    def check(self, service, told):
        rows = service.rows()
        promised = any(not it["error"] for it in told)
        fine = service.sound() and rows == self.states[-1] or not promised and rows == self.states[0]
        return [] if fine else [f"cleared {promised}, and the rows are others"]

    def look(self, service, told):
        if any(it["error"] for it in told):
            return [] if service.rows() == self.states[0] else ["an error, and yet the rows are others"]
        return self.check(service, told)


class Retention(Database):
    """Rows that have grown old are put together as soon as there is nothing else to do; what they count stays."""

    name = "retention"
    YEARS_LATER = START + 3 * 366 * 86400
    # As many as it takes until they are believed: a week of minutes.
    YOUNG = 7 * 1440 + 1

    def furnish(self, service):
        old = history(7, START, ROWS, STEP)
        service.start()
        assert "error" not in service.restore(base64.b64decode(body(old)["data"]), more_chunks=True)
        service.kill()
        # Rows that make all others old, while nobody looks.
        connection = sqlite3.connect(os.path.join(service.state, "meter.db"))
        rows = [(self.YEARS_LATER + at * STEP, 5) for at in range(self.YOUNG)]
        connection.executemany("INSERT INTO row (ts, r0) VALUES (?, ?)", rows)
        connection.execute("UPDATE register SET counter = counter + ? WHERE did = 0", [5 * self.YOUNG])
        connection.commit()
        connection.close()

    def prepare(self):
        Scenario.prepare(self)
        place = os.path.join(self.dir, "undisturbed")
        shutil.copytree(self.image, place)
        it = self.service(place)
        self.expected = self.sums(it)
        it.start()
        self.nudge(it)
        wait_for(lambda: self.count(it) < self.YOUNG + ROWS // 2, within=60)
        # All of it is one or two batches, and the rest of them come at once.
        before, now = None, self.count(it)
        while before != now:
            time.sleep(1)
            before, now = now, self.count(it)
        self.states = [it.rows()]
        it.end()

    def count(self, service):
        with service.database() as connection:
            return connection.execute("SELECT count(*) FROM row").fetchone()[0]

    def sums(self, service):
        registers, rows = service.rows()
        whole = [did for did, _, kind, _ in registers if kind != "d"]
        return [sum(row[did + 1] or 0 for row in rows) for did in whole], [it[3] for it in registers]

    def nudge(self, service):
        """It begins with the next look at the queue, which is after twenty seconds or with any work."""
        return service.call("POST", "/cmd/clear", "excess")

    def is_done(self, service):
        return self.count(service) == len(self.states[0][1])

    def act(self, service, say):
        self.nudge(service)
        wait_for(lambda: self.is_done(service), within=0.7)

    def check(self, service, told):
        res = [] if service.sound() else ["the database is not sound"]
        res += self.look(service, told)
        self.nudge(service)
        wait_for(lambda: self.is_done(service), within=10)
        return res + ([] if service.rows() == self.states[0] else ["it does not end as undisturbed"])

    def look(self, service, told):
        return [] if self.sums(service) == self.expected else ["its sums have changed"]

    def again(self, service):
        # It is tried again within the hour, or by the next start.
        return []


class Ingest(Scenario):
    """Rows from standard input: all that the program took are there when it ends well, and each is there or not."""

    name, serves = "ingest", False
    ROWS = 40

    def text(self, known=0):
        """All rows but the first ones, oldest first."""
        return backup_text(REGISTERS, history(9, START, self.ROWS, STEP)[::-1][known:])

    def prepare(self):
        super().prepare()
        place = os.path.join(self.dir, "undisturbed")
        shutil.copytree(self.image, place)
        it = self.service(place)
        it.cli("ingest", stdin=self.text())
        self.expected = it.rows()
        it.end()

    def act(self, service, say):
        try:
            service.cli("ingest", stdin=self.text())
            say(taken=True, error=None)
        except Refused as err:
            say(taken=True, error=str(err))

    def check(self, service, told):
        _, rows = service.rows()
        whole = rows == self.expected[1]
        prefix = rows == self.expected[1][: len(rows)]
        if not service.sound() or not prefix or (any(not it["error"] for it in told) and not whole):
            return [f"{len(rows)} rows of {self.ROWS}, the first of them {prefix}"]
        return self.again(service)

    def look(self, service, told):
        return []

    def again(self, service):
        service.cli("ingest", stdin=self.text(len(service.rows()[1])))
        return [] if service.rows() == self.expected else ["the rest of the rows does not make it whole"]


def restores():
    """Two chunks, finer than what is there, reaching over its end."""
    finer = history(8, START + 30_000, ROWS, 30)
    return [body(finer[: ROWS // 2], more_chunks=True), body(finer[ROWS // 2 :])]


ZERO = {"action": "zero", "from": str(START + 1000), "regs": [0, 2, 5]}
SPLIT = {"action": "split"}
SCENARIOS = {
    "restore": lambda: Database("restore", restores()),
    "zero": lambda: Database("zero", [ZERO]),
    "split": lambda: Database("split", [SPLIT]),
    "checkpoint": lambda: Checkpoint("checkpoint", [ZERO, SPLIT]),
    # More in one command than is done before the cancellation of the next one comes.
    "cancel": lambda: Cancel("cancel", [body(history(8, START, 10 * ROWS, STEP)), ZERO]),
    "clear-excess": Excess,
    "retention": Retention,
    "ingest": Ingest,
}
