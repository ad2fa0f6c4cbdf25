"""Checks an image: check.py ARCHIVE CRATES SBOM MACHINE

ARCHIVE is the OCI archive, CRATES the section that cargo-auditable writes into programs, SBOM the file next to the
archive, MACHINE x86_64 or aarch64. The first violation is an error.
"""

import gzip
import io
import json
import os
import sys
import tarfile
import zlib

LABELS = ("title", "description", "version", "licenses", "created")
# Compressed sizes, as a node fetches them.
LARGEST = {"/usr/bin/cloner": 6 << 20, "/usr/bin/controller": 12 << 20}
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def image(path):
    """Configuration and layers of the one image in an archive."""
    with tarfile.open(path) as archive:

        def blob(digest):
            return archive.extractfile("blobs/" + digest.replace(":", "/")).read()

        index = json.load(archive.extractfile("index.json"))
        manifest = json.loads(blob(index["manifests"][0]["digest"]))
        layers = [gzip.decompress(blob(layer["digest"])) for layer in manifest["layers"]]
        return json.loads(blob(manifest["config"]["digest"])), layers


def check_image(path, machine):
    config, layers = image(path)
    assert config["architecture"] == ARCHITECTURES[machine], f"the image is for {config['architecture']}"
    own = config["config"]
    size, largest = os.path.getsize(path), LARGEST[own["Entrypoint"][0]]
    assert size <= largest, f"the archive has {size} bytes, more than {largest}"
    assert own["User"] == "107:107", f"the image runs as user {own.get('User')}"
    for label in LABELS:
        assert own["Labels"].get("org.opencontainers.image." + label), f"label {label} is missing"
    entries = [entry for layer in layers for entry in tarfile.open(fileobj=io.BytesIO(layer))]
    files = [entry for entry in entries if entry.isfile()]
    assert ["/" + entry.name for entry in files] == own["Entrypoint"], f"the image contains other files than its entry point: {[entry.name for entry in files]}"
    for entry in entries:
        mode = oct(entry.mode)
        assert (entry.uid, entry.gid) == (0, 0), f"{entry.name} is owned by {entry.uid}:{entry.gid}"
        assert entry.issym() or not entry.mode & 0o022, f"{entry.name} is writable: {mode}"
        assert not entry.mode & 0o6000, f"{entry.name} is setuid or setgid: {mode}"


def main(archive, crates, sbom, machine):
    check_image(archive, machine)
    with open(crates, "rb") as file:
        inside = json.loads(zlib.decompress(file.read()))["packages"]
    built = {(p["name"], p["version"]) for p in inside}
    with open(sbom, encoding="utf-8") as file:
        bom = json.load(file)
    target = {p["name"]: p["value"] for p in bom["metadata"]["properties"]}["decant:target"]
    assert target.startswith(machine + "-"), f"the SBOM is for {target}"
    listed = {(c["name"], c["version"]) for c in [*bom["components"], bom["metadata"]["component"]]}
    assert len(listed) > 20, "the SBOM lists too few crates"
    # The reverse does not hold: cargo-auditable unifies the features of all workspace members, and so lists crates that
    # are not in this program.
    assert listed <= built, f"in the SBOM but not in the program: {sorted(listed - built)}"
    for item in bom["components"]:
        own = item["name"].startswith("decant-")
        assert item.get("licenses"), f"{item['name']} has no licence in the SBOM"
        assert own or item.get("hashes"), f"{item['name']} has no checksum in the SBOM"


if __name__ == "__main__":
    main(*sys.argv[1:])
