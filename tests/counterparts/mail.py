"""Sends test mails over the service to real mail servers, and to bad ones, in a network namespace of its own.

What arrived is read back from the servers' mailboxes; no password may be found anywhere but on the wire: not in a log,
the ledger, a status, nor in the memory of the process. Needs root, for the namespace.
"""

import base64
import email.message
import email.policy
import email.utils
import glob
import json
import os
import subprocess
import sys
import time

import mail_servers as servers
from mail_aiosmtpd import asynchronous
from mail_tls import own_certificate, trust
from mail_servers import BLACK, MAIL, PASSWORD, USER, Bad, talk
from meter import Meter, Tally

SECRETS = {
    "the password": PASSWORD,
    "the password as the request has it": json.dumps(PASSWORD)[1:-1],
    "a part of it": "ssw0rd",
    "AUTH LOGIN": base64.b64encode(PASSWORD.encode()).decode(),
    "AUTH PLAIN": base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode(),
}
HOST = "mail.example.test"
SECONDS = 6
LOGIN = {"mailuser": USER, "mailpass": PASSWORD}


class Bench:
    """A service, its mailboxes, and a way to ask for a test mail."""

    def __init__(self, meter, folder, tally):
        self.meter, self.folder, self.tally = meter, folder, tally
        self.texts = []

    def begin(self, address, **members):
        return self.meter.call("POST", "/cmd/test-email", {"address": address, **members})

    def end(self, token):
        status = self.meter.finish(token, 30)
        self.texts.append(str(status))
        return status

    def send(self, address, **members):
        return self.end(self.begin(address, **members)["token"])

    def box(self, name):
        """The mails of a box, oldest first."""
        paths = sorted(glob.glob(f"{self.folder}/mail/{name}/new/*"), key=os.path.getmtime)
        return [email.message_from_bytes(open(it, "rb").read(), policy=email.policy.SMTP) for it in paths]

    def arrives(self, name, box, address, received="", **members):
        """A mail that must get through: the mail."""
        before = len(self.box(box))
        status = self.send(address, **members)
        until = time.monotonic() + 5
        while len(self.box(box)) == before and time.monotonic() < until:
            time.sleep(0.05)
        mails = self.box(box)
        log = status.get("result", {}).get("log", "")
        holds = "error" not in status and status["progress"] == 1.0 and len(mails) == before + 1
        holds = holds and received in str(mails[-1]["Received"]) and log.splitlines()[-1][8:].startswith("* Done")
        self.tally.check(name, holds, f"{status} {mails[-1]['Received'] if mails else ''}\n{log}")
        return mails[-1] if mails else email.message.EmailMessage(), log

    def fails(self, name, address, reason, remedy, within=SECONDS + 2.5, **members):
        """A mail that must not: the log."""
        start = time.monotonic()
        status = self.send(address, **members)
        took = time.monotonic() - start
        log = status.get("result", {}).get("log", "")
        last = log.splitlines()[-1] if log else ""
        holds = status.get("error") == "MAIL_TX_ERR" and status.get("args") == [address] and took < within
        holds = holds and reason in log and "Likely remedy: " in last and remedy in last
        self.tally.check(name, holds, f"{took:.1f} s {status.get('error')} {status.get('args')}\n{log}")
        return log


