"""What the service may do, asked of the kernel: who its two processes are, what they hold, and, from inside the worker's
place, that what must be impossible is. Needs root, because only root has something to give up."""

import ctypes
import json
import os
import platform
import shutil
import signal
import socket
import struct
import subprocess
import time

from meter import BINARY, ROOT, Meter, Tally, backup_text

PROBE = os.path.join(ROOT, "target", "debug", "examples", "confined_probe")
# Somebody whom no passwd knows, so that the tests need none of the machine's own.
UID = 61234
# CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER; then those of the executor.
OF_ROOT = 1 << 0 | 1 << 1 | 1 << 3
FILES, KILL, NET_RAW, SYS_TIME = 1 << 1 | 1 << 3, 1 << 5, 1 << 13, 1 << 25
NO_LANDLOCK = "this kernel has no Landlock"
NO_SECCOMP = "this kernel has no seccomp"


class Own(Meter):
    """A service on a folder that other users may pass through, as they may through /var/lib."""

    def __init__(self, user=str(UID), demo=False, **config):
        super().__init__(demo=demo, **config)
        os.chmod(self.dir, 0o755)
        self.set(user=user)

    def set(self, **members):
        with open(self.config) as file:
            config = json.load(file)
        config.update(members)
        with open(self.config, "w") as file:
            json.dump({key: value for key, value in config.items() if value is not None}, file)

    def children(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            return [int(it) for it in file.read().split()]


def status(pid):
    with open(f"/proc/{pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file)


def dirty(pid):
    """Kilobytes that a process has for itself alone."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_Dirty"))


def within(seconds, holds):
    until = time.monotonic() + seconds
    while not holds():
        if until < time.monotonic():
            return False
        time.sleep(0.02)
    return True


def alive(pid):
    try:
        return status(pid)["State"][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def check_worker(tally, name, pid, uid, capabilities):
    seen = status(pid)
    tally.check(f"{name}: the worker is {uid}", seen["Uid"].split() == [str(uid)] * 4, seen["Uid"])
    for it in ("CapEff", "CapPrm"):
        tally.check(f"{name}: its {it} is {capabilities:#x}", int(seen[it], 16) == capabilities, seen[it])
    for it in ("CapInh", "CapBnd", "CapAmb"):
        tally.check(f"{name}: its {it} is empty", int(seen[it], 16) == 0, seen[it])
    tally.check(f"{name}: it gets no new privileges", seen["NoNewPrivs"] == "1", seen["NoNewPrivs"])
    tally.check(f"{name}: its system calls are filtered", seen["Seccomp"] == "2", seen["Seccomp"])


def two_processes(tally):
    """Started as root with a user, and with every part configured that takes rights."""
    meter = Own()
    said, cache = os.path.join(meter.dir, "said"), os.path.join(meter.dir, "cache")
    os.mkdir(cache, 0o700)
    open(os.path.join(cache, "page"), "w").close()
    noting = ["/bin/sh", "-c", f"id -u >>{said}"]
    front = os.path.join(meter.dir, "front.sock")
    meter.set(
        listen=["127.0.0.1:0", {"unix": front}],
        platform={"ntp": {"stop": noting, "start": noting}, "web_cache_dir": cache},
        homeplug={"interface": "lo"},
    )
    with meter:
        check_worker(tally, "as root", meter.process.pid, UID, 0)
        (executor,) = meter.children()
        seen = status(executor)
        wanted = FILES | KILL | NET_RAW | SYS_TIME
        tally.check("the executor is root", seen["Uid"].split() == ["0"] * 4, seen["Uid"])
        tally.check("with the capabilities of its verbs", int(seen["CapEff"], 16) == wanted, seen["CapEff"])
        tally.check("and has one thread", seen["Threads"] == "1", seen["Threads"])
        links = [os.readlink(f"/proc/{executor}/fd/{it}") for it in os.listdir(f"/proc/{executor}/fd")]
        sockets = [it for it in links if it.startswith("socket:")]
        files = [it for it in links if it.startswith("/") and not it.startswith("/dev/") and not it.endswith("/log")]
        tally.check("it holds one socket and no file", len(sockets) == 1 and not files, links)
        owners = {os.lstat(os.path.join(top, it)).st_uid for top, _, names in os.walk(meter.state) for it in names}
        tally.check("the state folder is the worker's", owners == {UID} and os.stat(meter.state).st_uid == UID, owners)

        text = backup_text([("Grid", "P")], [(1_700_000_060, [9]), (1_700_000_000, [5])])
        done = meter.restore(text.encode())
        tally.check("it logs in and restores", "error" not in done and meter.backup() == text, done)
        reply = meter.call("POST", "/cmd/set-time", None)
        with open(said) as file:
            uids = file.read().split()
        tally.check("scripts run as root", reply == {"status": "OK"} and uids == ["0", "0"], (reply, uids))
        reply = meter.call("POST", "/cmd/clear", "web_cache")
        gone = within(10, lambda: os.listdir(cache) == [])
        tally.check("root's cache is cleared", reply == {"status": "OK"} and gone, reply)
        target = {"action": "setpwd", "password": "secret pass", "targets": ["00:b0:52:ba:be:57/ABCD-EFGH-IJKL-MNOP"]}
        ended = meter.finish(meter.call("POST", "/cmd/homeplug", target)["token"])
        tally.check("a raw socket is handed over", "not an Ethernet interface" in json.dumps(ended), ended)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(front)
            client.sendall(b"GET /auth/unauthorized HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            tally.check("a front's socket in root's folder answers", client.recv(64).startswith(b"HTTP/1.1 401"))
        meter.cli("user", "set", "second", stdin="another")
        tally.check("a user whom root makes can log in", meter.login_once_known("second", "another"))
        meter.process.send_signal(signal.SIGHUP)
        reloaded = within(5, lambda: "the configuration is unchanged" in meter.read_log())
        tally.check("a reload reads users and configuration", reloaded, meter.read_log())
        tally.check("nothing is missing", "this kernel has no" not in meter.read_log(), meter.read_log())
        both = dirty(meter.process.pid), dirty(executor)
        print(f"figure: private-dirty memory of the worker {both[0]} kB, of the executor {both[1]} kB")
        tally.check("a stop is orderly", meter.stop() == 0 and within(5, lambda: not alive(executor)))


def ends(tally):
    """Neither process outlives the other."""
    with Own() as meter:
        (executor,) = meter.children()
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(executor, signum)
        time.sleep(0.3)
        tally.check("signals do not end the executor", alive(executor))
        os.kill(executor, signal.SIGKILL)
        tally.check("without it the service ends with an error", meter.process.wait(timeout=10) == 1)
        tally.check("and says so", "touches the machine" in meter.read_log(), meter.read_log())
        meter.start()
        (executor,) = meter.children()
        meter.kill()
        tally.check("the executor ends with the worker", within(5, lambda: not alive(executor)))
    unknown = Own(user="nobody-of-this-name")
    res = subprocess.run([BINARY, "--config", unknown.config], capture_output=True, text=True)
    tally.check("an unknown user is an error", res.returncode == 1 and "nobody-of-this-name" in res.stderr, res)
    unknown.remove()


def other_starts(tally):
    """As root without a user, and as somebody else from the start."""
    with Own(user=None) as meter:
        check_worker(tally, "without a user", meter.process.pid, 0, OF_ROOT)
        (executor,) = meter.children()
        seen = status(executor)
        tally.check("an executor without programs gets none", seen["NoNewPrivs"] == "1" and seen["CapBnd"] == "0" * 16, seen)
        tally.check("it may set the clock and no more", int(seen["CapEff"], 16) == SYS_TIME, seen["CapEff"])
    meter = Own(user=None, demo=True)
    for path in (meter.dir, meter.state, *(os.path.join(meter.state, it) for it in os.listdir(meter.state))):
        os.chown(path, UID, UID)
    command = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", BINARY, "--config", meter.config]
    with open(os.path.join(meter.dir, "log"), "a") as log:
        meter.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=meter.dir)
    meter.port = int(meter.process.stdout.readline().rsplit(":", 1)[1])
    seen = status(meter.process.pid)
    confined = (seen["NoNewPrivs"], seen["Seccomp"], int(seen["CapEff"], 16)) == ("1", "2", 0)
    tally.check("a bench of an ordinary user is confined too", confined, seen)
    tally.check("and works", "token" in meter.db(action="zero"))
    meter.remove()


MUST_FAIL = {
    "read /etc/shadow": "Permission denied",
    "read a program": "Permission denied",
    "list the root": "Permission denied",
    "write beside the state": "Permission denied",
    "write the configuration": "Permission denied",
    "set the clock": "Operation not permitted",
    "start a shell": "Operation not permitted",
    "become a shell": "Operation not permitted",
    "fork": "",
    "open a raw socket": "Operation not permitted",
    "become root": "Operation not permitted",
    "listen on a port": "Permission denied",
    "speak to an abstract socket": "Operation not permitted",
}
MUST_WORK = (
    "write the state",
    "remove it",
    "read the configuration",
    "read resolv.conf",
    "see the interfaces",
    "start a thread",
    "send a datagram",
    "connect",
)


def probe(meter, *options):
    """What the probe tried, and how each attempt ended."""
    res = subprocess.run([PROBE, *options, meter.config], capture_output=True, text=True, timeout=60)
    if res.returncode:
        raise RuntimeError(f"{PROBE}: {res.stderr}")
    return dict(line.split(": ", 1) for line in res.stdout.splitlines())


def from_inside(tally):
    version = landlock_version()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = [f"127.0.0.1:{free.getsockname()[1]}"]
    meter = Own(listen=listen, platform={"hwclock": ["/usr/bin/id", "-u"]})
    for what, ended in probe(meter, "--unconfined").items():
        possible = "Invalid argument" in ended or "invalid" in ended if what == "set the clock" else ended == "ok"
        tally.check(f"unconfined one can {what}", possible, ended)
    confined = probe(meter)
    for what, why in MUST_FAIL.items():
        # What only a newer kernel forbids.
        if (what == "listen on a port" and version < 4) or (what == "speak to an abstract socket" and version < 6):
            continue
        ended = confined[what]
        tally.check(f"confined one cannot {what}", ended != "ok" and why in ended, ended)
    for what in MUST_WORK:
        tally.check(f"confined one can {what}", confined[what] == "ok", confined[what])
    ran = confined["have a program run"]
    tally.check("the executor runs what is configured, as root", ran == "0", ran)
    tally.check("and sets the clock", "beyond what this meter's clock takes" in confined["have the clock set"], confined)
    meter.remove()


def landlock_version():
    res = ctypes.CDLL(None, use_errno=True).syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    return max(res, 0)


def without(number):
    """Makes a system call look missing from now on, to this process and what it starts."""
    ret, jeq, load, allow, nosys = 0x06, 0x15, 0x20, 0x7FFF0000, 0x00050000 | 38
    steps = [(load, 0, 0, 0), (jeq, 0, 1, number), (ret, 0, 0, nosys), (ret, 0, 0, allow)]
    code = b"".join(struct.pack("=HBBI", *it) for it in steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(steps), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    # As root; PR_SET_SECCOMP with SECCOMP_MODE_FILTER.
    if libc.prctl(22, 2, ctypes.c_char_p(program), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


def older_kernels(tally):
    """A kernel that lacks a part: one line in the log, and the service serves."""
    seccomp = {"x86_64": 317, "aarch64": 277}[platform.machine()]
    for number, line, others in ((444, NO_LANDLOCK, "2"), (seccomp, NO_SECCOMP, None)):
        meter = Own()
        with open(os.path.join(meter.dir, "log"), "a") as log:
            command = [BINARY, "--config", meter.config]
            start = lambda: without(number)
            meter.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, preexec_fn=start)
        meter.port = int(meter.process.stdout.readline().rsplit(":", 1)[1])
        tally.check(f"\"{line}\" is said once", meter.read_log().count(line) == 1, meter.read_log())
        tally.check("and the service serves", "token" in meter.db(action="zero"))
        seen = status(meter.process.pid)
        tally.check("as its user", seen["Uid"].split()[0] == str(UID) and int(seen["CapEff"], 16) == 0, seen)
        meter.remove()


def main():
    tally = Tally()
    if not shutil.which("setpriv") or os.geteuid() != 0:
        raise SystemExit("FAIL  this needs root, and setpriv")
    for part in (two_processes, ends, other_starts, from_inside, older_kernels):
        part(tally)
    tally.close()


main()
