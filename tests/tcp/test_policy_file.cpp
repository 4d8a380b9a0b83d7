#include <doctest/doctest.h>

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "runnel/tcp/engine/policy_text.hpp"
#include "runnel/tcp/policy_file.hpp"
#include "support/temporary_folder.hpp"

// Policies from TOML: what is read, and where a mistake is.

using namespace runnel::tcp;
using namespace std::chrono_literals;

namespace {

policy_set parsed(std::string_view text) {
  policy_set out;
  CHECK(parse_policy(out, text, "p.toml") == "");
  return out;
}

/// The complaint about a text, which must leave the policy as it was.
std::string complaint(std::string_view text) {
  policy_set out = linux_policy();
  const std::string what = parse_policy(out, text, "p.toml");
  CHECK(out == linux_policy());
  return what;
}

/// A path of its own for a file, gone at its end.
struct scratch_file {
  explicit scratch_file(std::string_view content) { std::ofstream(path) << content; }

  runnel::testing::temporary_folder folder;
  std::string path = folder.file("policy.toml");
};

}  // namespace

TEST_CASE("tcp policy file: fields by their own names, in the section of their level") {
  const policy_set all = parsed(R"(
[stack]
somaxconn = 128
memory_limit = "64M"
rfc1337 = true
tw_reuse = "on"
fastopen = "client|server"
tw_reuse_delay = 250
[listener]
backlog = 511
overflow = "park"
defer_accept = "3s"
[connection]
nodelay = true
keepalive_time = "2h"
user_timeout = 1500
close = "peer_first"
)");
  policy_set wanted;
  wanted.stack.somaxconn = 128;
  wanted.stack.memory_limit = std::size_t{64} << 20;
  wanted.stack.rfc1337 = true;
  wanted.stack.tw_reuse = tw_reuse::on;
  wanted.stack.fastopen = 3;
  wanted.stack.tw_reuse_delay = 250ms;
  wanted.listener.backlog = 511;
  wanted.listener.overflow = accept_overflow::park;
  wanted.listener.defer_accept = 3s;
  wanted.connection.nodelay = true;
  wanted.connection.keepalive_time = 2h;
  wanted.connection.user_timeout = 1500ms;
  wanted.connection.close = close_mode::peer_first;
  CHECK(all == wanted);
}

TEST_CASE("tcp policy file: sysctls quoted, in [linux], in parts, and two numbers as an array") {
  policy_set wanted;
  wanted.connection.syn_retries = std::uint8_t{3};
  wanted.connection.keepalive_time = 600s;
  wanted.stack.local_port_first = 10'000;
  wanted.stack.local_port_last = 20'000;
  CHECK(parsed("\"net.ipv4.tcp_syn_retries\" = 3\n"
               "[linux]\n"
               "\"net.ipv4.tcp_keepalive_time\" = 600\n"
               "\"net.ipv4.ip_local_port_range\" = [10000, 20000]\n") == wanted);
  CHECK(parsed("net.ipv4.tcp_syn_retries = \"3\"\n"
               "net.ipv4.tcp_keepalive_time = 600\n"
               "[linux.net.ipv4]\n"
               "ip_local_port_range = \"10000 20000\"\n") == wanted);
}

TEST_CASE("tcp policy file: a preset is what the rest of the file changes") {
  policy_set wanted = linux_policy();
  wanted.stack.max_tw_buckets = 5000;
  CHECK(parsed("preset = \"linux\"\n[stack]\nmax_tw_buckets = 5000\n") == wanted);
  CHECK(parsed("preset = \"default\"") == default_policy());
  CHECK(complaint("\n preset = \"bsd\"") ==
        "p.toml:2:11: preset must be \"default\" or \"linux\"; it is 'bsd'");
}

TEST_CASE("tcp policy file: a value out of range is told with file, line, column and range") {
  CHECK(complaint("[connection]\n\nkeepalive_probes = 200\n") ==
        "p.toml:3:20: keepalive_probes must be 1 to 127; it is 200");
  CHECK(complaint("[connection]\nkeepalive_time = \"10h\"\n") ==
        "p.toml:2:18: keepalive_time must be 1ms to 32767s; it is '10h'");
  CHECK(complaint("[connection]\nnodelay = 2\n") ==
        "p.toml:2:11: nodelay must be true or false; it is 2");
  CHECK(complaint("[listener]\nbacklog = true\n") ==
        "p.toml:2:11: backlog must be 0 to 4294967295; it is 'true'");
  CHECK(complaint("[listener]\nbacklog = 1.5\n") ==
        "p.toml:2:11: backlog must be 0 to 4294967295; it is '1.5'");
  CHECK(complaint("[listener]\nbacklog = [1, 2]\n") ==
        "p.toml:2:11: backlog must be 0 to 4294967295; it is '1 2'");
  CHECK(complaint("[listener]\nbacklog = 2026-01-01\n") ==
        "p.toml:2:11: backlog must be 0 to 4294967295; it is '2026-01-01'");
  CHECK(complaint("[listener]\nbacklog = {a = 1}\n").starts_with("p.toml:2:11: backlog must be"));
  CHECK(complaint("[linux]\n\"net.ipv4.tcp_keepalive_time\" = 99999\n") ==
        "p.toml:2:33: net.ipv4.tcp_keepalive_time must be 1 to 32767 s; it is 99999");
  CHECK(complaint("[stack]\nlocal_port_first = 50000\nlocal_port_last = 40000\n") ==
        "p.toml:3:1: local_port_last must be 50000, which is local_port_first, to 65535; it is "
        "40000");
}

