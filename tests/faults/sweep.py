"""Faults of the disk, swept over everything that the service keeps: every change that an undisturbed course makes is a
point where the power may fail (with all that the disk may have forgotten by then), or where the disk begins to fail.

After a cut the service starts on what is left, and everything that was answered before it is there; what was not is there
as a whole or not at all. While the disk fails every error says why, nothing is half done and quick requests are answered;
when it works again so does the service.

Usage: sweep.py [--cuts N] [--errors N] [--seed N] [SCENARIO...]      (N points of each scenario and kind; 0 is all)
"""

import argparse
import collections
import errno
import hashlib
import http.client
import json
import os
import sys
import threading
import time
import traceback

import database
import disk
import files
import orders
from meter import Client, Tally

# How many outcomes of a cut at one point are tried, by what survives of it.
OUTCOMES = {"killed": 1, "forgets": 1, "journal": 2, "scattered": 4}
ERRORS = {
    "EIO once": (disk.ONCE, errno.EIO),
    "EIO": (disk.FROM_THEN_ON, errno.EIO),
    "ENOSPC": (disk.FROM_THEN_ON, errno.ENOSPC),
    "EROFS": (disk.FROM_THEN_ON, errno.EROFS),
}
# One of these is in every error: what failed, in words or by the API's own tag.
CLEAR = ("room", "I/O error", "Input/output", "Read-only", "readonly", "No space", "full", "disk", "WRITE_FAILED")
CLEAR += ("open database", "could not be recorded", "write-ahead log")
# A quick request needs no disk; the rest is a busy machine.
QUICK = 20.0


# Runs until one went as it should where that is a race.
ATTEMPTS = 20


class Course:
    """An undisturbed run of a scenario: what changed on the disk, and between which changes something was told."""

    def __init__(self, scenario, under):
        self.scenario = scenario
        scenario.prepare()
        for _ in range(ATTEMPTS):
            if self.record(scenario, under) and scenario.is_telling(self.told()):
                return
        raise RuntimeError(f"no course of {ATTEMPTS} went as it should: {self.told()}")

    def record(self, scenario, under):
        """Whether the run ended where the scenario does, and not beyond."""
        under.lay(scenario.image)
        self.inodes = dict(under.inodes)
        it = scenario.service(under.root, under.env)
        try:
            act(scenario, under, it)
            if scenario.stops and it.is_up():
                it.stop()
            else:
                settle(under.control)
        finally:
            ended = not scenario.is_past(it)
            it.end()
        self.trace = disk.read_trace(under.trace)
        self.changes = under.control.calls
        return ended

    def replay(self):
        return disk.Replay(self.scenario.image, self.inodes)

    def told(self):
        return [json.loads(it.data) for it in self.trace if it.kind == "M"]


def settle(control):
    """Waits until nothing changes any more: a kill between a change and its record would leave the trace a record short."""
    before = -1
    while control.calls != before:
        before = control.calls
        time.sleep(0.3)


def act(scenario, under, service):
    """Runs the course with a service on the disk; what was said."""
    told = []

    def say(**what):
        told.append(what)
        under.mark(what, service.local_port if service.is_up() else 0)

    if scenario.serves:
        service.start()
        service.login()
    scenario.act(service, say)
    return told


def judge(scenario, root, told):
    """Starts the service on a folder: what is wrong with it."""
    it = scenario.service(root)
    try:
        it.start()
        return scenario.check(it, told)
    except Exception as err:
        return [unforeseen(err, it)]
    finally:
        it.end()


def unforeseen(err, service):
    where = traceback.extract_tb(err.__traceback__)
    own = [it for it in where if it.filename.startswith(disk.HERE)][-1]
    return f"{type(err).__name__} in {own.name}, {own.line}: {err}; log: {service.read_log()[-500:]}"


def digest(root, told=None):
    """What distinguishes one outcome from another. SQLite makes its -shm anew."""
    res = hashlib.sha256(json.dumps(told).encode())
    for folder, folders, names in os.walk(root):
        folders.sort()
        res.update(folder[len(root) :].encode() + b"\0")
        for name in sorted(names):
            if not name.endswith("-shm"):
                with open(os.path.join(folder, name), "rb") as file:
                    res.update(name.encode() + b"\0" + hashlib.sha256(file.read()).digest())
    return res.digest()


def is_complete(course, under):
    """Whether all changes of the trace make the folder that there really is; if not, the trace has missed something."""
    replay = course.replay()
    for change in course.trace:
        replay.step(change)
    place = os.path.join(under.dir, "point")
    replay.cut("killed", disk.chance(0), place)
    return digest(place) == digest(under.root)


def is_noticed(course, under):
    """Whether a disk that had synced nothing at all is found out, where anything was promised."""
    replay = course.replay()
    for change in course.trace:
        if change.kind not in "sdSM":
            replay.step(change)
    place = os.path.join(under.dir, "point")
    replay.cut("forgets", disk.chance(0), place)
    return not course.scenario.promises or not course.told() or bool(judge(course.scenario, place, course.told()))


def cuts(course, under, wanted, seed):
    """Cuts the power at points of the course: how many outcomes were judged by kind, and what is wrong."""
    points = [(at, kind, n) for at in range(len(course.trace) + 1) for kind, often in OUTCOMES.items() for n in range(often)]
    if wanted and wanted < len(points):
        points = sorted(disk.chance(seed, course.scenario.name).sample(points, wanted))
    replay, done, told = course.replay(), 0, []
    place, seen, counts, wrong = os.path.join(under.dir, "point"), set(), dict.fromkeys(OUTCOMES, 0), []
    for at, kind, n in points:
        for change in course.trace[done:at]:
            if change.kind == "M":
                told.append(json.loads(change.data))
            else:
                replay.step(change)
        done = max(done, at)
        replay.cut(kind, disk.chance(seed, at, kind, n), place)
        outcome = digest(place, told)
        if outcome in seen:
            continue
        seen.add(outcome)
        counts[kind] += 1
        found = judge(course.scenario, place, list(told))
        wrong += [f"cut {at} of {len(course.trace)}, {kind} {n}, told {told}: {it}" for it in found]
    return counts, wrong


