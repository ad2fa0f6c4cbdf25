#!/usr/bin/env python3
"""Writes cloner/fuzz/seeds/: small inputs that the fuzzer starts from, one folder per target.

Run again only when a format gains something that the seeds do not show; the result is committed.
Needs GNU tar, openssl and the module cramjam.
"""
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import cramjam

SEEDS = Path(__file__).resolve().parent / "seeds"


def seed(target: str, name: str, content: bytes) -> None:
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def http() -> None:
    seed("http_head", "upload", b"POST /v1beta1/upload HTTP/1.1\r\nHost: target:8443\r\nUser-Agent: Go-http-client/1.1\r\n"
         b"Transfer-Encoding: chunked\r\nx-cdi-content-type: filesystem-clone\r\nAccept-Encoding: gzip\r\n\r\n")
    seed("http_head", "continue", b"POST https://h/v1alpha1/upload?a=b HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello")
    seed("http_head", "two-framings", b"POST / HTTP/1.1\r\nContent-Length: 5\r\ntransfer-encoding: chunked\r\n\r\n")
    seed("http_head", "scrape", b"GET /metrics HTTP/1.0\r\n\r\n")
    seed("http_head", "answer", b"HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 22:00:00 GMT\r\nContent-Length: 0\r\n\r\n")
    seed("http_head", "refusal", b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\nbusy")
    seed("chunked", "two", b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n")
    seed("chunked", "extras", b"0003;name=\"v\"\r\nabc\r\n0\r\nDigest: x\r\nMore: y\r\n\r\n")
    seed("chunked", "upper", b"A\r\n0123456789\r\n00\r\n\r\nnext")
    seed("chunked", "cut", b"ffffffff\r\nabc")


def programs() -> None:
    """Programs for the targets that make their streams: see Program in src/lib.rs for how numbers are read."""
    # Held segments and how they count; then steps: what, its numbers, how often.
    seed("checked", "two-holes", bytes([0, 0, 1, 1, 63, 0, 0, 1, 1, 63, 0, 0]))
    seed("checked", "data-and-zeros", bytes([0, 0, 0, 7, 0, 200, 0, 3, 2, 0, 3, 0, 9]))
    seed("checked", "marks", bytes([2, 0, 3, 1, 26, 0, 0, 4, 0, 0, 9, 0, 0, 5, 1, 26, 9, 0, 0]))
    seed("checked", "digests-missing", bytes([0, 0, 5, 0, 0, 9, 0, 0, 1, 2, 26, 0, 0, 0, 1, 0, 1, 1, 13]))
    # Headers: kind, records (how many, which key, suffix, value, how often), how often the header comes.
    seed("tar_headers", "empty-attributes", bytes([0, 0, 0, 0, 0, 0, 1, 16, 1, 12]))
    seed("tar_headers", "attributes-then-member", bytes([0, 0, 1, 0, 5, 0, 0, 9, 0, 0, 9, 0, 0, 0]))
    seed("tar_headers", "global-path", bytes([4, 0, 2, 0, 0, 3, 1, 18, 0, 0, 9, 1, 10]))
    seed("tar_headers", "segments", bytes([0, 1, 5, 0, 0, 1, 0, 1, 1, 14, 6, 0, 0, 1, 0, 1, 1, 14, 0, 5]))
    seed("tar_headers", "long-names", bytes([5, 1, 15, 1, 12, 6, 1, 16, 0, 0, 9, 0, 0]))


def prometheus() -> None:
    seed("prometheus_text", "clone", b"# HELP kubevirt_cdi_clone_progress_total The clone progress in percentage\n"
         b"# TYPE kubevirt_cdi_clone_progress_total counter\nkubevirt_cdi_clone_progress_total{ownerUID=\"uid\"} 42.5\n"
         b"clone_progress{ownerUID=\"uid\",} 4.25e1 1700000000000\n")
    seed("prometheus_text", "odd", "go_info{version=\"go\\\"1\\\\\\n\"} 1\nx NaN\ny +Inf\nz -Inf -5\nü{a=\"\"} 1\n".encode())
    seed("prometheus_text", "cut", b"clone_progress{ownerUID=\"uid\"} 9")


def snappy() -> None:
    def framed(data: bytes) -> bytes:
        return bytes(cramjam.snappy.compress(data))
    identifier = framed(b"")[:10] or b"\xff\x06\x00\x00sNaPpY"
    text = framed(b"all work and no play makes Jack a dull boy. " * 20)
    seed("snappy_frames", "text", text)
    seed("snappy_frames", "stored", framed(bytes((i * 73 + i // 7) % 256 for i in range(300))))
    seed("snappy_frames", "zeros", framed(bytes(2 << 16)))
    seed("snappy_frames", "skippable", identifier + b"\x80\x03\x00\x00abc" + b"\xfe\x02\x00\x00\0\0" + text)
    seed("snappy_frames", "reserved", identifier + b"\x02\x03\x00\x00abc")


def gnu_tar(folder: Path, *options: str) -> bytes:
    # Names in a fixed order, times and owners fixed: the same seeds on every machine.
    return subprocess.run(
        ["tar", "-C", folder, "--sort=name", "--mtime=@1700000000", "--owner=0", "--group=0", "--numeric-owner",
         "--blocking-factor=1", *options, "-cf", "-", "."], check=True, stdout=subprocess.PIPE).stdout


def by_hand(*members: tuple[str, bytes, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, kind, rest in members:
            info = tarfile.TarInfo(name)
            info.type, info.mtime = kind, 1_700_000_000
            if kind == tarfile.REGTYPE:
                info.size = len(rest)
                archive.addfile(info, io.BytesIO(rest.encode()))
            else:
                info.linkname = rest
                archive.addfile(info)
    # Python pads to 10 KiB; two blocks of zeros are the end.
    return out.getvalue().rstrip(b"\0") + bytes(-len(out.getvalue().rstrip(b"\0")) % 512 + 1024)


def archives() -> dict[str, bytes]:
    found = {}
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place)
        (tree / "folder").mkdir()
        (tree / "folder" / "file").write_text("content")
        (tree / ("n" * 120)).write_text("long")
        os.link(tree / "folder" / "file", tree / "hard")
        os.symlink("folder/file", tree / "soft")
        os.mkfifo(tree / "pipe")
        for form in ("gnu", "pax", "ustar", "v7"):
            skip = {"ustar": ["--exclude=nnn*"], "v7": ["--exclude=nnn*", "--exclude=pipe"]}.get(form, [])
            found[form] = gnu_tar(tree, f"--format={form}", *skip)
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place)
        with open(tree / "holes", "wb") as file:
            for block in range(6):
                file.seek(block << 16)
                file.write(b"x" * 10)
            file.truncate(1 << 30)
        found["sparse-gnu"] = gnu_tar(tree, "-S", "--format=gnu")
        for version in ("0.0", "0.1", "1.0"):
            found[f"sparse-{version}"] = gnu_tar(tree, "-S", "--format=pax", f"--sparse-version={version}",
                                                 "--pax-option=exthdr.name=%d/x/%f")
    file, link, hard, folder = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
    found["escape-dots"] = by_hand(("../outside/file", file, "no"))
    found["escape-link"] = by_hand(("out", link, "../outside"), ("out/file", file, "no"))
    found["escape-leftover"] = by_hand(("link/file", file, "no"), ("old/link", file, "no"))
    found["escape-hard"] = by_hand(("mine", hard, "../outside/file"), ("mine", file, "no"))
    found["escape-chain"] = by_hand(("a", link, "."), ("a/b", link, ".."), ("a/b/../outside/file", file, "no"))
    found["twice"] = by_hand(("x", folder, ""), ("x/y", file, "1"), ("x", file, "2"), ("x/y", file, "3"))
    found["staging"] = by_hand((".decant-partial/x", file, "no"))
    return found


def names() -> None:
    with tempfile.TemporaryDirectory() as place:
        der = Path(place) / "cert"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", "/dev/null", "-outform", "DER", "-out", der, "-subj", r"/O=org/CN=src\/pvc-tgt\/pvc"],
                       check=True, stderr=subprocess.DEVNULL)
        seed("der_name", "certificate", der.read_bytes())
    rdn = b"\x31\x0d\x30\x0b\x06\x03\x55\x04\x03\x0c\x04name"
    seed("der_name", "subject", rdn)
    seed("der_name", "two-names", rdn * 2)
    seed("der_name", "long-length", b"\x31\x82\x00\x0d" + rdn[2:])


def main() -> None:
    shutil.rmtree(SEEDS, ignore_errors=True)
    http()
    programs()
    prometheus()
    snappy()
    names()
    for name, content in archives().items():
        seed("tar_entries", name, content)
    # The same archives; a second copy would only drift. Git keeps the link.
    (SEEDS / "tar_unpack").symlink_to("tar_entries")


if __name__ == "__main__":
    main()
