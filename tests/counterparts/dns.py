"""Names: the service's own DNS client against Debian's knot, in a network of its own.

The script starts itself once more in new network and mount namespaces; these end with it. There it has a name server, files
of its own in the place of /etc/resolv.conf and /etc/hosts, and addresses where nobody answers.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time

import dns_dies
from meter import ROOT, Tally

PROBE = os.environ.get("REACH_PROBE", os.path.join(ROOT, "target", "debug", "examples", "reach_probe"))
SERVER = "192.0.2.53"
NOBODY = "192.0.2.52"
SILENT = "198.51.100.9"

ZONE = """$ORIGIN test.
$TTL 60
@ SOA ns.test. root.test. 1 60 60 60 60
@ NS ns
ns A 192.0.2.53
example MX 20 mx2.example
example MX 10 mx1.example
mx1.example A 192.0.2.25
mx1.example AAAA 2001:db8::25
mx2.example A 192.0.2.26
implicit A 192.0.2.25
nullmx MX 0 .
nullmx A 192.0.2.25
halfnull MX 0 .
halfnull MX 5 mx1.example
dangling MX 10 nowhere.example
aliased CNAME example
aliasedmx MX 10 alias.example
alias.example CNAME mx1.example
six MX 10 six.example
six.example AAAA 2001:db8::25
textonly TXT "no address here"
equal MX 5 first.example
equal MX 7 a.example
equal MX 7 b.example
equal MX 7 c.example
loop MX 10 self.example
self.example A 127.0.0.1
half.example A 127.0.0.1
half.example A 192.0.2.25
round.one CNAME round.two
round.two CNAME round.one
chain1 CNAME chain2
chain2 CNAME chain3
chain3 CNAME mx1.example
outside CNAME elsewhere.invalid.
dead.example A 192.0.2.99
deadsix.example A 192.0.2.25
deadsix.example AAAA 2001:db8::99
silent.example A 198.51.100.9
nearby.example A 198.51.100.10
""" + "".join(
    f"many MX {at} a-rather-long-exchange-name-{at}.example\na-rather-long-exchange-name-{at}.example A 192.0.2.25\n"
    f"wide A 192.0.2.{at}\n"
    for at in range(1, 41)
)


def run(*command):
    subprocess.run(command, check=True)


def network(folder):
    """Addresses of our own, one where nobody answers, and the system's files as we want them."""
    run("ip", "link", "set", "lo", "up")
    for addr in (SERVER, NOBODY, "192.0.2.25", "192.0.2.26", "192.0.2.99"):
        run("ip", "addr", "add", addr + "/32", "dev", "lo")
    run("ip", "-6", "addr", "add", "2001:db8::25/128", "dev", "lo", "nodad")
    run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    run("ip", "addr", "add", "198.51.100.1/24", "dev", "v0")
    run("ip", "link", "set", "v0", "up")
    run("ip", "link", "set", "v1", "up")
    # What is sent there is taken for delivered.
    run("ip", "neigh", "add", SILENT, "lladdr", "02:00:00:00:00:09", "dev", "v0")
    for name in ("resolv.conf", "hosts"):
        path = os.path.join(folder, name)
        open(path, "w").close()
        run("mount", "--bind", path, "/etc/" + name)


def write(path, text):
    """In place, because the file is mounted somewhere."""
    with open(path, "w") as file:
        file.write(text)


def name_server(folder):
    write(os.path.join(folder, "test.zone"), ZONE)
    path = os.path.join(folder, "knot.conf")
    write(
        path,
        f"""server:
  rundir: {folder}
  listen: [{SERVER}@53]
log:
  - target: stderr
    any: warning
database:
  storage: {folder}
zone:
  - domain: test
    file: {folder}/test.zone
    zonefile-sync: -1
    journal-content: none
""",
    )
    return subprocess.Popen(["knotd", "-c", path])


