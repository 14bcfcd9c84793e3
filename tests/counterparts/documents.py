"""Runs every command line of the documents, in their order, and compares what they print with what stands there.

In an indented block a line with `$ ` in front is a command of somebody at this machine, one with `# ` a command of root
on a meter; what follows is its output, in which numbers and tokens may differ and `...` stands for anything. The first
kind runs against one bench service in a network of its own, the second in a chroot with BusyBox and the configuration
that the document shows. What would build or test for minutes is only looked at: whether its targets, recipes or parts
exist. A block that looks like commands but has no prompt is a failure, so that no line escapes.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from meter import BINARY, ROOT, Tally

INIT = sorted(it for it in os.listdir(os.path.join(ROOT, "init")) if it.endswith(".md"))
DOCUMENTS = ["README.md", "CONTRIBUTING.md", *(f"init/{it}" for it in INIT)]
PROMPTS = re.compile(r"(\$|#) (.*)")
# What a command looks like that somebody forgot to give its prompt.
SUSPICIOUS = re.compile(r"(curl|cargo|just|meterd|meterctl|minisign|sqlite3|tests/run|target/|install|chmod|/etc/)\b")
VENV_BIN = os.path.dirname(sys.executable)
TOOLS = {"meterctl": os.environ.get("METERCTL", os.path.join(ROOT, "target", "debug", "meterctl"))}
END = "\x01"
# Seconds for one command.
PATIENCE = 60


def blocks(text):
    """Indented blocks, without their indentation."""
    lines, block = text.splitlines(), []
    for before, line in zip(["", *lines], [*lines, ""]):
        if line.startswith("    ") and (block or not before.strip() or before.startswith("    ")):
            block.append(line[4:])
        elif block and not line.strip():
            block.append("")
        elif block:
            yield "\n".join(block).rstrip().split("\n")
            block = []


def commands(block):
    """Prompt, command and expected lines of each command in a block."""
    found = []
    for line in block:
        prompted = PROMPTS.fullmatch(line)
        if prompted:
            found.append((prompted[1], prompted[2], []))
        elif found and found[-1][1].endswith("\\"):
            prompt, command, _ = found.pop()
            found.append((prompt, f"{command}\n{line}", []))
        elif found:
            found[-1][2].append(line)
    return found


def shape(line):
    line = re.sub(r"eyJ[\w.-]+|\b(?=\w*\d)[0-9a-f]{16,32}\b", "TOKEN", line)
    return re.sub(r"\d[\d,.:]*|(?<=\d)[TZ]", "N", re.sub(r"-(?=\d)", "", line)).rstrip()


def fits(expected, got):
    """Whether lines are of the expected shape; `...` alone is any lines, behind others the rest of a line."""
    if not expected:
        return not got
    first, *rest = expected
    if first.strip() == "...":
        return any(fits(rest, got[at:]) for at in range(len(got) + 1))
    if not got:
        return False
    want, have = shape(first), shape(got[0])
    same = have.startswith(want[:-3]) if want.endswith("...") else want == have
    return same and fits(rest, got[1:])


class Shell:
    """One bash that goes on from command to command."""

    def __init__(self, folder, env):
        self.process = subprocess.Popen(
            ["bash", "--norc"], cwd=folder, env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )

    def run(self, command):
        self.process.stdin.write(f"{command}\nprintf '{END}%s\\n' $?\n")
        self.process.stdin.flush()
        lines = []
        # A command without an end, an open quote for one, ends with its shell.
        watch = threading.Timer(PATIENCE, self.process.kill)
        watch.start()
        while True:
            line = self.process.stdout.readline()
            if not line:
                return 1, [*lines, "the shell has ended"]
            text, found, status = line.rstrip("\n").partition(END)
            if text or not found:
                lines.append(text)
            if found:
                watch.cancel()
                return int(status), lines

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=10)


class Bench:
    """What somebody has who works through the documents: the tree, its programs, and a service in bench mode."""

    def __init__(self, scratch):
        self.folder = os.path.join(scratch, "bench")
        os.mkdir(self.folder)
        tools = os.path.join(scratch, "bin")
        os.mkdir(tools)
        os.symlink(BINARY, os.path.join(tools, "meterd"))
        for name, path in TOOLS.items():
            os.symlink(path, os.path.join(tools, name))
        for name in ("tests", "init", "target", "src", "conformance", "Cargo.toml", "Justfile"):
            os.symlink(os.path.join(ROOT, name), os.path.join(self.folder, name))
        env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "XDG_CACHE_HOME": os.path.join(scratch, "cache")}
        env.pop("METERD_TEST_NETWORK")
        self.service = None
        self.shell = Shell(self.folder, env)

    def serve(self, expected):
        """`cargo run --release` of the README: its lines, and the token and the password that it shows once."""
        if self.service:
            return 0, expected
        quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.service = subprocess.Popen([BINARY], cwd=self.folder, text=True, **quiet)
        lines = [self.service.stdout.readline().rstrip("\n") for _ in expected]
        told = "\n".join(lines)
        password = re.search(r"password (\w+)", told)[1]
        self.shell.run(re.search(r"TOKEN=\S+", told)[0])
        self.shell.run(f"export METERCTL_PASSWORD={password}; echo {password} >pw")
        return 0, lines

    def run(self, command, expected):
        if command == "cargo run --release":
            return self.serve(expected)
        for pattern, look in LOOKED_AT:
            if re.match(pattern, command):
                problem = look(command.split("#")[0].split())
                return (1, [problem]) if problem else (0, expected)
        status, lines = self.shell.run(command)
        # Who reads on does so for longer than an operation of the examples takes.
        for token in re.findall(r'"token":"([0-9a-f]{32})"', "\n".join(lines)):
            self.shell.run(f"meterctl wait {token}")
        return status, lines

    def close(self):
        self.shell.close()
        if self.service:
            self.service.send_signal(signal.SIGTERM)
            self.service.wait(timeout=30)


def look_at_just(words):
    command = [os.path.join(VENV_BIN, "just"), "--dry-run", *words[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stderr if done.returncode else None


def look_at_parts(words):
    listed = subprocess.run([os.path.join(ROOT, "tests", "run"), "--list"], capture_output=True, text=True)
    unknown = set(words[1:]) - set(listed.stdout.split()) - {"--list"}
    return f"no such part: {unknown}" if unknown else None


def look_at_cargo(words):
    """Whether what it names exists: packages, targets, features."""
    metadata = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--offline", "--format-version", "1"], cwd=ROOT, capture_output=True, check=True
    )
    packages = json.loads(metadata.stdout)["packages"]
    targets = {(kind, it["name"]) for package in packages for it in package["targets"] for kind in it["kind"]}
    features = {feature for package in packages for feature in package["features"]}
    words = [it for it in words if "=" not in it and not it.startswith("+")]
    for option, name in zip(words, words[1:]):
        kind = option.removeprefix("--")
        if option in ("-p", "--package") and name not in [it["name"] for it in packages]:
            return f"no such package: {name}"
        if option == "--features" and name not in features:
            return f"no such feature: {name}"
        if option in ("--bin", "--test", "--bench", "--example") and (kind, name) not in targets:
            return f"no such {kind}: {name}"
    listed = subprocess.run(["cargo", "--list"], capture_output=True, text=True).stdout
    return None if re.search(rf"^ +{words[1]}\b", listed, re.M) else f"no such cargo command: {words[1]}"


# Minutes of building, testing or measuring each; that they work is what the parts of tests/run are for.
LOOKED_AT = [
    (r"just ", look_at_just),
    (r"tests/run\b", look_at_parts),
    (r"(\w+=\S+ )*cargo ", look_at_cargo),
]


MOUNTED = "dev", "proc", "sys", "lib", "lib64", "usr/lib"


class OnMeter:
    """A root folder with BusyBox, the unpacked packages in its current folder, and no network but its own."""

    def __init__(self, scratch, settings):
        self.root = os.path.join(scratch, "root")
        for it in (*MOUNTED, "bin", "etc/init.d", "usr/sbin", "run", "tmp", "var/lib", "root"):
            os.makedirs(os.path.join(self.root, it))
        os.symlink("../run", os.path.join(self.root, "var/run"))
        shutil.copy(shutil.which("busybox"), os.path.join(self.root, "bin/busybox"))
        for place in MOUNTED:
            subprocess.run(["mount", "--rbind", f"/{place}", f"{self.root}/{place}"], check=True)
        subprocess.run(["chroot", self.root, "/bin/busybox", "--install", "-s", "/bin"], check=True)
        self.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        self.write("etc/group", "root:x:0:\ndialout:x:20:\nnetdev:x:108:\n")
        self.write("root/meterd.json", settings)
        shutil.copy(BINARY, os.path.join(self.root, "root/meterd-armv7"))
        for it in ("S50meterd", "S20factory-restore"):
            shutil.copy(os.path.join(ROOT, "init", it), os.path.join(self.root, "root", it))
        self.shell = Shell("/", {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin", "HOME": "/root"})
        self.shell.run(f"exec chroot {self.root} /bin/sh -c 'cd /root; exec sh'")

    def write(self, path, text):
        with open(os.path.join(self.root, path), "w") as file:
            file.write(text)

    def run(self, command, _):
        return self.shell.run(command)

    def close(self):
        self.shell.run("/etc/init.d/S50meterd stop")
        self.shell.close()


def settings_of(document):
    """The first JSON block of a document."""
    return next((it for it in ("\n".join(block) for block in blocks(document)) if it.startswith("{")), "{}")


def main():
    if os.environ.get("METERD_TEST_NETWORK") != "own":
        env = dict(os.environ, METERD_TEST_NETWORK="own")
        raise SystemExit(subprocess.run(["unshare", "-n", "-m", sys.executable, *sys.argv], env=env).returncode)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    tally = Tally()
    scratch = tempfile.mkdtemp(prefix="meterd-documents-")
    os.chmod(scratch, 0o755)
    bench = Bench(scratch)
    begun = time.monotonic()
    for name in DOCUMENTS:
        with open(os.path.join(ROOT, name)) as file:
            text = file.read()
        places = {"$": bench}
        for block in blocks(text):
            for prompt, command, expected in commands(block):
                if prompt == "#" and prompt not in places:
                    places[prompt] = OnMeter(scratch, settings_of(text))
                expected = expected[: len(expected) - (expected[-1:] == [""])]
                status, got = places[prompt].run(command, expected)
                is_good = fits(expected, got) and (status == 0 or bool(expected))
                told = "\n    ".join([f"({status})", "stands there:", *expected, "got:", *got])
                tally.check(f"{name}: {command}", is_good, told)
            escaped = [line for line in block if not commands(block) and SUSPICIOUS.match(line)]
            if escaped:
                tally.check(f"{name}: every command has its prompt", False, escaped)
        for place in places.values():
            if place is not bench:
                place.close()
    bench.close()
    print(f"{time.monotonic() - begun:.0f} s for {len(DOCUMENTS)} documents")
    # The mounts end with their namespace, and must not be what is removed before that.
    for place in MOUNTED:
        subprocess.run(["umount", "-R", os.path.join(scratch, "root", place)], check=True)
    shutil.rmtree(scratch)
    tally.close()


if __name__ == "__main__":
    main()
