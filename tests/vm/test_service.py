"""The service on a whole meter: the label's password, a restore that survives a power cut, its init script."""

import base64
import time

from meter import backup_text, chunks

ARCHES = ("x86", "arm")
REGISTERS = [("Grid", "P"), ("Grid+", "P"), ("Solar", "P"), ("Voltage", "V")]
START = 1_700_000_000
ROWS = 20_000
# Counters of the newest row; a restore that does not reach beyond it leaves them as they are.
NEWEST = 1_000_000
INIT = "/etc/init.d/S50meterd"


def text(step, rows=ROWS):
    """A row a minute, of counters that grow by `step` up to the same newest ones."""
    grown = lambda at: NEWEST - (rows - 1 - at) * step
    return backup_text(REGISTERS, [(START + at * 60, [grown(at), grown(at), at, 230]) for at in reversed(range(rows))])


def chunk(content):
    [data] = chunks(content, 10**9)
    return data


def upload(step, rows=ROWS):
    """The body of a restore of them all."""
    return {"action": "restore", "data": base64.b64encode(chunk(text(step, rows))).decode()}


def run(vm, tally):
    tally.check("the meter boots, and meterd answers a stranger with 401", vm.answers())
    print(f"figure: {vm.arch}: power on to first answer {vm.first_answer:.1f} s ({vm.ram} MB)", end="")
    print(f", init scripts done {vm.uptime:.1f} s after the kernel's start")
    rights = vm.api.call("GET", "/auth/rights")
    tally.check("the label's password logs in", "save" in rights["rights"], rights)
    restore(vm, tally)
    init_script(vm, tally)
    power_cut(vm, tally)


def restore(vm, tally):
    idle = vm.memory()
    vm.out(f"echo 5 > /proc/{vm.worker}/clear_refs")
    begun = time.monotonic()
    status = vm.api.restore(chunk(text(10)))
    seconds = time.monotonic() - begun
    tally.check("a chunk is restored", status["done"] and "error" not in status, status)
    busy = vm.memory()
    tally.check("the backup is what was restored", vm.api.backup() == text(10))
    for name, of in (("idle", idle), ("after a restore", busy)):
        print(f"figure: {vm.arch}: RSS {name} {of['VmRSS']} kB, {of['RssAnon']} kB of it anonymous")
    print(f"figure: {vm.arch}: highest RSS in a restore of {ROWS} x {len(REGISTERS)} {busy['VmHWM']} kB", end="")
    print(f", {ROWS / seconds:.0f} rows/s")
    available = int(vm.out("awk '/MemAvailable/ {print $2}' /proc/meminfo"))
    tally.check("memory is left for others", available > 4096, f"{available} kB")


def init_script(vm, tally):
    pid = lambda: vm.out(f"echo {vm.worker}")
    first = pid()
    tally.check("status says that it runs", vm.sh(f"{INIT} status")[0] == 0)
    status, said = vm.sh(f"{INIT} reload && {INIT} status")
    tally.check("reload keeps the process", status == 0 and pid() == first, said)
    vm.out(f"kill -9 {vm.worker}")
    vm.wait_api()
    second = pid()
    tally.check("a killed service is started again", second != first, second)
    status, said = vm.sh(f"{INIT} restart")
    tally.check("restart makes a new process", status == 0 and pid() != second, said)
    status, said = vm.sh(f"{INIT} stop; pidof meterd")
    tally.check("stop ends it for good", status == 1, said)
    tally.check("and status says so", vm.sh(f"{INIT} status")[0] != 0)
    status, said = vm.sh(f"{INIT} start")
    vm.wait_api()
    tally.check("start brings it back with its data", status == 0 and vm.api.backup() == text(10), said)


def power_cut(vm, tally):
    """The power fails in the middle of an operation that was acknowledged."""
    reply = vm.api.call("POST", "/cmd/db", upload(20), Prefer="respond-async")
    token = reply["token"]
    until = time.monotonic() + 60
    while not (status := vm.api.status(token))["done"] and status["progress"] < 0.2:
        if until < time.monotonic():
            raise TimeoutError(f"no progress: {status}")
    vm.cut()
    tally.check("the power is cut in the middle of a restore", not status["done"], status)
    vm.start()
    status = vm.api.finish(token)
    tally.check("the same token answers after the cut, and the operation ends", "error" not in status, status)
    tally.check("every row is as the file has it", vm.api.backup() == text(20))
    said = vm.out("meterd check --config /etc/meterd/meterd.json")
    tally.check("the database is sound", "database: sound, 4 registers" in said, said)
