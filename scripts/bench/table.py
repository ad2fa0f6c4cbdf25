"""Prints the medians of a measurement of scripts/bench.sh as a table, and writes them as JSON:
`table.py COMMAND RUNS --rounds N --scale X --json FILE --plot FILE`. An empty file name means that no file is written.

RUNS has one line for each run, with values separated by tabs; scripts/bench/COMMAND.sh lists them. The exit code is 1 if a result
exceeds a limit of the measurement."""
import argparse
import json
import os
import platform
import sys
from collections import defaultdict
from statistics import median

import plot
import series


def read_runs(path, keys):
    """Maps the first `keys` values of a line to the columns of the remaining values, over all rounds."""
    runs = defaultdict(list)
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            values = line.rstrip("\n").split("\t")
            runs[tuple(values[:keys])].append([float(value) for value in values[keys:]])
    return {key: list(zip(*rounds)) for key, rounds in runs.items()}


def print_table(headings, rows):
    """Prints an aligned Markdown table: text to the left, numbers to the right."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [headings, *rows]) for column in range(len(headings))]
    is_number = [all(row[column][:1].isdigit() or row[column] == "-" for row in rows) for column in range(len(headings))]

    def line(cells):
        return "| " + " | ".join(f"{cell:{'>' if right else '<'}{width}}" for cell, right, width in zip(cells, is_number, widths)) + " |"

    print(line(headings))
    print("|" + "|".join("-" * (width + 1) + (":" if right else "-") for right, width in zip(is_number, widths)) + "|")
    for row in rows:
        print(line(row))


def compare(runs):
    """Wall time of each contestant, also as a multiple of the pair's, or of the first contestant's if the pair is left out."""
    results = []
    for (data_set, contestant), (wall, cpu, source, target) in read_runs(runs, 2).items():
        results.append({
            "set": data_set, "contestant": contestant, "wall_seconds": round(median(wall), 3), "all_wall_seconds": wall,
            "cpu_seconds": round(median(cpu), 2), "source_rss_mib": round(max(source) / 1024, 1),
            "target_rss_mib": round(max(target) / 1024, 1),
        })
    names = [result["contestant"] for result in results]
    base = "decant pair" if "decant pair" in names else names[0]
    base_seconds = {result["set"]: result["wall_seconds"] for result in results if result["contestant"] == base}
    print_table(
        ["set", "contestant", "wall s", f"x {base.removeprefix('decant ')}", "CPU s", "source MiB", "target MiB"],
        [[result["set"], result["contestant"], f"{result['wall_seconds']:.2f}",
          f"{result['wall_seconds'] / base_seconds[result['set']]:.2f}", f"{result['cpu_seconds']:.2f}",
          f"{result['source_rss_mib']:.1f}", f"{result['target_rss_mib']:.1f}" if result["target_rss_mib"] else "-"]
         for result in results])
    return results, True


# By how much the time of `auto` may exceed that of the better fixed mode. The seconds are an allowance for work that does not use
# the network: starting, certificates, syncing.
ALLOWED_RATIO, ALLOWED_SECONDS = 1.05, 0.05


def network(runs):
    """Wall and CPU time of each mode of compression, by network and data."""
    modes = defaultdict(dict)
    for (rate, data_set, mode), (wall, user, system, _, percent) in read_runs(runs, 3).items():
        cpu = [a + b for a, b in zip(user, system)]
        modes[rate, data_set][mode] = (median(wall), median(cpu), median(percent))
    results, rows, within = [], [], True
    for (rate, data_set), found in modes.items():
        wall, cpu, packed = ({mode: values[index] for mode, values in found.items()} for index in range(3))
        better = min(wall["always"], wall["never"])
        within &= wall["auto"] <= better * ALLOWED_RATIO + ALLOWED_SECONDS
        rows.append([rate, data_set, *(f"{wall[mode]:.2f}" for mode in ("auto", "always", "never")), f"{wall['auto'] / better:.2f}",
                     *(f"{cpu[mode]:.2f}" for mode in ("auto", "always", "never")), f"{packed['auto']:.0f} %"])
        results.append({"rate": rate, "set": data_set, "wall_seconds": wall, "cpu_seconds": cpu, "packed_percent": packed})
    print_table(["network", "data", "auto s", "always s", "never s", "auto / better", "CPU s auto", "always", "never",
                 "compressed by auto"], rows)
    return results, within


def streams(runs):
    """Speed by number of connections. The limit: more connections are at most a tenth slower than one."""
    results, rows = [], []
    for (number, mib), columns in sorted(read_runs(runs, 2).items(), key=lambda item: int(item[0][0])):
        wall, user, system, source, _, target_user, target_system, target = columns
        seconds, cpu = median(wall), sum(map(median, (user, system, target_user, target_system)))
        results.append({"connections": int(number), "wall_seconds": seconds, "cpu_seconds": cpu,
                        "source_mib": max(source) / 1024, "target_mib": max(target) / 1024})
        rows.append([number, f"{seconds:.2f}", f"{float(mib) * 1.048576 / seconds:.0f}", f"{cpu:.2f}",
                     f"{max(source) / 1024:.0f}", f"{max(target) / 1024:.0f}"])
    print_table(["connections", "s", "MB/s", "CPU s of both", "MiB source", "MiB target"], rows)
    walls = {result["connections"]: result["wall_seconds"] for result in results}
    return results, not any(wall > walls.get(1, wall) * 1.1 for wall in walls.values())


def scaling(runs):
    """Time per unit of each series."""
    results, rows = defaultdict(list), []
    order = list(series.SERIES)
    for (name, x), columns in sorted(read_runs(runs, 2).items(), key=lambda item: (order.index(item[0][0]), int(item[0][1]))):
        wall, user, system, kib = map(median, columns)
        one = series.SERIES[name]
        units = one.units(int(x))
        point = {"x": int(x), "wall_seconds": wall, "cpu_seconds": round(user + system, 2),
                 "wall_seconds_per_unit": round(wall / units, 3),
                 "cpu_seconds_per_unit": round((user + system) / units, 3), "peak_mib": round(kib / 1024, 1)}
        results[name].append(point)
        rows.append([name, f"{int(x):,} {one.x_name}", f"{wall:.2f}", f"{point['cpu_seconds']:.2f}",
                     f"{point['wall_seconds_per_unit']:.2f}", f"{point['cpu_seconds_per_unit']:.2f}", one.unit,
                     f"{point['peak_mib']:.1f}"])
    print_table(["series", "", "wall s", "CPU s", "wall s per unit", "CPU s per unit", "unit", "peak MiB"], rows)
    return results, True


COMMANDS = {"compare": compare, "network": network, "streams": streams, "scaling": scaling}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("runs")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--scale", type=float, required=True)
    parser.add_argument("--json", default="")
    parser.add_argument("--plot", default="")
    options = parser.parse_args()
    results, within = COMMANDS[options.command](options.runs)
    if options.json:
        machine = {"cpus": os.cpu_count(), "kernel": platform.release(), "load": os.getloadavg()[2]}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"command": options.command, "rounds": options.rounds, "scale": options.scale, "machine": machine,
                       "results": results}, file, indent=2)
            file.write("\n")
    if options.plot:
        with open(options.plot, "w", encoding="utf-8") as file:
            file.write(plot.draw(results))
    if not within:
        sys.exit(f"{options.command}: a result exceeds the limit; see scripts/bench.sh --help")


if __name__ == "__main__":
    main()
