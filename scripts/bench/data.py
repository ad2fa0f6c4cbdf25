"""Creates a data set of scripts/bench.sh: `data.py SET TARGET SCALE`. The bytes are the same on every machine, except for `noise`,
and for `text`, `binaries` and `vmdisk`, which consist of files below /usr."""
import os
import random
import subprocess
import sys

MIB = 1 << 20


def noise(path: str, scale: float) -> None:
    """1 GiB of random bytes."""
    with open(path, "wb") as file:
        for _ in range(int(1024 * scale)):
            file.write(os.urandom(MIB))


def vmdisk(path: str, scale: float) -> None:
    """8 GiB with 1.1 GiB of programs, libraries and texts in pieces of 1 to 16 MiB, at random places."""
    size, left = int(8192 * scale) * MIB, int(1126 * scale) * MIB
    generator = random.Random(1)
    pieces = []
    while left > 0:
        piece = min(left, generator.randint(1, 16) * MIB)
        pieces.append(piece)
        left -= piece
    holes = size - sum(pieces)
    cuts = sorted(generator.randrange(holes // 4096) * 4096 for _ in pieces)
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
                # If /usr is too small, it is read again.
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


def words(generator: random.Random, vocabulary: int) -> bytes:
    """About 12 MB of random words, which compress like source code. `vocabulary` is the number of different words."""
    known = ["".join(generator.choices("abcdefghijklmnopqrstuvwxyz_", k=generator.randint(2, 12))) for _ in range(vocabulary)]
    return " ".join(generator.choices(known, k=1_500_000)).encode()


def prose(path: str, scale: float) -> None:
    """1 GiB of few words, in pieces of 1 MiB: snappy compresses them to a third."""
    generator = random.Random(3)
    pool = words(generator, 300)
    with open(path, "wb") as file:
        for _ in range(int(1024 * scale)):
            start = generator.randrange(len(pool) - MIB)
            file.write(pool[start:start + MIB])


def files(path: str, count: int, mean_bytes: int) -> None:
    """`count` files of half to one and a half times `mean_bytes`, a hundred per directory, which compress like source code."""
    generator = random.Random(2)
    pool = words(generator, 3000)
    for index in range(count):
        directory = f"{path}/{index // 10_000:02}/{index // 100 % 100:02}"
        if index % 100 == 0:
            os.makedirs(directory)
        size = generator.randint(mean_bytes // 2, mean_bytes * 3 // 2)
        start = generator.randrange(len(pool) - size)
        with open(f"{directory}/{index % 100:02}", "wb") as file:
            file.write(pool[start:start + size])


def find(roots: list[str], is_wanted, limit: int) -> list[str]:
    """The first `limit` wanted files below the roots, in the order of their names."""
    paths = [os.path.join(top, name) for root in roots for top, _, names in os.walk(root) for name in names]
    return sorted(path for path in paths if not os.path.islink(path) and is_wanted(path))[:limit]


def repeated(path: str, scale: float, sources: list[str]) -> None:
    """1 GiB: the content of the files, repeated until the size is reached."""
    left = int(1024 * scale) * MIB
    with open(path, "wb") as target:
        while left:
            for name in sources:
                with open(name, "rb") as source:
                    left -= target.write(source.read(left))


def text(path: str, scale: float) -> None:
    """Headers of C."""
    repeated(path, scale, find(["/usr/include", "/usr/lib/gcc"], lambda name: name.endswith(".h"), 4000))


def binaries(path: str, scale: float) -> None:
    """Programs of more than 64 KiB."""
    repeated(path, scale, find(["/usr/bin"], lambda name: os.path.getsize(name) > 64 << 10, 300))


def tree(path: str, scale: float) -> None:
    """69,000 files, 1 GB."""
    files(path, int(69_000 * scale), 14_500)


def memory(path: str, scale: float) -> None:
    """200,000 files of 600 bytes."""
    files(path, int(200_000 * scale), 600)


SETS = {"dense": noise, "noise": noise, "vmdisk": vmdisk, "tree": tree, "memory": memory, "text": text, "binaries": binaries,
        "prose": prose}

if __name__ == "__main__":
    SETS[sys.argv[1]](sys.argv[2], float(sys.argv[3]))