def submission(bench):
    host = lambda port: f"{HOST}:{port}"
    mail, log = bench.arrives(
        "STARTTLS and AUTH on 587", "user", "user@example.test", "ESMTPSA", smarthost=HOST, **LOGIN
    )
    bench.tally.check("the log shows the dialogue, masked", "> AUTH PLAIN ***" in log and "> STARTTLS" in log, log)
    sender = "nobody@meter1.example.test"
    fields = [mail[it] for it in ("From", "To", "MIME-Version", "Auto-Submitted")]
    holds = fields == [sender, "user@example.test", "1.0", "auto-generated"] and not mail.defects
    bench.tally.check("the mail's fields are in order", holds, f"{fields} {mail.defects}")
    age = time.time() - email.utils.parsedate_to_datetime(mail["Date"]).timestamp()
    holds = -2 < age < 60 and mail["Message-ID"].endswith("@meter1.example.test>")
    bench.tally.check("date and message id are those of the meter", holds, f"{age} {mail['Message-ID']}")
    body = mail.get_content()
    holds = all(it in body for it in ("meter1.example.test", "Zähler 1", "4711")) and "meter1" in mail["Subject"]
    bench.tally.check("the text says which meter sent it", holds, body)
    args = {"smarthost": host(465), **LOGIN}
    _, log = bench.arrives("TLS from the first byte on 465", "user", "user@example.test", "ESMTPSA", **args)
    bench.tally.check("no STARTTLS there", "STARTTLS" not in log and "TLS is up" in log, log)
    args = {"smarthost": host(2529), "fromaddr": "nobody@eGauge123456", **LOGIN}
    bench.arrives("CRAM-MD5, and a sender whose host has one label", "user", "user@example.test", "ESMTPSA", **args)
    bench.arrives("no login", "user", "user@example.test", "with ESMTPS ", smarthost=host(2525))
    args = {"smarthost": host(2525), "mailuser": USER}
    bench.arrives("a user without password: no login", "user", "user@example.test", "with ESMTPS ", **args)
    bench.arrives("an address with a quoted name", "user", '"odd..name"@example.test', smarthost=host(2525))
    bench.arrives("an IP address as smarthost, without TLS", "user", "user@example.test", smarthost=f"{MAIL}:2528")
    mail, _ = bench.arrives(
        "other letters by SMTPUTF8", "juergen", "jürgen@example.test", "UTF8SMTPS", smarthost=host(2525)
    )
    bench.tally.check("its fields have them too", mail["To"] == "jürgen@example.test", mail["To"])
    address = "user@bücher.example.test"
    bench.arrives("a domain with other letters", "user", address, smarthost=host(2525))
    fails = [
        ("wrong password", 587, {**LOGIN, "mailpass": "wrong horse"}, "535 5.7.8", "wrong user or password"),
        ("login missing", 587, {}, "530 5.7.0|554 5.7.1", "mailuser"),
        ("login only in the clear", 2531, LOGIN, "does not offer TLS", "mail.plain_auth"),
        ("message too large", 2532, {}, "552 5.3.4", "smaller"),
        ("nothing listens", 9, {}, "connection refused", "port 9"),
    ]
    for name, port, members, reason, remedy in fails:
        reason = reason.split("|")[-1]
        bench.fails(name, "user@example.test", reason, remedy, smarthost=host(port), **members)
    bench.fails("no such user", "nobody@example.test", "550 5.1.1", "spelling of the address", smarthost=host(2525))
    bench.fails("relay denied", "user@elsewhere.test", "554 5.7.1", "relay denied", smarthost=host(2525))
    bench.fails("no SMTPUTF8", "jürgen@example.test", "SMTPUTF8", "ASCII", smarthost=host(2528))
    bench.fails("no such smarthost", "user@example.test", "no host of this name", "spelling", smarthost="nosuch.test")
    log = bench.fails("greylisted", "user@example.test", "450 4.2.0", "greylisted", smarthost=host(2526))
    time.sleep(4)
    bench.arrives("no longer greylisted", "user", "user@example.test", smarthost=host(2526))


def other_servers(bench):
    status = bench.send(USER, smarthost=f"{HOST}:2702", **LOGIN)
    # Its delivery agent may still be writing when the server has taken the mail.
    until, path, text = time.monotonic() + 20, f"{bench.folder}/chasquid/box", ""
    while "Subject: Test mail" not in text and time.monotonic() < until:
        time.sleep(0.1)
        text = open(path).read() if os.path.exists(path) else ""
    holds = "error" not in status and "Subject: Test mail" in text
    bench.tally.check("chasquid, STARTTLS and AUTH", holds, f"{status} {text}")
    server = {"smarthost": f"{HOST}:2702"}
    bench.fails("chasquid wants a login", USER, "5.7.9", "give mailuser", **server)
    bench.fails(
        "chasquid, wrong password", USER, "535", "wrong user or password", mailuser=USER, mailpass="x", **server
    )
    # From the first byte the meter speaks TLS on 465 alone.
    bench.fails("TLS at once on another port", USER, "greeting", "465", smarthost=f"{HOST}:2703")


