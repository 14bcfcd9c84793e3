"""Compares the description that the service gives of itself with the maker's, for the paths that both have.

What is compared: paths and methods, operation names, query options, the members of bodies and replies with their types,
which of them are required, and which statuses are described. What only goes further is no difference: a reply that
promises a member which it need not, an option more, `null` for a member that may be left out. Every other difference
stands below with its reason; one that is not there fails, and so does one that is there and no longer true.
"""

import os

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
MAKER = os.path.join(HERE, "openapi", "webapi-4.6-subset.openapi.yaml")

READ_ONLY = "the meter's settings are not this service's to change; 405 names what is allowed"
NO_DATA = "this service lists registers and writes backups; values and rates are the metering process's business"
NO_ROWS = "none for a level without rows, or before anybody asks for a reboot: null in the text, not in the schema"
NOT_KNOWN = "Linux in general does not know of it"
ANY_BODY = "the maker describes none, but its clients send {} or nothing, so both are described"

OPTIONS = "delta", "demand", "if", "noHTTP", "rate", "raw", "reg", "time", "ts", "view"

DIFFERENCES = {
    "/sys/boot/backup_power_ok: not described": NOT_KNOWN,
    "GET /sys/boot: 200 result.backup_power_ok is missing": NOT_KNOWN,
    "PUT /config/net/hostname: missing": READ_ONLY,
    "POST /config/net/hostname: missing": READ_ONLY,
    "DELETE /config/net/hostname: missing": READ_ONLY,
    "POST /cmd/cancel: body token is required": "without one there is nothing to cancel, which is an error",
    "POST /cmd/factory-restore: a body": ANY_BODY,
    "POST /cmd/reboot: a body": ANY_BODY,
    **{f"GET /register: option {it} is missing": NO_DATA for it in OPTIONS},
    **{f"GET /register: 200 {it} is missing": NO_DATA for it in ("current", "ranges", "result")},
    **{f"GET /register: 200 registers[].{it} is missing": NO_DATA for it in ("formula", "rate")},
    "GET /sys/boot: 200 result.time is null/string, not string": NO_ROWS,
    "GET /sys/boot/time: 200 result is null/string, not string": NO_ROWS,
    "GET /sys/db: 200 result.level[].head is null/string, not string": NO_ROWS,
    "GET /sys/db/level: 200 result[].head is null/string, not string": NO_ROWS,
    "GET /sys/db/level/{idx}: 200 result.head is null/string, not string": NO_ROWS,
    "GET /sys/db/level/{idx}/head: 200 result is null/string, not string": NO_ROWS,
}


def resolve(document, at):
    while isinstance(at, dict) and "$ref" in at:
        target = document
        for name in at["$ref"].lstrip("#/").split("/"):
            target = target[name]
        at = {**target, **{name: it for name, it in at.items() if name != "$ref"}}
    return at


def types(schema):
    """The JSON types that a schema allows; nothing if it does not say."""
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        names = {str: "string", bool: "boolean", type(None): "null", int: "integer"}
        return {names[type(it)] for it in values}
    found = schema.get("type", [])
    return {found} if isinstance(found, str) else set(found)


def members(document, schema, at=""):
    """Every member below a schema by its path: its types, and whether it must be there. What only restricts
    alternatives (`oneOf` of `required`) and the shapes that query options make are left out."""
    schema = resolve(document, schema)
    found = {at: [types(schema), True]} if at else {}
    required = set(schema.get("required", []))
    for name, it in schema.get("properties", {}).items():
        below = members(document, it, f"{at}.{name}" if at else name)
        below[f"{at}.{name}" if at else name][1] = name in required
        found |= below
    if "items" in schema:
        found |= members(document, schema["items"], at + "[]")
    for way in ("oneOf", "anyOf", "allOf"):
        alternatives = [it for it in schema.get(way, []) if it.get("$ref", "").rsplit("/", 1)[-1] != "Shaped"]
        alternatives = [it for it in alternatives if set(it) != {"required"}]
        each = [members(document, it, at) for it in alternatives]
        for path in {path for it in each for path in it}:
            those = [it[path] for it in each if path in it]
            kinds = set().union(*(kinds for kinds, _ in those))
            must = [must for _, must in those]
            must = any(must) if way == "allOf" else all(must) and len(those) == len(each)
            if path in found:
                kinds, must = kinds | found[path][0], must or (found[path][1] and path != at)
            found[path] = [kinds, must]
    return found


def body(document, operation):
    content = resolve(document, operation.get("requestBody", {})).get("content", {})
    return content.get("application/json", {}).get("schema")


def reply(document, operation):
    content = resolve(document, operation["responses"]["200"])["content"]
    return content["application/json"]["schema"]


def compare_body(theirs, ours):
    for path in sorted(theirs.keys() | ours.keys()):
        if path not in theirs or path not in ours:
            yield f"body {path} is {'missing' if path in theirs else 'more'}"
            continue
        (their_types, their_must), (our_types, our_must) = theirs[path], ours[path]
        if their_types != our_types - (set() if our_must else {"null"}):
            yield f"body {path} is {words(our_types)}, not {words(their_types)}"
        if their_must != our_must:
            yield f"body {path} is {'' if our_must else 'not '}required"


def compare_reply(theirs, ours):
    missing = []
    for path in sorted(theirs):
        if any(path.startswith(it) for it in missing):
            continue
        if path not in ours:
            missing.append(path)
            yield f"200 {path} is missing"
            continue
        (their_types, their_must), (our_types, our_must) = theirs[path], ours[path]
        if their_types and their_types != our_types:
            yield f"200 {path} is {words(our_types)}, not {words(their_types)}"
        if their_must and not our_must:
            yield f"200 {path} is not required"


def words(kinds):
    return "/".join(sorted(kinds))


def compare(maker, ours):
    """All differences, in words."""
    for path, their_item in maker["paths"].items():
        if path not in ours["paths"]:
            yield f"{path}: not described"
            continue
        our_item = resolve(ours, ours["paths"][path])
        methods = {it: None for it in [*their_item, *our_item] if it != "parameters"}
        for method in methods:
            name = f"{method.upper()} {path}"
            if method not in our_item or method not in their_item:
                yield f"{name}: {'missing' if method not in our_item else 'more'}"
                continue
            theirs, mine = their_item[method], our_item[method]
            if mine.get("operationId", theirs["operationId"]) != theirs["operationId"]:
                yield f"{name}: another operationId"
            options = []
            for document, item, operation in ((maker, their_item, theirs), (ours, our_item, mine)):
                all_of_them = [*item.get("parameters", []), *operation.get("parameters", [])]
                options.append({it["name"] for it in (resolve(document, it) for it in all_of_them)})
            for it in sorted(options[0] - options[1]):
                yield f"{name}: option {it} is missing"
            their_body, our_body = body(maker, theirs), body(ours, mine)
            if their_body and our_body:
                found = compare_body(members(maker, their_body), members(ours, our_body))
                yield from (f"{name}: {it}" for it in found)
            elif their_body or our_body:
                yield f"{name}: {'no body' if their_body else 'a body'}"
            for status in theirs["responses"]:
                if status not in mine["responses"]:
                    yield f"{name}: {status} is not described"
            found = compare_reply(members(maker, reply(maker, theirs)), members(ours, reply(ours, mine)))
            yield from (f"{name}: {it}" for it in found)


def unexplained(ours):
    """What is different without a reason, and what has a reason without being different."""
    with open(MAKER) as file:
        maker = yaml.safe_load(file)
    found = list(compare(maker, ours))
    return [it for it in found if it not in DIFFERENCES], [it for it in DIFFERENCES if it not in found]
