"""The ARM64 binary under qemu-user: it starts, takes a login and a restore, and gives the same rows back. No machine is
booted, so this says nothing of an ARM64 kernel."""

import os
import stat
import subprocess
import sys
import tempfile

import image

QEMU = os.path.join(image.WORK, "arm64", "root", "usr/bin/qemu-aarch64-static")
BINARY = os.path.join(image.ROOT, "target", "dist", "meterd-aarch64")


def main():
    subprocess.run([os.path.join(image.HERE, "packages.sh"), "arm64"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        wrapper = os.path.join(folder, "meterd")
        with open(wrapper, "w") as file:
            file.write(f'#!/bin/sh\nexec "{QEMU}" "{BINARY}" "$@"\n')
        os.chmod(wrapper, os.stat(wrapper).st_mode | stat.S_IXUSR)
        os.environ["METERD"] = wrapper
        check()


def check():
    # Which service is started is settled when this module is loaded.
    sys.path.insert(0, os.path.join(image.ROOT, "tests", "counterparts"))
    from meter import Meter, Tally, backup_text

    tally = Tally()
    with open(BINARY, "rb") as file:
        head = file.read(20)
    tally.check("the binary is for ARM64", head[:5] == b"\x7fELF\x02" and head[18:20] == b"\xb7\x00", head)
    text = backup_text([("Grid", "P")], [(1_700_000_000 + at * 60, [at * 7]) for at in reversed(range(5000))])
    with Meter(demo=False) as meter:
        status = meter.restore(text.encode())
        tally.check("a chunk is restored", "error" not in status, status)
        tally.check("the backup is what was restored", meter.backup() == text)
        tally.check("it ends in order", meter.stop() == 0)
    tally.close()


main()
