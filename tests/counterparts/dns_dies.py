"""A name server that dies while the service needs it: silent or gone, for one that asks or in the middle of a download.
What waits for it ends in its time with the reason, can be cancelled, holds up nobody, and goes on when it is back."""

import os
import signal
import time

from meter import Client, Meter
from publisher import Publisher

HOST = "self.example.test"
# The image and how much of it comes before the server and the names die.
SIZE, HELD = 6_000_000, 2_500_000


def wait_for(condition, within):
    until = time.monotonic() + within
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return condition()


def begin(meter, host=HOST):
    body = {"linktype": "tcp", "address": f"{host}:{meter.port}"}
    return meter.call("POST", "/cmd/test-remote", body)["token"]


def words(status):
    return f"{status.get('error')} {status.get('args')} {status.get('result')}"


def slowest(meter, until):
    """The slowest quick request until something has happened."""
    res = 0.0
    while not until():
        begun = time.monotonic()
        Client(meter.port).raw("GET", "/auth/unauthorized")
        res = max(res, time.monotonic() - begun)
        time.sleep(0.05)
    return res


def run(tally, probe, knot, serve):
    """`knot` serves names now; `serve` starts another one."""
    folder = os.path.join(probe.folder, "vendor")
    publisher = Publisher(folder)
    try:
        update = {"url": publisher.url().replace("127.0.0.1", HOST), "public_key": publisher.public_key}
        platform = {"install": {"fw": ["/bin/true"]}}
        identity = {"hardware": "1", "versions": {"fw": "1.0"}, "branch": "stable"}
        settings = {"identity": identity, "update": {**update, "patience_seconds": 60}, "platform": platform}
        with Meter(demo=False, allow_targets=["127.0.0.0/8"], **settings) as meter:
            meter.login()
            silent(tally, probe, knot, meter)
            return gone(tally, probe, knot, serve, meter, publisher)
    finally:
        publisher.close()


def silent(tally, probe, knot, meter):
    status = meter.finish(begin(meter))
    tally.check("with names another meter is reached", "wants a login" in words(status), status)
    knot.send_signal(signal.SIGSTOP)
    token, begun = begin(meter), time.monotonic()
    worst = slowest(meter, lambda: meter.status(token)["done"])
    took, status = time.monotonic() - begun, meter.status(token)
    tally.check("a silent name server is named in time", "no answer in time" in words(status) and took < 20, (took, status))
    tally.check("and holds up nobody", worst < 5, worst)
    probe.servers("192.0.2.53", options="timeout:30 attempts:5")
    token = begin(meter)
    time.sleep(0.3)
    begun = time.monotonic()
    meter.call("POST", "/cmd/cancel", {"token": token})
    status = meter.finish(token)
    took = time.monotonic() - begun
    tally.check("whoever waits for it can be cancelled", status.get("error") == "CANCELED" and took < 10, (took, status))
    probe.servers("192.0.2.53")
    knot.send_signal(signal.SIGCONT)
    status = meter.finish(begin(meter))
    tally.check("when it speaks again it is heard", "wants a login" in words(status), status)


def gone(tally, probe, knot, serve, meter, publisher):
    """The names die with the update server in the middle of a download; both come back. The new name server."""
    content = os.urandom(SIZE)
    publisher.publish({"version": "2.0", **publisher.image("2.0.bin", content)})
    publisher.hold_after(HELD)
    publisher.restart(0)
    token = meter.call("POST", "/cmd/update", {"action": "install", "target": "fw"})["token"]
    path = os.path.join(meter.state, "update", "image", "2.0.bin")
    begun = wait_for(lambda: os.path.exists(path) and HELD // 2 < os.path.getsize(path), 20)
    tally.check("a download has begun", begun, meter.status(token))
    knot.kill()
    knot.wait()
    publisher.nginx.terminate()
    publisher.nginx.wait()
    status = meter.finish(begin(meter))
    tally.check("a name server that is gone is named", "there is no name server" in words(status), status)
    wait_for(lambda: "192.0.2.53" in meter.read_log(), 10)
    status = meter.status(token)
    tally.check("the download waits, and says for what in the log", not status["done"] and "192.0.2.53" in meter.read_log(), status)
    knot = serve()
    publisher.hold_after(None)
    publisher.start()
    status = meter.finish(token)
    asked = [it[2] for it in publisher.requests()]
    tally.check("with both back it ends by itself", status["done"] and "error" not in status, status)
    tally.check("and was taken up where it broke off", asked[-1].startswith("bytes=") and asked[-1] != "bytes=0-", asked)
    return knot
