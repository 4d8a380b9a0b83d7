#include "raw_peer.hpp"
#include "tcp/engine/fastopen.hpp"
#include "tcp/engine/fastopen_queue.hpp"

// The listener's side of Fast Open (S53, RFC 7413), against segments made by hand.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

void serve_fast(host_options& options) {
  options.policy.fastopen = fastopen_flag::client | fastopen_flag::server;
}

constexpr listener_policy queue_of(std::uint32_t places) {
  listener_policy policy;
  policy.fastopen_queue = places;
  return policy;
}

/// The cookie that the host gives to whoever asks, learned by asking.
std::string ask_for_cookie(raw_peer& peer) {
  peer.send_syn({mss(1460), fast_open("")});
  const std::string cookie = peer.said().front().fast_open.value_or("");
  peer.send({flags("R"), seq(1)});
  peer.forget();
  return cookie;
}

/// A request that came with its SYN and was accepted; SYN-ACK is still to be acknowledged.
std::string open_fast(raw_peer& peer, const listener_policy& policy = queue_of(5)) {
  peer.listen(policy);
  const std::string cookie = ask_for_cookie(peer);
  peer.send_syn({mss(1460), fast_open(cookie), text("GET")});
  peer.peer_next += 3;
  return cookie;
}

secret_key key_number(std::uint64_t number) {
  return {number, ~number};
}

}  // namespace

TEST_CASE("S53 Fast Open: a cookie is SipHash-2-4 of both addresses, as Linux makes it") {
  // The reference vector of SipHash-2-4 for the eight bytes 0 to 7.
  const secret_key key{0x0706050403020100, 0x0f0e0d0c0b0a0908};
  const auto cookie =
      detail::make_fastopen_cookie(key, net::address::v4(0, 1, 2, 3), net::address::v4(4, 5, 6, 7));
  const std::array<unsigned, 8> expected = {0x62, 0x24, 0x93, 0x9a, 0x79, 0xf5, 0xf5, 0x93};
  for (std::size_t i = 0; i < cookie.size(); ++i) {
    CHECK(std::to_integer<unsigned>(cookie[i]) == expected[i]);
  }
}

TEST_CASE("S53 S113 TCPFastOpenCookieReqd: who asks gets a cookie, by an ordinary handshake") {
  raw_peer peer(serve_fast);
  peer.listen(queue_of(5));
  SUBCASE("without text") {
    peer.send_syn({mss(1460), fast_open("")});
  }
  SUBCASE("text is not taken without a cookie") {
    peer.send_syn({mss(1460), fast_open(""), text("GET")});
  }
  REQUIRE(peer.said().size() == 1);
  CHECK(peer.said().front().fast_open.value_or("").size() == 8);
  peer.expect({flags("SA"), ack(1), mss(1460)});
  CHECK(peer.engine().memory().half_open == 1);
  // TcpExtTCPFastOpenCookieReqd
  CHECK(peer.count().fastopen_cookie_reqd == 1);
  CHECK(peer.count().fastopen_passive == 0);
  // One that is sent again has none, as in Linux.
  peer.run_for(1s);
  peer.expect({flags("SA"), no_fast_open()});
  peer.send({});
  peer.accept();
  CHECK_FALSE(peer.look().syn_data_acked);
}

TEST_CASE("S53 S113 TCPFastOpenPassive: text of a SYN with the cookie is there at once") {
  raw_peer peer(serve_fast);
  open_fast(peer);
  peer.expect({flags("SA"), seq(0), ack(4), mss(1460), no_fast_open()});
  CHECK(peer.current() == state::syn_received);
  CHECK(peer.engine().memory().half_open == 0);
  peer.accept();
  CHECK((peer.engine().readiness(peer.socket) & (events::readable | events::writable)) ==
        (events::readable | events::writable));
  CHECK(peer.read() == "GET");
  CHECK(peer.read_error() == error::would_block);
  CHECK(peer.write("200") == 3);
  peer.expect({flags("PA"), seq(1), ack(4), text("200")});
  CHECK(peer.count().fastopen_passive == 1);
  CHECK(peer.count().curr_estab == 0);
  CHECK(peer.look().syn_data_acked);
  CHECK(peer.engine().listener(peer.listener).value.fastopen_queue == 1);

  peer.send({});
  CHECK(peer.current() == state::established);
  CHECK(peer.count().curr_estab == 1);
  CHECK(peer.look().unacked_bytes == 0);
  CHECK(peer.engine().listener(peer.listener).value.fastopen_queue == 0);
  peer.send({text("more")});
  CHECK(peer.read() == "more");
}

