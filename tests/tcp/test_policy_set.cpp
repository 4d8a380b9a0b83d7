#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <string>

#include "runnel/tcp/engine/policy_text.hpp"

// Policies as a whole: presets, what they print, and what they must not.

using namespace runnel::tcp;
using namespace std::chrono_literals;

namespace {

std::set<std::string> differences(const policy_set& a, const policy_set& b) {
  std::set<std::string> out;
  for (const policy_field& field : policy_fields()) {
    if (get(a, field.name) != get(b, field.name)) out.emplace(field.name);
  }
  return out;
}

std::string value(const policy_set& of, std::string_view name) {
  return get(of, name).value_or("there is no such name");
}

}  // namespace

TEST_CASE("tcp policy: the default and linux differ in exactly these fields") {
  CHECK(differences(default_policy(), linux_policy()) == std::set<std::string>{
                                                             "max_syn_backlog",
                                                             "max_tw_buckets",
                                                             "orphan_memory",
                                                             "challenge_ack_limit_per_peer",
                                                             "reject_limit",
                                                             "reject_limit_per_peer",
                                                             "failed_cookie_limit",
                                                             "cookie_overflow",
                                                         });
  CHECK(check(default_policy()) == "");
  CHECK(check(linux_policy()) == "");
}

TEST_CASE("tcp policy: the default is what a policy that sets nothing comes to") {
  const policy_set built_in = default_policy();
  CHECK(built_in.stack == stack_policy());
  CHECK(completed(connection_policy()) == built_in.connection);
  for (const policy_field& field : policy_fields()) {
    CAPTURE(std::string(field.name));
    CHECK((value(built_in, field.name) == "default") == field.secret());
  }
}

TEST_CASE("S25: somaxconn is 4096, and max_syn_backlog is not the seeds' 128") {
  CHECK(value(default_policy(), "net.core.somaxconn") == "4096");
  CHECK(value(linux_policy(), "net.core.somaxconn") == "4096");
  // max(128, buckets / 128) with the 262,144 buckets of the measured machine.
  CHECK(value(linux_policy(), "net.ipv4.tcp_max_syn_backlog") == "2048");
  CHECK(value(default_policy(), "net.ipv4.tcp_max_syn_backlog") == "4096");
  policy_set seeds;
  CHECK(set(seeds, "net.core.somaxconn", "128") == "");
  CHECK(set(seeds, "net.ipv4.tcp_max_syn_backlog", "128") == "");
  CHECK(check(seeds) == "");
}

TEST_CASE("S90: tcp_tw_reuse is 2, loopback only, with a delay of a second") {
  for (const policy_set& each : {default_policy(), linux_policy()}) {
    CHECK(value(each, "net.ipv4.tcp_tw_reuse") == "2");
    CHECK(value(each, "tw_reuse") == "loopback");
    CHECK(value(each, "net.ipv4.tcp_tw_reuse_delay") == "1000");
  }
}

TEST_CASE("S92: tcp_tw_recycle is off and called unsafe") {
  CHECK(value(default_policy(), "net.ipv4.tcp_tw_recycle") == "0");
  CHECK(find_policy_field("tw_recycle")->meaning.find("UNSAFE") != std::string_view::npos);
}

TEST_CASE("S94: TIME-WAIT is bounded at 4 Mi, and at Linux's 131072 by the preset") {
  CHECK(value(default_policy(), "net.ipv4.tcp_max_tw_buckets") == "4194304");
  CHECK(value(linux_policy(), "net.ipv4.tcp_max_tw_buckets") == "131072");
}

TEST_CASE("tcp policy S48 S79 S104: the defaults are Linux's as measured") {
  const policy_set built_in = default_policy();
  for (const auto& [name, wanted] : std::initializer_list<std::pair<const char*, const char*>>{
           {"net.ipv4.tcp_syn_retries", "6"},
           {"net.ipv4.tcp_syn_linear_timeouts", "4"},
           {"net.ipv4.tcp_synack_retries", "5"},
           {"net.ipv4.tcp_syncookies", "1"},
           {"net.ipv4.tcp_abort_on_overflow", "0"},
           {"net.ipv4.tcp_rto_min_us", "200000"},
           {"net.ipv4.tcp_rto_max_ms", "120000"},
           {"net.ipv4.tcp_retries2", "15"},
           {"net.ipv4.tcp_orphan_retries", "8"},
           {"net.ipv4.tcp_keepalive_time", "7200"},
           {"net.ipv4.tcp_keepalive_intvl", "75"},
           {"net.ipv4.tcp_keepalive_probes", "9"},
           {"net.ipv4.tcp_fin_timeout", "60"},
           {"net.ipv4.tcp_rfc1337", "0"},
           {"net.ipv4.tcp_timestamps", "1"},
           {"net.ipv4.tcp_window_scaling", "1"},
           {"net.ipv4.tcp_sack", "1"},
           {"net.ipv4.tcp_ecn", "2"},
           {"net.ipv4.tcp_fastopen", "1"},
           {"net.ipv4.tcp_fastopen_blackhole_timeout_sec", "0"},
           {"net.ipv4.tcp_max_orphans", "131072"},
           {"net.ipv4.tcp_invalid_ratelimit", "500"},
           {"net.ipv4.ip_local_port_range", "32768 60999"},
           {"net.ipv4.ip_default_ttl", "64"},
           {"time_wait", "60s"},
           {"keepalive", "false"},
           {"nodelay", "false"},
           {"close", "graceful"}}) {
    CAPTURE(name);
    CHECK(value(built_in, name) == wanted);
    CHECK(value(linux_policy(), name) == wanted);
  }
}

