#include "shard_hub.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>

#include "keys.hpp"

namespace runnel::tcp::detail {

namespace {

int open_eventfd() {
  const int fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) {
    throw std::system_error(errno, std::generic_category(),
                            "runnel: eventfd(2) gave nothing to wake a shard of a TCP stack with; "
                            "raise the limit of open files (ulimit -n)");
  }
  return fd;
}

}  // namespace

shard_bell::shard_bell(loop& owner, shard_member& told) : fd_(open_eventfd()), told_(&told) {
  watch_.emplace(owner, fd_, *this);
}

shard_bell::~shard_bell() {
  ::close(fd_);
}

void shard_bell::ring() noexcept {
  const std::uint64_t one = 1;
  while (::write(fd_, &one, sizeof one) < 0 && errno == EINTR) {
  }
}

void shard_bell::on_ready() noexcept {
  std::uint64_t rings = 0;
  while (::read(fd_, &rings, sizeof rings) < 0 && errno == EINTR) {
  }
  told_->on_handed();
}

shard_hub::shard_hub(std::uint32_t count, const shard_group_options& options)
    : keys_(options.keys ? *options.keys : random_keys()) {
  for (std::uint32_t i = 0; i < count; ++i) seats_.push_back(std::make_unique<seat>());
  for (std::uint32_t i = 0; i < count * count; ++i) {
    rings_.push_back(std::make_unique<packet_ring>(options.ring_bytes));
  }
}

shard_hub::~shard_hub() = default;

shard_hub::grant shard_hub::reserve(std::uint32_t index, const terms& wanted) {
  const std::lock_guard lock(mutex_);
  seat& mine = *seats_[index];
  if (mine.state.load(std::memory_order_relaxed) != seat_state::empty) {
    throw std::invalid_argument("place " + std::to_string(index) +
                                " of a shard group was given to two stacks; each has its own");
  }
  if (!terms_) {
    adopt(keys_, wanted.shared_keys);
    terms_ = wanted;
  }
  if (wanted.addresses != terms_->addresses) {
    throw std::invalid_argument(
        "the stacks of a shard group have the same addresses in the same order; those of shard " +
        std::to_string(index) + " are others");
  }
  if (wanted.port_first != terms_->port_first || wanted.port_last != terms_->port_last) {
    throw std::invalid_argument(
        "the stacks of a shard group start with the same local_port_first and local_port_last; "
        "those of shard " +
        std::to_string(index) + " are others");
  }
  mine.state.store(seat_state::reserved, std::memory_order_relaxed);
  return {{index, size()}, keys_, terms_->clock_offset};
}

void shard_hub::open(std::uint32_t index, loop& owner, shard_member& member) {
  const std::lock_guard lock(mutex_);
  seat& mine = *seats_[index];
  mine.thread = std::this_thread::get_id();
  mine.owner = &owner;
  mine.member = &member;
  if (!owner.simulated()) {
    mine.bell.emplace(owner, member);
    mine.bell->arm();
  }
  mine.state.store(seat_state::open, std::memory_order_release);
}

void shard_hub::leave(std::uint32_t index) noexcept {
  seat& mine = *seats_[index];
  letter_queue unread;
  {
    const std::lock_guard lock(mutex_);
    const bool opened = mine.state.load(std::memory_order_relaxed) == seat_state::open;
    mine.state.store(opened ? seat_state::left : seat_state::empty, std::memory_order_relaxed);
    unread.swap(mine.letters);
  }
  if (mine.bell) mine.bell->retire();
  while (!unread.empty()) unread.pop_front()->read(nullptr);
}

bool shard_hub::send(std::uint32_t from, std::uint32_t to, const net::packet& what) noexcept {
  if (seats_[to]->state.load(std::memory_order_relaxed) == seat_state::left) return false;
  return ring_of(from, to).push(what);
}

void shard_hub::wake(std::uint32_t to) noexcept {
  seat& other = *seats_[to];
  // Who is not there yet looks when it comes.
  if (other.state.load(std::memory_order_acquire) != seat_state::open) return;
  if (other.thread == std::this_thread::get_id()) {
    other.member->on_handed();
    other.owner->request_turn();
    return;
  }
  if (other.bell && !other.rung.exchange(true, std::memory_order_acq_rel)) other.bell->ring();
}

