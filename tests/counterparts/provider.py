"""Providers for the activation test: a small TLS server with a handshake and many faults, its keys, and httpbin."""

import hashlib
import http.server
import json
import secrets
import socket
import subprocess
import sys
import threading
import time

from certificates import Certificates, openssl

PASSWORD = "geheimes Wort 4711"
GRANT = {
    "url": "https://push.example.test/meter/1",
    "options": "json,secure",
    "user": "meter-1",
    "pw": PASSWORD,
    "signup": "https://push.example.test/welcome",
}


class Credentials(Certificates):
    """Leaves for good and bad providers, and the key by which the meter proves who it is."""

    def __init__(self, folder):
        super().__init__(folder)
        self.authority("stranger")
        self.leaf("good", "DNS:localhost,IP:127.0.0.1")
        self.leaf("wrong", "DNS:other.example.test")
        self.leaf("unknown", "DNS:localhost", authority="stranger")
        self.leaf("expired", "DNS:localhost", dates=("20200101000000Z", "20200201000000Z"))
        self.leaf("early", "DNS:localhost", dates=("20480101000000Z", "20480201000000Z"))
        alone = ["-addext", "subjectAltName=DNS:localhost"]
        self.self_signed("self", "/CN=self", *alone, "-addext", "basicConstraints=critical,CA:FALSE")
        self.self_signed("default", "/CN=default", *alone)
        openssl("genrsa", "-out", self.path("meter.key"), "2048")
        openssl("rsa", "-in", self.path("meter.key"), "-pubout", "-out", self.path("meter.pub"))

    def decrypt(self):
        """The program of the configuration: the meter's private key at work on hexadecimal digits."""
        path = self.path("decrypt.py")
        with open(path, "w") as file:
            file.write(
                "import os, subprocess, sys, time\n"
                f"time.sleep(100 if os.path.exists({self.path('slow')!r}) else 0)\n"
                "data = bytes.fromhex(sys.stdin.read())\n"
                f"command = ['openssl', 'pkeyutl', '-decrypt', '-inkey', {self.path('meter.key')!r}]\n"
                "print(subprocess.run(command, input=data, capture_output=True, check=True).stdout.hex())\n"
            )
        return [sys.executable, path]


class Provider(http.server.ThreadingHTTPServer):
    """Answers by path; `seen` holds what meters said."""

    daemon_threads = True

    def __init__(self, certificates, leaf="good"):
        super().__init__(("127.0.0.1", 0), Behaviour)
        self.certificates = certificates
        self.context = certificates.context(leaf)
        self.seen = []
        self.open = {}
        self.port = self.server_address[1]
        self.url = f"https://localhost:{self.port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def finish_request(self, request, address):
        # In the connection's own thread, because a handshake may take its time.
        try:
            request.settimeout(100)
            request = self.context.wrap_socket(request, server_side=True)
            self.RequestHandlerClass(request, address, self)
        except (OSError, ValueError):
            pass

    def handle_error(self, *_):
        pass

    def challenge(self):
        """A random number that only the meter's key can read."""
        clear, number = secrets.token_bytes(16), secrets.randbelow(2**40)
        key = self.certificates.path("meter.pub")
        nonce = openssl("pkeyutl", "-encrypt", "-pubin", "-inkey", key, data=clear)
        self.open[number] = clear.hex()
        return {"nnc": nonce.hex(), "rid": number}

    def prove(self, body):
        clear = self.open.pop(body.get("rid"), None)
        expect = hashlib.md5(f"{clear}:{body.get('cnnc')}".encode()).hexdigest()
        return GRANT if clear and body.get("hash") == expect else {"error": "This is not the meter that it says it is."}


class Behaviour(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.seen.append(("GET", self.path, None))
        self.reply({"error": "This is no GET."})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(("POST", self.path, body))
        name, _, rest = self.path[1:].partition("/")
        getattr(self, name)(body, rest)

    def reply(self, value, status=200):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def send(self, text):
        self.wfile.write(text.encode())
        self.close_connection = True

    def grant(self, *_):
        self.reply({**GRANT, "unknown": [1, 2]})

    def bare(self, *_):
        self.reply({"url": GRANT["url"]})

    def prove(self, body, _):
        self.reply(self.server.prove(body) if "hash" in body else self.server.challenge())

    def twice(self, *_):
        self.reply(self.server.challenge())

    def refuse(self, *_):
        self.reply({"error": "No meter of this number\nis known."})

    def nonsense(self, _, text):
        self.reply({"list": b"[1]", "empty": b"", "html": b"<html>", "nothing": b"{}", "url": b'{"url":"x"}'}[text])

    def go(self, _, target):
        """Redirects: a status, then where to."""
        status, _, target = target.partition("/")
        self.send_response(int(status))
        self.send_header("Location", target.replace("PORT", str(self.server.port)))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def loop(self, *_):
        self.go(None, "307//loop")

    def huge(self, *_):
        self.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")

    def endless(self, *_):
        self.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            self.send("1000\r\n" + "x" * 4096 + "\r\n")

    def head(self, *_):
        self.send("HTTP/1.1 200 OK\r\n")
        while True:
            self.send("X-More: " + "x" * 100 + "\r\n")

    def cut(self, *_):
        self.send('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"url":')

    def hang(self, *_):
        time.sleep(100)

    def halfway(self, *_):
        self.send('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"url":')
        time.sleep(100)

    def drip(self, *_):
        """A byte a second, so that no single wait is long."""
        self.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            self.send(" ")
            time.sleep(1)


class Plain:
    """A mail server where TLS is expected."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            self.socket.accept()[0].sendall(b"220 mail.example.test ESMTP at your service\r\n")


class Silent:
    """Takes connections and says nothing, or, with a full queue, does not even take them."""

    def __init__(self, full=False):
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(0 if full else 50)
        self.port = self.socket.getsockname()[1]
        self.queue = []
        for _ in range(4 if full else 0):
            it = socket.socket()
            it.setblocking(False)
            it.connect_ex(("127.0.0.1", self.port))
            self.queue.append(it)


def httpbin(certificates):
    """httpbin behind TLS: its port and process."""
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        port = it.getsockname()[1]
    gunicorn = [sys.executable, "-m", "gunicorn", "-w", "1", "--threads", "4", "-b", f"127.0.0.1:{port}"]
    gunicorn += ["--certfile", certificates.path("good.pem"), "--keyfile", certificates.path("good.key")]
    process = subprocess.Popen([*gunicorn, "httpbin:app"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(300):
        if process.poll() is not None:
            raise RuntimeError(f"httpbin ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return port, process
        except OSError:
            time.sleep(0.1)
    process.kill()
    raise RuntimeError("httpbin does not listen")
