#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runnel/tcp/engine/host.hpp"

namespace runnel::bench {

inline constexpr std::string_view keep_alive_request = "GET /hello HTTP/1.1\r\nHost: bench\r\n\r\n";
inline constexpr std::string_view last_request =
    "GET /hello HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
inline constexpr std::string_view keep_alive_response =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, world!\n";
inline constexpr std::string_view last_response =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n"
    "Connection: close\r\n\r\nHello, world!\n";

/// Where virtual time begins: late enough that nothing of it is zero.
inline constexpr time_point epoch{std::chrono::seconds(1000)};

inline constexpr net::address server_address = net::address::v4(10, 0, 0, 2);

/// The nth address of the client: 250 in each network of 10.1.0.0/16.
inline net::address client_address(std::uint32_t n) {
  return net::address::v4(10, 1, static_cast<std::uint8_t>(n / 250),
                          static_cast<std::uint8_t>(1 + n % 250));
}

/// Crafted peers live in 10.128.0.0/9, so that one byte tells them from the client.
constexpr bool is_crafted(std::span<const std::byte> ip_packet) {
  return std::to_integer<unsigned>(ip_packet[17]) >= 128;
}

struct pair_options {
  /// Connections at once.
  std::uint32_t at_once = 64;
  /// Both hosts compute and verify checksums; otherwise that is left to the link.
  bool checksums = true;
  /// The client's local ports.
  std::uint16_t first_port = 32768;
  std::uint16_t last_port = 60999;
  /// The client's addresses.
  std::uint32_t clients = 1;
  /// Keep the connections and count requests.
  bool requests = false;
  /// How many operations in all.
  std::uint64_t operations = UINT64_MAX;
};

/// Two hosts in one thread, each packet of one copied and handed to the other: connections that are
/// opened, carry a request and a response and are closed by the server first, or keep-alive
/// requests. Time is the caller's.
class engine_pair {
 public:
  explicit engine_pair(const pair_options& options)
      : options_(options), client_(make_client(options)), server_(make_server(options)) {
    tcp::listener_policy policy;
    policy.syncookies = tcp::syncookies::off;
    policy.backlog = table_room;
    const auto opened = server_.listen({{}, 80}, policy, listener_token);
    if (!opened) throw std::runtime_error("listen: " + std::string(to_string(opened.error)));
    listener_ = opened.value;
  }

  tcp::host& server() { return server_; }
  tcp::socket_id listener() const { return listener_; }
  /// Connections that are over, or requests that are answered.
  std::uint64_t done() const { return done_; }
  /// Packets between the two hosts, both ways.
  std::uint64_t packets() const { return packets_; }
  /// Nothing more is asked for and nothing is under way.
  bool finished() const { return done_ == options_.operations; }

  void start(time_point now) {
    for (std::uint32_t i = 0; i < options_.at_once; ++i) open(now);
  }
  /// One way there and back, and what both programs do about it.
  void turn(time_point now) {
    if (client_.poll_timeout() <= now) client_.on_timeout(now);
    if (server_.poll_timeout() <= now) server_.on_timeout(now);
    pump(client_, server_, now);
    serve(now);
    pump(server_, client_, now);
    fetch(now);
  }

 private:
  static constexpr std::uint64_t listener_token = UINT64_MAX;
  static constexpr std::uint32_t table_room = 1U << 23;

  static tcp::host_options host_options_for(const pair_options& options, std::uint64_t seed) {
    tcp::host_options made;
    made.keys = {{seed, 1}, {seed, 2}, {seed, 3}, {seed, 4}, {seed, 5}};
    made.checksum_offload_tx = !options.checksums;
    made.checksum_offload_rx = !options.checksums;
    return made;
  }
  static tcp::host make_client(const pair_options& options) {
    tcp::host_options made = host_options_for(options, 1);
    for (std::uint32_t i = 0; i < options.clients; ++i) made.addresses.push_back(client_address(i));
    made.policy.local_port_first = options.first_port;
    made.policy.local_port_last = options.last_port;
    return tcp::host(std::move(made));
  }
  static tcp::host make_server(const pair_options& options) {
    tcp::host_options made = host_options_for(options, 2);
    made.addresses = {server_address};
    made.policy.somaxconn = table_room;
    made.policy.max_syn_backlog = table_room;
    return tcp::host(std::move(made));
  }

