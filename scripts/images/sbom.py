"""Prints the SBOM of a program as CycloneDX 1.5: sbom.py PACKAGE TARGET

The SBOM lists the crates that are linked into the program for that target, as `cargo tree` finds them, with the checksums of
Cargo.lock. It does not depend on the time or the machine.
"""

import json
import re
import subprocess
import sys
import tomllib
import uuid

LINE = re.compile(r"(\d+)(\S+) v([^| ]+)[^|]*\|([^ ]*(?: [^(*]+)?)")


def edges(package, target):
    """Pairs of a crate and its dependency, from the indented tree; and the licence of each crate."""
    command = ["cargo", "tree", "--locked", "--offline", "--package", package, "--target", target]
    command += ["--edges", "normal", "--prefix", "depth", "--format", "{p}|{l}"]
    tree = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    licences, found, above = {}, set(), []
    for line in tree.splitlines():
        match = LINE.match(line)
        if not match:
            raise SystemExit(f"cannot parse the output of cargo tree: {line!r}")
        depth, crate = int(match[1]), (match[2], match[3])
        licences[crate] = match[4].strip()
        del above[depth:]
        if above:
            found.add((above[-1], crate))
        above.append(crate)
    return found, licences


def reference(crate):
    return f"pkg:cargo/{crate[0]}@{crate[1]}"


def component(crate, licence, checksums):
    item = {
        "type": "library",
        "bom-ref": reference(crate),
        "name": crate[0],
        "version": crate[1],
        "purl": reference(crate),
    }
    if licence:
        # Old manifests separate alternatives with a slash.
        item["licenses"] = [{"expression": licence.replace("/", " OR ")}]
    if crate in checksums:
        item["hashes"] = [{"alg": "SHA-256", "content": checksums[crate]}]
    return item


def main(package, target):
    found, licences = edges(package, target)
    with open("Cargo.lock", "rb") as file:
        lock = tomllib.load(file)["package"]
    checksums = {(p["name"], p["version"]): p["checksum"] for p in lock if "checksum" in p}
    crates = sorted(licences)
    root = next(crate for crate in crates if crate[0] == package)
    top = component(root, licences[root], checksums)
    top["type"] = "application"
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": top, "properties": [{"name": "decant:target", "value": target}]},
        "components": [component(c, licences[c], checksums) for c in crates if c != root],
        "dependencies": [
            {"ref": reference(c), "dependsOn": sorted(reference(to) for of, to in found if of == c)} for c in crates
        ],
    }
    bom["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(bom, sort_keys=True))}"
    json.dump(bom, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
