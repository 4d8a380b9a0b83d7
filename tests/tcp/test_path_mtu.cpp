#include "host_pair.hpp"
#include "router.hpp"
#include "runnel/tcp/engine/policy_text.hpp"

// The MTU of the path by ICMP errors (RFC 1191, RFC 8201 4): what is learned, by whom, for how
// long, and the MSS in both directions.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// The next segment that is to be looked at.
seen_packet next_of(raw_peer& peer) {
  REQUIRE(!peer.said().empty());
  seen_packet out = std::move(peer.said().front());
  peer.said().pop_front();
  return out;
}

/// Whether what the host sends next says that nobody may fragment it.
bool says_dont_fragment(raw_peer& peer) {
  peer.forget();
  peer.write("x");
  const bool says = next_of(peer).ip.dont_fragment;
  peer.send({});
  peer.forget();
  return says;
}

/// A path whose narrowest link carries this much, and whose router there says so or is silent.
struct narrow_path {
  narrow_path(connected_pair& on, std::uint32_t carries, bool speaks) : pair(&on) {
    pair->filter = [this, carries, speaks](const seen_packet& seen) {
      if (seen.ip.total_length <= carries || !seen.ip.dont_fragment) return true;
      ++dropped;
      if (speaks) report(seen, carries);
      return false;
    };
  }
  ~narrow_path() { pair->filter = nullptr; }
  narrow_path(const narrow_path&) = delete;
  narrow_path& operator=(const narrow_path&) = delete;

  /// What the router quotes is what it dropped: both headers as far as the number.
  void report(const seen_packet& seen, std::uint32_t carries) {
    std::array<std::byte, 28> quote{};
    wire::ip_header about = seen.ip;
    wire::emit_ip(quote, about);
    const auto put = [&](std::size_t at, std::uint32_t value, int bytes) {
      for (int i = bytes; i-- > 0; value >>= 8) {
        quote[at + static_cast<std::size_t>(i)] = static_cast<std::byte>(value & 0xff);
      }
    };
    put(20, seen.tcp.source_port, 2);
    put(22, seen.tcp.destination_port, 2);
    put(24, seen.tcp.seq, 4);
    wire::icmp_message message = too_big(carries);
    message.body = quote;
    wire::ip_header ip;
    ip.source = router;
    ip.destination = seen.ip.source;
    ip.protocol = static_cast<std::uint8_t>(wire::ip_protocol::icmp);
    ip.total_length = static_cast<std::uint32_t>(20 + wire::icmp_bytes(message));
    std::vector<std::byte> packet(ip.total_length);
    wire::emit_ip(packet, ip);
    wire::emit_icmp(std::span(packet).subspan(20), ip.source, ip.destination, message);
    reports.push_back({seen.from, std::move(packet)});
  }
  /// The reports arrive at who has sent the packets.
  void deliver() {
    for (const auto& [side, packet] : std::exchange(reports, {})) {
      (*pair)[side].on_packet(pool.copy_of(packet), pair->now());
    }
  }

  connected_pair* pair;
  net::packet_pool pool;
  std::vector<std::pair<int, std::vector<std::byte>>> reports;
  int dropped = 0;
};

/// Sends everything from the client to the server in `limit`; what has arrived.
std::string transfer(connected_pair& pair, narrow_path& path, std::string_view what,
                     duration limit) {
  std::string got;
  std::size_t given = 0;
  const time_point until = pair.now() + limit;
  while (got.size() < what.size() && pair.now() < until) {
    if (given < what.size()) given += pair.send(host_pair::client, what.substr(given));
    pair.flush();
    path.deliver();
    if (!pair.step(until)) break;
    got += pair.receive(host_pair::server);
  }
  return got;
}

}  // namespace

