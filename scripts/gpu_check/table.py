"""The results as a page of Markdown."""

from program import has_no_room
from speed import median


def page(results):
    parts = results["parts"]
    machine = parts.get("machine", {}).get("found") or {}
    where = ", ".join(machine.get("gpus") or ["The processor" if results["dry_run"] else "A GPU"])
    lines = [f"# {where}", "", f"{machine.get('version', 'train-cli')}, PyTorch {machine.get('torch')}", ""]
    lines += ["| part | | seconds | |", "|---|---|---|---|"]
    for name, part in parts.items():
        if name != "machine":
            lines.append(f"| {name} | {part['state']} | {part['seconds']:.0f} | {told(part)} |")
    if results["bench"]:
        lines += ["", *speeds(results["bench"])]
    return "\n".join(lines) + "\n"


def told(part):
    text = part.get("reason") or ", ".join(
        f"{key} {short(value)}" for key, value in (part["found"] or {}).items()
    )
    return text.replace("|", "\\|").replace("\n", " ")[:300]


def short(value):
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def speeds(rows):
    """Images a second of the median of all rounds, and the largest memory."""
    lines = [
        "| | size | numbers | batch | img/s | PyTorch | ratio | MiB | PyTorch | of the peak |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        own, other = median(row["ours"]), median(row["torch"])
        ratio = f"{own / other:.2f}" if own and other else ""
        share = row["ours"][-1].get("peak_share") if row["ours"] else None
        cells = [
            f"{row['kind']} {row['execution'] or ''}".strip(), row["size"], row["precision"], row["batch"],
            speed(row, "ours"), speed(row, "torch"), ratio, memory(row["ours"]), memory(row["torch"]),
            f"{100 * share:.0f} %" if share is not None else "",
        ]  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def speed(row, engine):
    found = median(row[engine])
    if found:
        return f"{found:.0f}" if found >= 100 else f"{found:.1f}"
    reason = row["failed"].get(engine)
    if reason is None:
        return ""
    return "no room" if has_no_room(reason) else "failed"


def memory(lines):
    found = [line["gpu_peak_allocated_mib"] for line in lines if line.get("gpu_peak_allocated_mib") is not None]
    return max(found, default="")
