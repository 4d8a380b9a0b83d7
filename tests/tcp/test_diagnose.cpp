#include "json.hpp"
#include "raw_peer.hpp"
#include "runnel/tcp/diagnose.hpp"
#include "runnel/tcp/inspect.hpp"

// What a host's numbers mean, in words.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// One host with many connections, and a doctor.
struct patient : raw_peer {
  explicit patient(const std::function<void(host_options&)>& adjust = {}) : raw_peer(adjust) {}
  ~patient() {
    for (const socket_id each : open) engine().release(each, now());
  }

  /// A connection from this port, accepted unless it is to wait.
  void open_from(std::uint16_t port, bool accepted = true) {
    peer_port = port;
    send_syn();
    if (said().empty()) return;
    send({});
    forget();
    if (accepted) open.push_back(engine().accept(listener, port).value);
  }
  /// The next segments are of this connection, as its peer would say them.
  void talk_as(std::size_t which) {
    const snapshot row = engine().snapshot(open[which]).value;
    socket = open[which];
    peer_port = row.remote.port;
    peer_next = peer_iss + 1;
  }
  void open_many(std::uint16_t count) {
    for (std::uint16_t i = 0; i < count; ++i) {
      open_from(static_cast<std::uint16_t>(1000 + i));
      numbers.push_back(host_iss + 1);
    }
  }
  /// `send` for each of them, with everything acknowledged that the handshake said.
  void send_all(std::initializer_list<field> fields) {
    for (std::size_t i = 0; i < open.size(); ++i) {
      talk_as(i);
      host_next = numbers[i];
      host_iss = numbers[i] - 1;
      send(fields);
    }
    forget();
  }
  void syn_from(const net::address& source, std::uint16_t port) {
    wire::tcp_header tcp;
    tcp.seq = 5;
    tcp.flags = wire::tcp_flag::syn;
    tcp.window = 1000;
    engine().on_packet(make_packet(pool, {source, port}, {host_address(), host_port}, tcp), now());
    flush();
    forget();
  }
  void connect_to(const net::address& target, std::uint16_t port = 9) {
    const auto made = engine().connect({target, port}, {}, 1, now());
    REQUIRE(made);
    open.push_back(made.value);
    flush();
    forget();
  }

  std::vector<finding> examine() { return diagnose(engine(), now()); }
  bool is_well() { return examine().empty(); }
  /// The one thing that is wrong.
  finding complaint() {
    const auto all = examine();
    REQUIRE(all.size() == 1);
    return all.front();
  }

  std::vector<socket_id> open;
  std::vector<std::uint32_t> numbers;
  net::packet_pool pool{1 << 20};
};

void check_says(const finding& said, std::string_view id,
                std::initializer_list<std::string_view> parts) {
  CHECK(said.id == id);
  const std::string whole = said.what + " " + said.cure;
  CAPTURE(whole);
  for (const std::string_view part : parts) {
    CAPTURE(part);
    CHECK(whole.find(part) != std::string::npos);
  }
  CHECK(said.what.ends_with('.'));
  CHECK(said.cure.ends_with('.'));
}

net::address source(std::uint32_t number) {
  return net::address::v4(0x0a010000U + number);
}

}  // namespace

TEST_CASE("S09: a healthy host gives nothing to say, and says so") {
  patient host;
  host.listen();
  CHECK(host.is_well());
  host.open_many(20);
  host.send_all({text("hello")});
  host.run_for(60s);
  CHECK(host.is_well());
  inspect_request request;
  CHECK(parse_inspect_request("diagnose", request) == "");
  CHECK(inspect(host.engine(), request, host.now()).starts_with("Nothing to say: "));
}

