"""The SBOM of each target against the CycloneDX schema, and against what cargo says is linked."""

import json
import os
import subprocess

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from meter import ROOT, Tally

tally = Tally()
subprocess.run([os.path.join(ROOT, "init", "sbom.py")], check=True)
for arch in ("x86_64", "aarch64", "armv7"):
    with open(os.path.join(ROOT, "target", "dist", f"meterd-{arch}.cdx.json")) as file:
        text = file.read()
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    tally.check(f"{arch}: the schema holds", wrong is None, wrong)
    bom = json.loads(text)
    names = {it["name"] for it in bom["components"]}
    tally.check(f"{arch}: SQLite and what is linked is there", {"sqlite", "tiny_http", "rustls", "ring"} <= names, names)
    others = {"serde_derive", "syn", "cc", "arbitrary", "libfuzzer-sys", "meter-conformance"} & names
    tally.check(f"{arch}: tools, macros and tests are not", not others, others)
    refs = {it["bom-ref"] for it in bom["components"]} | {bom["metadata"]["component"]["bom-ref"]}
    used = {ref for it in bom["dependencies"] for ref in (it["ref"], *it["dependsOn"])}
    tally.check(f"{arch}: everything that is named is described", used == refs, used ^ refs)
    bare = [it["name"] for it in bom["components"] if not it["licenses"] or not it["purl"]]
    tally.check(f"{arch}: everything has a licence and a URL", not bare, bare)
tally.close()
