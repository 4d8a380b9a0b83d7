"""The harness of bench/run.sh without a measurement: statistics, tables, store and figures.

  PYTHONPATH=bench python3 tests/bench/test_harness.py
"""

import json
import math
import os
import tempfile
import types
import unittest

from harness import cli, readme, report, statistics, store, tables
from harness.contenders import CONTENDERS, Paths, last_words
from harness.errors import HarnessError
from harness.figure import Bench, Column, Curve, Figure, summary_of
from harness.figures_flood import VARIANTS
from harness.figures_http import HttpFigure, perf_count, strace_count
from harness.figures_profile import part_of, shares
from harness.processes import CpuTime
from harness.inspection import with_flags
from harness.registry import all_figures, all_groups
from harness.runner import play
from harness.spaces import Traffic
from harness.targets import TARGETS

RUN = {"date": "2026-01-01T00:00:00+00:00", "commit": "0" * 40, "dirty": False, "kernel": "Linux",
       "processor": "one", "cores": 2, "compiler": {"program": "c++", "flags": "-O3"},
       "time_wait_s": 60, "versions": {"go": "1"}}


class FakeFigure(Figure):
    """Counts who was asked, and gives values that tell the turn."""

    asked: list[str] = []

    def missing(self, bench, contender):
        return "it is away" if contender == "absent" else None

    def measure(self, bench, contender):
        self.asked.append(contender)
        if self.name == "broken" and contender == "b":
            raise KeyError("key")
        if len(self.asked) == 7 and self.name == "stopped":
            raise KeyboardInterrupt
        return {"value": float(len(self.asked)), "drops": int(len(self.asked) == 1)}


def entry(rounds, **more):
    made = store.description(Figure("fake", "group", "A fake", "1/s", ("ours", "theirs"),
                                    ours=("ours",), **more))
    return made | {"run": RUN["date"], "planned_rounds": len(rounds), "rounds": rounds,
                   "left_out": {}}


class Statistics(unittest.TestCase):
    def test_interval_encloses_the_median_with_95_percent(self):
        for count in range(1, 60):
            rank = statistics.interval_rank(count)
            if count < 6:
                self.assertIsNone(rank)
                continue
            def outside(k):
                return 2 * sum(math.comb(count, i) for i in range(k)) / 2 ** count
            self.assertLessEqual(outside(rank), 0.05)
            self.assertGreater(outside(rank + 1), 0.05)

    def test_known_ranks(self):
        self.assertEqual([statistics.interval_rank(n) for n in (6, 8, 9, 21)], [1, 1, 2, 6])

    def test_ratio_takes_only_rounds_that_have_both(self):
        ratio = statistics.paired_ratio([2.0, None, 8.0, 9.0], [1.0, 1.0, 2.0, None])
        self.assertEqual((ratio.median, ratio.count, ratio.low), (3.0, 2, None))

    def test_nothing_measured(self):
        self.assertIsNone(statistics.paired_ratio([], []))
        self.assertIsNone(statistics.summary([]))


