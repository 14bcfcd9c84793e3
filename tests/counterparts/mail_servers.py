"""Real mail servers, a name server and a few bad ones in a network namespace of their own, where they may have port 25.

Postfix with many behaviours on as many ports, chasquid, aiosmtpd, smtp-sink, knot. Everything lives in one folder and
ends with the namespace's script.
"""

import os
import pwd
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

from certificates import Certificates

MAIL, MX1, MX2, DNS, BLACK = "192.0.2.30", "192.0.2.25", "192.0.2.26", "192.0.2.53", "198.51.100.9"
USER, PASSWORD = "relay@example.test", 'pässw0rd "x"'

ZONE = """$ORIGIN test.
$TTL 60
@ SOA ns root 1 60 60 60 60
@ NS ns
ns A 192.0.2.53
example MX 10 mx1.example
mail.example A 192.0.2.30
mx1.example A 192.0.2.25
mx1.example AAAA 2001:db8::25
mx2.example A 192.0.2.26
dead.example A 192.0.2.99
silent.example A 198.51.100.9
xn--bcher-kva.example MX 10 mx1.example
nomx A 192.0.2.25
nullmx MX 0 .
nullmx A 192.0.2.25
fallback MX 5 dead.example
fallback MX 10 mx1.example
patient MX 5 silent.example
patient MX 10 mx1.example
dangling MX 10 nowhere.example
cnamemx MX 10 alias.example
alias.example CNAME mx1.example
v6only MX 10 mx6.example
mx6.example AAAA 2001:db8::25
unverified MX 10 mx2.example
loop MX 10 lo.example
lo.example A 127.0.0.1
own MX 10 self.example
self.example A 198.51.100.1
half MX 10 half1.example
half1.example A 192.0.2.28
grey MX 10 grey1.example
grey1.example A 192.0.2.27
""" + "".join(
    f"many MX {i} a-rather-long-exchange-name-{i}.example\na-rather-long-exchange-name-{i}.example A 192.0.2.25\n"
    for i in range(1, 41)
)

KNOT = """server:
    rundir: {0}
    listen: [ 192.0.2.53@53 ]
database:
    storage: {0}
log:
  - target: stderr
    any: warning
zone:
  - domain: test
    file: {0}/test.zone
    storage: {0}
    zonefile-sync: -1
"""

MAIN = """compatibility_level = 3.6
queue_directory = {d}/queue
data_directory = {d}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.example.test
mydestination =
mynetworks =
inet_interfaces = all
inet_protocols = all
maillog_file = {d}/maillog
maillog_file_prefixes = {d}
virtual_mailbox_domains = example.test, xn--bcher-kva.example.test, nomx.test, fallback.test, patient.test,
    cnamemx.test, v6only.test, unverified.test, many.test, nullmx.test, grey.test
virtual_mailbox_base = {d}/mail
virtual_mailbox_maps = texthash:{d}/etc/boxes
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_tls_chain_files = {d}/mail.key, {d}/mail.pem
smtpd_tls_security_level = may
smtpd_sasl_type = cyrus
smtpd_sasl_path = smtpd
cyrus_sasl_config_path = {d}/etc/sasl
smtpd_sasl_local_domain = example.test
smtputf8_enable = yes
default_transport = discard:
"""

BOXES = """user@example.test user/
odd..name@example.test user/
jürgen@example.test juergen/
user@xn--bcher-kva.example.test user/
""" + "".join(
    f"@{name}.test {name}/\n" for name in "nomx fallback patient cnamemx v6only unverified many nullmx grey".split()
)

