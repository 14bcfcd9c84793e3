"""Activation against providers over TLS: httpbin, Prism, and a server of our own with a handshake and many faults."""

import json
import os
import signal
import stat
import tempfile
import threading
import time

from meter import Client, Meter, Tally
from provider import GRANT, PASSWORD, Credentials, Plain, Provider, Silent, httpbin
from provider_prism import prism

# From a cancellation to the operation's end: 250 ms of the driver, and what the journal, the poll and the machine take.
CANCEL_WITHIN = 0.6


def providers(urls):
    return [{"name": name, "control": url} for name, url in urls.items()]


def settings(certificates, urls, **more):
    return {
        "identity": {"hostname": "meter-7", "serial": "0007"},
        "tls": {"ca_file": certificates.path("ca.pem")},
        "providers": {"push": providers(urls), "decrypt": certificates.decrypt(), "options": ["json", "gzip"]},
        "allow_targets": ["127.0.0.1"],
        **more,
    }


def begin(meter, provider, service="push"):
    reply = meter.call("POST", "/cmd/activate", {"service": service, "provider": provider})
    if "token" not in reply:
        raise RuntimeError(f"{provider}: {reply}")
    return reply["token"]


def activate(meter, provider):
    return meter.finish(begin(meter, provider), timeout=90)


def active(meter, path="/config/push/service"):
    return meter.call("GET", path)["result"]


def successes(tally, meter, provider):
    """What works, and what is left of it."""
    listed = meter.call("GET", "/providers/push")
    names = [it["name"] for it in listed["reply"]["providers"]]
    tally.check("providers are listed in a reply", names[:2] == ["proof", "grant"], listed)
    first = listed["reply"]["providers"][0]
    tally.check("with their URLs", first == {"name": "proof", "control": provider.url + "/prove", "version": 1}, first)
    tally.check("there are none for alerts", meter.call("GET", "/providers/alert") == {"reply": {"providers": []}})
    tally.check("nothing is active at first", active(meter) == "")

    status = activate(meter, "proof")
    result = {"activated": True, "signup": GRANT["signup"]}
    tally.check("a challenge is answered", status.get("result") == result and status["progress"] == 1.0, status)
    said = [it[2] for it in provider.seen if it[1] == "/prove"]
    expect = {"name": "meter-7", "sn": "0007", "opts": ["json", "gzip"]}
    tally.check("the meter says who it is", said[0] == expect and set(said[1]) == {"cnnc", "hash", "rid"}, said)
    tally.check("the provider is shown", active(meter) == "proof")
    path = os.path.join(meter.state, "service-push.json")
    with open(path) as file:
        kept = json.load(file)
    wanted = {name: GRANT[name] for name in ("url", "options", "user", "pw")}
    tally.check("what it gave is kept", kept == {"provider": "proof", **wanted}, sorted(kept))
    tally.check("for the owner alone", stat.S_IMODE(os.stat(path).st_mode) == 0o600)

    status = activate(meter, "bare")
    tally.check("without signup the result has none", status.get("result") == {"activated": True}, status)
    with open(path) as file:
        tally.check("the new one is in the old one's place", json.load(file) == {"provider": "bare", "url": GRANT["url"]})
    for name in ("moved 307", "moved 308", "moved 301"):
        status = activate(meter, name)
        tally.check(f"{name} is followed", active(meter) == name and "error" not in status, status)
    for name in ("httpbin", "httpbin redirects"):
        status = activate(meter, name)
        tally.check(f"{name}: its echo has a URL", active(meter) == name and "error" not in status, status)


