#include <doctest/doctest.h>

#include "host_pair.hpp"

// Policies of a running host by name: what holds at once, for whom, and what is refused.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

using text = std::optional<std::string>;

/// How long the client is in FIN-WAIT-2 when the peer, who has the bytes, does not close.
duration fin_wait_2_time(connected_pair& pair) {
  const time_point start = pair.now();
  pair.close(pair.client);
  pair.drive_for(10ms);
  CHECK(pair.client_state() == state::fin_wait_2);
  while (pair.client_state() == state::fin_wait_2 && pair.step()) {
  }
  return pair.now() - start;
}

}  // namespace

TEST_CASE("tcp policy: the stack's value reaches a connection that set nothing, at once") {
  connected_pair pair;
  pair.establish();
  host& client = pair[pair.client];
  CHECK(client.get(pair.client_socket, "TCP_KEEPIDLE") == text("7200"));
  CHECK(client.set("net.ipv4.tcp_keepalive_time", "600") == "");
  CHECK(client.get(pair.client_socket, "TCP_KEEPIDLE") == text("600"));
  CHECK(client.connection_settings(pair.client_socket).value.keepalive_time == 600s);
  CHECK(client.get("net.ipv4.tcp_keepalive_time") == text("600"));
  CHECK(client.get("keepalive_time") == text("600s"));
}

TEST_CASE("tcp policy: a connection that set its own value keeps it; default gives it back") {
  connected_pair pair;
  pair.establish();
  host& client = pair[pair.client];
  CHECK(client.set(pair.client_socket, "TCP_KEEPIDLE", "30") == "");
  CHECK(client.set("net.ipv4.tcp_keepalive_time", "600") == "");
  CHECK(client.get(pair.client_socket, "TCP_KEEPIDLE") == text("30"));
  CHECK(client.set(pair.client_socket, "TCP_KEEPIDLE", "default") == "");
  CHECK(client.get(pair.client_socket, "TCP_KEEPIDLE") == text("600"));
  CHECK(client.set("net.ipv4.tcp_keepalive_time", "default") == "");
  CHECK(client.get(pair.client_socket, "TCP_KEEPIDLE") == text("7200"));
}

TEST_CASE("tcp policy: the nearest of connection, listener and stack wins") {
  connected_pair pair;
  pair.listen();
  host& server = pair[pair.server];
  CHECK(server.set("net.ipv4.ip_default_ttl", "10") == "");
  CHECK(server.set_listener(pair.listener, "TCP_KEEPIDLE", "20") == "");
  CHECK(server.set("net.ipv4.tcp_keepalive_time", "30") == "");
  pair.connect();
  pair.drive_for(10ms);
  pair.accept();
  CHECK(server.get_listener(pair.listener, "TCP_KEEPIDLE") == text("20"));
  CHECK(server.get_listener(pair.listener, "IP_TTL") == text("10"));
  CHECK(server.get(pair.server_socket, "TCP_KEEPIDLE") == text("20"));
  CHECK(server.get(pair.server_socket, "IP_TTL") == text("10"));
  CHECK(server.set(pair.server_socket, "TCP_KEEPIDLE", "5") == "");
  CHECK(server.get(pair.server_socket, "TCP_KEEPIDLE") == text("5"));
  // What a listener says later is for those who come later.
  CHECK(server.set_listener(pair.listener, "TCP_KEEPCNT", "3") == "");
  CHECK(server.get(pair.server_socket, "TCP_KEEPCNT") == text("9"));
}

TEST_CASE("tcp policy: the hop limit on the wire follows the stack, then the connection") {
  connected_pair pair;
  pair.establish();
  host& client = pair[pair.client];
  const auto sent_ttl = [&] {
    pair.clear();
    pair.send(pair.client, "x");
    pair.drive_for(5ms);
    REQUIRE(!pair.trace.empty());
    return static_cast<int>(pair.trace.front().ip.ttl);
  };
  CHECK(sent_ttl() == 64);
  CHECK(client.set("net.ipv4.ip_default_ttl", "33") == "");
  CHECK(sent_ttl() == 33);
  CHECK(client.set(pair.client_socket, "IP_TTL", "7") == "");
  CHECK(client.set("net.ipv4.ip_default_ttl", "44") == "");
  CHECK(sent_ttl() == 7);
}

TEST_CASE("tcp policy: tcp_fin_timeout of a running stack holds for connections that exist") {
  connected_pair pair;
  pair.establish();
  CHECK(pair[pair.client].set("net.ipv4.tcp_fin_timeout", "5") == "");
  const duration waited = fin_wait_2_time(pair);
  CHECK(waited >= 5s);
  CHECK(waited < 5100ms);
}

