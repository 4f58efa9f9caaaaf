"""The run's numbers for readers: benchmark rows, and Markdown beside the paper's values."""

from typing import Any

from sardino.reporting.tables.paper import TITLES, CellKey, paper_cells


def benchmark_rows(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Speed and memory as benchmark rows: each value beside the peer it is read against."""
    gpu = content["hardware"]["gpu"] or content["hardware"]["cpu"]
    peak, memory = content["probes"].get("matrix_tflops"), content["probes"].get("device_memory_gb")
    rows: list[dict[str, Any]] = []

    def add(
        name: str, value: float | None, unit: str, peer: str | None = None, peer_value: float | None = None
    ) -> None:
        if value is None:
            return
        ratio = value / peer_value if peer_value else None
        rows.append(
            {
                "name": name,
                "value": value,
                "unit": unit,
                "peer": peer if peer_value else None,
                "peer_value": peer_value,
                "ratio": ratio,
                "bar": None,
                "hardware": gpu,
                "revision": content["revision"],
                "date": content["date"],
            }
        )

    for name, run in content["pretraining"].items():
        shape = run["architecture"]
        vit = f"ViT {shape['width']}/{shape['depth']}/{shape['heads']}"
        what = f"{name}: {vit}, {shape['tile_px']} px, batch {run['batch']}"
        add(f"{what}, tiles", run["tiles_per_s"], "tiles/s")
        add(f"{what}, arithmetic", run["tflops"], "TFLOP/s", "bfloat16 matrix product on the same device", peak)
        add(f"{what}, peak memory", run["peak_memory_gb"], "GB", "memory of the device", memory)
    return rows


def markdown(content: dict[str, Any]) -> str:
    """The cells next to the paper's numbers, and the pre-trainings."""
    lines = [f"# {content['title']}", "", content["note"], ""]
    if content["pretraining"]:
        lines += [
            "| pre-training | steps | batch | epochs | tiles/s | TFLOP/s | of matrix peak | GB | loss |",
            "|" + "---|" * 9,
        ]
    for name, run in content["pretraining"].items():
        share, memory = run["share_of_matrix_peak"], run["peak_memory_gb"]
        lines.append(
            f"| {name} | {run['steps']} | {run['batch']} | {run['epochs']:g} | {run['tiles_per_s']:.1f} | "
            f"{run['tflops']:.3g} | {f'{share:.0%}' if share else '-'} | {memory if memory else '-'} | "
            f"{run['loss_first']:.3f} to {run['loss_last']:.3f} |"
        )
    if content["cells"]:
        lines += [
            "",
            "| arm | encoding | initialisation | labels | mIoU | 95 % over bands | majority | paper |",
            "|" + "---|" * 8,
        ]
    for row in content["cells"]:
        encoding = row["encoding"].replace("_", "+")
        key = CellKey(
            row["table"], row["regions"] if row["table"] == 1 else "", encoding, row["initialisation"], row["fraction"]
        )
        printed = paper_cells().get(key)
        lines.append(
            f"| {row['regions']} | {TITLES[encoding]} | {TITLES[row['initialisation']]} | {row['fraction']:g} % "
            f"({row['labelled_tiles']} tiles) | {row['miou']:.3f} | {row['low']:.3f} to {row['high']:.3f} | "
            f"{row['miou_majority']:.3f} | {'-' if printed is None else f'{printed:.3f}'} |"
        )
    if content["contrasts"]:
        lines += ["", "| arm | labels | difference of mIoU | value | 95 % over bands |", "|" + "---|" * 5]
    for row in content["contrasts"]:
        lines.append(
            f"| {row['regions']} | {row['fraction']:g} % | {row['ours']} - {row['theirs']} | "
            f"{row['difference']:+.3f} | {row['low']:+.3f} to {row['high']:+.3f} |"
        )
    if content["skipped"]:
        left_out = "; ".join(f"{item['cell']} ({item['why']})" for item in content["skipped"])
        lines += ["", f"Left out: {left_out}."]
    return "\n".join(lines) + "\n"
