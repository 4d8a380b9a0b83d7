#include "raw_peer.hpp"

// The side of Fast Open that connects (S53, RFC 7413), against segments made by hand.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

constexpr std::string_view cookie = "\x01\x02\x03\x04\x05\x06\x07\x08";

connection_policy fast() {
  connection_policy policy;
  policy.fastopen_connect = true;
  return policy;
}

/// Lets go of the connection at hand, without a word.
void drop(raw_peer& peer) {
  peer.close(close_mode::abort);
  peer.engine().release(peer.socket, peer.now());
  peer.forget();
  peer.host_iss = peer.host_next = 0;
  peer.peer_next = peer.peer_iss;
  peer.reported = events::none;
}

/// A first connection, in which the host learns the server's cookie and MSS.
void learn(raw_peer& peer, std::string_view given = cookie, std::uint32_t server_mss = 1460) {
  peer.connect(fast());
  peer.expect({flags("S"), fast_open(""), length(0)});
  peer.send({seq(0), ack(1), flags("SA"), mss(server_mss), fast_open(given)});
  CHECK(peer.current() == state::established);
  drop(peer);
}

/// The next one, in which `what` leaves with the SYN.
void open_with(raw_peer& peer, std::string_view what) {
  learn(peer);
  peer.connect(fast());
  CHECK(peer.write(what) == what.size());
}

}  // namespace

TEST_CASE("S53 Fast Open client: without a cookie SYN asks for one, and is otherwise as ever") {
  raw_peer peer;
  peer.connect(fast());
  peer.expect(
      {flags("S"), seq(0), length(0), mss(1460), scale(10), has_stamp(true), fast_open("")});
  CHECK((peer.reported & events::connected) == events::none);
  CHECK(peer.write_error() == error::not_connected);
  CHECK(peer.look().fastopen_fail == fastopen_client_fail::cookie_unavailable);
  // One that is sent again does not ask: the option may be why it was lost.
  peer.run_for(1s);
  peer.expect({flags("S"), no_fast_open()});
}

TEST_CASE("S53 Fast Open client: off by default, and off where the host says so") {
  const auto asks = [](std::uint32_t bits, const connection_policy& policy) {
    raw_peer peer([&](host_options& options) { options.policy.fastopen = bits; });
    peer.connect(policy);
    return peer.said().front().fast_open.has_value();
  };
  CHECK(asks(fastopen_flag::client, fast()));
  CHECK_FALSE(asks(fastopen_flag::client, {}));
  CHECK_FALSE(asks(0, fast()));
  CHECK_FALSE(asks(fastopen_flag::server, fast()));
}

TEST_CASE(
    "S53 S113 TCPFastOpenActive: with a cookie connect succeeds at once, and text goes with SYN") {
  raw_peer peer;
  learn(peer);
  peer.connect(fast());
  peer.expect_nothing();
  CHECK((peer.reported & (events::connected | events::writable)) ==
        (events::connected | events::writable));
  CHECK(peer.look().state == state::syn_sent);
  CHECK(peer.write("GET") == 3);
  peer.expect({flags("S"), seq(0), text("GET"), fast_open(cookie), mss(1460), scale(10)});
  CHECK(peer.look().bytes_sent == 3);
  // What is written later waits for the answer.
  CHECK(peer.write(" it") == 3);
  peer.expect_nothing();
  peer.send({seq(0), ack(4), flags("SA"), mss(1460)});
  peer.expect({flags("PA"), seq(4), ack(1), text(" it")});
  CHECK(peer.current() == state::established);
  CHECK(peer.look().syn_data_acked);
  CHECK(peer.look().traffic.bytes_acked == 3);
  CHECK(peer.look().fastopen_fail == fastopen_client_fail::none);
  CHECK(peer.count().fastopen_active == 1);
  CHECK(peer.count().active_opens == 2);
  peer.send({text("200")});
  CHECK(peer.read() == "200");
}

TEST_CASE("S53 Fast Open client: SYN takes what the server's MSS leaves beside full options") {
  raw_peer peer;
  std::uint32_t fits = 1460 - 40;
  SUBCASE("that of an Ethernet") {
    learn(peer);
  }
  SUBCASE("a smaller one") {
    learn(peer, cookie, 700);
    fits = 700 - 40;
  }
  SUBCASE("the link's own, where the server takes more") {
    learn(peer, cookie, 9000);
  }
  peer.connect(fast());
  const std::string all = numbered_text(3000);
  CHECK(peer.write(all) == all.size());
  peer.expect({flags("S"), length(fits), text(all.substr(0, fits))});
  peer.expect_nothing();
  peer.send({seq(0), ack(1 + fits), flags("SA"), mss(536)});
  peer.expect({seq(1 + fits), length(536), text(all.substr(fits, 536))});
}

TEST_CASE("S53 Fast Open client: cookies of 4 to 16 bytes, each the server's latest") {
  for (const std::string_view each : {"1234", "123456789012", "1234567890123456"}) {
    CAPTURE(each);
    raw_peer peer;
    learn(peer);
    peer.connect(fast());
    peer.write("GET");
    peer.expect({flags("S"), fast_open(cookie)});
    peer.send({seq(0), ack(1), flags("SA"), mss(1460), fast_open(each)});
    drop(peer);
    peer.connect(fast());
    peer.write("GET");
    peer.expect({flags("S"), fast_open(each), text("GET")});
  }
}

