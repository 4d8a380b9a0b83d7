#include "runnel/stop_token.hpp"

#include <atomic>

#include "runnel/detail/frame_pool.hpp"

namespace runnel::detail {

class stop_letter final : public mail {
 public:
  static void* operator new(std::size_t size) { return allocate_frame(size); }
  static void operator delete(void* block, std::size_t size) noexcept { free_frame(block, size); }

  stop_letter(cancel_scope& scope) : mail(&arrive), home_(scope.owner().remote()), scope_(&scope) {}

  // Any thread, once.
  void send() noexcept {
    refs_.fetch_add(1, std::memory_order_relaxed);
    // On the loop's thread this may be delivered and freed only later, elsewhere at once.
    loop_remote home = home_;
    if (mailbox_of(home)->send(*this)) release();
  }
  // The loop's thread.
  void part() noexcept {
    scope_ = nullptr;
    home_ = {};
    release();
  }

 private:
  static void arrive(mail& self, loop* here) noexcept {
    auto& letter = static_cast<stop_letter&>(self);
    if (here != nullptr && letter.scope_ != nullptr) letter.scope_->cancel();
    letter.release();
  }
  void release() noexcept {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  std::atomic<int> refs_{1};
  loop_remote home_;
  cancel_scope* scope_;
};

void stop_link::sender::operator()() const noexcept {
  letter->send();
}

void stop_link::connect(const std::stop_token& token, cancel_scope& scope) {
  if (token.stop_requested()) {
    scope.cancel();
    return;
  }
  if (!token.stop_possible()) return;
  letter_ = new stop_letter(scope);
  callback_.emplace(token, sender{letter_});
}

stop_link::~stop_link() {
  // First: once it is gone nobody sends any more.
  callback_.reset();
  if (letter_ != nullptr) letter_->part();
}

}  // namespace runnel::detail
