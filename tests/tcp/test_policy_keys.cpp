#include <algorithm>

#include "raw_peer.hpp"
#include "runnel/tcp/engine/policy_text.hpp"
#include "tcp/engine/secret.hpp"

// Keys by name, before a host is made and while it runs: what one key does, what two do, and that
// none of them shows.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;

namespace {

const listener_policy always{.syncookies = syncookies::always};

constexpr const char* key_a = "00000001-00000000-00000002-00000000";
constexpr const char* key_b = "00000003-00000000-00000004-00000000";
constexpr const char* key_c = "00000005-00000000-00000006-00000000";
constexpr secret_key words_a = {1, 2};
constexpr secret_key words_b = {3, 4};

constexpr const char* what_a_key_is =
    " must be 32 hexadecimal digits, in groups of 8 with '-' between them if you like, or two such "
    "keys, the current one and the one before, with ',' between them; what was given is not";

std::string joined(std::string_view a, std::string_view b) {
  return std::string(a).append(",").append(b);
}

/// A host that answers every SYN with a cookie made under a key.
struct machine {
  explicit machine(const secret_key& key = {7, 7}, std::optional<secret_key> before = {})
      : peer([&](host_options& options) {
          options.keys.cookie = key;
          options.keys.cookie_previous = before;
        }) {
    peer.listen(always);
  }

  /// Whether this one lets in whom the other one has given a cookie.
  bool accepts_from(machine& other) {
    // A port that neither has seen.
    peer.peer_port = std::max(peer.peer_port, other.peer.peer_port);
    other.peer.peer_port = ++peer.peer_port;
    other.peer.send_syn();
    peer.host_iss = other.peer.host_iss;
    peer.host_next = other.peer.host_next;
    peer.peer_next = other.peer.peer_next;
    const std::uint64_t before = peer.count().syncookies_recv;
    peer.send({});
    return peer.count().syncookies_recv == before + 1;
  }
  std::string set(std::string_view value) { return peer.engine().set("cookie_key", value); }

  raw_peer peer;
};

}  // namespace

TEST_CASE("tcp policy: a key by name is a rotation; the cookies of the one before are good") {
  for (int rotations = 0; rotations <= 2; ++rotations) {
    CAPTURE(rotations);
    machine host;
    host.peer.send_syn();
    for (int i = 0; i < rotations; ++i) CHECK(host.set(i == 0 ? key_a : key_b) == "");
    host.peer.send({});
    CHECK(host.peer.current() == (rotations < 2 ? state::established : state::closed));
  }
}

TEST_CASE("tcp policy: the current key said again changes nothing") {
  machine host;
  host.peer.send_syn();
  CHECK(host.set(key_a) == "");
  CHECK(host.set(key_a) == "");
  host.peer.engine().rotate_cookie_key(words_a);
  host.peer.send({});
  CHECK(host.peer.current() == state::established);
}

TEST_CASE("tcp policy: two keys by name: the first makes cookies, both check them") {
  machine only_a(words_a);
  machine only_b(words_b);
  machine both;
  CHECK(both.set(joined(key_a, key_b)) == "");
  CHECK(both.accepts_from(only_a));
  CHECK(both.accepts_from(only_b));
  CHECK(only_a.accepts_from(both));
  CHECK_FALSE(only_b.accepts_from(both));
  CHECK(both.set(joined(key_c, key_a)) == "");
  CHECK(both.accepts_from(only_a));
  CHECK_FALSE(both.accepts_from(only_b));
}

TEST_CASE("tcp policy: a host may start with the key before the current one") {
  machine only_b(words_b);
  machine pair(words_a, words_b);
  CHECK(pair.accepts_from(only_b));
  CHECK_FALSE(only_b.accepts_from(pair));
  CHECK(pair.set(key_c) == "");
  CHECK_FALSE(pair.accepts_from(only_b));
}

TEST_CASE("tcp policy: the key of Fast Open is set on a running host, by Linux's name too") {
  machine machine;
  host& engine = machine.peer.engine();
  machine.peer.send_syn();
  for (const char* name : {"fastopen_key", "net.ipv4.tcp_fastopen_key"}) {
    CHECK(engine.set(name, key_a) == "");
    CHECK(engine.set(name, joined(key_b, key_a)) == "");
    CHECK(engine.get("net.ipv4.tcp_fastopen_key") == "(set)");
  }
  engine.rotate_fastopen_key(words_a);
  engine.set_fastopen_keys(words_b, words_a);
  // It is not the key of SYN cookies.
  machine.peer.send({});
  CHECK(machine.peer.current() == state::established);
}