def directly(bench):
    _, log = bench.arrives("MX, by IPv6 first, with TLS", "user", "user@example.test", "ESMTPS")
    bench.tally.check("over IPv6", "connected to [2001:db8::25]:25" in log and "TLS is up" in log, log)
    bench.arrives("implicit MX", "nomx", "x@nomx.test")
    _, log = bench.arrives("the next server after one that refuses", "fallback", "x@fallback.test")
    bench.tally.check("the log says so", "trying the next server" in log, log)
    bench.arrives("the next server after one that is silent", "patient", "x@patient.test")
    bench.arrives("an MX that is an alias", "cnamemx", "x@cnamemx.test")
    bench.arrives("an MX with IPv6 alone", "v6only", "x@v6only.test", "ESMTPS")
    bench.arrives("forty MX, over TCP", "many", "x@many.test")
    _, log = bench.arrives("a certificate of nobody between servers", "unverified", "x@unverified.test", "with ESMTP ")
    bench.tally.check("that is said", "again without TLS" in log, log)
    busy = lambda server, connection: talk(server, connection, answers={"STARTTLS": "454 4.7.0 TLS not available"})
    server = Bad(bench.folder, busy, ("192.0.2.28", 25))
    status = bench.send("x@half.test")
    holds = "error" not in status and server.heard.count("STARTTLS") == 1 and server.heard.count("DATA") == 1
    bench.tally.check("a server whose STARTTLS does not work gets it without", holds, f"{status} {server.heard}")
    bench.arrives("a domain with other letters has an MX", "user", "user@bücher.example.test")
    address = f"user@[{servers.MX1}]"
    bench.fails("an address literal", address, "connected to 192.0.2.25:25", "")
    bench.fails("null MX", "x@nullmx.test", "null MX", "takes no mail")
    bench.fails("an MX without address", "x@dangling.test", "no host of this name", "")
    bench.fails("no such domain", "x@nosuch.test", "no host of this name", "behind the @")
    bench.fails("an MX on the loopback", "x@loop.test", "allow_targets", "allow_targets")
    bench.fails("an MX that is the meter itself", "x@own.test", "allow_targets", "allow_targets")
    bench.fails("a smarthost on the loopback", "x@example.test", "allow_targets", "", smarthost="127.0.0.1:2525")
    bench.fails("a zone that the name server does not serve", "x@other.example", "cannot be looked up", "name servers")
    bench.fails("greylisted by the MX", "x@grey.test", "450 4.2.0", "greylisted")


def faults(bench):
    """smtp-sink's, and those that no real server has."""
    for port, options, reason, remedy in (
        (2540, ["-r", "rcpt"], "RCPT TO: the server answered 450", "minutes"),
        (2541, ["-f", "rcpt"], "RCPT TO: the server answered 500", "spelling"),
        (2542, ["-f", "."], "sending the message: the server answered 500", "unwanted"),
        (2543, ["-q", "data"], "DATA: the other side closed", "hung up"),
        (2544, ["-w", "30"], "DATA: the time", "stopped answering"),
    ):
        process = servers.sink(port, *options)
        servers.wait(MAIL, port)
        bench.fails(f"smtp-sink {' '.join(options)}", "user@example.test", reason, remedy, smarthost=f"{HOST}:{port}")
        process.kill()
        process.wait()

    def drip(line, pause):
        def serve(_, connection):
            while True:
                connection.sendall(line)
                time.sleep(pause)

        return serve

    says = lambda text: lambda _, connection: (connection.sendall(text), connection.recv(100), time.sleep(0.2))
    answers = lambda **them: lambda server, connection: talk(server, connection, answers=them)
    many = "550-" + "x" * 500 + "\r\n"
    cases = [
        ("a banner without end, drop by drop", drip(b"220-hello\r\n", 0.3), "the time", "587 or 465"),
        ("a banner without end, letter by letter", drip(b"2", 0.2), "the time", "587 or 465"),
        ("a line without end", drip(b"2" * 4000, 0), "a line without end", "587 or 465"),
        ("a reply without end", drip(b"220-hello\r\n" * 100, 0), "a reply without end", "587 or 465"),
        ("a web server", says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "no mail server sends", "587 or 465"),
        ("hangs up at once", lambda *_: None, "the other side closed", "465"),
        ("speaks before TLS", answers(STARTTLS="220 go\r\n250 AUTH PLAIN"), "more than its answer", "tampering"),
        ("repeats what it hears", answers(AUTH=f"535 5.7.8 LINE is wrong, {PASSWORD} too"), "535", "password"),
        ("talks without end", answers(RCPT=(many * 99) + "550 5.1.1 no"), "RCPT TO", "spelling"),
    ]
    for name, serve, reason, remedy in cases:
        server = Bad(bench.folder, serve)
        bench.fails(name, "user@example.test", reason, remedy, smarthost=f"{HOST}:{server.port}", **LOGIN)
    _, port, login = HOST, Bad(bench.folder, lambda server, connection: talk(server, connection)).port, LOGIN
    status = bench.send("user@example.test", smarthost=f"{HOST}:{port}", **login)
    bench.tally.check("the scripted server itself takes mail", "error" not in status, status)


