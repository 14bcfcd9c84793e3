"""The public client libraries, unmodified, against the real service: `egauge-python` for the whole story of a restore,
`egauge-async` for login, rights, registers and logout."""

import asyncio
import base64
import gzip
import time

import httpx
from egauge.webapi import JSONAPIError
from egauge.webapi.auth import JWTAuth
from egauge.webapi.device import Device
from egauge.webapi.device.slop import SLOPStatus
from egauge_async.json.auth import JwtAuthManager
from egauge_async.json.client import EgaugeJsonClient

from meter import CHUNK, PASSWORD, Meter, Tally, backup_text

REGISTERS = [("Grid", "P"), ("Grid+", "P"), ("Solar", "P"), ("Solar+", "P")]
MINUTES = 525_600
tally = Tally()


def year(newest):
    """A year of minute rows, youngest first, as counters of the file."""
    counters = [10**9, 10**9, 0, 0]
    rows = []
    for at in range(MINUTES, 0, -1):
        rows.append((newest - (MINUTES - at) * 60, tuple(counters)))
        grid = (at * 7919 % 4001) - 1500
        solar = at * 104729 % 2500
        counters[0] -= grid * 60
        counters[1] -= max(grid, 0) * 60
        counters[2] -= solar * 60
        counters[3] -= solar * 60
    return rows


def packed(text):
    """Cuts a backup into chunks that fit 2 MiB of base64 each, youngest first."""
    lines = text.splitlines(keepends=True)
    head, rows = "".join(lines[:2]), lines[2:]
    step = 90_000
    for at in range(0, len(rows), step):
        data = gzip.compress((head + "".join(rows[at : at + step])).encode(), 6)
        assert len(data) <= CHUNK, len(data)
        yield base64.b64encode(data).decode(), at + step < len(rows)


def follow(device, token):
    """Watches an operation through the library's own stream: every status it gave."""
    res = []
    for status in SLOPStatus.stream(device, token, timeout=10):
        res.append((status.done, status.info_message(), status.error, status.progress, status.ts))
        if not status.done:
            time.sleep(0.02)
    return res


def refused(device, **body):
    try:
        return f"accepted: {device.post('/cmd/db', body)}"
    except JSONAPIError as err:
        return str(err.args[0])


def story(meter):
    uri = f"http://127.0.0.1:{meter.port}"
    device = Device(uri, JWTAuth("owner", PASSWORD))
    newest = int(time.time()) // 60 * 60 - 60
    text = backup_text(REGISTERS, year(newest))
    # The very first call of this client is a 2 MiB body without a token.
    operations = []
    for data, more in packed(text):
        reply = device.post("/cmd/db", {"action": "restore", "data": data, "more_chunks": more})
        operations.append(reply["token"])
    seen = [follow(device, token)[-1] for token in operations]
    tally.check("a year is restored in chunks", all(it[0] and it[2] is None for it in seen), seen)
    tally.check("progress ends at 1.0", all(it[3] == 1.0 for it in seen), seen)
    with meter.database() as connection:
        count = connection.execute("SELECT count(*) FROM row").fetchone()[0]
    tally.check(f"all {MINUTES} rows are there", count == MINUTES, count)

    headers = {"Authorization": "Bearer " + meter.login()}
    _, _, body = meter.raw("GET", "/register?format=backup", None, headers)
    back = body.decode().splitlines()
    tally.check("the backup reads back what was restored", back[2:] == text.splitlines()[2:], back[:4])

    reply = device.post("/cmd/db", {"action": "zero", "from": str(newest - 86400), "to": str(newest), "regs": [2, 3]})
    steps = follow(device, reply["token"])
    tally.check("zero ends well", steps[-1][0] and steps[-1][2] is None, steps)
    tally.check("info tags are known to the client", not any("Unknown" in it[1] for it in steps), steps)
    with meter.database() as connection:
        left = connection.execute(
            "SELECT count(*) FROM row WHERE ts >= ? AND (r2 <> 0 OR r3 <> 0)", [newest - 86400]
        ).fetchone()[0]
        untouched = connection.execute("SELECT count(*) FROM row WHERE ts < ? AND r2 <> 0", [newest - 86400]).fetchone()[0]
    tally.check("zeroed rows are zero and older ones are not", left == 0 and untouched > 500_000, (left, untouched))

    reply = device.post("/cmd/db", {"action": "split", "regs": [0]})
    follow(device, reply["token"])
    with meter.database() as connection:
        wrong = connection.execute("SELECT count(*) FROM row WHERE r1 IS NOT max(r0, 0)").fetchone()[0]
    tally.check("split copies the positive part", wrong == 0, wrong)

    cancelled = cancel(device, meter)
    tally.check("a cancelled operation says CANCELED", cancelled == "CANCELED", cancelled)
    answer = refused(device, action="zero", form="1")
    tally.check("a mistyped member is named", "form" in answer, answer)
    answer = refused(device, action="restore", data=base64.b64encode(b"meterd-backup,1\nts,Nope:P\n2,1\n1,1\n").decode())
    tally.check("an unknown register is named", "Nope" in answer, answer)
    answer = refused(device, action="restore")
    tally.check("missing data is named", "data" in answer, answer)
    tally.check("registers are listed", device.get("/register")["registers"][0]["name"] == "Grid")
    tally.check("rights are known", device.get("/auth/rights")["rights"] == ["save", "ctrl"])
    tally.check("excess is cleared", device.post("/cmd/clear", "excess")["status"] == "OK")
    wrong = Device(uri, JWTAuth("owner", "wrong"))
    try:
        answer = str(wrong.get("/register"))
    except JSONAPIError as err:
        answer = str(err.args[0])
    tally.check("a wrong password is an error, not a loop", "password" in answer, answer)