def faults(tally, meter):
    """Whatever goes wrong is told, and the service stays as it was."""
    activate(meter, "grant")
    expected = {
        "refuse": ("SRV", "refuse refuses: No meter of this number is known."),
        "twice": ("SRV", "a second challenge"),
        "nonsense list": ("SRV", "no JSON object"),
        "nonsense empty": ("SRV", "no JSON object"),
        "nonsense html": ("SRV", "no JSON object"),
        "nonsense nothing": ("SRV", "neither error nor nnc nor url"),
        "nonsense url": ("SRV", "url is no http or https URL"),
        "huge": ("SRV", "longer than 65536 bytes"),
        "endless": ("SRV", "longer than 65536 bytes"),
        "head": ("SRV", "head: "),
        "cut": ("SRV", "closed the connection too early"),
        "loop": ("SRV", "more than 5 redirects"),
        "moved 303": ("SRV", "This is no GET."),
        "down": ("SRV", "only HTTPS is allowed there"),
        "inside": ("SRV", "169.254.169.254: a link-local address"),
        "self": ("SRV", "127.0.0.2: a loopback address"),
        "file": ("SRV", "the URL is not usable"),
        "plain": ("SRV", "TLS: the other side does not speak TLS"),
        "wrong": ("SRV", "TLS: the certificate is for another name: wanted localhost, it has"),
        "unknown": ("SRV", "TLS: the certificate is of an issuer that the meter does not trust"),
        "expired": ("SRV", "TLS: the certificate has expired"),
        "early": ("SRV", "TLS: the certificate is not valid yet"),
        "self": ("SRV", "TLS: the certificate is self-signed"),
        "default": ("SRV", "TLS: the certificate is an authority's own"),
        "closed": ("SRV", "connection refused; nothing listens there"),
        "noname": ("SRV", "noname: nosuchhost.invalid"),
        "http": ("SRV", "connection refused"),
        **{f"httpbin {code}": ("SRV", f"HTTP status {code}") for code in (400, 401, 404, 418, 429, 500, 503)},
    }
    for name, (tag, text) in expected.items():
        status = activate(meter, name)
        told = " ".join(status.get("args", []))
        tally.check(f"{name} is told", status.get("error") == tag and text in told and len(status["args"]) == 1, status)
    tally.check("the service is as before", active(meter) == "grant")


def cancels(tally, meter, certificates):
    """A cancellation is seen at once, whatever is being waited for."""
    worst = 0
    open(certificates.path("slow"), "w").close()
    for name in ("silent", "full", "hang", "halfway", "drip", "slow key", "httpbin delay"):
        token = begin(meter, name)
        time.sleep(0.7)
        running = not meter.status(token)["done"]
        started = time.monotonic()
        meter.call("POST", "/cmd/cancel", {"token": token})
        status = meter.finish(token)
        took = time.monotonic() - started
        worst = max(worst, took)
        ended = running and status.get("error") == "CANCELED" and took < CANCEL_WITHIN
        tally.check(f"{name} can be cancelled", ended, f"{running} {took:.2f} s {status}")
    os.remove(certificates.path("slow"))
    print(f"figure: a cancelled activation ends after at most {worst:.2f} s")
    tally.check("the service is as before", active(meter) == "grant")


def rights(tally, meter):
    """Who may see and end services."""
    meter.cli("user", "set", "viewer", "--priv", "view_settings", stdin="viewers word")
    meter.process.send_signal(signal.SIGHUP)
    viewer = Client(meter.port, "viewer", "viewers word")
    viewer.login_once_known()
    token = {"Authorization": "Bearer " + viewer.token}
    tally.check("a viewer sees the service", viewer.call("GET", "/config/push/service") == {"result": "grant"})
    tally.check("but cannot end it", viewer.raw("DELETE", "/config/push/service", None, token)[0] == 401)
    tally.check("nor activate one", viewer.raw("POST", "/cmd/activate", "{}", token)[0] == 401)
    status, headers, _ = viewer.raw("POST", "/config/push/service", "{}", token)
    tally.check("other methods are refused", (status, headers["Allow"]) == (405, "GET, DELETE"), status)
    reply = meter.call("POST", "/cmd/activate", {"service": "push", "provider": "nobody"})
    tally.check("an unknown provider is told", "provider: unknown" in reply.get("error", ""), reply)
    reply = meter.call("POST", "/cmd/activate", {"service": "alert", "provider": "grant"})
    tally.check("a missing key is named", "providers.alert" in reply.get("error", ""), reply)


def survives(tally, meter):
    """Over a restart, and its end."""
    token = begin(meter, "hang")
    time.sleep(0.3)
    meter.kill()
    meter.start()
    status = meter.status(token)
    tally.check("a restart interrupts an activation", status.get("error") == "INTERRUPTED" and status["done"], status)
    tally.check("and keeps the service", active(meter) == "grant")
    tally.check("the other service is another", active(meter, "/config/alert/reporter/web/service") == "")
    for _ in range(2):
        tally.check("a service can be ended", meter.call("DELETE", "/config/push/service") == {"status": "OK"})
        tally.check("and is gone then", active(meter) == "")
    left = [it for it in os.listdir(meter.state) if it.startswith("service")]
    tally.check("with its file", not left, left)


