#!/usr/bin/env python3
"""Assigns the test binaries to the steps of scripts/test.sh.

targets.py unit|system|cluster    prints the arguments of `cargo test` that select the binaries of a step
targets.py check                  fails unless the steps together run every test binary of the workspace exactly once

Binaries that are not named here run in the step `unit`, so that a new one is never left out.
"""

import collections
import json
import subprocess
import sys

# Integration tests that use loop devices, kill processes, copy gigabytes, wait for timeouts or run a
# thousand populations: minutes in total.
SYSTEM = {"copy", "copy_wire", "flooded", "populator", "receive", "resume", "send"}
# Integration tests that need a cluster. Cargo.toml has `test = false` for them; scripts/on_cluster.sh runs them.
CLUSTER = {"api", "clones"}


def targets():
    """All Cargo targets of the workspace."""
    command = ["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return [target for package in metadata["packages"] for target in package["targets"]]


def arguments(step):
    """The arguments of `cargo test` that select the binaries of a step."""
    tests = [target for target in targets() if "test" in target["kind"]]
    if step == "cluster":
        names = {target["name"] for target in tests} & CLUSTER
    elif step == "system":
        names = {target["name"] for target in tests if target["test"]} & SYSTEM
    else:
        names = {target["name"] for target in tests if target["test"]} - SYSTEM
    # Library and program tests belong to the unit step.
    start = ["--lib", "--bins"] if step == "unit" else []
    return start + [argument for name in sorted(names) for argument in ("--test", name)]


def binaries(selection):
    """The test binaries that Cargo builds for a selection."""
    command = ["cargo", "test", "--locked", "--workspace", "--no-run", "--message-format", "json-render-diagnostics", *selection]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if result.returncode:
        sys.exit("the tests do not compile")
    messages = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    return [m["executable"] for m in messages if m["reason"] == "compiler-artifact" and m["profile"]["test"]]


def check():
    left_out = {target["name"] for target in targets() if "test" in target["kind"] and not target["test"]}
    if left_out != CLUSTER:
        sys.exit(f"Cargo.toml has `test = false` for {sorted(left_out)}, but the cluster step runs {sorted(CLUSTER)}")
    run = collections.Counter(path for step in ("unit", "system") for path in binaries(arguments(step)))
    everything = set(binaries([]))
    # `--lib` also builds the libraries with `test = false` in Cargo.toml, which have no tests.
    missing = sorted(everything - run.keys())
    if not everything or missing:
        sys.exit(f"run by `cargo test --workspace` and by no step: {missing}")
    repeated = sorted(path for path, times in run.items() if times > 1)
    if repeated:
        sys.exit(f"two steps run the same binaries: {repeated}")
    print(f"ok   the steps unit and system run all {len(everything)} test binaries, each once")


if __name__ == "__main__":
    if sys.argv[1] == "check":
        check()
    else:
        print("\n".join(arguments(sys.argv[1])))
