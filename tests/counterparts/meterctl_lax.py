"""A meter of another maker, for meterctl: it speaks the WebAPI as loosely as real ones might. Versions are numbers, an
error may be a 4xx, `error` is there as null on success, the first nonce is too old, `/cmd/db` answers in either reading,
and nothing of what is beyond the WebAPI is there."""

import hashlib
import http.server
import json
import secrets
import ssl
import threading
import time

from meter import PASSWORD


def md5(text):
    return hashlib.md5(text.encode()).hexdigest()


class LaxMeter:
    """`reading` is how `/cmd/db` answers: `status`, `token` or `both`; `polite` errors are HTTP 200."""

    def __init__(self, reading="status", polite=False, certificate=None):
        self.reading, self.polite = reading, polite
        self.scheme = "https" if certificate else "http"
        self.goes_down_after = None
        self.token = None
        self.nonces = []
        self.seen = []
        self.operations = {}
        self.down_until = 0
        # Seconds that the next replies to /cmd/db, /cmd/wlan and /cmd/homeplug take.
        self.delays = []
        # A web server in front does not wait for as long as /cmd/db takes.
        self.times_out = False
        meter = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                meter.handle(self, None)

            def do_POST(self):
                meter.handle(self, self.rfile.read(int(self.headers.get("Content-Length") or 0)))

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def handle(self, request, body):
        if time.monotonic() < self.down_until:
            request.close_connection = True
            return
        path = request.path.removeprefix("/api")
        status, reply = self.answer(path, body, request.headers.get("Authorization"))
        if status != 401 and path in ("/cmd/db", "/cmd/wlan", "/cmd/homeplug") and self.delays:
            time.sleep(self.delays.pop(0))
        if status == 200 and path == "/cmd/db" and self.times_out:
            status, reply = 504, "<html>Gateway Timeout</html>"
        text = (reply if isinstance(reply, str) else json.dumps(reply)).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        try:
            request.wfile.write(text)
        except OSError:
            # Whoever asked did not wait.
            request.close_connection = True

    def refuse(self, text):
        return (200 if self.polite else 400), {"error": text}

    def answer(self, path, body, authorization):
        if path == "/auth/login":
            return self.login(json.loads(body))
        if not self.token or authorization != "Bearer " + self.token:
            self.nonces.append(secrets.token_hex(8))
            return 401, {"rlm": "Other Maker", "nnc": self.nonces[-1], "error": "Authentication required."}
        if body is not None:
            self.seen.append((path, json.loads(body) if body else None))
        command = self.seen[-1][1] if body is not None else None
        if path == "/auth/rights":
            return 200, {"usr": "owner", "rights": ["save"], "error": None}
        if path == "/auth/unauthorized":
            return 200, {"status": "OK"}
        if path == "/auth/logout":
            self.token = None
            return 200, {"status": "OK"}
        if path == "/register":
            return 200, {"ts": "1", "registers": [{"name": "Grid", "type": "P", "did": 3}, {"name": "Solar", "type": "P"}]}
        if path == "/sys/net/wlan":
            net = [{"network_id": 0, "ssid": "Roof", "bssid": "any", "flags": "[CURRENT]"}]
            net += [{"network_id": it, "ssid": "Twin", "bssid": "any", "flags": ""} for it in (1, 2)]
            heard = {"bssid": "aa:bb:cc:dd:ee:ff", "flags": "[ESS]", "frequency": 2412, "signal_level": -40, "ssid": "屋根"}
            return 200, {"result": {"ap": [heard], "net": net}}
        if path.startswith("/sys/status/"):
            return self.status(path.removeprefix("/sys/status/"))
        if path.startswith("/cmd/"):
            return self.command(path.removeprefix("/cmd/"), command)
        return 404, "<html>Not Found</html>"

    def login(self, body):
        if len(self.nonces) < 2:
            return 200, {"error": "Nonce expired."}
        expect = md5(f"{md5(body['usr'] + ':Other Maker:' + PASSWORD)}:{self.nonces[-1]}:{body['cnnc']}")
        if body["nnc"] != self.nonces[-1] or body["hash"] != expect:
            return 200, {"error": "No such user or wrong password."}
        self.token = secrets.token_hex(16)
        return 200, {"jwt": self.token, "error": None}

    def command(self, name, body):
        if name == "update":
            if body["action"] == "list":
                return 200, {"version": 4.4, "minimum": 4, "error": None}
            reply = self.begin()
            self.goes_down_after = reply["token"]
            return 200, reply
        if name == "reboot":
            self.go_down()
            return 200, {"status": "OK"}
        if name == "db":
            if body["action"] == "split":
                return self.refuse("Split is not supported.")
            reply = {} if self.reading == "token" else {"status": "OK"}
            return 200, {**reply, **(self.begin() if self.reading != "status" else {})}
        if name in ("wlan", "homeplug"):
            return 200, {"status": "OK"}
        if name in ("test-email", "test-remote"):
            return 200, self.begin()
        return 404, {"error": f"{name}: unknown command"}

    def go_down(self):
        self.down_until = time.monotonic() + 1.5

    def begin(self):
        token = secrets.token_hex(16)
        self.operations[token] = 0
        return {"token": token}

    def status(self, token):
        """Two looks long, with progress as an integer and in quotes; then done, with everything else null."""
        if token not in self.operations:
            return self.refuse("No such operation.")
        self.operations[token] += 1
        looks = self.operations[token]
        if looks < 3:
            return 200, {"result": {"done": False, "info": "INSTALL", "args": [4.4], "progress": [0, "0.5"][looks - 1]}}
        if token == self.goes_down_after:
            threading.Timer(1, self.go_down).start()
        return 200, {"result": {"done": True, "progress": 1, "args": None, "error": None, "result": None}}