class Tables(unittest.TestCase):
    def test_rounds_with_drops_are_flagged_and_not_averaged(self):
        rounds = [{"ours": {"value": 10.0}, "theirs": {"value": 5.0, "drops": 3}},
                  {"ours": {"value": 20.0}, "theirs": {"value": 5.0, "errors": 2}}]
        ours, theirs = tables.rows(entry(rounds))
        self.assertEqual((ours.value.median, ours.ratio), (15.0, None))
        self.assertEqual((theirs.value.count, theirs.flagged, theirs.errors), (1, 1, 2))
        self.assertEqual(theirs.ratio.median, 4.0)

    def test_rounds_in_which_a_contender_failed_are_told(self):
        both = {"ours": {"value": 1.0}, "theirs": {"value": 1.0}}
        made = entry([both, {"ours": {"value": 1.0}}, both])
        self.assertEqual([each.failed for each in tables.rows(made)], [0, 1])
        self.assertIn("1 round without", tables.remark(tables.rows(made)[1]))
        # The round at which a run was interrupted is nobody's failure.
        made = entry([both, {"ours": {"value": 1.0}}]) | {"planned_rounds": 3}
        self.assertEqual([each.failed for each in tables.rows(made)], [0, 0])

    def test_window_costs_are_for_what_ended_in_it(self):
        times = dict.fromkeys(("p50", "p90", "p99", "p99.9", "max"), 1.0)
        said = {"operations": 50, "rate": 20.0, "seconds": 2.0, "latency_us": times,
                "errors": {"timeout": 3, "reset": 1}, "client_user_us": 1.0,
                "client_system_us": 2.0}
        made = summary_of(said, CpuTime(80_000, 1, 2), Traffic(packets=320), 0)
        self.assertEqual((made["cpu_us"], made["packets"]), (2.0, 8.0))
        self.assertEqual((made["errors"], made["client_us"]), (4, 3.0))
        with self.assertRaises(HarnessError):
            summary_of(said | {"operations": 0}, CpuTime(), Traffic(), 0)

    def test_cpu_time_is_split_by_the_ticks_of_all_rounds(self):
        one = {"value": 1.0, "cpu_us": 10.0, "user_ticks": 1, "system_ticks": 0}
        two = {"value": 1.0, "cpu_us": 10.0, "user_ticks": 0, "system_ticks": 4}
        made = entry([{"ours": one}, {"ours": two}], columns=(Column("user_us", "user"),))
        self.assertEqual(tables.middle(made, "ours", "user_us"), 2.0)
        self.assertEqual(tables.middle(made, "ours", "system_us"), 8.0)

    def test_curve_points_are_in_order(self):
        made = entry([{"ours": {"at_1000": 2.0, "at_10": 1.0}}], curve=Curve("many"))
        self.assertEqual([x for x, _ in tables.points(made, "ours")], [10.0, 1000.0])

    def test_text_and_readme(self):
        results = {"format": 1, "runs": {RUN["date"]: RUN | {"seconds": 1}},
                   "figures": {"fake": entry([{"ours": {"value": 3.0}, "theirs": {"value": 2.0}}])}}
        self.assertIn("1.50", report.figure_text("fake", results["figures"]["fake"],
                                                 results["runs"][RUN["date"]]))
        with tempfile.TemporaryDirectory() as folder:
            page, latest = (os.path.join(folder, name) for name in ("README.md", "latest.json"))
            store.write(latest, results)
            with open(page, "w", encoding="utf-8") as out:
                out.write(f"# A\n\n{readme.BEGIN}\nold\n{readme.END}\nend\n")
            readme.update(page, latest)
            with open(page, encoding="utf-8") as text:
                made = text.read()
        self.assertIn("| theirs | 2 | 2 – 2 | 1.50 |", made)
        self.assertNotIn("old", made)
        self.assertTrue(made.endswith(f"{readme.END}\nend\n"))

    def test_the_front_page_has_a_few_figures(self):
        figures = {name: entry([{"ours": {"value": 3.0}, "theirs": {"value": 2.0}}])
                   for name in (readme.FRONT[0], "fake")}
        results = {"format": 1, "runs": {RUN["date"]: RUN | {"seconds": 1}}, "figures": figures}
        made = readme.front(results)
        self.assertIn("| theirs | 2 (1.50) |", made)
        self.assertIn(f"`{readme.FRONT[0]}`", made)
        self.assertNotIn("`fake`", made)
        self.assertEqual(readme.front(results | {"figures": {}}), "")


class Runs(unittest.TestCase):
    def play(self, name, rounds=4):
        FakeFigure.asked = []
        figure = FakeFigure(name, "group", "A fake", "1/s", ("a", "b", "absent"))
        with tempfile.TemporaryDirectory() as folder:
            kept = store.Store(folder, dict(RUN), 1.0)
            whole = play(Bench(Paths("", "")), kept, [figure], rounds)
            published = os.path.exists(kept.latest_path)
            return whole, store.read(kept.run_path), published

    def test_what_is_written_is_read_again(self):
        rounds = [{"ours": {"value": 1.5, "drops": 0}, "theirs": {"value": 2}}, {},
                  {"theirs": {"value": 3, "errors": 7}}]
        results = {"format": store.FORMAT, "runs": {RUN["date"]: RUN},
                   "figures": {"fake": entry(rounds), "empty": entry([])}}
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "latest.json")
            store.write(path, results)
            self.assertEqual(store.read(path), results)
            with open(path, "w", encoding="utf-8") as older:
                json.dump(results | {"format": 1}, older)
            self.assertEqual(store.read(path), results)

    def test_contenders_are_asked_forwards_and_backwards(self):
        whole, results, published = self.play("whole")
        self.assertEqual(FakeFigure.asked, list("abbaabba"))
        self.assertTrue(whole and published)
        self.assertEqual(results["figures"]["whole"]["left_out"], {"absent": "it is away"})

    def test_who_fails_is_left_out_and_the_others_are_not(self):
        whole, results, published = self.play("broken")
        self.assertTrue(whole and published)
        made = results["figures"]["broken"]
        self.assertEqual([list(each) for each in made["rounds"]], [["a"]] * 4)
        self.assertEqual(FakeFigure.asked.count("b"), 2)
        self.assertIn("KeyError", made["left_out"]["b"])

    def test_an_interrupted_run_keeps_what_it_has(self):
        whole, results, published = self.play("stopped")
        self.assertFalse(whole or published)
        rounds = results["figures"]["stopped"]["rounds"]
        self.assertEqual([sorted(each) for each in rounds], [["a", "b"]] * 3 + [[]])

    def test_a_results_folder_that_takes_nothing_ends_the_run_and_loses_nothing(self):
        figure = FakeFigure("whole", "group", "A fake", "1/s", ("a", "b", "absent"))
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "taken")
            with open(file, "w", encoding="utf-8"):
                pass
            kept = store.Store(file, dict(RUN), 1.0)
            self.assertFalse(play(Bench(Paths("", "")), kept, [figure], 4))
            self.assertEqual(os.listdir(folder), ["taken"])
        self.assertEqual(sorted(kept.results["figures"]["whole"]["rounds"][0]), ["a", "b"])


