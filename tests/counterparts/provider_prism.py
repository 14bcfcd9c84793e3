"""A part of activate.py: Prism as the provider, behind nginx for its TLS. It knows nothing of meters but an OpenAPI
description, refuses with 422 what does not fit that, and makes up answers that do."""

import json
import os
import socket
import subprocess
import time

from meter import ROOT
from provider import openssl

HERE = os.path.dirname(os.path.abspath(__file__))
PRISM = os.path.join(ROOT, "target", "prism", "node_modules", ".bin", "prism")
NGINX = """daemon off; master_process off; pid {dir}/nginx.pid; error_log {dir}/nginx.log;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {dir}/t; proxy_temp_path {dir}/t; fastcgi_temp_path {dir}/t;
  uwsgi_temp_path {dir}/t; scgi_temp_path {dir}/t;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {dir}/good.pem; ssl_certificate_key {dir}/good.key;
    location / {{ proxy_pass http://127.0.0.1:{fixed}; }}
    location /any {{ proxy_pass http://127.0.0.1:{made_up}; }}
  }}
}}
"""
# Answers that are made up, each another one.
ROUNDS = 8


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as it:
        return it.getsockname()[1]


def wait(port, process, timeout=90):
    until = time.monotonic() + timeout
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} ended with {process.returncode}")
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if until < time.monotonic():
                raise RuntimeError(f"{process.args[0]} does not listen")
            time.sleep(0.1)


def start(certificates):
    """Prism with the answers of the description, Prism with answers of its own, nginx: port of the last, and all three."""
    nonce = openssl(
        *("pkeyutl", "-encrypt", "-pubin", "-inkey", certificates.path("meter.pub")), data=b"sixteen bytes it"
    )
    with open(os.path.join(HERE, "provider_api.json")) as file:
        text = file.read().replace("CHALLENGE", nonce.hex())
    api = certificates.path("provider_api.json")
    with open(api, "w") as file:
        file.write(text)
    ports = {"port": free_port(), "fixed": free_port(), "made_up": free_port()}
    config = certificates.path("nginx.conf")
    with open(config, "w") as file:
        file.write(NGINX.format(dir=certificates.folder, **ports))
    as_root = ["-g", "user root;"] if os.getuid() == 0 else []
    log = open(certificates.path("prism.log"), "w")
    mock = lambda port, *more: [PRISM, "mock", "-h", "127.0.0.1", "-p", str(port), *more, api]
    commands = {
        "fixed": mock(ports["fixed"]),
        "made_up": mock(ports["made_up"], "--dynamic"),
        "port": ["nginx", "-p", certificates.folder, "-c", config, *as_root],
    }
    processes = []
    try:
        for name, command in commands.items():
            processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
            wait(ports[name], processes[-1])
    except BaseException:
        stop(processes)
        raise
    return ports["port"], processes


def stop(processes):
    for it in processes:
        it.terminate()
        it.wait()


def prism(tally, certificates, meter_of, activate):
    """What the meter says fits the description, and what anybody may answer by it is understood."""
    port, processes = start(certificates)
    urls = {name: f"https://localhost:{port}/{name}" for name in ("grant", "refuse", "challenge", "pedantic", "any")}
    try:
        with meter_of(urls) as meter:
            path = os.path.join(meter.state, "service-push.json")
            status = activate(meter, "grant")
            expect = {"activated": True, "signup": "https://push.example.test/welcome"}
            tally.check("Prism takes the introduction", status.get("result") == expect, status)
            # Its description stands in the way of nothing else than the bodies: a proof that did not fit would be a 422.
            for name, words in (
                ("refuse", "refuse refuses: No meter of this number is known."),
                ("challenge", "a second challenge"),
                ("pedantic", "HTTP status 422"),
            ):
                status = activate(meter, name)
                told = " ".join(status.get("args", []))
                tally.check(f"Prism, {name}", status.get("error") == "SRV" and words in told, status)
            seen = set()
            for _ in range(ROUNDS):
                status = activate(meter, "any")
                with open(path) as file:
                    kept = json.load(file)
                good = "error" not in status and kept["provider"] == "any" and ".example.test/" in kept["url"]
                tally.check("Prism's made-up grant is kept", good and "signup" not in kept, f"{status} {kept}")
                seen.add(kept["url"])
            tally.check("they were different ones", 1 < len(seen), seen)
    finally:
        stop(processes)