def hangs(bench):
    """A server that stops in each phase: the log grows meanwhile, and a cancellation ends it at once."""
    worst = (0, None)
    phases = ["banner", "EHLO", "STARTTLS", "handshake", "AUTH", "MAIL", "RCPT", "DATA", "."]
    targets = []
    for phase in phases:
        server = Bad(bench.folder, lambda server, connection, phase=phase: talk(server, connection, hang=phase))
        targets.append((phase, f"{HOST}:{server.port}"))
    targets.append(("connect", f"{BLACK}:25"))
    dns = servers.silent_dns("192.0.2.99")
    targets.append(("DNS", f"{HOST}:25"))
    for phase, smarthost in targets:
        if phase == "DNS":
            servers.resolver(bench.folder, "192.0.2.99")
        token = bench.begin("user@example.test", smarthost=smarthost, **LOGIN)["token"]
        said = "test mail from" if phase in ("banner", "connect", "DNS") else "< 220"
        until, log = time.monotonic() + SECONDS / 2, ""
        while said not in log and time.monotonic() < until:
            time.sleep(0.2)
            status = bench.meter.status(token)
            log = status.get("result", {}).get("log", "")
        holds = not status["done"] and "test mail from" in log and said in log
        bench.tally.check(f"hangs at {phase}: the log so far is shown", holds, status)
        start = time.monotonic()
        bench.meter.call("POST", "/cmd/cancel", {"token": token})
        status = bench.end(token)
        took = time.monotonic() - start
        worst = max(worst, (took, phase))
        holds = status["error"] == "CANCELED" and status["result"]["log"].endswith("* Cancelled.") and took < 3
        bench.tally.check(f"hangs at {phase}: cancelled", holds, f"{took:.3f} s {status}")
    servers.resolver(bench.folder, servers.DNS)
    dns.close()
    print(f"figure: slowest cancellation {worst[0] * 1000:.0f} ms ({worst[1]}), request to end as seen")
    server = Bad(bench.folder, lambda server, connection: talk(server, connection, hang="RCPT"))
    bench.fails(
        "hangs for good: the deadline",
        "user@example.test",
        "the time",
        "stopped answering",
        smarthost=f"{HOST}:{server.port}",
    )
    server = Bad(bench.folder, lambda server, connection: talk(server, connection, hang="QUIT"))
    start = time.monotonic()
    status = bench.send("user@example.test", smarthost=f"{HOST}:{server.port}")
    took = time.monotonic() - start
    bench.tally.check(
        "a server that hangs at QUIT has taken the mail", "error" not in status and took < 4, f"{took} {status}"
    )


def bodies(bench):
    for body, expect in (
        ({}, "address: missing"),
        ({"address": "a@b\r\nRCPT TO:<c@d>"}, "address: must not contain a line break"),
        ({"address": "a@b", "fromaddr": "x\n@y"}, "fromaddr: must not contain a line break"),
        ({"address": "a@b", "smarthost": "x\r\ny"}, "smarthost: "),
        ({"address": "a@b", "mailpass": "swordfish\n"}, "mailpass: "),
        ({"address": "a@b", "server": "x"}, "unknown field `server`"),
    ):
        reply = bench.meter.call("POST", "/cmd/test-email", body)
        holds = expect in reply.get("error", "") and "token" not in reply and "swordfish" not in str(reply)
        bench.tally.check(f"refused: {expect}", holds, reply)
    server = Bad(bench.folder, lambda server, connection: talk(server, connection, hang="banner"))
    token = bench.begin("user@example.test", smarthost=f"{HOST}:{server.port}")["token"]
    reply = bench.begin("user@example.test", smarthost=f"{HOST}:{server.port}")
    bench.tally.check("one at a time", "running already" in reply.get("error", ""), reply)
    bench.meter.call("POST", "/cmd/cancel", {"token": token})
    bench.end(token)


