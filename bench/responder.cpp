// The least that can be called a server on our TCP: every read is taken for one request and
// answered with the same bytes; a request that says "Connection: close" is the connection's last.
// What http_server costs beyond this is HTTP.
//
//   responder [TUN device] [port]

#include <array>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string_view>

#include "runnel/loop.hpp"
#include "runnel/net/tun.hpp"
#include "runnel/signal.hpp"
#include "runnel/task_group.hpp"
#include "runnel/tcp/stack.hpp"

using namespace runnel;

namespace {

constexpr std::string_view answer =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, world!\n";
constexpr std::string_view last_answer =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n"
    "Connection: close\r\n\r\nHello, world!\n";

task<> serve(tcp::stream stream) {
  std::array<std::byte, 512> buffer;
  for (;;) {
    const auto got = co_await stream.read(buffer);
    if (!got || *got == 0) co_return;
    const std::string_view request(reinterpret_cast<const char*>(buffer.data()), *got);
    const bool last = request.find("onnection: close") != request.npos;
    const std::string_view text = last ? last_answer : answer;
    const auto sent = co_await stream.write(std::as_bytes(std::span(text)));
    if (!sent || last) co_return;
  }
}

task<> accept_all(tcp::listener& listener, task_group& connections) {
  for (;;) {
    auto accepted = co_await listener.accept();
    if (!accepted) co_return;
    connections.spawn(serve(std::move(*accepted)));
  }
}

task<> run(loop& owner, tcp::stack& stack, std::uint16_t port) {
  signal_set signals(owner, {SIGINT, SIGTERM});
  auto listener = stack.listen({.address = {}, .port = port}).value();
  task_group connections(owner, on_failure::collect);
  connections.spawn(accept_all(listener, connections));
  co_await signals.wait();
  connections.cancel();
  co_await connections.join();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    loop owner;
    net::tun_options options;
    options.name = argc > 1 ? argv[1] : "runnel%d";
    options.address = "10.77.0.1/24";
    net::tun tun = net::tun::open(owner, options).value();
    tcp::stack_options made;
    made.addresses = {net::address::v4(10, 77, 0, 2)};
    tcp::stack stack(owner, tun, made);
    owner.run(run(owner, stack, static_cast<std::uint16_t>(argc > 2 ? std::atoi(argv[2]) : 80)));
    const auto& metrics = owner.metrics();
    std::printf("responder: %s; %llu turns, %llu enters, %llu tasks run\n",
                owner.description().c_str(), static_cast<unsigned long long>(metrics.turns),
                static_cast<unsigned long long>(metrics.enters),
                static_cast<unsigned long long>(metrics.resumed));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "responder: %s\n", error.what());
    return 1;
  }
}
