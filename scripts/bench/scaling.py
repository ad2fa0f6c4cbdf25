"""Medians of scripts/bench_scaling.sh as a table, JSON and a drawing: `scaling.py RUNS JSON SVG`. RUNS has a line per run:
series, x, wall, user and system seconds, peak KiB. Empty names: no such file."""
import json
import sys
from collections import defaultdict
from statistics import median

# What a run is divided by, and what that is called.
SERIES = {
    "threads": ("1 GiB of text, always compressed", "threads", lambda x: 1, "GiB"),
    "sizes": ("noise", "GiB", lambda x: x, "GiB"),
    "disk": ("noise, onto a disk", "GiB", lambda x: x, "GiB"),
    "files": ("files of 600 bytes", "files", lambda x: x / 1e5, "100,000 files"),
    "cp": ("the same by cp -a", "files", lambda x: x / 1e5, "100,000 files"),
}
WIDTH, HEIGHT, LEFT, TOP = 260, 150, 60, 50


def read(path):
    runs = defaultdict(list)
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            name, x, *numbers = line.split()
            runs[name, int(x)].append([float(number) for number in numbers])
    results = defaultdict(list)
    for (name, x), found in sorted(runs.items(), key=lambda item: (list(SERIES).index(item[0][0]), item[0][1])):
        wall, user, system, kib = (median(column) for column in zip(*found))
        unit = SERIES[name][2](x)
        results[name].append({"x": x, "wall_seconds": wall, "cpu_seconds": round(user + system, 2),
                              "wall_seconds_per_unit": round(wall / unit, 3),
                              "cpu_seconds_per_unit": round((user + system) / unit, 3), "peak_mib": round(kib / 1024, 1)})
    return results


def table(results):
    print("| series | | wall s | CPU s | wall s per unit | CPU s per unit | unit | peak MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, points in results.items():
        _, word, _, unit = SERIES[name]
        for point in points:
            print(f"| {name} | {point['x']:,} {word} | {point['wall_seconds']:.2f} | {point['cpu_seconds']:.2f} |"
                  f" {point['wall_seconds_per_unit']:.2f} | {point['cpu_seconds_per_unit']:.2f} | {unit} |"
                  f" {point['peak_mib']:.1f} |")


def panel(left, name, points):
    """Wall and processor time per unit, from 0 on; each x has its place, whatever its distance."""
    title, word, _, unit = SERIES[name]
    top = max(max(point["wall_seconds_per_unit"], point["cpu_seconds_per_unit"]) for point in points) * 1.15

    def place(index, value):
        return left + (index + 0.5) * WIDTH / len(points), TOP + HEIGHT * (1 - value / top)

    out = [f'<text x="{left + WIDTH / 2}" y="{TOP - 18}" text-anchor="middle" font-weight="bold">{title}</text>',
           f'<path d="M{left} {TOP}v{HEIGHT}h{WIDTH}" fill="none" stroke="#888"/>',
           f'<text x="{left + WIDTH / 2}" y="{TOP + HEIGHT + 50}" text-anchor="middle">{word}</text>',
           f'<text transform="translate({left - 44} {TOP + HEIGHT / 2}) rotate(-90)" text-anchor="middle">s per {unit}</text>']
    for step in range(5):
        value = top * step / 4
        y = place(0, value)[1]
        out.append(f'<path d="M{left} {y:.1f}h{WIDTH}" stroke="#ddd"/>')
        out.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.2g}</text>')
    for field, colour in (("cpu_seconds_per_unit", "#b5541c"), ("wall_seconds_per_unit", "#1c5fb5")):
        places = [place(index, point[field]) for index, point in enumerate(points)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for (x, y), point in zip(places, points):
            out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>')
            out.append(f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle" fill="{colour}">{point[field]:.2f}</text>')
    for index, point in enumerate(points):
        x = place(index, 0)[0]
        out.append(f'<text x="{x:.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{point["x"]:,}</text>')
        out.append(f'<text x="{x:.1f}" y="{TOP + HEIGHT + 32}" text-anchor="middle" fill="#777">{point["peak_mib"]:.0f} MiB</text>')
    return out


def draw(results):
    width, height = len(results) * (WIDTH + LEFT + 20) + 20, TOP + HEIGHT + 90
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
           ' font-family="sans-serif" font-size="12" fill="#222">',
           f'<rect width="{width}" height="{height}" fill="#fff"/>']
    for index, (name, points) in enumerate(results.items()):
        out += panel(LEFT + index * (WIDTH + LEFT + 20), name, points)
    for x, colour, word in ((LEFT, "#1c5fb5", "wall time"), (LEFT + 120, "#b5541c", "CPU time (of both ends)")):
        out.append(f'<circle cx="{x}" cy="{height - 18}" r="3.5" fill="{colour}"/>')
        out.append(f'<text x="{x + 10}" y="{height - 14}">{word}</text>')
    return "\n".join(out + ["</svg>"]) + "\n"


def main():
    runs_file, json_file, svg_file = sys.argv[1:]
    results = read(runs_file)
    table(results)
    if json_file:
        with open(json_file, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=2)
            file.write("\n")
    if svg_file:
        with open(svg_file, "w", encoding="utf-8") as file:
            file.write(draw(results))


main()
