"""Checks the objects that the Helm chart renders. Fails unless

compare.py same KUSTOMIZE HELM                     both files contain the same objects
compare.py policies KUSTOMIZE HELM NAMESPACE...    HELM has the policies of KUSTOMIZE in each namespace
compare.py values HELM                             the values of scripts/chart/values.yaml are in the right places
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
    """Without the hash of the content, which kustomize appends to the name of the ConfigMap. The chart puts it into an annotation."""
    text = json.dumps(value, sort_keys=True)
    return json.loads(re.sub(r"decant-controller-[a-z0-9]{10}(?=\")", "decant-controller", text))


def without_additions(item):
    """Without the annotations that only the chart has: the hash of the settings, and what keeps a definition."""
    if item["kind"] == "CustomResourceDefinition":
        annotations = item["metadata"].pop("annotations", {})
        assert annotations in ({}, {"helm.sh/resource-policy": "keep"}), annotations
    if item["kind"] == "Deployment":
        annotations = item["spec"]["template"]["metadata"].pop("annotations")
        assert list(annotations) == ["checksum/settings"], annotations
    return item


def same(kustomize, helm):
    wanted = {(kind, space, without_hashes(name)): without_hashes(o) for (kind, space, name), o in objects(kustomize).items()}
    # Helm creates the namespace, if asked to, before it renders a chart.
    wanted.pop(("Namespace", "", "decant-system"), None)
    made = {key: without_additions(item) for key, item in objects(helm).items()}
    assert len(made) > 10, f"the chart renders too few objects: {list(made)}"
    assert made.keys() == wanted.keys(), f"only one of the two renders {sorted(made.keys() ^ wanted.keys())}"
    for key, item in made.items():
        assert item == wanted[key], f"{key}\nchart:     {json.dumps(item)}\nkustomize: {json.dumps(wanted[key])}"


def policies(kustomize, helm, *namespaces):
    wanted, made = objects(kustomize), objects(helm)
    assert len(wanted) == 3, list(wanted)
    for namespace in namespaces:
        for (kind, _, name), item in wanted.items():
            item = {**item, "metadata": {**item["metadata"], "namespace": namespace}}
            equal(f"{kind} {namespace}/{name}", made.get((kind, namespace, name)), item)


def equal(what, found, wanted):
    assert found == wanted, f"{what} is {found!r}, not {wanted!r}"


def values(helm):
    made = objects(helm)
    spaces = {space for kind, space, _ in made if space and kind != "NetworkPolicy"}
    equal("namespaces", spaces, {"elsewhere"})
    equal(
        "network policies",
        {(space, name) for kind, space, name in made if kind == "NetworkPolicy"},
        {("elsewhere", "decant-controller"), ("elsewhere", "decant-webhook")}
        | {(space, name) for space in ("team-a", "team-b") for name in ("decant-direct", "decant-sources", "decant-targets")},
    )
    equal("the image that pods may have", made["ConfigMap", "elsewhere", "decant-admission"]["data"]["image"], "registry.example/decant/cloner:9")
    assert "decant-system" not in json.dumps(list(made.values())), "the namespace of the base is still used"
    equal(
        "the controller's variables",
        made["ConfigMap", "elsewhere", "decant-controller"]["data"],
        {
            "DECANT_CLONER_IMAGE": "registry.example/decant/cloner:9",
            "DECANT_PULL_POLICY": "Always",
            "DECANT_PULL_SECRETS": "first,second",
            "DECANT_MAX_CLONES": "7",
            "DECANT_TOTAL_BANDWIDTH_LIMIT": "500MiB/s",
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
    pods_of(made, "decant-controller", 3, {"limits": {"memory": "512Mi"}})
    pods_of(made, "decant-webhook", 4, {"limits": {"memory": "128Mi"}})


def pods_of(made, name, replicas, resources):
    deployment = made["Deployment", "elsewhere", name]
    equal("replicas", deployment["spec"]["replicas"], replicas)
    pod = deployment["spec"]["template"]
    equal("labels", pod["metadata"]["labels"], {"app.kubernetes.io/name": name, "team": "storage"})
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
    equal("resources", container["resources"], resources)


if __name__ == "__main__":
    {"same": same, "policies": policies, "values": values}[sys.argv[1]](*sys.argv[2:])
