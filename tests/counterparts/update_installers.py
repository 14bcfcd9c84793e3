"""Updates through RAUC and SWUpdate of Debian, by the example installers of `init/`, into slots that are plain files.

RAUC's service runs on a D-Bus of its own; nothing of this machine's is touched. It mounts its bundles, so this needs
root, and does so in a mount namespace of its own.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time

from meter import ROOT, Meter, Tally
from publisher import Publisher, remove

SLOT = 5 * 1024 * 1024

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={dir}/bus</listen><auth>EXTERNAL</auth>
<policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>
"""

RAUC = """[system]
compatible=test-meter
bootloader=custom
mountprefix={dir}/mnt
statusfile={dir}/status
bundle-formats=plain
[keyring]
path={dir}/cert.pem
[handlers]
bootloader-custom-backend={dir}/boot
[slot.rootfs.0]
device={dir}/slot-a
type=raw
bootname=A
[slot.rootfs.1]
device={dir}/slot-b
type=raw
bootname=B
"""

BOOT = """#!/bin/sh
cd {dir}
case $1 in
get-primary) cat primary ;;
set-primary) echo "$2" >primary ;;
get-state) cat "state-$2" 2>/dev/null || echo good ;;
set-state) echo "$3" >"state-$2" ;;
esac
"""

SWUPDATE = """software = {{
  version = "4.6";
  hardware-compatibility: [ "1.0" ];
  images: ( {{ filename = "rootfs.img"; device = "{dir}/slot-b"; type = "raw"; sha256 = "{sha}"; }} );
}}
"""


def write(path, content, mode=0o644):
    with open(path, "wb" if isinstance(content, bytes) else "w") as file:
        file.write(content)
    os.chmod(path, mode)


def read(path, length=-1):
    with open(path, "rb") as file:
        return file.read(length)


