#include "runnel/signal.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace runnel {
namespace {

// A signal handler gets nothing but the number, so where to write it is the one thing here that the
// whole process shares. Zero: nobody; else the descriptor plus one.
constinit std::array<std::atomic<int>, NSIG> targets{};

extern "C" void runnel_on_signal(int number) {
  int saved = errno;
  int target = targets[static_cast<std::size_t>(number)].load(std::memory_order_relaxed);
  auto byte = static_cast<unsigned char>(number);
  // A full pipe holds thousands of signals that nobody has looked at; one more says nothing new.
  if (target != 0) static_cast<void>(!::write(target - 1, &byte, 1));
  errno = saved;
}

}  // namespace

namespace detail {

signal_awaiter::signal_awaiter(signal_set& source) noexcept
    : op_awaiter({.kind = op_kind::poll, .fd = source.read_end_, .flags = POLLIN}),
      source_(&source) {}

bool signal_awaiter::take_pending(cancel_scope& scope) noexcept {
  check(&scope.owner() == source_->owner_,
        "runnel: a signal_set is waited on from another loop than its own.");
  if (scope.cancelled()) return false;
  number_ = source_->next_pending();
  return number_ != 0;
}

wait_description signal_awaiter::describe() const {
  std::string names;
  for (const auto& entry : source_->taken_) {
    const char* name = ::sigabbrev_np(entry.number);
    if (!names.empty()) names += " ";
    names += name != nullptr ? "SIG" + std::string(name) : std::to_string(entry.number);
  }
  return {"signal", std::move(names)};
}

result<int> signal_awaiter::await_resume() noexcept {
  if (number_ != 0) return number_;
  if (result_ < 0) return kernel_error(result_);
  number_ = source_->next_pending();
  check(number_ != 0, "runnel: two tasks wait on one signal_set; wait from one place.");
  return number_;
}

}  // namespace detail

signal_set::signal_set(loop& owner, std::initializer_list<int> numbers) : owner_(&owner) {
  // Before there is anything to give back.
  taken_.reserve(numbers.size());
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
    throw std::system_error(errno, std::generic_category(), "runnel: no pipe for signals");
  }
  read_end_ = ends[0];
  write_end_ = ends[1];
  for (int number : numbers) {
    int nobody = 0;
    bool known = number > 0 && number < NSIG;
    if (!known || !targets[static_cast<std::size_t>(number)].compare_exchange_strong(
                      nobody, write_end_ + 1)) {
      release();
      throw std::logic_error(known ? "runnel: a signal belongs to two living signal_sets"
                                   : "runnel: no such signal number");
    }
    struct sigaction action {};
    action.sa_handler = &runnel_on_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    taken entry{number, {}};
    if (::sigaction(number, &action, &entry.before) != 0) {
      int error = errno;
      targets[static_cast<std::size_t>(number)] = 0;
      release();
      throw std::system_error(error, std::generic_category(), "runnel: signal refused");
    }
    taken_.push_back(entry);
  }
}

signal_set::~signal_set() {
  release();
}

void signal_set::release() noexcept {
  for (taken& entry : taken_) {
    ::sigaction(entry.number, &entry.before, nullptr);
    targets[static_cast<std::size_t>(entry.number)] = 0;
  }
  taken_.clear();
  ::close(read_end_);
  ::close(write_end_);
}

int signal_set::next_pending() noexcept {
  unsigned char byte = 0;
  return ::read(read_end_, &byte, 1) == 1 ? byte : 0;
}

}  // namespace runnel
