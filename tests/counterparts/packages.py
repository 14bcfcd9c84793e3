"""What a firmware builder gets: the systemd unit, the external tree for Buildroot, and the packages of `init/dist.sh`.

The unit is judged by systemd-analyze, and a service is run with what it leaves: its capabilities, no new privileges, a
read-only system, a /tmp of its own, and only the system calls that it names. Buildroot itself cannot be had here. Its
macros that the package calls are replaced by a few lines, make runs what the package defines, and cargo resolves the
source package offline; so it is shown that the package does what it says, not that Buildroot takes it.
"""

import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

from meter import BINARY, ROOT, Meter, Tally

INIT = os.path.join(ROOT, "init")
UNIT = os.path.join(INIT, "meterd.service")
TREE = os.path.join(INIT, "buildroot")
# Tenths, as systemd-analyze has it; what is left is what the service is there for: the clock, the network, devices.
EXPOSURE = 35
UID = 61234
MAKEFILE = """
BR2_EXTERNAL_METERD_PATH = %(tree)s
BR2_PACKAGE_METERD_RAUC = y
BR2_PACKAGE_METERD_SWUPDATE = y
INSTALL = install
RUSTC_TARGET_NAME = some-target
TARGET_DIR = %(dir)s/target
cargo-package = $(info is a cargo package)
define sep


endef
include %(tree)s/external.mk
install: @D = %(source)s
install:
	$(METERD_INSTALL_TARGET_CMDS)
	$(foreach hook,$(METERD_POST_INSTALL_TARGET_HOOKS),$($(hook))$(sep))
	$(METERD_INSTALL_INIT_SYSV)
	$(METERD_INSTALL_INIT_SYSTEMD)
show-%%: ; @echo "$($*)"
"""
INSTALLED = {
    "usr/sbin/meterd": 0o755,
    "etc/meterd/meterd.json": 0o644,
    "etc/init.d/S20factory-restore": 0o755,
    "etc/init.d/S50meterd": 0o755,
    "usr/lib/systemd/system/meterd.service": 0o644,
    "usr/libexec/meterd/install-rauc": 0o755,
    "usr/libexec/meterd/install-swupdate": 0o755,
}


def read(*path):
    with open(os.path.join(*path)) as file:
        return file.read()


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, **options)


def settings(name):
    """All values of a setting of the unit."""
    return [word for line in re.findall(rf"^{name}=(.*)$", read(UNIT), re.M) for word in line.split()]


def judge_unit(tally, scratch):
    unit = os.path.join(scratch, "meterd.service")
    with open(unit, "w") as file:
        file.write(read(UNIT).replace("/usr/sbin/meterd", BINARY))
    said = run("systemd-analyze", "verify", unit)
    tally.check("systemd-analyze verifies the unit", said.returncode == 0 and not said.stderr, said.stderr)
    said = run("systemd-analyze", "security", "--offline=yes", f"--threshold={EXPOSURE}", unit)
    # What `run_like_the_unit` does, and update_reboot.py with an installer at work.
    tally.check("it signals the main process alone, not an installer", settings("KillMode") == ["process"])
    last = (said.stdout.strip() or said.stderr).splitlines()[-1]
    print("figure: exposure of the systemd unit", re.search(r"[\d.]+ \w+", last)[0])
    tally.check(f"its exposure is at most {EXPOSURE / 10}", said.returncode == 0, last)


def allowed_calls():
    listed = run("systemd-analyze", "syscall-filter").stdout
    groups = {}
    for block in filter(str.strip, listed.split("\n\n")):
        name, *lines = block.strip().splitlines()
        groups[name.strip()] = [line.strip() for line in lines if not line.strip().startswith("#")]

    def expand(word):
        return {call for it in groups[word] for call in expand(it)} if word in groups else {word}

    return {call for word in settings("SystemCallFilter") for call in expand(word)}


