#include "stack_core.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#include "runnel/detail/check.hpp"
#include "runnel/detail/thread_state.hpp"
#include "runnel/wire/coalesce.hpp"

namespace runnel::tcp::detail {

namespace {

constexpr std::size_t sockets_per_chunk = 64;
// Until a change that found no memory is tried again.
constexpr duration pause_without_memory = std::chrono::milliseconds{1};

template <class T, class Visit>
void for_each(runnel::detail::list<T>& all, Visit visit) {
  if (all.empty()) return;
  for (T* each = &all.front(); each != nullptr; each = all.after(*each)) visit(*each);
}

}  // namespace

stack_core::stack_core(loop& owner, net::link& link, host_options options, held_shard place)
    : loop_(&owner),
      link_(&link),
      host_(std::move(options)),
      believes_link_(link.info().checksum_offload_rx),
      link_coalesces_(link.info().coalesces_rx),
      place_(std::move(place)),
      handed_(place_) {
  idle_.set();
  if (place_) place_->open(place_.index(), owner, *this);
  loop_->attach(*this);
  link_->attach(owner, *this);
}

void stack_retirement::operator()(stack_core* core) const noexcept {
  core->retire();
}

void stack_core::retire() noexcept {
  runnel::detail::check(
      (live_sockets_ == 0 && listeners_.empty()) || runnel::detail::this_thread.teardown_depth > 0,
      "runnel: a tcp::stack was destroyed before its streams and listeners; destroy those first.");
  place_.leave();
  link_->detach();
  loop_->detach(*this);
  for_each(sockets_, [](socket& each) {
    each.open = false;
    if (each.writer != nullptr) each.writer->forsake();
  });
  for_each(listeners_, [](listener_state& each) { each.open = false; });
  blocked_ = {};
  while (!lent_.empty()) lent_.pop_front().forsake();
  // The engine holds packets of the link, which may be the next to go.
  { const host gone = std::move(host_); }
  retired_ = true;
  die_when_unused();
}

void stack_core::die_when_unused() noexcept {
  if (retired_ && live_sockets_ == 0 && listeners_.empty()) delete this;
}

void stack_core::remove(listener_state& listener) noexcept {
  listener.unlink();
  die_when_unused();
}

bool stack_core::on_receive(time_point now) {
  if (handed_ || letters_again_ <= now) take_handed(now);
  if (failed_) return false;
  if (link_error_) {
    fail_everything();
    return false;
  }
  if (!link_ready_ && link_->deadline() > now) return handed_;
  link_ready_ = false;
  const std::size_t asked = came_alone_ ? 1 : burst_.size();
  const std::size_t count = read_link(now, asked);
  arrived_ += count;
  if (count < asked) {
    if (arrived_ > 0) came_alone_ = arrived_ == 1;
    // A link that delays what comes may have more where that came from, and said so meanwhile.
    if (link_ready_) came_alone_ = false;
    arrived_ = 0;
  } else if (came_alone_) {
    // Where packets come one at a time, this one is answered before the link is asked for another.
    ask_again_ = true;
  } else {
    link_ready_ = true;
  }
  return link_ready_ || handed_;
}

/// Hands a burst to the engine; how many packets the link gave.
std::size_t stack_core::read_link(time_point now, std::size_t most) {
  const std::size_t count = link_->receive(now, std::span(burst_).first(most));
  const auto burst = std::span(burst_).first(count);
  if (!believes_link_) {
    for (net::packet& each : burst) each->offload = {};
  }
  const bool joins = host_.policy().gro && !link_coalesces_;
  const std::size_t left = joins ? wire::coalesce(burst, link_->pool()) : count;
  host_.on_packets(burst.first(left), now);
  if (place_) hand_over();
  dispatch();
  return count;
}

/// Brings what came here for other shards to them, with one wake-up for each.
void stack_core::hand_over() noexcept {
  std::array<std::uint64_t, 4> woken{};
  stray found;
  while (host_.poll_stray(found)) {
    if (!place_->send(place_.index(), found.shard, found.packet)) {
      host_.on_stray_lost();
      continue;
    }
    woken[found.shard / 64] |= std::uint64_t{1} << found.shard % 64;
  }
  for (std::uint32_t word = 0; word < woken.size(); ++word) {
    for (std::uint64_t bits = woken[word]; bits != 0; bits &= bits - 1) {
      place_->wake(word * 64 + static_cast<std::uint32_t>(std::countr_zero(bits)));
    }
  }
}

/// Takes a burst from each of the other shards.
void stack_core::take_handed(time_point now) {
  handed_ = false;
  place_->begin_taking(place_.index());
  const bool all_read = place_->read_letters(place_.index(), host_);
  letters_again_ = all_read ? time_point::max() : after(now, pause_without_memory);
  for (std::uint32_t from = 0; from < place_->size(); ++from) {
    net::packet taken;
    std::size_t count = 0;
    while (count < handed_packets && place_->take(from, place_.index(), link_->pool(), taken)) {
      if (!failed_) host_.on_stray(std::move(taken), now);
      ++count;
    }
    if (count == handed_packets) handed_ = true;
    // Packets that came in pieces may go on from here.
    hand_over();
  }
  dispatch();
}

void stack_core::on_timers(time_point now) {
  if (failed_ || host_.poll_timeout() > now) return;
  host_.on_timeout(now);
  dispatch();
}

bool stack_core::on_emit(time_point now) {
  if (failed_) return false;
  dispatch();
  bool more = false;
  if (link_full_) link_full_ = !link_->send_queued(now);
  if (!link_full_ && (!blocked_ || send_blocked(now))) {
    std::size_t sent = 0;
    while (const net::tx_packet* packet = host_.poll_transmit(now)) {
      const net::send_status status = link_->enqueue(now, *packet);
      if (status == net::send_status::would_block) {
        keep_blocked(*packet);
        break;
      }
      if (status == net::send_status::gone) break;
      if (++sent == emit_packets) {
        more = true;
        break;
      }
    }
    link_full_ = !link_->send_queued(now);
  }
  // What has left may have made room for writers.
  dispatch();
  if (std::exchange(ask_again_, false)) {
    came_alone_ = read_link(now, burst_.size()) == 0;
    if (!came_alone_) link_ready_ = more = true;
    arrived_ = 0;
  }
  note_idle(more);
  return more;
}

time_point stack_core::deadline() const noexcept {
  if (handed_) return time_point::min();
  if (failed_) return letters_again_;
  if (link_ready_) return time_point::min();
  return std::min({host_.poll_timeout(), link_->deadline(), letters_again_});
}

bool stack_core::send_blocked(time_point now) noexcept {
  const std::span<const std::byte> piece = blocked_.bytes();
  net::tx_packet packet;
  packet.pieces = std::span(&piece, 1);
  packet.size = static_cast<std::uint32_t>(piece.size());
  packet.offload = blocked_->offload;
  if (link_->send(now, packet) == net::send_status::would_block) return false;
  blocked_ = {};
  return true;
}

void stack_core::keep_blocked(const net::tx_packet& packet) noexcept {
  // Without memory it is one more packet that the network lost.
  blocked_ = link_->pool().allocate(packet.size);
  if (!blocked_) return;
  std::size_t filled = 0;
  for (const auto piece : packet.pieces) {
    std::memcpy(blocked_.room().data() + filled, piece.data(), piece.size());
    filled += piece.size();
  }
  blocked_.resize(filled);
  blocked_->offload = packet.offload;
}

void stack_core::dispatch() noexcept {
  socket_event happened;
  while (host_.poll_event(happened)) {
    if ((happened.token & listener_bit) != 0) {
      reinterpret_cast<listener_state*>(happened.token & ~listener_bit)->on_acceptable();
    } else {
      reinterpret_cast<socket*>(happened.token)->on_events(happened.what);
    }
  }
}

void stack_core::fail_everything() noexcept {
  failed_ = true;
  for_each(sockets_, [this](socket& each) { each.fail_all(link_error_); });
  for_each(listeners_, [this](listener_state& each) { each.fail_all(link_error_); });
  idle_.set();
}

void stack_core::note_idle(bool more_to_send) noexcept {
  const bool is_idle = host_.busy_count() == 0 && !blocked_ && !link_full_ && !more_to_send;
  if (is_idle == idle_.is_set()) return;
  if (is_idle) {
    idle_.set();
  } else {
    idle_.reset();
  }
}

runnel::event& stack_core::idle() noexcept {
  // The answer is found when this turn has sent what it has to send: the last RST is on its way
  // then.
  if (!failed_) idle_.reset();
  return idle_;
}

socket* stack_core::make_socket() noexcept {
  if (free_sockets_.empty()) {
    try {
      auto chunk = std::make_unique<std::byte[]>(sockets_per_chunk * sizeof(socket));
      free_sockets_.reserve((socket_chunks_.size() + 1) * sockets_per_chunk);
      socket_chunks_.reserve(socket_chunks_.size() + 1);
      for (std::size_t i = sockets_per_chunk; i-- > 0;) {
        free_sockets_.push_back(chunk.get() + i * sizeof(socket));
      }
      socket_chunks_.push_back(std::move(chunk));
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
  }
  void* place = free_sockets_.back();
  free_sockets_.pop_back();
  auto* made = new (place) socket(*this);
  sockets_.push_back(*made);
  ++live_sockets_;
  return made;
}

void stack_core::free_socket(socket* which) noexcept {
  which->~socket();
  free_sockets_.push_back(which);
  --live_sockets_;
  die_when_unused();
}

}  // namespace runnel::tcp::detail