TEST_CASE("S53 S113 TCPFastOpenActiveFail: what SYN-ACK does not acknowledge goes again at once") {
  raw_peer peer;
  open_with(peer, "GET it");
  peer.forget();
  SUBCASE("nothing of it") {
    peer.send({seq(0), ack(1), flags("SA"), mss(1460)});
    peer.expect({flags("PA"), seq(1), ack(1), text("GET it")});
  }
  SUBCASE("a part") {
    peer.send({seq(0), ack(4), flags("SA"), mss(1460)});
    peer.expect({flags("PA"), seq(4), ack(1), text(" it")});
  }
  // TcpExtTCPFastOpenActiveFail
  CHECK(peer.count().fastopen_active_fail == 1);
  CHECK(peer.count().fastopen_active == 0);
  CHECK_FALSE(peer.look().syn_data_acked);
  CHECK(peer.look().fastopen_fail == fastopen_client_fail::data_not_acked);
  peer.send({});
  CHECK(peer.look().unacked_bytes == 0);
}

TEST_CASE("S53 Fast Open client: a SYN that is sent again is plain, and the text follows") {
  raw_peer peer;
  open_with(peer, "GET");
  peer.forget();
  peer.run_for(1s);
  peer.expect({flags("S"), seq(0), length(0), no_fast_open(), mss(1460)});
  peer.send({seq(0), ack(1), flags("SA"), mss(1460)});
  peer.expect({seq(1), text("GET")});
  CHECK(peer.look().fastopen_fail == fastopen_client_fail::syn_retransmitted);
  peer.send({});
}

TEST_CASE("S53 Fast Open client: the answer to the first SYN is good after a second one left") {
  raw_peer peer;
  open_with(peer, "GET");
  peer.run_for(1s);
  peer.forget();
  peer.send({seq(0), ack(4), flags("SA"), mss(1460)});
  peer.expect({flags("A"), seq(4), ack(1), length(0)});
  CHECK(peer.look().syn_data_acked);
  CHECK(peer.look().unacked_bytes == 0);
}

TEST_CASE("S53 Fast Open client: an acknowledgement beyond the text is refused") {
  raw_peer peer;
  open_with(peer, "GET");
  peer.forget();
  peer.send({seq(0), ack(5), flags("SA")});
  peer.expect({flags("R"), seq(5)});
  CHECK(peer.current() == state::syn_sent);
}

TEST_CASE("S53 Fast Open client: who reads first sends the SYN without text") {
  raw_peer peer;
  learn(peer);
  peer.connect(fast());
  peer.expect_nothing();
  SUBCASE("receive") {
    CHECK(peer.read_error() == error::would_block);
    peer.flush();
  }
  SUBCASE("start, for who waits for events") {
    CHECK(peer.engine().start(peer.socket, peer.now()) == error::none);
    peer.flush();
  }
  peer.expect({flags("S"), length(0), fast_open(cookie)});
  peer.send({seq(0), ack(1), flags("SA"), mss(1460), text("220")});
  CHECK(peer.read() == "220");
  CHECK(peer.engine().start(peer.socket, peer.now()) == error::none);
}

TEST_CASE("S53 Fast Open client: closed before anything was written it leaves no trace") {
  raw_peer peer;
  learn(peer);
  peer.connect(fast());
  peer.close();
  peer.run_for(10s);
  peer.expect_nothing();
  CHECK(peer.look().ended == end_reason::clean);
  CHECK(peer.count().timeouts == 0);
}

TEST_CASE("S53 Fast Open client: what was written before close is delivered, and FIN follows") {
  raw_peer peer;
  open_with(peer, "bye");
  peer.close();
  peer.expect({flags("S"), text("bye")});
  peer.expect_nothing();
  CHECK_FALSE(peer.engine().drained(peer.socket));
  SUBCASE("the server takes it with the SYN") {
    peer.send({seq(0), ack(4), flags("SA"), mss(1460)});
    peer.expect({flags("FA"), seq(4), ack(1)});
  }
  SUBCASE("and does not") {
    peer.send({seq(0), ack(1), flags("SA"), mss(1460)});
    peer.expect({flags("FPA"), seq(1), ack(1), text("bye")});
  }
  peer.send({flags("FA")});
  CHECK(peer.current() == state::time_wait);
}

TEST_CASE("S53 Fast Open client: shutdown before the first text sends SYN, and FIN after it") {
  raw_peer peer;
  learn(peer);
  peer.connect(fast());
  peer.shutdown();
  peer.expect({flags("S"), length(0)});
  peer.send({seq(0), ack(1), flags("SA"), mss(1460)});
  peer.expect({flags("FA"), seq(1), ack(1)});
}

TEST_CASE("S53 Fast Open client: everything acknowledged with the SYN is told as drained") {
  raw_peer peer;
  open_with(peer, "GET");
  CHECK_FALSE(peer.engine().drained(peer.socket));
  peer.send({seq(0), ack(4), flags("SA"), mss(1460)});
  CHECK((peer.reported & events::drained) == events::drained);
}