def run_like_the_unit(tally):
    """Inside namespaces of its own."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/tmp"], check=True)
    meter = Meter(demo=False, user=str(UID))
    os.chmod(meter.dir, 0o755)
    with open(meter.config) as file:
        config = json.load(file)
    with open(meter.config, "w") as file:
        json.dump({**config, "listen": ["127.0.0.1:80"]}, file)
    subprocess.run(["mount", "-o", "remount,bind,ro", "/"], check=True)
    calls = os.path.join(meter.dir, "calls")
    capabilities = ",".join("+" + it.removeprefix("CAP_").lower() for it in settings("CapabilityBoundingSet"))
    command = [
        *("strace", "-f", "-qq", "-c", "-U", "name", "-o", calls),
        *("setpriv", f"--bounding-set=-all,{capabilities}", "--inh-caps=-all", "--no-new-privs"),
        *(BINARY, "serve", "--config", meter.config),
    ]
    with open(os.path.join(meter.dir, "log"), "w") as log:
        meter.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    line = meter.process.stdout.readline()
    meter.port = 80
    tally.check("a service with the unit's rights listens on port 80", "http://127.0.0.1:80" in line, meter.read_log())
    worker = run("pgrep", "-u", str(UID), "-x", "meterd").stdout.split()
    tally.check("its worker is the configuration's user", len(worker) == 1, worker)
    reply = meter.db(action="zero")
    tally.check("it changes the database", meter.finish(reply["token"])["done"], reply)
    health = run(BINARY, "health", "--config", meter.config)
    tally.check("it is healthy", health.returncode == 0, health.stderr)
    # Its main process alone, as the unit's KillMode has it.
    subprocess.run(["kill", *worker], check=True)
    tally.check("it stops when it is told to", meter.process.wait(timeout=30) == 0, meter.read_log())
    with open(calls) as file:
        used = set(file.read().split()) - {"syscall", "total"}
    used = {it for it in used if re.fullmatch(r"[a-z][a-z0-9_]+", it)}
    foreign = used - allowed_calls()
    tally.check(f"the unit allows all {len(used)} system calls of it", len(used) > 50 and not foreign, foreign)


def check_tree(tally, scratch):
    makefile = os.path.join(scratch, "Makefile")
    with open(makefile, "w") as file:
        file.write(MAKEFILE % {"tree": TREE, "dir": scratch, "source": scratch + "/source"})
    shutil.copytree(INIT, scratch + "/source/init")
    os.makedirs(scratch + "/source/target/some-target/release")
    shutil.copy(BINARY, scratch + "/source/target/some-target/release/meterd")
    made = run("make", "-f", makefile, "install")
    told = made.stdout.splitlines()[:1] == ["is a cargo package"]
    tally.check("make runs what the package defines", made.returncode == 0 and told, made.stdout + made.stderr)
    target = scratch + "/target/"
    found = glob.glob(target + "**", recursive=True)
    found = {it.removeprefix(target): os.stat(it).st_mode & 0o777 for it in found if os.path.isfile(it)}
    tally.check("it installs the daemon, its configuration, scripts and unit", found == INSTALLED, found)
    show = lambda name: run("make", "-s", "-f", makefile, f"show-METERD_{name}").stdout.strip().split("\n")[-1]
    version = re.search(r'^version = "(.*)"', read(ROOT, "Cargo.toml"), re.M)[1]
    tally.check("it has the version of Cargo.toml", show("VERSION") == version, show("VERSION"))
    user = json.loads(read(INIT, "meterd.json"))["user"]
    users = re.search(r"define METERD_USERS\n\t(\S+)", read(TREE, "package/meterd/meterd.mk"))[1]
    tally.check("it makes the user of the configuration", users == user, users)
    sources = re.findall(r'^source "\$BR2_EXTERNAL_METERD_PATH/(.*)"', read(TREE, "Config.in"), re.M)
    tally.check("its menu is there", sources and all(os.path.isfile(os.path.join(TREE, it)) for it in sources), sources)
    licence = hashlib.sha256(read(ROOT, show("LICENSE_FILES")).encode()).hexdigest()
    tally.check("the licence has its hash", f"sha256  {licence}  LICENSE" in read(TREE, "package/meterd/meterd.hash"))
    return show("SOURCE")


def check_packages(tally, scratch, source):
    # Others may be making binaries in the usual place.
    dist = os.path.join(scratch, "dist")
    made = run(os.path.join(INIT, "dist.sh"), "sources", env={**os.environ, "DIST": dist})
    if made.returncode:
        return tally.check("the packages are made", False, made.stderr)
    sums = run("sha256sum", "-c", "--quiet", "SHA256SUMS", cwd=dist)
    tally.check("all sums are right", sums.returncode == 0, sums.stdout + sums.stderr)
    with tarfile.open(os.path.join(dist, "meterd-buildroot.tar.gz")) as tar:
        tar.extractall(scratch, filter="data")
    tree = os.path.join(scratch, "meterd-buildroot")
    package = os.path.join(tree, "dl", source)
    with open(package, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    hashes = read(tree, "package/meterd/meterd.hash")
    tally.check("the external tree brings the source package with its hash", f"{digest}  {source}" in hashes, hashes)
    with tarfile.open(package) as tar:
        tar.extractall(scratch, filter="data")
    folder = os.path.join(scratch, source.removesuffix(".tar.gz"))
    env = {**os.environ, "CARGO_HOME": os.path.join(scratch, "nothing")}
    command = ["cargo", "metadata", "--offline", "--locked", "--format-version", "1"]
    resolved = run(*command, cwd=folder, env=env)
    tally.check("cargo finds every crate in it, offline", resolved.returncode == 0, resolved.stderr)
    with tarfile.open(os.path.join(dist, "meterd-init.tar.gz")) as tar:
        names = {os.path.basename(it) for it in tar.getnames()}
    expect = {"S50meterd", "meterd.service", "meterd.json", "sql-contract.md"}
    tally.check("the files of init are packed", expect <= names, names)


tally = Tally()
if "inside" in sys.argv:
    run_like_the_unit(tally)
    tally.close()
with tempfile.TemporaryDirectory() as scratch:
    judge_unit(tally, scratch)
    inside = run("unshare", "-n", "-m", sys.executable, *sys.argv, "inside")
    print(inside.stdout + inside.stderr, end="")
    tally.check("everything of that is well", inside.returncode == 0)
    check_packages(tally, scratch, check_tree(tally, scratch))
tally.close()