void shard_hub::begin_taking(std::uint32_t index) {
  seat& mine = *seats_[index];
  if (mine.bell) mine.bell->arm();
  // What was sent before the bell was rung is seen from here on, and who rings from now on is
  // heard.
  mine.rung.exchange(false, std::memory_order_acq_rel);
}

bool shard_hub::read_letters(std::uint32_t index, host& engine) {
  seat& mine = *seats_[index];
  if (!mine.has_letters.load(std::memory_order_acquire)) return true;
  letter_queue all;
  {
    const std::lock_guard lock(mutex_);
    all.swap(mine.letters);
    mine.has_letters.store(false, std::memory_order_relaxed);
  }
  for (; !all.empty(); all.pop_front()) {
    try {
      all.front().read(&engine);
    } catch (const std::bad_alloc&) {
      const std::lock_guard lock(mutex_);
      while (!mine.letters.empty()) all.push_back(mine.letters.pop_front());
      mine.letters.swap(all);
      mine.has_letters.store(true, std::memory_order_relaxed);
      return false;
    }
  }
  return true;
}

void shard_hub::post(std::uint32_t to, std::unique_ptr<letter> what) noexcept {
  seat& other = *seats_[to];
  {
    const std::lock_guard lock(mutex_);
    const seat_state state = other.state.load(std::memory_order_relaxed);
    if (state == seat_state::open || state == seat_state::reserved) {
      other.letters.push_back(std::move(what));
      other.has_letters.store(true, std::memory_order_release);
    }
  }
  if (what) {
    what->read(nullptr);
  } else {
    wake(to);
  }
}

void shard_hub::post_to_all(letter_queue letters) noexcept {
  for (std::uint32_t i = 0; i < size(); ++i) post(i, letters.pop_front());
}

namespace {

void rotate(secret_key& current, std::optional<secret_key>& previous, const secret_key& fresh) {
  if (fresh == current) return;
  previous = current;
  current = fresh;
}

}  // namespace

void shard_hub::rotate_cookie_key(const secret_key& fresh) {
  const std::lock_guard order(change_order_);
  letter_queue letters = letters_to_all([fresh](host& engine) { engine.rotate_cookie_key(fresh); });
  {
    const std::lock_guard lock(mutex_);
    rotate(keys_.cookie, keys_.cookie_previous, fresh);
  }
  post_to_all(std::move(letters));
}

void shard_hub::set_cookie_keys(const secret_key& current, const secret_key& previous) {
  const std::lock_guard order(change_order_);
  letter_queue letters =
      letters_to_all([=](host& engine) { engine.set_cookie_keys(current, previous); });
  {
    const std::lock_guard lock(mutex_);
    keys_.cookie = current;
    keys_.cookie_previous = previous;
  }
  post_to_all(std::move(letters));
}

void shard_hub::rotate_fastopen_key(const secret_key& fresh) {
  const std::lock_guard order(change_order_);
  letter_queue letters =
      letters_to_all([fresh](host& engine) { engine.rotate_fastopen_key(fresh); });
  {
    const std::lock_guard lock(mutex_);
    rotate(keys_.fastopen, keys_.fastopen_previous, fresh);
  }
  post_to_all(std::move(letters));
}

void shard_hub::set_fastopen_keys(const secret_key& current, const secret_key& previous) {
  const std::lock_guard order(change_order_);
  letter_queue letters =
      letters_to_all([=](host& engine) { engine.set_fastopen_keys(current, previous); });
  {
    const std::lock_guard lock(mutex_);
    keys_.fastopen = current;
    keys_.fastopen_previous = previous;
  }
  post_to_all(std::move(letters));
}

void shard_hub::set_policies(const policy_set& all) {
  const std::lock_guard order(change_order_);
  post_to_all(letters_to_all([all](host& engine) { engine.set_policies(all); }));
}

}  // namespace runnel::tcp::detail
