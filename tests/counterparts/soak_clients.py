"""Those who use a meter during a soak run: displays that poll, people who log in and out and try things, one who works on
the database, and those whose connections break or who send nonsense. Each is a thread with its own pause between acts."""

import base64
import gzip
import json
import random
import socket
import struct
import threading
import time

from meter import Client, backup_text
from soak_record import DISCRETE, REGISTERS, ROWS, stamp

# Seconds between acts, a tenth of what a busy installation has. Displays poll, a person looks, a script saves a backup.
PAUSES = {"poll": 0.1, "registers": 1.0, "look": 2.0, "backup": 6.0, "login": 6.0, "database": 3.0}
PAUSES |= {"clear": 6.0, "clock": 12.0, "remote": 12.0, "mail": 12.0, "fault": 1.0, "slow": 3.0, "full": 10.0}
# Who logs out more often than the service can remember loses all tokens of that name, so not the name of all others.
VISITOR = "visitor"
# Base64 characters that an upload has sent when it stalls: with two of them there is no room left for a third.
DATA_CHARS = 400_000
STALLED = DATA_CHARS - 4000
NONSENSE = [
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /api/cmd/db HTTP/1.1\r\nHost: m\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/cmd/db HTTP/1.1\r\nHost: m\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST /api/cmd/db HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: m\r\n\r\n",
    b"POST /api/auth/login HTTP/1.1\r\nHost: m\r\nContent-Length: 9\r\n\r\n{\"rlm\": 1",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    b"GET /api/sys/status HTTP/1.1\r\nHost: m\r\nAuthorization: Bearer " + b"e" * 3000 + b"\r\n\r\n",
]


class Busy(Exception):
    """The meter says to come back later."""


class Tally:
    """What the clients saw, counted."""

    def __init__(self):
        self.lock = threading.Lock()
        self.counts, self.failures, self.took = {}, [], []

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def fail(self, text):
        with self.lock:
            self.failures.append(text)


class Actor(threading.Thread):
    """Repeats one act until the run is over. That the meter was killed, or says that it is busy, is no failure."""

    def __init__(self, run, name, act, seed):
        super().__init__(name=name, daemon=True)
        self.soak, self.act, self.rng = run, act, random.Random(f"{seed} {name}")
        self.pause = PAUSES[name.split("-")[0]]
        self.client = Client()

    def run(self):
        while not self.soak.over.is_set():
            before = time.monotonic()
            lives, self.client.port = self.soak.lives, self.soak.meter.port
            try:
                self.act(self)
                self.soak.tally.count(self.name)
            except Busy:
                self.soak.tally.count("told to come back later")
            except Exception as err:
                if self.soak.disturbed(lives):
                    self.soak.tally.count("cut by a restart")
                else:
                    self.soak.tally.fail(f"{self.name}: {err!r}")
            self.soak.over.wait(max(0.0, self.pause - (time.monotonic() - before)))

    def ask(self, method, path, body=None, **headers):
        """A request as the official client makes it: with the old token, and once more after a login if that has ended."""
        text = None if body is None else json.dumps(body)
        # A service that was killed comes back on another port.
        self.client.port = self.soak.meter.port
        for _ in range(2):
            if not self.client.token:
                self.client.login()
            before = time.monotonic()
            headers["Authorization"] = "Bearer " + self.client.token
            status, _, reply = self.client.raw(method, path, text, headers)
            if status == 401:
                self.client.token = None
                self.soak.tally.count("tokens that had ended")
                continue
            if status in (429, 503):
                raise Busy
            if status != 200:
                raise RuntimeError(f"{method} {path}: {status} {reply[:200]!r}")
            self.soak.tally.took.append(time.monotonic() - before)
            return reply
        raise RuntimeError(f"{method} {path}: 401 right after a login")

    def call(self, method, path, body=None, **headers):
        return json.loads(self.ask(method, path, body, **headers))


def poll(actor):
    token = actor.soak.last_token
    actor.call("GET", f"/sys/status/{token}" if token else "/auth/rights")


def registers(actor):
    assert len(actor.call("GET", "/register")["registers"]) == len(REGISTERS)


def look(actor):
    path = actor.rng.choice(["/sys/time", "/sys/db", "/sys/ledger", "/sys/uptime", "/config/net/hostname"])
    assert "error" not in actor.call("GET", path)


