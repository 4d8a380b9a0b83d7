#include <runnel/net/impair.hpp>
#include <runnel/net/tun.hpp>

#include "net/link_fixture.hpp"
#include "net/raw_tcp.hpp"
#include "net/tun_fixture.hpp"
#include "support/network_namespace.hpp"

#include <runnel/loop.hpp>
#include <runnel/wire/offload.hpp>

#include <doctest/doctest.h>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <cstddef>
#include <filesystem>
#include <string>

using namespace runnel;
using namespace runnel::net;
using namespace runnel::test;
using namespace runnel::testing;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

tun open_tun(loop& owner, tun_options options = {}) {
  enter_network_namespace();
  if (options.address.empty()) options.address = "10.77.0.1/24";
  auto opened = tun::open(owner, options);
  if (opened.has_error()) FAIL(opened.error().message());
  return std::move(*opened);
}

/// From now on the kernel refuses TUNSETOFFLOAD with any of these features, as an older one would.
void refuse_features(std::uint32_t features) {
  constexpr std::uint32_t request = offsetof(seccomp_data, args) + sizeof(std::uint64_t);
  constexpr std::uint32_t argument = request + sizeof(std::uint64_t);
  std::array<sock_filter, 8> program{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_ioctl, 0, 5),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, request),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TUNSETOFFLOAD, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, features, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog filter{program.size(), program.data()};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
    std::_Exit(99);
  }
}

/// What `open` says where the kernel refuses these features: the description or the error.
std::string opened_without(std::uint32_t features, tun_offload wanted) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    refuse_features(features);
    loop driver;
    const auto opened = tun::open(driver, {.name = "less0", .offload = wanted});
    std::string said = opened ? opened->description() : opened.error().message();
    if (opened) {
      const link_info& info = opened->info();
      said += info.checksum_offload_tx ? " tx" : "";
      said += info.checksum_offload_rx ? " rx" : "";
      said += info.gso_max_bytes != 0 ? " gso" : "";
    }
    const bool whole =
        ::write(ends[1], said.data(), said.size()) == static_cast<ssize_t>(said.size());
    std::_Exit(whole ? 0 : 98);
  }
  ::close(ends[1]);
  std::string said(1000, '\0');
  const ssize_t size = ::read(ends[0], said.data(), said.size());
  said.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  return said;
}

/// A device with the kernel's address of this family, and no other.
tun open_tun(loop& owner, bool v6) {
  enter_network_namespace();
  const char* const disable = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
  write_file(disable, v6 ? "0" : "1");
  tun device = open_tun(owner, {.address = raw_tcp::host_prefix(v6)});
  write_file(disable, "1");
  return device;
}

/// The descriptor of the only TUN device that this process has open.
int tun_descriptor() {
  for (const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code ignored;
    if (std::filesystem::read_symlink(each.path(), ignored) == "/dev/net/tun") {
      return std::stoi(each.path().filename());
    }
  }
  return -1;
}

/// The first TCP packet of a new connection from the kernel to us.
packet first_packet(net::link& device, time_point now, raw_tcp& peer) {
  peer.connect();
  return peer.next(device, now);
}

}  // namespace