class Machine:
    """Two slots, of which A runs, a certificate, and RAUC's service."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="meterd-slots-")
        self.publisher = Publisher(os.path.join(self.dir, "vendor"))
        for slot in ("slot-a", "slot-b"):
            write(self.path(slot), b"\0" * SLOT)
        write(self.path("primary"), "A\n")
        os.mkdir(self.path("mnt"))
        self.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", self.path("cert.key"), "-out",
                 self.path("cert.pem"), "-days", "30", "-subj", "/CN=vendor", "-addext", "keyUsage=digitalSignature")
        for name, text, mode in (("dbus.conf", BUS, 0o644), ("system.conf", RAUC, 0o644), ("boot", BOOT, 0o755)):
            write(self.path(name), text.format(dir=self.dir), mode)
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = f"unix:path={self.dir}/bus"
        os.environ["TMPDIR"] = self.dir
        log = open(self.path("log"), "w")
        bus = ["dbus-daemon", f"--config-file={self.dir}/dbus.conf", "--nofork", "--nopidfile"]
        self.processes = [subprocess.Popen(bus, stderr=log)]
        self.wait_for(lambda: os.path.exists(self.path("bus")))
        rauc = ["rauc", f"--conf={self.dir}/system.conf", "--override-boot-slot=A", "service"]
        self.processes.append(subprocess.Popen(rauc, stdout=log, stderr=log))
        self.wait_for(lambda: subprocess.run(["rauc", "status"], capture_output=True).returncode == 0)

    def close(self):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            process.wait()
        self.publisher.close()
        remove(self.dir)

    def wait_for(self, condition):
        deadline = time.monotonic() + 20
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(read(self.path("log")))
            time.sleep(0.05)

    def path(self, name):
        return os.path.join(self.dir, name)

    def run(self, *command, **how):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **how)

    def bundle(self, rootfs):
        """A RAUC bundle."""
        content = tempfile.mkdtemp(dir=self.dir)
        write(os.path.join(content, "rootfs.img"), rootfs)
        manifest = "[update]\ncompatible=test-meter\nversion=4.6\n[image.rootfs]\nfilename=rootfs.img\n"
        write(os.path.join(content, "manifest.raucm"), manifest)
        out = content + ".raucb"
        self.run("rauc", "--cert", self.path("cert.pem"), "--key", self.path("cert.key"), "bundle", content, out)
        return read(out)

    def archive(self, rootfs, sha):
        """An SWUpdate archive; `sha` is what its signed description says of the payload."""
        content = tempfile.mkdtemp(dir=self.dir)
        write(os.path.join(content, "rootfs.img"), rootfs)
        write(os.path.join(content, "sw-description"), SWUPDATE.format(dir=self.dir, sha=sha))
        self.run("openssl", "cms", "-sign", "-in", "sw-description", "-out", "sw-description.sig", "-signer",
                 self.path("cert.pem"), "-inkey", self.path("cert.key"), "-outform", "DER", "-nosmimecap", "-binary",
                 cwd=content)
        names = b"sw-description\nsw-description.sig\nrootfs.img\n"
        packed = subprocess.run(["cpio", "-o", "-H", "crc"], cwd=content, input=names, capture_output=True, check=True)
        return packed.stdout

    def meter(self, *installer):
        identity = {"hardware": "1", "versions": {"fw": "4.5"}}
        update = {"url": self.publisher.url(), "public_key": self.publisher.public_key, "patience_seconds": 3}
        # What the example says is kept: it may say it all between two looks at the status.
        hook = os.path.join(ROOT, "init", installer[0])
        tee = f'{{ {hook} "$@"; echo $? >code; }} | tee said\nexit "$(cat code)"'
        write(self.path("installer"), f"#!/bin/sh\ncd {self.dir}\n{tee}\n", 0o755)
        install = {"install": {"fw": [self.path("installer"), *installer[1:]]}}
        targets = ["127.0.0.0/8"]
        return Meter(demo=False, identity=identity, update=update, platform=install, allow_targets=targets)


def install(meter):
    """Installs to the end: the status."""
    token = meter.call("POST", "/cmd/update", {"action": "install", "target": "fw"})["token"]
    return meter.finish(token)


def steps(machine):
    """The lines of the example installer that say what is being done."""
    words = ("VALIDATE", "EXTRACT", "FLASH", "INSTALL", "FINALIZE")
    return [line for line in read(machine.path("said")).decode().splitlines() if line.startswith(words)]


def rauc(tally, machine):
    publisher = machine.publisher
    rootfs = os.urandom(4 * 1024 * 1024)
    good = machine.bundle(rootfs)
    damaged = bytearray(good)
    damaged[1_000_000] ^= 1
    with machine.meter("install-rauc") as meter:
        for name, bundle in (("damaged", bytes(damaged)), ("no bundle at all", b"x" * 100_000)):
            publisher.publish({"version": "4.6", **publisher.image("fw.raucb", bundle)})
            status = install(meter)
            said = status.get("error") == "INSTALL_FAILED" and "failed" in status["args"][0]
            tally.check(f"RAUC: a bundle that is {name}", said, status)
            print(f"      {status['result']['message']}")
            kept = read(machine.path("primary")) == b"A\n" and not any(read(machine.path("slot-a")))
            tally.check("the old system stays", kept)
        publisher.publish({"version": "4.6", **publisher.image("fw.raucb", good)})
        status = install(meter)
        tally.check("RAUC: installed", "error" not in status, status)
        said = steps(machine)
        tally.check("its steps are told", said == ["FLASH rootfs.1 90%", "FINALIZE 99%"], said)
        tally.check("the other slot has it", read(machine.path("slot-b"), len(rootfs)) == rootfs)
        tally.check("this one is as before", not any(read(machine.path("slot-a"))))
        tally.check("the next boot is the other slot's", read(machine.path("primary")) == b"B\n")


def swupdate(tally, machine):
    publisher = machine.publisher
    rootfs = os.urandom(4 * 1024 * 1024)
    sha = subprocess.run(["sha256sum"], input=rootfs, capture_output=True, check=True).stdout.decode().split()[0]
    before = os.urandom(SLOT)
    write(machine.path("slot-b"), before)
    with machine.meter("install-swupdate", "-k", machine.path("cert.pem"), "-H", "board:1.0", "-i") as meter:
        for name, archive in (("damaged", machine.archive(rootfs[:-1] + b"?", sha)), ("no archive", b"x" * 100_000)):
            publisher.publish({"version": "4.6", **publisher.image("fw.swu", archive)})
            status = install(meter)
            tally.check(f"SWUpdate: one that is {name}", status.get("error") == "INSTALL_FAILED", status)
            print(f"      {status['result']['message'][:200]}")
            tally.check("is found before anything is written", read(machine.path("slot-b")) == before)
        publisher.publish({"version": "4.6", **publisher.image("fw.swu", machine.archive(rootfs, sha))})
        status = install(meter)
        tally.check("SWUpdate: installed", "error" not in status, status)
        said = steps(machine)
        tally.check("its steps are told", said == ["VALIDATE", "FLASH standby 30%", "FINALIZE 100%"], said)
        tally.check("the slot has it", read(machine.path("slot-b"), len(rootfs)) == rootfs)


def main():
    tally = Tally()
    machine = Machine()
    try:
        rauc(tally, machine)
        swupdate(tally, machine)
    finally:
        machine.close()
    tally.close()


if "inside" not in sys.argv:
    os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv, "inside"])
main()