TEST_CASE("tcp policy: a connection with TCP_LINGER2 does not follow tcp_fin_timeout") {
  connected_pair pair;
  pair.establish();
  CHECK(pair[pair.client].set(pair.client_socket, "TCP_LINGER2", "20") == "");
  CHECK(pair[pair.client].set("net.ipv4.tcp_fin_timeout", "5") == "");
  const duration waited = fin_wait_2_time(pair);
  CHECK(waited >= 20s);
  CHECK(waited < 20100ms);
}

TEST_CASE("tcp policy: tcp_keepalive_time of a running stack holds where nothing nearer is set") {
  for (const bool own : {false, true}) {
    CAPTURE(own);
    connected_pair pair;
    pair.establish();
    host& client = pair[pair.client];
    CHECK(client.set(pair.client_socket, "SO_KEEPALIVE", "1") == "");
    if (own) CHECK(client.set(pair.client_socket, "TCP_KEEPIDLE", "20") == "");
    pair.drive_for(1s);
    CHECK(client.set("net.ipv4.tcp_keepalive_time", "5") == "");
    pair.clear();
    const time_point changed = pair.now();
    pair.drive_for(30s);
    // The probe is the client's first segment; it had been idle for a second.
    REQUIRE(!pair.trace.empty());
    const duration waited = pair.trace.front().at - changed;
    CHECK(waited >= (own ? 18900ms : 3900ms));
    CHECK(waited <= (own ? 19100ms : 4100ms));
    CHECK(client.counters().keep_alive >= 1);
  }
}

TEST_CASE("tcp policy: somaxconn of a running stack bounds listeners that exist") {
  connected_pair pair;
  pair.listen();
  host& server = pair[pair.server];
  CHECK(server.listener(pair.listener).value.backlog == 4096);
  CHECK(server.set("net.core.somaxconn", "7") == "");
  CHECK(server.listener(pair.listener).value.backlog == 7);
  CHECK(server.set_listener(pair.listener, "backlog", "3") == "");
  CHECK(server.listener(pair.listener).value.backlog == 3);
  CHECK(server.set_listener(pair.listener, "backlog", "default") == "");
  CHECK(server.set("backlog", "5") == "");
  CHECK(server.listener(pair.listener).value.backlog == 5);
  pair.connect();
  pair.drive_for(10ms);
  pair.accept();
}