LOGIN = "-o smtpd_sasl_auth_enable=yes -o { smtpd_recipient_restrictions=permit_sasl_authenticated, reject }"
SERVICES = {
    f"{MX1}:25": "",
    "[2001:db8::25]:25": "",
    f"{MX2}:25": "-o { smtpd_tls_chain_files=%(d)s/self.key, %(d)s/self.pem }",
    "192.0.2.27:25": "-o { smtpd_recipient_restrictions=check_policy_service inet:127.0.0.1:10023 }",
    f"{MAIL}:587": "-o smtpd_tls_security_level=encrypt " + LOGIN,
    f"{MAIL}:465": "-o smtpd_tls_wrappermode=yes " + LOGIN,
    f"{MAIL}:2525": "",
    f"{MAIL}:2526": "-o { smtpd_recipient_restrictions=check_policy_service inet:127.0.0.1:10023 }",
    f"{MAIL}:2528": "-o smtpd_discard_ehlo_keywords=8bitmime,smtputf8,starttls,size -o smtputf8_enable=no",
    f"{MAIL}:2529": "-o { smtpd_sasl_mechanism_filter=cram-md5 } " + LOGIN,
    f"{MAIL}:2530": "-o { smtpd_tls_chain_files=%(d)s/wrong.key, %(d)s/wrong.pem } " + LOGIN,
    f"{MAIL}:2531": "-o smtpd_tls_security_level=none " + LOGIN,
    f"{MAIL}:2532": "-o message_size_limit=200",
    **{
        f"{MAIL}:{port}": f"-o {{ smtpd_tls_chain_files=%(d)s/{leaf}.key, %(d)s/{leaf}.pem }} " + LOGIN
        for port, leaf in ((2533, "self"), (2534, "default"), (2535, "expired"), (2536, "unknown"))
    },
}
DAEMONS = """cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


def must(*command, stdin=None):
    run = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)
    if run.returncode:
        raise RuntimeError(f"{' '.join(command)}: {run.stdout}{run.stderr}")
    return run.stdout


def write(path, text):
    with open(path, "w") as file:
        file.write(text)
    return path


def namespace():
    """Runs this script again where it has a network, mounts, processes and a folder of its own, which all end with it;
    that folder."""
    folder = os.environ.get("METERD_TEST_FOLDER")
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="meterd-mail-") as folder:
            os.chmod(folder, 0o755)
            command = ["unshare", "-n", "-m", "-p", "-f", "--kill-child", "--mount-proc", sys.executable, *sys.argv]
            raise SystemExit(subprocess.run(command, env=dict(os.environ, METERD_TEST_FOLDER=folder)).returncode)
    must("ip", "link", "set", "lo", "up")
    for addr in (DNS, MX1, MX2, "192.0.2.27", "192.0.2.28", MAIL, "192.0.2.99"):
        must("ip", "addr", "add", addr + "/32", "dev", "lo")
    must("ip", "-6", "addr", "add", "2001:db8::25/128", "dev", "lo")
    # A neighbour who is known and never answers.
    must("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    must("ip", "addr", "add", "198.51.100.1/24", "dev", "v0")
    for name in ("v0", "v1"):
        must("ip", "link", "set", name, "up")
    must("ip", "neigh", "add", BLACK, "lladdr", "02:00:00:00:00:09", "dev", "v0")
    return folder


def resolver(folder, server):
    write(f"{folder}/resolv.conf", f"nameserver {server}\noptions attempts:1 timeout:2\n")
    if not os.path.ismount("/etc/resolv.conf"):
        must("mount", "--bind", f"{folder}/resolv.conf", "/etc/resolv.conf")


def wait(address, port, within=20):
    until = time.monotonic() + within
    while True:
        try:
            return socket.create_connection((address, port), 1).close()
        except OSError:
            if time.monotonic() > until:
                raise RuntimeError(f"nothing listens on {address}:{port}")
            time.sleep(0.1)


def certificates(folder):
    """ca.pem, and below it mail, wrong with another name, and expired; self and default are nobody's."""
    made = Certificates(folder)
    made.leaf("mail", "DNS:mail.example.test,DNS:mx1.example.test,DNS:mx6.example.test")
    made.leaf("wrong", "DNS:other.example.test")
    made.leaf("expired", "DNS:mail.example.test", dates=("20200101000000Z", "20200201000000Z"))
    alone = ["-addext", "subjectAltName=DNS:mail.example.test,DNS:mx2.example.test"]
    made.self_signed("self", "/CN=self", *alone, "-addext", "basicConstraints=critical,CA:FALSE")
    made.self_signed("default", "/CN=default", *alone)
    # Of an authority that the meter does not know.
    made.authority("stranger")
    made.leaf("unknown", "DNS:mail.example.test", authority="stranger")


def postfix(folder):
    """A private instance; its mail is in `folder`/mail/BOX/new."""
    owner = pwd.getpwnam("postfix")
    for name in ("etc/sasl", "queue", "data", "mail"):
        os.makedirs(f"{folder}/{name}", exist_ok=True)
    for name in ("data", "mail"):
        os.chown(f"{folder}/{name}", owner.pw_uid, -1)
    sasl = f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {folder}/sasldb2\n"
    sasl += "mech_list: PLAIN LOGIN CRAM-MD5\n"
    write(f"{folder}/etc/sasl/smtpd.conf", sasl)
    must("saslpasswd2", "-c", "-p", "-f", f"{folder}/sasldb2", "-u", "example.test", "relay", stdin=PASSWORD + "\n")
    os.chown(f"{folder}/sasldb2", owner.pw_uid, -1)
    write(f"{folder}/etc/boxes", BOXES)
    write(f"{folder}/etc/main.cf", MAIN.format(d=folder, uid=owner.pw_uid, gid=owner.pw_gid))
    lines = [f"{at} inet n - n - - smtpd {options % {'d': folder}}\n" for at, options in SERVICES.items()]
    write(f"{folder}/etc/master.cf", "".join(lines) + DAEMONS)
    must("postfix", "-c", f"{folder}/etc", "start")