TEST_CASE("tcp policy file: an unknown name is told with its place and the nearest one") {
  CHECK(complaint("[connection]\nkeepalive_tme = 1\n") ==
        "p.toml:2:1: there is no policy called 'keepalive_tme'; did you mean keepalive_time?");
  CHECK(complaint("[linux]\n  \"net.ipv4.tcp_fin_timeot\" = 1\n") ==
        "p.toml:2:3: there is no policy called 'net.ipv4.tcp_fin_timeot'; did you mean "
        "net.ipv4.tcp_fin_timeout?");
  CHECK(complaint("net.ipv4.tcp_fin_timeot = 1\n")
            .find("there is no policy called 'net.ipv4.tcp_fin_timeot'") != std::string::npos);
  CHECK(complaint("[conection]\nnodelay = true\n") ==
        "p.toml:1:2: there is no section [conection]; there are [stack], [listener], "
        "[connection] and [linux]");
  CHECK(complaint("stack = 1\n") == "p.toml:1:1: stack must be a section");
}

TEST_CASE("tcp policy file: a name with blanks around it is told as unknown, in every section") {
  CHECK(complaint("[stack]\n\" somaxconn\" = 5\n") ==
        "p.toml:2:1: there is no policy called ' somaxconn'; did you mean somaxconn?");
  CHECK(complaint("\"net.core.somaxconn \" = 5\n")
            .starts_with("p.toml:1:1: there is no policy called 'net.core.somaxconn '"));
  CHECK(complaint("[linux]\n\" net.core.somaxconn\" = 5\n")
            .starts_with("p.toml:2:1: there is no policy called ' net.core.somaxconn'"));
  CHECK(complaint("[connection]\n\"ttl\\t\" = 5\n").starts_with("p.toml:2:1: there is no"));
}

TEST_CASE("tcp policy file: a name in the wrong section is told where it belongs") {
  CHECK(complaint("[stack]\nkeepalive = true\n") ==
        "p.toml:2:1: keepalive belongs into [connection]");
  CHECK(complaint("backlog = 1\n") == "p.toml:1:1: backlog belongs into [listener]");
  CHECK(complaint("[connection]\nTCP_KEEPIDLE = 1\n") ==
        "p.toml:2:1: TCP_KEEPIDLE is a name of Linux; here it is keepalive_time");
  CHECK(complaint("[linux]\nTCP_KEEPIDLE = 1\n") ==
        "p.toml:2:16: 'TCP_KEEPIDLE' is for one socket; for a whole stack it is keepalive_time "
        "or net.ipv4.tcp_keepalive_time");
}

TEST_CASE("tcp policy file: a field set twice under two names is a mistake") {
  CHECK(complaint("[connection]\nkeepalive_time = \"1s\"\n[linux]\n"
                  "\"net.ipv4.tcp_keepalive_time\" = 2\n") ==
        "p.toml:4:1: keepalive_time is set already in line 2");
  CHECK(complaint("[stack]\nlocal_port_last = 40000\n[linux]\n"
                  "\"net.ipv4.ip_local_port_range\" = \"1000 2000\"\n") ==
        "p.toml:4:1: local_port_last is set already in line 2");
}

TEST_CASE("tcp policy file: what is no TOML is told with its place") {
  CHECK(complaint("[connection]\nnodelay = \n").starts_with("p.toml:2:"));
  CHECK(complaint("[connection\n").starts_with("p.toml:1:"));
  CHECK(complaint("[stack]\n[stack]\n").starts_with("p.toml:2:"));
}

