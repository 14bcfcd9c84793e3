"""An SNTP server on loopback whose time is wrong by as much as a test asks for; the host's clock is only read."""

import socket
import struct
import threading
import time

# Seconds from 1900 to 1970.
NTP_EPOCH = 2_208_988_800


class NtpServer:
    """Answers on `port` until it is closed. `offset` is in seconds and may be changed at any time."""

    def __init__(self, offset=0.0):
        self.offset = offset
        self.asked = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def now(self):
        """The time that this server believes in."""
        return time.time() + self.offset

    def serve(self):
        while True:
            try:
                request, peer = self.socket.recvfrom(512)
                if len(request) >= 48 and request[0] & 7 == 3:
                    self.asked += 1
                    self.socket.sendto(self.answer(request), peer)
            except OSError:
                # Closed, perhaps between a question and its answer.
                return

    def answer(self, request):
        """Mode 4, stratum 1 (RFC 5905, section 7.3); the client's transmit stamp comes back as the origin."""
        stamp = lambda at: struct.pack("!Q", int((at + NTP_EPOCH) * 2**32) & (2**64 - 1))
        now = self.now()
        head = struct.pack("!BBbbII4s", 4 << 3 | 4, 1, request[2], -20, 0, 0, b"TEST")
        return head + stamp(now - 1) + request[40:48] + stamp(now) + stamp(self.now())

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
