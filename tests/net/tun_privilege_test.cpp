#include <runnel/net/tun.hpp>

#include "net/tun_fixture.hpp"
#include "support/network_namespace.hpp"

#include <runnel/loop.hpp>

#include <doctest/doctest.h>

#include <linux/capability.h>
#include <linux/if_tun.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <string>

using namespace runnel;
using namespace runnel::net;
using namespace runnel::test;
using namespace runnel::testing;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string refusal(const tun_options& options) {
  loop driver;
  const auto opened = tun::open(driver, options);
  return opened.has_error() ? opened.error().message() : "opened";
}

/// A device that stays without anybody holding it, as `ip tuntap add` makes it for a user.
void make_persistent_device(const std::string& name, unsigned owner) {
  const int fd = ::open("/dev/net/tun", O_RDWR | O_CLOEXEC);
  REQUIRE(fd >= 0);
  ifreq request = request_for(name);
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  REQUIRE(::ioctl(fd, TUNSETIFF, &request) == 0);
  REQUIRE(::ioctl(fd, TUNSETOWNER, owner) == 0);
  REQUIRE(::ioctl(fd, TUNSETPERSIST, 1) == 0);
  ::close(fd);
}

void drop_all_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  if (::syscall(SYS_capset, &header, none) != 0) std::_Exit(99);
}

/// Runs `body` in a child without any capability and gives the text that it returned.
template <class Body>
std::string without_capabilities(Body body) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    drop_all_capabilities();
    const std::string said = body();
    const bool whole =
        ::write(ends[1], said.data(), said.size()) == static_cast<ssize_t>(said.size());
    std::_Exit(whole ? 0 : 98);
  }
  ::close(ends[1]);
  std::string said(4096, '\0');
  const ssize_t size = ::read(ends[0], said.data(), said.size());
  said.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  return said;
}

}  // namespace

TEST_CASE("tun: a device in use, and one of another kind, are refused with a sentence") {
  enter_network_namespace();
  loop driver;
  const auto first = tun::open(driver, {.name = "taken"});
  REQUIRE(first.has_value());
  CHECK(contains(refusal({.name = "taken"}), "is in use by another program"));
  CHECK(contains(refusal({.name = "lo"}), "is not a TUN device"));
}

TEST_CASE("tun: making a device without the privilege is refused with a sentence") {
  enter_network_namespace();
  const std::string said = without_capabilities([] { return refusal({.name = "unmade"}); });
  CHECK(contains(said, "Making the TUN device unmade needs CAP_NET_ADMIN"));
  CHECK(contains(said, "ip tuntap add dev unmade"));
}

TEST_CASE("tun: a user opens without privilege the device that was made for him") {
  enter_network_namespace();
  make_persistent_device("owned", ::geteuid());
  const tun_options options{.name = "owned", .address = "10.78.0.1/24", .mtu = 1280};
  {
    // Not yet set up: what is missing needs the privilege, and the sentence says what it is.
    const std::string said = without_capabilities([&] { return refusal(options); });
    CHECK(contains(said, "Changing the MTU 1280 of the TUN device owned needs CAP_NET_ADMIN"));
    CHECK(contains(said, "ip link set owned mtu 1280"));
  }
  {
    loop driver;
    REQUIRE(tun::open(driver, options).has_value());
  }
  CHECK(without_capabilities([&] { return refusal(options); }) == "opened");
  CHECK(delete_device("owned"));
}

TEST_CASE("tun: a device that belongs to another user is refused with a sentence") {
  enter_network_namespace();
  if (::geteuid() != 0) return;
  const unsigned other = 12345;
  const int fd = ::open("/dev/net/tun", O_RDWR | O_CLOEXEC);
  ifreq request = request_for("theirs");
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  REQUIRE(::ioctl(fd, TUNSETIFF, &request) == 0);
  const bool mapped = ::ioctl(fd, TUNSETOWNER, other) == 0;
  REQUIRE(::ioctl(fd, TUNSETPERSIST, 1) == 0);
  ::close(fd);
  // In a user namespace there is only one user, and so nobody else.
  if (mapped) {
    const std::string said = without_capabilities([] { return refusal({.name = "theirs"}); });
    CHECK(contains(said, "The TUN device theirs belongs to another user"));
  }
  CHECK(delete_device("theirs"));
}

TEST_CASE("tun: a device goes on working after the privileges are dropped") {
  enter_network_namespace();
  const pid_t child = ::fork();
  if (child == 0) {
    loop driver;
    auto opened = tun::open(driver, {.name = "dropped0", .address = "10.79.0.1/24"});
    if (!opened) std::_Exit(1);
    const udp_sender sender;
    drop_all_capabilities();
    if (!sender.send(address::v4(10, 79, 0, 2), 100)) std::_Exit(2);
    std::array<packet, 8> out;
    const bool arrived = opened->receive(driver.now(), out) > 0;
    out = {};
    const auto drops = opened->drops();
    std::_Exit(arrived && drops ? 0 : 3);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}
