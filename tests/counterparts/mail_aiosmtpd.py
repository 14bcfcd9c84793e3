"""A part of mail.py: aiosmtpd as the counterpart, whose handlers see what really came."""

import ssl

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from mail_servers import MAIL, PASSWORD, USER

LOGIN = {"mailuser": USER, "mailpass": PASSWORD}


def asynchronous(bench):
    """Mails to it; what came is compared in memory."""

    class Handler:
        envelopes = []
        grey = set()

        async def handle_RCPT(self, server, session, envelope, address, options):
            if address.startswith("grey") and address not in self.grey:
                self.grey.add(address)
                return "451 4.7.1 Please try again later"
            if address.startswith("refused"):
                return "550 5.1.1 No such user"
            envelope.rcpt_tos.append(address)
            return "250 OK"

        async def handle_DATA(self, server, session, envelope):
            self.envelopes.append((envelope.rcpt_tos, session.ssl is not None, session.auth_data, envelope.content))
            return "250 2.0.0 stored"

    def authenticate(server, session, envelope, mechanism, data):
        good = isinstance(data, LoginPassword) and data == LoginPassword(USER.encode(), PASSWORD.encode())
        return AuthResult(success=good, auth_data=mechanism)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{bench.folder}/mail.pem", f"{bench.folder}/mail.key")
    handler = Handler()
    common = {"tls_context": context, "require_starttls": True, "auth_required": True, "authenticator": authenticate}
    controllers = [
        Controller(handler, MAIL, 2602, **common),
        Controller(handler, MAIL, 2603, auth_exclude_mechanism=["PLAIN"], **common),
        Controller(handler, MAIL, 2604),
    ]
    for it in controllers:
        it.start()
    for port, mechanism in ((2602, "PLAIN"), (2603, "LOGIN")):
        status = bench.send("user@example.test", smarthost=f"mail.example.test:{port}", **LOGIN)
        got = handler.envelopes[-1] if handler.envelopes else None
        holds = "error" not in status and got and got[:3] == (["user@example.test"], True, mechanism)
        bench.tally.check(f"aiosmtpd, STARTTLS and AUTH {mechanism}", holds, f"{status} {got}")
        holds = got and not any(line.startswith(b"..") for line in got[3].splitlines())
        bench.tally.check(f"its text is whole ({mechanism})", holds and b"energy meter" in got[3], got)
    server = f"mail.example.test:2604"
    bench.fails("aiosmtpd refuses for now", "grey1@example.test", "451 4.7.1", "some minutes", smarthost=server)
    status = bench.send("grey1@example.test", smarthost=server)
    bench.tally.check("and takes it the next time", "error" not in status, status)
    bench.fails("aiosmtpd knows no such user", "refused@example.test", "550 5.1.1", "spelling", smarthost=server)
    bench.fails("no login there", "user@example.test", "not offer TLS", "587", smarthost=server, **LOGIN)
    for it in controllers:
        it.stop()
