"""PNG and SVG charts of stored figures, drawn by gnuplot."""

import os
import shutil
import subprocess
import sys

from . import tables

SIZES = {"png": ("pngcairo", "size {w},{h} font 'sans,11' background rgb 'white'"),
         "svg": ("svg", "size {w},{h} font 'sans,12' background rgb 'white'")}
OURS, THEIRS, SECOND = "#1b6ca8", "#9aa5b1", "#d98e04"
LINES = ("#1b6ca8", "#d98e04", "#3b8b3b", "#b03a48", "#7a4fa0", "#5f6b76", "#00838f", "#c2185b")


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def draw(path: str, height: int, script: str) -> list[str]:
    """Runs `script` once for each kind of file; the files that it made. None without gnuplot."""
    if not shutil.which("gnuplot"):
        return []
    made = []
    for suffix, (terminal, options) in SIZES.items():
        name = f"{path}.{suffix}"
        head = (f"set terminal {terminal} {options.format(w=860, h=height)} noenhanced\n"
                f"set output {quoted(name)}\nset grid lc rgb '#dddddd'\n"
                "set border lc rgb '#444444'\n")
        why = ""
        try:
            done = subprocess.run(["gnuplot"], input=head + script, text=True, capture_output=True,
                                  timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            why = str(error)
        else:
            if done.returncode:
                why = (done.stderr.strip().splitlines() or ["it says nothing"])[-1].strip()
        if why:
            print(f"The chart {name} was not drawn: {why.rstrip('.')}.", file=sys.stderr)
        elif os.path.exists(name):
            made.append(name)
    return made


def block(name: str, lines: list[str]) -> str:
    return f"${name} << END_OF_DATA\n" + "\n".join(lines) + "\nEND_OF_DATA\n"


def frame(title: str, axis: str, labels: list[str], margin: int = 34) -> str:
    """Horizontal bars, the first on top, their names on the left."""
    tics = ", ".join(f"{quoted(label)} {-i}" for i, label in enumerate(labels))
    return (f"set title {quoted(title)}\nset xlabel {quoted(axis)}\nset lmargin {margin}\n"
            f"set rmargin 9\nset ytics ({tics}) scale 0\nset yrange [{0.4 - len(labels)}:0.6]\n"
            "set xrange [0:*]\nset offsets 0,0,0,0\nset format x '%.10g'\nset decimalsign '.'\n"
            "set style fill solid 0.9 noborder\nset bars 0.6\nunset key\n")


def bars(path: str, entry: dict) -> list[str]:
    """Medians with minimum and maximum; ours have another colour."""
    found = [row for row in tables.rows(entry) if row.value]
    if not found:
        return []
    most = max(row.value.most for row in found)
    data = []
    for i, row in enumerate(found):
        text = tables.number(row.value.median, entry["digits"]).replace(" ", "")
        ours = int(row.contender in entry["ours"])
        data.append(f"{row.value.median} {-i} {row.value.least} {row.value.most} {ours} {text}")
    better = "more" if entry["more_is_better"] else "less"
    script = frame(entry["title"], f"{entry['unit']}, {better} is better",
                   [row.label for row in found])
    script += f"set xrange [0:{most * 1.2}]\n" + block("data", data)
    script += "plot " + ", ".join(
        f"$data using ($5=={ours} ? $1/2 : NaN):2:($1/2):(0.36) with boxxyerror "
        f"lc rgb '{color}'"
        for ours, color in ((1, OURS), (0, THEIRS)))
    script += (", $data using 1:2:3:4 with xerrorbars pt 0 lw 1.4 lc rgb '#222222'"
               ", $data using 4:2:6 with labels left offset 0.8,0\n")
    return draw(path, 110 + 30 * len(found), script)


def cpu_bars(path: str, entry: dict) -> list[str]:
    """The server's user and system time for each operation, one behind the other."""
    data, labels, most = [], [], 0.0
    for name in tables.contenders(entry):
        user, system = (tables.middle(entry, name, key) for key in ("user_us", "system_us"))
        if user is not None and system is not None:
            data.append(f"{user} {-len(labels)} {system} {user + system:.1f}")
            labels.append(entry["labels"][name])
            most = max(most, user + system)
    if not data:
        return []
    axis = "CPU time of the server for each one, us, less is better"
    script = frame(entry["title"], axis, labels) + block("data", data)
    script += ("set key outside bottom center horizontal\n"
               f"set xrange [0:{most * 1.2}]\n"
               f"plot $data using ($1/2):2:($1/2):(0.36) with boxxyerror lc rgb '{OURS}' "
               "title 'user', "
               "$data using ($1+$3/2):2:($3/2):(0.36) with boxxyerror "
               f"lc rgb '{SECOND}' title 'system', "
               "$data using ($1+$3):2:4 with labels left offset 0.8,0 notitle\n")
    return draw(path, 150 + 30 * len(labels), script)


def lines(path: str, entry: dict) -> list[str]:
    """A line of medians for each contender, with minimum and maximum."""
    curve, data, plots = entry["curve"], "", []
    for i, name in enumerate(tables.contenders(entry)):
        found = tables.points(entry, name)
        if not found:
            continue
        data += block(f"data{i}", [f"{x} {y.median} {y.least} {y.most}" for x, y in found])
        color = LINES[i % len(LINES)]
        label = quoted(entry["labels"][name])
        plots.append(f"$data{i} using 1:2:3:4 with yerrorlines lw 2 pt {5 + 2 * (i % 5)} "
                     f"dt {1 + i // len(LINES)} lc rgb '{color}' title {label}")
    if not plots:
        return []
    script = (f"set title {quoted(entry['title'])}\nset xlabel {quoted(curve['x_title'])}\n"
              f"set ylabel {quoted(entry['unit'])}\nset key outside bottom center horizontal\n"
              "set rmargin 6\nset bars 0.6\nset format '%.10g'\n")
    script += "set logscale x\n" * curve["x_logarithmic"]
    script += "set logscale y\n" if curve["y_logarithmic"] else "set yrange [0:*]\n"
    return draw(path, 440, data + script + "plot " + ", ".join(plots) + "\n")


def draw_all(folder: str, results: dict) -> list[str]:
    """Charts of all figures, in `folder`; the files that were made."""
    os.makedirs(folder, exist_ok=True)
    made = []
    for name, entry in results["figures"].items():
        path = os.path.join(folder, name)
        made += (lines if entry["curve"] else bars)(path, entry)
        if entry.get("cpu_chart"):
            made += cpu_bars(f"{path}_cpu", entry)
    return made