TEST_CASE("S53 Fast Open: the third segment brings the timestamp that is echoed next") {
  raw_peer peer(serve_fast);
  peer.listen(queue_of(5));
  const std::string cookie = ask_for_cookie(peer);
  peer.send_syn({mss(1460), fast_open(cookie), stamp(100)});
  peer.expect({flags("SA"), echo(100)});
  peer.accept();
  SUBCASE("when what it acknowledges was sent") {
    peer.send({stamp(107)});
    CHECK(peer.current() == state::established);
    peer.write("hello");
    peer.expect({text("hello"), echo(107)});
  }
  SUBCASE("and not when it was not") {
    peer.send({ack(700), stamp(107)});
    peer.expect({flags("R")});
    peer.write("hello");
    peer.expect({text("hello"), echo(100)});
  }
}

TEST_CASE("S53 Fast Open: the third segment may have text, FIN, and a window that is scaled") {
  raw_peer peer(serve_fast);
  peer.listen(queue_of(5));
  const std::string cookie = ask_for_cookie(peer);
  peer.send_syn({mss(1460), scale(7), fast_open(cookie), text("GET"), window(1000)});
  peer.peer_next += 3;
  peer.expect({flags("SA"), ack(4), scale(10)});
  peer.accept();
  CHECK(peer.look().snd_wnd_bytes == 1000);
  peer.send({flags("FA"), text(" it"), window(100)});
  CHECK(peer.look().snd_wnd_bytes == 12'800);
  CHECK(peer.look().state == state::close_wait);
  CHECK(peer.read() == "GET it");
  peer.run_for(40ms);
  peer.expect({flags("A"), ack(8)});
}

TEST_CASE("S53 S113 TCPFastOpenPassiveFail: a wrong cookie opens nothing and draws the right one") {
  raw_peer peer(serve_fast);
  peer.listen(queue_of(5));
  const std::string cookie = ask_for_cookie(peer);
  std::string wrong = cookie;
  SUBCASE("one bit of it") {
    wrong[3] = static_cast<char>(wrong[3] ^ 1);
  }
  SUBCASE("another length") {
    wrong += "12";
  }
  peer.send_syn({mss(1460), fast_open(wrong), text("GET")});
  peer.expect({flags("SA"), ack(1), fast_open(cookie)});
  // TcpExtTCPFastOpenPassiveFail
  CHECK(peer.count().fastopen_passive_fail == 1);
  CHECK(peer.count().fastopen_passive == 0);
  CHECK(peer.engine().memory().connections == 0);
}

TEST_CASE("S53 Fast Open: off unless the host, and the listener, take part") {
  const auto takes_part = [](std::uint32_t bits, std::uint32_t queue, std::string_view cookie) {
    CAPTURE(bits);
    CAPTURE(queue);
    raw_peer peer([&](host_options& options) { options.policy.fastopen = bits; });
    peer.listen(queue_of(queue));
    peer.send_syn({mss(1460), fast_open(cookie), text("GET")});
    return peer.count().fastopen_passive == 1 || peer.said().front().fast_open.has_value();
  };
  constexpr std::uint32_t server = fastopen_flag::server;
  CHECK_FALSE(takes_part(fastopen_flag::client, 5, ""));
  CHECK_FALSE(takes_part(server, 0, ""));
  CHECK(takes_part(server, 1, ""));
  CHECK(takes_part(server | fastopen_flag::server_all, 0, ""));
  CHECK_FALSE(takes_part(fastopen_flag::server_all, 5, ""));
  CHECK(takes_part(server | fastopen_flag::server_no_cookie, 1, "12345678"));
  CHECK_FALSE(takes_part(server | fastopen_flag::server_no_cookie, 0, "12345678"));
}

TEST_CASE("S53 Fast Open: without a cookie where the policy says so, with the option or without") {
  raw_peer peer([](host_options& options) {
    options.policy.fastopen = fastopen_flag::server | fastopen_flag::server_no_cookie;
  });
  peer.listen(queue_of(5));
  SUBCASE("no option") {
    peer.send_syn({mss(1460), text("GET")});
  }
  SUBCASE("a request for a cookie") {
    peer.send_syn({mss(1460), fast_open(""), text("GET")});
  }
  peer.expect({flags("SA"), ack(4), no_fast_open()});
  peer.accept();
  CHECK(peer.read() == "GET");
}

TEST_CASE("S53 Fast Open: a SYN with a cookie and no text begins the connection too") {
  raw_peer peer(serve_fast);
  peer.listen(queue_of(5));
  const std::string cookie = ask_for_cookie(peer);
  peer.send_syn({mss(1460), fast_open(cookie)});
  peer.expect({flags("SA"), ack(1)});
  peer.accept();
  CHECK_FALSE(peer.look().syn_data_acked);
  peer.write("220 hello");
  peer.expect({flags("PA"), seq(1), text("220 hello")});
}

TEST_CASE("S53 Fast Open: the cookie is for one address") {
  raw_peer peer(serve_fast);
  peer.listen(queue_of(5));
  const std::string cookie = ask_for_cookie(peer);
  const detail::key_ring keys(keys_from(42).fastopen);
  const auto match = [&](const net::address& from, const net::address& to) {
    return check_fastopen_cookie(keys, bytes_of(cookie), from, to);
  };
  CHECK(match(raw_peer::peer_address(), raw_peer::host_address()) ==
        detail::fastopen_match::current);
  CHECK(match(test_address(10, 0, 0, 3), raw_peer::host_address()) == detail::fastopen_match::none);
  CHECK(match(raw_peer::peer_address(), test_address(10, 0, 0, 3)) == detail::fastopen_match::none);
}

TEST_CASE("S53 S113 TCPFastOpenPassiveAltKey: a cookie of the key before is good, and replaced") {
  raw_peer peer(serve_fast);
  peer.listen(queue_of(5));
  const std::string old = ask_for_cookie(peer);
  peer.engine().rotate_fastopen_key(key_number(1));
  peer.send_syn({mss(1460), fast_open(old), text("GET")});
  const std::string fresh = peer.said().front().fast_open.value_or("");
  peer.expect({flags("SA"), ack(4)});
  CHECK(fresh.size() == 8);
  CHECK(fresh != old);
  // TcpExtTCPFastOpenPassiveAltKey
  CHECK(peer.count().fastopen_passive_alt_key == 1);
  CHECK(peer.count().fastopen_passive == 1);
  // Only the first SYN-ACK has it.
  peer.run_for(1s);
  peer.expect({flags("SA"), ack(4), no_fast_open()});
  peer.peer_next += 3;
  peer.send({});
  peer.accept();

  peer.engine().rotate_fastopen_key(key_number(2));
  peer.peer_port = 40001;
  peer.send_syn({mss(1460), fast_open(old), text("GET")});
  CHECK(peer.count().fastopen_passive == 1);
  CHECK(peer.count().fastopen_passive_fail == 1);
}

TEST_CASE("S53 Fast Open: machines with the same keys take each other's cookies") {
  raw_peer one(serve_fast);
  one.engine().set_fastopen_keys(key_number(1), key_number(2));
  one.listen(queue_of(5));
  const std::string cookie = ask_for_cookie(one);
  for (const bool is_current : {true, false}) {
    raw_peer other(serve_fast);
    if (is_current) {
      other.engine().set_fastopen_keys(key_number(1), key_number(3));
    } else {
      other.engine().set_fastopen_keys(key_number(3), key_number(1));
    }
    other.listen(queue_of(5));
    other.send_syn({mss(1460), fast_open(cookie), text("GET")});
    other.expect({flags("SA"), ack(4)});
  }
}

TEST_CASE(
    "S53 S113 TCPFastOpenListenOverflow: the queue bounds who has not finished the handshake") {
  raw_peer peer(serve_fast);
  const std::string cookie = open_fast(peer, queue_of(2));
  const auto open_another = [&](std::uint16_t port) {
    peer.peer_port = port;
    peer.forget();
    peer.send_syn({mss(1460), fast_open(cookie), text("GET")});
    return peer.said().front().tcp.ack == peer.peer_iss + 4;
  };
  CHECK(open_another(40001));
  CHECK_FALSE(open_another(40002));
  // TcpExtTCPFastOpenListenOverflow
  CHECK(peer.count().fastopen_listen_overflow == 1);
  const listener_snapshot seen = peer.engine().listener(peer.listener).value;
  CHECK(seen.fastopen_queue == 2);
  CHECK(seen.fastopen_limit == 2);
  CHECK(seen.accept_queue == 2);
  // `accept` makes no room, the third segment does.
  peer.accept();
  CHECK_FALSE(open_another(40003));
  peer.peer_port = 40000;
  peer.host_iss = peer.host_next = 0;
  peer.send({flags("S"), seq(0)});
  peer.peer_next = peer.peer_iss + 4;
  peer.send({});
  CHECK(open_another(40004));
}

TEST_CASE("S53 Fast Open: who is reset before the third segment takes his place for a minute") {
  raw_peer peer(serve_fast);
  const std::string cookie = open_fast(peer, queue_of(1));
  peer.accept();
  peer.send({flags("R")});
  CHECK(peer.look().ended == end_reason::reset);
  CHECK(peer.count().attempt_fails == 2);
  CHECK(peer.write_error() == error::connection_reset);
  CHECK(peer.read() == "GET");
  const auto opens = [&] {
    peer.forget();
    ++peer.peer_port;
    peer.send_syn({mss(1460), fast_open(cookie), text("GET")});
    return peer.said().front().tcp.ack == peer.peer_iss + 4;
  };
  CHECK_FALSE(opens());
  peer.run_for(59s);
  CHECK_FALSE(opens());
  peer.run_for(2s);
  CHECK(opens());
}

TEST_CASE("S53 Fast Open: resets are forgotten one by one, after a minute each") {
  detail::fastopen_queue queue;
  std::uint64_t now = 5000;
  for (int i = 0; i < 30; ++i) {
    queue.enter();
    queue.leave(true, now);
    ++now;
  }
  queue.enter();
  CHECK(queue.size(now) == 31);
  CHECK(queue.size(5060) == 31);
  CHECK(queue.size(5061) == 30);
  CHECK(queue.size(5070) == 21);
  queue.leave(false, 5070);
  CHECK(queue.size(5070) == 20);
  CHECK(queue.size(1'000'000) == 0);
}

TEST_CASE("S53 Fast Open: SYN-ACK is sent again once more often than for a half-open entry") {
  raw_peer peer(serve_fast);
  peer.listen(queue_of(5));
  const std::string cookie = ask_for_cookie(peer);
  peer.mark();
  peer.send_syn({mss(1460), fast_open(cookie), text("GET")});
  peer.accept();
  CHECK(peer.run_until_over(300s) == 127s);
  CHECK(peer.times() == std::vector<std::int64_t>{0, 1000, 3000, 7000, 15000, 31000, 63000});
  CHECK(peer.look().ended == end_reason::timed_out);
  CHECK(peer.write_error() == error::timed_out);
  CHECK(peer.read() == "GET");
}

TEST_CASE("S53 Fast Open: a repeated SYN gets SYN-ACK again, with the text acknowledged") {
  raw_peer peer(serve_fast);
  const std::string cookie = open_fast(peer);
  peer.forget();
  SUBCASE("as it was") {
    peer.send_syn({mss(1460), fast_open(cookie), text("GET")});
  }
  SUBCASE("plain") {
    peer.send_syn({mss(1460)});
  }
  peer.expect({flags("SA"), seq(0), ack(4)});
  CHECK(peer.count().fastopen_passive == 1);
  peer.accept();
  CHECK(peer.read() == "GET");
}

TEST_CASE("S53 Fast Open: a wrong acknowledgement draws RST and ends nothing") {
  raw_peer peer(serve_fast);
  open_fast(peer);
  peer.accept();
  peer.forget();
  for (const std::uint32_t wrong : {0U, 2U, 1'000U}) {
    peer.send({ack(wrong)});
    peer.expect({flags("R"), seq(wrong)});
  }
  CHECK(peer.current() == state::syn_received);
  peer.send({ack(1)});
  CHECK(peer.current() == state::established);
}

TEST_CASE("S53 Fast Open: text that followed a lost SYN-ACK is sent again after the handshake") {
  raw_peer peer(serve_fast);
  open_fast(peer);
  peer.accept();
  peer.forget();
  peer.write("200");
  peer.expect({seq(1), text("200")});
  // The timer is that of SYN-ACK.
  peer.run_for(1s);
  peer.expect({flags("SA"), seq(0), ack(4)});
  peer.expect_nothing();
  peer.send({ack(1)});
  peer.expect({seq(1), text("200")});
  peer.send({});
  CHECK(peer.look().unacked_bytes == 0);
}

TEST_CASE("S53 Fast Open: answer and FIN need not wait for the third segment") {
  raw_peer peer(serve_fast);
  open_fast(peer);
  peer.accept();
  peer.forget();
  CHECK(peer.read() == "GET");
  peer.write("200");
  peer.close();
  peer.expect({seq(1), text("200")});
  peer.expect({flags("FA"), seq(4), ack(4)});
  CHECK(peer.current() == state::syn_received);
  SUBCASE("it acknowledges all of it") {
    peer.send({});
    CHECK(peer.current() == state::fin_wait_2);
  }
  SUBCASE("it acknowledges the SYN alone first") {
    peer.send({ack(1)});
    CHECK(peer.current() == state::fin_wait_1);
  }
  SUBCASE("SYN-ACK was lost, and all of it is sent again") {
    peer.run_for(1s);
    peer.expect({flags("SA"), ack(4)});
    peer.send({ack(1)});
    peer.expect({flags("FA"), seq(1), text("200")});
  }
  peer.send({flags("FA"), ack(5)});
  CHECK(peer.current() == state::time_wait);
}

TEST_CASE("S53 Fast Open: the listener closes: who waits is reset, who is accepted goes on") {
  raw_peer peer(serve_fast);
  open_fast(peer);
  peer.forget();
  SUBCASE("not accepted") {
    CHECK(peer.engine().close_listener(peer.listener, peer.now()) == error::none);
    peer.flush();
    peer.expect({flags("RA")});
    CHECK(peer.engine().memory().connections == 0);
  }
  SUBCASE("accepted") {
    peer.accept();
    CHECK(peer.engine().close_listener(peer.listener, peer.now()) == error::none);
    // Its place is not given to another listener as long as the child counts in it.
    const auto next = peer.engine().listen({{}, 81}, {}, 9);
    CHECK(next.value.index != peer.listener.index);
    peer.run_for(1s);
    peer.expect({flags("SA"), ack(4)});
    peer.send({});
    CHECK(peer.read() == "GET");
    CHECK(peer.current() == state::established);
    const auto reused = peer.engine().listen({{}, 82}, {}, 9);
    CHECK(reused.value.index == peer.listener.index);
    peer.engine().close_listener(next.value, peer.now());
    peer.engine().close_listener(reused.value, peer.now());
  }
}

TEST_CASE("S53 Fast Open: while SYN cookies answer there is none, and a full accept queue drops") {
  raw_peer peer(serve_fast);
  listener_policy policy = queue_of(5);
  SUBCASE("cookies") {
    policy.syncookies = syncookies::always;
    peer.listen(policy);
    peer.send_syn({mss(1460), fast_open(""), text("GET")});
    peer.expect({flags("SA"), ack(1), no_fast_open()});
    CHECK(peer.engine().memory().connections == 0);
  }
  SUBCASE("a full accept queue") {
    policy.backlog = 0;
    const std::string cookie = open_fast(peer, policy);
    peer.forget();
    peer.peer_port = 40001;
    peer.send_syn({mss(1460), fast_open(cookie), text("GET")});
    peer.expect_nothing();
    CHECK(peer.count().listen_overflows == 1);
  }
}

TEST_CASE("S53 Fast Open: a SYN that reopens TIME-WAIT may bring text") {
  raw_peer peer(serve_fast);
  peer.listen(queue_of(5));
  const std::string cookie = ask_for_cookie(peer);
  peer.send_syn();
  peer.send({});
  peer.accept();
  peer.close();
  peer.send({});
  peer.send({flags("FA")});
  CHECK(peer.current() == state::time_wait);
  peer.forget();
  peer.engine().release(peer.socket, peer.now());
  peer.peer_iss += 100'000;
  peer.send_syn({mss(1460), fast_open(cookie), text("again")});
  peer.expect({flags("SA"), ack(6)});
  peer.accept();
  CHECK(peer.read() == "again");
}