TEST_CASE("S53 Fast Open client: a refusal, and silence, are told by the calls that follow") {
  raw_peer peer;
  SUBCASE("RST") {
    open_with(peer, "GET");
    peer.send({flags("RA"), seq(0), ack(4)});
    CHECK(peer.read_error() == error::connection_refused);
  }
  SUBCASE("nothing") {
    open_with(peer, "GET");
    peer.run_for(300s);
    CHECK(peer.read_error() == error::timed_out);
  }
  CHECK(peer.look().state == state::closed);
  CHECK(peer.look().unacked_bytes == 3);
  CHECK(peer.write_error() == error::broken_pipe);
}

TEST_CASE("S53 Fast Open client: the owner is gone, and the memory of its text with it") {
  raw_peer peer;
  open_with(peer, "GET");
  peer.engine().release(peer.socket, peer.now());
  CHECK(peer.engine().memory().orphans == 1);
  CHECK(peer.engine().memory().orphan_bytes > 0);
  SUBCASE("taken") {
    peer.forget();
    peer.send({seq(0), ack(4), flags("SA"), mss(1460)});
    peer.expect({flags("FA"), seq(4)});
    CHECK(peer.engine().memory().orphan_bytes == 0);
  }
  SUBCASE("never") {
    peer.run_for(300s);
    CHECK(peer.engine().memory().orphan_bytes == 0);
    CHECK(peer.engine().memory().connections == 0);
  }
}

TEST_CASE("S53 Fast Open client: text without a cookie where the policy says so") {
  raw_peer peer([](host_options& options) {
    options.policy.fastopen = fastopen_flag::client | fastopen_flag::client_no_cookie;
  });
  peer.connect(fast());
  peer.expect_nothing();
  peer.write("GET");
  // Of an unknown server the smallest MSS is assumed.
  peer.expect({flags("S"), text("GET"), no_fast_open()});
  peer.send({seq(0), ack(4), flags("SA"), mss(1460)});
  CHECK(peer.look().syn_data_acked);
}

TEST_CASE("S53 Fast Open client: simultaneous open keeps the text until it is open") {
  raw_peer peer;
  learn(peer);
  peer.connect(fast());
  SUBCASE("SYN was waiting for text") {
    peer.send_syn();
    peer.expect({flags("SA"), seq(0), ack(1)});
    CHECK(peer.write("GET") == 3);
    peer.expect_nothing();
  }
  SUBCASE("SYN has left with it") {
    peer.write("GET");
    peer.forget();
    peer.send_syn();
    peer.expect({flags("SA"), seq(0), ack(1), length(0)});
  }
  peer.send({ack(1)});
  CHECK(peer.current() == state::established);
  peer.expect({seq(1), text("GET")});
  peer.send({ack(4)});
  CHECK(peer.look().unacked_bytes == 0);
}

TEST_CASE("S53 S113 TCPFastOpenBlackhole: three time-outs in a row pause it, longer each time") {
  raw_peer peer([](host_options& options) { options.policy.fastopen_blackhole_timeout = 1h; });
  const auto tries = [&] {
    peer.connect(fast());
    const bool waits = peer.said().empty();
    const bool asks = waits || peer.said().front().fast_open.has_value();
    if (waits) peer.write("GET");
    return asks;
  };
  learn(peer);
  CHECK(tries());
  peer.run_for(2s);
  // TcpExtTCPFastOpenBlackhole
  CHECK(peer.count().fastopen_blackhole == 0);
  peer.run_for(1s);
  CHECK(peer.count().fastopen_blackhole == 1);
  drop(peer);
  CHECK_FALSE(tries());
  drop(peer);
  peer.run_for(1h);
  CHECK(tries());
  peer.run_for(3s);
  CHECK(peer.count().fastopen_blackhole == 2);
  drop(peer);
  peer.run_for(2h - 1s);
  CHECK_FALSE(tries());
  drop(peer);
  peer.run_for(1s);
  CHECK(tries());

  // One that works, with an answer, takes it all back.
  peer.forget();
  peer.send({seq(0), ack(4), flags("SA"), mss(1460)});
  peer.send({text("200")});
  drop(peer);
  CHECK(tries());
  peer.run_for(3s);
  drop(peer);
  peer.run_for(1h);
  CHECK(tries());
}

TEST_CASE("S53 Fast Open client: FIN without the text before it is such a sign too") {
  raw_peer peer([](host_options& options) { options.policy.fastopen_blackhole_timeout = 1h; });
  open_with(peer, "GET");
  peer.send({seq(0), ack(4), flags("SA"), mss(1460)});
  peer.send({seq(400), flags("FA")});
  peer.close(close_mode::abort);
  CHECK(peer.count().fastopen_blackhole == 1);
}

TEST_CASE("S53 Fast Open client: never paused unless the policy says for how long") {
  raw_peer peer;
  open_with(peer, "GET");
  peer.run_for(300s);
  CHECK(peer.count().fastopen_blackhole == 0);
}
