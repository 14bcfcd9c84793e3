"""set-time on a whole meter: how exact the step is, NTP and PTP around it, the real-time clock, and the year 2038."""

import json
import threading
import time

from ntp_server import NtpServer

ARCHES = ("x86", "arm")
YEAR = 365.25 * 86_400
# Enough for a restore that takes longer than setting the time does.
ROWS = 80_000


def offset(vm):
    """How far the guest's clock is from the host's, from the quickest of some questions, and how uncertain that is."""
    best = None
    for _ in range(5):
        before = time.time()
        guest = float(vm.api.call("GET", "/sys/time")["result"])
        after = time.time()
        if best is None or after - before < best[1]:
            best = guest - (before + after) / 2, after - before
    return best


def set_time(vm, stamp):
    """Sets the time; the reply, and how far the guest's clock is from what was asked."""
    vm.api.call("GET", "/sys/time")
    connection = vm.api.connect()
    body = json.dumps(stamp)
    connection.connect()
    # The body is on its way when this returns, and the stamp holds at its arrival.
    connection.request("POST", "/api/cmd/set-time", body, {"Authorization": "Bearer " + vm.api.token})
    sent = time.time()
    reply = json.loads(connection.getresponse().read())
    connection.close()
    is_off, unsure = offset(vm)
    return reply, is_off - (float(stamp) - sent), unsure


def is_set(reply):
    """A busy host makes NTP's scripts take longer than a client is kept waiting; the clock is set before they start."""
    return reply in ({"status": "OK"}, {"status": "in progress"})


def wait_for(condition, seconds=40, pause=0.2):
    until = time.monotonic() + seconds
    while not condition():
        if until < time.monotonic():
            return False
        time.sleep(pause)
    return True


def run(vm, tally):
    if vm.arch == "x86":
        vm.use_ntp(None)
    exactness(vm, tally)
    undisturbed(vm, tally)
    beyond_2038(vm, tally)
    if vm.arch == "x86":
        without_a_server(vm, tally)
        with_a_server(vm, tally, "a true server", 0.0)
        with_a_server(vm, tally, "a lying server", 12_345_678.0)
        vm.use_ntp(None)
        with_ptp(vm, tally)
    real_time_clock(vm, tally)


def exactness(vm, tally):
    worst = 0
    for stamp in ("1893553445.250000001", "1577934245.5"):
        reply, error, unsure = set_time(vm, stamp)
        tally.check(f"{vm.arch}: {stamp} is set", is_set(reply), reply)
        tally.check("the clock is what was asked", abs(error) < 2, f"{error:.3f} s off")
        worst = max(worst, abs(error))
        print(f"figure: {vm.arch}: set-time is {error * 1000:.1f} ms off what was asked (+-{unsure * 500:.1f} ms)")
    for stamp in ("99999999999", "1", "NaN"):
        reply = vm.api.call("POST", "/cmd/set-time", stamp)
        tally.check(f"{stamp} is refused", "error" in reply, reply)
    tally.check("and changes nothing", offset(vm)[0] + time.time() < 1577934245.5 + 600, offset(vm))


def undisturbed(vm, tally):
    """Steps of ten years while somebody is logged in and something runs."""
    import test_service

    vm.api.login()
    for years in (10, -10):
        # The rows must not be in the future when the operation begins.
        vm.api.call("POST", "/cmd/set-time", f"{time.time():.3f}")
        body = test_service.upload(30 + years, ROWS)
        operation = vm.api.call("POST", "/cmd/db", body, Prefer="respond-async")["token"]
        stamp, replies = time.time() + years * YEAR, []
        ask = lambda: replies.append(vm.api.call("POST", "/cmd/set-time", f"{stamp:.6f}"))
        asking = threading.Thread(target=ask)
        asking.start()
        # The reply waits for NTP to be started again, so the moment of the step is looked for.
        stepped = lambda: abs(float(vm.api.call("GET", "/sys/time")["result"]) - stamp) < 3600
        came = wait_for(stepped, pause=0)
        status = vm.api.status(operation)
        asking.join()
        tally.check(f"a step to {years:+} years", came and len(replies) == 1 and is_set(replies[0]), (came, replies))
        tally.check("an operation goes on after it", not status["done"], status)
        tally.check("the login too", vm.api.call("GET", "/auth/rights")["usr"] == "owner")
        status = vm.api.finish(operation)
        tally.check("the operation was not disturbed", "error" not in status, status)
        tally.check("its rows are right", vm.api.backup() == test_service.text(30 + years, ROWS))
    vm.api.call("POST", "/cmd/set-time", f"{time.time():.3f}")