def postgrey(folder):
    os.makedirs(f"{folder}/grey")
    shutil.chown(f"{folder}/grey", "postgrey")
    options = [
        "--inet=127.0.0.1:10023",
        f"--dbdir={folder}/grey",
        "--delay=3",
        "--user=postgrey",
        "--auto-whitelist-clients=0",
    ]
    return subprocess.Popen(["postgrey", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def knot(folder):
    write(f"{folder}/test.zone", ZONE)
    write(f"{folder}/knot.conf", KNOT.format(folder))
    log = open(f"{folder}/knot.log", "w")
    return subprocess.Popen(["knotd", "-c", f"{folder}/knot.conf"], stdout=log, stderr=log)


def chasquid(folder):
    """Ports 2702 (submission) and 2703 (the same with TLS at once); only AUTH PLAIN."""
    home = f"{folder}/chasquid"
    os.makedirs(f"{home}/etc/certs/mail.example.test")
    os.makedirs(f"{home}/etc/domains/example.test")
    for name, source in (("fullchain", "mail.pem"), ("privkey", "mail.key")):
        shutil.copy(f"{folder}/{source}", f"{home}/etc/certs/mail.example.test/{name}.pem")
    store = write(f"{home}/deliver", f"#!/bin/sh\ncat >>{home}/box\n")
    os.chmod(store, 0o755)
    write(
        f"{home}/etc/chasquid.conf",
        "\n".join(
            [
                'hostname: "mail.example.test"',
                f'smtp_address: "{MAIL}:2701"',
                f'submission_address: "{MAIL}:2702"',
                f'submission_over_tls_address: "{MAIL}:2703"',
                f'data_dir: "{home}/data"',
                f'mail_log_path: "{home}/log"',
                f'mail_delivery_agent_bin: "{store}"',
                "",
            ]
        ),
    )
    must("chasquid-util", f"-C={home}/etc", "user-add", USER, f"--password={PASSWORD}")
    log = open(f"{home}/out", "w")
    return subprocess.Popen(["chasquid", f"--config_dir={home}/etc"], stdout=log, stderr=log)


def sink(port, *options):
    command = ["smtp-sink", "-u", "postfix", *options, f"{MAIL}:{port}", "20"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Bad:
    """A server on a port of MAIL whose `serve(connection)` decides what it does; what it hears is in `heard`."""

    def __init__(self, folder, serve, at=(MAIL, 0)):
        self.listener = socket.create_server(at)
        self.port = self.listener.getsockname()[1]
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(f"{folder}/mail.pem", f"{folder}/mail.key")
        self.serve = serve
        self.heard = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.one, args=(connection,), daemon=True).start()

    def one(self, connection):
        try:
            self.serve(self, connection)
        except OSError:
            pass
        finally:
            connection.close()


def talk(server, connection, hang=None, answers=None):
    """A mail server with TLS and AUTH PLAIN that stops at `hang` for good; `answers` replace its own by verb."""
    replies = {
        "EHLO": "250-bad\r\n250-STARTTLS\r\n250 AUTH PLAIN",
        "STARTTLS": "220 go",
        "AUTH": "235 2.7.0 ok",
        "MAIL": "250 ok",
        "RCPT": "250 ok",
        "DATA": "354 go",
        ".": "250 2.0.0 ok",
        "QUIT": "221 bye",
        **(answers or {}),
    }
    hold = lambda phase: phase == hang and time.sleep(3600)
    hold("banner")
    connection.sendall(b"220 bad ESMTP\r\n")
    lines, in_data = connection.makefile("rb"), False
    while raw := lines.readline():
        line = raw.decode().rstrip("\r\n")
        server.heard.append(line)
        verb = line if in_data else line.split(" ")[0].upper()
        if in_data and verb != ".":
            continue
        hold(verb)
        connection.sendall((replies.get(verb, "502 what?").replace("LINE", line) + "\r\n").encode())
        in_data = verb == "DATA"
        if verb == "STARTTLS":
            hold("handshake")
            connection = server.context.wrap_socket(connection, server_side=True)
            lines = connection.makefile("rb")
            replies["EHLO"] = "250-bad\r\n250 AUTH PLAIN"


def silent_dns(address):
    """A name server that takes questions and gives no answer."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    return server