TEST_CASE("tcp policy: what is fixed when a connection or the host is made is refused later") {
  connected_pair pair;
  pair.establish();
  host& client = pair[pair.client];
  CHECK(client.set(pair.client_socket, "TCP_MAXSEG", "600") ==
        "max_segment is fixed when the connection is made");
  CHECK(client.set("net.ipv4.tcp_mem", "1000 2000 3000") ==
        "memory_limit is fixed when the host is made");
  CHECK(client.set("net.ipv4.tcp_rmem", "4096 65536 65536") == "");
  CHECK(pair.look(pair.client).receive_buffer == 131'072);
}

TEST_CASE("tcp policy: SO_RCVBUF of a connection holds at once, and 0 lets it grow again") {
  connected_pair pair;
  pair.establish();
  host& client = pair[pair.client];
  CHECK(client.get(pair.client_socket, "receive_buffer") == text("0"));
  CHECK(client.set(pair.client_socket, "SO_RCVBUF", "100000") == "");
  CHECK(client.get(pair.client_socket, "SO_RCVBUF") == text("200000"));
  CHECK(pair.look(pair.client).receive_buffer == 200'000);
  CHECK(client.set(pair.client_socket, "receive_buffer", "0") == "");
  CHECK(client.get(pair.client_socket, "receive_buffer") == text("0"));
  CHECK(pair.look(pair.client).receive_buffer == 200'000);
}

TEST_CASE("tcp policy: a refused value changes nothing on a running host") {
  connected_pair pair;
  pair.establish();
  host& client = pair[pair.client];
  const policy_set before = client.policies();
  CHECK(client.set("net.ipv4.tcp_syn_retries", "0") ==
        "net.ipv4.tcp_syn_retries must be 1 to 127; it is 0");
  CHECK(client.set("local_port_first", "61000") ==
        "local_port_last must be 61000, which is local_port_first, to 65535; it is 60999");
  CHECK(client.set("nonsense", "1") == "there is no policy called 'nonsense'");
  CHECK(client.set(pair.client_socket, "TCP_KEEPCNT", "0") ==
        "TCP_KEEPCNT must be 1 to 127; it is 0");
  policy_set bad = before;
  bad.connection.ttl = std::uint8_t{0};
  bad.stack.rfc1337 = true;
  CHECK(client.set_policies(bad) == error::invalid_argument);
  CHECK(client.policies() == before);
}

TEST_CASE("tcp policy: a name with blanks around it is refused by a running host as unknown") {
  connected_pair pair;
  pair.establish();
  host& client = pair[pair.client];
  CHECK(client.set(" somaxconn", "5") ==
        "there is no policy called ' somaxconn'; did you mean somaxconn?");
  CHECK(client.set(pair.client_socket, "ttl ", "5") ==
        "there is no policy called 'ttl '; did you mean ttl?");
  CHECK(client.set(pair.client_socket, " TCP_QUICKACK", "1") != "");
  CHECK(pair[pair.server].set_listener(pair.listener, "\tbacklog", "5") != "");
  CHECK(client.get(" somaxconn") == std::nullopt);
  CHECK(client.policies() == default_policy());
}

TEST_CASE("tcp policy: what a connection was made with is read back, whatever is set since then") {
  connected_pair pair;
  connect_options options;
  options.policy.max_segment = std::uint16_t{600};
  options.policy.fastopen_connect = true;
  pair.establish(options);
  host& client = pair[pair.client];
  host& server = pair[pair.server];
  const auto read = [](host& of, socket_id id) {
    return *of.get(id, "TCP_MAXSEG") + " " + *of.get(id, "fastopen_connect");
  };
  CHECK(read(client, pair.client_socket) == "600 true");
  CHECK(read(server, pair.server_socket) == "0 false");
  CHECK(server.set("max_segment", "700") == "");
  CHECK(server.set("fastopen_connect", "true") == "");
  CHECK(read(server, pair.server_socket) == "0 false");
  CHECK(client.set_policy(pair.client_socket, {.max_segment = std::uint16_t{500}}) == error::none);
  CHECK(read(client, pair.client_socket) == "600 true");
  CHECK(client.set_policy(pair.client_socket, {}) == error::none);
  CHECK(read(client, pair.client_socket) == "600 true");
}

TEST_CASE("tcp policy: TCP_QUICKACK by name acknowledges at once what is owed") {
  connected_pair pair;
  pair.establish();
  host& server = pair[pair.server];
  // Until delayed acknowledgements begin.
  CHECK(server.set(pair.server_socket, "TCP_QUICKACK", "0") == "");
  pair.send(pair.client, "x");
  pair.drive_for(5ms);
  pair.clear();
  CHECK(server.set(pair.server_socket, "TCP_QUICKACK", "1") == "");
  pair.flush();
  const bool at_once = !pair.trace.empty();
  pair.drive_for(100ms);
  CHECK(at_once);
  CHECK(server.set(pair.server_socket, "TCP_QUICKACK", "2") ==
        "TCP_QUICKACK must be 0 or 1; it is 2");
  CHECK(server.get(pair.server_socket, "TCP_QUICKACK") == std::nullopt);
}

TEST_CASE("tcp policy: a socket that is gone is named in the answer") {
  connected_pair pair;
  pair.establish();
  CHECK(pair[pair.client].set(socket_id(), "TCP_NODELAY", "1") ==
        "there is no such connection any more");
  CHECK(pair[pair.server].set_listener(socket_id(), "backlog", "1") ==
        "there is no such listener any more");
  CHECK(pair[pair.client].get(socket_id(), "TCP_NODELAY") == std::nullopt);
  CHECK(pair[pair.server].get_listener(socket_id(), "backlog") == std::nullopt);
}

TEST_CASE("tcp policy: a whole set is taken over and read back") {
  connected_pair pair;
  pair.establish();
  host& client = pair[pair.client];
  CHECK(client.policies() == default_policy());
  const std::size_t memory = client.policy().memory_limit;
  policy_set fresh = linux_policy();
  fresh.stack.memory_limit = memory * 2;
  CHECK(client.set_policies(fresh) == error::none);
  fresh.stack.memory_limit = memory;
  CHECK(client.policies() == fresh);
}

TEST_CASE("tcp policy: TCP_CONGESTION changes with a connection's next flight, back and forth") {
  connected_pair pair;
  pair.establish();
  host& client = pair[pair.client];
  CHECK(client.set(pair.client_socket, "send_buffer", "1M") == "");
  const std::string all = numbered_text(200'000);
  for (const char* name : {"bbr", "reno", "bbr", "cubic"}) {
    CHECK(client.set(pair.client_socket, "TCP_CONGESTION", name) == "");
    CHECK(client.get(pair.client_socket, "TCP_CONGESTION") == text(name));
    CHECK(pair.send(pair.client, all) == all.size());
    std::string received;
    while (received.size() < all.size()) {
      REQUIRE(pair.step());
      received += pair.receive(pair.server);
    }
    CHECK(received == all);
    pair.drive_for(1s);
    CHECK(pair.look(pair.client).unacked_bytes == 0);
  }
}
