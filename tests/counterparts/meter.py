"""Starts the real service on a folder of its own and talks to it, with nothing but Python's own library.

It shares no code with the service: its own digest login, its own HTTP, its own reading of the backup format.
"""

import base64
import gzip
import hashlib
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.environ.get("METERD", os.path.join(ROOT, "target", "release", "meterd"))
PASSWORD = "correct horse"
CHUNK = 2 * 1024 * 1024 // 4 * 3


class Client:
    """Talks to a service on a local port, whoever started it; logs in when a token is needed first."""

    def __init__(self, port=None, user="owner", password=PASSWORD):
        self.port = port
        self.user = user
        self.password = password
        self.token = None

    def connect(self, timeout=60):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def raw(self, method, path, body=None, headers=None):
        """One request on a connection of its own: status, headers, body."""
        connection = self.connect()
        try:
            connection.request(method, "/api" + path, body, headers or {})
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read()
        finally:
            connection.close()

    def login(self, user=None, password=None):
        user, password = user or self.user, password or self.password
        _, _, body = self.raw("GET", "/auth/unauthorized")
        challenge = json.loads(body)
        md5 = lambda text: hashlib.md5(text.encode()).hexdigest()
        client_nonce = secrets.token_hex(16)
        ha1 = md5(f"{user}:{challenge['rlm']}:{password}")
        login = {
            "rlm": challenge["rlm"],
            "usr": user,
            "nnc": challenge["nnc"],
            "cnnc": client_nonce,
            "hash": md5(f"{ha1}:{challenge['nnc']}:{client_nonce}"),
        }
        _, _, body = self.raw("POST", "/auth/login", json.dumps(login))
        self.token = json.loads(body)["jwt"]
        return self.token

    def login_once_known(self, user=None, password=None):
        """The same for a user that was just set, whom the service reads of a second later."""
        # Fewer failures than make the service slow down.
        for left in reversed(range(8)):
            time.sleep(1.1)
            try:
                return self.login(user, password)
            except KeyError:
                if not left:
                    raise

    def call(self, method, path, body=None, **headers):
        """A request with a token: the reply's JSON."""
        if not self.token:
            self.login()
        headers["Authorization"] = "Bearer " + self.token
        text = None if body is None else json.dumps(body)
        status, _, reply = self.raw(method, path, text, headers)
        if status != 200:
            raise RuntimeError(f"{method} {path}: {status} {reply[:300]!r}")
        return json.loads(reply)

    def db(self, **members):
        return self.call("POST", "/cmd/db", members)

    def status(self, token):
        return self.call("GET", f"/sys/status/{token}")["result"]

    def finish(self, token, timeout=120):
        """Waits until an operation is over: its status."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            status = self.status(token)
            if status["done"]:
                return status
            time.sleep(0.02)
        raise RuntimeError(f"{token} does not end: {status}")

    def restore(self, data, **members):
        """One chunk to its end; the last reply or status."""
        reply = self.db(action="restore", data=base64.b64encode(data).decode(), **members)
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return self.finish(reply["token"])

    def backup(self, query=""):
        if not self.token:
            self.login()
        headers = {"Authorization": "Bearer " + self.token}
        status, _, body = self.raw("GET", "/register?format=backup" + query, None, headers)
        if status != 200:
            raise RuntimeError(f"backup: {status} {body[:300]!r}")
        return body.decode()


class Meter(Client):
    """One service with its state folder; `start` may follow `kill` on the same folder."""

    # What is added to the environment of whatever is started.
    env = {}

    def __init__(self, demo=True, state=None, limits=None, **config):
        super().__init__()
        self.dir = tempfile.mkdtemp(prefix="meterd-test-")
        self.state = state or os.path.join(self.dir, "state")
        self.config = os.path.join(self.dir, "meterd.json")
        settings = {"bench": demo, "listen": ["127.0.0.1:0"], "state_dir": self.state, "limits": limits or {}, **config}
        with open(self.config, "w") as file:
            json.dump(settings, file)
        self.cli("user", "set", "owner", stdin=PASSWORD)
        self.process = None

    def cli(self, *args, stdin=""):
        command, env = [BINARY, *args, "--config", self.config], {**os.environ, **self.env}
        res = subprocess.run(command, input=stdin, capture_output=True, text=True, env=env)
        if res.returncode:
            raise RuntimeError(f"meterd {' '.join(args)}: {res.stderr}")
        return res.stdout

    def start(self):
        env = {**os.environ, **self.env, "RUST_BACKTRACE": "0"}
        self.log = open(os.path.join(self.dir, "log"), "a")
        self.process = subprocess.Popen(
            [BINARY, "serve", "--config", self.config], stdout=subprocess.PIPE, stderr=self.log, text=True, env=env
        )
        line = self.process.stdout.readline()
        found = re.search(r"http://([0-9.]+):(\d+)", line)
        if not found:
            raise RuntimeError(f"no address in {line!r}; log: {self.read_log()}")
        self.port = int(found[2])
        self.token = None
        return self

    def read_log(self):
        with open(os.path.join(self.dir, "log")) as file:
            return file.read()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def remove(self):
        if self.process and self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.remove()

    def database(self):
        return sqlite3.connect(f"file:{self.state}/meter.db?mode=ro", uri=True, timeout=30)

    def rows(self):
        """Everything that counts in the database: registers with counters, and every row."""
        with self.database() as connection:
            registers = connection.execute("SELECT did, name, type, counter FROM register ORDER BY did").fetchall()
            rows = connection.execute("SELECT * FROM row ORDER BY ts").fetchall()
        return registers, rows

    def sound(self):
        with self.database() as connection:
            return connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def backup_text(registers, rows):
    """Backup format 1: `registers` are (name, type), `rows` are (ts, [counter or None]) youngest first."""
    lines = ["meterd-backup,1", "ts," + ",".join(f"{name}:{kind}" for name, kind in registers)]
    for ts, counters in rows:
        lines.append(f"{ts}," + ",".join("" if it is None else str(it) for it in counters))
    return "\n".join(lines) + "\n"


def chunks(text, rows_per_chunk, header=True, pack=True):
    """Cuts a backup into chunks, youngest first."""
    lines = text.splitlines()
    head, rows = lines[:2], lines[2:]
    for at in range(0, len(rows), rows_per_chunk):
        part = (head if header or at == 0 else []) + rows[at : at + rows_per_chunk]
        data = ("\n".join(part) + "\n").encode()
        yield gzip.compress(data, 6) if pack else data


class Tally:
    """Counts named checks and prints the closing line that the runner reads."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, holds, detail=""):
        if holds:
            self.passed += 1
            print(f"ok    {name}")
        else:
            self.failed += 1
            print(f"FAIL  {name} {detail}")

    def close(self):
        print(f"{self.passed} passed, {self.failed} failed")
        raise SystemExit(1 if self.failed or not self.passed else 0)
