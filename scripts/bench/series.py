"""The series of `scripts/bench.sh scaling`."""
from collections.abc import Callable
from typing import NamedTuple


class Series(NamedTuple):
    """What a series varies, and the unit that times are divided by."""

    title: str
    x_name: str
    units: Callable[[int], float]
    unit: str


SERIES = {
    "threads": Series("1 GiB of text, always compressed", "threads", lambda x: 1, "GiB"),
    "sizes": Series("noise", "GiB", lambda x: x, "GiB"),
    "disk": Series("noise, to a disk", "GiB", lambda x: x, "GiB"),
    "files": Series("files of 600 bytes", "files", lambda x: x / 1e5, "100,000 files"),
    "cp": Series("the same by cp -a", "files", lambda x: x / 1e5, "100,000 files"),
}
