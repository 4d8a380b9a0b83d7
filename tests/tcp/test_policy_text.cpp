#include <doctest/doctest.h>

#include <set>

#include "runnel/tcp/engine/policy_text.hpp"

// Every field by name, and by Linux's names.

using namespace runnel::tcp;
using namespace std::chrono_literals;

namespace {

using text = std::optional<std::string>;

/// A value and its text by one name, each made from the other.
struct spelled {
  const char* name;
  const char* value;
};

template <class Policy>
void check_round_trip(Policy policy, std::initializer_list<spelled> all) {
  for (const spelled& each : all) {
    CAPTURE(each.name);
    CHECK(set(policy, each.name, each.value) == "");
    CHECK(get(policy, each.name) == text(each.value));
    CHECK(check(policy) == "");
  }
}

std::string complaint(std::string_view name, std::string_view value) {
  policy_set all;
  const std::string out = set(all, name, value);
  CHECK(all == policy_set());
  return out;
}

}  // namespace

TEST_CASE("tcp policy: every sysctl reads back what it was set to, in Linux's unit") {
  check_round_trip(policy_set(), {
                                     {"net.core.somaxconn", "128"},
                                     {"net.ipv4.tcp_max_syn_backlog", "128"},
                                     {"net.ipv4.tcp_syn_retries", "3"},
                                     {"net.ipv4.tcp_syn_linear_timeouts", "0"},
                                     {"net.ipv4.tcp_synack_retries", "2"},
                                     {"net.ipv4.tcp_syncookies", "2"},
                                     {"net.ipv4.tcp_abort_on_overflow", "1"},
                                     {"net.ipv4.tcp_timestamps", "0"},
                                     {"net.ipv4.tcp_window_scaling", "0"},
                                     {"net.ipv4.tcp_sack", "0"},
                                     {"net.ipv4.tcp_ecn", "1"},
                                     {"net.ipv4.tcp_fastopen", "1027"},
                                     {"net.ipv4.tcp_fastopen_blackhole_timeout_sec", "3600"},
                                     {"net.ipv4.tcp_rfc1337", "1"},
                                     {"net.ipv4.tcp_max_tw_buckets", "18000"},
                                     {"net.ipv4.tcp_tw_reuse", "1"},
                                     {"net.ipv4.tcp_tw_reuse_delay", "500"},
                                     {"net.ipv4.tcp_tw_recycle", "1"},
                                     {"net.ipv4.tcp_max_orphans", "1000"},
                                     {"net.ipv4.tcp_challenge_ack_limit", "100"},
                                     {"net.ipv4.tcp_invalid_ratelimit", "100"},
                                     {"net.ipv4.ip_local_port_range", "10000 20000"},
                                     {"net.ipv4.tcp_rmem", "2304 65536 65536"},
                                     {"net.ipv4.tcp_wmem", "2048 65536 131072"},
                                     {"net.ipv4.tcp_notsent_lowat", "131072"},
                                     {"net.ipv4.tcp_recovery", "7"},
                                     {"net.ipv4.tcp_recovery", "0"},
                                     {"net.ipv4.tcp_reordering", "5"},
                                     {"net.ipv4.tcp_max_reordering", "1000"},
                                     {"net.ipv4.tcp_early_retrans", "0"},
                                     {"net.ipv4.tcp_early_retrans", "3"},
                                     {"net.ipv4.tcp_pacing_ss_ratio", "300"},
                                     {"net.ipv4.tcp_pacing_ca_ratio", "110"},
                                     {"net.ipv4.tcp_thin_linear_timeouts", "1"},
                                     {"net.ipv4.tcp_mem", "1500 2000 3000"},
                                     {"net.ipv4.ip_default_ttl", "32"},
                                     {"net.ipv4.tcp_rto_min_us", "50000"},
                                     {"net.ipv4.tcp_rto_max_ms", "60000"},
                                     {"net.ipv4.tcp_retries2", "8"},
                                     {"net.ipv4.tcp_orphan_retries", "3"},
                                     {"net.ipv4.tcp_keepalive_time", "600"},
                                     {"net.ipv4.tcp_keepalive_intvl", "10"},
                                     {"net.ipv4.tcp_keepalive_probes", "4"},
                                     {"net.ipv4.tcp_fin_timeout", "30"},
                                 });
}

