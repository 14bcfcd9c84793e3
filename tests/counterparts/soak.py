"""Mixed real use at ten times the expected rate, with the metering process writing and faults on, for as long as asked.

In the first third the service is also killed and rebooted; then it lives on undisturbed, and the floor of its memory,
descriptors and threads must not rise, nor its WAL grow long. At the very end it is killed once more, and the database must
hold exactly what was acknowledged. The curve goes to target/soak/curve.csv.

Usage: soak.py [MINUTES] [SEED]     (twenty minutes by default)
"""

import csv
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time

from aiosmtpd.controller import Controller

import soak_clients as clients
import soak_record as record
from certificates import Certificates
from meter import PASSWORD, ROOT, Meter, Tally, backup_text, chunks
from remote_setup import Servers, free_port, modbus
from sunspec_device import device_bytes

EVERY = 0.25
# Parts of the last two thirds whose lowest values are compared.
PARTS = 8
# Kilobytes that the log may have; the service shortens it at half of that, and it grows again within half a minute.
WAL_KIB = 8 * 1024
# Few may wait and little may be staged, so that both limits are met.
LIMITS = {"waiting_operations": 4, "reply_seconds": 2}
LIMITS |= {"data_chars": clients.DATA_CHARS, "staged_bytes": 2 * clients.DATA_CHARS}
# Whom the service becomes, as on a meter.
NOBODY = "65534"


class Sink:
    async def handle_DATA(self, server, session, envelope):
        return "250 OK"


class Soak:
    """A run: the meter, everybody who uses it, and what is known of it."""

    def __init__(self, seconds, seed, modbus_port, mail, ca_file):
        self.seconds, self.seed, self.rng = seconds, seed, random.Random(seed)
        self.tally = clients.Tally()
        self.over = threading.Event()
        self.old = record.Old(random.Random(seed + 1))
        self.modbus, self.smarthost = modbus(modbus_port), mail
        self.lives, self.down, self.last_token = 0, False, None
        config = {"tls": {"ca_file": ca_file}, "limits": LIMITS}
        if os.getuid() == 0:
            config["user"] = NOBODY
        self.meter = Meter(demo=False, **config)
        let_pass(self.meter.dir)
        self.meter.cli("user", "set", clients.VISITOR, stdin=PASSWORD)

    def begin(self):
        """Makes the old rows, and starts in bench mode, so that nothing of this machine is touched. Begun in that mode, the
        service would have made rows of its own."""
        rows, counters = [], [0] * record.DISCRETE
        for at, increments in enumerate(self.old.first):
            counters = [it + more for it, more in zip(counters, increments)]
            rows.append((record.stamp(at), [*counters, increments[record.DISCRETE]]))
        rows.reverse()
        self.meter.start()
        for chunk in chunks(backup_text(record.REGISTERS, rows), 10_000):
            status = self.meter.restore(chunk, more_chunks=True)
            assert "error" not in status, status
        # Nothing is known of the oldest row's increments.
        self.old.now[0] = [0, 0, 0, 0, self.old.first[0][record.DISCRETE]]
        self.old.first[0] = list(self.old.now[0])
        assert self.old.differences(self.meter.database()) == 0, "the first restore"
        assert self.meter.stop() == 0
        with open(self.meter.config) as file:
            config = json.load(file)
        with open(self.meter.config, "w") as file:
            json.dump({**config, "bench": True}, file)
        self.meter.start()

    def disturbed(self, lives):
        """Whether the service was down at some moment since it had had so many lives."""
        return self.down or lives != self.lives

    def kill(self):
        self.down = True
        self.meter.kill()
        self.lives += 1
        self.meter.start()
        self.down = False

    def reboot(self):
        """In bench mode the service starts anew by itself."""
        self.down = True
        self.meter.login()
        assert self.meter.call("POST", "/cmd/reboot") == {"status": "OK"}
        time.sleep(1.5)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                if self.meter.raw("GET", "/auth/unauthorized")[0] == 401:
                    break
            except OSError:
                pass
            time.sleep(0.1)
        self.meter.token = None
        self.lives += 1
        self.down = False

    def sample(self, seconds):
        """One line of the curve, over all processes of the service."""
        pids = processes(self.meter.process.pid)
        res = {"seconds": round(seconds, 1), "life": self.lives, "rss_kib": 0, "heap_kib": 0, "descriptors": 0, "threads": 0}
        for pid in pids:
            with open(f"/proc/{pid}/status") as file:
                fields = dict(line.split(":", 1) for line in file)
            res["rss_kib"] += int(fields["VmRSS"].split()[0])
            res["heap_kib"] += int(fields["RssAnon"].split()[0])
            res["threads"] += int(fields["Threads"])
            res["descriptors"] += len(os.listdir(f"/proc/{pid}/fd"))
        res["wal_kib"] = os.path.getsize(f"{self.meter.state}/meter.db-wal") // 1024
        res["requests"] = len(self.tally.took)
        return res

    def live(self):
        """The whole run: its curve."""
        actors = [clients.Actor(self, f"{it.__name__}-{at}", it, self.seed) for at, it in enumerate(clients.ACTS)]
        for it in actors:
            it.start()
        begun = time.monotonic()
        disturbances = max(2, int(self.seconds / 100))
        times = sorted(self.rng.uniform(3, self.seconds / 3 - 3) for _ in range(disturbances))
        curve = []
        while time.monotonic() - begun < self.seconds:
            now = time.monotonic() - begun
            if times and times[0] < now:
                times.pop(0)
                self.reboot() if len(times) % 3 == 1 else self.kill()
            try:
                curve.append(self.sample(now))
            except FileNotFoundError:
                # A process or the WAL went away at this moment.
                pass
            time.sleep(EVERY)
        self.over.set()
        for it in actors:
            it.join(timeout=150)
            assert not it.is_alive(), f"{it.name} does not end"
        return curve