TEST_CASE("tcp policy: the table aligns value, unit, Linux's names and what was changed") {
  policy_set all;
  all.connection.keepalive_time = 90s;
  all.connection.user_timeout = 1500ms;
  const std::string table = to_table(all);
  const auto line = [&](const std::string& name) {
    const std::size_t at = table.find("\n" + name + " ") + 1;
    return table.substr(at, table.find('\n', at) - at);
  };
  CHECK(line("keepalive_time") ==
        "keepalive_time              90            s      net.ipv4.tcp_keepalive_time, "
        "TCP_KEEPIDLE           no: 7200 s");
  CHECK(line("user_timeout") ==
        "user_timeout                1500          ms     TCP_USER_TIMEOUT                       "
        "             no: 0 s");
  CHECK(line("ecn") ==
        "ecn                         accept               net.ipv4.tcp_ecn                       "
        "             yes");
  for (const policy_field& field : policy_fields()) {
    CHECK(table.find("\n" + std::string(field.name) + " ") != std::string::npos);
  }
  CHECK(table.find("[stack]\n") < table.find("[listener]\n"));
  CHECK(table.find("[listener]\n") < table.find("[connection]\n"));
}

TEST_CASE("tcp policy: JSON has each field once, with its value, default and Linux's names") {
  policy_set all;
  all.connection.keepalive_time = 90s;
  const std::string json = to_json(all);
  CHECK(json.starts_with("{\"stack\":{\"somaxconn\":{\"value\":4096,"));
  CHECK(json.find("\"keepalive_time\":{\"value\":90000,\"unit\":\"ms\",\"default\":7200000,"
                  "\"changed\":true,\"linux\":[\"net.ipv4.tcp_keepalive_time\", "
                  "\"TCP_KEEPIDLE\"]}") != std::string::npos);
  CHECK(json.find("\"ecn\":{\"value\":\"accept\",") != std::string::npos);
  CHECK(std::count(json.begin(), json.end(), '{') == std::count(json.begin(), json.end(), '}'));
  for (const policy_field& field : policy_fields()) {
    CHECK(json.find("\"" + std::string(field.name) + "\":{") != std::string::npos);
  }
}

TEST_CASE("tcp hostile: keys are taken, and no printed form shows a byte of them") {
  constexpr const char* secret = "5ec2e71b-0c0ffee1-deadbeef-41424344";
  policy_set all;
  CHECK(set(all, "net.ipv4.tcp_fastopen_key", secret) == "");
  CHECK(set(all, "cookie_key", "5EC2E71B0C0FFEE1DEADBEEF41424344") == "");
  REQUIRE(all.keys.fastopen_key.has_value());
  CHECK(all.keys.fastopen_key == all.keys.cookie_key);
  CHECK((*all.keys.fastopen_key)[0] == 0x0c0ffee1'5ec2e71b);
  CHECK((*all.keys.fastopen_key)[1] == 0x41424344'deadbeef);
  const std::string printed = to_table(all) + to_json(all) + to_toml(all) +
                              value(all, "net.ipv4.tcp_fastopen_key") + value(all, "cookie_key") +
                              value(all, "fastopen_key");
  CHECK(printed.find("(set)") != std::string::npos);
  for (const char* part :
       {"5ec2e71b", "0c0ffee1", "c0ffee1", "deadbeef", "41424344", "DEADBEEF", "ABCD", "DCBA"}) {
    CAPTURE(part);
    CHECK(printed.find(part) == std::string::npos);
  }
  for (const std::uint64_t word : *all.keys.fastopen_key) {
    char bytes[8];
    std::memcpy(bytes, &word, sizeof bytes);
    for (int at = 0; at < 8; at += 4) {
      CHECK(printed.find(std::string(bytes + at, 4)) == std::string::npos);
    }
    CHECK(printed.find(std::to_string(word)) == std::string::npos);
    CHECK(printed.find(std::to_string(word & UINT32_MAX)) == std::string::npos);
    CHECK(printed.find(std::to_string(word >> 32)) == std::string::npos);
  }
  // A slip of the pen leaves most of it right.
  const std::string complaint = set(all, "fastopen_key", "5ec2e71b-0c0ffee1-deadbeef-4142434");
  CHECK(complaint.starts_with("fastopen_key must be 32 hexadecimal digits"));
  CHECK(complaint.find("5ec2") == std::string::npos);
  CHECK(set(all, "cookie_key", "default") == "");
  CHECK(value(all, "cookie_key") == "default");
}