class Probe:
    def __init__(self, folder):
        self.folder = folder

    def config(self, **settings):
        write(os.path.join(self.folder, "probe.json"), json.dumps(settings))

    def servers(self, *servers, options="timeout:1 attempts:1", search=""):
        lines = [f"nameserver {it}" for it in servers] + [f"options {options}"]
        if search:
            lines.append(f"search {search}")
        write(os.path.join(self.folder, "resolv.conf"), "\n".join(lines) + "\n")

    def hosts(self, text):
        write(os.path.join(self.folder, "hosts"), text)

    def __call__(self, *words):
        command = [PROBE, os.path.join(self.folder, "probe.json"), *words]
        res = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return res.stdout.strip() or res.stderr.strip()


def answers(tally, probe):
    """Whatever the zone says."""
    expected = {
        ("resolve", "mx1.example.test"): "2001:db8::25 192.0.2.25",
        ("resolve", "MX1.Example.Test."): "2001:db8::25 192.0.2.25",
        ("resolve", "alias.example.test"): "2001:db8::25 192.0.2.25",
        ("resolve", "chain1.test"): "2001:db8::25 192.0.2.25",
        ("resolve", "six.example.test"): "2001:db8::25",
        ("resolve", "textonly.test"): "error: textonly.test: the name exists and has no address",
        ("resolve", "nosuch.test"): "error: nosuch.test: there is no host of this name",
        ("mail", "example.test"): "10:mx1.example.test 20:mx2.example.test",
        ("mail", "aliased.test"): "10:mx1.example.test 20:mx2.example.test",
        ("mail", "implicit.test"): "0:implicit.test",
        ("mail", "nullmx.test"): "error: nullmx.test: the domain takes no mail (null MX)",
        ("mail", "halfnull.test"): "5:mx1.example.test",
        ("mail", "dangling.test"): "10:nowhere.example.test",
        ("resolve", "nowhere.example.test"): "error: nowhere.example.test: there is no host of this name",
        ("mail", "aliasedmx.test"): "10:alias.example.test",
        ("mail", "six.test"): "10:six.example.test",
        ("mail", "loop.test"): "10:self.example.test",
        ("mail", "nosuch.test"): "error: nosuch.test: there is no host of this name",
        ("mail", "no such"): "error: no such: there is no host of this name",
    }
    for words, expect in expected.items():
        got = probe(*words)
        tally.check(" ".join(words), got == expect, got)
    got = probe("mail", "many.test").split()
    expect = [f"{at}:a-rather-long-exchange-name-{at}.example.test" for at in range(1, 41)]
    tally.check("40 mail hosts come over TCP", got == expect, got)
    got = probe("resolve", "wide.test").split()
    tally.check("40 addresses come over TCP and are bounded", len(set(got)) == 16, got)
    got = probe("resolve", "round.one.test")
    tally.check("aliases in a circle end", "more than 8 aliases in a row" in got, got)
    got = probe("resolve", "outside.test")
    tally.check("an alias leads on to where it leads", got.startswith("error: elsewhere.invalid: ") and "refused" in got, got)
    orders = set()
    for _ in range(12):
        first, *rest = probe("mail", "equal.test").split()
        orders.add(tuple(rest))
        if first != "5:first.example.test" or sorted(rest) != [f"7:{it}.example.test" for it in "abc"]:
            tally.check("equal preferences", False, [first, *rest])
    tally.check("equal preferences are shuffled", len(orders) > 1, orders)