  void open(time_point now) {
    if (opened_ == options_.operations) return;
    ++opened_;
    tcp::connect_options how;
    how.local.address = client_address(next_client_);
    next_client_ = next_client_ + 1 == options_.clients ? 0 : next_client_ + 1;
    const auto opened = client_.connect({server_address, 80}, how, 0, now);
    if (opened) return;
    throw std::runtime_error("connect: " + std::string(to_string(opened.error)) +
                             "; give the client more ports or more addresses (--clients).");
  }

  /// Hands over in bursts, as a stack takes them from its link.
  void pump(tcp::host& from, tcp::host& to, time_point now) {
    std::size_t count = 0;
    while (const net::tx_packet* out = from.poll_transmit(now)) {
      // What still goes to crafted peers gets lost on the way: nobody is there.
      if (is_crafted(out->pieces[0])) continue;
      net::packet copy = pool_.allocate(out->size);
      std::size_t filled = 0;
      for (const auto piece : out->pieces) {
        std::memcpy(copy.room().data() + filled, piece.data(), piece.size());
        filled += piece.size();
      }
      copy.resize(filled);
      copy->offload = out->offload;
      burst_[count++] = std::move(copy);
      if (count < burst_.size()) continue;
      to.on_packets(burst_, now);
      packets_ += std::exchange(count, 0);
    }
    to.on_packets(std::span(burst_).first(count), now);
    packets_ += count;
  }

  void serve(time_point now) {
    tcp::socket_event happened;
    while (server_.poll_event(happened)) {
      if (happened.token == listener_token) {
        while (const auto accepted = server_.accept(listener_, 0)) answer(accepted.value, now);
      } else {
        answer(happened.socket, now);
      }
    }
  }

  void answer(tcp::socket_id socket, time_point now) {
    std::byte buffer[512];
    const auto got = server_.receive(socket, buffer, now);
    if (!got) return;
    if (got.value > 0) {
      const std::string_view text = options_.requests ? keep_alive_response : last_response;
      (void)server_.send(socket, std::as_bytes(std::span(text)), now);
      if (options_.requests) return;
      server_.close(socket, tcp::close_mode::graceful, now);
    }
    server_.release(socket, now);
  }

  void fetch(time_point now) {
    tcp::socket_event happened;
    while (client_.poll_event(happened)) {
      if (any(happened.what & tcp::events::connected)) ask(happened.socket, now);
      if (any(happened.what & tcp::events::readable)) take_response(happened.socket, now);
    }
  }

  void ask(tcp::socket_id socket, time_point now) {
    ++asked_;
    const std::string_view text = options_.requests ? keep_alive_request : last_request;
    (void)client_.send(socket, std::as_bytes(std::span(text)), now);
  }

  void take_response(tcp::socket_id socket, time_point now) {
    std::byte buffer[512];
    while (const auto got = client_.receive(socket, buffer, now)) {
      if (options_.requests) {
        if (got.value == 0)
          throw std::runtime_error("the server ended a connection it should keep.");
        ++done_;
        if (asked_ < options_.operations) ask(socket, now);
        return;
      }
      if (got.value > 0) continue;
      client_.release(socket, now);
      ++done_;
      open(now);
      return;
    }
  }

  pair_options options_;
  net::packet_pool pool_;
  tcp::host client_;
  tcp::host server_;
  tcp::socket_id listener_;
  std::uint32_t next_client_ = 0;
  std::uint64_t opened_ = 0;
  std::uint64_t asked_ = 0;
  std::uint64_t done_ = 0;
  std::uint64_t packets_ = 0;
  std::array<net::packet, 64> burst_;
};

}  // namespace runnel::bench
