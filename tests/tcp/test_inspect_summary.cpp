#include "dual_host.hpp"
#include "runnel/tcp/inspect.hpp"

// The counts of `ss -s` where both families are there.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;

TEST_CASE("S112: ss -s divides among the families what is not in TIME-WAIT") {
  dual_host local;
  const auto listener = local.engine.listen({{}, 80}, {}, 1);
  const net::endpoint here_v4{address_of("10.0.0.2"), 80};
  const net::endpoint here_v6{address_of("fd00::2"), 80};
  for (std::uint16_t port = 1; port <= 2; ++port)
    local.open({address_of("10.0.0.1"), port}, here_v4);
  for (std::uint16_t port = 1; port <= 3; ++port) {
    const net::endpoint from{address_of("fd00::1"), port};
    local.open(from, here_v6);
    // Those of IPv4 are before it in the queue.
    auto accepted = local.engine.accept(listener.value, 1);
    while (local.engine.ends(accepted.value).remote != from) {
      accepted = local.engine.accept(listener.value, 1);
    }
    local.engine.close(accepted.value, local.now);
    local.engine.release(accepted.value, local.now);
    wire::tcp_header tcp;
    tcp.flags = wire::tcp_flag::fin | wire::tcp_flag::ack;
    tcp.seq = 1001;
    tcp.ack = local.next_segment().tcp.seq + 1;
    local.give_segment(from, here_v6, tcp);
    local.answers();
  }
  wire::tcp_header syn;
  syn.flags = wire::tcp_flag::syn;
  local.give_segment({address_of("fd00::1"), 9}, here_v6, syn);
  inspect_request request;
  REQUIRE(parse_inspect_request("-s", request).empty());
  const std::string text = inspect(local.engine, request, local.now);
  CHECK(text.find("\nTCP:   7 (estab 2, closed 3, orphaned 0, timewait 3)\n") != text.npos);
  CHECK(text.find("\nTCP\t  4         3         1\n") != text.npos);
}
