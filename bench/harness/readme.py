"""The generated parts of bench/README.md and of the tree's README.md, from results/latest.json:
`python3 -m harness.readme README.md results/latest.json`, with --front for the latter."""

import argparse
import os
import sys
import textwrap

from . import charts, store, tables
from .errors import HarnessError
from .registry import all_figures, all_groups

BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
# What the tree's own README shows.
FRONT = ("cps_64", "one_core_cps", "rps_64", "ping_pong")


def line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def markdown(head: list[str], body: list[list[str]], words: int = 1) -> str:
    """The first `words` columns and those without a headline are text, the others numbers."""
    sides = ["---" if i < words or not name else "---:" for i, name in enumerate(head)]
    return "\n".join([line(head), line(sides), *map(line, body)])


def whole_table(entry: dict) -> str:
    """Everything about one figure."""
    digits = entry["digits"]
    head = ["", f"median, {entry['unit']}", "min – max", "ours / it",
            *(column[1] for column in entry["columns"]), ""]
    body = []
    for row in tables.rows(entry):
        value = row.value
        spread = f"{tables.number(value.least, digits)} – {tables.number(value.most, digits)}" \
            if value else "-"
        body.append([row.label, tables.number(value.median if value else None, digits), spread,
                     tables.ratio_text(row.ratio),
                     *(tables.number(each, column[2])
                       for each, column in zip(row.columns, entry["columns"])),
                     tables.remark(row)])
    return markdown(head, body)


def curve_table(entry: dict) -> str:
    lines = {name: dict(tables.points(entry, name)) for name in tables.contenders(entry)}
    xs = sorted({x for each in lines.values() for x in each})
    body = [[entry["labels"][name],
             *(tables.number(each[x].median if x in each else None, entry["digits"])
               for x in xs)] for name, each in lines.items()]
    return markdown([entry["curve"]["x_title"], *(f"{x:,.7g}" for x in xs)], body)


def overview(entries: dict[str, dict]) -> str:
    """The medians of a group's figures side by side."""
    labels: dict[str, str] = {}
    for entry in entries.values():
        labels |= {name: entry["labels"][name] for name in tables.contenders(entry)}
    body = []
    for contender, label in labels.items():
        cells = [label]
        for entry in entries.values():
            row = next((each for each in tables.rows(entry) if each.contender == contender), None)
            text = tables.number(row.value.median, entry["digits"]) if row and row.value else "-"
            if row and row.ratio:
                text += f" ({row.ratio.median:.2f})"
            cells.append(text)
        body.append(cells)
    head = ["", *(f"`{name}`, {entry['unit']}" for name, entry in entries.items())]
    return markdown(head, body)


def chart_links(name: str, entry: dict, folder: str) -> list[str]:
    """Of the charts that are there; `folder` is that of the results beside the README."""
    names = [name, f"{name}_cpu"] if entry.get("cpu_chart") else [name]
    return [f"![{entry['title']}](results/charts/{each}.svg)" for each in names
            if os.path.exists(os.path.join(folder, "charts", f"{each}.svg"))]


def group_text(group: str, entries: dict[str, dict], folder: str) -> str:
    heading, paragraph = all_groups().get(group, (group.replace("_", " ").capitalize(), ""))
    parts = [f"### {heading}"]
    if paragraph:
        parts.append(textwrap.fill(" ".join(paragraph.split()), 100))
    flat = {name: entry for name, entry in entries.items() if not entry["curve"]}
    if len(flat) > 1:
        parts.append(overview(flat))
    for name, entry in entries.items():
        if entry["about"]:
            parts.append(textwrap.fill(f"`{name}`: " + " ".join(entry["about"].split()), 100))
        if entry["curve"]:
            parts.append(curve_table(entry))
        elif len(flat) == 1:
            parts.append(whole_table(entry))
        else:
            parts.append(f"<details>\n<summary><code>{name}</code>\n{entry['title']}</summary>\n\n"
                         f"{whole_table(entry)}\n\n</details>")
        parts += chart_links(name, entry, folder)
    return "\n\n".join(parts)