class Figures(unittest.TestCase):
    def test_names_are_unique_and_groups_explained(self):
        names = [each.name for each in all_figures()]
        self.assertEqual(len(names), len(set(names)))
        for figure in all_figures():
            self.assertIn(figure.group, all_groups())

    def test_contenders_are_known(self):
        for figure in all_figures():
            if isinstance(figure, HttpFigure):
                self.assertLessEqual(set(figure.contenders), set(CONTENDERS))

    def test_targets_are_of_figures_and_contenders_that_exist(self):
        figures = {each.name: each for each in all_figures()}
        for target in TARGETS:
            there = figures[target.figure].contenders
            self.assertIn(target.ours, there)
            self.assertTrue(not target.against or target.against in there)

    def test_every_contender_has_a_label(self):
        for figure in all_figures():
            for contender in figure.contenders:
                self.assertTrue(figure.label(contender))

    def test_what_takes_minutes_must_be_named(self):
        figures = all_figures()
        usual = {each.name for each in cli.chosen(figures, [])}
        self.assertEqual({each.name for each in figures} - usual, {"long_run"})
        self.assertEqual([each.name for each in cli.chosen(figures, ["long"])], ["long_run"])
        self.assertEqual(cli.chosen(figures, [], long=True), figures)

    def test_flags_take_the_place_of_usual_ones(self):
        space = types.SimpleNamespace(device="tun0", server_address="10.0.0.2")
        for base, flags, _ in VARIANTS.values():
            if base == "runnel_http":
                made = with_flags(CONTENDERS[base], *flags).arguments(space)
                self.assertEqual(made.count("--backlog"), 1)
                self.assertEqual(made[len(made) - len(flags):], list(flags))

    def test_samples_belong_to_a_part(self):
        ns = "runnel::"
        for part, symbol in (
                ("beast", "boost::beast::http::basic_parser<true>::parse_fields"),
                ("http", f"{ns}http::detail::converse<{ns}tcp::stream, (anonymous)::site>"),
                ("http", "(anonymous namespace)::site::operator()"),
                ("engine", f"{ns}tcp::host::poll_transmit"),
                ("engine", f"{ns}tcp::detail::emit_segment"),
                ("engine", f"{ns}wire::checksum::add"),
                ("stack", f"{ns}tcp::detail::stack_core::dispatch"),
                ("stack", f"{ns}tcp::detail::read_awaiter::attempt"),
                ("stack", f"{ns}net::tun::device::flush"),
                ("runtime", f"{ns}loop::run_ready"),
                ("runtime", f"{ns}task<{ns}http::response>::reset"),
                ("other", "tcp_input")):
            self.assertEqual(part_of("http_server", False, symbol), part, symbol)
        self.assertEqual(part_of("libc.so.6", False, "__memmove"), "libraries")
        self.assertEqual(part_of("libstdc++.so.6", False, "operator new"), "libraries")
        self.assertEqual(part_of("liburing.so.2", False, "io_uring_submit"), "runtime")
        self.assertEqual(part_of("[kernel.kallsyms]", True, "runnel::loop"), "kernel")
        report = ("# Overhead  Shared Object  Symbol\n\n"
                  "    80.50%  [kernel.kallsyms]  [k] tun_get_user\n"
                  "     9.25%  http_server        [.] runnel::tcp::host::send\n"
                  "     0.25%  http_server        [.] runnel::wire::emit_ip\n")
        self.assertEqual(shares(report), {"kernel": 0.805, "engine": 0.095})

    def test_what_programs_print_is_understood(self):
        self.assertEqual(perf_count("x\n44102,,raw_syscalls:sys_enter,27,100.00,,\n"), 44102)
        self.assertEqual(strace_count("calls syscall\n---\n   12 read\n    3 write\n   15 total\n"),
                         15)
        self.assertEqual(last_words("TcpExtTW     12\nother 3\n{\"turns\": 4}\n"),
                         {"time_wait_entered": 12, "turns": 4})


if __name__ == "__main__":
    unittest.main()
