// One stream of bulk data over our TCP on a TUN device: port 9 reads and throws away, port 19
// writes until the peer goes. bench/bulk.py is the peer and compares levels of offload.
//
//   bulk [TUN device] [automatic|off|gro|checksum|segmentation|loans]
//
// "gro" is plain packets that our own GRO joins. "loans" is segmentation where neither port copies.

#include <csignal>
#include <cstdio>
#include <exception>
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

task<> run(loop& owner, tcp::stack& stack, bool copies) {
  signal_set signals(owner, {SIGINT, SIGTERM});
  auto sink = stack.listen({.address = {}, .port = discard_port}).value();
  auto source = stack.listen({.address = {}, .port = source_port}).value();
  task_group connections(owner, on_failure::collect);
  connections.spawn(accept_all(sink, connections, copies ? &discard : &discard_lent));
  connections.spawn(accept_all(source, connections, copies ? &produce : &produce_owned));
  co_await signals.wait();
  connections.cancel();
  co_await connections.join();
}

net::tun_offload level(std::string_view name) {
  if (name == "off" || name == "gro") return net::tun_offload::off;
  if (name == "checksum") return net::tun_offload::checksum;
  if (name == "segmentation" || name == "loans") return net::tun_offload::segmentation;
  return net::tun_offload::automatic;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    loop owner;
    net::tun_options options;
    options.name = argc > 1 ? argv[1] : "runnel%d";
    options.address = "10.77.0.1/24";
    options.address_v6 = "fd77::1/64";
    if (argc > 2) options.offload = level(argv[2]);
    net::tun tun = net::tun::open(owner, options).value();
    tcp::stack_options made;
    made.addresses = {"10.77.0.2", net::address::parse("fd77::2").value()};
    made.policy.gro = argc > 2 && std::string_view(argv[2]) == "gro";
    tcp::stack stack(owner, tun, made);
    std::printf("bulk: %s\n", tun.description().c_str());
    std::fflush(stdout);
    owner.run(run(owner, stack, argc < 3 || std::string_view(argv[2]) != "loans"));
    const net::link_counters seen = tun.counters();
    std::printf("bulk: %llu packets in, %llu out, %llu and %llu dropped\n",
                static_cast<unsigned long long>(seen.rx_packets),
                static_cast<unsigned long long>(seen.tx_packets),
                static_cast<unsigned long long>(seen.rx_dropped),
                static_cast<unsigned long long>(seen.tx_dropped));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bulk: %s\n", error.what());
    return 1;
  }
}
