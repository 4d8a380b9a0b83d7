"""What tables and charts show of a figure's stored rounds."""

from dataclasses import dataclass

from .statistics import Ratio, Summary, paired_ratio, summary
from .targets import TARGETS, Target


@dataclass(frozen=True)
class Row:
    """One contender in one figure."""

    contender: str
    label: str
    value: Summary | None
    ratio: Ratio | None
    columns: list[float | None]
    errors: int
    flagged: int
    failed: int


@dataclass(frozen=True)
class Verdict:
    """A target and what was measured; None where it was not."""

    target: Target
    measured: float | None
    text: str

    @property
    def word(self) -> str:
        if self.measured is None:
            return "not measured"
        return "met" if self.target.met(self.measured) else "not met"


def contenders(entry: dict) -> list[str]:
    """Those that were measured at least once, in the figure's own order."""
    seen = {name for each in entry["rounds"] for name in each}
    return [name for name in entry["labels"] if name in seen]


def series(entry: dict, contender: str, key: str) -> list[float | None]:
    """A value of each round; None where it was not measured or a device dropped packets."""
    return [None if each.get(contender, {}).get("drops") else each.get(contender, {}).get(key)
            for each in entry["rounds"]]


def present(values: list[float | None]) -> list[float]:
    return [each for each in values if each is not None]


def middle(entry: dict, contender: str, key: str) -> float | None:
    """The median of a value. User and system time are the exact sum, split by the ticks of all
    rounds, for the ticks of one short round tell too little."""
    if key not in ("user_us", "system_us"):
        found = summary(present(series(entry, contender, key)))
        return found.median if found else None
    ticks = {part: sum(present(series(entry, contender, part)))
             for part in ("user_ticks", "system_ticks")}
    whole = summary(present(series(entry, contender, "cpu_us")))
    if whole is None or not sum(ticks.values()):
        return None
    return whole.median * ticks[f"{key[:-3]}_ticks"] / sum(ticks.values())


def champion(entry: dict) -> str | None:
    """The contender of our own that the others are compared with."""
    there = contenders(entry)
    return next((each for each in entry["ours"] if each in there), None)


def complete_rounds(entry: dict) -> int:
    """Without the last one where it was interrupted."""
    count = len(entry["rounds"])
    return count if count == entry["planned_rounds"] else max(0, count - 1)


def rows(entry: dict) -> list[Row]:
    key, ours = entry["value"], champion(entry)
    found = []
    for name in contenders(entry):
        values = series(entry, name, key)
        ratio = None
        if ours and name != ours:
            ratio = paired_ratio(series(entry, ours, key), values)
        measured = [each[name] for each in entry["rounds"] if name in each]
        found.append(Row(name, entry["labels"][name], summary(present(values)), ratio,
                         [middle(entry, name, column[0]) for column in entry["columns"]],
                         sum(int(each.get("errors", 0)) for each in measured),
                         sum(1 for each in measured if each.get("drops")),
                         max(0, complete_rounds(entry) - len(measured))))
    return found


def points(entry: dict, contender: str) -> list[tuple[float, Summary]]:
    """A curve's points in their order."""
    keys = {key for each in entry["rounds"] for key in each.get(contender, {})
            if key.startswith("at_")}
    found = [(float(key[3:]), summary(present(series(entry, contender, key)))) for key in keys]
    return sorted(((x, y) for x, y in found if y), key=lambda point: point[0])


def verdicts(name: str, entry: dict) -> list[Verdict]:
    found = []
    for target in TARGETS:
        if target.figure != name:
            continue
        key = target.key or entry["value"]
        if target.against:
            ratio = paired_ratio(series(entry, target.ours, key),
                                 series(entry, target.against, key))
            measured, unit = (ratio.median if ratio else None), ""
        else:
            measured = middle(entry, target.ours, key)
            unit = next((column[1] for column in entry["columns"] if column[0] == key),
                        entry["unit"])
        found.append(Verdict(target, measured, target.text(unit)))
    return found


def number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def ratio_text(ratio: Ratio | None) -> str:
    if ratio is None:
        return ""
    if ratio.low is None:
        return f"{ratio.median:.2f}"
    return f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def remark(row: Row) -> str:
    parts = [f"{row.errors} errors"] * bool(row.errors)
    parts += [f"{rounds_text(row.flagged)} with drops, left out"] * bool(row.flagged)
    parts += [f"{rounds_text(row.failed)} without a measurement"] * bool(row.failed)
    return ", ".join(parts)


def rounds_text(count: int) -> str:
    return "1 round" if count == 1 else f"{count} rounds"


def enough_for_interval(entry: dict) -> bool:
    return len(entry["rounds"]) >= 6
