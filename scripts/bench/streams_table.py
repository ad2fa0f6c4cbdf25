"""Medians of scripts/bench_streams.sh: `streams_table.py RUNS MIB JSON`. RUNS has a line per run: connections, wall seconds, then
user and system seconds and KiB of the source, and the same of the target. Exit code 1 if more connections were slower than one."""
import json
import sys
from collections import defaultdict
from statistics import median

runs_file, mib, json_file = sys.argv[1:]
runs = defaultdict(list)
with open(runs_file, encoding="utf-8") as lines:
    for line in lines:
        number, *numbers = map(float, line.split())
        runs[int(number)].append(numbers)

results = []
print("| connections | s | MB/s | CPU s of both | MiB source | MiB target |")
print("|---|---|---|---|---|---|")
for number in sorted(runs):
    columns = list(zip(*runs[number]))
    wall, user, system, _, target_user, target_system, _ = map(median, columns)
    source_mib, target_mib = (max(columns[column]) / 1024 for column in (3, 6))
    speed, cpu = float(mib) * 1.048576 / wall, user + system + target_user + target_system
    print(f"| {number} | {wall:.2f} | {speed:.0f} | {cpu:.2f} | {source_mib:.0f} | {target_mib:.0f} |")
    results.append({"connections": number, "wall_seconds": wall, "cpu_seconds": cpu,
                    "source_mib": source_mib, "target_mib": target_mib})

if json_file:
    with open(json_file, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=2)
        file.write("\n")
walls = {result["connections"]: result["wall_seconds"] for result in results}
sys.exit(1 if any(wall > walls.get(1, wall) * 1.1 for wall in walls.values()) else 0)
