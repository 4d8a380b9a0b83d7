// How many connections a second the engine alone makes: two hosts in one thread, every packet
// handed from one to the other in memory. Each connection is open, request, response, close by the
// server, close by the client, with 60 s of TIME_WAIT, RFC 6528 ISNs and timestamps on.
//
//   memory_link [seconds] [connections at once] [first port] [last port]

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "runnel/tcp/engine/host.hpp"

using namespace runnel;
using namespace runnel::tcp;

namespace {

constexpr std::string_view request =
    "GET /hello HTTP/1.1\r\nHost: 10.77.0.2\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";
constexpr std::string_view response =
    "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: text/plain\r\n"
    "Content-Length: 14\r\nConnection: close\r\n\r\nHello, world!\n";

constexpr std::uint64_t listener_token = UINT64_MAX;

host make_host(std::uint8_t last_byte, bool checksums, std::uint16_t first_port,
               std::uint16_t last_port) {
  host_options options;
  options.addresses = {net::address::v4(10, 0, 0, last_byte)};
  options.policy.local_port_first = first_port;
  options.policy.local_port_last = last_port;
  options.keys = {{last_byte, 1}, {last_byte, 2}, {last_byte, 3}};
  options.checksum_offload_tx = !checksums;
  options.checksum_offload_rx = !checksums;
  return host(std::move(options));
}

struct measurement {
  std::uint64_t connections = 0;
  std::uint64_t packets = 0;
  double seconds = 0;
  std::size_t time_wait = 0;
  memory_table memory;
};

class exchange {
 public:
  exchange(bool checksums, std::uint16_t first_port, std::uint16_t last_port)
      : client_(make_host(1, checksums, first_port, last_port)),
        server_(make_host(2, checksums, first_port, last_port)) {
    listener_ = server_.listen({{}, 80}, {}, listener_token).value;
  }

  measurement run(double seconds, unsigned at_once) {
    using clock = std::chrono::steady_clock;
    const auto start = clock::now();
    time_point now = start;
    for (unsigned i = 0; i < at_once; ++i) open(now);
    measurement result;
    while (now - start < std::chrono::duration<double>(seconds)) {
      pump(client_, server_, now);
      serve(now);
      pump(server_, client_, now);
      fetch(now);
      now = clock::now();
      if (client_.poll_timeout() <= now) client_.on_timeout(now);
      if (server_.poll_timeout() <= now) server_.on_timeout(now);
    }
    result.connections = done_;
    result.packets = packets_;
    result.seconds = std::chrono::duration<double>(now - start).count();
    result.memory = server_.memory();
    result.time_wait = result.memory.time_wait;
    return result;
  }

 private:
  void open(time_point now) {
    const auto opened =
        client_.connect({net::address::v4(10, 0, 0, 2), 80}, connect_options(), 0, now);
    if (!opened) {
      std::fprintf(stderr, "memory_link: connect: %s\n", to_string(opened.error).data());
      std::exit(1);
    }
  }

  void pump(host& from, host& to, time_point now) {
    while (const net::tx_packet* out = from.poll_transmit(now)) {
      net::packet copy = pool_.allocate(out->size);
      std::size_t filled = 0;
      for (const auto piece : out->pieces) {
        std::memcpy(copy.room().data() + filled, piece.data(), piece.size());
        filled += piece.size();
      }
      copy.resize(filled);
      copy->offload = out->offload;
      to.on_packet(std::move(copy), now);
      ++packets_;
    }
  }

  void serve(time_point now) {
    socket_event happened;
    std::byte buffer[512];
    while (server_.poll_event(happened)) {
      if (happened.token == listener_token) {
        while (const auto accepted = server_.accept(listener_, 0))
          answer(accepted.value, buffer, now);
      } else {
        answer(happened.socket, buffer, now);
      }
    }
  }

  void answer(socket_id socket, std::span<std::byte> buffer, time_point now) {
    const auto got = server_.receive(socket, buffer, now);
    if (!got) return;
    if (got.value > 0) {
      (void)server_.send(socket, std::as_bytes(std::span(response)), now);
      server_.close(socket, close_mode::graceful, now);
    }
    server_.release(socket, now);
  }

  void fetch(time_point now) {
    socket_event happened;
    std::byte buffer[512];
    while (client_.poll_event(happened)) {
      if (any(happened.what & events::connected)) {
        (void)client_.send(happened.socket, std::as_bytes(std::span(request)), now);
      }
      if (!any(happened.what & events::readable)) continue;
      for (;;) {
        const auto got = client_.receive(happened.socket, buffer, now);
        if (!got) break;
        if (got.value > 0) continue;
        client_.release(happened.socket, now);
        ++done_;
        open(now);
        break;
      }
    }
  }

  net::packet_pool pool_;
  host client_;
  host server_;
  socket_id listener_;
  std::uint64_t done_ = 0;
  std::uint64_t packets_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 3;
  const auto at_once = static_cast<unsigned>(argc > 2 ? std::atoi(argv[2]) : 64);
  const auto first = static_cast<std::uint16_t>(argc > 3 ? std::atoi(argv[3]) : 32768);
  const auto last = static_cast<std::uint16_t>(argc > 4 ? std::atoi(argv[4]) : 60999);
  std::printf("%-14s %14s %12s %10s %12s\n", "checksums", "connections/s", "ns each", "packets",
              "TIME_WAIT");
  memory_table memory;
  for (const bool checksums : {false, true}) {
    exchange both(checksums, first, last);
    const measurement result = both.run(seconds, at_once);
    const double each = result.seconds / static_cast<double>(result.connections);
    std::printf("%-14s %14.0f %12.0f %10.2f %12zu\n", checksums ? "computed" : "left to the link",
                1 / each, each * 1e9,
                static_cast<double>(result.packets) / static_cast<double>(result.connections),
                result.time_wait);
    memory = result.memory;
  }
  std::printf(
      "\nbytes of one object with its share of the look-up table: connection %zu, "
      "half-open %zu, TIME_WAIT %zu\n",
      memory.connection_bytes, memory.half_open_bytes, memory.time_wait_bytes);
}