def in_the_clear(folder, tally, common):
    with Meter(**common, mail={"plain_auth": True, "seconds": SECONDS}) as meter:
        bench = Bench(meter, folder, tally)
        args = {"smarthost": f"{HOST}:2531", **LOGIN}
        _, log = bench.arrives(
            "plain_auth: the login goes out without TLS", "user", "user@example.test", "ESMTPA", **args
        )
        tally.check("and even then by CRAM-MD5", "> AUTH CRAM-MD5" in log, log)
        no_secret(bench, "plain_auth")


def no_secret(bench, where):
    """Looks for every form of the password wherever it must not be."""
    meter = bench.meter
    # While it is needed it is there, so this way of looking does find it.
    server = Bad(bench.folder, lambda server, connection: talk(server, connection, hang="RCPT"))
    token = bench.begin("user@example.test", smarthost=f"{HOST}:{server.port}", **LOGIN)["token"]
    time.sleep(1)
    there = PASSWORD.encode() in core(bench)
    bench.tally.check(f"{where}: a core shows a password that is in use", there)
    bench.meter.call("POST", "/cmd/cancel", {"token": token})
    bench.end(token)
    # A client that keeps its connection, over which the password came.
    kept = meter.connect()
    text = json.dumps({"address": "user@example.test", "smarthost": HOST, **LOGIN})
    kept.request("POST", "/api/cmd/test-email", text, {"Authorization": "Bearer " + meter.token})
    bench.end(json.loads(kept.getresponse().read())["token"])
    # As fresh as can be: a mail that went out with the password, and one that did not.
    bench.send("user@example.test", smarthost=HOST, **LOGIN)
    bench.send("user@example.test", smarthost=f"{HOST}:2531" if where == "plain_auth" else f"{HOST}:9", **LOGIN)
    ledger = str(meter.call("GET", "/sys/ledger"))
    bench.tally.check(f"{where}: the ledger names the address", "test-email user@example.test" in ledger, ledger[:500])
    files = {
        name: open(os.path.join(meter.state, name), "rb").read()
        for name in os.listdir(meter.state)
        if os.path.isfile(os.path.join(meter.state, name))
    }
    places = {
        "status": "\n".join(bench.texts).encode(),
        "ledger": ledger.encode(),
        "log": meter.read_log().encode(),
        **files,
    }
    for name, secret in SECRETS.items():
        found = [place for place, text in places.items() if secret.encode() in text]
        bench.tally.check(f"{where}: {name} is in no log, ledger, status or file", not found, found)
    memory = core(bench)
    kept.close()
    for name, secret in SECRETS.items():
        bench.tally.check(
            f"{where}: {name} is not in the core", secret.encode() not in memory, memory.count(secret.encode())
        )


def core(bench):
    path, pid = os.path.join(bench.folder, "core"), bench.meter.process.pid
    subprocess.run(["gcore", "-o", path, str(pid)], capture_output=True, check=True)
    with open(f"{path}.{pid}", "rb") as file:
        return file.read()


def main():
    folder = servers.namespace()
    tally = Tally()
    servers.resolver(folder, servers.DNS)
    servers.certificates(folder)
    servers.knot(folder)
    servers.postgrey(folder)
    servers.postfix(folder)
    servers.chasquid(folder)
    for address, port in ((MAIL, 587), (servers.MX1, 25), (MAIL, 2702), ("127.0.0.1", 10023)):
        servers.wait(address, port)
    common = {
        "demo": False,
        "identity": {"hostname": "meter1.example.test", "model": "Zähler 1", "serial": "4711"},
        "allow_targets": ["192.0.2.0/24", "2001:db8::/32"],
        "tls": {"ca_file": f"{folder}/ca.pem"},
    }
    parts = [submission, trust, other_servers, asynchronous, directly, faults, hangs, bodies]
    wanted = sys.argv[1:]
    with Meter(**common, mail={"seconds": SECONDS}) as meter:
        bench = Bench(meter, folder, tally)
        for part in parts:
            if not wanted or part.__name__ in wanted:
                part(bench)
        no_secret(bench, "after all that")
    in_the_clear(folder, tally, common)
    own_certificate(lambda meter: Bench(meter, folder, tally), common)
    tally.close()


if __name__ == "__main__":
    main()
