"""results/*.json: every single value of every round, and what it was measured on.

A file holds {"format": 2, "runs": {ID: what describe() tells}, "figures": {NAME: {what the figure
is, "run": ID, "planned_rounds": N, "rounds": N, "measured": {CONTENDER: {KEY: [NUMBER, ...]}},
"left_out": {CONTENDER: sentence}}}}: a number for each round, null where there is none. In memory
"rounds" is [{CONTENDER: {KEY: NUMBER}}, ...], as it is in files of format 1, and there is no
"measured". run.json is the run at hand, whole or not; latest.json has the last whole run of each
figure.
"""

import json
import os
import tempfile

from .errors import HarnessError
from .figure import Figure

FORMAT = 2


def read(path: str) -> dict:
    try:
        with open(path, encoding="utf-8") as text:
            found = json.load(text)
    except FileNotFoundError:
        raise HarnessError(f"{path} is not there; bench/run.sh makes it.") from None
    except (OSError, ValueError) as error:
        raise HarnessError(f"{path} cannot be read: {error}.") from error
    if found.get("format") not in (1, FORMAT):
        raise HarnessError(f"{path} is not of format {FORMAT}; measure anew with bench/run.sh.")
    figures = found["figures"] if found["format"] == 1 else {
        name: by_round(entry) for name, entry in found["figures"].items()}
    return found | {"format": FORMAT, "figures": figures}


def write(path: str, results: dict) -> None:
    """Whole or not at all."""
    try:
        replace_file(path, dense(results | {"format": FORMAT, "figures": {
            name: by_key(entry) for name, entry in results["figures"].items()}}))
    except OSError as error:
        raise HarnessError(f"{path} cannot be written: {error.strerror}; what it held is still "
                           "there.") from error


def by_key(entry: dict) -> dict:
    """A figure as files have it: each key once, with the numbers of all rounds behind it."""
    rounds = entry["rounds"]
    measured: dict[str, dict[str, list]] = {}
    for number, each in enumerate(rounds):
        for contender, values in each.items():
            for key, value in values.items():
                measured.setdefault(contender, {}).setdefault(key, [None] * len(rounds))[
                    number] = value
    return entry | {"rounds": len(rounds), "measured": measured}


def by_round(entry: dict) -> dict:
    """The way back."""
    rounds: list[dict] = [{} for _ in range(entry["rounds"])]
    for contender, keys in entry["measured"].items():
        for key, values in keys.items():
            for each, value in zip(rounds, values):
                if value is not None:
                    each.setdefault(contender, {})[key] = value
    return {name: what for name, what in entry.items() if name != "measured"} | {"rounds": rounds}


def replace_file(path: str, text: str) -> None:
    folder = os.path.dirname(path) or "."
    os.makedirs(folder, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def dense(results: dict) -> str:
    """JSON with a line for each key, so that two versions can be compared."""
    def lines(value: object, depth: int) -> str:
        if isinstance(value, dict) and any(isinstance(each, (dict, list))
                                           for each in value.values()):
            inner = ",\n".join(" " * (depth + 1) + json.dumps(key) + ": " +
                               lines(each, depth + 1) for key, each in value.items())
            return "{\n" + inner + "\n" + " " * depth + "}"
        return json.dumps(value, ensure_ascii=False)
    return lines(results, 0) + "\n"


def description(figure: Figure) -> dict[str, object]:
    """What the report must know of a figure to make its table without the figure's code."""
    return {
        "group": figure.group, "title": figure.title, "unit": figure.unit, "about": figure.about,
        "value": figure.value, "more_is_better": figure.more_is_better, "digits": figure.digits,
        "ours": list(figure.ours), "cpu_chart": figure.cpu_chart,
        "columns": [[each.key, each.title, each.digits] for each in figure.columns],
        "curve": vars(figure.curve) if figure.curve else None,
        "labels": {name: figure.label(name) for name in figure.contenders},
    }


class Store:
    """The results folder while a run is going on."""

    def __init__(self, folder: str, run: dict[str, object], seconds: float) -> None:
        self.run_path = os.path.join(folder, "run.json")
        self.latest_path = os.path.join(folder, "latest.json")
        self.published: list[str] = []
        self._id = str(run["date"])
        run["seconds"] = seconds
        self.results: dict = {"format": FORMAT, "runs": {self._id: run}, "figures": {}}

    def begin(self, figure: Figure, rounds: int, left_out: dict[str, str]) -> dict:
        """What the rounds of this figure are appended to."""
        entry = {**description(figure), "run": self._id, "planned_rounds": rounds, "rounds": [],
                 "left_out": left_out}
        self.results["figures"][figure.name] = entry
        return entry

    def save(self, about: dict[str, object]) -> None:
        """`about` is what has been learnt of the run and its contenders since it began."""
        self.results["runs"][self._id] |= about
        write(self.run_path, self.results)

    def publish(self, name: str) -> None:
        """Takes a figure that is whole into latest.json, in place of what is there."""
        try:
            latest = read(self.latest_path)
        except HarnessError:
            if os.path.exists(self.latest_path):
                raise
            latest = {"format": FORMAT, "runs": {}, "figures": {}}
        latest["figures"][name] = self.results["figures"][name]
        latest["runs"] |= self.results["runs"]
        used = {each["run"] for each in latest["figures"].values()}
        latest["runs"] = {key: run for key, run in latest["runs"].items() if key in used}
        write(self.latest_path, latest)
        self.published.append(name)
