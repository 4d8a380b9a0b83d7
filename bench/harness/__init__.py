"""The harness of bench/run.sh: who is measured, in what order, and what becomes of the numbers.

Modules:

  spaces       network namespaces with a TUN device, a veth pair or loopback between them
  contenders   the HTTP servers and how each is started
  figure       `Figure`, the base of all figures, and `Bench`, what they measure with
  figures_*    the figures; registry finds every such module by its name: figures_http,
               figures_bulk, figures_engine, figures_flood, figures_long, figures_memory,
               figures_profile, figures_scaling
  inspection   what http_server tells of itself while it runs
  stream_peer  the kernel's end of a bulk stream, a program of its own
  runner       plays the rounds in ABBA order
  statistics   medians, paired ratios and their interval
  store        results/*.json: every single value, and what it was measured on
  targets      what is wanted of figures, as data
  report       tables; readme and charts make the other views of the same file

How a figure is written. Derive a frozen dataclass from `Figure`, implement `measure`, and put its
instances into FIGURES of a module bench/harness/figures_SUBJECT.py:

    @dataclass(frozen=True)
    class BulkFigure(Figure):
        port: int = 9

        def missing(self, bench, contender):        # only where contenders are not HTTP servers
            return bench.paths.absent("bulk")

        def measure(self, bench, contender):
            with bench.space(spaces.TUN) as space:
                argv = [bench.paths.program("bulk"), space.device, "off"]
                with Child(space.server.command(argv, bench.server_core), "bulk") as server:
                    server.line(20)
                    before, cpu = space.traffic(), cpu_time(server.pid)
                    ...
                return {"gbit": gbit, "cpu_us": ..., "drops": (space.traffic() - before).drops}

    FIGURES = [BulkFigure("bulk_in", "bulk", "One stream in", "Gb/s", ("off", "veth"),
                          value="gbit", ours=("off",), columns=(Column("cpu_us", "us each"),))]

`measure` makes one measurement of one contender and gives numbers by name. It is called once for
each contender in each round, forwards and backwards in turn. Some names mean something everywhere:

  the figure's `value`   what tables and charts show, and what paired ratios are made of
  drops                  packets that a device threw away: above zero the measurement is flagged
                         and left out of medians and ratios
  errors                 operations that failed; the sum is shown
  cpu_us, user_ticks, system_ticks
                         the server's CPU time for each operation, and ticks by which the report
                         splits it into user_us and system_us
  at_X                   the value at X, for a figure with a `curve`

`columns` names further values for the table. `ours` are the contenders of our own that are there
to be compared: the first of them that takes part is what ratios are made with. A figure whose
contenders are HTTP servers uses `bench.serve` and `bench.load`. What cannot be measured raises
`HarnessError` with one sentence; the runner prints it and goes on with the next contender.
`bench.note(contender, key, what)` puts a remark such as a version into the results.

A module has GROUPS, too: {"bulk": ("Bulk", "A paragraph for bench/README.md.")} for the groups
of its figures. `Figure.about` is a paragraph for one of them. What is wanted of figures
stands in targets.TARGETS.

Charts: `charts.bars` and `charts.lines` draw any figure; those without a `curve` get bars of
medians with minimum and maximum, those with one get a line for each contender.

From bench/: `python3 -m harness --list`, and `python3 -m harness.report results/latest.json` makes
the tables again from stored results.
"""
