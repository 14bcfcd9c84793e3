"""Publishes updates as a vendor would: images and manifests signed with Debian's minisign, behind nginx with every
fault of a mirror, and behind a server that cuts each answer short."""

import hashlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import threading
import time

NGINX = """
daemon off; master_process off; pid {dir}/nginx.pid; error_log {dir}/error.log;
events {{ worker_connections 64; }}
http {{
  log_format request '$status $request_method $uri $http_range $http_if_range';
  access_log {dir}/access.log request;
  client_body_temp_path {dir}/t; proxy_temp_path {dir}/t; fastcgi_temp_path {dir}/t; uwsgi_temp_path {dir}/t;
  scgi_temp_path {dir}/t;
  server {{
    listen 127.0.0.1:{port}; listen 127.0.0.1:{tls_port} ssl; root {root}; include {dir}/hold.conf;
    ssl_certificate {dir}/tls.pem; ssl_certificate_key {dir}/tls.key;
    location ~ ^/slow/(.*\\.bin)$ {{ alias {root}/$1; limit_rate 400k; }}
    location ~ ^/norange/(.*\\.bin)$ {{ alias {root}/$1; max_ranges 0; limit_rate 400k; }}
    location ~ ^/moved/(.*\\.bin)$ {{ return 302 /$1; }}
    location ~ ^/loop/(.*\\.bin)$ {{ return 302 /loop/$1; }}
    location ~ ^/gone/(.*\\.bin)$ {{ return 410; }}
    location ~ ^/busy/(.*\\.bin)$ {{ add_header Retry-After 1 always; return 503; }}
    location ~ ^/hangup/(.*\\.bin)$ {{ return 444; }}
    location ~ ^/(?:slow|norange|moved|loop|gone|busy|hangup)/(.*)$ {{ alias {root}/$1; }}
  }}
}}
"""


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


class Publisher:
    """A folder of updates, its keys and its servers; everything goes with it."""

    def __init__(self, folder):
        self.dir = folder
        self.root = os.path.join(folder, "root")
        os.makedirs(self.root)
        os.makedirs(os.path.join(folder, "t"))
        self.public_key = self.make_key("vendor")
        self.make_key("stranger")
        self.port, self.tls_port = free_port(), free_port()
        self.certificate = os.path.join(folder, "tls.pem")
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=vendor"]
        names = ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]
        files = ["-out", self.certificate, "-keyout", os.path.join(folder, "tls.key")]
        subprocess.run([*command, *names, *files], check=True, capture_output=True)
        self.config = os.path.join(folder, "nginx.conf")
        with open(self.config, "w") as file:
            file.write(NGINX.format(dir=folder, root=self.root, port=self.port, tls_port=self.tls_port))
        self.cutter = Cutter(self.root)
        self.hold_after(None)
        self.start()

    def start(self):
        # Started by root, nginx works as another user, who cannot enter a private folder.
        as_root = ["-g", "user root;"] if os.getuid() == 0 else []
        command = ["nginx", "-p", self.dir, "-c", self.config, *as_root]
        self.nginx = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def restart(self, pause):
        """Goes away at once, and comes back after `pause` seconds."""
        self.nginx.terminate()
        self.nginx.wait()
        time.sleep(pause)
        self.start()

    def hold_after(self, length):
        """Each answer crawls once this many bytes of it are sent, so that a test can do something at that point; with
        None it does not. Counts from the next start or restart."""
        with open(os.path.join(self.dir, "hold.conf"), "w") as file:
            file.write(f"limit_rate_after {length}; limit_rate 1k;\n" if length else "")

    def close(self):
        self.nginx.terminate()
        self.nginx.wait()
        self.cutter.close()

    def url(self, fault=""):
        return f"http://127.0.0.1:{self.port}" + (f"/{fault}" if fault else "")

    def key(self, name):
        return os.path.join(self.dir, name + ".key")

    def make_key(self, name):
        public = os.path.join(self.dir, name + ".pub")
        command = ["minisign", "-G", "-W", "-f", "-p", public, "-s", self.key(name)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with open(public) as file:
            return file.read().splitlines()[1]

    def image(self, name, content, target="fw", branch="stable"):
        """Puts an image there, and gives back what a manifest says of it."""
        folder = os.path.join(self.root, target, branch)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content)
        digest = hashlib.sha256(content).hexdigest()
        return {"image": name, "size": len(content), "sha256": digest, "released": "2026-11-20"}

    def publish(self, *images, target="fw", branch="stable", issued="2026-11-22T10:00:00Z", key="vendor", legacy=False):
        """A signed manifest; `images` are dicts with at least a version and what `image` gave."""
        entries = [{"minimum": None, "hardware": ["1"], **it} for it in images]
        manifest = {"format": 1, "target": target, "branch": branch, "issued": issued, "images": entries}
        folder = os.path.join(self.root, target, branch)
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, "manifest.json")
        with open(path, "w") as file:
            json.dump(manifest, file)
        command = ["minisign", "-S", "-s", self.key(key), "-m", path] + (["-l"] if legacy else [])
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return path

    def requests(self):
        """What nginx was asked for of images, since the last look: status, path, Range, If-Range."""
        # nginx writes its line after the answer, which the client may have read by then.
        time.sleep(0.5)
        path = os.path.join(self.dir, "access.log")
        with open(path) as file:
            lines = [line.split() for line in file]
        with open(path, "w"):
            pass
        return [(int(it[0]), it[2], it[3], it[4]) for it in lines if it[2].endswith(".bin")]


class Cutter:
    """Announces the whole and sends at most `cut` bytes of it; knows ranges, so that it can be gone on from there."""

    def __init__(self, root):
        self.cut = 1_000_000
        self.asked = []
        cutter = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                with open(root + self.path, "rb") as file:
                    data = file.read()
                first = 0
                if "Range" in self.headers:
                    first = int(self.headers["Range"].split("=")[1].split("-")[0])
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
                else:
                    self.send_response(200)
                if self.path.endswith(".bin"):
                    cutter.asked.append(first)
                self.send_header("Content-Length", str(len(data) - first))
                self.end_headers()
                self.wfile.write(data[first : first + cutter.cut])
                self.close_connection = True

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def remove(folder):
    shutil.rmtree(folder, ignore_errors=True)
