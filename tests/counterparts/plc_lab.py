"""What the HomePlug tests stand on: a powerline in a network namespace, the emulated bridges on it, a capture of its
frames, and a neighbour at its other end. It does not know what the service should do with any of them.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time

from plc_bridge import Line, bridges, ethernet

HOST = "02:00:00:00:00:10"
LOCAL, SECOND = "00:b0:52:ba:be:56", "00:b0:52:ba:be:55"
NEAR, FAR, ABSENT = "00:b0:52:ba:be:57", "00:b0:52:ba:be:58", "00:b0:52:ba:be:99"
DEK = {NEAR: "ABCD-EFGH-IJKL-MNOP", FAR: "K7M2-9XQ4-0ABZ-11YY", ABSENT: "ZZZZ-ZZZZ-ZZZZ-ZZZZ"}
WRONG = "JKLZ-XCVB-NMQW-ERTY"
NEW = "secret pass"


def sh(*command, timeout=20):
    run = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    return run.returncode, run.stdout + run.stderr


def must(*command):
    code, said = sh(*command)
    if code:
        raise RuntimeError(f"{' '.join(command)}: {said}")


def make_powerline():
    must("mount", "-t", "sysfs", "sysfs", "/sys")
    must("ip", "link", "set", "lo", "up")
    must("ip", "link", "add", "plc0", "address", HOST, "type", "veth", "peer", "name", "plc1")
    for name in ("plc0", "plc1"):
        with open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "w") as file:
            file.write("1")
        must("ip", "link", "set", name, "up")


class Powerline:
    """The emulator on plc1 for the length of a `with`."""

    def __init__(self, local=(LOCAL,), **options):
        self.line = Line(*ethernet("plc1"), bridges(local, [f"{it}/{DEK[it]}" for it in (NEAR, FAR)]), **options)

    def __enter__(self):
        return self.line.start()

    def __exit__(self, *_):
        self.line.stop()


class Capture:
    """What went over an interface during a `with`, for tshark."""

    def __init__(self, interface="plc0"):
        self.interface = interface

    def __enter__(self):
        self.file = tempfile.NamedTemporaryFile(prefix="meterd-test-", suffix=".pcap")
        os.chmod(self.file.name, 0o666)
        command = ["dumpcap", "-q", "-P", "-i", self.interface, "-w", self.file.name]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        for text in self.process.stderr:
            if text.startswith("File:"):
                return self
        raise RuntimeError("dumpcap does not begin")

    def __exit__(self, *_):
        time.sleep(1)  # The last packets are on their way through the kernel's ring.
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=20)

    def read(self, show, *fields):
        command = ["tshark", "-r", self.file.name, "-Y", show, "-T", "fields"]
        for name in fields:
            command += ["-e", name]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return [line.split("\t") for line in run.stdout.splitlines()]


class Neighbour:
    """A machine of its own behind plc2, the meter's only way to it; it has the bridges and a client of the meter."""

    ADDRESSES = {"10.8.0.1": "10.8.0.1", "an IPv6 link-local address": "fe80::8:1%plc3"}

    def __enter__(self):
        self.processes = [subprocess.Popen(["unshare", "-n", "sleep", "300"])]
        pid = str(self.processes[0].pid)
        deadline = time.monotonic() + 10
        while os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            if deadline < time.monotonic():
                raise RuntimeError("no namespace for the neighbour")
            time.sleep(0.01)
        self.within = ["nsenter", "-t", pid, "-n"]
        must("ip", "link", "add", "plc2", "type", "veth", "peer", "name", "plc3", "netns", pid)
        for within, name, last in (([], "plc2", 1), (self.within, "plc3", 2)):
            must(*within, "ip", "link", "set", name, "addrgenmode", "none", "up")
            must(*within, "ip", "address", "add", f"10.8.0.{last}/24", "dev", name)
            must(*within, "ip", "address", "add", f"fe80::8:{last}/64", "dev", name, "nodad")
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.kill()
            process.wait()
        sh("ip", "link", "del", "plc2")

    def bridges(self):
        """An emulator with fresh bridges; to be killed."""
        remote = [f"--remote={it}/{DEK[it]}" for it in (NEAR, FAR)]
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "plc_bridge.py")
        command = [*self.within, sys.executable, script, "plc3", f"--local={LOCAL}", *remote]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        if LOCAL not in process.stdout.readline():
            raise RuntimeError("the emulator does not start")
        return process

    def ask(self, address, port, token, body):
        """Has the neighbour send the command: the reply's JSON."""
        script = (
            "import http.client, sys; line = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=20);"
            "fields = {'Authorization': 'Bearer ' + sys.argv[3], 'Host': 'meter'};"
            "line.request('POST', '/api/cmd/homeplug', sys.stdin.read(), fields);"
            "print(line.getresponse().read().decode())"
        )
        command = [*self.within, sys.executable, "-c", script, address, str(port), token]
        run = subprocess.run(command, input=json.dumps(body), capture_output=True, text=True, timeout=30)
        try:
            return json.loads(run.stdout)
        except ValueError:
            return {"no reply": run.stdout + run.stderr}
