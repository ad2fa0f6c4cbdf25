"""Medians of scripts/bench_network.sh: `network_table.py RUNS JSON`. RUNS has a line per run: rate, set, way, wall, user and
system seconds, how much was compressed in percent. Exit code 1 if `auto` is much slower than the better of the others."""
import json
import sys
from collections import defaultdict
from statistics import median

# What is not the network: starting, certificates, syncing.
ALLOWED_RATIO, ALLOWED_SECONDS = 1.05, 0.05

runs_file, json_file = sys.argv[1:]
runs = defaultdict(list)
with open(runs_file, encoding="utf-8") as lines:
    for line in lines:
        rate, data_set, way, *numbers = line.split()
        wall, user, system, packed = map(float, numbers)
        runs[rate, data_set, way].append((wall, user + system, packed))

results, is_slow = [], False
print("| network | data | auto s | always s | never s | auto / better | CPU s auto | always | never | compressed by auto |")
print("|---|---|---|---|---|---|---|---|---|---|")
for rate, data_set in dict.fromkeys(key[:2] for key in runs):
    wall, cpu, packed = {}, {}, {}
    for way in ("auto", "always", "never"):
        columns = [median(column) for column in zip(*runs[rate, data_set, way])]
        wall[way], cpu[way], packed[way] = columns
    better = min(wall["always"], wall["never"])
    is_slow |= wall["auto"] > better * ALLOWED_RATIO + ALLOWED_SECONDS
    print(f"| {rate} | {data_set} | {wall['auto']:.2f} | {wall['always']:.2f} | {wall['never']:.2f} |"
          f" {wall['auto'] / better:.2f} | {cpu['auto']:.2f} | {cpu['always']:.2f} | {cpu['never']:.2f} |"
          f" {packed['auto']:.0f} % |")
    results.append({"rate": rate, "set": data_set, "wall_seconds": wall, "cpu_seconds": cpu, "packed_percent": packed})

if json_file:
    with open(json_file, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=2)
        file.write("\n")
sys.exit(1 if is_slow else 0)