TEST_CASE("S09: many CLOSE-WAIT mean that the program does not close") {
  patient host;
  host.listen();
  host.open_many(8);
  host.send_all({flags("FA")});
  host.run_for(9s);
  CHECK(host.is_well());
  host.run_for(2s);
  check_says(host.complaint(), "close-wait",
             {"8 connections have been in CLOSE-WAIT for more than 10 s", "the longest for 11 s",
              "does not close its end", "Close the stream when read gives 0"});
  SUBCASE("one that is closed is not counted") {
    host.engine().release(host.open.back(), host.now());
    host.open.pop_back();
    host.flush();
    host.forget();
    CHECK(host.is_well());
  }
  SUBCASE("as a page") {
    inspect_request request;
    CHECK(parse_inspect_request("diagnose", request) == "");
    const std::string text = inspect(host.engine(), request, host.now());
    CHECK(text.starts_with("close-wait:\n  8 connections have been in CLOSE-WAIT"));
    CHECK(text.find("\n  > Close the stream") != std::string::npos);
    CHECK(parse_inspect_request("diagnose --json", request) == "");
    const json_value json = parse_json(inspect(host.engine(), request, host.now()));
    REQUIRE(json["findings"].size() == 1);
    CHECK(json["findings"][0]["id"].text == "close-wait");
    CHECK(json["findings"][0]["what"].text == host.complaint().what);
  }
}

