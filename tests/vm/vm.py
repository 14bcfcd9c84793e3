"""A meter in QEMU, for tests that need a whole machine: its clock, its radios, its power.

    with Vm("x86") as vm:                    # or "arm"; boots, and returns when meterd answers
        vm.api.call("POST", "/cmd/reboot")   # the API as in tests/counterparts/meter.py, logged in when needed
        vm.rebooted()                        # the guest's own reboot is over
        status, text = vm.sh("date")         # a shell in the guest, over virtio-serial: survives any network change
        text = vm.out("date")                # the same, and a failure is raised
        vm.cut()                             # the power is gone: SIGKILL to QEMU
        vm.start()                           # on the same disk, until meterd answers

`vm.link` is the other end of the guest's eth1 (`recv`, `send`: whole Ethernet frames), `vm.host` the host's loopback as
the guest sees it, `vm.write` puts a file into the guest. Only /data survives a boot. A boot that fails raises BootError
with the console's end. Radios: `vm.radios` and overlay/sbin/ap; NTP: `vm.use_ntp(port)` with ntp_server.py. A meter
with two slots: slots.py.
"""

import base64
import collections
import http.client
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import image

sys.path.insert(0, os.path.join(image.ROOT, "tests", "counterparts"))
from meter import Client  # noqa: E402

# Megabytes: what is left to a 96 MB PC after its kernel is what a 64 MB meter has.
RAM = {"x86": 96, "arm": 64}
DISK_BYTES = 256 * 1024 * 1024
# A guest that really has hardware help is up long before.
KVM_SECONDS = 10


class BootError(RuntimeError):
    """The guest did not come up; the text ends with its console."""


class Link:
    """The layer-2 link: one datagram is one Ethernet frame. Of frames that nobody fetches the oldest are dropped."""

    def __init__(self, own, peer):
        self.peer = peer
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(own)
        self.frames = collections.deque(maxlen=1000)
        self.arrived = threading.Condition()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            try:
                frame = self.socket.recv(65536)
            except OSError:
                return
            with self.arrived:
                self.frames.append(frame)
                self.arrived.notify()

    def recv(self, timeout=None):
        """The next frame, or None when none came in time."""
        with self.arrived:
            self.arrived.wait_for(lambda: self.frames, timeout)
            return self.frames.popleft() if self.frames else None

    def send(self, frame):
        """Sends a frame; while the guest has no power it is lost, as on a cable."""
        try:
            self.socket.sendto(frame, self.peer)
        except (FileNotFoundError, ConnectionRefusedError):
            pass


