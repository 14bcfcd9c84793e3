"""Bad input to the commands, one request each: the answer names the member and the reason, and nothing is changed."""

import base64
import gzip
import json
import time

from meter import Meter, Tally, backup_text

REGISTERS = [("Grid", "P"), ("Grid+", "P"), ("Solar", "P"), ("Door", "d")]
NOW = int(time.time())


def b64(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


def rows(*lines):
    head = "meterd-backup,1\nts," + ",".join(f"{name}:{kind}" for name, kind in REGISTERS) + "\n"
    return head + "".join(f"{line}\n" for line in lines)


def restore(text, **more):
    return {"action": "restore", "data": b64(text), **more}


GOOD = rows("1700000120,3,3,3,1", "1700000060,2,2,2,0", "1700000000,1,1,1,1")

# (name, body as an object or as raw text, words that the error must hold)
CASES = [
    ("no body", "", ["action"]),
    ("null", "null", ["action"]),
    ("no action", {}, ["action"]),
    ("an unknown action", {"action": "drop"}, ["action", "restore"]),
    ("an action of another type", {"action": 7}, ["action", "string"]),
    ("an unknown member", {"action": "zero", "form": "1"}, ["form", "unknown"]),
    ("a member twice", '{"action":"zero","from":"1","from":"2"}', ["from", "more than once"]),
    ("broken JSON", '{"action":"zero"', ["ends"]),
    ("no object", '["zero"]', ["object"]),
    ("something behind the object", '{"action":"zero"} x', ["after the object"]),
    ("from later than to", {"action": "zero", "from": "2", "to": "1"}, ["from", "later"]),
    ("a stamp as a number", {"action": "zero", "from": 1}, ["from", "string"]),
    ("a negative stamp", {"action": "zero", "to": "-1"}, ["to"]),
    ("a stamp with an exponent", {"action": "zero", "to": "1e9"}, ["to"]),
    ("an empty stamp", {"action": "zero", "from": ""}, ["from"]),
    ("no stamp at all", {"action": "zero", "from": "NaN"}, ["from"]),
    ("an unknown register", {"action": "zero", "regs": [99]}, ["regs", "99"]),
    ("a register twice", {"action": "zero", "regs": [1, 1]}, ["regs", "1"]),
    ("a negative register", {"action": "zero", "regs": [-1]}, ["regs"]),
    ("no registers", {"action": "zero", "regs": []}, ["regs"]),
    ("registers by name", {"action": "zero", "regs": ["Grid"]}, ["regs"]),
    ("data for zero", {"action": "zero", "data": b64(GOOD)}, ["data", "zero"]),
    ("more_chunks for zero", {"action": "zero", "more_chunks": True}, ["more_chunks", "zero"]),
    ("more_chunks as a string", restore(GOOD, more_chunks="yes"), ["more_chunks"]),
    ("split of a register that is not net", {"action": "split", "regs": [1]}, ["Grid+", "net"]),
    ("split without a partner", {"action": "split", "regs": [2]}, ["Solar", "positive"]),
    ("restore without data", {"action": "restore"}, ["data", "missing"]),
    ("empty data", {"action": "restore", "data": ""}, ["data", "empty"]),
    ("data of another type", {"action": "restore", "data": 5}, ["data", "base64"]),
    ("data that is not base64", {"action": "restore", "data": "@@@@"}, ["data", "base64"]),
    ("base64 without its end", {"action": "restore", "data": b64(GOOD)[:-1]}, ["data", "base64"]),
    ("data above the limit", {"action": "restore", "data": "A" * 2_097_156}, ["data", "2097152", "chunks"]),
    ("gzip cut short", restore(gzip.compress(GOOD.encode())[:-9]), ["data", "gzip"]),
    ("a gzip bomb", restore(gzip.compress(GOOD.encode() + b"\n" * 80_000_000)), ["data"]),
    ("another format", restore("PK\x03\x04\x00"), ["data"]),
    ("another version", restore(GOOD.replace("meterd-backup,1", "meterd-backup,9")), ["data", "header"]),
    ("no version", restore(GOOD.replace("meterd-backup,1", "meterd-backup")), ["data", "version"]),
    ("a header without types", restore(GOOD.replace("Grid:P", "Grid")), ["data", "header"]),
    ("a register that the meter lacks", restore(GOOD.replace("Solar", "Lunar")), ["data", "Lunar"]),
    ("a register of another type", restore(GOOD.replace("Solar:P", "Solar:V")), ["data", "Solar", "type"]),
    ("no rows", restore(rows()), ["data", "two"]),
    ("a single row", restore(rows("1700000000,1,1,1,1")), ["data", "two"]),
    ("rows out of order", restore(rows("1700000000,1,1,1,1", "1700000060,2,2,2,2")), ["data", "line 4"]),
    ("a row twice", restore(rows("1700000060,1,1,1,1", "1700000060,2,2,2,2")), ["data", "line 4"]),
    ("a row in the future", restore(rows(f"{NOW + 9000},1,1,1,1", "1700000060,2,2,2,2")), ["set the clock first"]),
    ("a field missing", restore(rows("1700000060,1,1,1", "1700000000,2,2,2,2")), ["data", "line 3"]),
    ("a field too many", restore(rows("1700000060,1,1,1,1,1", "1700000000,2,2,2,2")), ["data", "line 3"]),
    ("no integer", restore(rows("1700000060,1,1,1,1", "1700000000,2,x,2,2")), ["data", "line 4"]),
    ("an integer beyond 64 bits", restore(rows("1700000060,1,1,99999999999999999999,1", "1700000000,1,1,1,1")), ["line 3"]),
    ("a row's stamp with a fraction", restore(rows("1700000060.5,1,1,1,1", "1700000000,1,1,1,1")), ["1700000060.5"]),
    ("a register that the backup lacks", restore("meterd-backup,1\nts,Grid:P\n2,2\n1,1\n", regs=[3]), ["regs", "3"]),
]

OTHERS = [
    ("/cmd/cancel", "", ["token"]),
    ("/cmd/cancel", {}, ["token"]),
    ("/cmd/cancel", {"token": "zz"}, ["token", "hexadecimal"]),
    ("/cmd/cancel", {"token": "0" * 32}, ["token", "unknown"]),
    ("/cmd/cancel", {"tokn": "0" * 32}, ["tokn"]),
    ("/cmd/clear", "", ["excess"]),
    ("/cmd/clear", '"everything"', ["excess"]),
    ("/cmd/clear", {"excess": True}, ["excess"]),
]


def main():
    tally = Tally()
    with Meter(demo=False) as meter:
        text = backup_text(REGISTERS, [(1_650_000_000 - at * 60, [9000 - at] * 3 + [at % 2]) for at in range(500)])
        status = meter.restore(text.encode())
        assert "error" not in status, status
        before = meter.rows()
        headers = {"Authorization": "Bearer " + meter.login()}

        def ask(path, body):
            text = body if isinstance(body, str) else json.dumps(body)
            status, _, reply = meter.raw("POST", path, text, headers)
            return status, json.loads(reply)

        for path, cases in (("/cmd/db", CASES), (None, OTHERS)):
            for name, body, words in cases:
                status, reply = ask(path or name, body)
                error = reply.get("error", "")
                good = status == 200 and "status" not in reply and all(it in error for it in words)
                # A refusal with a tag can be asked for like an operation that failed.
                if "token" in reply:
                    good = good and meter.status(reply["token"])["done"]
                label = f"{name} {json.dumps(body)[:40]}" if path is None else name
                tally.check(f"{label}: {error}", good, f"{status} {reply}")
        tally.check("nothing was changed", meter.rows() == before)
        status, reply = ask("/cmd/db", restore(GOOD))
        tally.check("and what is right still works", reply.get("status") == "OK", reply)

        for method, path, expect in [
            ("GET", "/cmd/db", 405),
            ("PUT", "/register", 405),
            ("POST", "/cmd/none", 404),
            ("GET", "/none", 404),
            ("POST", "/sys/time", 405),
        ]:
            status, head, body = meter.raw(method, path)
            named = "error" in json.loads(body) and (expect != 405 or head.get("Allow"))
            tally.check(f"{method} {path} without a login is {expect}", status == expect and named, f"{status} {body}")
        status, _, body = meter.raw("POST", "/cmd/db", json.dumps({"action": "zero"}))
        reply = json.loads(body)
        tally.check("401 has rlm, nnc and error", status == 401 and {"rlm", "nnc", "error"} <= set(reply), reply)
        for user, privileges, path, expect in [
            ("viewer", "view_settings", "/sys/db", 200),
            ("nobody", "ctrl", "/sys/db", 401),
            ("local", "local_save", "/sys/db", 200),
        ]:
            meter.cli("user", "set", user, "--priv", privileges, stdin=user)
            token = meter.login_once_known(user, user)
            status, _, body = meter.raw("GET", path, None, {"Authorization": "Bearer " + token})
            tally.check(f"{privileges} gets {expect} from {path}", status == expect, f"{status} {body}")
        token = meter.login("viewer", "viewer")
        status, _, body = meter.raw("POST", "/cmd/db", '{"action":"zero"}', {"Authorization": "Bearer " + token})
        tally.check("a viewer may not zero", status == 401 and "right" in json.loads(body)["error"], body)
        log = meter.read_log()
        tally.check("no password and no token in the log", "correct horse" not in log and token not in log)
    tally.close()


main()
