"""A meter in QEMU with two slots: it starts from the one that its boot disk names, and no other root is there.

    with SlotVm("x86", path) as vm:      # the root file system of `path` is in slot a
        vm.selection()                   # the slots that may be started, the best first
        vm.holds("b", content)           # whether slot b begins with this content, on the disk itself

What the meter has written and synced is in the files of its disks, so a test sees from outside how far it is, to the
sector. The boot disk's format is told in overlay/sbin/install-slot, the start in image.py.
"""

import hashlib
import os

from vm import Vm

SECTOR = 512
# What a slot is larger than the first image, and what the boot disk has.
SPARE = 1024 * 1024


class SlotVm(Vm):
    """One machine with a boot disk, two slots and a persistent disk."""

    def __init__(self, arch, firmware):
        super().__init__(arch)
        with open(firmware, "rb") as file:
            content = file.read()
        self.slot_bytes = len(content) + SPARE
        for name, length in {"boot": SPARE, "slot-a": self.slot_bytes, "slot-b": self.slot_bytes}.items():
            with open(self.path(name), "wb") as file:
                file.truncate(length)
        self.overwrite("a", 0, content)
        self.select(("a", content))

    def system_disks(self):
        # The one that the initrd waits for is the last that it meets.
        return {name: self.path(name) for name in ("slot-a", "slot-b", "boot")}

    def select(self, *slots):
        """Names the slots that may be started, the best first, each with what it is to hold; while the power is off."""
        lines = [f"{slot} {len(content)} {hashlib.sha256(content).hexdigest()}" for slot, content in slots]
        with open(self.path("boot"), "r+b") as file:
            file.write("\n".join(lines).ljust(SECTOR - 1).encode() + b"\n")

    def selection(self):
        with open(self.path("boot"), "rb") as file:
            return [line.split()[0] for line in file.read(SECTOR).decode().splitlines() if line.strip()]

    def holds(self, slot, content, at=0):
        """Whether a slot has this content at this place."""
        with open(self.path(f"slot-{slot}"), "rb") as file:
            file.seek(at)
            return file.read(len(content)) == content

    def overwrite(self, slot, at, content):
        """Changes a slot from outside, as a medium that fails does."""
        with open(self.path(f"slot-{slot}"), "r+b") as file:
            file.seek(at)
            file.write(content)

    def running(self):
        """The slot that the meter has started from, as it says itself."""
        return self.out("cat /etc/slot")