TEST_CASE("S37: many SYN-RECV from scattered sources are a flood") {
  patient host;
  host.listen();
  for (std::uint32_t i = 0; i < 100; ++i) host.syn_from(source(i), 4000);
  CHECK(host.is_well());
  host.run_for(1100ms);
  host.forget();
  check_says(host.complaint(), "syn-flood",
             {"100 half-open entries have waited for more than a second", "from 100 addresses",
              "forged sources", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_synack_retries"});
}

TEST_CASE("S09: many SYN-RECV from one source are that machine's doing") {
  patient host;
  host.listen();
  for (std::uint16_t port = 1; port <= 95; ++port) host.syn_from(source(7), port);
  for (std::uint32_t i = 100; i < 105; ++i) host.syn_from(source(i), 4000);
  host.run_for(1100ms);
  host.forget();
  check_says(host.complaint(), "syn-recv-one-source",
             {"100 half-open entries", "95 of them from 10.1.0.7", "Block that address"});
}

TEST_CASE("S09: many SYN-SENT to one target mean that it is dead, to many that the way is broken") {
  patient host;
  SUBCASE("one") {
    for (int i = 0; i < 8; ++i) host.connect_to(source(9));
    CHECK(host.is_well());
    host.run_for(1100ms);
    host.forget();
    check_says(host.complaint(), "dead-target",
               {"8 connections wait in SYN-SENT", "8 of them to 10.1.0.9", "is down",
                "net.ipv4.tcp_syn_retries"});
  }
  SUBCASE("many") {
    for (std::uint32_t i = 0; i < 8; ++i) host.connect_to(source(i));
    host.run_for(1100ms);
    host.forget();
    check_says(host.complaint(), "unreachable-targets", {"to 8 addresses", "this program scans"});
  }
}

TEST_CASE("S34: a full accept queue means that the program accepts too slowly") {
  patient host;
  host.listen({.backlog = 2});
  for (std::uint16_t port = 1; port <= 3; ++port) host.open_from(port, false);
  host.send_syn({from_port(4)});
  host.expect_nothing();
  check_says(
      host.complaint(), "accept-queue-full",
      {"the listener on port 80 is full: 3 connections wait where the backlog is 2",
       "1 SYN and 0 finished handshakes were dropped", "too slowly", "listener_policy::backlog",
       "net.core.somaxconn = 4096", "net.ipv4.tcp_abort_on_overflow"});
  SUBCASE("S27: what is over still shows that bursts do not fit") {
    while (const auto taken = host.engine().accept(host.listener, 1))
      host.open.push_back(taken.value);
    check_says(host.complaint(), "accept-queue-overflowed",
               {"has overflowed: up to 3 connections waited where the backlog is 2", "in bursts"});
  }
}

TEST_CASE("S33: handshakes that are parked before a full accept queue are told, too") {
  patient host([](host_options& options) { options.listener.overflow = accept_overflow::park; });
  host.listen({.backlog = 1});
  host.send_syn({from_port(7)});
  const std::uint32_t parked_iss = host.host_iss;
  host.forget();
  host.open_from(8, false);
  host.open_from(9, false);
  host.host_iss = parked_iss;
  host.host_next = parked_iss + 1;
  host.peer_next = host.peer_iss + 1;
  host.send({from_port(7)});
  host.forget();
  check_says(host.complaint(), "accept-queue-full",
             {"2 connections wait where the backlog is 1", "1 finished handshake is parked"});
}

TEST_CASE("S35: a SYN queue that overflowed is told with its own cure") {
  patient host([](host_options& options) { options.listener.syncookies = syncookies::off; });
  host.listen({.backlog = 2});
  for (std::uint32_t i = 0; i < 10; ++i) host.syn_from(source(i), 1);
  check_says(host.complaint(), "syn-queue-overflowed",
             {"held up to 3 half-open entries of 3", "7 SYNs were dropped",
              "net.ipv4.tcp_syncookies", "net.ipv4.tcp_max_syn_backlog"});
}

TEST_CASE("S94: TIME-WAIT near its limit, and over it") {
  patient host([](host_options& options) { options.policy.max_tw_buckets = 10; });
  host.listen();
  const auto one_more = [&](std::uint16_t port) {
    host.open_from(port);
    const socket_id socket = host.open.back();
    host.open.pop_back();
    CHECK(host.engine().close(socket, close_mode::graceful, host.now()) == error::none);
    host.flush();
    host.send({flags("FA")});
    host.engine().release(socket, host.now());
    host.forget();
  };
  for (std::uint16_t port = 1; port <= 7; ++port) one_more(port);
  CHECK(host.is_well());
  one_more(8);
  check_says(host.complaint(), "time-wait-near-limit",
             {"8 connections are in TIME-WAIT, where 10 may be. This side closes first.",
              "net.ipv4.tcp_max_tw_buckets", "let the peers close first"});
  for (std::uint16_t port = 9; port <= 12; ++port) one_more(port);
  check_says(host.complaint(), "time-wait-near-limit", {"2 connections went without it"});
  host.run_for(61s);
  check_says(host.complaint(), "time-wait-overflowed",
             {"0 connections are in TIME-WAIT", "2 connections went without it since the start"});
}

TEST_CASE("S88: local ports towards one place that are nearly exhausted") {
  patient host([](host_options& options) {
    options.policy.local_port_first = 2000;
    options.policy.local_port_last = 2009;
  });
  diagnosis_thresholds patient_ones;
  patient_ones.syn_sent = 1000;
  const auto all = [&] { return diagnose(host.engine(), host.now(), patient_ones); };
  for (int i = 0; i < 7; ++i) host.connect_to(source(1), 443);
  for (int i = 0; i < 7; ++i) host.connect_to(source(1), 80);
  CHECK(all().empty());
  host.connect_to(source(1), 443);
  REQUIRE(all().size() == 1);
  check_says(all().front(), "ports-nearly-exhausted",
             {"Towards 10.1.0.1:443 8 of 10 local ports are in use, 0 of them in TIME-WAIT",
              "EADDRNOTAVAIL", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_tw_reuse"});
}

TEST_CASE("S101: closed connections that a window of zero holds") {
  patient host;
  host.listen();
  host.open_many(4);
  host.send_all({window(0)});
  for (const socket_id each : host.open) {
    CHECK(host.engine().send(each, bytes_of("the big file"), host.now()));
    host.engine().release(each, host.now());
  }
  host.open.clear();
  host.flush();
  host.forget();
  check_says(host.complaint(), "zero-window-orphans",
             {"4 connections that the program has closed are kept from sending",
              "connection_policy::orphan_window_timeout", "361 s", "net.ipv4.tcp_max_orphans"});
}

TEST_CASE("S101: open connections that a window of zero holds") {
  patient host;
  host.listen();
  host.open_many(16);
  host.send_all({window(0)});
  for (const socket_id each : host.open) {
    CHECK(host.engine().send(each, bytes_of("the big file"), host.now()));
  }
  host.flush();
  host.forget();
  check_says(
      host.complaint(), "zero-window",
      {"16 connections are kept from sending", "these peers do not read", "TCP_USER_TIMEOUT"});
}

TEST_CASE("S117: text that nobody answers means vanished peers or a broken network") {
  patient host;
  host.listen();
  host.open_many(4);
  for (const socket_id each : host.open) {
    CHECK(host.engine().send(each, bytes_of("answer"), host.now()));
  }
  host.run_for(1300ms);
  CHECK(host.is_well());
  host.run_for(3s);
  host.forget();
  check_says(host.complaint(), "unanswered",
             {"On 4 connections text or FIN was sent again 3 times or more", "towards 1 address",
              "the machine 10.0.0.1", "Check the network first", "TCP_USER_TIMEOUT",
              "net.ipv4.tcp_retries2"});
}

TEST_CASE("S107: idle connections without keepalive may be peers that vanished") {
  SUBCASE("without") {
    patient host;
    host.listen();
    host.open_many(16);
    host.run_for(7199s);
    CHECK(host.is_well());
    host.run_for(2s);
    check_says(host.complaint(), "idle-without-keepalive",
               {"On 16 connections nothing has moved for more than 2 h", "keepalive is off",
                "SO_KEEPALIVE", "net.ipv4.tcp_keepalive_time"});
    host.send_all({text("alive")});
    CHECK(host.is_well());
  }
  SUBCASE("with") {
    patient host([](host_options& options) { options.connection.keepalive = true; });
    host.listen();
    host.open_many(16);
    host.run_for(7201s);
    for (const finding& each : host.examine()) CHECK(each.id != "idle-without-keepalive");
  }
}

TEST_CASE("S09: bytes that nobody reads close the window") {
  patient host([](host_options& options) { options.connection.receive_buffer = 8192; });
  host.listen();
  host.open_many(4);
  for (std::size_t i = 0; i < host.open.size(); ++i) {
    host.talk_as(i);
    host.host_next = host.numbers[i];
    for (int sent = 0; sent < 8; ++sent) host.send({length(600)});
  }
  host.forget();
  host.run_for(9s);
  CHECK(host.is_well());
  host.run_for(2s);
  check_says(host.complaint(), "unread",
             {"On 4 connections received bytes fill the buffer", "this program does not read",
              "SO_RCVBUF"});
}

TEST_CASE("S61: half-closed connections whose peers do not close") {
  patient host;
  host.listen();
  host.open_many(16);
  for (const socket_id each : host.open) {
    CHECK(host.engine().shutdown(each, host.now()) == error::none);
  }
  host.flush();
  host.send_all({ack(2)});
  host.run_for(59s);
  CHECK(host.is_well());
  host.run_for(2s);
  check_says(host.complaint(), "half-closed",
             {"16 connections have been in FIN-WAIT-2 and silent for more than 60 s",
              "net.ipv4.tcp_fin_timeout"});
}

TEST_CASE("S100: orphans near their limit") {
  patient host([](host_options& options) { options.policy.max_orphans = 5; });
  host.listen();
  host.open_many(4);
  for (const socket_id each : host.open) host.engine().release(each, host.now());
  host.open.clear();
  host.flush();
  host.forget();
  check_says(host.complaint(), "orphans-near-limit",
             {"4 connections have been closed by the program", "where 5 may be",
              "net.ipv4.tcp_max_orphans", "net.ipv4.tcp_orphan_retries"});
}

TEST_CASE("S100: memory of queued bytes near its limit") {
  patient host([](host_options& options) {
    options.policy.memory_limit = 1 << 20;
    options.connection.send_buffer = 1 << 20;
  });
  host.listen();
  host.open_many(1);
  const std::string much(64 * 1024, 'x');
  while (host.engine().memory().buffer_bytes < (std::size_t{1} << 20) * 8 / 10) {
    const auto taken = host.engine().send(host.open[0], bytes_of(much), host.now());
    if (!taken || taken.value == 0) break;
  }
  check_says(host.complaint(), "memory-near-limit", {"of 1 MiB", "net.ipv4.tcp_mem", "SO_SNDBUF"});
  host.flush();
  host.forget();
}

TEST_CASE("S09: a diagnosis in steps says what the whole one says") {
  patient host;
  host.listen();
  for (std::uint32_t i = 0; i < 3000; ++i) host.syn_from(source(i), 4000);
  host.run_for(1100ms);
  host.forget();
  diagnosis steps(host.engine());
  std::size_t count = 1;
  while (steps.step(100, host.now())) ++count;
  CHECK(count >= 30);
  const auto all = steps.findings();
  const auto whole = host.examine();
  REQUIRE(all.size() == 1);
  REQUIRE(whole.size() == 1);
  CHECK(all[0].what == whole[0].what);
  CHECK(whole[0].what.find("from 3000 addresses") != std::string::npos);
}
