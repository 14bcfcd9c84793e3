"""TLS in front: Debian's nginx and lighttpd with the snippets of init/, over a Unix socket."""

import base64
import hashlib
import http.client
import json
import os
import pwd
import secrets
import signal
import socket
import ssl
import subprocess
import time

from meter import PASSWORD, ROOT, Meter, Tally, chunks

WEB = pwd.getpwnam("www-data")


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def snippet(name, front):
    with open(os.path.join(ROOT, "init", name)) as file:
        return file.read().replace("/run/meterd/front.sock", front)


def nginx(folder, front, port):
    """A whole configuration around the snippet, everything below `folder`."""
    paths = "\n".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = f"""
daemon off; user www-data; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log info;
events {{ worker_connections 64; }}
http {{ access_log off; {paths}
server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
{snippet("nginx.conf", front)} }} }}
"""
    path = os.path.join(folder, "nginx.conf")
    with open(path, "w") as file:
        file.write(text)
    return ["nginx", "-c", path, "-e", f"{folder}/nginx.log"]


def lighttpd(folder, front, port):
    root = os.path.join(folder, "root")
    os.makedirs(root, exist_ok=True)
    text = f"""
server.modules = ( "mod_openssl" )
server.document-root = "{root}"
server.bind = "127.0.0.1"
server.port = {port}
server.username = "www-data"
server.groupname = "www-data"
server.upload-dirs = ( "{folder}/uploads" )
ssl.engine = "enable"
ssl.pemfile = "{folder}/cert.pem"
ssl.privkey = "{folder}/key.pem"
{snippet("lighttpd.conf", front)}
"""
    path = os.path.join(folder, "lighttpd.conf")
    with open(path, "w") as file:
        file.write(text)
    return ["lighttpd", "-D", "-f", path]


class Front:
    """A client that speaks TLS to the front and knows nothing of what is behind."""

    def __init__(self, port, ca):
        self.port = port
        self.context = ssl.create_default_context(cafile=ca)
        self.token = None

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPSConnection("localhost", self.port, timeout=30, context=self.context)
        try:
            connection.request(method, "/api" + path, body, headers or {})
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def call(self, method, path, body=None, **headers):
        fields = {"Authorization": "Bearer " + self.token, **{name.replace("_", "-"): it for name, it in headers.items()}}
        status, reply = self.ask(method, path, None if body is None else json.dumps(body), fields)
        return status, json.loads(reply)

    def login(self, digest=True, **headers):
        challenge = json.loads(self.ask("GET", "/auth/unauthorized")[1])
        login = {"rlm": challenge["rlm"], "usr": "owner"}
        if digest:
            md5 = lambda text: hashlib.md5(text.encode()).hexdigest()
            client_nonce = secrets.token_hex(16)
            ha1 = md5(f"owner:{challenge['rlm']}:{PASSWORD}")
            login.update(nnc=challenge["nnc"], cnnc=client_nonce, hash=md5(f"{ha1}:{challenge['nnc']}:{client_nonce}"))
        else:
            login["pwd"] = PASSWORD
        fields = {name.replace("_", "-"): it for name, it in headers.items()}
        _, reply = self.ask("POST", "/auth/login", json.dumps(login), fields)
        reply = json.loads(reply)
        self.token = reply.get("jwt", self.token)
        return reply


def await_port(port, process):
    for _ in range(200):
        if process.poll() is not None:
            raise RuntimeError(f"the front ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the front does not listen")


def try_front(tally, name, configure):
    meter = Meter()
    os.chmod(meter.dir, 0o755)
    front = os.path.join(meter.dir, "front.sock")
    with open(meter.config) as file:
        config = json.load(file)
    config["listen"] = ["127.0.0.1:0", {"unix": front, "forwarded": "last", "front_uids": [WEB.pw_uid]}]
    config["secure_only"] = True
    with open(meter.config, "w") as file:
        json.dump(config, file)
    os.makedirs(os.path.join(meter.dir, "uploads"))
    os.chown(os.path.join(meter.dir, "uploads"), WEB.pw_uid, WEB.pw_gid)
    cert = os.path.join(meter.dir, "cert.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        + ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        + ["-keyout", os.path.join(meter.dir, "key.pem"), "-out", cert],
        check=True,
        capture_output=True,
    )
    port = free_port()
    with meter, open(os.path.join(meter.dir, "front.log"), "w") as log:
        process = subprocess.Popen(configure(meter.dir, front, port), stdout=log, stderr=log)
        try:
            await_port(port, process)
            judge(tally, name, meter, Front(port, cert))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)


def judge(tally, name, meter, front):
    check = lambda what, holds, detail="": tally.check(f"{name}: {what}", holds, detail)
    status, body = front.ask("GET", "/auth/unauthorized")
    check("401 with a nonce comes through", status == 401 and b"nnc" in body, body)
    check("a digest login works", "jwt" in front.login())
    check("a password login works, since the way is encrypted", "jwt" in front.login(digest=False))
    reply = front.login(digest=False, X_Forwarded_Proto="http", X_Forwarded_For="10.1.1.1")
    check("a client's own X-Forwarded-Proto changes nothing", "jwt" in reply, reply)
    status, _, body = meter.raw("GET", "/auth/unauthorized")
    check("the plain listener refuses", status == 403, (status, body))
    _, reply = front.call("GET", "/sys/time", X_Forwarded_For="203.0.113.9, 198.51.100.1")
    check("requests with a forged X-Forwarded-For are served", "result" in reply, reply)
    front.call("POST", "/cmd/db", {"action": "zero", "from": "1", "to": "2"}, X_Forwarded_For="203.0.113.9")
    _, ledger = front.call("GET", "/sys/ledger")
    peers = {line["peer"] for line in ledger["result"]}
    check("and the ledger has the true peer", peers == {"127.0.0.1"}, peers)
    text = front.ask("GET", "/register?format=backup", None, {"Authorization": "Bearer " + front.token})[1].decode()
    check("a backup comes through whole", text.count("\n") > 1000, text[:200])
    lines = text.splitlines()
    # Plain text, made as large as a chunk may be, so that it is an upload.
    while len("\n".join(lines)) < 1_400_000:
        stamp, rest = lines[-1].split(",", 1)
        lines += [f"{int(stamp) - 60 * n},{rest}" for n in range(1, 5000)]
    (data,) = chunks("\n".join(lines) + "\n", 10**7, pack=False)
    data = base64.b64encode(data[: 1_500_000].rpartition(b"\n")[0] + b"\n").decode()
    body = {"action": "restore", "data": data}
    status, reply = front.ask("POST", "/cmd/db", json.dumps(body))
    check("an upload without a token is 401 with a nonce", status == 401 and b"nnc" in reply, (status, reply[:200]))
    status, reply = front.call("POST", "/cmd/db", body)
    check("an upload of 2 MB is taken", reply.get("status") in ("OK", "in progress"), (status, str(reply)[:300]))
    status, reply = front.ask("GET", "/nothing", None, {"Authorization": "Bearer " + front.token})
    check("404 comes through", status == 404, status)


def main():
    tally = Tally()
    for name, configure in (("nginx", nginx), ("lighttpd", lighttpd)):
        try_front(tally, name, configure)
    tally.close()


main()