def beyond_2038(vm, tally):
    stamp = 2_222_222_222
    reply, error, _ = set_time(vm, f"{stamp}.125")
    tally.check("2040 can be set", is_set(reply) and abs(error) < 2, (reply, error))
    vm.api.login()
    uptime = vm.api.call("GET", "/sys/uptime")["result"]
    tally.check("a login and the uptime are right in 2040", 0 < uptime < 86_400, uptime)
    reply = vm.api.db(action="zero", **{"from": "1700000000", "to": "1700000060"})
    tally.check("a command runs in 2040", reply.get("status") == "OK", reply)
    stamps = [float(line["ts"]) for line in vm.api.call("GET", "/sys/ledger")["result"]]
    tally.check("the ledger knows the year", stamp < stamps[0] < stamp + 600, stamps[0])
    said = vm.out("/etc/init.d/S50meterd restart; date +%s")
    tally.check("the service starts in 2040", stamp < int(said.split()[-1]), said)
    vm.wait_api()
    tally.check("and finds its files", len(vm.api.call("GET", "/sys/ledger")["result"]) > 1)
    status = vm.api.finish(vm.api.db(action="zero", **{"from": "1", "to": "2"})["token"])
    tally.check("and its database", "error" not in status, status)
    set_time(vm, f"{time.time():.3f}")


def without_a_server(vm, tally):
    # chronyd keeps a helper process beside it.
    pids = lambda: set(vm.out("pidof chronyd").split())
    before = pids()
    reply, _, _ = set_time(vm, "1893553445.25")
    after = pids()
    tally.check("chronyd was restarted, once", not before & after and len(before) == len(after), (before, after))
    time.sleep(3)
    is_off = offset(vm)[0] + time.time() - 1893553445
    tally.check("without a server the time stands", is_set(reply) and 0 < is_off < 60, (reply, is_off))
    reply = vm.api.call("POST", "/cmd/set-time", None)
    again = pids()
    tally.check("null restarts it too", is_set(reply) and not again & after, (reply, again))


def with_a_server(vm, tally, name, lie):
    with NtpServer(lie) as server:
        vm.use_ntp(server.port)
        near = lambda: abs(offset(vm)[0] - lie) < 1
        tally.check(f"{name}: chronyd follows it", wait_for(near), offset(vm))
        reply, _, _ = set_time(vm, f"{time.time() + YEAR:.3f}")
        said = reply.get("status", "")
        if said == "in progress":
            # Then the ledger says what the reply could not wait for.
            outcome = lambda: vm.api.call("GET", "/sys/ledger")["result"][0]["outcome"]
            wait_for(lambda: vm.host in outcome())
            said = outcome()
        tally.check(f"{name}: the reply says that it will win", vm.host in said and "NTP" in said, (reply, said))
        tally.check(f"{name}: and it does", wait_for(near), offset(vm))
        tally.check(f"{name}: it was really asked", server.asked > 2, server.asked)


def with_ptp(vm, tally):
    before = vm.out("pidof ptp4l")
    reply, error, _ = set_time(vm, "1893553445.25")
    after = vm.out("pidof ptp4l")
    tally.check("ptp4l was restarted, once", before != after and len(after.split()) == 1, (before, after))
    tally.check("and the time is set", is_set(reply) and abs(error) < 2, (reply, error))
    listening = lambda: "LISTENING" in vm.sh("pmc -u -b 0 -f /etc/linuxptp/ptp4l.conf 'GET PORT_DATA_SET'")[1]
    tally.check("ptp4l listens again", wait_for(listening), vm.sh("logread | grep ptp4l | tail -n 3"))
    vm.out("/etc/init.d/S46ptp4l stop")
    reply, error, _ = set_time(vm, "1893553445.25")
    tally.check("a ptp4l that did not run runs", is_set(reply) and vm.out("pidof ptp4l"), reply)


def real_time_clock(vm, tally):
    set_time(vm, "1893553445.25")
    began = time.time()
    vm.api.call("POST", "/cmd/reboot")
    vm.rebooted()
    seconds = int(vm.out("cat /sys/class/rtc/rtc0/since_epoch"))
    expected = 1893553445.25 + time.time() - began
    tally.check("the real-time clock kept the time over a reboot", abs(seconds - expected) < 5, (seconds, expected))
    set_time(vm, f"{time.time():.3f}")
