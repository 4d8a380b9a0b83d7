#pragma once

#include <csignal>
#include <cstddef>
#include <iosfwd>
#include <iostream>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

#include "runnel/clock.hpp"
#include "runnel/loop.hpp"
#include "runnel/task.hpp"

namespace runnel {

/// One thread of control of a loop: a task that waits, or is ready to run, with those that await
/// it.
struct task_record {
  /// `parent` of a task that no other waits for.
  static constexpr std::size_t none = static_cast<std::size_t>(-1);
  /// How many places a chain holds at most; `deeper` counts the rest.
  static constexpr std::size_t chain_limit = 64;

  /// Where each of the chain awaits the one before it: the first is where the innermost waits, the
  /// last belongs to the task that was given to `loop::run` or spawned. Empty for one that has not
  /// run yet.
  std::vector<std::source_location> chain{};
  /// Tasks of the chain that did not find room in it.
  std::size_t deeper = 0;
  /// What it waits for, of a kind: "sleep", "tcp read". Lives for ever.
  std::string_view what{};
  /// Which of that kind: "fd 7", "10.0.0.2:80". May be empty.
  std::string detail{};
  /// For how long, in the loop's time, exact to about a millisecond; a wait of more than 52 days
  /// starts from zero again. Zero for a task that is ready.
  duration waited{0};
  /// What it waited for has happened, and it will run in one of the next turns.
  bool ready = false;
  /// Its scope was cancelled, and the kernel has not let go of its operation yet.
  bool cancelled = false;
  /// It is the body of a fiber that waits.
  bool fiber = false;
  /// Where it was spawned in a `task_group`; line 0 for other tasks.
  std::source_location spawned{};
  /// The index of the record whose task joins the group that it was spawned in, or `none`.
  std::size_t parent = none;
};

/// Every task of `owner` that waits or is ready, in no promised order. The task that calls is
/// running and therefore not among them. Call it on the loop's thread: in a task, in `log` or
/// `on_stall`, or between two `run`s. O(tasks); allocates; the loop itself keeps no list for it.
std::vector<task_record> list_tasks(loop& owner);

/// How a dump is laid out.
struct dump_options {
  /// Lines to print at most; what does not find room is counted in one more.
  std::size_t lines = 200;
};

/// Prints `list_tasks` as a tree: below the task that joins a group stand the group's children.
/// Tasks that wait in the same places for the same kind of thing are one line with their number, so
/// that ten thousand idle connections take one line. A line reads
///
///     main_task at a.cpp:10 > fetch at b.cpp:20: sleep (3.2 s left), for 1.0 s
///
/// which is: `main_task` awaits in line 10 of a.cpp what `fetch` does, and `fetch` sleeps.
void dump_tasks(loop& owner, std::ostream& out, dump_options options = {});

/// A task that prints `dump_tasks` and `print_metrics` whenever the process gets signal `number`,
/// until it is cancelled: spawn it in the group that lives as long as the program serves, and `kill
/// -USR1 <pid>` shows what everybody waits for. `number` must not belong to a living `signal_set`;
/// `out` must outlive it. As it waits for a descriptor, `loop::run` no longer notices deadlocks
/// while it lives. A loop that is stuck in a task prints nothing: see `watchdog`. Throws what
/// `signal_set` throws.
task<> dump_on_signal(loop& owner, int number = SIGUSR1, std::ostream& out = std::cerr,
                      dump_options options = {});

}  // namespace runnel
