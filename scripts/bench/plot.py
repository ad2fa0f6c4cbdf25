"""Draws the series of `scripts/bench.sh scaling` as SVG."""
from series import SERIES

WIDTH, HEIGHT, LEFT, TOP = 260, 150, 60, 50


def panel(left, name, points):
    """Wall and CPU time per unit, from 0; the points of x have equal distances."""
    one = SERIES[name]
    top = max(max(point["wall_seconds_per_unit"], point["cpu_seconds_per_unit"]) for point in points) * 1.15

    def place(index, value):
        return left + (index + 0.5) * WIDTH / len(points), TOP + HEIGHT * (1 - value / top)

    out = [f'<text x="{left + WIDTH / 2}" y="{TOP - 18}" text-anchor="middle" font-weight="bold">{one.title}</text>',
           f'<path d="M{left} {TOP}v{HEIGHT}h{WIDTH}" fill="none" stroke="#888"/>',
           f'<text x="{left + WIDTH / 2}" y="{TOP + HEIGHT + 50}" text-anchor="middle">{one.x_name}</text>',
           f'<text transform="translate({left - 44} {TOP + HEIGHT / 2}) rotate(-90)" text-anchor="middle">s per {one.unit}</text>']
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
    """The series side by side, as SVG."""
    width, height = len(results) * (WIDTH + LEFT + 20) + 20, TOP + HEIGHT + 90
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
           ' font-family="sans-serif" font-size="12" fill="#222">',
           f'<rect width="{width}" height="{height}" fill="#fff"/>']
    for index, (name, points) in enumerate(results.items()):
        out += panel(LEFT + index * (WIDTH + LEFT + 20), name, points)
    for x, colour, label in ((LEFT, "#1c5fb5", "wall time"), (LEFT + 120, "#b5541c", "CPU time (of both ends)")):
        out.append(f'<circle cx="{x}" cy="{height - 18}" r="3.5" fill="{colour}"/>')
        out.append(f'<text x="{x + 10}" y="{height - 14}">{label}</text>')
    return "\n".join(out + ["</svg>"]) + "\n"
