"""The other sides of what the bench measures with TLS: an update server and a mail server, by the tests' own modules.

Prints one line of JSON that says where they are, and ends with its standard input."""

import json
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "counterparts"))

from aiosmtpd.controller import Controller  # noqa: E402
from certificates import Certificates  # noqa: E402
from publisher import Publisher, free_port  # noqa: E402


class Sink:
    async def handle_DATA(self, server, session, envelope):
        return "250 OK"


def main():
    with tempfile.TemporaryDirectory(prefix="meterd-bench-outward-") as folder:
        certificates = Certificates(folder)
        certificates.leaf("mail", "DNS:localhost")
        publisher = Publisher(os.path.join(folder, "vendor"))
        image = publisher.image("fw.bin", os.urandom(16 << 20))
        publisher.publish({"version": "2.0", **image})
        mail = Controller(Sink(), hostname="127.0.0.1", port=free_port(), tls_context=certificates.context("mail"))
        mail.start()
        ca = os.path.join(folder, "both.pem")
        with open(ca, "w") as file:
            for path in (certificates.path("ca.pem"), publisher.certificate):
                with open(path) as part:
                    file.write(part.read())
        where = {
            "ca_file": ca,
            "update": f"https://localhost:{publisher.tls_port}",
            "public_key": publisher.public_key,
            "smarthost": f"localhost:{mail.port}",
        }
        print(json.dumps(where), flush=True)
        sys.stdin.read()
        mail.stop()
        publisher.close()


main()
