#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "runnel/tcp/engine/policy_text.hpp"

// docs/policy.md is printed from the table of fields.

using namespace runnel::tcp;

namespace {

constexpr const char* head = R"(# Policy

Everything about a connection's life that runnel lets a program decide. This page is printed from
the table that the checks and the names come from; `RUNNEL_UPDATE_DOCS=1` with
`test_tcp_policy_file` writes it anew.

There are three levels, and the nearest wins: a connection asks its own policy, then the stack's
defaults; a listener's children take what the listener says for connections. What is left unset is
asked from the level above whenever it is needed, so a change there holds at once.

| level | as values | by name |
|---|---|---|
| stack | `stack_options`, `stack::set_policy` | `stack.set("net.ipv4.tcp_syn_retries", "3")` |
| listener | `stack::listen`, `listener::set_policy` | `listener.set("TCP_DEFER_ACCEPT", "5")` |
| connection | `connect_options`, `stream::set_policy` | `stream.set("TCP_KEEPIDLE", "30")` |

A name is the field's own, or Linux's: a sysctl for the stack, a socket option for a listener or a
stream. By Linux's name a value is written as Linux writes it, in its unit, which is the one behind
the name below. By its own name a time takes a unit ("30s", "500ms", "2h") and is milliseconds
without one, bytes take "64k", "1M", "1G", a choice its word or its number, bits words joined by
"|". "default" takes the value of the level above. A wrong name, type or range is one sentence that
says what is allowed; nothing is ignored.

A key is 32 hexadecimal digits; a second one after a comma is the one before, as in Linux's sysctl
of Fast Open. On a running stack one key is a rotation: what the key before it has made stays good
until the next one. Two are both from now on, and in a set or a file one key has none before it. No
key is ever shown.

`runnel::policy_file` reads the same from TOML ([a sample](../examples/policy.toml)); `http_server`
and `echo_server` take `--policy FILE`, `--set NAME=VALUE` and `--print-policy`.

Holds: **at once** for all who use the value next; **new** for handshakes that begin later;
**fixed** when the host is made. Where Linux's default is another, it stands in brackets: that is
what `linux_policy()` and `preset = "linux"` set.
)";

constexpr const char* tail = R"(
## What Linux has elsewhere

- `net.core.netdev_max_backlog` (1000) bounds the packets that wait between a device and TCP. Here
  that is the queue of the TUN device: `tun_options::queue_length`. A loop reads up to 64 packets
  of it in a turn.
- `net.ipv4.tcp_rmem` is three numbers, of which the last one is the field: nothing is set aside
  for a connection before it has bytes, so it needs no smaller size to begin with.
- `net.ipv4.tcp_wmem` is `wmem_min`, `wmem_default` and `wmem_max`. `SO_SNDBUF` stops the growing;
  "default" lets it go on.
- `net.ipv4.tcp_early_retrans` is 0 to 4, of which 3 and 4 are `tail_loss_probe`.
- `TCP_NOTSENT_LOWAT` of 0 takes the stack's value. `SO_MAX_PACING_RATE` without a bound is
  4294967295, or -1.
- `net.ipv4.tcp_recovery` without its first bit counts losses as RFC 6675 does; Linux does so up to
  6.16 and ignores it since.
- `net.ipv4.tcp_autocorking` and `tcp_limit_output_bytes` are about packets that wait in a device's
  queue, of which TCP here knows nothing.
- `net.ipv4.tcp_mem` is in pages of 4096 bytes; pressure begins at two thirds of its last number.
- `SO_RCVBUF` and `SO_SNDBUF` are doubled, as Linux doubles them, and read back doubled.
- `net.ipv4.tcp_orphan_retries` of 0 stands for 8; `TCP_LINGER2` of 0 takes the stack's
  value, of -1 does not wait at all.
- `SO_LINGER` is "off" or seconds: 0 is `close = "abort"`, more is `linger` with that `close_time`.
- `TCP_QUICKACK` is an order for the moment: `stream.set` takes it, and nothing keeps it.
- Every other name is an error.

## How Linux's table of connections sizes others