TEST_CASE("tcp policy file: what is printed as TOML is read back equal") {
  for (const policy_set& each : {policy_set(), default_policy(), linux_policy()}) {
    CHECK(parsed(to_toml(each)) == each);
  }
  // Every field at both of its bounds.
  for (const bool high : {false, true}) {
    policy_set all;
    for (const policy_field& field : policy_fields()) {
      if (field.secret()) continue;
      const std::int64_t value = field.words.empty() ? (high ? field.highest : field.lowest)
                                                     : (high ? field.words.back().value : 0);
      CHECK(set(all, field.name, std::to_string(value)) == "");
    }
    CHECK(parsed(to_toml(all)) == all);
  }
}

TEST_CASE("tcp policy file: keys are read and never written") {
  const policy_set all =
      parsed("[stack]\nfastopen_key = \"5ec2e71b-0c0ffee1-deadbeef-41424344\"\n");
  REQUIRE(all.keys.fastopen_key.has_value());
  const std::string toml = to_toml(all);
  CHECK(toml.find("# fastopen_key is set and not shown") != std::string::npos);
  CHECK(toml.find("deadbeef") == std::string::npos);
  CHECK(parsed(toml) == policy_set());
  CHECK(complaint("[stack]\nfastopen_key = \"5ec2e71b-0c0ffee1-deadbeef\"\n").find("5ec2") ==
        std::string::npos);
}

TEST_CASE("tcp policy file: two keys are the current one and the one before, as in the sysctl") {
  const std::string pair =
      "\"5ec2e71b-0c0ffee1-deadbeef-41424344,00000001-00000000-00000002-00000000\"\n";
  const policy_set all =
      parsed("[stack]\ncookie_key = " + pair + "[linux]\n\"net.ipv4.tcp_fastopen_key\" = " + pair);
  CHECK(all.keys.cookie_key.has_value());
  CHECK(all.keys.cookie_key_previous == secret_key{1, 2});
  CHECK(all.keys.fastopen_key == all.keys.cookie_key);
  CHECK(all.keys.fastopen_key_previous == secret_key{1, 2});
  CHECK(to_toml(all).find("# cookie_key is set and not shown") != std::string::npos);
  CHECK(parsed(to_toml(all)) == policy_set());
}

TEST_CASE("tcp policy file: no mistake about a key repeats what was given for it") {
  for (const std::string value :
       {"5ec2e71b-0c0ffee1-deadbeef-41424344", "0x5ec2e71b0c0ffee1deadbeef41424344",
        "\"5ec2e71b-0c0ffee1-deadbeef-41424344", "'5ec2e71b', 'deadbeef'",
        "[\"5ec2e71b-0c0ffee1-deadbeef-41424344\", \"5ec2e71b-0c0ffee1-deadbeef-41424344\"]",
        "{deadbeef = 1}", "5.5ec2e71b", "0xdeadbeef", "deadbeef41424344", "1979-05-27 deadbeef",
        "\"\\deadbeef\"", "414243445152535461626364717273748182838491929394"}) {
    CAPTURE(value);
    for (const std::string name : {"cookie_key", "stack.cookie_key", "fastopen_key",
                                   "\"net.ipv4.tcp_fastopen_key\"", "\"cookie_key\""}) {
      const std::string what = complaint(name + " = " + value + "\n");
      CAPTURE(what);
      CHECK(what.starts_with("p.toml:1:"));
      for (const char* part : {"5ec2", "5e", "dead", "4142", "ffee"}) {
        CHECK(what.find(part) == std::string::npos);
      }
    }
  }
}

TEST_CASE("tcp policy file: a file is read, and one that cannot be is named with the reason") {
  const scratch_file file("[stack]\nsomaxconn = 9\n");
  policy_set all;
  CHECK(load_policy(all, file.path) == "");
  CHECK(all.stack.somaxconn == 9);
  const scratch_file wrong("[stack]\nsomaxconn = -9\n");
  CHECK(load_policy(all, wrong.path) ==
        wrong.path + ":2:13: somaxconn must be 0 to 4294967295; it is -9");
  const scratch_file empty("");
  CHECK(load_policy(all, empty.path) == "");
  CHECK(load_policy(all, file.path + ".no") ==
        "cannot read the policy file " + file.path + ".no: No such file or directory");
  CHECK(load_policy(all, "/") == "cannot read the policy file /: Is a directory");
  CHECK(all.stack.somaxconn == 9);
}

TEST_CASE("tcp policy file: the example is good, and says what its comments say") {
  policy_set all;
  CHECK(load_policy(all, RUNNEL_SOURCE_DIR "/examples/policy.toml") == "");
  CHECK(all.listener.backlog == 511);
  CHECK(all.connection.keepalive == true);
  CHECK(all.connection.keepalive_time == 60s);
  CHECK(all.connection.user_timeout == 30s);
  CHECK(all.stack.somaxconn == 1024);
}
