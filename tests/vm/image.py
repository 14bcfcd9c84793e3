"""Builds what QEMU boots - kernel, small initrd, squashfs root - from unpacked Debian packages, `overlay/`, the
project's own init scripts and a static `meterd`. An image is built again only when one of these has changed. Beside
it, roots for a meter with two slots.

Needs busybox, cpio, mksquashfs and readelf on the host; nothing runs in the foreign architecture.
"""

import glob
import hashlib
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
WORK = os.path.join(ROOT, "target", "vm")
# What the label of the test meter says.
USER, PASSWORD, REALM = "owner", "as on the label", "Meter Administration"
PRIVILEGES = ["unlimited_save", "local_save", "view_settings", "ctrl"]

# Modules of the initrd, then of the system.
BOOT = "virtio_pci virtio_mmio virtio_blk squashfs overlay".split()
MODULES = "virtio_console virtio_net virtio_rng ext4 crc32c_generic rtc_cmos rtc_pl031".split()
PROGRAMS = {
    "amd64": "sbin/wpa_supplicant sbin/wpa_cli usr/sbin/hostapd sbin/iw usr/sbin/chronyd usr/bin/chronyc "
    "usr/sbin/ptp4l usr/sbin/pmc".split(),
    "armhf": [],
}
# The radios, and the ciphers that WPA asks for by name.
RADIO = {"amd64": "mac80211_hwsim ccm gcm cmac ctr aes_generic arc4 michael_mic 8021q".split(), "armhf": []}
INIT = """#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod "/modules/$module"; done
disk() { for it in /sys/block/vd*; do if [ "$(cat "$it/serial")" = "$1" ]; then echo "/dev/${it##*/}"; fi; done; }
root=; boot=; slot=; tries=0
until [ -n "$root$boot" ] || [ "$tries" = 200 ]; do
	root=$(disk root); boot=$(disk boot)
	tries=$((tries + 1)); [ -n "$root$boot" ] || usleep 20000
done
if [ -n "$boot" ]; then
	# Which slots may be started, the best first; see /sbin/install-slot.
	head -c 512 "$boot" >/slots
	while read -r slot bytes sum; do
		root=$(disk "slot-$slot")
		if [ -n "$root" ] && [ "$(head -c "$bytes" "$root" | sha256sum)" = "$sum  -" ]; then break; fi
		echo "initrd: slot $slot does not hold its image"; root=
	done </slots
fi
mount -t squashfs -o ro "$root" /ro || { echo "initrd: no root disk"; exec sh; }
mount -t tmpfs -o size=8m tmpfs /rw; mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work overlay /new
if [ -n "$slot" ]; then echo "$slot" >/new/etc/slot; fi
for it in dev proc sys; do mount --move /$it /new/$it; done
exec switch_root /new /sbin/init
"""


class Image:
    """The three files of one architecture."""

    def __init__(self, arch):
        self.dir = os.path.join(WORK, arch, "image")
        self.kernel = os.path.join(self.dir, "kernel")
        self.initrd = os.path.join(self.dir, "initrd")
        self.root = os.path.join(self.dir, "root.squashfs")


def build(arch, binary):
    """The image of `arch` (amd64 or armhf) with `binary` as its meterd."""
    if not os.path.exists(binary):
        raise SystemExit(f"{binary} is missing; build it first (tests/run names the parts)")
    if subprocess.run([os.path.join(HERE, "packages.sh"), arch], stdout=sys.stderr).returncode:
        raise SystemExit(f"tests/vm/packages.sh {arch} failed; see above")
    image = Image(arch)
    key = fingerprint(arch, binary)
    stamp = os.path.join(image.dir, "key")
    if os.path.exists(stamp) and open(stamp).read() == key:
        return image
    os.makedirs(image.dir, exist_ok=True)
    if os.path.exists(stamp):
        os.remove(stamp)
    source = os.path.join(WORK, arch, "root")
    with tempfile.TemporaryDirectory(dir=os.path.join(WORK, arch)) as tree:
        os.chmod(tree, 0o755)
        populate(source, tree, binary, PROGRAMS[arch], BOOT + MODULES + RADIO[arch])
        squash(tree, image.root)
    with tempfile.TemporaryDirectory(dir=os.path.join(WORK, arch)) as tree:
        make_initrd(source, tree, image.initrd)
    make_kernel(arch, source, image.kernel)
    with open(stamp, "w") as file:
        file.write(key)
    return image


