"""Certificates for servers of the tests: authorities, leaves of any name and date, and self-signed ones, by openssl."""

import os
import ssl
import subprocess

KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes".split()


def openssl(*args, data=None):
    return subprocess.run(["openssl", *args], input=data, capture_output=True, check=True).stdout


class Certificates:
    """A folder of them: `NAME.pem` with `NAME.key`. The authority `ca` is there from the start."""

    def __init__(self, folder):
        self.folder = folder
        self.authority("ca")

    def path(self, name):
        return os.path.join(self.folder, name)

    def authority(self, name):
        self.self_signed(name, f"/CN={name}")
        open(self.path(name + ".index"), "w").close()

    def self_signed(self, name, subject, *options):
        """As openssl makes it by default, which is an authority's."""
        out = ["-keyout", self.path(name + ".key"), "-out", self.path(name + ".pem")]
        openssl("req", "-x509", *KEY, "-days", "30", "-subj", subject, *out, *options)

    def leaf(self, name, names, authority="ca", dates=("20250101000000Z", "20480101000000Z")):
        out = ["-keyout", self.path(name + ".key"), "-out", self.path(name + ".csr")]
        openssl("req", *KEY, "-subj", "/CN=leaf", *out)
        config = self.path("ca.conf")
        with open(config, "w") as file:
            file.write(
                f"[ca]\ndefault_ca=d\n[d]\ndatabase={self.path(authority + '.index')}\nnew_certs_dir={self.folder}\n"
                f"default_md=sha256\npolicy=p\nunique_subject=no\nrand_serial=yes\n[p]\ncommonName=supplied\n"
                f"[e]\nsubjectAltName={names}\nextendedKeyUsage=serverAuth\n"
            )
        openssl(
            *("ca", "-batch", "-config", config, "-extensions", "e", "-startdate", dates[0], "-enddate", dates[1]),
            *("-cert", self.path(authority + ".pem"), "-keyfile", self.path(authority + ".key")),
            *("-in", self.path(name + ".csr"), "-out", self.path(name + ".pem")),
        )

    def context(self, name):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path(name + ".pem"), self.path(name + ".key"))
        return context