TEST_CASE("tcp policy: every socket option reads back what it was set to") {
  const std::initializer_list<spelled> options = {
      {"TCP_NODELAY", "1"},
      {"TCP_CORK", "1"},
      {"TCP_MAXSEG", "536"},
      {"TCP_MAXSEG", "0"},
      {"IP_TTL", "255"},
      {"TCP_SYNCNT", "2"},
      {"SO_KEEPALIVE", "1"},
      {"TCP_KEEPIDLE", "30"},
      {"TCP_KEEPINTVL", "5"},
      {"TCP_KEEPCNT", "3"},
      {"TCP_LINGER2", "20"},
      {"TCP_LINGER2", "-1"},
      {"TCP_USER_TIMEOUT", "1500"},
      {"SO_LINGER", "off"},
      {"SO_LINGER", "0"},
      {"SO_LINGER", "5"},
      {"TCP_FASTOPEN_CONNECT", "1"},
      {"TCP_RTO_MIN_US", "50000"},
      {"TCP_RTO_MAX_MS", "60000"},
      {"TCP_NOTSENT_LOWAT", "16384"},
      {"TCP_THIN_LINEAR_TIMEOUTS", "1"},
      {"SO_MAX_PACING_RATE", "1000000"},
      {"SO_MAX_PACING_RATE", "4294967295"},
  };
  check_round_trip(connection_policy(), options);
  check_round_trip(listener_policy(), options);
  check_round_trip(listener_policy(), {{"TCP_DEFER_ACCEPT", "7"}, {"TCP_FASTOPEN", "16"}});
}