def firmware(arch, binary, folder, versions, settings, radios=False):
    """Roots for the slots of a meter, `FOLDER/VERSION.bin`: each says that it is its version, and is configured with
    `settings` beside what all have. They have what a meter needs, radios only if wanted; nothing in them is compressed,
    since emulation reads faster than it inflates, and a download that is cut several times has to be of some size."""
    programs, modules = (PROGRAMS[arch], BOOT + MODULES + RADIO[arch]) if radios else ([], BOOT + MODULES)
    with tempfile.TemporaryDirectory(dir=os.path.join(WORK, arch)) as tree:
        os.chmod(tree, 0o755)
        populate(os.path.join(WORK, arch, "root"), tree, binary, programs, modules)
        path = os.path.join(tree, "etc/meterd/meterd.json")
        with open(path) as file:
            config = json.load(file)
        for version in versions:
            config["identity"]["versions"]["fw"] = version
            with open(path, "w") as file:
                json.dump({**config, **settings}, file)
            squash(tree, os.path.join(folder, f"{version}.bin"), "-noI", "-noD", "-noF", "-noX")


def squash(tree, target, *options):
    fixed = ["-quiet", "-no-progress", "-noappend", "-all-root", "-comp", "zstd"]
    run("mksquashfs", tree, target, *fixed, *options)