Linux derives some defaults from the memory of the machine. The preset has them as measured with
262,144 buckets: `tcp_max_tw_buckets` is half of that, `tcp_max_syn_backlog` a 128th.
)";

std::string code(std::string_view text) {
  return text.empty() ? "" : "`" + std::string(text) + "`";
}

std::string linux_cell(const policy_field& field) {
  std::string out;
  for (const linux_name& name : {field.sysctl, field.option}) {
    if (name.text.empty()) continue;
    if (!out.empty()) out += ", ";
    out += code(name.text);
    if (field.kind == policy_kind::time) out += name.unit == 1000 ? " s" : " ms";
  }
  return out;
}

std::string default_cell(const policy_field& field) {
  if (field.secret()) return "random";
  const std::string own = get(default_policy(), field.name).value();
  const std::string linux_has = get(linux_policy(), field.name).value();
  return own == linux_has ? own : own + " (" + linux_has + ")";
}

/// What `set` says is allowed: between "must be" and the value that is not.
std::string range_cell(const policy_field& field) {
  policy_set all;
  const std::string complaint = set(all, field.name, "?");
  const std::string from = " must be ";
  const std::size_t start = complaint.find(from) + from.size();
  return complaint.substr(start, complaint.find("; ", start) - start);
}

std::string_view unit_cell(const policy_field& field) {
  if (field.kind == policy_kind::time) return "time";
  return field.kind == policy_kind::bytes ? "bytes" : "";
}

std::string_view change_cell(policy_change of) {
  switch (of) {
    case policy_change::at_once:
      return "at once";
    case policy_change::new_connections:
      return "new";
    case policy_change::new_host:
      break;
  }
  return "fixed";
}

/// A cell must not end at a bar in its text.
std::string cell(std::string text) {
  for (std::size_t at = text.find('|'); at != std::string::npos; at = text.find('|', at + 2)) {
    text.insert(at, "\\");
  }
  return text;
}

std::string page() {
  std::string out = head;
  const policy_field* before = nullptr;
  for (const policy_field& field : policy_fields()) {
    if (before == nullptr || before->level != field.level) {
      out.append("\n## ").append(to_string(field.level)).append("\n\n");
      out += "| field | Linux | default | range | unit | holds | meaning |\n";
      out += "|---|---|---|---|---|---|---|\n";
    }
    before = &field;
    out.append("| ").append(code(field.name)).append(" | ").append(linux_cell(field));
    out.append(" | ").append(cell(default_cell(field))).append(" | ").append(range_cell(field));
    out.append(" | ").append(unit_cell(field)).append(" | ").append(change_cell(field.change));
    out.append(" | ").append(field.meaning).append(" |\n");
  }
  // An empty cell is a single space.
  for (std::size_t at = 0; (at = out.find("|  |", at)) != out.npos; ++at) out.erase(at + 1, 1);
  return out + tail;
}

}  // namespace

TEST_CASE("tcp policy: docs/policy.md is what the table of fields says") {
  const std::string path = RUNNEL_SOURCE_DIR "/docs/policy.md";
  if (std::getenv("RUNNEL_UPDATE_DOCS") != nullptr) std::ofstream(path) << page();
  std::ifstream file(path);
  const std::string found{std::istreambuf_iterator<char>(file), {}};
  CHECK_MESSAGE(found == page(),
                "docs/policy.md is not what the fields say; run this test with "
                "RUNNEL_UPDATE_DOCS=1 to write it anew");
}

TEST_CASE("tcp policy: docs/spec.md names every field in which the default differs from Linux") {
  std::ifstream file(RUNNEL_SOURCE_DIR "/docs/spec.md");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::size_t begin = text.find("\n## Where the default differs from Linux\n");
  REQUIRE(begin != text.npos);
  const std::string_view list =
      std::string_view(text).substr(begin, text.find("\n## ", begin + 1) - begin);
  for (const policy_field& field : policy_fields()) {
    const bool differs = get(default_policy(), field.name) != get(linux_policy(), field.name);
    CAPTURE(std::string(field.name));
    if (differs) CHECK(list.find(code(field.name)) != list.npos);
  }
}
