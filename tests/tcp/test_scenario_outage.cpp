#include "scenario.hpp"

// The wire is cut at each segment of every script: in one direction or in both, for some seconds,
// for longer than an orphan is borne, and for ever. No connection stays beyond the bound of its
// policy, and nobody takes a connection that was lost for one that ended.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

enum class cut : std::uint8_t { from_client, from_server, both };

/// Packets are lost from the one with this number on, for as long as `lasting`.
disturbance outage(std::size_t packet, cut where, duration lasting) {
  auto since = std::make_shared<std::optional<time_point>>();
  return [=](std::size_t number, const seen_packet& seen) -> std::vector<duration> {
    if (number >= packet && !*since) *since = seen.at;
    const bool hit = where == cut::both || (where == cut::from_client) == (seen.from == 0);
    if (*since && hit && seen.at - **since < lasting) return {};
    return {duration::zero()};
  };
}

/// The programs give up reading after 1000 s, which is more than the 924.6 s of retries2; SYN takes
/// 131 s. An orphan's FIN is borne for 102.2 s, up to the end of the wait that is running then; if
/// it is acknowledged at the last moment, FIN-WAIT-2 takes another 60 s. Then there is TIME-WAIT.
constexpr scenario::bounds cut_off{.open = 1001s, .closing = 165s, .empty = 1230s};

void play_outages(duration lasting, const std::string& name) {
  constexpr const char* sides[] = {"from the client", "from the server", "both ways"};
  for (const script& plan : all_scripts()) {
    const std::size_t segments = scenario(plan, {}).trace().size();
    for (std::size_t packet = 0; packet < segments; ++packet) {
      for (const cut where : {cut::from_client, cut::from_server, cut::both}) {
        const std::string trouble = "cut " + std::string(sides[static_cast<int>(where)]) +
                                    " from " + std::to_string(packet) + name;
        play(plan, trouble, outage(packet, where, lasting), cut_off);
      }
    }
  }
}

}  // namespace

TEST_CASE("scenario: the wire is cut for ever at each segment") {
  play_outages(duration::max(), " on");
}

TEST_CASE("scenario: the wire is cut for 10 s at each segment") {
  play_outages(10s, " for 10 s");
}

TEST_CASE("scenario: the wire is cut for 150 s at each segment") {
  play_outages(150s, " for 150 s");
}