def backup(actor):
    low = actor.rng.randrange(ROWS - 5000)
    text = actor.ask("GET", f"/register?format=backup&from={stamp(low)}&to={stamp(low + 4999)}").decode()
    assert text.count("\n") == 5002, f"a backup of {text.count(chr(10))} lines"


def login(actor):
    """A person comes and goes."""
    actor.client.user = VISITOR
    actor.client.login()
    assert "save" in actor.call("GET", "/auth/rights")["rights"]
    actor.call("GET", "/auth/logout")
    status, _, _ = actor.client.raw("GET", "/auth/rights", None, {"Authorization": "Bearer " + actor.client.token})
    assert status == 401, f"a token that was logged out: {status}"


def clear(actor):
    reply = actor.call("POST", "/cmd/clear", "excess")
    if "locked by another program" in reply.get("error", ""):
        # Where the machine is so busy that the metering process holds its lock for seconds, this is what it says.
        raise Busy
    assert reply == {"status": "OK"}, reply


def clock(actor):
    reply = actor.call("POST", "/cmd/set-time", f"{time.time():.3f}")
    assert reply.get("status", "").startswith("OK"), reply


def finish(actor, token):
    """The end of an operation that was acknowledged: nobody may forget it, whatever happens meanwhile."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        lives = actor.soak.lives
        try:
            reply = actor.call("GET", f"/sys/status/{token}")
        except Busy:
            reply = {}
        except Exception:
            if not actor.soak.disturbed(lives):
                raise
            reply = {}
        if "error" in reply:
            raise RuntimeError(f"an acknowledged operation is not known: {reply}")
        if reply.get("result", {}).get("done"):
            return reply["result"]
        time.sleep(0.05)
    raise RuntimeError(f"{token} does not end")


def remote(actor):
    body = {"linktype": "modbus", "address": actor.soak.modbus}
    status = finish(actor, actor.call("POST", "/cmd/test-remote", body)["token"])
    assert status.get("error") in (None, "INTERRUPTED"), status


def mail(actor):
    body = {"address": "user@example.test", "smarthost": actor.soak.smarthost}
    status = finish(actor, actor.call("POST", "/cmd/test-email", body)["token"])
    assert status.get("error") in (None, "INTERRUPTED"), status


def submit(actor, body):
    """Sends a database command until it is acknowledged: its token. Told to wait, it waits; what got no reply is sent
    again, for the same command twice is the same as once."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        lives = actor.soak.lives
        try:
            reply = actor.call("POST", "/cmd/db", body, Prefer="respond-async")
        except Busy:
            reply = {"error": "wait"}
        except Exception:
            if not actor.soak.disturbed(lives):
                raise
            time.sleep(0.1)
            continue
        if "token" in reply:
            actor.soak.tally.count("operations acknowledged")
            actor.soak.last_token = reply["token"]
            return reply["token"]
        if "wait" not in reply.get("error", ""):
            raise RuntimeError(f"{body['action']}: {reply}")
        actor.soak.tally.count("told that the staging is full")
        time.sleep(0.1)
    raise RuntimeError(f"{body['action']}: never acknowledged")


def database(actor):
    """One restore, zero or split over some old rows, to its end; now and then cancelled first, and then done all the same,
    so that the outcome is known."""
    rng, old = actor.rng, actor.soak.old
    low = rng.randrange(ROWS - 12_000)
    high = low + rng.randrange(2000, 11_000)
    kind = rng.choice(["restore", "restore", "zero", "split"])
    regs = rng.sample(range(len(REGISTERS)), rng.randrange(1, len(REGISTERS) + 1))
    for cancelled in [True, False] if rng.random() < 0.2 else [False]:
        if kind == "restore":
            bodies = chain(old.backup(low, high, rng.randrange(10**9)), rng.randrange(1, 8))
        elif kind == "zero":
            bodies = [{"action": "zero", "from": str(stamp(low)), "to": str(stamp(high)), "regs": regs}]
        else:
            bodies = [{"action": "split", "from": str(stamp(low)), "to": str(stamp(high))}]
        tokens = [submit(actor, it) for it in bodies]
        if cancelled:
            cancel(actor, tokens[0])
        ends = [finish(actor, it).get("error") for it in tokens]
        bad = [it for it in ends if it and not (cancelled and it == "CANCELED")]
        assert not bad, f"{kind}: {bad}"
    if kind == "restore":
        old.restored(low, high)
    elif kind == "zero":
        old.zeroed(low, high, regs)
    else:
        old.split(low, high)


