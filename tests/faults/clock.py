"""A wall clock that jumps while the service works, decades ahead and back: tokens, operations and logins follow the run
time and never notice; what is stamped has the new time. The jumps are disk.c's; the machine's clock stays as it is."""

import random
import threading
import time

import database
import disk
from scenario import Client, wait_for
from meter import Tally

SEED = 20261127
YEAR = 366 * 86400
JUMPS = 25


class Jumps(threading.Thread):
    """Sets the clock anew all the time until it is told to end."""

    def __init__(self, control):
        super().__init__()
        self.control, self.over, self.count = control, threading.Event(), 0
        self.start()

    def run(self):
        rng = random.Random(SEED)
        while not self.over.wait(0.02):
            # Not before the youngest row, which would be in the future.
            self.control.clock_off = rng.randrange(-4 * YEAR, 100 * YEAR) * 10**9
            self.count += 1

    def end(self):
        self.over.set()
        self.join()


def main():
    tally, under = Tally(), disk.Disk()
    for name in ("restore", "split"):
        scenario = database.SCENARIOS[name]()
        scenario.prepare()
        under.lay(scenario.image)
        it = scenario.service(under.root, under.env).start()
        token = it.login()
        jumps = Jumps(under.control)
        until, waits, wrong, runs = time.monotonic() + 3, [], [], 0
        try:
            while time.monotonic() < until or jumps.count < JUMPS:
                told = []
                scenario.act(it, lambda **what: told.append(what))
                runs += 1
                failed = [one for one in told if one.get("error")]
                wrong += failed
                begun = time.monotonic()
                other = Client(it.port)
                other.login()
                waits.append(time.monotonic() - begun)
        finally:
            jumps.end()
        tally.check(f"{name}: nothing fails while the clock jumps", runs and not wrong, wrong)
        status, _, _ = it.raw("GET", "/auth/rights", None, {"Authorization": "Bearer " + token})
        tally.check(f"{name}: the first login still holds", status == 200, status)
        tally.check(f"{name}: the rows are those of an undisturbed run", it.rows() == scenario.states[-1] and it.sound())
        tally.check(f"{name}: logins were not held up", max(waits) < 5, waits)
        print(f"figure: {name} {runs} times while the clock jumped {jumps.count} times")
        stamp_of_now(tally, it, under.control)
        it.end()
        scenario.remove()
    under.remove()
    tally.close()


def stamp_of_now(tally, it, control):
    """A clock that stands still again is believed, wherever it stands."""
    for years in (-20, 30):
        control.clock_off = years * YEAR * 10**9
        now = time.time() + years * YEAR
        said = float(it.call("GET", "/sys/time")["result"])
        it.call("POST", "/cmd/clear", "excess")
        # Nobody waits for this line.
        line = lambda: it.call("GET", "/sys/ledger")["result"][0]
        noted = wait_for(lambda: abs(float(line()["ts"]) - now) < 5, within=5)
        tally.check(f"a clock {years} years off is believed", abs(said - now) < 5 and noted, (said, now, line()))
    control.clock_off = 0


main()