def fingerprint(arch, binary):
    digest = hashlib.sha256()
    overlay = [it for it in glob.glob(f"{HERE}/overlay/**", recursive=True) if os.path.isfile(it)]
    scripts = sorted(glob.glob(f"{ROOT}/init/S*"))
    for path in [__file__, f"{WORK}/{arch}/stamp", binary, *scripts, *sorted(overlay)]:
        with open(path, "rb") as file:
            content = file.read()
        digest.update(f"{path} {os.stat(path).st_mode:o} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def run(*args, **options):
    return subprocess.run(args, check=True, stdout=subprocess.PIPE, **options).stdout


def populate(source, tree, binary, programs, modules):
    """The root file system."""
    for it in "bin sbin usr/bin usr/sbin lib etc proc sys dev run tmp data root var/lib/chrony var/log".split():
        os.makedirs(os.path.join(tree, it), exist_ok=True)
    os.symlink("../run", os.path.join(tree, "var/run"))
    install_busybox(source, tree)
    for it in programs:
        install_program(source, tree, it)
    copy_modules(source, tree, modules)
    shutil.copytree(os.path.join(HERE, "overlay"), tree, dirs_exist_ok=True)
    for it in glob.glob(os.path.join(ROOT, "init", "S*")):
        shutil.copy(it, os.path.join(tree, "etc/init.d"))
    shutil.copy(binary, os.path.join(tree, "usr/sbin/meterd"))
    ha1 = hashlib.md5(f"{USER}:{REALM}:{PASSWORD}".encode()).hexdigest()
    with open(os.path.join(tree, "etc/meterd/factory-users.json"), "w") as file:
        json.dump({"users": [{"name": USER, "ha1": ha1, "privileges": PRIVILEGES}]}, file)


def install_busybox(source, tree):
    """BusyBox and its links where it wants them itself; the host's BusyBox knows the names, whatever the target."""
    copy_busybox(source, tree)
    for applet in run("busybox", "--list-full", text=True).split() + ["sbin/init"]:
        path = os.path.join(tree, applet)
        if os.path.isdir(os.path.dirname(path)) and not os.path.lexists(path):
            os.symlink("/bin/busybox", path)


def copy_busybox(source, tree):
    [binary] = glob.glob(f"{source}/bin/busybox") + glob.glob(f"{source}/usr/bin/busybox")
    shutil.copy(binary, os.path.join(tree, "bin/busybox"))


def install_program(source, tree, path):
    """A program with the shared libraries that it and they need, found in the unpacked packages alone."""
    target = os.path.join(tree, path)
    if os.path.lexists(target):
        os.remove(target)
    shutil.copy(os.path.join(source, path), target)
    waiting = [target]
    while waiting:
        dynamic = run("readelf", "-ldW", waiting.pop(), text=True)
        names = re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
        for loader in re.findall(r"interpreter: /(.*)\]", dynamic):
            place(source, os.path.join(source, loader), os.path.join(tree, loader))
        for name in names:
            found = glob.glob(f"{source}/lib/*-linux-gnu*/{name}") + glob.glob(f"{source}/usr/lib/*-linux-gnu*/{name}")
            if not found:
                raise SystemExit(f"{path} needs {name}, which no package of tests/vm/packages.sh holds")
            # One folder of the loader's own search path holds them all.
            library = os.path.join(tree, "lib", os.path.basename(os.path.dirname(found[0])), name)
            if place(source, found[0], library):
                waiting.append(library)


def place(source, path, target):
    """Copies what `path` leads to unless it is there already. An absolute link means a place in the package."""
    if os.path.exists(target):
        return False
    while os.path.islink(path):
        link = os.readlink(path)
        path = os.path.join(source, link[1:]) if link[0] == "/" else os.path.join(os.path.dirname(path), link)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copy(path, target)
    return True


def kernel_version(source):
    return os.listdir(os.path.join(source, "lib/modules"))[0]


def module_files(source, names):
    """Files of modules in the order in which they can be loaded; what is built in is left out."""
    version = kernel_version(source)
    table = os.path.join(source, "lib/modules", version, "modules.dep")
    if not os.path.exists(table):
        run("busybox", "depmod", "-b", source, version)
    name_of = lambda path: os.path.basename(path).split(".ko")[0].replace("-", "_")
    needs = {}
    with open(table) as file:
        for line in file:
            path, _, rest = line.partition(":")
            needs[name_of(path)] = (path, [name_of(it) for it in rest.split()])
    ordered = []

    def add(name):
        if name in needs and needs[name][0] not in ordered:
            for it in needs[name][1]:
                add(it)
            ordered.append(needs[name][0])

    for it in names:
        add(it)
    return [os.path.join("lib/modules", version, it.split(f"{version}/")[-1]) for it in ordered]


def copy_modules(source, tree, names):
    for it in module_files(source, names):
        os.makedirs(os.path.dirname(os.path.join(tree, it)), exist_ok=True)
        shutil.copy(os.path.join(source, it), os.path.join(tree, it))
    run("busybox", "depmod", "-b", tree, kernel_version(source))


def make_initrd(source, tree, target):
    """BusyBox and the drivers that lead to the root file system."""
    for it in "bin modules proc sys dev ro rw new".split():
        os.mkdir(os.path.join(tree, it))
    copy_busybox(source, tree)
    for it in "sh mount mkdir insmod switch_root cat usleep head sha256sum".split():
        os.symlink("busybox", os.path.join(tree, "bin", it))
    files = module_files(source, BOOT)
    for it in files:
        shutil.copy(os.path.join(source, it), os.path.join(tree, "modules"))
    with open(os.path.join(tree, "modules/order"), "w") as file:
        file.write("\n".join(os.path.basename(it) for it in files))
    with open(os.path.join(tree, "init"), "w") as file:
        file.write(INIT)
    os.chmod(os.path.join(tree, "init"), 0o755)
    names = run("find", ".", cwd=tree)
    archive = run("cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet", input=names, cwd=tree)
    with open(target, "wb") as file:
        file.write(archive)


def make_kernel(arch, source, target):
    """For x86 the ELF kernel inside the compressed one: QEMU starts it directly (PVH), which saves seconds of
    unpacking in emulation."""
    [path] = glob.glob(os.path.join(source, "boot/vmlinuz-*"))
    with open(path, "rb") as file:
        packed = file.read()
    if arch == "amd64":
        at = packed.find(b"\xfd7zXZ\x00")
        packed = lzma.LZMADecompressor().decompress(packed[at:]) if at > 0 else b""
        if packed[:4] != b"\x7fELF":
            raise SystemExit(f"{path}: no ELF kernel packed with xz inside")
    with open(target, "wb") as file:
        file.write(packed)
