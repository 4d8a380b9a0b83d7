// What a failing case says, seen from outside: a child process runs it. In the parent these cases
// do nothing.

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "runnel/event.hpp"
#include "runnel/sleep.hpp"
#include "runnel/testing/task_test.hpp"

namespace {

using namespace std::chrono_literals;

bool is_child() {
  return std::getenv("RUNNEL_REPEAT_CHILD") != nullptr;
}

// Fails in the order of some seeds and not of others.
bool unlucky(std::uint64_t seed) {
  return seed == 3;
}

/// What this binary says when it runs the case `name` with `environment`.
std::string say(const std::string& environment, const std::string& name) {
  const std::string line = "RUNNEL_REPEAT_CHILD=1 " + environment + " /proc/" +
                           std::to_string(::getpid()) + "/exe -tc='" + name + "' 2>&1";
  std::FILE* child = ::popen(line.c_str(), "r");
  REQUIRE(child != nullptr);
  std::string said;
  char buffer[512];
  while (std::size_t count = std::fread(buffer, 1, sizeof buffer, child)) {
    said.append(buffer, count);
  }
  ::pclose(child);
  return said;
}

std::size_t count_of(const std::string& text, const std::string& word) {
  std::size_t count = 0;
  for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
    ++count;
  }
  return count;
}

}  // namespace

TASK_TEST("repeat child: a check fails") {
  co_await runnel::sleep(1ms);
  if (is_child()) CHECK(!unlucky(seed));
}

TASK_TEST("repeat child: an exception escapes") {
  co_await runnel::sleep(1ms);
  if (is_child() && unlucky(seed)) throw std::runtime_error("escaped");
}

TASK_TEST("repeat child: nobody sets the event") {
  runnel::event never;
  if (is_child() && unlucky(seed)) co_await never.wait();
}

FIBER_TEST("repeat child: an exception escapes from a fiber") {
  self.await(runnel::sleep(1ms)).value();
  if (is_child() && unlucky(seed)) throw std::runtime_error("escaped");
}

TASK_TEST("repeat child: it counts its seeds") {
  if (is_child()) std::printf("<seed %llu>", static_cast<unsigned long long>(seed));
  co_return;
}

TEST_CASE("repeat: whatever fails says its seed and the line that runs it again") {
  for (const char* name :
       {"repeat child: a check fails", "repeat child: an exception escapes",
        "repeat child: nobody sets the event", "repeat child: an exception escapes from a fiber"}) {
    CAPTURE(name);
    const std::string said = say("", name);
    CAPTURE(said);
    CHECK(said.find("repeat with RUNNEL_SEED=3 /proc/") != std::string::npos);
    CHECK(said.find("-tc='" + std::string(name) + "'") != std::string::npos);
    CHECK(said.find("RUNNEL_SEED=2") == std::string::npos);
    CHECK(say("RUNNEL_SEED=3", name).find("RUNNEL_SEED=3") != std::string::npos);
    CHECK(say("RUNNEL_SEED=2", name).find("SUCCESS") != std::string::npos);
  }
}

TEST_CASE("repeat: RUNNEL_SEEDS says how many, and nonsense is one sentence") {
  const std::string name = "repeat child: it counts its seeds";
  CHECK(count_of(say("", name), "<seed ") == runnel::testing::seed_range{}.count);
  const std::string many = say("RUNNEL_SEEDS=12", name);
  CHECK(count_of(many, "<seed ") == 12);
  CHECK(many.find("<seed 11>") != std::string::npos);
  CHECK(count_of(say("RUNNEL_SEEDS=12 RUNNEL_SEED=0x20", name), "<seed 32>") == 1);
  const std::string refused = say("RUNNEL_SEEDS=lots", name);
  CHECK(refused.find("RUNNEL_SEEDS is \"lots\", which is no number") != std::string::npos);
}