TEST_CASE("tcp policy: what is set by name is the field, and its unit is the field's") {
  policy_set all;
  CHECK(set(all, "net.ipv4.tcp_keepalive_time", "7200") == "");
  CHECK(all.connection.keepalive_time == 2h);
  CHECK(set(all, "net.ipv4.tcp_tw_reuse_delay", "1000") == "");
  CHECK(all.stack.tw_reuse_delay == 1s);
  CHECK(set(all, "net.ipv4.tcp_fastopen_blackhole_timeout_sec", "60") == "");
  CHECK(all.stack.fastopen_blackhole_timeout == 60s);
  CHECK(set(all, "net.ipv4.ip_local_port_range", "32768\t60999") == "");
  CHECK(all.stack.local_port_first == 32768);
  CHECK(all.stack.local_port_last == 60999);
  CHECK(set(all, "net.ipv4.tcp_rmem", "4096 131072 6291456") == "");
  CHECK(all.stack.rmem_min == 4096);
  CHECK(all.stack.rmem_default == 131'072);
  CHECK(all.stack.rmem_max == 6'291'456);
  CHECK(get(all, "net.ipv4.tcp_rmem") == text("4096 131072 6291456"));
  CHECK(set(all, "net.ipv4.tcp_comp_sack_delay_ns", "500000") == "");
  CHECK(all.stack.comp_sack_delay_ns == 500'000);
  CHECK(set(all, "net.ipv4.tcp_wmem", "4096 16384 4194304") == "");
  CHECK(all.stack.wmem_min == 4096);
  CHECK(all.stack.wmem_default == 16'384);
  CHECK(all.stack.wmem_max == 4'194'304);
  CHECK(set(all, "net.ipv4.tcp_mem", "1024 2048 4096") == "");
  CHECK(all.stack.memory_limit == std::size_t{4096} * 4096);
  CHECK(set(all, "net.ipv4.tcp_abort_on_overflow", "1") == "");
  CHECK(all.listener.overflow == accept_overflow::reset);

  connection_policy one;
  CHECK(set(one, "TCP_USER_TIMEOUT", "1500") == "");
  CHECK(one.user_timeout == 1500ms);
  CHECK(set(one, "TCP_LINGER2", "0") == "");
  CHECK(!one.fin_timeout);
  CHECK(set(one, "TCP_LINGER2", "-1") == "");
  CHECK(one.fin_timeout == 0s);
  CHECK(set(one, "SO_LINGER", "0") == "");
  CHECK(one.close == close_mode::abort);
  CHECK(set(one, "SO_LINGER", "5") == "");
  CHECK(one.close == close_mode::linger);
  CHECK(one.close_time == 5s);
  CHECK(set(one, "SO_LINGER", "off") == "");
  CHECK(one.close == close_mode::graceful);
}

TEST_CASE("tcp policy: tcp_orphan_retries of 0 means 8, and SO_RCVBUF is doubled, as in Linux") {
  policy_set all;
  CHECK(set(all, "net.ipv4.tcp_orphan_retries", "0") == "");
  CHECK(all.connection.orphan_retries == 8);
  connection_policy one;
  CHECK(set(one, "SO_RCVBUF", "65536") == "");
  CHECK(one.receive_buffer == 131'072);
  CHECK(get(one, "SO_RCVBUF") == text("131072"));
}

TEST_CASE("tcp policy: a listener's TCP_SYNCNT is its SYN-ACKs', a connection's its SYNs'") {
  listener_policy on;
  CHECK(set(on, "TCP_SYNCNT", "2") == "");
  CHECK(on.synack_retries == 2);
  CHECK(!on.connection.syn_retries);
  connection_policy one;
  CHECK(set(one, "TCP_SYNCNT", "2") == "");
  CHECK(one.syn_retries == 2);
}

TEST_CASE("tcp policy: fields by their own names take units and words") {
  policy_set all;
  for (const auto& [name, value] : std::initializer_list<spelled>{{"keepalive_time", "2h"},
                                                                  {"keepalive_interval", "1min"},
                                                                  {"user_timeout", "500ms"},
                                                                  {"fin_timeout", "30 s"},
                                                                  {"close_time", "250"},
                                                                  {"receive_buffer", "64k"},
                                                                  {"memory_limit", "2G"},
                                                                  {"nodelay", "on"},
                                                                  {"close", "peer_first"},
                                                                  {"fastopen", "client|server"},
                                                                  {"syncookies", "always"},
                                                                  {"overflow", "2"}}) {
    CAPTURE(name);
    CHECK(set(all, name, value) == "");
  }
  CHECK(all.connection.keepalive_time == 2h);
  CHECK(all.connection.keepalive_interval == 1min);
  CHECK(all.connection.user_timeout == 500ms);
  CHECK(all.connection.fin_timeout == 30s);
  CHECK(all.connection.close_time == 250ms);
  CHECK(all.connection.receive_buffer == 65'536);
  CHECK(all.stack.memory_limit == std::size_t{2} << 30);
  CHECK(all.connection.nodelay == true);
  CHECK(all.connection.close == close_mode::peer_first);
  CHECK(all.stack.fastopen == 3);
  CHECK(all.listener.syncookies == syncookies::always);
  CHECK(all.listener.overflow == accept_overflow::park);
  CHECK(get(all, "keepalive_time") == text("7200s"));
  CHECK(get(all, "user_timeout") == text("500ms"));
  CHECK(get(all, "fastopen") == text("client|server"));
  CHECK(get(all, "overflow") == text("park"));
  CHECK(get(all, "nodelay") == text("true"));
}

TEST_CASE("tcp policy: default takes the value of the level above") {
  policy_set all;
  CHECK(set(all, "max_tw_buckets", "5000") == "");
  CHECK(set(all, "max_tw_buckets", "default") == "");
  CHECK(all.stack == stack_policy());
  CHECK(set(all, "net.ipv4.ip_local_port_range", "1000 2000") == "");
  CHECK(set(all, "net.ipv4.ip_local_port_range", "default") == "");
  CHECK(all.stack == stack_policy());
  connection_policy one;
  CHECK(get(one, "TCP_KEEPIDLE") == text("default"));
  CHECK(set(one, "TCP_KEEPIDLE", "30") == "");
  CHECK(set(one, "TCP_KEEPIDLE", "default") == "");
  CHECK(one == connection_policy());
}

TEST_CASE("tcp policy: a value out of range is one sentence with the name and the range") {
  CHECK(complaint("net.ipv4.tcp_keepalive_time", "99999") ==
        "net.ipv4.tcp_keepalive_time must be 1 to 32767 s; it is 99999");
  CHECK(complaint("keepalive_time", "10h") == "keepalive_time must be 1ms to 32767s; it is '10h'");
  CHECK(complaint("net.ipv4.tcp_keepalive_time", "30s") ==
        "net.ipv4.tcp_keepalive_time must be 1 to 32767 s; it is '30s'");
  CHECK(complaint("nodelay", "maybe") == "nodelay must be true or false; it is 'maybe'");
  CHECK(complaint("net.ipv4.tcp_ecn", "7") ==
        "net.ipv4.tcp_ecn must be off (0), request (1) or accept (2); it is 7");
  CHECK(complaint("fastopen", "8") ==
        "fastopen must be none or a sum of client (0x1), server (0x2), client_no_cookie (0x4), "
        "server_no_cookie (0x200) or server_all (0x400); it is 8");
  CHECK(complaint("max_segment", "87") == "max_segment must be 0 or 88 to 32767 bytes; it is 87");
  CHECK(complaint("net.ipv4.ip_local_port_range", "5000 4000") ==
        "net.ipv4.ip_local_port_range must be two ports, the first and the last, 1 to 65535; it "
        "is '5000 4000'");
  CHECK(complaint("net.ipv4.tcp_rmem", "4096 131072") ==
        "net.ipv4.tcp_rmem must be three numbers that do not fall, 2304 to 1073741824 bytes; it is "
        "'4096 131072'");
  CHECK(complaint("net.ipv4.tcp_syn_retries", "") ==
        "net.ipv4.tcp_syn_retries must be 1 to 127; it is ''");
  CHECK(complaint("syn_retries", "-1") == "syn_retries must be 1 to 127; it is -1");
  CHECK(complaint("syn_retries", "99999999999999999999") ==
        "syn_retries must be 1 to 127; it is '99999999999999999999'");
  CHECK(complaint("fastopen_blackhole_timeout", "1500ms") ==
        "fastopen_blackhole_timeout must be 0s to 86400s in whole seconds; it is '1500ms'");
  connection_policy one;
  CHECK(set(one, "TCP_LINGER2", "121") == "TCP_LINGER2 must be -1 to 120 s; it is 121");
  CHECK(set(one, "SO_LINGER", "-1") == "SO_LINGER must be off or 0 to 86400 s; it is -1");
  CHECK(set(one, "TCP_KEEPCNT", "128") == "TCP_KEEPCNT must be 1 to 127; it is 128");
  CHECK(one == connection_policy());
}

TEST_CASE("tcp policy: an unknown name is an error that names the nearest one") {
  CHECK(complaint("net.ipv4.tcp_keepalive_tim", "1") ==
        "there is no policy called 'net.ipv4.tcp_keepalive_tim'; did you mean "
        "net.ipv4.tcp_keepalive_time?");
  CHECK(complaint("tcp_fin_timeout", "1") ==
        "there is no policy called 'tcp_fin_timeout'; did you mean net.ipv4.tcp_fin_timeout?");
  CHECK(complaint("keepalive_tme", "1") ==
        "there is no policy called 'keepalive_tme'; did you mean keepalive_time?");
  CHECK(complaint("net.ipv4.fib_multipath_hash_policy", "1") ==
        "there is no policy called 'net.ipv4.fib_multipath_hash_policy'");
  CHECK(complaint("net.ipv4.tcp_congestion_control", "vegas") ==
        "congestion_control must be cubic (0), reno (1) or bbr (2); it is 'vegas'");
  CHECK(complaint("", "1") == "there is no policy called ''");
  CHECK(complaint(std::string(100'000, 'x'), "1").size() < 200);
  CHECK(get(policy_set(), "nonsense") == std::nullopt);
  CHECK(get(policy_set(), "") == std::nullopt);
}

TEST_CASE("tcp policy: a name with blanks around it is an unknown one, to set and to get") {
  for (const char* name : {" somaxconn", "somaxconn ", "\tnet.core.somaxconn", "somaxconn\n"}) {
    CAPTURE(name);
    CHECK(complaint(name, "5").starts_with("there is no policy called '"));
    CHECK(get(policy_set(), name) == std::nullopt);
  }
  connection_policy one;
  CHECK(set(one, " ttl", "5") == "there is no policy called ' ttl'; did you mean ttl?");
  CHECK(one == connection_policy());
}

TEST_CASE("tcp policy: a name of another level is an error that says where it belongs") {
  CHECK(complaint("TCP_KEEPIDLE", "30") ==
        "'TCP_KEEPIDLE' is for one socket; for a whole stack it is keepalive_time or "
        "net.ipv4.tcp_keepalive_time");
  CHECK(complaint("TCP_NODELAY", "1") ==
        "'TCP_NODELAY' is for one socket; for a whole stack it is nodelay");
  connection_policy one;
  CHECK(set(one, "net.ipv4.tcp_keepalive_time", "30") ==
        "'net.ipv4.tcp_keepalive_time' holds for a whole stack; for a connection it is "
        "keepalive_time or TCP_KEEPIDLE");
  CHECK(set(one, "somaxconn", "1") == "'somaxconn' belongs to a whole stack, not to a connection");
  CHECK(set(one, "TCP_DEFER_ACCEPT", "1") ==
        "'TCP_DEFER_ACCEPT' belongs to a listener, not to a connection");
  listener_policy on;
  CHECK(set(on, "tw_reuse", "1") == "'tw_reuse' belongs to a whole stack, not to a listener");
  CHECK(set(on, "TCP_NODELAY", "1") == "");
  CHECK(on.connection.nodelay == true);
}

TEST_CASE("tcp policy: every field takes its bounds by its own name, and nothing beyond") {
  for (const policy_field& field : policy_fields()) {
    if (field.secret()) continue;
    CAPTURE(std::string(field.name));
    policy_set all;
    const bool worded = !field.words.empty();
    const std::int64_t lowest = worded ? 0 : field.lowest;
    const std::int64_t highest = worded ? field.words.back().value : field.highest;
    CHECK(set(all, field.name, std::to_string(lowest)) == "");
    CHECK(set(all, field.name, std::to_string(highest)) == "");
    const policy_set before = all;
    const std::uint64_t too_much = static_cast<std::uint64_t>(highest) * 2 + 1;
    const std::string beyond = set(all, field.name, std::to_string(too_much));
    CHECK(beyond.starts_with(std::string(field.name) + " must be "));
    CHECK(beyond.find('.') == std::string::npos);
    CHECK(set(all, field.name, "-1").starts_with(std::string(field.name) + " must be "));
    CHECK(all == before);
    const text shown = get(all, field.name);
    REQUIRE(shown.has_value());
    CHECK(set(all, field.name, *shown) == "");
    CHECK(all == before);
  }
}

TEST_CASE("tcp policy: check tells a bad value of a struct in the same words") {
  connection_policy one;
  one.keepalive_time = 0ms;
  CHECK(check(one) == "keepalive_time must be 1ms to 32767s; it is '0s'");
  listener_policy on;
  on.connection.ttl = std::uint8_t{0};
  CHECK(check(on) == "ttl must be 1 to 255; it is 0");
  on.connection.ttl.reset();
  on.overflow = static_cast<accept_overflow>(9);
  CHECK(check(on) == "overflow must be drop (0), reset (1) or park (2); it is 9");
  policy_set all;
  all.stack.local_port_first = 61'000;
  CHECK(check(all) ==
        "local_port_last must be 61000, which is local_port_first, to 65535; it is 60999");
}
