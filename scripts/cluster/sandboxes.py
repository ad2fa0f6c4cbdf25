"""Removes the sandboxes of pods as soon as they are stopped and contain nothing: sandboxes.py SOCKET

SOCKET is that of containerd. The kubelet of Kubernetes 1.20 does the same, but once a minute, and keeps a deleted pod until
then: a test that waits for the end of its pods would wait for up to 75 s. A sandbox in which a
container is left, such as that of a completed pod with its log, stays.

Makes three calls of CRI v1alpha2 without generated code: few fields of their messages matter here.
"""

import sys
import time

import grpc

SERVICE = "/runtime.v1alpha2.RuntimeService/"
INTERVAL_SECS = 1
TIMEOUT_SECS = 20
# Numbers of fields, and a value, in the description of the interface (api.proto of k8s.io/cri-api).
ID = 1
SANDBOX_STATE = 3
SANDBOX_NOT_READY = 1
SANDBOX_OF_CONTAINER = 2
# Types of fields in a message of Protocol Buffers.
VARINT = 0
LENGTH_DELIMITED = 2


def varint(message, at):
    """The number that begins at `at`, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(message):
    """Number and value of each field."""
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        value, at = varint(message, at)
        if key & 7 == LENGTH_DELIMITED:
            value, at = message[at : at + value], at + value
        elif key & 7 != VARINT:
            raise ValueError(f"a field of type {key & 7}")
        yield key >> 3, value


def remove_empty(channel):
    """One round: removes what is stopped and empty."""

    def call(name, message=b""):
        return channel.unary_unary(SERVICE + name)(message, timeout=TIMEOUT_SECS)

    # The sandboxes come first: a container that is created in the meantime is then in the second list.
    sandboxes = [dict(fields(sandbox)) for _, sandbox in fields(call("ListPodSandbox"))]
    used = {dict(fields(container))[SANDBOX_OF_CONTAINER] for _, container in fields(call("ListContainers"))}
    for sandbox in sandboxes:
        if sandbox.get(SANDBOX_STATE) == SANDBOX_NOT_READY and sandbox[ID] not in used:
            call("RemovePodSandbox", bytes([ID << 3 | LENGTH_DELIMITED, len(sandbox[ID])]) + sandbox[ID])
            print("removed", sandbox[ID].decode(), flush=True)


channel = grpc.insecure_channel("unix://" + sys.argv[1])
while True:
    try:
        remove_empty(channel)
    except grpc.RpcError as error:
        # The kubelet may have removed it first.
        print(error.details(), flush=True)
    time.sleep(INTERVAL_SECS)
