"""An emulated powerline: the bridges beside a meter, the ones at the far end, and what can go wrong with them.

It is written from the description of the messages and shares no code with the service; homeplug.py first has Debian's
plctool and int6k talk to it. Frames come and go through two functions, so it also works over anything but Ethernet.

    plc_bridge.py INTERFACE [--local MAC]... [--remote MAC/DEK]... [--password PASSWORD]
"""

import argparse
import hashlib
import heapq
import socket
import threading
import time
from dataclasses import dataclass, field

ETHERTYPE = 0x88E1
OUI = bytes.fromhex("00b052")
ALL_LOCAL = bytes.fromhex("00b052000001")
EVERYBODY = b"\xff" * 6
SHORTEST = 60
WHO, LOOK, KEY = 0xA000, 0xA038, 0xA050
BAD_CHOICE, REMOTE_FAILURE, WRONG_ACCESS_KEY = 0x10, 0x13, 0x15


def derive(text, salt):
    digest = hashlib.sha256(text.encode() + bytes.fromhex(salt)).digest()
    for _ in range(999):
        digest = hashlib.sha256(digest).digest()
    return digest[:16]


def network_key(password):
    return derive(password, "08856daf7cf58186")


def access_key(dek):
    return derive(dek, "08856daf7cf58185")


def network_id(key):
    for _ in range(5):
        key = hashlib.sha256(key).digest()
    return key[:6] + bytes([key[6] >> 4])


def mac_bytes(text):
    return bytes.fromhex(text.replace(":", ""))


def mac_text(mac):
    return mac.hex(":")


@dataclass
class Bridge:
    """One device: a local one hears the meter, a remote one only the powerline."""

    mac: bytes
    key: bytes
    access: bytes = b""
    local: bool = False


@dataclass
class Fault:
    """What goes wrong when the key of one bridge is set."""

    done: bool = True  # The key is taken.
    mute: bool = False  # No answer.
    late: float = 0  # Seconds before the answer.
    copies: int = 1  # How often the answer comes.
    gap: float = 0.02  # Seconds between the copies.
    status: int = None  # The status instead of the true one.
    length: int = None  # The answer is cut to so many bytes.
    times: int = 1 << 30  # How often this happens.