TEST_CASE("tcp RFC 1191: a path narrower than both links is found, and nothing longer follows") {
  for (const std::uint32_t carries : {1400U, 1006U, 600U}) {
    CAPTURE(carries);
    connected_pair pair(7);
    pair.establish();
    {
      narrow_path path(pair, carries, true);
      const std::string what = numbered_text(300'000);
      CHECK(transfer(pair, path, what, 5s) == what);
      // What had left before the first report came.
      CHECK(path.dropped <= 10);
      CHECK(path.dropped > 0);
    }
    CHECK(pair.look(0).path_mtu == carries);
    CHECK(pair.look(0).snd_mss == carries - 52);
    CHECK(pair[0].counters().timeouts == 0);
  }
}

TEST_CASE("tcp RFC 1191: FIN and what is sent again on time-outs are cut to the path, too") {
  raw_peer peer;
  peer.establish();
  peer.write(numbered_text(1460));
  peer.forget();
  complain(peer, too_big(1000), peer.host_iss + 1);
  peer.shutdown();
  peer.run_for(20s);
  CHECK(peer.said().size() > 5);
  bool fin = false;
  for (const seen_packet& each : std::exchange(peer.said(), {})) {
    CHECK(each.ip.total_length <= 1000);
    fin = fin || (each.tcp.flags & wire::tcp_flag::fin) != 0;
  }
  CHECK(fin);
}

TEST_CASE("tcp RFC 1191: a lower word while the first is being followed is followed, too") {
  raw_peer peer;
  peer.establish();
  peer.write(numbered_text(14'600));
  for (const std::uint32_t mtu : {1400U, 1200U, 900U, 600U}) {
    peer.forget();
    complain(peer, too_big(mtu), peer.host_iss + 1);
    CHECK(peer.look().snd_mss == mtu - 40);
    CHECK(!peer.said().empty());
    for (const seen_packet& each : peer.said()) CHECK(each.ip.total_length <= mtu);
  }
}

TEST_CASE("tcp RFC 2018: SACK blocks do not make packets longer than the path") {
  raw_peer peer;
  peer.establish({}, {mss(1460), sack_permitted()});
  peer.write(numbered_text(1460));
  complain(peer, too_big(1000), peer.host_iss + 1);
  peer.send({ack(1461)});
  peer.send({seq(101), text("ahead")});
  peer.forget();
  peer.write(numbered_text(3000));
  bool full = false;
  for (const seen_packet& each : peer.said()) {
    CHECK(each.ip.total_length <= 1000);
    full = full || each.length == 960;
  }
  CHECK(full);
  peer.forget();
  // A short one has room for it.
  peer.send({ack(4461)});
  peer.forget();
  peer.write("short");
  peer.expect({sack(101, 106), text("short")});
}

TEST_CASE("tcp net.ipv4.route.mtu_expires: what was learned holds so long, then more is tried") {
  raw_peer peer([](host_options& options) { options.policy.route_mtu_expires = 60s; });
  peer.establish();
  peer.write(numbered_text(1460));
  complain(peer, too_big(1000), peer.host_iss + 1);
  peer.send({ack(1461)});
  peer.forget();
  peer.run_for(59s);
  peer.write(numbered_text(1460));
  peer.expect({length(960)});
  peer.send({ack(2921)});
  peer.forget();
  peer.run_for(2s);
  peer.write(numbered_text(1460));
  peer.expect({length(1460)});
  CHECK(peer.look().path_mtu == 1500);
  CHECK(peer.look().snd_mss == 1460);
  // Still narrow.
  complain(peer, too_big(1000), peer.host_iss + 2921);
  CHECK(peer.look().snd_mss == 960);
  peer.expect({seq(2921), length(960)});
}

TEST_CASE("tcp net.ipv4.route.mtu_expires: the same word again starts its time anew") {
  raw_peer peer([](host_options& options) { options.policy.route_mtu_expires = 60s; });
  peer.establish();
  peer.write(numbered_text(1460));
  complain(peer, too_big(1000), peer.host_iss + 1);
  peer.send({ack(961)});
  for (int i = 0; i < 4; ++i) {
    peer.run_for(100ms);
    complain(peer, too_big(1000), peer.host_iss + 961);
  }
  peer.send({ack(1461)});
  peer.run_for(59s + 700ms);
  peer.write("x");
  CHECK(peer.look().path_mtu == 1000);
  peer.run_for(1s);
  peer.write("x");
  CHECK(peer.look().path_mtu == 1500);
}

TEST_CASE("tcp RFC 1191 5.2: later connections to the same address begin with what was learned") {
  raw_peer peer([](host_options& options) { options.policy.route_mtu_expires = 60s; });
  peer.establish();
  peer.write("x");
  complain(peer, too_big(900), peer.host_iss + 1);
  const socket_id first = peer.socket;
  peer.send({ack(2)});
  SUBCASE("as long as it is believed") {
    peer.run_for(30s);
    peer.peer_port = 40'001;
    peer.peer_iss = 5'000'000;
    peer.send_syn({mss(1460)});
    // What we take is not what the path carries.
    CHECK(peer.said().back().tcp.options.mss == 1460);
    peer.send({});
    peer.accept();
    CHECK(peer.look().path_mtu == 900);
    CHECK(peer.look().snd_mss == 860);
    // It ends with the first one's.
    peer.run_for(31s);
    peer.write("y");
    CHECK(peer.look().path_mtu == 1500);
    CHECK(peer.look().snd_mss == 1460);
  }
  SUBCASE("and no longer") {
    peer.run_for(61s);
    peer.peer_port = 40'001;
    peer.send_syn({mss(1460)});
    peer.send({});
    peer.accept();
    CHECK(peer.look().snd_mss == 1460);
  }
  peer.engine().release(first, peer.now());
}

TEST_CASE("tcp net.ipv4.route.min_pmtu: below it packets are as long as it and may be fragmented") {
  raw_peer peer;
  peer.establish();
  CHECK(says_dont_fragment(peer));
  peer.write("y");
  complain(peer, too_big(300), peer.host_next - 1);
  CHECK(peer.look().path_mtu == 552);
  peer.send({});
  CHECK(!says_dont_fragment(peer));
  // Fragments of two packets are not to be taken for one (RFC 6864 4.1).
  peer.write(numbered_text(1024));
  const std::uint32_t first = next_of(peer).ip.id;
  CHECK(next_of(peer).ip.id != first);
  // IP_PMTUDISC_DO: never, all the same.
  CHECK(peer.engine().set(peer.socket, "IP_MTU_DISCOVER", "2") == "");
  CHECK(says_dont_fragment(peer));
}

TEST_CASE("tcp net.ipv4.route.min_pmtu: the floor is the policy's") {
  raw_peer peer([](host_options& options) { options.policy.min_pmtu = 68; });
  peer.establish();
  peer.write("x");
  complain(peer, too_big(300), peer.host_iss + 1);
  CHECK(peer.look().path_mtu == 300);
  CHECK(peer.look().snd_mss == 260);
  peer.send({ack(2)});
  CHECK(says_dont_fragment(peer));
  // net.ipv4.tcp_min_snd_mss: an MSS of 28 is not gone down to.
  peer.write("y");
  complain(peer, too_big(68), peer.host_next - 1);
  CHECK(peer.look().snd_mss == 48);
  peer.send({});
  CHECK(!says_dont_fragment(peer));
}

TEST_CASE("tcp IP_MTU_DISCOVER: what says DF, and whose word counts") {
  struct expectation {
    mtu_discover how;
    bool df;
    std::uint32_t mss;
    bool again;
  };
  for (const auto& [how, df, mss_after, again] :
       {expectation{mtu_discover::want, true, 960, true},
        expectation{mtu_discover::always, true, 960, true},
        expectation{mtu_discover::dont, false, 960, false},
        expectation{mtu_discover::probe, true, 1460, false},
        expectation{mtu_discover::interface, false, 1460, false}}) {
    CAPTURE(static_cast<int>(how));
    raw_peer peer;
    listener_policy policy;
    policy.connection.mtu_discover = how;
    peer.establish(policy);
    peer.write(numbered_text(1460));
    CHECK(next_of(peer).ip.dont_fragment == df);
    complain(peer, too_big(1000), peer.host_iss + 1);
    CHECK(peer.look().snd_mss == mss_after);
    CHECK(peer.said().empty() != again);
  }
}

TEST_CASE("tcp IP_MTU_DISCOVER: a change holds for the next packet") {
  raw_peer peer;
  peer.establish();
  CHECK(says_dont_fragment(peer));
  CHECK(peer.engine().set(peer.socket, "IP_MTU_DISCOVER", "0") == "");
  CHECK(!says_dont_fragment(peer));
  CHECK(peer.engine().get(peer.socket, "IP_MTU_DISCOVER") == "0");
  CHECK(peer.engine().set(peer.socket, "mtu_discover", "want") == "");
  peer.write("x");
  complain(peer, too_big(1000), peer.host_next - 1);
  CHECK(peer.look().snd_mss == 960);
  peer.send({});
  // Without belief in errors, what they said is forgotten.
  CHECK(peer.engine().set(peer.socket, "mtu_discover", "probe") == "");
  CHECK(says_dont_fragment(peer));
  CHECK(peer.look().snd_mss == 1460);
}

TEST_CASE("tcp net.ipv4.ip_no_pmtu_disc: 0, 1 and 2 are want, dont and interface") {
  policy_set all = default_policy();
  CHECK(get(all, "net.ipv4.ip_no_pmtu_disc") == "0");
  CHECK(set(all, "net.ipv4.ip_no_pmtu_disc", "1") == "");
  CHECK(all.connection.mtu_discover == mtu_discover::dont);
  CHECK(get(all, "net.ipv4.ip_no_pmtu_disc") == "1");
  CHECK(set(all, "net.ipv4.ip_no_pmtu_disc", "2") == "");
  CHECK(all.connection.mtu_discover == mtu_discover::interface);
  CHECK(get(all, "net.ipv4.ip_no_pmtu_disc") == "2");
  CHECK(set(all, "net.ipv4.ip_no_pmtu_disc", "3") != "");
  CHECK(set(all, "net.ipv4.ip_no_pmtu_disc", "0") == "");
  CHECK(all.connection.mtu_discover == mtu_discover::want);
  CHECK(set(all, "mtu_discover", "always") == "");
  CHECK(get(all, "net.ipv4.ip_no_pmtu_disc") == "0");
}

TEST_CASE("tcp net.ipv4.ip_no_pmtu_disc: SYN-ACK and RST say no DF either") {
  raw_peer peer(
      [](host_options& options) { options.connection.mtu_discover = mtu_discover::dont; });
  peer.listen();
  peer.send_syn();
  CHECK(!next_of(peer).ip.dont_fragment);
  peer.send({ack(7), flags("A")});
  CHECK(!next_of(peer).ip.dont_fragment);
}

TEST_CASE("tcp MSS: the link's MTU bounds both directions, whatever the peer takes") {
  connected_pair pair(3, {}, [](int side, host_options& options) {
    options.mtu = side == host_pair::server ? 1000 : 1500;
  });
  std::uint32_t offered[2] = {};
  pair.filter = [&](const seen_packet& seen) {
    if (seen.tcp.options.mss) offered[seen.from] = *seen.tcp.options.mss;
    return true;
  };
  pair.establish();
  CHECK(offered[0] == 1460);
  CHECK(offered[1] == 960);
  CHECK(pair.look(0).snd_mss == 960 - 12);
  CHECK(pair.look(1).snd_mss == 960 - 12);
  CHECK(pair.look(0).advertised_mss == 1460);
  CHECK(pair.look(1).advertised_mss == 960);
  CHECK(pair.look(0).path_mtu == 1500);
  CHECK(pair.look(1).path_mtu == 1000);
}

TEST_CASE("tcp TCP_MAXSEG: it bounds what we offer and what we send, and 88 is its least") {
  for (const std::uint16_t most : {std::uint16_t{88}, std::uint16_t{500}, std::uint16_t{1460}}) {
    CAPTURE(most);
    raw_peer peer;
    listener_policy policy;
    policy.connection.max_segment = most;
    peer.listen(policy);
    peer.send_syn({mss(1460)});
    peer.expect({flags("SA"), mss(most)});
    peer.send({});
    peer.accept();
    peer.write(numbered_text(3000));
    peer.expect({length(most)});
  }
  connection_policy policy;
  CHECK(set(policy, "TCP_MAXSEG", "87") != "");
  CHECK(set(policy, "TCP_MAXSEG", "32768") != "");
  CHECK(set(policy, "TCP_MAXSEG", "32767") == "");
}

TEST_CASE("tcp net.ipv4.route.min_adv_mss: what is offered at least; sent is what the link takes") {
  raw_peer peer([](host_options& options) {
    options.mtu = 576;
    options.policy.min_adv_mss = 1000;
  });
  peer.listen();
  peer.send_syn({mss(1460)});
  peer.expect({flags("SA"), mss(1000)});
  peer.send({});
  peer.accept();
  CHECK(peer.look().snd_mss == 536);
  peer.write(numbered_text(2000));
  peer.expect({length(536)});
  // TCP_MAXSEG may say less.
  raw_peer other([](host_options& options) {
    options.policy.min_adv_mss = 1000;
    options.connection.max_segment = 700;
  });
  other.listen();
  other.send_syn({mss(1460)});
  other.expect({flags("SA"), mss(700)});
}

TEST_CASE("tcp net.ipv4.tcp_min_snd_mss: a peer's smaller MSS is not followed") {
  for (const auto& [least, offered, sent] :
       {std::tuple{48, 1U, 48U}, std::tuple{48, 100U, 100U}, std::tuple{536, 100U, 536U},
        std::tuple{65'535, 100U, 1460U}}) {
    CAPTURE(least);
    CAPTURE(offered);
    raw_peer peer([&, floor = least](host_options& options) {
      options.policy.min_snd_mss = static_cast<std::uint16_t>(floor);
    });
    peer.establish({}, {mss(offered)});
    CHECK(peer.look().snd_mss == sent);
  }
}

TEST_CASE("tcp RFC 7413: text with the SYN fits the path that is known") {
  raw_peer peer([](host_options& options) {
    options.policy.fastopen = fastopen_flag::client | fastopen_flag::client_no_cookie;
  });
  peer.establish();
  peer.write("x");
  complain(peer, too_big(552), peer.host_iss + 1);
  const socket_id first = peer.socket;
  peer.send({ack(2)});
  peer.forget();
  peer.host_port = 81;
  peer.connect({.fastopen_connect = true});
  peer.write(numbered_text(3000));
  const seen_packet syn = next_of(peer);
  CHECK(syn.length > 100);
  CHECK(syn.ip.total_length <= 552);
  peer.engine().release(first, peer.now());
}

TEST_CASE("tcp RFC 1191 6.3: when a longer path comes back the window lets a segment of it out") {
  raw_peer peer;
  peer.establish({}, {mss(1460), sack_permitted()});
  peer.write("short");
  complain(peer, too_big(1280), peer.host_iss + 1);
  CHECK(peer.look().snd_mss == 1240);
  // A time-out leaves a window of one segment, and so little does not make it grow.
  peer.run_for(2s);
  peer.send({});
  peer.run_for(2s);
  peer.forget();
  REQUIRE(peer.look().snd_cwnd_bytes < 1460);
  peer.run_for(601s);
  peer.forget();
  const std::string text = numbered_text(4000);
  peer.write(text);
  std::string got;
  for (int i = 0; i < 20 && got.size() < text.size(); ++i) {
    while (!peer.said().empty()) {
      const seen_packet seen = next_of(peer);
      if (seen.tcp.seq == peer.host_iss + 6 + got.size()) got += seen.text;
    }
    peer.send({ack(static_cast<std::uint32_t>(6 + got.size()))});
    peer.run_for(300ms);
  }
  CHECK(got == text);
}
