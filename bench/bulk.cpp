// One stream of bulk data over our TCP on a TUN device: port 9 reads and throws away, port 19
// writes until the peer goes. The harness asks it at several levels of offload.
//
//   bulk --tun NAME --address ADDRESS... [--level automatic|off|gro|checksum|segmentation|loans]
//
// The device is there already; an address may be of either family. "gro" is plain packets that our
// own GRO joins, "loans" is segmentation where neither port copies. Prints "ready" and what the
// device does once it serves, and at SIGTERM or SIGINT a line of JSON with the device's packets.

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "runnel/loop.hpp"
#include "runnel/net/tun.hpp"
#include "runnel/signal.hpp"
#include "runnel/task_group.hpp"
#include "runnel/tcp/stack.hpp"

using namespace runnel;

namespace {

constexpr std::uint16_t discard_port = 9;
constexpr std::uint16_t source_port = 19;
constexpr std::size_t block_bytes = 256 * 1024;

task<> discard(tcp::stream stream) {
  std::vector<std::byte> buffer(block_bytes);
  for (;;) {
    const auto got = co_await stream.read(buffer);
    if (!got || *got == 0) co_return;
  }
}

task<> produce(tcp::stream stream) {
  const std::vector<std::byte> buffer(block_bytes, std::byte{'x'});
  for (;;) {
    const auto sent = co_await stream.write(buffer);
    if (!sent) co_return;
  }
}

task<> discard_lent(tcp::stream stream) {
  for (;;) {
    auto lent = co_await stream.borrow();
    if (!lent || lent->empty()) co_return;
    lent->consume();
  }
}

task<> produce_owned(tcp::stream stream) {
  static const std::vector<std::byte> forever(block_bytes, std::byte{'x'});
  for (;;) {
    const auto sent = co_await stream.write(net::owned_buffer::permanent(forever));
    if (!sent) co_return;
  }
}

task<> accept_all(tcp::listener& listener, task_group& connections, task<> (*serve)(tcp::stream)) {
  for (;;) {
    auto accepted = co_await listener.accept();
    if (!accepted) co_return;
    connections.spawn(serve(std::move(*accepted)));
  }
}

task<> run(loop& owner, tcp::stack& stack, bool copies, std::string description) {
  signal_set signals(owner, {SIGINT, SIGTERM});
  auto sink = stack.listen({.address = {}, .port = discard_port}).value();
  auto source = stack.listen({.address = {}, .port = source_port}).value();
  task_group connections(owner, on_failure::collect);
  connections.spawn(accept_all(sink, connections, copies ? &discard : &discard_lent));
  connections.spawn(accept_all(source, connections, copies ? &produce : &produce_owned));
  std::printf("ready %s\n", description.c_str());
  std::fflush(stdout);
  co_await signals.wait();
  connections.cancel();
  co_await connections.join();
}

struct settings {
  std::string tun;
  std::vector<std::string> addresses;
  std::string level = "automatic";

  net::tun_offload offload() const {
    if (level == "off" || level == "gro") return net::tun_offload::off;
    if (level == "checksum") return net::tun_offload::checksum;
    if (level == "segmentation" || level == "loans") return net::tun_offload::segmentation;
    return net::tun_offload::automatic;
  }
};

void serve_until_signal(const settings& flags) {
  tcp::stack_options made;
  for (const std::string& text : flags.addresses) {
    const auto address = net::address::parse(text);
    if (!address) {
      throw std::invalid_argument("'" + text + "' is no IP address; write it as in 10.77.0.2.");
    }
    made.addresses.push_back(*address);
  }
  made.policy.gro = flags.level == "gro";
  loop owner;
  net::tun_options options;
  options.name = flags.tun;
  options.offload = flags.offload();
  net::tun tun = net::tun::open(owner, options).value();
  tcp::stack stack(owner, tun, made);
  owner.run(run(owner, stack, flags.level != "loans", tun.description()));
  const net::link_counters seen = tun.counters();
  std::printf(
      "{\"packets_in\": %llu, \"packets_out\": %llu, \"dropped_in\": %llu, "
      "\"dropped_out\": %llu}\n",
      static_cast<unsigned long long>(seen.rx_packets),
      static_cast<unsigned long long>(seen.tx_packets),
      static_cast<unsigned long long>(seen.rx_dropped),
      static_cast<unsigned long long>(seen.tx_dropped));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"One stream of bulk data each way over our own TCP on a TUN device.", "bulk"};
  settings flags;
  app.add_option("--tun", flags.tun, "The TUN device to attach to")->required();
  app.add_option("--address", flags.addresses, "The addresses to answer for")->required();
  app.add_option("--level", flags.level, "What the device and the two ports spare us")
      ->capture_default_str()
      ->check(CLI::IsMember({"automatic", "off", "gro", "checksum", "segmentation", "loans"}));
  CLI11_PARSE(app, argc, argv);
  try {
    serve_until_signal(flags);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bulk: %s\n", error.what());
    return 1;
  }
}
