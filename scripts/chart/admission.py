"""Checks that the admission policies accept the objects that the controller creates, and refuse others with the right message.

admission.py POLICIES GOLDEN    POLICIES is the file with the policies, GOLDEN the directory with objects of the controller
"""

import copy
import json
import pathlib
import sys

import celpy
import yaml

OWN = "decant-system"
CONTROLLER = f"system:serviceaccount:{OWN}:decant-controller"


class Policy:
    """One ValidatingAdmissionPolicy, as the API server applies it."""

    def __init__(self, policy):
        self.name = policy["metadata"]["name"]
        spec = policy["spec"]
        assert spec["failurePolicy"] == "Fail", self.name
        self.rules = spec["matchConstraints"]["resourceRules"]
        environment = celpy.Environment()
        program = lambda expression: environment.program(environment.compile(expression))
        self.conditions = [program(c["expression"]) for c in spec["matchConditions"]]
        self.variables = [(v["name"], program(v["expression"])) for v in spec.get("variables", [])]
        self.validations = [(v["message"], program(v["expression"])) for v in spec["validations"]]

    def refusals(self, resource, request, params):
        """The messages of the validations that fail. A validation that cannot be evaluated fails, too (failurePolicy)."""
        if not any(resource in rule["resources"] and request["operation"] in rule["operations"] for rule in self.rules):
            return []
        known = {
            "object": celpy.json_to_cel(request.get("object")),
            "oldObject": celpy.json_to_cel(request.get("oldObject")),
            "request": celpy.json_to_cel({key: request[key] for key in ("operation", "namespace", "userInfo")}),
            "params": celpy.json_to_cel(params),
        }
        if not all(condition.evaluate(known) for condition in self.conditions):
            return []
        variables = {}
        for name, program in self.variables:
            try:
                variables[name] = program.evaluate({**known, "variables": celpy.celtypes.MapType(entries(variables))})
            except celpy.CELEvalError:
                pass
        known["variables"] = celpy.celtypes.MapType(entries(variables))
        return [message for message, program in self.validations if not holds(program, known)]


def entries(variables):
    """Variables as the entries of a CEL map."""
    return [(celpy.celtypes.StringType(name), value) for name, value in variables.items()]


def holds(program, known):
    """Whether the expression is true; false if it cannot be evaluated."""
    try:
        return bool(program.evaluate(known))
    except celpy.CELEvalError:
        return False


