// A user's program with the TCP: two stacks on an in-process link exchange a line.
#include <array>
#include <cstdio>
#include <runnel/loop.hpp>
#include <runnel/net/link_pair.hpp>
#include <runnel/task_group.hpp>
#include <runnel/tcp/stack.hpp>
#include <string_view>

namespace {

using runnel::task;
namespace tcp = runnel::tcp;

constexpr std::string_view line = "a line from a user's program\n";

task<> echo_one(tcp::listener& listener) {
  auto peer = co_await listener.accept();
  std::array<std::byte, 256> buffer;
  auto got = co_await peer.value().read(buffer);
  auto sent = co_await peer.value().write(std::span(buffer).first(got.value()));
  sent.value();
  co_await peer.value().close();
}

task<bool> exchange(runnel::loop& io, tcp::stack& server, tcp::stack& client) {
  auto listener = server.listen({.port = 7}).value();
  runnel::task_group group{io};
  group.spawn(echo_one(listener));
  auto to = runnel::net::endpoint{*runnel::net::address::parse("10.0.0.1"), 7};
  auto peer = co_await client.connect(to);
  auto sent = co_await peer.value().write(std::as_bytes(std::span(line)));
  sent.value();
  std::array<std::byte, 256> buffer;
  auto got = co_await peer.value().read(buffer);
  bool same = std::string_view(reinterpret_cast<char*>(buffer.data()), got.value()) == line;
  co_await peer.value().close();
  co_await group.join();
  co_return same;
}

}  // namespace

int main() {
  runnel::loop io{{.simulated = 1}};
  runnel::net::link_pair wire;
  tcp::stack server{io, wire.first(), {.addresses = {*runnel::net::address::parse("10.0.0.1")}}};
  tcp::stack client{io, wire.second(), {.addresses = {*runnel::net::address::parse("10.0.0.2")}}};
  if (!io.run(exchange(io, server, client))) return 1;
  std::puts("the line came back");
}