def servers(tally, probe):
    """Servers that are of no use, and files that come before them."""
    good = "2001:db8::25 192.0.2.25"
    for name, bad in (("where nobody listens", NOBODY), ("that is silent", SILENT), ("of the wrong family", "2001:db8::25")):
        probe.servers(bad, SERVER)
        begin = time.monotonic()
        got = probe("resolve", "mx1.example.test")
        took = time.monotonic() - begin
        tally.check(f"a server {name} is passed over", got == good and took < 10, f"{got} {took:.1f}")
    probe.servers(SERVER)
    got = probe("resolve", "www.unknown-zone.example")
    tally.check("a refusal is told", "192.0.2.53: the name server refused to answer" in got, got)
    probe.servers(NOBODY)
    got = probe("resolve", "mx1.example.test")
    tally.check("no server at all is told", "192.0.2.52: there is no name server" in got, got)
    probe.servers(SILENT)
    begin = time.monotonic()
    got = probe("resolve", "mx1.example.test")
    took = time.monotonic() - begin
    tally.check("a silent server is told after its time", "no answer in time" in got and 0.9 < took < 10, f"{got} {took:.1f}")
    probe.hosts("192.0.2.26 mx1.example.test nas # ours\n")
    tally.check("the hosts file comes first", probe("resolve", "mx1.example.test") == "192.0.2.26")
    tally.check("short names are in it", probe("resolve", "NAS") == "192.0.2.26")
    probe.hosts("")
    probe.servers(SERVER, search="nowhere.test example.test")
    tally.check("short names are looked for in the system's domains", probe("resolve", "mx2") == "192.0.2.26")
    got = probe("resolve", "nosuch")
    tally.check("and may be nowhere", got.startswith("error: nosuch: "), got)
    probe.servers(SERVER)


def targets(tally, probe):
    """Which addresses are connected to, and what is said of the others."""
    listener = socket.create_server(("192.0.2.25", 2525))
    other = socket.create_server(("2001:db8::25", 2525), family=socket.AF_INET6)
    local = socket.create_server(("127.0.0.1", 2525))
    tests = [
        ("mx1.example.test", "2525", "to [2001:db8::25]:2525"),
        ("deadsix.example.test", "2525", "to 192.0.2.25:2525"),
        ("dead.example.test", "2525", "192.0.2.99:2525: connection refused; nothing listens there"),
        ("nearby.example.test", "2525", "198.51.100.10:2525: no way there"),
        ("silent.example.test", "2525", "198.51.100.9:2525: no answer to the attempt to connect"),
        ("self.example.test", "2525", "self.example.test (127.0.0.1): a loopback address"),
        ("half.example.test", "2525", "to 192.0.2.25:2525"),
        ("localhost", "2525", "a loopback address"),
        ("127.0.0.1", "2525", "error: 127.0.0.1: a loopback address"),
        ("[::ffff:127.0.0.1]", "2525", "a loopback address"),
        ("203.0.113.1", "2525", "no way there"),
    ]
    for host, port, expect in tests:
        got = probe("connect", host, port)
        tally.check(f"connect {host}", expect in got, got)
    probe.config(state_dir="/nonexistent")
    got = probe("connect", "mx1.example.test", "2525")
    tally.check("without allow_targets the own addresses are refused", "an address of the meter itself" in got, got)
    probe.config(state_dir="/nonexistent", allow_targets=["192.0.2.25"])
    tally.check("an allowed address is used", probe("connect", "mx1.example.test", "2525") == "to 192.0.2.25:2525")
    for it in (listener, other):
        it.close()
    local.settimeout(0)
    try:
        local.accept()
        reached = True
    except BlockingIOError:
        reached = False
    tally.check("nobody connected to loopback", not reached)


def main():
    if os.environ.get("INSIDE") != "1":
        command = ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        os.execvpe(command[0], command, dict(os.environ, INSIDE="1"))
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="meterd-dns-") as folder:
        network(folder)
        knot = name_server(folder)
        try:
            probe = Probe(folder)
            probe.servers(SERVER)
            probe.config(state_dir="/nonexistent", allow_targets=["192.0.2.0/24", "2001:db8::/32"])
            for _ in range(100):
                if probe("resolve", "ns.test") == SERVER:
                    break
                time.sleep(0.1)
            answers(tally, probe)
            servers(tally, probe)
            targets(tally, probe)
            knot = dns_dies.run(tally, probe, knot, lambda: name_server(folder))
        finally:
            knot.terminate()
            knot.wait()
    tally.close()


main()
