"""As much of a supplicant as adding a network takes, on a control socket of its own, with a file that it writes as the
real one does: beside it, synced, renamed, and without a sync of the folder. Every network that has a key is joined.

Usage: supplicant.py SOCKET FILE
"""

import os
import re
import socket
import sys

HEAD = "update_config=1\n"


def read(path):
    with open(path) as file:
        blocks = re.findall(r"network=\{\n(.*?)\n\}", file.read(), re.S)
    return [dict(line.strip().split("=", 1) for line in it.split("\n")) for it in blocks]


def write(path, networks):
    text = HEAD
    for it in networks:
        text += "\nnetwork={\n" + "".join(f"\t{name}={value}\n" for name, value in it.items()) + "}\n"
    fd = os.open(path + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(fd, text.encode())
    os.fdatasync(fd)
    os.close(fd)
    os.rename(path + ".tmp", path)


class Supplicant:
    def __init__(self, path):
        self.path = path
        self.reload()

    def reload(self):
        self.networks = dict(enumerate(read(self.path)))
        self.current = next((at for at, it in self.networks.items() if "disabled" not in it), None)

    def answer(self, question):
        verb, *words = question.split(" ", 3)
        at = int(words[0]) if words and words[0].isdigit() else None
        if verb == "LIST_NETWORKS":
            after = int(words[0].split("=")[1]) if words else -1
            flags = lambda it: "[CURRENT]" * (it == self.current) + "[DISABLED]" * ("disabled" in self.networks[it])
            name = lambda it: bytes.fromhex(self.networks[it].get("ssid", "")).decode()
            lines = [f"{it}\t{name(it)}\tany\t{flags(it)}\n" for it in sorted(self.networks) if after < it]
            return "network id / ssid / bssid / flags\n" + "".join(lines)
        if verb == "ADD_NETWORK":
            at = max(self.networks, default=-1) + 1
            self.networks[at] = {"disabled": "1"}
            return f"{at}\n"
        if verb == "STATUS":
            return f"id={self.current}\nwpa_state=COMPLETED\n"
        if verb == "SET_NETWORK":
            self.networks[at][words[1]] = words[2]
        elif verb == "SELECT_NETWORK":
            self.current = at
            for it in self.networks:
                self.networks[it]["disabled"] = "1"
            del self.networks[at]["disabled"]
        elif verb == "ENABLE_NETWORK":
            for it in self.networks if words[0] == "all" else [at]:
                self.networks[it].pop("disabled", None)
        elif verb == "REMOVE_NETWORK":
            del self.networks[at]
        elif verb == "RECONFIGURE":
            self.reload()
        elif verb == "SAVE_CONFIG":
            try:
                write(self.path, self.networks.values())
            except OSError:
                return "FAIL\n"
        elif verb not in ("DISABLE_NETWORK", "REASSOCIATE"):
            return "FAIL\n"
        return "OK\n"


def main():
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(sys.argv[1])
    supplicant = Supplicant(sys.argv[2])
    while True:
        question, peer = listener.recvfrom(8192)
        try:
            listener.sendto(supplicant.answer(question.decode()).encode(), peer)
        except OSError:
            # Whoever asked has gone.
            pass


if __name__ == "__main__":
    main()