TEST_CASE("tcp policy: what is no key is refused in words that do not repeat it") {
  machine host;
  host.peer.send_syn();
  const std::string good = key_a;
  for (const std::string& wrong :
       {std::string(), std::string("?"), good.substr(1), good + "0", good + ",", "," + good,
        good + ",," + good, joined(good, good) + "," + good, joined(good, good.substr(1)),
        good + " " + good, good + ";" + good, "g" + good.substr(1), "(set)" + good}) {
    CAPTURE(wrong);
    for (const char* name : {"cookie_key", "fastopen_key", "net.ipv4.tcp_fastopen_key"}) {
      CHECK(host.peer.engine().set(name, wrong) == name + std::string(what_a_key_is));
      policy_set all;
      all.keys.cookie_key = all.keys.fastopen_key_previous = words_a;
      const policy_set before = all;
      CHECK(set(all, name, wrong) == name + std::string(what_a_key_is));
      CHECK(all == before);
    }
  }
  CHECK(host.set("default") == "cookie_key of a running host has no default; give a key");
  // None of it was a rotation.
  CHECK(host.set(key_a) == "");
  host.peer.send({});
  CHECK(host.peer.current() == state::established);
}

TEST_CASE("tcp policy: a key is a whole stack's, and a listener or a connection says so") {
  raw_peer peer;
  peer.listen();
  peer.send_syn();
  peer.send({});
  peer.accept();
  for (const std::string name : {"cookie_key", "fastopen_key", "net.ipv4.tcp_fastopen_key"}) {
    CHECK(peer.engine().set_listener(peer.listener, name, key_a) ==
          "'" + name + "' belongs to a whole stack, not to a listener");
    CHECK(peer.engine().set(peer.socket, name, key_a) ==
          "'" + name + "' belongs to a whole stack, not to a connection");
  }
}

TEST_CASE("tcp policy: one key or two in a set, which take the place of what was there") {
  for (const char* between : {",", ", ", " ,\t"}) {
    policy_set all;
    CHECK(set(all, "cookie_key", std::string(key_a) + between + key_b) == "");
    CHECK(all.keys.cookie_key == words_a);
    CHECK(all.keys.cookie_key_previous == words_b);
    CHECK(all.keys.fastopen_key == std::nullopt);
    CHECK(get(all, "cookie_key") == "(set)");
    CHECK(set(all, "net.ipv4.tcp_fastopen_key", joined(key_b, key_a)) == "");
    CHECK(all.keys.fastopen_key == words_b);
    CHECK(all.keys.fastopen_key_previous == words_a);
    CHECK(set(all, "cookie_key", key_b) == "");
    CHECK(all.keys.cookie_key == words_b);
    CHECK(all.keys.cookie_key_previous == std::nullopt);
    CHECK(set(all, "fastopen_key", "default") == "");
    CHECK(set(all, "cookie_key", "default") == "");
    CHECK(all == policy_set());
  }
}

TEST_CASE("tcp hostile keys: neither of a pair is in anything that is printed") {
  constexpr const char* current = "5ec2e71b-0c0ffee1-deadbeef-41424344";
  constexpr const char* previous = "badc0de1-feedf00d-51525354-cafebabe";
  policy_set all;
  CHECK(set(all, "fastopen_key", joined(current, previous)) == "");
  CHECK(set(all, "cookie_key", joined(previous, current)) == "");
  policy_set only_previous;
  only_previous.keys.cookie_key_previous = all.keys.cookie_key_previous;
  CHECK(get(only_previous, "cookie_key") == "(set)");
  const std::string printed = to_table(all) + to_json(all) + to_toml(all) +
                              to_table(only_previous) + to_json(only_previous) +
                              to_toml(only_previous);
  CHECK(printed.find("(set)") != std::string::npos);
  for (const std::string_view key : {current, previous}) {
    for (std::size_t at = 0; at < key.size(); at += 9) {
      CHECK(printed.find(key.substr(at, 8)) == std::string::npos);
    }
  }
  for (const auto& key : {all.keys.cookie_key, all.keys.cookie_key_previous}) {
    for (const std::uint64_t word : *key) {
      CHECK(printed.find(std::to_string(word)) == std::string::npos);
      CHECK(printed.find(std::to_string(word & UINT32_MAX)) == std::string::npos);
      CHECK(printed.find(std::to_string(word >> 32)) == std::string::npos);
    }
  }
  raw_peer peer;
  host& engine = peer.engine();
  CHECK(engine.set("cookie_key", joined(current, previous)) == "");
  CHECK(engine.get("cookie_key") == "(set)");
  CHECK(engine.policies() == default_policy());
}

TEST_CASE("tcp hostile keys: what is replaced is gone, and a key that is wiped is zero") {
  detail::key_ring ring(words_a);
  CHECK(ring.previous() == nullptr);
  ring.rotate(words_a);
  CHECK(ring.previous() == nullptr);
  ring.rotate(words_b);
  CHECK(ring.current().key == words_b);
  REQUIRE(ring.previous() != nullptr);
  CHECK(ring.previous()->key == words_a);
  // A pair replaces both, and the same key twice leaves one.
  ring.set(words_a, words_a);
  CHECK(ring.current().key == words_a);
  CHECK(ring.previous()->key == words_a);
  const detail::key_ring pair(words_a, words_b);
  CHECK(pair.current().key == words_a);
  REQUIRE(pair.previous() != nullptr);
  CHECK(pair.previous()->key == words_b);
  std::optional<secret_key> optional = words_a;
  detail::wipe(optional);
  CHECK_FALSE(optional.has_value());
}