TEST_CASE("tun offload: automatic takes what the kernel has and says what that is") {
  loop driver;
  const tun device = open_tun(driver, {.name = "all0"});
  CHECK(device.info().checksum_offload_rx);
  CHECK(device.info().checksum_offload_tx);
  CHECK(device.info().gso_max_bytes > 60'000);
  CHECK(device.description() ==
        "all0, MTU 1500: the kernel does checksums and cuts segments (TSO4 TSO6 ECN)");
}

TEST_CASE("tun offload: a level that is asked for by name is what is opened") {
  loop driver;
  {
    const tun device = open_tun(driver, {.name = "sum0", .offload = tun_offload::checksum});
    CHECK(device.info().checksum_offload_rx);
    CHECK(device.info().checksum_offload_tx);
    CHECK(device.info().gso_max_bytes == 0);
    CHECK(device.description() == "sum0, MTU 1500: the kernel does checksums");
  }
  const tun device = open_tun(driver, {.name = "off0", .offload = tun_offload::off});
  CHECK_FALSE(device.info().checksum_offload_rx);
  CHECK_FALSE(device.info().checksum_offload_tx);
  CHECK(device.info().gso_max_bytes == 0);
  CHECK(device.description() == "off0, MTU 1500: plain packets");
}

TEST_CASE("tun offload: where the kernel refuses features, automatic takes fewer of them") {
  enter_network_namespace();
  constexpr auto automatic = tun_offload::automatic;
  CHECK(contains(opened_without(TUN_F_TSO_ECN, automatic), "segments (TSO4 TSO6), and refuses"));
  CHECK(contains(opened_without(TUN_F_TSO6, automatic), "segments (TSO4), and refuses"));
  std::string said = opened_without(TUN_F_TSO4, automatic);
  CHECK(contains(said, "the kernel does checksums, and refuses more (Invalid argument) tx rx"));
  CHECK_FALSE(contains(said, " gso"));
  said = opened_without(TUN_F_CSUM, automatic);
  CHECK(said.ends_with("plain packets, and refuses more (Invalid argument)"));
  said = opened_without(TUN_F_TSO4, tun_offload::segmentation);
  CHECK(contains(said, "cannot have the offload that was asked for (Invalid argument)"));
  CHECK(contains(opened_without(TUN_F_TSO4, tun_offload::checksum), "does checksums tx rx"));
}

TEST_CASE("tun offload: a pool without room for super-segments means plain packets") {
  loop driver;
  enter_network_namespace();
  const auto opened = tun::open(driver, {.pool_bytes = 100'000});
  REQUIRE(opened.has_value());
  CHECK(contains(opened->description(), "plain packets"));
  const auto refused =
      tun::open(driver, {.pool_bytes = 100'000, .offload = tun_offload::segmentation});
  REQUIRE(refused.has_error());
  CHECK(contains(refused.error().message(), "bytes at least"));
}

TEST_CASE("tun offload: what the kernel sends has its checksum left out, and is intact") {
  loop driver;
  for (const bool v6 : {false, true}) {
    CAPTURE(v6);
    tun device = open_tun(driver, v6);
    raw_tcp peer(v6);
    const packet syn = first_packet(device, driver.now(), peer);
    REQUIRE(syn);
    CHECK(syn->offload.checksum == checksum_state::partial);
    CHECK(syn->offload.checksum_start == (v6 ? 40 : 20));
    CHECK(syn->offload.checksum_offset == 16);
    CHECK(syn->offload.gso_size == 0);
    CHECK_FALSE(peer.checksum_intact(syn));
    wire::complete_checksum(syn);
    CHECK(peer.checksum_intact(syn));
  }
}

TEST_CASE("tun offload: super-segments both ways, for either family") {
  loop driver;
  for (const bool v6 : {false, true}) {
    for (const int cwr : {0, 0x80}) {
      CAPTURE(v6);
      CAPTURE(cwr);
      tun device = open_tun(driver, v6);
      raw_tcp peer(v6);
      const packet syn = first_packet(device, driver.now(), peer);
      REQUIRE(syn);
      peer.accept(device, driver.now(), syn, 1000);

      const std::string text = std::string(3000, 'a') + std::string(6000, 'b');
      REQUIRE(peer.write(text));
      std::string got;
      for (int i = 0; i < 3 && got.size() < text.size(); ++i) {
        const packet data = peer.next(device, driver.now());
        REQUIRE(data);
        CHECK(data->offload.gso_size == 1000);
        got += peer.payload_of(data);
      }
      CHECK(got == text);

      // Cut into 1,000 bytes by the kernel, whichever way its pieces lie.
      const std::string answer = std::string(20'000, 'c') + std::string(30'000, 'd');
      for (const std::size_t piece : {std::size_t{60'000}, std::size_t{13}, std::size_t{3000}}) {
        CAPTURE(piece);
        CHECK(peer.send_cut(device, driver.now(), answer, piece, 0x10 | cwr) == send_status::sent);
        CHECK(peer.read(answer.size()) == answer);
      }
    }
  }
}

TEST_CASE("tun offload: facts that contradict the packet are refused by the kernel and counted") {
  loop driver;
  tun device = open_tun(driver);
  const std::string request = echo_request(address::v4(10, 77, 0, 2), address::v4(10, 77, 0, 1), 1);
  const auto bytes = std::as_bytes(std::span(request));
  tx_packet out{.pieces = {&bytes, 1}, .size = static_cast<std::uint32_t>(bytes.size())};
  out.offload = {checksum_state::partial, 0, 60'000, 16};
  CHECK(device.send(driver.now(), out) == send_status::dropped);
  out.offload = {checksum_state::unverified, 1000, 0, 0};
  CHECK(device.send(driver.now(), out) == send_status::dropped);
  CHECK(device.counters().tx_dropped == 2);
}

TEST_CASE("tun offload: a received packet that its header contradicts is dropped and counted") {
  loop driver;
  tun device = open_tun(driver);
  // The packet begins where a longer header says that it does.
  int longer = 12;
  REQUIRE(::ioctl(tun_descriptor(), TUNSETVNETHDRSZ, &longer) == 0);
  raw_tcp peer(false);
  CHECK_FALSE(first_packet(device, driver.now(), peer));
  CHECK(device.counters().rx_bad_offload == 1);
  CHECK(device.counters().rx_packets == 0);
}

TEST_CASE("tun offload: through impair no packet has more than a segment, and all are complete") {
  loop driver;
  tun device = open_tun(driver);
  raw_tcp peer(false);
  peer.connect();
  // The SYN was on its way before.
  impair plain(device);
  CHECK_FALSE(device.info().checksum_offload_rx);
  CHECK(plain.info().gso_max_bytes == 0);
  const packet syn = peer.next(plain, driver.now());
  REQUIRE(syn);
  CHECK(syn->offload == packet_offload{});
  CHECK(peer.checksum_intact(syn));
  peer.accept(plain, driver.now(), syn, 1000);
  REQUIRE(peer.write(std::string(9000, 'a')));
  for (int i = 0; i < 9; ++i) {
    const packet data = peer.next(plain, driver.now());
    REQUIRE(data);
    CHECK(data->offload == packet_offload{});
    CHECK(peer.payload_of(data).size() == 1000);
    CHECK(peer.checksum_intact(data));
  }
}

TEST_CASE("tun offload: without memory for another super-segment they are dropped, not the rest") {
  loop driver;
  tun device = open_tun(driver, {.pool_bytes = std::size_t{1} << 20});
  std::vector<packet> held;
  while (packet block = device.pool().allocate(60'000)) held.push_back(std::move(block));
  held.pop_back();
  raw_tcp peer(false);
  const packet syn = first_packet(device, driver.now(), peer);
  REQUIRE(syn);
  CHECK(syn.size() < 100);
}
