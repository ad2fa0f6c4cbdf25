"""Snappy frames by cramjam: `frames.py pack|unpack`, from stdin to stdout."""
import sys

import cramjam

convert = {"pack": cramjam.snappy.compress, "unpack": cramjam.snappy.decompress}[sys.argv[1]]
sys.stdout.buffer.write(bytes(convert(sys.stdin.buffer.read())))
