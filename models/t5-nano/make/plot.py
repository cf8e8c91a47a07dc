#!/usr/bin/env python3
"""The training log in; the loss curve and the accuracies as one SVG picture out. Needs no package.

  plot.py log.jsonl ../loss.svg
"""
import json
import sys

W, H, LEFT, RIGHT, TOP, BOTTOM = 420, 260, 48, 12, 28, 36
COLOURS = ["#1b6ca8", "#b5651d", "#4a7c59", "#8a4f7d"]


def ticks(low, high):
    span = high - low
    step = next(s for s in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if span / s <= 6)
    first = int(low / step) + (low > int(low / step) * step)
    return [round((first + i) * step, 2) for i in range(int((high - first * step) / step + 1e-9) + 1)]


def panel(x0, title, axis, series, low, high, legend=TOP + 8):
    """One chart: series is {name: [(x, y)...]}, drawn with axes, ticks and a legend at that height."""
    last = max(x for points in series.values() for x, _ in points)
    px = lambda x: x0 + LEFT + x / last * (W - LEFT - RIGHT)
    py = lambda y: TOP + (high - min(max(y, low), high)) / (high - low) * (H - TOP - BOTTOM)
    out = [f'<text x="{x0 + LEFT}" y="16" font-weight="bold">{title}</text>']
    for y in ticks(low, high):
        out.append(f'<line x1="{px(0):.1f}" x2="{px(last):.1f}" y1="{py(y):.1f}" y2="{py(y):.1f}" stroke="#ddd"/>'
                   f'<text x="{px(0) - 5:.1f}" y="{py(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in ticks(0, last):
        out.append(f'<text x="{px(x):.1f}" y="{H - BOTTOM + 15}" text-anchor="middle">{x:g}</text>')
    out.append(f'<text x="{px(last / 2):.1f}" y="{H - 5}" text-anchor="middle">{axis}</text>')
    for i, (name, points) in enumerate(series.items()):
        line = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in points)
        dash = ' stroke-dasharray="4 3"' if "no prefix" in name else ""
        c = COLOURS[i // 2 % 4 if any("no prefix" in n for n in series) else i]
        out.append(f'<polyline points="{line}" fill="none" stroke="{c}" stroke-width="1.6"{dash}/>')
        out.append(f'<line x1="{x0 + W - 128}" x2="{x0 + W - 108}" y1="{legend + 14 * i}" y2="{legend + 14 * i}" stroke="{c}" '
                   f'stroke-width="1.6"{dash}/><text x="{x0 + W - 104}" y="{legend + 4 + 14 * i}">{name}</text>')
    return out


def draw(picture, axis, losses, scores, above=4):
    """Two charts side by side: the losses, from below their least to so much above it, and the accuracies."""
    low = int(min(y for points in losses.values() for _, y in points) * 2) / 2
    body = (panel(0, "loss per target token (nats)", axis, losses, low, low + above)
            + panel(W, "validation accuracy", axis, scores, 0.2, 1.1))  # above 1: room for the legend
    with open(picture, "w") as f:
        f.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * W} {H}" width="{2 * W}" height="{H}" '
                f'font-family="sans-serif" font-size="11" fill="#222">\n<rect width="100%" height="100%" fill="#fff"/>\n'
                + "\n".join(body) + "\n</svg>\n")


def records_of(log):
    with open(log) as f:
        return [json.loads(line) for line in f]


def main(log, picture):
    records = records_of(log)
    at = lambda pick: [(r["minutes"], pick(r)) for r in records if pick(r) is not None]
    losses = {"held-out spans": at(lambda r: r.get("held")), "training spans": at(lambda r: r["train"].get("spans"))}
    scores = {}
    for task in ("sst2", "mnli"):
        for i, kind in enumerate((task, f"{task}, no prefix")):
            scores[kind] = at(lambda r: r["accuracy"][task][i] if "accuracy" in r else None)
    draw(picture, "minutes of training on 2 CPU cores", losses, scores)


if __name__ == "__main__":
    main(*sys.argv[1:])
