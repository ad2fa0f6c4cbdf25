"""Makes a data set of the bench: `data.py dense|text|vmdisk|tree|memory TARGET SCALE`. The same bytes on every machine, but
for `dense` (noise) and `vmdisk` (made of what lies in /usr)."""
import os
import random
import subprocess
import sys

MIB = 1 << 20


def dense(path: str, scale: float) -> None:
    with open(path, "wb") as file:
        for _ in range(int(1024 * scale)):
            file.write(os.urandom(MIB))


def vmdisk(path: str, scale: float) -> None:
    """8 GiB with 1.1 GiB of programs, libraries and texts in pieces of 1 to 16 MiB, scattered."""
    size, left = int(8192 * scale) * MIB, int(1126 * scale) * MIB
    chance = random.Random(1)
    pieces = []
    while left > 0:
        piece = min(left, chance.randint(1, 16) * MIB)
        pieces.append(piece)
        left -= piece
    holes = size - sum(pieces)
    cuts = sorted(chance.randrange(holes // 4096) * 4096 for _ in pieces)
    tar = None
    with open(path, "wb") as disk:
        disk.truncate(size)
        offset = before = 0
        for cut, piece in zip(cuts, pieces):
            offset += cut - before
            before = cut
            disk.seek(offset)
            offset += piece
            while piece > 0:
                # A /usr that is too small is read again.
                if tar is None:
                    tar = subprocess.Popen(["tar", "-C", "/usr", "--sort=name", "-cf", "-", "."], stdout=subprocess.PIPE,
                                           stderr=subprocess.DEVNULL)
                data = tar.stdout.read(min(piece, MIB))
                if data:
                    disk.write(data)
                    piece -= len(data)
                else:
                    tar.wait()
                    tar = None
    if tar:
        tar.kill()
        tar.wait()


def prose(chance: random.Random, vocabulary: int) -> bytes:
    """About 12 MB that read like sources of so many words."""
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz_", k=chance.randint(2, 12))) for _ in range(vocabulary)]
    return " ".join(chance.choices(words, k=1_500_000)).encode()


def text(path: str, scale: float) -> None:
    """1 GiB of few words, in pieces of 1 MiB from anywhere: snappy makes a third of it."""
    chance = random.Random(3)
    pool = prose(chance, 300)
    with open(path, "wb") as file:
        for _ in range(int(1024 * scale)):
            start = chance.randrange(len(pool) - MIB)
            file.write(pool[start:start + MIB])


def files(path: str, count: int, mean_bytes: int) -> None:
    """`count` files of half to one and a half times `mean_bytes`, a hundred to a directory, that read like sources."""
    chance = random.Random(2)
    pool = prose(chance, 3000)
    for index in range(count):
        directory = f"{path}/{index // 10_000:02}/{index // 100 % 100:02}"
        if index % 100 == 0:
            os.makedirs(directory)
        size = chance.randint(mean_bytes // 2, mean_bytes * 3 // 2)
        start = chance.randrange(len(pool) - size)
        with open(f"{directory}/{index % 100:02}", "wb") as file:
            file.write(pool[start:start + size])


def main() -> None:
    kind, path, scale = sys.argv[1], sys.argv[2], float(sys.argv[3])
    if kind == "dense":
        dense(path, scale)
    elif kind == "text":
        text(path, scale)
    elif kind == "vmdisk":
        vmdisk(path, scale)
    elif kind == "tree":
        files(path, int(69_000 * scale), 14_500)
    elif kind == "memory":
        files(path, int(200_000 * scale), 600)
    else:
        sys.exit(f"no data set is called {kind}")


main()
