"""What the Helm chart makes, compared.

compare.py same KUSTOMIZE HELM    both files hold the same objects
compare.py values HELM            the values of scripts/chart/values.yaml are where they belong
"""

import json
import re
import sys

import yaml


def objects(path):
    """The objects of a file, by kind, namespace and name."""
    with open(path, encoding="utf-8") as file:
        found = [item for item in yaml.safe_load_all(file) if item]
    return {(o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]): o for o in found}


def without_hashes(value):
    """Kustomize puts the content's hash behind the ConfigMap's name, the chart into an annotation."""
    text = json.dumps(value, sort_keys=True)
    return json.loads(re.sub(r"decant-controller-[a-z0-9]{10}(?=\")", "decant-controller", text))


def without_sum(item):
    """Without the annotation that only the chart has."""
    if item["kind"] == "Deployment":
        annotations = item["spec"]["template"]["metadata"].pop("annotations")
        assert list(annotations) == ["checksum/settings"], annotations
    return item


def same(kustomize, helm):
    wanted = {(kind, space, without_hashes(name)): without_hashes(o) for (kind, space, name), o in objects(kustomize).items()}
    # Helm makes the namespace, if at all, before it looks into a chart.
    wanted.pop(("Namespace", "", "decant-system"), None)
    made = {key: without_sum(item) for key, item in objects(helm).items()}
    assert len(made) > 10, f"the chart was not understood: {list(made)}"
    assert made.keys() == wanted.keys(), f"only one has {sorted(made.keys() ^ wanted.keys())}"
    for key, item in made.items():
        assert item == wanted[key], f"{key}\nchart:     {json.dumps(item)}\nkustomize: {json.dumps(wanted[key])}"


def equal(what, found, wanted):
    assert found == wanted, f"{what} is {found!r}, not {wanted!r}"


def values(helm):
    made = objects(helm)
    spaces = {space for _, space, _ in made if space}
    equal("namespaces", spaces, {"elsewhere"})
    assert "decant-system" not in json.dumps(list(made.values())), "the base's namespace is left somewhere"
    equal(
        "the controller's variables",
        made["ConfigMap", "elsewhere", "decant-controller"]["data"],
        {
            "DECANT_CLONER_IMAGE": "registry.example/decant/cloner:9",
            "DECANT_PULL_POLICY": "Always",
            "DECANT_PULL_SECRETS": "first,second",
            "DECANT_MAX_CLONES": "7",
            "DECANT_POLL_SECS": "3",
            "DECANT_CERTIFICATE_SECS": "4000000",
            "DECANT_FILESYSTEM_OVERHEAD": "0.1",
            "DECANT_PREALLOCATION": "true",
            "DECANT_NODE_SELECTOR": "disk=fast,zone=a",
            "DECANT_LABELS": "team=storage",
            "DECANT_POD_ANNOTATIONS": r'{"example.com/ports":"[{\"port\":1},{\"port\":2}]","sidecar.istio.io/inject":"false"}',
            "DECANT_CLASS_OVERHEADS": "slow=0.2",
            "DECANT_POD_RESOURCES": '{"limits":{"memory":"64Mi"}}',
            "DECANT_TOLERATIONS": '[{"key":"storage","operator":"Exists"}]',
        },
    )
    deployment = made["Deployment", "elsewhere", "decant-controller"]
    equal("replicas", deployment["spec"]["replicas"], 3)
    pod = deployment["spec"]["template"]
    equal("labels", pod["metadata"]["labels"], {"app.kubernetes.io/name": "decant-controller", "team": "storage"})
    equal("annotation", pod["metadata"]["annotations"]["example.com/owner"], "storage")
    spec = pod["spec"]
    equal("node selector", spec["nodeSelector"], {"role": "infra"})
    equal("tolerations", spec["tolerations"], [{"key": "infra", "operator": "Exists"}])
    equal("affinity", spec["affinity"], {"nodeAffinity": {}})
    equal("priority", spec["priorityClassName"], "system-cluster-critical")
    equal("pull secrets", spec["imagePullSecrets"], [{"name": "first"}, {"name": "second"}])
    container = spec["containers"][0]
    equal("image", container["image"], "registry.example/decant/controller:9")
    equal("pull policy", container["imagePullPolicy"], "Always")
    equal("resources", container["resources"], {"limits": {"memory": "512Mi"}})


if __name__ == "__main__":
    {"same": same, "values": values}[sys.argv[1]](*sys.argv[2:])
