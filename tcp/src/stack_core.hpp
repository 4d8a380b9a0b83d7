#pragma once

#include <array>
#include <memory>
#include <system_error>
#include <vector>

#include "runnel/detail/list.hpp"
#include "runnel/event.hpp"
#include "runnel/loop.hpp"
#include "runnel/net/link.hpp"
#include "runnel/result.hpp"
#include "runnel/tcp/detail/awaiters.hpp"
#include "runnel/tcp/detail/socket.hpp"
#include "runnel/tcp/engine/host.hpp"
#include "runnel/tcp/error_code.hpp"
#include "shard_hub.hpp"

namespace runnel::tcp::detail {

inline result<void> to_result(error of) noexcept {
  if (of == error::none) return {};
  return to_error_code(of);
}

/// What stands behind a `listener`.
struct listener_state : runnel::detail::list_hook {
  listener_state(stack_core& owner, socket_id listener) noexcept : stack(&owner), id(listener) {}
  ~listener_state();

  /// A connection of the engine, or the reason why there is none; false when none waits.
  bool take(socket*& accepted, std::error_code& error) noexcept;
  void on_acceptable() noexcept;
  void fail_all(std::error_code why) noexcept;
  void close() noexcept;

  stack_core* stack;
  socket_id id;
  bool open = true;
  runnel::detail::list<accept_awaiter, runnel::detail::tagged_hook<accept_tag>> accepting;
};

/// The engine bound to a loop and a link: what happens in each phase of a turn, and the pool of
/// sockets.
class stack_core final : public turn_hook, public net::link_client, private shard_member {
 public:
  stack_core(loop& owner, net::link& link, host_options options, held_shard place);
  /// The stack is gone, and this with it. Only while suspended tasks are destroyed may streams and
  /// listeners be left; then their memory lives until the last of them goes.
  void retire() noexcept;

  /// Packets read or sent in one phase, so that neither direction starves tasks or the other.
  static constexpr std::size_t burst_packets = 64;
  static constexpr std::size_t emit_packets = 256;
  /// Packets taken in one phase from each of the other shards, which may have had several turns.
  static constexpr std::size_t handed_packets = 256;

  bool on_receive(time_point now) override;
  void on_timers(time_point now) override;
  bool on_emit(time_point now) override;
  time_point deadline() const noexcept override;
  void on_link_ready() noexcept override { link_ready_ = true; }
  void on_link_error(std::error_code why) noexcept override {
    link_error_ = why;
    link_ready_ = true;
  }

  host& engine() noexcept { return host_; }
  const host& engine() const noexcept { return host_; }
  loop& owner() noexcept { return *loop_; }
  time_point now() const noexcept { return loop_->now(); }
  std::error_code link_error() const noexcept { return link_error_; }
  bool link_failed() const noexcept { return link_error_.value() != 0; }

  /// Of a shard, its place.
  const held_shard& place() const noexcept { return place_; }

  /// A socket for a connection of the engine; null without memory.
  socket* make_socket() noexcept;
  void free_socket(socket* which) noexcept;
  void add(listener_state& listener) noexcept { listeners_.push_back(listener); }
  void add(lent& holder) noexcept { lent_.push_back(holder); }
  void remove(listener_state& listener) noexcept;

  static std::uint64_t token_of(const socket& of) noexcept {
    return reinterpret_cast<std::uintptr_t>(&of);
  }
  static std::uint64_t token_of(const listener_state& of) noexcept {
    return reinterpret_cast<std::uintptr_t>(&of) | listener_bit;
  }

  /// To be waited for: set at the end of a turn that leaves no connection and nothing to send.
  event& idle() noexcept;

 private:
  /// Both kinds of objects are aligned to more than this.
  static constexpr std::uint64_t listener_bit = 1;

  ~stack_core() = default;
  void die_when_unused() noexcept;
  void on_handed() noexcept override { handed_ = true; }
  std::size_t read_link(time_point now, std::size_t most);
  void hand_over() noexcept;
  void take_handed(time_point now);
  void dispatch() noexcept;
  void fail_everything() noexcept;
  bool send_blocked(time_point now) noexcept;
  void keep_blocked(const net::tx_packet& packet) noexcept;
  void note_idle(bool more_to_send) noexcept;

  loop* loop_;
  net::link* link_;
  host host_;
  std::array<net::packet, burst_packets> burst_;
  /// How many packets have come since the link had none.
  std::size_t arrived_ = 0;
  /// Before that it was no more than one.
  bool came_alone_ = false;
  /// The link is to be asked once more, when what it gave has been answered.
  bool ask_again_ = false;
  /// What the link says of packets that it gives is believed.
  bool believes_link_;
  /// It joins segments itself.
  bool link_coalesces_;
  bool link_ready_ = true;
  held_shard place_;
  /// Other shards have sent something, packets or letters.
  bool handed_;
  /// When letters are read that were left for want of memory.
  time_point letters_again_ = time_point::max();
  bool failed_ = false;
  bool retired_ = false;
  /// A packet that the link had no room for.
  net::packet blocked_;
  /// Others that it has taken wait until it has room.
  bool link_full_ = false;
  std::error_code link_error_;
  event idle_;
  runnel::detail::list<socket> sockets_;
  runnel::detail::list<listener_state> listeners_;
  runnel::detail::list<lent> lent_;
  std::vector<void*> free_sockets_;
  std::vector<std::unique_ptr<std::byte[]>> socket_chunks_;
  std::size_t live_sockets_ = 0;
};

}  // namespace runnel::tcp::detail