def let_pass(folder):
    """Temporary folders are their maker's alone, but the service's user has to get through, as through /var/lib."""
    os.chmod(folder, 0o755)


def processes(root):
    """A process and those of its descendants that run the same program."""
    parents = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                parents.setdefault(int(file.read().rsplit(") ", 1)[1].split()[1]), []).append(int(pid))
        except (FileNotFoundError, ProcessLookupError):
            pass
    res, program = [root], os.readlink(f"/proc/{root}/exe")
    for pid in res:
        for child in parents.get(pid, []):
            try:
                res += [child] if os.readlink(f"/proc/{child}/exe") == program else []
            except (FileNotFoundError, ProcessLookupError):
                pass
    return res


def rise(curve, name):
    """The lowest value of the first part, and what the floor rises by over all parts: the median slope between the lowest
    values of any two parts (Theil and Sen), for a peak says nothing and one odd part shall not either."""
    size = len(curve) / PARTS
    floors = [min(it[name] for it in curve[int(at * size) : int((at + 1) * size)]) for at in range(PARTS)]
    pairs = [(b, a) for b in range(PARTS) for a in range(b)]
    return floors[0], (PARTS - 1) * statistics.median((floors[b] - floors[a]) / (b - a) for b, a in pairs)


def judge(tally, soak, curve):
    """No growth in the last two thirds. Memory may rise by a twentieth, and by what a fresh process still takes for its
    first uses: half a megabyte in a run of one minute, hardly anything in a long one. The service keeps up to four
    connections inside itself open for the next requests, each with two descriptors, and opens them when it first needs them."""
    steady = [it for it in curve if it["seconds"] >= soak.seconds / 3 + 2]
    tally.check("it lived on undisturbed", len({it["life"] for it in steady}) == 1 and len(steady) >= 2 * PARTS, len(steady))
    allowed = {
        "rss_kib": lambda floor: 0.05 * floor + 30_000 / soak.seconds,
        "descriptors": lambda _: 8.99,
        "threads": lambda _: 0.99,
    }
    summary = []
    for name, limit in allowed.items():
        floor, risen = rise(steady, name)
        highest = max(it[name] for it in curve)
        summary.append(f"{name} {floor}{risen:+.1f} (highest {highest})")
        tally.check(f"{name} does not grow", risen <= limit(floor), f"{floor} rises by {risen}")
    highest = max(it["wal_kib"] for it in curve)
    summary.append(f"wal_kib at most {highest}")
    tally.check("the log stays short", highest <= WAL_KIB, highest)
    return ", ".join(summary)


def compare(tally, soak, writer, counters):
    """Nothing that was acknowledged is lost, after one more kill."""
    errors = writer.stop()
    tally.check("the metering process met no error", not errors, errors)
    soak.kill()
    with soak.meter.database() as connection:
        wrong = soak.old.differences(connection)
        tally.check(f"all {record.ROWS} old rows are what the commands left", wrong == 0, f"{wrong} are not")
        wrong = writer.differences(connection)
        tally.check(f"all {len(writer.committed)} new rows are there", wrong == 0, f"{wrong} are wrong")
        tally.check("counters grew by what is in the rows", not writer.counters_differ(connection, counters))
    tally.check("the database is sound", soak.meter.sound())
    tally.check("nothing stays staged", not os.listdir(f"{soak.meter.state}/staged"))


def write(curve):
    folder = os.path.join(ROOT, "target", "soak")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "curve.csv"), "w", newline="") as file:
        lines = csv.DictWriter(file, list(curve[0]))
        lines.writeheader()
        lines.writerows(curve)


def main():
    seconds = 60 * float(sys.argv[1]) if len(sys.argv) > 1 else 1200.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    tally = Tally()
    with Servers() as servers, tempfile.TemporaryDirectory(prefix="meterd-soak-") as folder:
        let_pass(folder)
        certificates = Certificates(folder)
        certificates.leaf("mail", "DNS:localhost")
        mail = Controller(Sink(), hostname="127.0.0.1", port=free_port(), tls_context=certificates.context("mail"))
        mail.start()
        port = servers.pymodbus_tcp((1, 40000, servers.file(device_bytes([1, 103]))))
        soak = Soak(seconds, seed, port, f"localhost:{mail.port}", certificates.path("ca.pem"))
        try:
            soak.begin()
            with soak.meter.database() as connection:
                counters = [it for (it,) in connection.execute("SELECT counter FROM register ORDER BY did")]
            writer = record.Writer(f"{soak.meter.state}/meter.db", seed, 0.1)
            writer.start()
            time.sleep(0.3)
            curve = soak.live()
            write(curve)
            summary = judge(tally, soak, curve)
            compare(tally, soak, writer, counters)
            log = soak.meter.read_log()
        finally:
            mail.stop()
            soak.meter.remove()
    tally.check("nobody met an error", not soak.tally.failures, soak.tally.failures[:10])
    tally.check("nothing panicked", "panicked" not in log, log[-2000:])
    tally.check(f"it was killed or rebooted {soak.lives - 1} times before the end", soak.lives >= 3)
    for what in ("operations acknowledged", "tokens that had ended", "told that the staging is full"):
        tally.check(f"{what}: there were some", soak.tally.counts.get(what, 0) > 0)
    print("; ".join(f"{what}: {n}" for what, n in sorted(soak.tally.counts.items())))
    took = sorted(soak.tally.took)
    print(
        f"figure: soak of {seconds:.0f} s, {len(took)} requests (p99 {took[len(took) * 99 // 100] * 1000:.0f} ms), "
        f"{len(writer.committed)} rows, {soak.lives} restarts: {summary}"
    )
    tally.close()


main()
