#pragma once

#include <runnel/loop.hpp>
#include <runnel/net/link.hpp>

#include <algorithm>
#include <array>
#include <deque>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace runnel::test {

using texts = std::vector<std::string>;

/// Remembers what a link said.
struct recording_client final : net::link_client {
  void on_link_ready() noexcept override { ++ready; }
  void on_link_error(std::error_code why) noexcept override {
    ++errors;
    error = why;
  }
  int ready = 0;
  int errors = 0;
  std::error_code error;
};

/// Sends bytes as one packet in one piece.
inline net::send_status send_bytes(net::link& to, time_point now,
                                   std::span<const std::byte> bytes) {
  const std::array<std::span<const std::byte>, 1> pieces{bytes};
  return to.send(now, {.pieces = pieces, .size = static_cast<std::uint32_t>(bytes.size())});
}

inline net::send_status send_text(net::link& to, time_point now, const std::string& text) {
  return send_bytes(to, now, std::as_bytes(std::span(text)));
}

inline std::string text_of(const net::packet& packet) {
  return {reinterpret_cast<const char*>(packet.bytes().data()), packet.size()};
}

/// Takes all packets that are there.
inline texts receive_texts(net::link& from, time_point now) {
  texts result;
  for (;;) {
    std::array<net::packet, 8> burst;
    const std::size_t count = from.receive(now, burst);
    for (std::size_t i = 0; i < count; ++i) result.push_back(text_of(burst[i]));
    if (count < burst.size()) return result;
  }
}

/// The smallest user of a link: keeps what arrives and sends what it is told to, as a stack does
/// it.
class packet_hook final : public turn_hook, public net::link_client {
 public:
  packet_hook(loop& owner, net::link& link) : owner_(&owner), link_(&link) {
    owner.attach(*this);
    link.attach(owner, *this);
  }
  packet_hook(const packet_hook&) = delete;
  packet_hook& operator=(const packet_hook&) = delete;
  ~packet_hook() {
    link_->detach();
    owner_->detach(*this);
  }

  texts received;
  std::deque<std::string> to_send;
  std::function<void(const std::string&)> answer;
  std::error_code error;
  int ready_calls = 0;

 private:
  void on_link_ready() noexcept override {
    ready_ = true;
    ++ready_calls;
  }
  void on_link_error(std::error_code why) noexcept override { error = why; }

  bool on_receive(time_point now) override {
    if (!ready_ && link_->deadline() > now) return false;
    std::array<net::packet, 4> burst;
    const std::size_t count = link_->receive(now, burst);
    for (std::size_t i = 0; i < count; ++i) {
      received.push_back(text_of(burst[i]));
      if (answer) answer(received.back());
    }
    ready_ = count == burst.size();
    return ready_;
  }
  void on_timers(time_point) override {}
  bool on_emit(time_point now) override {
    while (!to_send.empty()) {
      if (send_text(*link_, now, to_send.front()) == net::send_status::would_block) break;
      to_send.pop_front();
    }
    return false;
  }
  time_point deadline() const noexcept override { return link_->deadline(); }

  loop* owner_;
  net::link* link_;
  bool ready_ = false;
};

}  // namespace runnel::test
