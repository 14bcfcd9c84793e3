"""A part of mail.py: servers whose certificate is not to be trusted, each told apart in the log's last line, and the
remedies that this line names."""

from mail_servers import PASSWORD, USER
from meter import Meter

HOST = "mail.example.test"
LOGIN = {"mailuser": USER, "mailpass": PASSWORD}
# Port of the smarthost, what the log says went wrong, and what its last line says of it.
CASES = {
    "of another name": (2530, "the certificate is for another name", "(TLS name mismatch)"),
    "that has expired": (2535, "the certificate has expired", "has expired: check the meter's clock first"),
    "of nobody known": (2536, "does not trust", "nobody known vouches for the server's certificate"),
    "of nobody but itself": (2533, "the certificate is self-signed", "is self-signed: if the server is yours"),
    "as openssl makes it": (2534, "the certificate is an authority's own", "make it one that is none (CA:FALSE)"),
}


def trust(bench):
    """Neither a mail nor a password gets to a server that is not the one it says to be."""
    last = {}
    for name, (port, reason, remedy) in CASES.items():
        log = bench.fails(
            f"a certificate {name}", "user@example.test", reason, remedy, smarthost=f"{HOST}:{port}", **LOGIN
        )
        last[name] = log.splitlines()[-1][8:] if log else ""
        bench.tally.check(f"a certificate {name}: nobody logs in", "AUTH PLAIN ***" not in log, log)
    bench.tally.check("each has its own remedy", len(set(last.values())) == len(CASES), last)


def own_certificate(bench_of, common):
    """What the last line advises for a self-signed one does help."""
    with Meter(**{**common, "tls": {"ca_file": common["tls"]["ca_file"].replace("ca.pem", "self.pem")}}) as meter:
        bench = bench_of(meter)
        server = f"{HOST}:2533"
        bench.arrives(
            "a self-signed certificate in tls.ca_file", "user", "user@example.test", "ESMTPSA", smarthost=server, **LOGIN
        )
        reason, remedy = "does not trust", "nobody known"
        bench.fails("then others are not trusted", "user@example.test", reason, remedy, smarthost=f"{HOST}:2525")
