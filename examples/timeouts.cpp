// A tour of time and cancellation: deadlines around anything, the first of several, standing
// deadlines of a stream, and what a task that is cancelled may still do.
//
//   ./timeouts
//   ./timeouts --virtual
//       the same in virtual time, which jumps ahead when everybody waits

#include <array>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <string>
#include <vector>

#include "runnel/event.hpp"
#include "runnel/loop.hpp"
#include "runnel/net/pipe.hpp"
#include "runnel/shield.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "runnel/when_all.hpp"
#include "runnel/when_any.hpp"
#include "support/command_line.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

/// Prints a line behind the time since the tour began.
class narrator {
 public:
  explicit narrator(loop& owner) : owner_(&owner), begin_(owner.now()) {}

  [[gnu::format(printf, 2, 3)]] void say(const char* format, ...) const {
    const std::chrono::duration<double> passed = owner_->now() - begin_;
    std::printf("%6.2f s  ", passed.count());
    std::va_list arguments;
    va_start(arguments, format);
    std::vprintf(format, arguments);
    va_end(arguments);
    std::putchar('\n');
  }

 private:
  loop* owner_;
  time_point begin_;
};

std::string told(const result<std::string>& outcome) {
  return outcome ? "\"" + *outcome + "\"" : outcome.error().message();
}

/// Stands for a request to a server that takes its time.
task<result<std::string>> fetch(std::string from, duration time) {
  const auto slept = co_await sleep(time);
  if (!slept) co_return slept.error();
  co_return "page of " + from;
}

task<result<std::string>> refused(duration time) {
  const auto slept = co_await sleep(time);
  if (!slept) co_return slept.error();
  co_return std::make_error_code(std::errc::connection_refused);
}

task<> one_deadline(const narrator& tell, loop& owner) {
  const auto fast = co_await with_timeout(200ms, fetch("a fast server", 100ms));
  tell.say("with_timeout(200ms) of 100 ms of work: %s", told(fast).c_str());
  const auto slow = co_await with_timeout(200ms, fetch("a slow server", 1h));
  tell.say("with_timeout(200ms) of an hour of work: %s", told(slow).c_str());

  // One deadline for two steps: the second one gets what the first one left.
  const time_point deadline = owner.now() + 200ms;
  const auto first = co_await with_deadline(deadline, fetch("step one", 150ms));
  tell.say("with_deadline, step one: %s", told(first).c_str());
  const auto second = co_await with_deadline(deadline, fetch("step two", 150ms));
  tell.say("with_deadline, step two: %s", told(second).c_str());

  const auto inner = co_await with_timeout(1h, with_timeout(100ms, sleep(2h)));
  tell.say("of nested deadlines the nearest one holds: %s", inner.error().message().c_str());
}

task<> several_at_once(const narrator& tell) {
  const auto raced = co_await when_any(fetch("mirror A", 300ms), fetch("mirror B", 100ms));
  const auto& page = raced.index == 0 ? std::get<0>(raced.value) : std::get<1>(raced.value);
  tell.say("when_any of two mirrors: number %zu, %s", raced.index, told(page).c_str());

  const auto patient = co_await when_any(fetch("the origin", 1h), sleep(200ms));
  tell.say("when_any against a sleep: %s",
           patient.index == 1 ? "time to try something else" : "the page");

  std::vector<task<result<std::string>>> pages;
  for (int i = 1; i <= 3; ++i) pages.push_back(fetch("shard " + std::to_string(i), i * 50ms));
  const auto all = co_await with_timeout(1s, when_all(std::move(pages)));
  tell.say("when_all of three: %zu pages in the time of the slowest", all ? all->size() : 0);

  const auto failed = co_await when_all(fetch("a good server", 1h), refused(100ms));
  tell.say("when_all with a failure does not wait for the hour: %s",
           failed.error().message().c_str());
  auto each = co_await when_all_settled(fetch("a good server", 200ms), refused(100ms));
  tell.say("when_all_settled does: %s, %s", told(std::get<0>(each).get()).c_str(),
           told(std::get<1>(each).get()).c_str());
}

task<> careful(const narrator& tell) {
  const auto slept = co_await sleep(1h);
  tell.say("  a task in the group: %s", slept.error().message().c_str());
  co_await sleep(1h);
  tell.say("  another wait in it ends at once");
  co_await shield(with_timeout(1s, sleep(100ms)));
  tell.say("  but a shielded one is waited for: its last words");
}

task<> cancelling(const narrator& tell, loop& owner) {
  task_group group(owner);
  group.spawn(careful(tell));
  co_await sleep(100ms);
  tell.say("cancelling a task_group");
  group.cancel();
  co_await group.join();
  tell.say("join() has waited for all of it");
}

/// A server that gives a client so much time for each read, without a timer for each.
task<> watch(const narrator& tell, loop& owner, net::pipe_stream client) {
  std::array<std::byte, 64> buffer;
  for (;;) {
    client.set_read_deadline(owner.now() + 150ms);
    const auto got = co_await client.read(buffer);
    if (!got) {
      tell.say("  no more came: %s", got.error().message().c_str());
      break;
    }
    tell.say("  read %zu bytes, and the deadline moves on", *got);
  }
  client.abort();
}

task<> write_slower_and_slower(net::pipe_stream to) {
  const std::string line = "hello\n";
  for (const duration pause : std::array<duration, 4>{50ms, 100ms, 149ms, 200ms}) {
    co_await sleep(pause);
    const auto sent = co_await to.write(std::as_bytes(std::span(line)));
    if (!sent) break;
  }
}

task<> standing(const narrator& tell, loop& owner) {
  tell.say("a standing read deadline of 150 ms, and a peer that slows down");
  auto [server, client] = net::pipe_stream::make(owner);
  co_await when_all(watch(tell, owner, std::move(server)),
                    write_slower_and_slower(std::move(client)));
}

task<> tour(loop& owner) {
  const narrator tell(owner);
  co_await one_deadline(tell, owner);
  co_await several_at_once(tell);
  co_await cancelling(tell, owner);
  co_await standing(tell, owner);
  tell.say("the end");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"A tour of deadlines, when_any, when_all and cancellation.", "timeouts"};
  bool in_virtual_time = false;
  app.add_flag("--virtual", in_virtual_time, "Run in virtual time, which takes none");
  try {
    app.parse(argc, argv);
    loop_options options;
    if (in_virtual_time) options.simulated = 0;
    loop owner(options);
    owner.run(tour(owner));
    return 0;
  } catch (const CLI::ParseError& error) {
    return example::not_parsed(app, error);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "timeouts: %s\n", error.what());
    return 1;
  }
}