@dataclass
class Line:
    """The powerline with its bridges. `send` takes a frame; `receive` takes seconds and returns a frame or None."""

    send: object
    receive: object
    bridges: list
    faults: dict = field(default_factory=dict)  # By MAC as text.
    layouts: tuple = (0, 1)  # Header versions in which the network is listed.
    silent: bool = False  # Nobody answers anything.
    noise: bool = False  # Frames that mean nothing come by the thousand.
    settle: float = 0  # Seconds that a bridge is deaf after it took a key.
    seen: list = field(default_factory=list)  # (time, frame) of every request.

    def __post_init__(self):
        self.queue = []
        self.deaf = {}
        self.count = 0
        self.stopped = threading.Event()

    def start(self):
        self.threads = [threading.Thread(target=it, daemon=True) for it in (self.run, self.make_noise)]
        for thread in self.threads:
            thread.start()
        return self

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def run(self):
        while not self.stopped.is_set():
            wait = 0.05
            while self.queue and self.queue[0][0] <= time.monotonic():
                self.send(heapq.heappop(self.queue)[2])
            if self.queue:
                wait = max(0, min(wait, self.queue[0][0] - time.monotonic()))
            frame = self.receive(wait)
            if frame:
                self.handle(frame)

    def later(self, seconds, frame):
        self.count += 1
        heapq.heappush(self.queue, (time.monotonic() + seconds, self.count, frame))

    def handle(self, frame):
        to, host, kind = frame[:6], frame[6:12], int.from_bytes(frame[15:17], "little")
        version = frame[14]
        start = 20 if version == 0 else 22
        if len(frame) < SHORTEST or frame[12:14] != b"\x88\xe1" or version > 1 or frame[start - 3 : start] != OUI:
            return
        self.seen.append((time.monotonic(), frame))
        if self.silent:
            return
        for bridge in self.bridges:
            meant = to == bridge.mac or to == EVERYBODY or (to == ALL_LOCAL and bridge.local)
            # A remote bridge is reached by frames only as a member of a local one's network.
            joined = bridge.local or any(it.local and it.key == bridge.key for it in self.bridges)
            if not meant or not joined or self.deaf.get(bridge.mac, 0) > time.monotonic():
                continue
            if kind == WHO and version == 0:
                self.answer(bridge, host, kind, 0, self.version_text())
            elif kind == LOOK and version in self.layouts:
                self.answer(bridge, host, kind, version, self.network(bridge, version))
            elif kind == KEY and version == 0:
                self.set_key(bridge, host, frame)

    def answer(self, bridge, host, kind, version, body, late=0.002, length=None):
        head = host + bridge.mac + ETHERTYPE.to_bytes(2, "big") + bytes([version]) + (kind + 1).to_bytes(2, "little")
        frame = (head + (b"\0\0" if version else b"") + OUI + body).ljust(SHORTEST, b"\0")
        self.later(late, frame[:length])

    @staticmethod
    def version_text():
        text = b"QCA7420-EMULATED"
        return bytes([0, 0x20, len(text)]) + text.ljust(254, b"\0") + bytes(12)

    def network(self, bridge, version):
        others = [it for it in self.bridges if it is not bridge and it.key == bridge.key]
        nid = network_id(bridge.key)
        if version == 0:
            body = bytes([1]) + nid + bytes([1, 1, 2]) + bridge.mac + bytes([1, len(others)])
            for number, it in enumerate(others, 2):
                body += it.mac + bytes([number]) + bytes(6) + bytes([100, 90])
            return body
        inner = nid + bytes(2) + bytes([1, 1]) + bytes(4) + bytes([2]) + bridge.mac + bytes([1]) + bytes(3)
        inner += bytes([len(others)]) + bytes(5)
        for number, it in enumerate(others, 2):
            rate = (142).to_bytes(2, "little")
            inner += it.mac + bytes([number]) + bytes(3) + bytes(6) + rate + bytes([0, 0]) + rate + bytes(2)
        return bytes(2) + (len(inner) + 1).to_bytes(2, "little") + bytes([0, 1]) + inner

    def set_key(self, bridge, host, frame):
        key, choice, remote, access = frame[21:37], frame[37], frame[38:44], frame[44:60]
        if choice == 0x0F:
            target, status = bridge, 0
        elif choice == 0x00:
            reached = [it for it in self.bridges if it.mac == remote and not it.local and it.key == bridge.key]
            target = reached[0] if reached else None
            if target is None or self.deaf.get(remote, 0) > time.monotonic():
                status = REMOTE_FAILURE
            else:
                status = 0 if target.access == access else WRONG_ACCESS_KEY
        else:
            target, status = None, BAD_CHOICE
        fault = self.faults.get(mac_text(bridge.mac if choice == 0x0F else remote), Fault())
        if fault.times < 1:
            fault = Fault()
        fault.times -= 1
        status = status if fault.status is None else fault.status
        if target and status == 0 and fault.done:
            target.key = key
            self.deaf[target.mac] = time.monotonic() + self.settle
        if not fault.mute:
            for number in range(fault.copies):
                late = fault.late + number * fault.gap + 0.002
                self.answer(bridge, host, KEY, 0, bytes([status]), late, fault.length)

    def make_noise(self):
        """Frames near enough to the awaited answers that a careless reader would take them."""
        # Not without a pause: this program has to answer as well.
        while not self.stopped.wait(0.001 if self.noise and self.seen else 0.05):
            if not self.noise or not self.seen:
                continue
            host, own = self.seen[-1][1][6:12], next(it.mac for it in self.bridges if it.local)
            stranger = own[:5] + bytes([own[5] ^ 0x40])
            good = bytes.fromhex("88e10051a000b0527f")
            for frame in (
                host + stranger + good,  # Not from the bridge.
                host + own + good[:4] + b"\xa1" + good[5:],  # Another message.
                host + own + good[:2] + b"\x01" + good[3:],  # Another header.
                host + own + good[:5] + b"\x00\x1f\x84" + good[8:],  # Another vendor.
                EVERYBODY + own + good,  # For everybody.
                mac_bytes("02:00:00:00:00:77") + own + good,  # For another machine.
            ):
                self.send(frame.ljust(SHORTEST, b"\0"))
            self.send(host + own + good)  # Too short.


def ethernet(interface):
    """The two functions for a real interface."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    raw.bind((interface, ETHERTYPE))

    def send(frame):
        try:
            raw.send(frame)
        except OSError:
            pass  # The link is down, or its queue is full: a frame is lost, as on a real line.

    def receive(seconds):
        raw.settimeout(max(seconds, 0.001))
        try:
            return raw.recv(2048)
        except (TimeoutError, OSError):
            return None

    return send, receive


def bridges(local, remote, password="HomePlugAV"):
    """Bridges of one network: `local` are MACs, `remote` are MAC/DEK."""
    key = network_key(password)
    res = [Bridge(mac_bytes(it), key, local=True) for it in local]
    for it in remote:
        mac, dek = it.split("/")
        res.append(Bridge(mac_bytes(mac), key, access_key(dek)))
    return res


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("interface")
    parser.add_argument("--local", action="append", default=[])
    parser.add_argument("--remote", action="append", default=[])
    parser.add_argument("--password", default="HomePlugAV")
    args = parser.parse_args()
    line = Line(*ethernet(args.interface), bridges(args.local, args.remote, args.password)).start()
    last = None
    while True:
        now = " ".join(f"{mac_text(it.mac)}={network_id(it.key).hex()}" for it in line.bridges)
        if now != last:
            print(now, flush=True)
            last = now
        time.sleep(0.1)


if __name__ == "__main__":
    main()
