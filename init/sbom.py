#!/usr/bin/env python3
"""Says what is linked into `meterd` for a target, as a CycloneDX 1.6 SBOM: crates with licences, package URLs and the
hashes of Cargo.lock, SQLite in its bundled version, and Rust's own library. Build tools and procedural macros leave nothing
in the binary but what they wrote, so they are not there; neither are the crates of tests and fuzzing.

A component whose licence is not among those that deny.toml allows is an error. Needs Python 3.11 and cargo, nothing else.

Usage: init/sbom.py [x86_64|aarch64|armv7]...     (all by default, into target/dist/meterd-ARCH.cdx.json)
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGETS = {
    "x86_64": "x86_64-unknown-linux-musl",
    "aarch64": "aarch64-unknown-linux-musl",
    "armv7": "armv7-unknown-linux-gnueabihf",
}


def run(*command):
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def read(path):
    with open(os.path.join(ROOT, path), "rb") as file:
        return file.read()


def linked(target):
    """Names and versions of what cargo links for a target."""
    tree = run(
        *("cargo", "tree", "--locked", "-p", "meterd", "-e", "normal,no-proc-macro", "--target", target),
        *("--prefix", "none", "--format", "{p}"),
    )
    return {tuple(line.split()[:2]) for line in tree.splitlines() if line.strip()}


def packages(target):
    """All packages that cargo knows of for a target: what they say of themselves, and what each uses."""
    data = json.loads(run("cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target))
    uses = {it["id"]: [dep["pkg"] for dep in it["deps"]] for it in data["resolve"]["nodes"]}
    return {it["id"]: it for it in data["packages"]}, uses


def checksums():
    lock = tomllib.loads(read("Cargo.lock").decode())
    return {(it["name"], it["version"]): it["checksum"] for it in lock["package"] if "checksum" in it}


def licence(text):
    """An SPDX expression; some crates still have a slash for OR."""
    return [{"expression": re.sub(r"\s*/\s*", " OR ", text)}]


def component(name, version, expression, purl, digest=None, **more):
    res = {"type": "library", "bom-ref": purl, "name": name, "version": version}
    res |= {"licenses": licence(expression), "purl": purl, **more}
    if digest:
        res["hashes"] = [{"alg": "SHA-256", "content": digest}]
    return res


def crate(package, digests):
    name, version = package["name"], package["version"]
    refs = [{"type": "vcs", "url": package["repository"]}] if package.get("repository") else []
    more = {"description": package["description"].strip()} if package.get("description") else {}
    if refs:
        more["externalReferences"] = refs
    return component(name, version, package["license"], f"pkg:cargo/{name}@{version}", digests[name, version], **more)


def sqlite(package):
    """The C library inside its crate, in the version that its header tells."""
    folder = os.path.join(os.path.dirname(package["manifest_path"]), "sqlite3")
    header = read(os.path.join(folder, "sqlite3.h")).decode()
    version = re.search(r'#define SQLITE_VERSION\s+"([0-9.]+)"', header)[1]
    digest = hashlib.sha256(read(os.path.join(folder, "sqlite3.c"))).hexdigest()
    more = {"description": "The SQL database engine; the hash is that of its amalgamation, sqlite3.c."}
    return component("sqlite", version, "blessing", f"pkg:generic/sqlite@{version}", digest, **more)


def bom(arch):
    target = TARGETS[arch]
    known, uses = packages(target)
    inside = linked(target)
    chosen = {id: it for id, it in known.items() if (it["name"], "v" + it["version"]) in inside}
    if len(chosen) != len(inside):
        raise SystemExit(f"sbom.py: cargo tree and cargo metadata differ for {target}")
    digests = checksums()
    (root,) = [id for id, it in chosen.items() if it["name"] == "meterd"]
    refs = {id: f"pkg:cargo/{it['name']}@{it['version']}" for id, it in chosen.items()}
    own = chosen[root]

    (bindings,) = [id for id, it in chosen.items() if it["name"] == "libsqlite3-sys"]
    rust = re.search(r"rustc (\S+)", run("rustc", "-V"))[1]
    extra = [
        sqlite(chosen[bindings]),
        component("rust-std", rust, "MIT OR Apache-2.0", f"pkg:generic/rust-std@{rust}", description="Rust's own library."),
    ]
    components = [crate(it, digests) for id, it in chosen.items() if id != root] + extra
    components.sort(key=lambda it: it["bom-ref"])

    depends = {refs[id]: {refs[it] for it in uses[id] if it in refs} for id in chosen}
    depends[refs[bindings]].add(extra[0]["bom-ref"])
    depends[refs[root]].add(extra[1]["bom-ref"])
    depends |= {it["bom-ref"]: set() for it in extra}

    subject = component("meterd", own["version"], own["license"], refs[root], description=own["description"])
    subject["type"] = "application"
    binary = f"target/dist/meterd-{arch}"
    if os.path.exists(os.path.join(ROOT, binary)):
        subject["hashes"] = [{"alg": "SHA-256", "content": hashlib.sha256(read(binary)).hexdigest()}]
    subject["properties"] = [{"name": "meterd:target", "value": target}]
    res = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": subject},
        "components": components,
        "dependencies": [{"ref": ref, "dependsOn": sorted(on)} for ref, on in sorted(depends.items())],
    }
    # The same content has the same number.
    res["serialNumber"] = "urn:uuid:" + str(uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(res, sort_keys=True)))
    return res


def permitted(expression, allowed):
    """Whether one may choose licences of the allowed ones; AND binds closer than OR, parentheses closest."""
    expression = expression.strip()
    inner = re.search(r"\(([^()]*)\)", expression)
    if inner:
        # What it comes to is a name that is allowed, or one that never is.
        word = "yes" if permitted(inner[1], allowed) else "no"
        return permitted(expression[: inner.start()] + word + expression[inner.end() :], allowed | {"yes"})
    return any(all(it.strip() in allowed for it in way.split(" AND ")) for way in expression.split(" OR "))


def main():
    arches = sys.argv[1:] or list(TARGETS)
    allowed = set(tomllib.loads(read("deny.toml").decode())["licenses"]["allow"])
    os.makedirs(os.path.join(ROOT, "target", "dist"), exist_ok=True)
    for arch in arches:
        if arch not in TARGETS:
            raise SystemExit(f"sbom.py: {arch} is none of ours")
        res = bom(arch)
        for it in res["components"]:
            if not permitted(it["licenses"][0]["expression"], allowed):
                raise SystemExit(f"sbom.py: {it['name']}: the licence {it['licenses'][0]['expression']} is not allowed")
        path = f"target/dist/meterd-{arch}.cdx.json"
        with open(os.path.join(ROOT, path), "w") as file:
            json.dump(res, file, indent=1)
            file.write("\n")
        print(f"{path}: {len(res['components'])} components")


if __name__ == "__main__":
    main()
