#include "shards_page.hpp"

#include <memory>
#include <new>
#include <system_error>
#include <utility>

#include "inspect_page.hpp"
#include "runnel/event.hpp"
#include "runnel/sleep.hpp"
#include "runnel/tcp/inspect_server.hpp"
#include "shard_hub.hpp"
#include "stack_core.hpp"

namespace runnel::tcp {

namespace detail {

/// What the asker and the shard that is asked share. It is the shard's from when its letter is
/// posted until the answer is read, so that it may outlive an asker who goes away.
struct shard_visit {
  explicit shard_visit(inspect_request request) : page(std::move(request)) {}

  inspect_page page;
  std::string part;
  time_point now;
  bool more = false;
  /// The shard found none to write its part with, which is not whole then.
  bool no_memory = false;
  /// Of the asker's thread; null once nobody waits.
  event* answered = nullptr;
};

namespace {

/// Who waits for the answer, as long as it does.
class asker {
 public:
  asker(shard_visit& visit, event& answered) noexcept : visit_(&visit) {
    visit.answered = &answered;
  }
  asker(const asker&) = delete;
  asker& operator=(const asker&) = delete;
  ~asker() { visit_->answered = nullptr; }

 private:
  shard_visit* visit_;
};

// The answer is made before the question leaves: a shard that has none to spare, or ends, can still
// give it.
void ask(const held_shard& home, const std::shared_ptr<shard_visit>& visit, std::uint32_t which) {
  const auto answer = std::make_shared<std::unique_ptr<letter>>(make_letter([visit](host* engine) {
    if (engine != nullptr && visit->answered != nullptr) visit->answered->set();
  }));
  const auto look = [hub = home.hub(), to = home.index(), visit, answer](host* engine) {
    visit->more = false;
    try {
      visit->more = engine != nullptr && visit->page.look(visit->part, *engine, visit->now);
    } catch (const std::bad_alloc&) {
      visit->no_memory = true;
    }
    hub->post(to, std::move(*answer));
  };
  home->post(which, make_letter(look));
}

}  // namespace

shards_page::shards_page(const stack& from, inspect_request request)
    : core_(from.core_.get()), visit_(std::make_shared<shard_visit>(std::move(request))) {}

shards_page::~shards_page() = default;

task<result<void>> shards_page::look(std::string& out) {
  event answered;
  const asker waiting(*visit_, answered);
  visit_->now = core_->now();
  ask(core_->place(), visit_, at_);
  const auto waited = co_await answered.wait();
  if (!waited) co_return waited.error();
  if (visit_->no_memory) co_return std::make_error_code(std::errc::not_enough_memory);
  out += visit_->part;
  visit_->part.clear();
  co_return result<void>();
}

task<result<void>> shards_page::next(std::string& out) {
  const held_shard& place = core_->place();
  if (place) {
    const auto looked = co_await look(out);
    if (!looked) co_return looked.error();
  } else {
    visit_->more = visit_->page.look(out, core_->engine(), core_->now());
  }
  if (!visit_->more) ++at_;
  done_ = at_ == (place ? place->size() : 1);
  if (done_) visit_->page.finish(out);
  co_return result<void>();
}

}  // namespace detail

namespace {

task<result<std::string>> whole(std::unique_ptr<detail::shards_page> page) {
  std::string out;
  for (;;) {
    const auto made = co_await page->next(out);
    if (!made) co_return made.error();
    if (page->done()) co_return out;
    const auto rested = co_await yield();
    if (!rested) co_return rested.error();
  }
}

}  // namespace

task<result<std::string>> inspect(const stack& of, const inspect_request& request) {
  return whole(std::make_unique<detail::shards_page>(of, request));
}

}  // namespace runnel::tcp
