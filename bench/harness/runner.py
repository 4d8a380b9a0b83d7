"""Plays the rounds of the figures, every contender in turn."""

import contextlib
import sys
import time
from dataclasses import dataclass, field

from .errors import HarnessError
from .figure import Bench, Figure
from .store import Store


@dataclass
class Progress:
    """One line on standard error, rewritten at a terminal; elsewhere one line for each round."""

    total: int
    done: int = 0
    begin: float = field(default_factory=time.monotonic)
    _round: tuple[str, int] = ("", 0)

    def show(self, figure: str, number: int, rounds: int, contender: str) -> None:
        if sys.stderr.isatty():
            text = f"{figure}: round {number} of {rounds}, {contender}{self._left()}"
            print(f"\r\033[K{text[:110]}", end="", file=sys.stderr, flush=True)
        elif self._round != (figure, number):
            self._round = (figure, number)
            print(f"{figure}: round {number} of {rounds}{self._left()}", file=sys.stderr,
                  flush=True)

    def _left(self) -> str:
        if self.done < 3:
            return ""
        left = (time.monotonic() - self.begin) / self.done * (self.total - self.done)
        return f", about {left / 60:.0f} min left" if left >= 90 else f", about {left:.0f} s left"

    def say(self, sentence: str) -> None:
        clear = "\r\033[K" if sys.stderr.isatty() else ""
        print(f"{clear}{sentence}", file=sys.stderr, flush=True)


def who_is_there(bench: Bench, figure: Figure) -> tuple[list[str], dict[str, str]]:
    """The contenders that can take part, and why the others cannot."""
    there, left_out = [], {}
    for contender in figure.contenders:
        reason = figure.missing(bench, contender)
        if reason is None:
            there.append(contender)
        else:
            left_out[contender] = reason
    return there, left_out


def play(bench: Bench, store: Store, figures: list[Figure], rounds: int,
         only: list[str] | None = None) -> bool:
    """Measures; false when it was interrupted. What has been measured by then is stored."""
    plans = []
    for figure in figures:
        there, left_out = who_is_there(bench, figure)
        if only:
            there = [each for each in there if each in only]
        plans.append((figure, there, left_out, min(rounds, figure.rounds_cap)))
    progress = Progress(sum(len(there) * count for _, there, _, count in plans))
    for _, _, left_out, _ in plans:
        if only:
            left_out.clear()
    try:
        for figure, there, left_out, count in plans:
            if there:
                play_figure(bench, store, progress, figure, there, left_out, count)
                if not only:
                    # Some contenders must not take the place of all.
                    store.publish(figure.name)
        return True
    except KeyboardInterrupt:
        progress.say("Interrupted; what has been measured:")
        return False
    except HarnessError as error:
        # A full disk, say. The table of what has been measured needs none.
        progress.say(f"{error} What has been measured:")
        return False
    finally:
        with contextlib.suppress(HarnessError):
            store.save(bench.about)
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def play_figure(bench: Bench, store: Store, progress: Progress, figure: Figure,
                there: list[str], left_out: dict[str, str], rounds: int) -> None:
    entry = store.begin(figure, rounds, left_out)
    failures: dict[str, int] = {}
    for number in range(1, rounds + 1):
        entry["rounds"].append({})
        for contender in there if number % 2 else reversed(there):
            progress.show(figure.name, number, rounds, contender)
            # Who failed twice in a row is not asked any more, for each time may take half a minute.
            if failures.get(contender, 0) < 2:
                measure(bench, progress, figure, contender, entry, failures)
            progress.done += 1
        store.save(bench.about)


def measure(bench: Bench, progress: Progress, figure: Figure, contender: str, entry: dict,
            failures: dict[str, int]) -> None:
    bench.at_exit = {}
    try:
        values = figure.measure(bench, contender) | bench.at_exit
    # One figure's mistake must not cost the others hours of measurement.
    except Exception as problem:
        error = problem if isinstance(problem, HarnessError) else \
            f"it failed by {type(problem).__name__}: {problem}"
        failures[contender] = failures.get(contender, 0) + 1
        entry["left_out"][contender] = str(error).rstrip(".")
        progress.say(f"{figure.name}, {contender}: {error}")
        return
    failures[contender] = 0
    entry["left_out"].pop(contender, None)
    entry["rounds"][-1][contender] = {key: round(value, 6) if isinstance(value, float) else value
                                      for key, value in values.items()}
