"""A part of remote.py: other meters over HTTP, as the remote device."""

import http.server
import json
import threading

import modbus_faults as faults
from meter import Meter
from remote_setup import Outcome


class OtherMeter(http.server.BaseHTTPRequestHandler):
    """Answers with its server's `pages`: status, body with `?rate`, body without."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        status, with_rate, plain = self.server.pages
        text = with_rate if "?" in self.path else plain
        body = text if isinstance(text, bytes) else json.dumps(text).encode()
        self.send_response(status if self.path.startswith("/api/register") else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def other_meters(tally, meter):
    def ask(status, with_rate, plain=b""):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), OtherMeter)
        server.pages = (status, with_rate, plain)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            return Outcome(meter, "tcp", f"127.0.0.1:{server.server_port}|async")
        finally:
            server.shutdown()
            server.server_close()

    regs = [{"name": "Grid", "type": "P", "idx": 0, "did": 0}, {"name": "L1", "type": "V", "idx": 1, "did": 1}]
    rates = [dict(it, rate=value) for it, value in zip(regs, (-730.5, 230.1))]
    grid = {"name": "Grid", "type": "P"}
    outcome = ask(200, {"ts": "1", "registers": rates})
    tally.check("another meter with values", outcome.regs.get("Grid") == dict(grid, value=-730.5, unit="W"), outcome)
    outcome = ask(200, {"error": "rate: unknown"}, {"ts": "1", "registers": regs})
    tally.check("another meter without values", outcome.regs.get("Grid") == grid and len(outcome.regs) == 2, outcome)
    for name, status, text, words in (
        ("a login", 401, {"rlm": "x", "nnc": "y", "error": "Authentication required."}, "wants a login"),
        ("no such page", 404, b"not here", "status 404"),
        ("no JSON", 200, b"<html>", "no JSON"),
        ("no list", 200, {"result": 1}, "no list of registers"),
        ("too much", 200, b"[" * 300_000, "longer than"),
    ):
        outcome = ask(status, text, text)
        tally.check(f"another meter, {name}: told", words in outcome.error and outcome.tag == "REMOTE", outcome)
    with Meter() as second:
        outcome = Outcome(meter, "tcp", f"127.0.0.1:{second.port}")
        tally.check("this very service as the other meter wants a login", "wants a login" in outcome.error, outcome)
    with faults.Tcp(faults.banner) as server:
        outcome = Outcome(meter, "tcp", f"127.0.0.1:{server.port}")
        tally.check("another meter, a bad request", "no meter" in outcome.error, outcome)