def chain(rows, count):
    """A restore in `count` chunks, youngest first."""
    size = len(rows) // count + 1
    parts = [rows[at : at + size] for at in range(0, len(rows), size)]
    # A file has at least two rows.
    if len(parts) > 1 and len(parts[-1]) < 2:
        parts[-2:] = [parts[-2] + parts[-1]]
    res = []
    for part in parts:
        data = base64.b64encode(gzip.compress(backup_text(REGISTERS, part).encode(), 6)).decode()
        res.append({"action": "restore", "data": data, "more_chunks": part is not parts[-1]})
    return res


def cancel(actor, token):
    lives = actor.soak.lives
    try:
        actor.call("POST", "/cmd/cancel", {"token": token})
        actor.soak.tally.count("cancellations")
    except Exception:
        if not actor.soak.disturbed(lives):
            raise


def connect(actor):
    """From another address than everybody else's."""
    return socket.create_connection(("127.0.0.1", actor.client.port), timeout=5, source_address=("127.0.0.2", 0))


def reset(it):
    it.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    it.close()


def fault(actor):
    """A connection that breaks in the middle of something, or brings nonsense."""
    if not actor.client.token:
        actor.client.login()
    head = f"Host: m\r\nAuthorization: Bearer {actor.client.token}\r\n".encode()
    kind = actor.rng.choice(["head", "body", "reply", "nonsense", "silence"])
    it = connect(actor)
    try:
        if kind == "head":
            it.sendall(b"GET /api/register HTTP/1.1\r\n" + head[: actor.rng.randrange(len(head))])
        elif kind == "body":
            it.sendall(b"POST /api/cmd/db HTTP/1.1\r\n" + head + b"Content-Length: 900000\r\n\r\n")
            it.sendall(b'{"action":"restore","data":"' + b"A" * actor.rng.randrange(300_000))
        elif kind == "reply":
            it.sendall(b"GET /api/register?format=backup HTTP/1.1\r\n" + head + b"\r\n")
            it.recv(actor.rng.randrange(1, 20_000))
        elif kind == "nonsense":
            it.sendall(actor.rng.choice(NONSENSE))
            it.recv(2000)
        actor.soak.tally.count(f"cut in the {kind}" if kind not in ("nonsense", "silence") else kind)
    except (ConnectionError, TimeoutError):
        # It was refused, and said so before all was sent.
        pass
    finally:
        reset(it) if actor.rng.random() < 0.5 else it.close()


def slow(actor):
    """A client that sends a byte now and then, and one that takes its answer so."""
    if not actor.client.token:
        actor.client.login()
    request = f"GET /api/register?format=backup HTTP/1.1\r\nHost: m\r\nAuthorization: Bearer {actor.client.token}\r\n\r\n"
    it = connect(actor)
    try:
        for byte in request.encode()[:8]:
            it.sendall(bytes([byte]))
            time.sleep(0.1)
        it.sendall(request.encode()[8:])
        for _ in range(10):
            if not it.recv(512):
                return
            time.sleep(0.2)
    except (ConnectionError, TimeoutError):
        pass
    finally:
        it.close()


def full(actor):
    """Two clients begin to upload and stop halfway. What they have sent fills the staging folder, so that a third one is
    told to wait; were there room, its unknown register would be refused instead."""
    actor.client.login()
    start = b'{"action":"restore","data":"' + b"A" * STALLED
    head = f"Host: m\r\nAuthorization: Bearer {actor.client.token}\r\nContent-Length: {len(start) + 4}\r\n\r\n"
    data = base64.b64encode(b"meterd-backup,1\nts,Nobody:P\n2,1\n1,1\n").decode()
    stalled = [connect(actor), connect(actor)]
    try:
        for it in stalled:
            it.sendall(b"POST /api/cmd/db HTTP/1.1\r\n" + head.encode() + start)
        until = time.monotonic() + 10
        while "wait" not in (reply := actor.call("POST", "/cmd/db", {"action": "restore", "data": data}))["error"]:
            assert time.monotonic() < until, reply
            time.sleep(0.2)
        actor.soak.tally.count("told that the staging is full")
    finally:
        for it in stalled:
            reset(it)


# Who is there, and how many of each.
ACTS = [poll, poll, registers, look, backup, login, clear, clock, remote, mail, database, fault, slow, full]
