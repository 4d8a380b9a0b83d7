"""Tables for the terminal, from stored results: `python3 -m harness.report results/latest.json`."""

import argparse
import sys

from . import store
from .errors import HarnessError
from .tables import (Row, contenders, enough_for_interval, number, points, ratio_text, remark,
                     rounds_text, rows, verdicts)


def grid(lines: list[list[str]]) -> str:
    """Columns as wide as their widest cell; all but the first and the last to the right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    last = len(widths) - 1
    return "\n".join("  " + "  ".join(
        cell.ljust(widths[i]) if i in (0, last) else cell.rjust(widths[i])
        for i, cell in enumerate(line)).rstrip() for line in lines)


def cells(entry: dict, row: Row) -> list[str]:
    value, digits = row.value, entry["digits"]
    spread = f"{number(value.least, digits)} - {number(value.most, digits)}" if value else "-"
    return [row.label, number(value.median if value else None, digits), spread,
            ratio_text(row.ratio),
            *(number(each, column[2]) for each, column in zip(row.columns, entry["columns"])),
            remark(row)]


def bar_table(entry: dict) -> str:
    head = ["", f"median {entry['unit']}", "min - max", "ours / it",
            *(column[1] for column in entry["columns"]), ""]
    return grid([head, *(cells(entry, row) for row in rows(entry))])


def curve_table(entry: dict) -> str:
    lines = {name: dict(points(entry, name)) for name in contenders(entry)}
    xs = sorted({x for line in lines.values() for x in line})
    head = [entry["curve"]["x_title"], *(f"{x:,.7g}" for x in xs), ""]
    table = [[entry["labels"][name], *(number(line[x].median if x in line else None,
                                              entry["digits"]) for x in xs), ""]
             for name, line in lines.items()]
    return grid([head, *table])


def figure_text(name: str, entry: dict, run: dict) -> str:
    better = "more" if entry["more_is_better"] else "less"
    count = len(entry["rounds"])
    whole = "" if count >= entry["planned_rounds"] else f" of {entry['planned_rounds']} planned"
    parts = [f"{name}: {entry['title']} ({entry['unit']}, {better} is better), "
             f"{rounds_text(count)}{whole} of {run['seconds']:g} s"]
    parts.append(curve_table(entry) if entry["curve"] else bar_table(entry))
    parts += [f"  target {each.text}: {number(each.measured, 2)}, {each.word}"
              for each in verdicts(name, entry)]
    if entry["left_out"]:
        parts.append(f"  left out: {', '.join(entry['left_out'])}")
    return "\n".join(parts)


def run_text(run: dict) -> str:
    versions = ", ".join(f"{name} {text}" for name, text in run["versions"].items())
    dirty = " with changes" if run["dirty"] else ""
    lines = [f"{run['date']}, runnel {run['commit'][:12]}{dirty}",
             f"{run['kernel']}, {run['processor']}, {run['cores']} cores",
             f"{run['compiler']['program']} {run['compiler']['flags']}", versions,
             f"congestion control {run.get('congestion_control', 'unknown')}, "
             f"TIME_WAIT {run['time_wait_s']} s"]
    for name, about in run.get("contenders", {}).items():
        if about.get("description"):
            lines.append(f"{name}: {about['description']}")
    return "\n".join(lines)


def left_out_text(results: dict) -> str:
    """Why who was left out, once for each reason."""
    reasons: dict[str, set[str]] = {}
    for entry in results["figures"].values():
        for who, why in entry["left_out"].items():
            reasons.setdefault(why, set()).add(who)
    return "\n".join(f"Left out: {', '.join(sorted(who))}, for {why}."
                     for why, who in sorted(reasons.items()))


def show(results: dict) -> None:
    """Prints all tables, and on what machine they were measured."""
    for name, entry in results["figures"].items():
        if any(entry["rounds"]):
            print(figure_text(name, entry, results["runs"][entry["run"]]), end="\n\n")
    if any(not enough_for_interval(each) for each in results["figures"].values()):
        print("Ratios are medians within a round; fewer than 6 rounds tell no 95 % interval.")
    if reasons := left_out_text(results):
        print(reasons)
    for run in results["runs"].values():
        print(run_text(run))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m harness.report", description=__doc__)
    parser.add_argument("file", help="run.json or latest.json of a results folder")
    try:
        show(store.read(parser.parse_args().file))
    except HarnessError as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
