"""Medians of a bench: `table.py RUNS JSON ROUNDS SCALE`. RUNS has a line per run: set, contestant, wall seconds, CPU
seconds, peak KiB of the source and of the target, tab between them; a target of 0 KiB means one process."""
import json
import os
import platform
import sys
from collections import defaultdict
from statistics import median

runs_file, json_file, rounds, scale = sys.argv[1:]
runs = defaultdict(list)
with open(runs_file, encoding="utf-8") as lines:
    for line in lines:
        data_set, contestant, *numbers = line.split("\t")
        runs[data_set, contestant].append([float(number) for number in numbers])

results = []
for (data_set, contestant), found in runs.items():
    wall, cpu, source, target = (list(column) for column in zip(*found))
    results.append({
        "set": data_set, "contestant": contestant, "wall_seconds": round(median(wall), 3), "all_wall_seconds": wall,
        "cpu_seconds": round(median(cpu), 2), "source_rss_mib": round(max(source) / 1024, 1),
        "target_rss_mib": round(max(target) / 1024, 1),
    })
ours = {result["set"]: result["wall_seconds"] for result in results if result["contestant"] == "decant pair"}

print(f"{'set':8} {'contestant':14} {'wall s':>8} {'x pair':>7} {'CPU s':>7} {'source MiB':>11} {'target MiB':>11}")
for result in results:
    ratio = f"{result['wall_seconds'] / ours[result['set']]:.2f}" if result["set"] in ours else "-"
    target = f"{result['target_rss_mib']:.1f}" if result["target_rss_mib"] else "-"
    print(f"{result['set']:8} {result['contestant']:14} {result['wall_seconds']:8.2f} {ratio:>7}"
          f" {result['cpu_seconds']:7.2f} {result['source_rss_mib']:11.1f} {target:>11}")

if json_file:
    machine = {"cpus": os.cpu_count(), "kernel": platform.release(), "load": os.getloadavg()[2]}
    with open(json_file, "w", encoding="utf-8") as file:
        json.dump({"rounds": int(rounds), "scale": float(scale), "machine": machine, "results": results}, file, indent=2)
        file.write("\n")
