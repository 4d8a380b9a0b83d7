#pragma once

#include <cxxabi.h>
#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "runnel/loop.hpp"
#include "runnel/testing/task_test.hpp"
#include "runnel/trace.hpp"

namespace runnel::testing {

namespace internal {

inline std::string readable(std::string_view type) {
  const std::string mangled{type};
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name{
      abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status), std::free};
  return status == 0 && name ? std::string{name.get()} : mangled;
}

inline std::string nanoseconds(time_point when) {
  std::string text = std::to_string(when.time_since_epoch().count());
  if (text.size() < 10) text.insert(0, 10 - text.size(), '0');
  return text.insert(text.size() - 9, 1, '.');
}

}  // namespace internal

/// Writes down what a loop does, one line for each thing: the time in seconds, what it was, and a
/// number, such as "3600.001000000 resumed runnel::detail::sleep_awaiter 0". Two simulated runs
/// with the same seed give the same text, byte for byte. For `loop_options::observer`.
class trace_recorder final : public loop_observer {
 public:
  void on_entry(const trace_entry& entry) noexcept override { add(entry); }

  /// What was written down so far.
  const std::string& text() const noexcept { return text_; }

 private:
  void add(const trace_entry& entry) {
    text_ += internal::nanoseconds(entry.at);
    switch (entry.what) {
      case trace_entry::kind::resumed:
        text_ += " resumed " + internal::readable(entry.name);
        break;
      case trace_entry::kind::timers:
        text_ += " timers";
        break;
      case trace_entry::kind::started:
        text_.append(" started ").append(entry.name);
        break;
      case trace_entry::kind::finished:
        text_.append(" finished ").append(entry.name);
        break;
    }
    text_ += ' ' + std::to_string(entry.number) + '\n';
  }

  std::string text_;
};

/// Runs `body` on a new simulated loop with this seed, and gives its trace.
inline std::string trace_of(test_body body, std::uint64_t seed) {
  trace_recorder recorder;
  loop_options options;
  options.simulated = seed;
  options.observer = &recorder;
  loop driver{options};
  driver.run(body(driver, seed));
  return recorder.text();
}

/// Runs `body` twice with each seed and checks that both runs do the same. What it finds is code
/// that asks something else than the loop: the system's clock, an address, another thread.
inline void check_repeatable(test_body body, seed_range wanted = {}) {
  const seed_range seeds = seeds_to_run(wanted);
  for (std::uint64_t i = 0; i < seeds.count; ++i) {
    const std::uint64_t seed = seeds.first + i;
    DOCTEST_INFO(internal::how_to_repeat(seed));
    const std::string first = trace_of(body, seed);
    const std::string second = trace_of(body, seed);
    std::size_t same = 0;
    while (same < first.size() && same < second.size() && first[same] == second[same]) ++same;
    const std::size_t line = same == 0 ? 0 : first.rfind('\n', same - 1) + 1;
    DOCTEST_INFO("first: ", first.substr(line, 200), "second: ", second.substr(line, 200));
    const bool repeatable = first == second;
    DOCTEST_CHECK(repeatable);
  }
}

}  // namespace runnel::testing
