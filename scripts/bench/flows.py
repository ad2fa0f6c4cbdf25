#!/usr/bin/env python3
"""Compares the time of a DataVolume whose PVC is bound when it is complete with one whose PVC is bound at once.

    scripts/bench/flows.py network|auto Block|Filesystem SIZE ROUNDS

On a cluster with a running controller and the classes of `scripts/cluster.sh provisioner up` (KUBECONFIG). The two flows take
turns; their DataVolumes differ only in cdi.kubevirt.io/storage.usePopulator. The time is that from the request to the phase
Succeeded, with a `kubectl` of 1.23 or later (KUBECTL).
"""

import json
import os
import statistics
import subprocess
import sys
import time

NAMESPACE = "flows"
SUCCEEDED = "--for=jsonpath={.status.phase}=Succeeded"
# Until the pods of the previous clone are gone.
PAUSE_SECS = 3


def kubectl(*arguments, given=None):
    command = [os.environ.get("KUBECTL", "kubectl"), *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr}")


def in_namespace(*arguments):
    kubectl("-n", NAMESPACE, *arguments)


def apply(api_version, kind, name, spec, annotations=None):
    metadata = {"name": name, "namespace": NAMESPACE, "annotations": annotations or {}}
    kubectl("apply", "-f", "-", given=json.dumps(
        {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}))


def clone_secs(name, claim, transfer, populator):
    """The seconds that a clone takes; its DataVolume is deleted afterwards."""
    annotations = {"cdi.kubevirt.io/storage.usePopulator": populator, "decant.dev/transfer": transfer}
    source = {"pvc": {"namespace": NAMESPACE, "name": "golden"}}
    start = time.monotonic()
    apply("cdi.kubevirt.io/v1beta1", "DataVolume", name, {"source": source, "pvc": claim}, annotations)
    in_namespace("wait", SUCCEEDED, f"dv/{name}", "--timeout=120s")
    took = time.monotonic() - start
    in_namespace("delete", "dv", name)
    time.sleep(PAUSE_SECS)
    return took


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    transfer, mode, size, rounds = sys.argv[1:]
    claim = {"accessModes": ["ReadWriteOnce"], "volumeMode": mode, "storageClassName": "provisioned-now",
             "resources": {"requests": {"storage": size}}}
    kubectl("create", "namespace", NAMESPACE)
    try:
        apply("v1", "PersistentVolumeClaim", "golden", claim)
        in_namespace("wait", "--for=jsonpath={.status.phase}=Bound", "pvc/golden", "--timeout=60s")
        took = {"true": [], "false": []}
        for turn in range(int(rounds)):
            for populator in sorted(took, reverse=turn % 2 == 0):
                took[populator].append(clone_secs(f"copy-{turn}-{populator}", claim, transfer, populator))
    finally:
        kubectl("delete", "namespace", NAMESPACE)
    late, early = (statistics.median(took[populator]) for populator in ("true", "false"))
    worst = max(a - b for a, b in zip(took["true"], took["false"]))
    print(f"bound when complete {late:.2f} s, bound at once {early:.2f} s (medians of {rounds}), "
          f"{late - early:+.2f} s, worst pair {worst:+.2f} s")


main()