class Gate:
    """All policies of a file, as the API server applies them to a request."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            found = [item for item in yaml.safe_load_all(file) if item]
        self.policies = [Policy(item) for item in found if item["kind"] == "ValidatingAdmissionPolicy"]
        bound = {item["spec"]["policyName"] for item in found if item["kind"] == "ValidatingAdmissionPolicyBinding"}
        assert bound == {policy.name for policy in self.policies}, "a policy without a binding has no effect"

    def refusals(self, resource, new=None, old=None, user=CONTROLLER, image="registry.example/cloner:1"):
        operation = "DELETE" if new is None else "CREATE" if old is None else "UPDATE"
        namespace = (new or old)["metadata"].get("namespace", "")
        request = {"operation": operation, "namespace": namespace, "userInfo": {"username": user}, "object": new, "oldObject": old}
        params = {"data": {"image": image}}
        return [message for policy in self.policies for message in policy.refusals(resource, request, params)]


def changed(item, path, value):
    """A copy of `item` with another value at `path`. `None` removes the value; a path that ends in "+" appends it to a list."""
    item = copy.deepcopy(item)
    parent = item
    for step in path[:-1]:
        parent = parent.setdefault(step, {}) if isinstance(parent, dict) else parent[step]
    if path[-1] == "+":
        parent.append(value)
    elif value is None:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return item


def stored(secret):
    """The Secret as admission policies get it: the API server has merged `stringData` into `data`."""
    secret = copy.deepcopy(secret)
    secret["data"] = secret.pop("stringData", {})
    secret.setdefault("type", "Opaque")
    return secret


C = ("spec", "containers", 0)
SC = (*C, "securityContext")
# Changes that make an object unacceptable: path, new value, a part of the expected message.
BAD_PODS = [
    (("metadata", "name"), "web", "name of a clone's pod"),
    (("metadata", "name"), None, "name of a clone's pod"),
    (("metadata", "labels", "app"), "web", "labels app"),
    (("metadata", "labels"), None, "labels app"),
    (("metadata", "labels", "cdi.kubevirt.io"), "importer", "labels app"),
    (("metadata", "labels", "decant.dev/role"), "importer", "labels app"),
    (("metadata", "labels", "decant.dev/role"), None, "labels app"),
    (("spec", "containers", "+"), {"name": "second", "image": "registry.example/cloner:1"}, "exactly one container"),
    (("spec", "initContainers"), [{"name": "first", "image": "registry.example/cloner:1"}], "exactly one container"),
    ((*C, "image"), "evil.example/image:1", "image"),
    ((*C, "command"), ["/bin/sh"], "image"),
    ((*C, "lifecycle"), {"postStart": {"exec": {"command": ["/bin/sh"]}}}, "image"),
    ((*C, "readinessProbe"), {"exec": {"command": ["/bin/sh"]}}, "image"),
    ((*C, "readinessProbe"), {"httpGet": {"host": "169.254.169.254", "path": "/", "port": 80}}, "image"),
    ((*C, "livenessProbe"), {"exec": {"command": ["/bin/sh"]}}, "image"),
    ((*C, "startupProbe"), {"exec": {"command": ["/bin/sh"]}}, "image"),
    (("spec", "securityContext", "sysctls"), [{"name": "net.core.somaxconn", "value": "1"}], "node"),
    (("spec", "securityContext", "seLinuxOptions"), {"type": "spc_t"}, "node"),
    (("spec", "securityContext", "appArmorProfile"), {"type": "Unconfined"}, "node"),
    (("metadata", "finalizers"), ["example.com/stay"], "node"),
    ((*SC, "seLinuxOptions"), {"type": "spc_t"}, "restricted"),
    ((*SC, "appArmorProfile"), {"type": "Unconfined"}, "restricted"),
    ((*SC, "readOnlyRootFilesystem"), False, "restricted"),
    (("spec", "hostNetwork"), True, "node"),
    (("spec", "hostPID"), True, "node"),
    (("spec", "hostIPC"), True, "node"),
    (("spec", "nodeName"), "control-plane", "node"),
    ((*C, "ports"), [{"containerPort": 1, "hostPort": 1}], "node"),
    ((*C, "securityContext"), None, "restricted"),
    ((*SC, "privileged"), True, "restricted"),
    ((*SC, "allowPrivilegeEscalation"), True, "restricted"),
    ((*SC, "allowPrivilegeEscalation"), None, "restricted"),
    ((*SC, "runAsNonRoot"), False, "restricted"),
    ((*SC, "runAsUser"), 0, "restricted"),
    ((*SC, "capabilities", "add"), ["SYS_ADMIN"], "restricted"),
    ((*SC, "capabilities", "drop"), ["NET_RAW"], "restricted"),
    ((*SC, "seccompProfile", "type"), "Unconfined", "restricted"),
    ((*SC, "procMount"), "Unmasked", "restricted"),
    (("spec", "automountServiceAccountToken"), None, "token"),
    (("spec", "automountServiceAccountToken"), True, "token"),
    (("spec", "volumes", "+"), {"name": "two", "persistentVolumeClaim": {"claimName": "another"}}, "only one PVC"),
    (("spec", "volumes", "+"), {"name": "node", "hostPath": {"path": "/"}}, "only one PVC"),
    (("spec", "volumes", "+"), {"name": "keys", "secret": {"secretName": "db-password"}}, "only one PVC"),
    (("spec", "volumes", "+"), {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}, "only one PVC"),
    ((*C, "envFrom"), [{"secretRef": {"name": "db-password"}}], "variables"),
    ((*C, "env", "+"), {"name": "X", "valueFrom": {"secretKeyRef": {"name": "db-password", "key": "k"}}}, "variables"),
    ((*C, "env", "+"), {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "any", "key": "k"}}}, "variables"),
    ((*C, "env", "+"), {"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "spec.serviceAccountName"}}}, "variables"),
]
BAD_SECRETS = [
    (("metadata", "name"), "db-password", "name of a clone's Secret"),
    (("metadata", "labels"), None, "label app"),
    (("type",), "kubernetes.io/service-account-token", "type"),
    (("metadata", "ownerReferences"), None, "must belong"),
    (("metadata", "ownerReferences", 0, "kind"), "Namespace", "must belong"),
    (("metadata", "ownerReferences", 0, "name"), "another", "must belong"),
    (("data", "password"), "aGVsbG8=", "certificates and keys"),
]


def refuses(gate, text, *args, **more):
    """Fails unless the request is refused with a message that contains `text`."""
    messages = gate.refusals(*args, **more)
    assert any(text in message for message in messages), f"expected a refusal with {text!r}, got {messages}: {json.dumps(args, indent=1)}"


def accepts(gate, *args, **more):
    """Fails if the request is refused."""
    messages = gate.refusals(*args, **more)
    assert not messages, f"refused with {messages}: {json.dumps(args, indent=1)}"


def main(policies, directory):
    gate = Gate(policies)
    golden = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in pathlib.Path(directory).glob("*.json")}
    kinds = {kind: {name: o for name, o in golden.items() if o["kind"] == kind} for kind in ("Pod", "Secret", "PersistentVolumeClaim")}
    assert all(len(objects) >= 2 for objects in kinds.values()), {kind: list(objects) for kind, objects in kinds.items()}
    for pod in kinds["Pod"].values():
        accepts(gate, "pods", pod)
        accepts(gate, "pods", None, pod)
        accepts(gate, "pods", changed(pod, (*C, "image"), "any"), user="system:serviceaccount:team:other")
        accepts(gate, "pods", changed(pod, ("metadata", "labels", "cdi.kubevirt.io"), None))
        if pod["metadata"]["name"].startswith("cdi-upload-"):
            accepts(gate, "pods", renamed(pod, "decant-target-u"))
        for path, value, text in BAD_PODS:
            refuses(gate, text, "pods", changed(pod, path, value))
        refuses(gate, "image", "pods", pod, image="registry.example/cloner:2")
        refuses(gate, "deleted", "pods", None, changed(pod, ("metadata", "labels"), None))
        refuses(gate, "deleted", "pods", None, changed(pod, ("metadata", "name"), "web"))
        long_name = changed(pod, ("metadata", "name"), "a" * 240 + "-source-pod")
        refuses(gate, "own Secrets", "pods", long_name)
        refuses(gate, "variables", "pods", changed(pod, (*C, "env", "+"), {"name": "X", "valueFrom": {"secretKeyRef": {"name": pod["metadata"]["name"], "key": "k"}}}))
    for name in ("source-filesystem", "source-block"):
        source = kinds["Pod"][name]
        volume = next(i for i, v in enumerate(source["spec"]["volumes"]) if v["name"] == "cdi-data-vol")
        refuses(gate, "read-only", "pods", changed(source, ("spec", "volumes", volume, "persistentVolumeClaim", "readOnly"), None))
    direct_pods(gate, kinds["Pod"])
    for secret in map(stored, kinds["Secret"].values()):
        accepts(gate, "secrets", secret)
        for path, value, text in BAD_SECRETS:
            refuses(gate, text, "secrets", changed(secret, path, value))
        refuses(gate, "Secret must not change", "secrets", secret, secret)
    for name in ("cdi-uploadserver-signer", "cdi-uploadserver-client-signer", "decant-token-key"):
        own = {"metadata": {"namespace": OWN, "name": name}, "type": "Opaque", "data": {"key": "QQ=="}}
        accepts(gate, "secrets", own)
        refuses(gate, "name of a clone's Secret", "secrets", changed(own, ("metadata", "namespace"), "team"))
        refuses(gate, "name of a clone's Secret", "secrets", changed(own, ("metadata", "name"), "another"))
    for claim in kinds["PersistentVolumeClaim"].values():
        accepts(gate, "persistentvolumeclaims", claim)
        accepts(gate, "persistentvolumeclaims", changed(claim, ("metadata", "annotations", "a"), "b"), claim)
        refuses(gate, "must belong", "persistentvolumeclaims", changed(claim, ("metadata", "ownerReferences"), None))
        refuses(gate, "must belong", "persistentvolumeclaims", changed(claim, ("metadata", "ownerReferences", 0, "name"), "another"))
        refuses(gate, "spec of a PVC", "persistentvolumeclaims", changed(claim, ("spec", "volumeName"), "another-volume"), claim)
        gone = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "u"}]
        refuses(gate, "must keep its owners", "persistentvolumeclaims", changed(claim, ("metadata", "ownerReferences"), gone), claim)
        bare = changed(claim, ("metadata", "ownerReferences"), None)
        accepts(gate, "persistentvolumeclaims", claim, bare)
        owned = changed(claim, ("metadata", "ownerReferences"), gone)
        accepts(gate, "persistentvolumeclaims", changed(claim, ("metadata", "ownerReferences", "+"), gone[0]), owned)
        refuses(gate, "must keep its owners", "persistentvolumeclaims", changed(claim, ("metadata", "ownerReferences", "+"), gone[0]), bare)
        refuses(gate, "allow-clone-to", "persistentvolumeclaims", changed(claim, ("metadata", "annotations", "decant.dev/allow-clone-to"), "*"), claim)
    populations(gate)


def direct_pods(gate, pods):
    """The pod of a direct clone has two PVCs, one of them read-only. No other pod has."""
    for name in ("direct-filesystem", "direct-block"):
        direct = pods[name]
        volume = next(i for i, v in enumerate(direct["spec"]["volumes"]) if v["name"] == "decant-source-vol")
        for value in (None, False):
            refuses(gate, "read-only as a volume", "pods", changed(direct, ("spec", "volumes", volume, "persistentVolumeClaim", "readOnly"), value))
        refuses(gate, "only one PVC", "pods", changed(direct, ("spec", "volumes", volume, "name"), "another"))
        refuses(gate, "only one PVC", "pods", changed(direct, ("metadata", "labels", "decant.dev/role"), "target"))
        refuses(gate, "only one PVC", "pods", changed(direct, ("metadata", "name"), "u-source-pod"))


def renamed(pod, name):
    """The pod with another name, which the names of its Secrets begin with."""
    return json.loads(json.dumps(pod).replace(pod["metadata"]["name"], name))


def populations(gate):
    """PVCs that are filled through a temporary PVC, whose volume they get."""
    for prefix in ("tmp-pvc-", "decant-prime-"):
        populations_through(gate, prefix)


def populations_through(gate, prefix):
    claims, volumes, sources = "persistentvolumeclaims", "persistentvolumes", "volumeclonesources"
    prime = {
        "metadata": {
            "namespace": "golden",
            "name": prefix + "u",
            "labels": {"cdi.kubevirt.io/OwnedByUID": "u"},
            "annotations": {"decant.dev/populates": "team/copy"},
        },
        "spec": {"accessModes": ["ReadWriteOnce"]},
    }
    accepts(gate, claims, prime)
    accepts(gate, claims, None, prime)
    for path, value in [
        (("metadata", "name"), prefix + "v"),
        (("metadata", "name"), "copy"),
        (("metadata", "labels"), None),
        (("metadata", "annotations"), None),
    ]:
        refuses(gate, "must belong", claims, changed(prime, path, value))
        refuses(gate, "only temporary PVCs", claims, None, changed(prime, path, value))
    for field, value in [("volumeName", "another"), ("dataSource", {"kind": "PersistentVolumeClaim", "name": "x"}), ("selector", {})]:
        refuses(gate, "must belong", claims, changed(prime, ("spec", field), value))

    holder = {"namespace": "golden", "name": prefix + "u", "uid": "p"}
    target = {"namespace": "team", "name": "copy", "uid": "u"}
    bound = {"metadata": {"name": "pv"}, "spec": {"claimRef": holder, "persistentVolumeReclaimPolicy": "Delete"}}
    kept = changed(bound, ("metadata", "annotations"), {"decant.dev/reclaim-policy": "Delete"})
    kept = changed(kept, ("spec", "persistentVolumeReclaimPolicy"), "Retain")
    given = changed(kept, ("spec", "claimRef"), target)
    restored = changed(bound, ("spec", "claimRef"), target)
    for new, old in [(kept, bound), (given, kept), (restored, given), (bound, kept), (kept, kept)]:
        accepts(gate, volumes, new, old)
    for new, old in [
        (changed(bound, ("spec", "claimRef"), target), bound),
        (changed(kept, ("spec", "claimRef"), {**target, "uid": "other"}), kept),
        (given, changed(kept, ("spec", "claimRef"), {**holder, "name": "database"})),
        (changed(kept, ("spec", "claimRef"), None), kept),
        (given, changed(kept, ("spec", "claimRef"), None)),
    ]:
        refuses(gate, "handed over", volumes, new, old)
    for new, old in [
        (changed(bound, ("spec", "persistentVolumeReclaimPolicy"), "Retain"), bound),
        (changed(restored, ("spec", "persistentVolumeReclaimPolicy"), "Recycle"), given),
        (bound, changed(bound, ("spec", "persistentVolumeReclaimPolicy"), "Retain")),
        (changed(kept, ("metadata", "annotations", "decant.dev/reclaim-policy"), "Recycle"), bound),
        (changed(kept, ("spec", "persistentVolumeReclaimPolicy"), "Delete"), kept),
    ]:
        refuses(gate, "reclaim policy", volumes, new, old)

    source = {
        "metadata": {
            "namespace": "golden",
            "name": "volume-clone-source-u",
            "annotations": {"cdi.kubevirt.io/ownedByDataVolume": "team/copy"},
        }
    }
    accepts(gate, sources, source)
    accepts(gate, sources, None, source)
    for path, value in [(("metadata", "name"), "mine"), (("metadata", "annotations"), None)]:
        refuses(gate, "VolumeCloneSources of DataVolumes", sources, changed(source, path, value))
        refuses(gate, "VolumeCloneSources of DataVolumes", sources, None, changed(source, path, value))


if __name__ == "__main__":
    main(*sys.argv[1:])