class Vm:
    """One machine with one persistent disk."""

    host = "10.0.2.2"
    # For scripts: the process that serves; the one that touches the machine was forked from it, and is the younger.
    worker = "$(pidof meterd | tr ' ' '\\n' | sort -n | head -n 1)"

    def __init__(self, arch, ram=None, binary=None):
        self.arch = arch
        self.ram = ram or RAM[arch]
        debian, name = {"x86": ("amd64", "x86_64"), "arm": ("armhf", "armv7")}[arch]
        self.image = image.build(debian, binary or os.path.join(image.ROOT, "target", "dist", f"meterd-{name}"))
        self.dir = tempfile.mkdtemp(prefix="meterd-vm-")
        self.disk = self.path("data.img")
        with open(self.disk, "wb") as file:
            file.truncate(DISK_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-L", "data", self.disk], check=True)
        self.link = Link(self.path("link"), self.path("link.guest"))
        self.api = Client(None, image.USER, image.PASSWORD)
        self.process = self.agent = None
        self.serial = 0

    def path(self, name):
        return os.path.join(self.dir, name)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        self.cut()
        self.link.socket.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    # Power.

    def start(self, timeout=120):
        """Boots, and waits until the agent is there and meterd answers."""
        kind = accelerator(self.arch)
        if kind == "unknown":
            try:
                self.launch("kvm")
                self.wait_ready(KVM_SECONDS)
                remember("kvm")
                return self
            except BootError:
                self.cut()
                remember(kind := "tcg")
        self.launch(kind)
        return self.wait_ready(timeout)

    def launch(self, kind):
        """Starts QEMU and takes its connection to the agent's port."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.api.port = probe.getsockname()[1]
        self.boot = self.known_boot = None
        self.boots = 0
        self.buffer = b""
        for it in ("console", "link.guest", "agent"):
            if os.path.exists(self.path(it)):
                os.remove(self.path(it))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path("agent"))
            listener.listen(1)
            listener.settimeout(20)
            self.begun = time.monotonic()
            # The guest ends with this process, however that ends.
            args = ["setpriv", "--pdeathsig", "KILL", *self.arguments(kind)]
            with open(self.path("qemu"), "w") as log:
                self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                self.agent, _ = listener.accept()
            except TimeoutError:
                raise self.failure("QEMU does not start") from None

    def arguments(self, kind):
        arm = self.arch == "arm"
        bus = "device" if arm else "pci"
        rom = "" if arm else ",romfile="
        console = "ttyAMA0" if arm else "ttyS0"
        # Debian's kernel spends 13 MB on files of its tracing, and on ARM a quarter of a small meter on a reserve for
        # DMA buffers (CMA); nothing here needs either.
        append = f"console={console} quiet panic=-1 rdinit=/init initcall_blacklist=tracer_init_tracefs"
        append += " cma=0" if arm else ""
        args = ["qemu-system-arm", "-M", "virt"] if arm else ["qemu-system-x86_64", "-M", "pc"]
        args += ["-cpu", "cortex-a7"] if arm else ["-cpu", "host"] if kind == "kvm" else []
        args += ["-accel", kind, "-m", f"{self.ram}M", "-smp", "1"]
        args += ["-nodefaults", "-no-user-config", "-display", "none"]
        args += ["-kernel", self.image.kernel, "-initrd", self.image.initrd, "-append", append]
        args += ["-serial", f"file:{self.path('console')}"]
        args += ["-object", "rng-random,filename=/dev/urandom,id=random", "-device", f"virtio-rng-{bus},rng=random"]
        args += ["-chardev", f"socket,id=agent,path={self.path('agent')}"]
        args += ["-device", f"virtio-serial-{bus}", "-device", "virtserialport,chardev=agent,name=agent"]
        forward = f"user,id=net,hostfwd=tcp:127.0.0.1:{self.api.port}-:80"
        link = f"dgram,id=link,local.type=unix,local.path={self.path('link.guest')}"
        link += f",remote.type=unix,remote.path={self.path('link')}"
        args += ["-netdev", forward, "-netdev", link]
        cards = [("net", "52:54:00:00:00:01"), ("link", "52:54:00:00:00:02")]
        # The kernel names interfaces in the order in which it meets them: `virt` fills its slots from the last one.
        for name, mac in reversed(cards) if arm else cards:
            args += ["-device", f"virtio-net-{bus},netdev={name},mac={mac}{rom}"]
        for serial, file in {**self.system_disks(), "data": self.disk}.items():
            readonly = "on" if serial == "root" else "off"
            args += ["-drive", f"if=none,id={serial},format=raw,readonly={readonly},file={file}"]
            args += ["-device", f"virtio-blk-{bus},drive={serial},serial={serial}"]
        return args

    def system_disks(self):
        """What the system starts from: files by the serials of their disks."""
        return {"root": self.image.root}

    def cut(self):
        """The power fails now."""
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        if self.agent:
            self.agent.close()
        self.process = self.agent = None

    def wait_ready(self, timeout=120):
        """Waits for meterd's first answer and for the end of the init scripts."""
        until = time.monotonic() + timeout
        self.first_answer = None
        while self.known_boot == self.boot or self.first_answer is None:
            # What answers before the guest restarts is the old system.
            fresh = self.known_boot is None or self.known_boot != self.boot
            if self.first_answer is None and fresh and self.answers():
                self.first_answer = time.monotonic() - self.begun
            if until < time.monotonic():
                raise self.failure("the guest is not ready in time")
            self.listen(0.05)
        self.known_boot = self.boot
        self.api.token = None
        return self

    def rebooted(self, timeout=120):
        """Waits until the guest has restarted by itself since the last boot that was waited for, and is ready again."""
        self.begun = time.monotonic()
        return self.wait_ready(timeout)

    def answers(self):
        """Whether meterd answers as it does to a stranger."""
        connection = http.client.HTTPConnection("127.0.0.1", self.api.port, timeout=0.5)
        try:
            connection.request("GET", "/api/auth/unauthorized")
            return connection.getresponse().status == 401
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def wait_api(self, timeout=40):
        """Waits until meterd answers again after something restarted it; older tokens have ended."""
        until = time.monotonic() + timeout
        while not self.answers():
            if until < time.monotonic():
                raise TimeoutError("meterd does not answer\n" + self.sh("logread | tail -n 20")[1])
            time.sleep(0.05)
        self.api.token = None

    def console(self):
        with open(self.path("console"), errors="replace") as file:
            return file.read()

    def failure(self, text):
        """A BootError with everything that may tell why."""
        if self.process and self.process.poll() is not None:
            text += f"; QEMU has ended with {self.process.returncode}"
        with open(self.path("qemu"), errors="replace") as file:
            said = file.read()[-1000:]
        console = self.console()[-2500:] if os.path.exists(self.path("console")) else ""
        return BootError(f"{text}\n--- QEMU:\n{said}\n--- console:\n{console}")

    # The agent.

    def listen(self, timeout):
        """The next line of the agent, or None; notes when it starts."""
        until = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.agent], [], [], left)[0]:
                return None
            data = self.agent.recv(65536)
            if not data:
                raise self.failure("the guest is gone")
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        words = line.decode(errors="replace").split()
        if words[:1] == ["READY"]:
            self.boot = words[1]
            self.boots += 1
            self.uptime = float(words[2])
        return words

    def sh(self, script, timeout=60):
        """Runs a script in the guest: its exit status and what it said."""
        self.serial += 1
        name, boot = str(self.serial), self.boot
        self.agent.sendall(f"{name} {base64.b64encode(script.encode()).decode()}\n".encode())
        until = time.monotonic() + timeout
        while (left := until - time.monotonic()) > 0:
            words = self.listen(left)
            if self.boot != boot:
                raise RuntimeError(f"the guest restarted meanwhile: {script}")
            # An answer to an older script, given up on in time, may still come.
            if words and words[0] == name:
                return int(words[1]), base64.b64decode(words[2] if len(words) > 2 else "").decode(errors="replace")
        raise TimeoutError(f"no answer to: {script}\n{self.console()[-1500:]}")

    def out(self, script, timeout=60):
        """What a script said; raises if it failed."""
        status, text = self.sh(script, timeout)
        if status:
            raise RuntimeError(f"{script}: exit status {status}\n{text}")
        return text.strip()

    def write(self, path, data):
        """Puts a file into the guest."""
        data = data.encode() if isinstance(data, str) else data
        for at in range(0, max(len(data), 1), 30_000):
            part = base64.b64encode(data[at : at + 30_000]).decode()
            self.out(f"echo '{part}' | base64 -d {'>>' if at else '>'} '{path}'")

    def memory(self):
        """What the service uses, by the names of /proc/PID/status, in kB."""
        text = self.out(f"cat /proc/{self.worker}/status")
        return {name: int(size) for name, size in re.findall(r"(Vm\w+|Rss\w+):\s+(\d+) kB", text)}

    def radios(self, wanted):
        """Whether the boots from now on take the seconds that radios and supplicant need; they do at first."""
        self.out("rm -f /data/no-radios; /etc/init.d/S60wlan restart" if wanted else "touch /data/no-radios; sync")

    def use_ntp(self, port):
        """Makes a server on the host's loopback the guest's only NTP source; without a port there is none."""
        line = f"server {self.host} port {port} iburst minpoll 0 maxpoll 1\n" if port else ""
        self.out("mkdir -p /data/chrony")
        self.write("/data/chrony/test.sources", line)
        self.out("/etc/init.d/S45chrony restart")


def accelerator(arch):
    """kvm or tcg, or unknown. That /dev/kvm opens says little: some hosts' KVM cannot run a Debian kernel, so the first
    boot tries it, and the answer is kept as long as the host runs."""
    if arch == "arm" or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    try:
        with open(os.path.join(image.WORK, "accelerator")) as file:
            boot, kind = file.read().split()
            return kind if boot == host_boot() else "unknown"
    except (OSError, ValueError):
        return "unknown"


def remember(kind):
    with open(os.path.join(image.WORK, "accelerator"), "w") as file:
        file.write(f"{host_boot()} {kind}\n")


def host_boot():
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()
