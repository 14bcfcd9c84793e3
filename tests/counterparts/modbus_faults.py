"""Modbus devices that do wrong: over TCP and on a pseudo terminal, each with one way to spoil its answers."""

import os
import select
import socket
import struct
import threading
import time
import tty


def crc(data):
    res = 0xFFFF
    for byte in data:
        res ^= byte
        for _ in range(8):
            res = (res >> 1) ^ 0xA001 if res & 1 else res >> 1
    return struct.pack("<H", res)


class Registers:
    """A file of registers from `base` on; answers requests for holding registers like any server."""

    def __init__(self, content=b"", base=40000):
        self.content, self.base = content, base

    def answer(self, pdu):
        function, address, count = struct.unpack(">BHH", pdu[:5])
        start, end = 2 * (address - self.base), 2 * (address - self.base + count)
        if function != 3:
            return bytes([function | 0x80, 1])
        if start < 0 or len(self.content) < end:
            return bytes([function | 0x80, 2])
        return bytes([function, 2 * count]) + self.content[start:end]


class Tcp:
    """A server that hands every request to `spoil(connection, number of the request, header, good answer)`."""

    def __init__(self, spoil, content=b"", base=40000):
        self.registers, self.spoil = Registers(content, base), spoil
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        number = 0
        try:
            with connection:
                while True:
                    request = connection.recv(260)
                    if not request:
                        return
                    number += 1
                    answer = self.registers.answer(request[7:])
                    head = request[:4] + struct.pack(">HB", len(answer) + 1, request[6])
                    if self.spoil(connection, number, head, answer) == "close":
                        return
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def good(connection, _, head, answer):
    connection.sendall(head + answer)


def silent(*_):
    pass


def silent_after(times):
    def spoil(connection, number, head, answer):
        if number <= times:
            connection.sendall(head + answer)

    return spoil


def refuse(code):
    def spoil(connection, _, head, answer):
        connection.sendall(head[:4] + struct.pack(">HBBB", 3, head[6], answer[0] | 0x80, code))

    return spoil


def wrong_transaction(connection, _, head, answer):
    connection.sendall(bytes([head[0] ^ 0x40]) + head[1:] + answer)


def wrong_unit(connection, _, head, answer):
    connection.sendall(head[:6] + bytes([head[6] ^ 1]) + answer)


def wrong_length(connection, _, head, answer):
    connection.sendall(head + answer[:1] + bytes([answer[1] ^ 6]) + answer[2:])


def short(connection, _, head, answer):
    connection.sendall((head + answer)[:-3])


def short_and_gone(connection, number, head, answer):
    short(connection, number, head, answer)
    return "close"


def gone(*_):
    return "close"


def banner(connection, *_):
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def endless(connection, number, head, answer):
    """From the second request on, messages without end that answer the first one."""
    if number == 1:
        connection.sendall(head + answer)
        return
    late = struct.pack(">HHHB", struct.unpack(">H", head[:2])[0] - number + 1, 0, 3, head[6]) + b"\x83\x02"
    while True:
        connection.sendall(late * 100)


def garbage(connection, *_):
    while True:
        connection.sendall(bytes(range(256)) * 16)


def one_by_one(connection, _, head, answer):
    for byte in head + answer:
        connection.sendall(bytes([byte]))
        time.sleep(0.002)


def slowly(pause):
    def spoil(connection, _, head, answer):
        time.sleep(pause)
        connection.sendall(head + answer)

    return spoil


class Rtu:
    """A device with unit 1 on a pseudo terminal, whose other end is `path`: `spoil(write, number, request, answer)`."""

    def __init__(self, spoil, content=b"", base=40000, unit=1):
        self.registers, self.spoil, self.unit = Registers(content, base), spoil, unit
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.path = os.ttyname(self.slave)
        self.over = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        number, request = 0, b""
        while not self.over:
            if select.select([self.master], [], [], 0.05)[0]:
                request += os.read(self.master, 512)
            if len(request) >= 8:
                frame, request = request[:8], b""
                if frame[0] == self.unit and crc(frame[:6]) == frame[6:]:
                    number += 1
                    body = frame[:1] + self.registers.answer(frame[1:6])
                    self.spoil(lambda data: os.write(self.master, data), number, frame, body + crc(body))

    def unplug(self):
        """The adapter is pulled out."""
        self.over = True
        self.thread.join()
        os.close(self.master)
        os.close(self.slave)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.over:
            self.unplug()


def rtu_good(write, _, request, answer):
    write(answer)


def rtu_silent(*_):
    pass


def rtu_bad(times=None):
    def spoil(write, number, request, answer):
        spoilt = times is None or number <= times
        write(answer[:-1] + bytes([answer[-1] ^ 0x10]) if spoilt else answer)

    return spoil


def rtu_every_third_lost(write, number, request, answer):
    if number % 3:
        write(answer)


def rtu_echo(write, _, request, answer):
    write(b"\0" + request[:3])
    time.sleep(0.01)
    write(request[3:])
    time.sleep(0.05)
    write(answer)


def rtu_clean_echo(write, _, request, answer):
    write(request)
    time.sleep(0.4)
    write(answer[:2])
    time.sleep(0.05)
    write(answer[2:])


def rtu_short(write, _, request, answer):
    write(answer[:-3])


def rtu_other_unit(write, _, request, answer):
    body = bytes([9]) + answer[1:-2]
    write(body + crc(body))


def rtu_noise(write, _, request, answer):
    until = time.monotonic() + 1
    while time.monotonic() < until:
        write(b"\x55" * 64)
        time.sleep(0.02)
