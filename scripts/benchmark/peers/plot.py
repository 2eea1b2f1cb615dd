"""Draw requests/s by server, a panel for each workload: plot.py BENCH.json PLOT.svg CONNECTIONS."""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt

plt.switch_backend("svg")
plt.rcParams["svg.hashsalt"] = "bertserve"  # the same figures make the same file

source, target, wanted = sys.argv[1:]
OURS, OTHERS = "#d1495b", "#8d99ae"

results = json.loads(Path(source).read_bytes())
options = results["options"]
connections = int(wanted) if int(wanted) in options["connections"] else max(options["connections"])
servers = {name: server for name, server in results["servers"].items() if not server["absent"]}
names = list(servers)[::-1]
rates = {
    (each["workload"], each["server"]): each["requests_per_second"]
    for each in results["medians"]
    if each["connections"] == connections
}

figure, panels = plt.subplots(
    1,
    len(options["workloads"]),
    figsize=(3.2 + 3 * len(options["workloads"]), 1.2 + 0.34 * len(names)),
    sharey=True,
    squeeze=False,
    layout="constrained",
)
for panel, workload in zip(panels[0], options["workloads"], strict=True):
    values = [rates.get((workload, name), 0) for name in names]
    colours = [OURS if name.startswith("bertserve") else OTHERS for name in names]
    bars = panel.barh([servers[name]["title"] for name in names], values, color=colours)
    panel.bar_label(
        bars, fmt=lambda value: f"{value:.3g}" if value < 1000 else f"{value:,.0f}", padding=3
    )
    panel.set_xlim(0, 1.2 * max(values, default=0) or 1)
    panel.set_title(
        f"{workload}, {results['workloads'][workload]['mean_tokens']:.0f} tokens on average"
    )
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(axis="y", length=0)
figure.supxlabel(f"requests/s at {connections} connections, {results['machine']['cores']} cores")
figure.savefig(target, metadata={"Date": None})