class Pulse(threading.Thread):
    """Asks for a sign of life all the time that a service runs."""

    def __init__(self, service):
        super().__init__()
        self.service, self.over, self.wrong = service, threading.Event(), []
        self.start()

    def run(self):
        while not self.over.wait(0.05):
            port, begun = self.service.port, time.monotonic()
            try:
                status = Client(port).raw("GET", "/auth/unauthorized")[0] if port else 401
            except (OSError, http.client.HTTPException):
                # It is not up yet, or has just ended.
                continue
            took = time.monotonic() - begun
            if status not in (401, 503) or QUICK < took:
                self.wrong.append(f"a quick request is answered with {status} after {took:.1f} s")

    def end(self):
        self.over.set()
        self.join()
        return self.wrong


def fail(course, under, name, at, seed):
    """Lets the disk fail from its change number `at`: what is wrong."""
    scenario, (mode, error) = course.scenario, ERRORS[name]
    under.lay(scenario.image)
    inodes = dict(under.inodes)
    it, wrong = scenario.service(under.root, under.env), []
    under.fails(at, mode, error)
    pulse, told = Pulse(it), []
    try:
        try:
            told = act(scenario, under, it)
        except RuntimeError as err:
            if not says_why(str(err)):
                wrong.append(f"it does not say why: {err}")
            it.process.wait(10)
        wrong += pulse.end()
        hits = under.control.hits
        if it.process and not it.is_up():
            code = it.process.wait()
            if code == 0 or not says_why(it.read_log()):
                wrong.append(f"it ended with {code}: {it.read_log()[-500:]}")
        for one in told:
            if one.get("error") not in (None, "CANCELED") and not says_why(json.dumps(one)):
                wrong.append(f"it does not say why: {one}")
        under.works()
        trace = disk.read_trace(under.trace)
        restarted = not it.is_up()
        if restarted:
            it.start()
        wrong += scenario.look(it, told)
        wrong += scenario.again(it)
        it.kill()
        wrong += forgotten(scenario, inodes, trace, under, told, seed)
        return hits, restarted and scenario.serves, wrong
    except Exception as err:
        return 1, False, [*wrong, f"told {told}: {unforeseen(err, it)}"]
    finally:
        pulse.end()
        under.works()
        it.end()


def forgotten(scenario, inodes, trace, under, told, seed):
    """The power fails at the end of it all: what a failed sync has lost must not have been promised."""
    replay = disk.Replay(scenario.image, inodes)
    for change in trace:
        if change.kind != "M":
            replay.step(change)
    place = os.path.join(under.dir, "point")
    replay.cut("forgets", disk.chance(seed), place)
    return [f"and then the power fails: {it}" for it in judge(scenario, place, told)]


def says_why(text):
    return any(it in text for it in CLEAR)


def errors(course, under, wanted, seed):
    points = [(at, name) for at in range(1, course.changes + 1) for name in ERRORS]
    if wanted and wanted < len(points):
        # Where a name is made durable, what fails has already happened: these points are always among them.
        names = {(it.call, "EIO once") for it in course.trace if it.kind == "d"}
        points = sorted({*disk.chance(seed, course.scenario.name).sample(points, wanted), *names})
    counts, restarts, wrong = dict.fromkeys(ERRORS, 0), 0, []
    for at, name in points:
        hits, restarted, found = fail(course, under, name, at, seed)
        counts[name] += bool(hits)
        restarts += restarted
        wrong += [f"{name} at {at} of {course.changes}: {it}" for it in found]
    return counts, restarts, wrong


def report(counts):
    return ", ".join(f"{n} {kind}" for kind, n in counts.items() if n)


def shorten(wrong):
    return "\n".join(wrong[:4]) + f"\n{len(wrong)} in all"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cuts", type=int, default=0)
    parser.add_argument("--errors", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("scenarios", nargs="*")
    wanted = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    known = {**database.SCENARIOS, **files.SCENARIOS, **orders.SCENARIOS}
    tally, under, totals = Tally(), disk.Disk(), collections.Counter()
    for name in wanted.scenarios or known:
        scenario = known[name]()
        begun = time.monotonic()
        try:
            course = Course(scenario, under)
            tally.check(f"{name}: the trace of {course.changes} changes is complete", is_complete(course, under))
            tally.check(f"{name}: a disk without any sync would be noticed", is_noticed(course, under))
            counts, wrong = cuts(course, under, wanted.cuts, wanted.seed)
            tally.check(f"{name}: the power fails {sum(counts.values())} times ({report(counts)})", not wrong, shorten(wrong))
            totals.update(cuts=sum(counts.values()), wrong=len(wrong))
            counts, restarts, wrong = errors(course, under, wanted.errors, wanted.seed)
            text = f"{name}: the disk fails {sum(counts.values())} times ({report(counts)}), {restarts} times at its start"
            tally.check(text, not wrong, shorten(wrong))
            totals.update(errors=sum(counts.values()), wrong=len(wrong))
        except RuntimeError as err:
            tally.check(f"{name} runs to its end", False, err)
        finally:
            scenario.remove()
        print(f"{name}: {time.monotonic() - begun:.0f} s")
    print(f"figure: {totals['cuts']} power cuts and {totals['errors']} failing disks, {totals['wrong']} of them with a fault left")
    under.remove()
    tally.close()


main()