def cancel(device, meter):
    """Cancels the second of two operations that wait in the queue; how it ended."""
    tokens = []
    for at in range(3):
        body = {"action": "zero", "to": str(at + 1600000000)}
        tokens.append(device.post("/cmd/db", body)["token"])
    # Those are quick; a split over the whole year takes long enough to be caught, if need be at the second try.
    for _ in range(10):
        token = device.post("/cmd/db", {"action": "split"})["token"]
        try:
            device.post("/cmd/cancel", {"token": token})
        except JSONAPIError:
            continue
        return follow(device, token)[-1][2]
    return "never caught"


class PortRewriter(httpx.AsyncBaseTransport):
    """`egauge-async` takes no port in its host; the transport adds it."""

    def __init__(self, port):
        self.inner = httpx.AsyncHTTPTransport()
        self.port = port

    async def handle_async_request(self, request):
        request.url = request.url.copy_with(port=self.port)
        return await self.inner.handle_async_request(request)


async def home_assistant(port):
    async with httpx.AsyncClient(transport=PortRewriter(port)) as http:
        client = EgaugeJsonClient("127.0.0.1", "owner", PASSWORD, http, use_ssl=False)
        rights = await client.get_user_rights()
        tally.check("egauge-async: rights", "save" in str(rights), rights)
        registers = await client.get_register_info()
        names = [it for it in registers]
        tally.check("egauge-async: registers", names == [name for name, _ in REGISTERS], names)
        name = await client.get_hostname()
        tally.check("egauge-async: hostname", name == "bench", name)
        number = await client.get_device_serial_number()
        tally.check("egauge-async: serial number", number == "0815", number)
        token = await client.auth.get_token()
        await client.close()
        reply = await http.get("http://127.0.0.1/api/auth/rights", headers={"Authorization": f"Bearer {token}"})
        tally.check("egauge-async: logout revokes the token", reply.status_code == 401, reply.status_code)
        manager = JwtAuthManager("127.0.0.1", "owner", "wrong", http, False)
        try:
            answer = await manager.get_token()
        except Exception as err:
            answer = type(err).__name__
        tally.check("egauge-async: a wrong password is an authentication error", "Auth" in answer, answer)


# The reply comes at once, so that the client has to follow every token.
limits = {"reply_seconds": 0}
identity = {"hostname": "bench", "serial": "0815", "model": "bench"}
with Meter(demo=False, limits=limits, identity=identity) as meter:
    story(meter)
    asyncio.run(home_assistant(meter.port))
tally.close()
