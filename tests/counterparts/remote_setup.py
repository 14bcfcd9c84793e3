"""What the tests of remote devices stand on: a network of their own, their servers, and a test to its end."""

import os
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def namespace():
    """Runs this script again with a network and a resolver of its own, which end with it."""
    if os.environ.get("METERD_TEST_NAMESPACE") != str(os.getppid()):
        env = dict(os.environ, METERD_TEST_NAMESPACE=str(os.getpid()))
        raise SystemExit(subprocess.run(["unshare", "-n", "-m", sys.executable, *sys.argv], env=env).returncode)
    # What goes to 10.9.0.7 arrives nowhere; to 10.8.0.0/24 there is no way.
    for command in (
        "link set lo up",
        "link add void0 type veth peer name void1",
        "addr add 10.9.0.1/24 dev void0",
        "link set void0 up",
        "link set void1 up",
        "neigh add 10.9.0.7 lladdr 02:00:00:00:00:07 dev void0",
        "route add unreachable 10.8.0.0/24",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    with tempfile.NamedTemporaryFile("w", prefix="meterd-test-") as file:
        file.write("nameserver 10.9.0.7\n")
        file.flush()
        subprocess.run(["mount", "--bind", file.name, "/etc/resolv.conf"], check=True)


class Servers:
    """Folder and processes of a run; all end with it."""

    def __init__(self):
        self.dir = tempfile.TemporaryDirectory(prefix="meterd-test-")
        self.processes = []
        self.files = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for it in self.processes:
            it.kill()
            it.wait()
        self.dir.cleanup()

    def path(self, name):
        return os.path.join(self.dir.name, name)

    def file(self, content):
        self.files += 1
        path = self.path(f"registers{self.files}")
        with open(path, "wb") as file:
            file.write(content)
        return path

    def start(self, *command):
        with open(self.path("log"), "ab") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log))

    def pymodbus(self, kind, where, *devices):
        script = os.path.join(HERE, "sunspec_device.py")
        self.start(sys.executable, script, kind, str(where), *[f"{unit}:{base}:{path}" for unit, base, path in devices])

    def pymodbus_tcp(self, *devices):
        port = free_port()
        self.pymodbus("tcp", port, *devices)
        return listening(port)

    def on_line(self, path):
        """Until the program that was started last has this end of a line open."""
        path, folder = os.path.realpath(path), f"/proc/{self.processes[-1].pid}/fd"
        wait_for(lambda: path in [os.path.realpath(f"{folder}/{it}") for it in os.listdir(folder)], path)

    def libmodbus(self):
        program = self.path("modbus_server")
        source = os.path.join(HERE, "modbus_server.c")
        flags = subprocess.run(
            ["pkg-config", "--cflags", "--libs", "libmodbus"], capture_output=True, text=True, check=True
        )
        subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-o", program, source, *flags.stdout.split()], check=True)
        return program

    def pty_pair(self, name):
        """Two ends of a line: the service's, and the device's."""
        ends = [self.path(f"{name}-{it}") for it in ("meter", "device")]
        self.start("socat", *[f"pty,raw,echo=0,link={it}" for it in ends])
        wait_for(lambda: all(map(os.path.exists, ends)), "socat's line")
        return ends


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as it:
        return it.getsockname()[1]


def wait_for(condition, what, timeout=30):
    until = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError(f"{what}: does not come")
        time.sleep(0.02)


def listening(port):
    def is_there():
        with socket.socket() as it:
            return it.connect_ex(("127.0.0.1", port)) == 0

    wait_for(is_there, f"port {port}")
    return port


def bound(port):
    """The same without a connection, which the program would take for a client."""

    def is_there():
        with open("/proc/net/tcp") as table:
            return any(f":{port:04X} 00000000:0000 0A" in it for it in table)

    wait_for(is_there, f"port {port}")


def begin(meter, linktype, address):
    return meter.call("POST", "/cmd/test-remote", {"linktype": linktype, "address": address})


class Outcome:
    """A test to its end."""

    def __init__(self, meter, linktype, address, timeout=60):
        start = time.monotonic()
        reply = begin(meter, linktype, address)
        self.replied = time.monotonic() - start
        self.reply = reply
        status = meter.finish(reply["token"], timeout) if "token" in reply else {}
        self.took = time.monotonic() - start
        self.tag = status.get("error", "")
        self.error = " ".join(status.get("args", []))
        self.result = status.get("result") or {"trace": [], "regs": []}
        self.regs = {it["name"]: it for it in self.result["regs"]}
        self.last = self.result["trace"][-1]["msg"] if self.result["trace"] else ""

    def __str__(self):
        return f"{self.tag} {self.error!r} {self.took:.1f} s, {len(self.regs)} registers, {self.result['trace'][-3:]}"


def modbus(port, unit=1):
    return f"sunspec.{unit}@127.0.0.1:{port}"
