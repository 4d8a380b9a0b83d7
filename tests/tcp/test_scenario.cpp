#include "scenario.hpp"

// Every segment of every handshake and of every close lost, doubled, late or overtaken: alone and
// in pairs. Whatever the network does, both programs are told the truth, and nothing is left.
//
// A failure prints its name; RUNNEL_SCENARIO='that name' runs it alone and shows its packets.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// What happens to one packet of a run.
struct trouble {
  enum class kind : std::uint8_t { lose, lose_twice, copy, delay, swap };
  kind what = kind::lose;
  std::size_t packet = 0;
  duration by{};

  std::string name() const {
    const std::string number = std::to_string(packet);
    const std::string time = std::to_string(by / 1ms) + " ms";
    switch (what) {
      case kind::lose:
        return "lose " + number;
      case kind::lose_twice:
        return "lose " + number + " twice";
      case kind::copy:
        return "copy " + number + " after " + time;
      case kind::delay:
        return "delay " + number + " by " + time;
      case kind::swap:
        return "swap " + number + " with the next";
    }
    return {};
  }
};

/// The disturbance that does all of `troubles`. One that loses a packet twice loses the next one
/// from there with the same number and flags too.
disturbance all_of(const std::vector<trouble>& troubles) {
  struct lost_once {
    int from;
    std::uint32_t seq;
    std::uint8_t flags;
  };
  auto again = std::make_shared<std::vector<lost_once>>();
  return [troubles, again](std::size_t number, const seen_packet& seen) -> std::vector<duration> {
    const auto waits = std::find_if(again->begin(), again->end(), [&](const lost_once& each) {
      return each.from == seen.from && each.seq == seen.tcp.seq && each.flags == seen.tcp.flags;
    });
    if (waits != again->end()) {
      again->erase(waits);
      return {};
    }
    std::vector<duration> out{duration::zero()};
    for (const trouble& each : troubles) {
      if (each.packet != number) continue;
      switch (each.what) {
        case trouble::kind::lose_twice:
          again->push_back({seen.from, seen.tcp.seq, seen.tcp.flags});
          return {};
        case trouble::kind::lose:
          return {};
        case trouble::kind::copy:
          out.push_back(each.by);
          break;
        case trouble::kind::delay:
        case trouble::kind::swap:
          for (duration& copy : out) copy += each.by;
          break;
      }
    }
    return out;
  };
}

/// Everything that can happen to one packet of the undisturbed run.
std::vector<trouble> troubles_of(const std::vector<seen_packet>& clean) {
  using kind = trouble::kind;
  std::vector<trouble> out;
  for (std::size_t k = 0; k < clean.size(); ++k) {
    out.push_back({kind::lose, k});
    out.push_back({kind::lose_twice, k});
    for (const duration by : {0ms, 500ms, 30'000ms}) out.push_back({kind::copy, k, by});
    for (const duration by : {50ms, 500ms, 3000ms}) out.push_back({kind::delay, k, by});
    if (k + 1 < clean.size()) {
      out.push_back({kind::swap, k, clean[k + 1].at - clean[k].at + 1us});
    }
  }
  return out;
}

/// What three lost or late segments may cost: SYN, SYN-ACK and the third segment come again after
/// 1 + 2 + 4 s at worst. What is left behind it: the request of an old SYN for 63 s, and TIME-WAIT,
/// which copies may restart, for 60 s.
///
/// RST is never sent again. When it is the one that is lost, the other side learns of the end only
/// when it next says something, which here is when it loses its patience after 1000 s.
scenario::bounds small_trouble(const script& plan) {
  if (plan.how == script::ending::abort || plan.how == script::ending::leave) {
    return {.open = 1001s, .closing = 61s, .empty = 1100s};
  }
  return {.open = 20s, .closing = 20s, .empty = 160s, .arrives = true};
}

/// Calls `visit` with each choice of `count` of `from`.
template <class Visitor>
void each_choice(const std::vector<trouble>& from, std::size_t count, std::vector<trouble> chosen,
                 std::size_t next, const Visitor& visit) {
  if (chosen.size() == count) return visit(chosen);
  for (std::size_t i = next; i < from.size(); ++i) {
    chosen.push_back(from[i]);
    each_choice(from, count, chosen, i + 1, visit);
    chosen.pop_back();
  }
}

void play_choices(const script& plan, const std::vector<trouble>& from, std::size_t count) {
  each_choice(from, count, {}, 0, [&](const std::vector<trouble>& chosen) {
    std::string name;
    for (const trouble& each : chosen) name += (name.empty() ? "" : ", ") + each.name();
    play(plan, name, all_of(chosen), small_trouble(plan));
  });
}

/// Loss of each segment, and of the two that come after the undisturbed run's last.
std::vector<trouble> losses_of(const script& plan) {
  const std::size_t segments = scenario(plan, {}).trace().size() + 2;
  std::vector<trouble> out;
  for (std::size_t k = 0; k < segments; ++k) out.push_back({trouble::kind::lose, k});
  return out;
}

}  // namespace

TEST_CASE("scenario: undisturbed, every script ends as it should") {
  for (const script& plan : all_scripts()) {
    // RST may be the third segment, and then the server has never had a connection.
    const bool arrives = plan.how != script::ending::abort;
    play(plan, "nothing", {}, {.open = 250ms, .closing = 50ms, .empty = 61s, .arrives = arrives});
  }
}

TEST_CASE("scenario: each segment lost, doubled, late or overtaken") {
  for (const script& plan : all_scripts()) {
    const scenario clean(plan, {});
    for (const trouble& each : troubles_of(clean.trace())) {
      play(plan, each.name(), all_of({each}), small_trouble(plan));
    }
  }
}

TEST_CASE("scenario: each two segments lost") {
  for (const script& plan : all_scripts()) play_choices(plan, losses_of(plan), 2);
}

TEST_CASE("scenario: each three segments lost, and each two troubles of any kind" *
          doctest::skip(!long_run())) {
  for (const script& plan : all_scripts()) {
    play_choices(plan, losses_of(plan), 3);
    play_choices(plan, troubles_of(scenario(plan, {}).trace()), 2);
  }
}
