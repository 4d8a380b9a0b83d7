#include <runnel/net/pcap.hpp>

#include "net/bytes.hpp"
#include "net/link_fixture.hpp"
#include "support/death_test.hpp"
#include "support/temporary_folder.hpp"

#include <runnel/net/impair.hpp>
#include <runnel/net/link_pair.hpp>
#include <runnel/sleep.hpp>
#include <runnel/wire/checksum.hpp>

#include <doctest/doctest.h>

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

using namespace std::chrono_literals;
using namespace runnel;
using namespace runnel::net;
using namespace runnel::test;

namespace {

constexpr time_point start{};
constexpr std::uint64_t virtual_epoch = 1'577'836'800'000'000'000;

/// A file name that nobody else uses; the file is removed at the end.
class scratch_file {
 public:
  const std::string& path() const { return path_; }
  std::string content() const {
    std::ifstream in(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

 private:
  testing::temporary_folder folder_;
  std::string path_ = folder_.file("capture.pcapng");
};

struct captured_packet {
  std::uint64_t time_ns = 0;
  std::uint32_t original_size = 0;
  std::uint32_t flags = 0;
  std::string bytes;
};

struct capture {
  std::string application;
  std::string comment;
  std::string interface;
  unsigned link_type = 0;
  unsigned time_resolution = 6;
  unsigned snap_bytes = 0;
  std::vector<captured_packet> packets;
};

template <class Number>
Number number_at(std::string_view text, std::size_t at) {
  Number value{};
  REQUIRE(at + sizeof value <= text.size());
  std::memcpy(&value, text.data() + at, sizeof value);
  return value;
}

/// The value of an option of a block, empty when it has none.
std::string option_of(std::string_view options, unsigned wanted) {
  while (options.size() >= 4) {
    const auto code = number_at<std::uint16_t>(options, 0);
    const auto size = number_at<std::uint16_t>(options, 2);
    if (code == 0) break;
    if (code == wanted) return std::string(options.substr(4, size));
    options.remove_prefix(4 + (size + 3U) / 4 * 4);
  }
  return {};
}

/// Reads a pcapng file by the letter; fails the test where it is malformed.
capture parse(std::string_view file) {
  capture result;
  for (bool first = true; !file.empty(); first = false) {
    const auto type = number_at<std::uint32_t>(file, 0);
    const auto length = number_at<std::uint32_t>(file, 4);
    REQUIRE(length % 4 == 0);
    REQUIRE(length <= file.size());
    REQUIRE(number_at<std::uint32_t>(file, length - 4) == length);
    const std::string_view body = file.substr(8, length - 12);
    CHECK(first == (type == 0x0a0d0d0a));
    if (type == 0x0a0d0d0a) {
      CHECK(number_at<std::uint32_t>(body, 0) == 0x1a2b3c4d);
      CHECK(number_at<std::uint16_t>(body, 4) == 1);
      CHECK(number_at<std::int64_t>(body, 8) == -1);
      result.application = option_of(body.substr(16), 4);
      result.comment = option_of(body.substr(16), 1);
    } else if (type == 1) {
      result.link_type = number_at<std::uint16_t>(body, 0);
      result.snap_bytes = number_at<std::uint32_t>(body, 4);
      result.interface = option_of(body.substr(8), 2);
      result.time_resolution = static_cast<unsigned char>(option_of(body.substr(8), 9).at(0));
    } else {
      REQUIRE(type == 6);
      captured_packet packet;
      packet.time_ns = std::uint64_t{number_at<std::uint32_t>(body, 4)} << 32 |
                       number_at<std::uint32_t>(body, 8);
      const auto kept = number_at<std::uint32_t>(body, 12);
      packet.original_size = number_at<std::uint32_t>(body, 16);
      packet.bytes = body.substr(20, kept);
      packet.flags =
          number_at<std::uint32_t>(option_of(body.substr(20 + (kept + 3) / 4 * 4), 2), 0);
      result.packets.push_back(packet);
    }
    file.remove_prefix(length);
  }
  return result;
}

}  // namespace

TEST_CASE("pcap: writes both directions with time, direction and what made it") {
  const scratch_file file;
  link_pair pair;
  {
    auto tap = pcap::open(pair.first(), file.path(), {.comment = "a test"});
    REQUIRE(tap.has_value());
    CHECK(send_text(**tap, start + 1ns, "ping!") == send_status::sent);
    send_text(pair.second(), start, "pong");
    CHECK(receive_texts(**tap, start + 3s) == texts{"pong"});
    CHECK((*tap)->captured().packets == 2);
  }
  const capture read = parse(file.content());
  CHECK(read.application == "runnel 0.1.0");
  CHECK(read.comment == "a test");
  CHECK(read.interface == "pair0");
  CHECK(read.link_type == 101);
  CHECK(read.time_resolution == 9);
  REQUIRE(read.packets.size() == 2);
  CHECK(read.packets[0].bytes == "ping!");
  CHECK(read.packets[0].flags == 2);
  CHECK(read.packets[0].time_ns == virtual_epoch + 1);
  CHECK(read.packets[1].bytes == "pong");
  CHECK(read.packets[1].flags == 1);
  CHECK(read.packets[1].time_ns == virtual_epoch + 3'000'000'000);
}

TEST_CASE("pcap: cuts packets to the wanted length and says how long they were") {
  const scratch_file file;
  link_pair pair;
  {
    auto tap = pcap::open(pair.first(), file.path(), {.snap_bytes = 6});
    REQUIRE(tap.has_value());
    const auto head = bytes_of("head");
    const auto tail = bytes_of("tail");
    const std::array<std::span<const std::byte>, 3> pieces{head, {}, tail};
    CHECK((*tap)->send(start, {.pieces = pieces, .size = 8}) == send_status::sent);
  }
  const capture read = parse(file.content());
  CHECK(read.snap_bytes == 6);
  REQUIRE(read.packets.size() == 1);
  CHECK(read.packets[0].bytes == "headta");
  CHECK(read.packets[0].original_size == 8);
  CHECK(receive_texts(pair.second(), start) == texts{"headtail"});
}

TEST_CASE("pcap: a checksum that the kernel is still to complete is complete in the file") {
  const scratch_file file;
  link_pair wire;
  std::string packet(20 + 8 + 7, 'p');
  packet[26] = 0x12;
  packet[27] = 0x34;
  const auto bytes = std::as_bytes(std::span(packet));
  const std::array<std::span<const std::byte>, 2> pieces{bytes.first(25), bytes.subspan(25)};
  tx_packet out{.pieces = pieces, .size = static_cast<std::uint32_t>(packet.size())};
  out.offload = {checksum_state::partial, 0, 20, 6};
  {
    auto captured = pcap::open(wire.first(), file.path());
    REQUIRE(captured.has_value());
    REQUIRE((*captured)->send(start, out) == send_status::sent);
    // One that would lie outside of the packet is left alone.
    out.offload.checksum_start = 40;
    REQUIRE((*captured)->send(start, out) == send_status::sent);
  }
  const capture seen = parse(file.content());
  REQUIRE(seen.packets.size() == 2);
  std::string whole = packet;
  const std::uint16_t sum = wire::checksum_of(bytes.subspan(20));
  whole[26] = static_cast<char>(sum >> 8);
  whole[27] = static_cast<char>(sum & 0xff);
  CHECK(seen.packets[0].bytes == whole);
  CHECK(seen.packets[1].bytes == packet);
}

TEST_CASE("pcap: a packet that did not leave is not in the capture") {
  const scratch_file file;
  link_pair pair{{.mtu = 100, .queue_packets = 1}};
  {
    auto tap = pcap::open(pair.first(), file.path());
    REQUIRE(tap.has_value());
    CHECK(send_bytes(**tap, start, byte_string(101)) == send_status::dropped);
    CHECK(send_text(**tap, start, "a") == send_status::sent);
    CHECK(send_text(**tap, start, "b") == send_status::would_block);
  }
  CHECK(parse(file.content()).packets.size() == 1);
}

TEST_CASE("pcap: the buffer is written when it is full, when its time has come, and at the end") {
  const scratch_file file;
  link_pair pair;
  auto tap = pcap::open(pair.first(), file.path(), {.flush_interval = 1s});
  REQUIRE(tap.has_value());
  CHECK((*tap)->deadline() == time_point::max());
  send_text(**tap, start, "a");
  CHECK(file.content().empty());
  CHECK((*tap)->deadline() == start + 1s);
  receive_texts(**tap, start + 1s);
  CHECK(parse(file.content()).packets.size() == 1);
  CHECK((*tap)->deadline() == time_point::max());
  for (int i = 0; i < 300; ++i) {
    send_bytes(**tap, start + 1s, byte_string(1500));
    receive_texts(pair.second(), start + 1s);
  }
  CHECK(file.content().size() > 200'000);
  tap = std::make_error_code(std::errc::io_error);
  CHECK(parse(file.content()).packets.size() == 301);
}

TEST_CASE("pcap: on a full disk it gives up with one error and the traffic goes on") {
  link_pair pair;
  auto tap = pcap::open(pair.first(), "/dev/full");
  REQUIRE(tap.has_value());
  for (int i = 0; i < 500; ++i) {
    CHECK(send_bytes(**tap, start, byte_string(1500)) == send_status::sent);
    CHECK(receive_texts(pair.second(), start).size() == 1);
  }
  CHECK((*tap)->error() == std::errc::no_space_on_device);
  CHECK((*tap)->captured().errors == 1);
  CHECK((*tap)->captured().dropped == 500);
  CHECK((*tap)->captured().packets == 0);
}

TEST_CASE("pcap: a file that may not grow keeps whole packets only") {
  const scratch_file file;
  constexpr rlim_t largest = 200'001;
  const auto capture_too_much = [&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{largest, largest};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) std::_Exit(2);
    link_pair pair;
    const auto tap = pcap::open(pair.first(), file.path(), {.buffer_bytes = 128 << 10}).value();
    for (int i = 0; i < 500; ++i) {
      send_bytes(*tap, start, byte_string(1400));
      receive_texts(pair.second(), start);
    }
    const pcap_counters counted = tap->captured();
    const bool told = tap->error() == std::errc::file_too_large && counted.errors == 1;
    std::_Exit(told && counted.packets + counted.dropped == 500 ? 0 : 3);
  };
  CHECK(runnel::testing::run_in_child(capture_too_much).exit_code == 0);
  const std::string content = file.content();
  CHECK(content.size() > 100'000);
  CHECK(content.size() < largest);
  CHECK(parse(content).packets.size() > 80);
}

TEST_CASE("pcap: a file that cannot be written is refused") {
  link_pair pair;
  CHECK(pcap::open(pair.first(), "/no/such/folder/file").error() ==
        std::errc::no_such_file_or_directory);
  const scratch_file file;
  const std::string fifo = file.path() + ".fifo";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  CHECK(pcap::open(pair.first(), fifo).has_error());
  std::remove(fifo.c_str());
}

TEST_CASE("pcap: an existing file is emptied first") {
  const scratch_file file;
  std::ofstream(file.path()) << "something that was here before and is longer than the new content";
  link_pair pair;
  { REQUIRE(pcap::open(pair.first(), file.path()).has_value()); }
  CHECK(parse(file.content()).packets.empty());
}

TEST_CASE("pcap: the same seed gives the same file, byte for byte") {
  const auto run = [](const std::string& path, std::uint64_t seed) {
    loop driver{loop_options{.simulated = seed}};
    link_pair pair{{.latency = 1ms}};
    impair_options options;
    options.seed = seed;
    options.outgoing = {.loss = 0.2, .duplicate = 0.1, .corrupt = 0.1, .jitter = 3ms};
    impair bad{pair.first(), options};
    auto tap = pcap::open(bad, path).value();
    packet_hook hook{driver, *tap};
    packet_hook echo{driver, pair.second()};
    echo.answer = [&](const std::string& text) { echo.to_send.push_back("re " + text); };
    for (int i = 0; i < 100; ++i) hook.to_send.push_back("packet " + std::to_string(i));
    const auto wait = [](packet_hook&) -> task<> { co_await sleep(10s); };
    driver.run(wait(hook));
  };
  const scratch_file first;
  const scratch_file second;
  const scratch_file third;
  run(first.path(), 5);
  run(second.path(), 5);
  run(third.path(), 6);
  CHECK(parse(first.content()).packets.size() > 150);
  CHECK(first.content() == second.content());
  CHECK(first.content() != third.content());
}

TEST_CASE("pcap: on a loop of the real kernel the time is the wall clock's") {
  const scratch_file file;
  link_pair pair;
  const auto now = [] {
    const std::chrono::nanoseconds since = std::chrono::system_clock::now().time_since_epoch();
    return static_cast<std::uint64_t>(since.count());
  };
  const std::uint64_t before = now();
  {
    loop driver;
    auto tap = pcap::open(pair.first(), file.path()).value();
    recording_client client;
    tap->attach(driver, client);
    send_text(*tap, driver.now(), "now");
    tap->detach();
  }
  const capture read = parse(file.content());
  REQUIRE(read.packets.size() == 1);
  const std::uint64_t slack = 1'000'000'000;
  CHECK(read.packets[0].time_ns + slack > before);
  CHECK(read.packets[0].time_ns < now() + slack);
}