def target_text(results: dict) -> str:
    body = []
    for name, entry in results["figures"].items():
        for each in tables.verdicts(name, entry):
            who = entry["labels"].get(each.target.ours, each.target.ours)
            body.append([f"`{name}`", who, each.text, tables.number(each.measured, 2), each.word])
    if not body:
        return ""
    head = ["figure", "of", "target", "measured", ""]
    return "### Targets\n\n" + markdown(head, body, words=3)


def machine_text(results: dict) -> str:
    lines = []
    for run in results["runs"].values():
        names = [name for name, entry in results["figures"].items() if entry["run"] == run["date"]]
        rounds = sorted({len(results["figures"][name]["rounds"]) for name in names})
        versions = ", ".join(f"{name} {text}" for name, text in run["versions"].items())
        dirty = " with changes" if run["dirty"] else ""
        which = "All figures" if len(results["runs"]) == 1 else \
            ", ".join(f"`{name}`" for name in names)
        text = f"{which}: {run['date']}, runnel {run['commit'][:12]}{dirty}, {run['kernel']}, " \
               f"{run['processor']}, {run['cores']} cores, {versions}, congestion control " \
               f"{run.get('congestion_control', 'unknown')}, TIME_WAIT {run['time_wait_s']} s, " \
               f"{', '.join(map(str, rounds))} rounds of {run['seconds']:g} s."
        if min(rounds) < 6:
            text += " Fewer than 6 rounds tell no 95 % interval."
        lines.append(textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False))
    return "\n\n".join(lines)


def in_order(results: dict) -> dict:
    """With the figures as the modules have them, and not as they were measured; others last."""
    names = [each.name for each in all_figures()]
    known = sorted(results["figures"],
                   key=lambda name: names.index(name) if name in names else len(names))
    return results | {"figures": {name: results["figures"][name] for name in known}}


def generated(results: dict, folder: str) -> str:
    groups: dict[str, dict[str, dict]] = {}
    for name, entry in results["figures"].items():
        groups.setdefault(entry["group"], {})[name] = entry
    parts = [machine_text(results), target_text(results),
             *(group_text(group, entries, folder) for group, entries in groups.items())]
    return "\n\n".join(part for part in parts if part)


def front(results: dict) -> str:
    """The figures of FRONT side by side, and on what they were measured."""
    entries = {name: results["figures"][name] for name in FRONT if name in results["figures"]}
    if not entries:
        return ""
    runs = {date: run for date, run in results["runs"].items()
            if any(entry["run"] == date for entry in entries.values())}
    legend = "\n".join(f"- `{name}`: {entry['title']}." for name, entry in entries.items())
    return "\n\n".join([overview(entries), legend,
                        machine_text({"runs": runs, "figures": entries})])


def replace(path: str, body: str) -> None:
    """Puts `body` between the markers of a file."""
    with open(path, encoding="utf-8") as old:
        text = old.read()
    before, found, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise HarnessError(f"{path} lacks the lines {BEGIN} and {END}, between which figures go.")
    with open(path, "w", encoding="utf-8") as out:
        out.write(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}")


def update(path: str, latest: str) -> None:
    """Replaces what is between the markers of bench/README.md, with charts of the same values."""
    results = in_order(store.read(latest))
    charts.draw_all(os.path.join(os.path.dirname(latest), "charts"), results)
    replace(path, generated(results, os.path.dirname(latest)))


def update_front(path: str, latest: str) -> None:
    """The same in the tree's README.md, where a few figures are enough."""
    replace(path, front(in_order(store.read(latest))))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m harness.readme", description=__doc__)
    parser.add_argument("readme")
    parser.add_argument("latest")
    parser.add_argument("--front", action="store_true", help="a few figures side by side")
    given = parser.parse_args()
    try:
        (update_front if given.front else update)(given.readme, given.latest)
    except HarnessError as error:
        print(f"readme: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
