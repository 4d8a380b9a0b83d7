#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "command_line.hpp"
#include "runnel/loop.hpp"
#include "runnel/net/impair.hpp"
#include "runnel/net/pcap.hpp"
#include "runnel/net/tun.hpp"
#include "runnel/tcp/stack.hpp"
#include "runnel/wire/address.hpp"

namespace example {

/// The flags that say which device a program uses, which address its stack answers for, and what
/// is done to packets on the way.
struct link_flags {
  std::string tun = "runnel%d";
  std::string tun_address = "10.77.0.1/24";
  std::string address = "10.77.0.2";
  std::string tun_address6;
  std::string address6;
  std::uint32_t mtu = 1500;
  std::string offload = "automatic";
  std::string pcap;
  double drop_percent = 0;
  double duplicate_percent = 0;
  double reorder_percent = 0;
  std::uint64_t delay_ms = 0;
  std::uint64_t seed = 1;

  void add_to(CLI::App& app) {
    app.add_option("--tun", tun, "TUN device to open or to create; %d stands for a free number")
        ->capture_default_str();
    app.add_option("--tun-address", tun_address,
                   "The kernel's address on the device with its prefix; empty leaves it as it is")
        ->capture_default_str();
    app.add_option("--address", address, "The address that our own TCP answers for")
        ->capture_default_str();
    app.add_option("--tun-address6", tun_address6,
                   "The kernel's IPv6 address beside it, as in fd77::1/64");
    app.add_option("--address6", address6, "Our own IPv6 address beside it, as in fd77::2");
    app.add_option("--mtu", mtu, "The device's MTU: the smallest one on the way to the clients")
        ->capture_default_str()
        ->check(CLI::Range(576, 65'535));
    app.add_option("--offload", offload,
                   "What the kernel does for packets of the device, both ways: checksums, and "
                   "cutting super-segments")
        ->capture_default_str()
        ->check(CLI::IsMember({"automatic", "off", "checksum", "segmentation"}));
    app.add_option("--pcap", pcap, "Write every packet to this file, for Wireshark");
    const auto percent = CLI::Range(0.0, 100.0);
    app.add_option("--drop", drop_percent, "Per cent of packets to lose, each way")->check(percent);
    app.add_option("--duplicate", duplicate_percent, "Per cent of packets to double, each way")
        ->check(percent);
    app.add_option("--reorder", reorder_percent, "Per cent of packets to hold back for 1 ms")
        ->check(percent);
    app.add_option("--delay", delay_ms, "Milliseconds that every packet is under way, each way")
        ->check(CLI::Range(0, 60'000));
    app.add_option("--seed", seed, "Chooses which packets are hit")->capture_default_str();
  }

  bool impaired() const noexcept {
    return drop_percent > 0 || duplicate_percent > 0 || reorder_percent > 0 || delay_ms > 0;
  }
};

/// A number of the command line that is an address; throws with a sentence when it is none.
inline runnel::net::address parse_address(const std::string& text) {
  const auto address = runnel::net::address::parse(text);
  if (!address) {
    throw std::invalid_argument("'" + text + "' is no IP address; write it as in 10.77.0.2.");
  }
  return *address;
}

/// "10.77.0.1:80", or throws with a sentence.
inline runnel::net::endpoint parse_endpoint(const std::string& text) {
  const auto endpoint = runnel::net::endpoint::parse(text);
  if (!endpoint) {
    throw std::invalid_argument("'" + text +
                                "' is no address with a port; write it as in 10.77.0.1:7.");
  }
  return *endpoint;
}

/// Throws with a sentence when the kernel, whose end of the device has `tun_address`, would not
/// send what is for `address` to the device; `suffix` is what the names of their flags end with.
inline void check_addresses(const std::string& address, const std::string& tun_address,
                            const std::string& suffix) {
  const runnel::net::address ours = parse_address(address);
  const auto kernel = runnel::net::prefix::parse(tun_address);
  // What is no address at all is the device's to refuse.
  if (!kernel) return;
  if (ours == kernel->address) {
    throw std::invalid_argument("--address" + suffix + " " + address +
                                " is the kernel's end of the device (--tun-address" + suffix +
                                "); give another one of that prefix.");
  }
  // A prefix of one address leads nowhere by itself: there are routes of the user's own.
  const bool alone = kernel->length == (kernel->address.is_v4() ? 32 : 128);
  if (!alone && !kernel->contains(ours)) {
    throw std::invalid_argument("--address" + suffix + " " + address + " is not in the prefix of " +
                                tun_address + " (--tun-address" + suffix +
                                "), so the kernel would send nothing for it to the device; give "
                                "one that is.");
  }
}

/// What one of several loops has of the device: a queue, and the shard of our TCP behind it.
struct device_part {
  runnel::net::tun queue;
  runnel::tcp::shard shard{};
  std::uint32_t index = 0;
};

/// The device in parts, one for each loop.
inline std::vector<device_part> open_device(const link_flags& flags, std::uint32_t loops = 1) {
  check_addresses(flags.address, flags.tun_address, "");
  if (!flags.address6.empty()) check_addresses(flags.address6, flags.tun_address6, "6");
  runnel::net::tun_options options;
  options.name = flags.tun;
  options.address = flags.tun_address;
  options.address_v6 = flags.tun_address6;
  options.mtu = flags.mtu;
  using runnel::net::tun_offload;
  options.offload = flags.offload == "off"            ? tun_offload::off
                    : flags.offload == "checksum"     ? tun_offload::checksum
                    : flags.offload == "segmentation" ? tun_offload::segmentation
                                                      : tun_offload::automatic;
  auto queues = runnel::net::tun::open_queues(loops, options).value();
  std::vector<device_part> parts;
  if (loops == 1) {
    parts.push_back({std::move(queues.front())});
    return parts;
  }
  const runnel::tcp::shard_group shards(loops);
  for (std::uint32_t i = 0; i < loops; ++i) {
    parts.push_back({std::move(queues[i]), shards.seat(i), i});
  }
  return parts;
}

/// The device with what the flags put around it, and our TCP on top.
class tun_stack {
 public:
  tun_stack(runnel::loop& loop, const link_flags& flags, const runnel::tcp::policy_set& policy = {})
      : tun_stack(loop, flags, policy, std::move(open_device(flags).front())) {}
  /// One loop's part of it. What is captured by the first loop has the name that was given, the
  /// others' have a number behind it.
  tun_stack(runnel::loop& loop, const link_flags& flags, const runnel::tcp::policy_set& policy,
            device_part mine)
      : tun_(std::move(mine.queue)), link_(&tun_) {
    if (flags.impaired()) {
      runnel::net::impair_options options;
      options.seed = flags.seed + mine.index;
      options.outgoing.loss = flags.drop_percent / 100;
      options.outgoing.duplicate = flags.duplicate_percent / 100;
      options.outgoing.reorder = flags.reorder_percent / 100;
      options.outgoing.delay = std::chrono::milliseconds(flags.delay_ms);
      options.incoming = options.outgoing;
      link_ = &impair_.emplace(*link_, options);
    }
    if (!flags.pcap.empty()) {
      const std::string path =
          mine.index == 0 ? flags.pcap : flags.pcap + "." + std::to_string(mine.index);
      auto opened = runnel::net::pcap::open(*link_, path);
      if (!opened) {
        throw std::runtime_error("cannot write the capture " + path + ": " +
                                 opened.error().message() + ".");
      }
      pcap_ = std::move(*opened);
      link_ = pcap_.get();
    }
    runnel::tcp::stack_options options;
    options.addresses = {parse_address(flags.address)};
    if (!flags.address6.empty()) options.addresses.push_back(parse_address(flags.address6));
    options.use(policy);
    options.shard = std::move(mine.shard);
    stack_.emplace(loop, *link_, std::move(options));
  }

  runnel::tcp::stack& stack() noexcept { return *stack_; }
  runnel::net::tun& tun() noexcept { return tun_; }
  const std::string& device() const noexcept { return tun_.info().name; }

 private:
  runnel::net::tun tun_;
  runnel::net::link* link_;
  std::optional<runnel::net::impair> impair_;
  std::unique_ptr<runnel::net::pcap> pcap_;
  std::optional<runnel::tcp::stack> stack_;
};

}  // namespace example