def secrets_stay(tally, meter):
    """The provider's password is in the file that was kept, and nowhere else."""
    ledger = json.dumps(meter.call("GET", "/sys/ledger"))
    tally.check("the ledger knows who activated what", "activate push proof" in ledger, ledger[:300])
    places = [ledger, meter.read_log()]
    for name in os.listdir(meter.state):
        path = os.path.join(meter.state, name)
        if os.path.isfile(path) and name != "service-push.json":
            with open(path, "rb") as file:
                places.append(file.read().decode("latin-1"))
    tally.check("the password is nowhere else", not any(PASSWORD in it for it in places))


def late(certificates, results):
    """One deadline for the whole of it, with another meter, because it takes a minute."""
    provider = Provider(certificates)
    with Meter(demo=False, **settings(certificates, {"drip": provider.url + "/drip"})) as meter:
        started = time.monotonic()
        results.append((activate(meter, "drip"), time.monotonic() - started))


def strict(tally, certificates, provider):
    """Without allow_targets nothing on loopback is reached."""
    more = settings(certificates, {"here": provider.url + "/grant", "plain": "http://192.0.2.1/"}, allow_targets=[])
    with Meter(demo=False, **more) as meter:
        before = len(provider.seen)
        status = activate(meter, "here")
        told = " ".join(status.get("args", []))
        tally.check("loopback is refused", "a loopback address" in told and "allow_targets" in told, status)
        status = activate(meter, "plain")
        tally.check("plain HTTP is refused", "only HTTPS" in " ".join(status.get("args", [])), status)
        tally.check("and nobody was asked", len(provider.seen) == before)


def main():
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="meterd-providers-") as folder:
        certificates = Credentials(folder)
        results = []
        minute = threading.Thread(target=late, args=(certificates, results))
        minute.start()
        provider, bad = Provider(certificates), {}
        for leaf in ("wrong", "unknown", "expired", "early", "self", "default"):
            bad[leaf] = Provider(certificates, leaf)
        silent, full, closed = Silent(), Silent(full=True), Silent()
        closed.socket.close()
        port, process = httpbin(certificates)
        bin_url = f"https://localhost:{port}"
        own = {name: f"{provider.url}/{name}" for name in "refuse twice huge endless head cut loop hang halfway drip".split()}
        redirects = {f"moved {code}": f"{provider.url}/go/{code}//grant" for code in (301, 303, 307, 308)}
        urls = {
            "proof": provider.url + "/prove",
            "grant": provider.url + "/grant",
            "bare": provider.url + "/bare",
            **own,
            **redirects,
            **{f"nonsense {it}": f"{provider.url}/nonsense/{it}" for it in "list empty html nothing url".split()},
            "down": f"{provider.url}/go/307/http://localhost:PORT/grant",
            "inside": f"{provider.url}/go/307/https://169.254.169.254/latest",
            "self": f"{provider.url}/go/302/https://127.0.0.2:PORT/grant",
            "file": f"{provider.url}/go/302/file:///etc/passwd",
            "plain": f"https://localhost:{Plain().port}/",
            **{name: it.url + "/grant" for name, it in bad.items()},
            "closed": f"https://localhost:{closed.port}/",
            "http": f"http://localhost:{closed.port}/",
            "noname": "https://nosuchhost.invalid/",
            "slow key": provider.url + "/prove",
            "silent": f"https://localhost:{silent.port}/",
            "full": f"https://localhost:{full.port}/",
            "httpbin": bin_url + "/post",
            "httpbin redirects": bin_url + "/redirect-to?url=/post&status_code=307",
            "httpbin delay": bin_url + "/delay/9",
            **{f"httpbin {code}": f"{bin_url}/status/{code}" for code in (400, 401, 404, 418, 429, 500, 503)},
        }
        try:
            with Meter(demo=False, **settings(certificates, urls)) as meter:
                successes(tally, meter, provider)
                faults(tally, meter)
                cancels(tally, meter, certificates)
                rights(tally, meter)
                secrets_stay(tally, meter)
                survives(tally, meter)
            strict(tally, certificates, provider)
            prism(tally, certificates, lambda urls: Meter(demo=False, **settings(certificates, urls)), activate)
        finally:
            process.terminate()
            process.wait()
            minute.join()
        status, took = results[0]
        told = " ".join(status.get("args", []))
        tally.check("a minute is the end of it", "within 60 s" in told and 59 < took < 80, f"{took:.1f} {status}")
    tally.close()


main()
