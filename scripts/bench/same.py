"""Compares the content of two files: `same.py A B`. Like cmp, but does not read where both have holes."""
import os
import sys

STEP = 4 << 20


def extents(file):
    """The parts of a file that are not holes."""
    end, at = os.fstat(file).st_size, 0
    while at < end:
        try:
            start = os.lseek(file, at, os.SEEK_DATA)
        except OSError:
            return
        at = os.lseek(file, start, os.SEEK_HOLE)
        yield start, at


def main() -> None:
    one, two = (os.open(path, os.O_RDONLY) for path in sys.argv[1:])
    if os.fstat(one).st_size != os.fstat(two).st_size:
        sys.exit(f"{os.fstat(one).st_size} bytes and {os.fstat(two).st_size}")
    # Where either has data, the other must have the same data. Everywhere else both are zero.
    for file in (one, two):
        for start, end in extents(file):
            for at in range(start, end, STEP):
                size = min(STEP, end - at)
                if os.pread(one, size, at) != os.pread(two, size, at):
                    sys.exit(f"different between byte {at} and {at + size}")


main()
