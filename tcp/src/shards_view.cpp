#include "shards_view.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <new>
#include <utility>

#include "runnel/event.hpp"
#include "runnel/tcp/stack.hpp"
#include "shard_hub.hpp"
#include "stack_core.hpp"

// What the shards of a host are together: each is asked on its own thread.

namespace runnel::tcp {

namespace detail {

void add(memory_table& sum, const memory_table& part) noexcept {
  for (const auto member :
       {&memory_table::connections, &memory_table::half_open, &memory_table::half_open_v6,
        &memory_table::time_wait, &memory_table::time_wait_v6, &memory_table::held_bytes,
        &memory_table::buffer_bytes, &memory_table::flight_bytes, &memory_table::orphans,
        &memory_table::orphan_bytes}) {
    sum.*member += part.*member;
  }
  for (const auto of_one : {&memory_table::connection_bytes, &memory_table::half_open_bytes,
                            &memory_table::half_open_bytes_v6, &memory_table::time_wait_bytes,
                            &memory_table::time_wait_bytes_v6}) {
    sum.*of_one = part.*of_one;
  }
}

namespace {

void add(listener_drops& sum, const listener_drops& part) noexcept {
  for (const auto member :
       {&listener_drops::accept_queue_full_syns, &listener_drops::accept_queue_full_acks,
        &listener_drops::syn_queue_full, &listener_drops::syn_backlog_reserve,
        &listener_drops::no_memory, &listener_drops::park_timeouts}) {
    sum.*member += part.*member;
  }
}

void add(listener_snapshot& sum, const listener_snapshot& part) noexcept {
  for (const auto member :
       {&listener_snapshot::accept_queue, &listener_snapshot::backlog,
        &listener_snapshot::accept_queue_peak, &listener_snapshot::syn_queue,
        &listener_snapshot::syn_queue_peak, &listener_snapshot::parked,
        &listener_snapshot::fastopen_queue, &listener_snapshot::fastopen_limit}) {
    sum.*member += part.*member;
  }
  sum.syn_queue_limit += part.syn_queue_limit;
  sum.accepted += part.accepted;
  add(sum.drops, part.drops);
}

}  // namespace

void add(shards_view& sum, const shards_view& part) {
  sum.counters += part.counters;
  add(sum.memory, part.memory);
  for (const listener_snapshot& each : part.listeners) {
    const auto same = std::ranges::find(sum.listeners, each.local, &listener_snapshot::local);
    if (same == sum.listeners.end()) {
      sum.listeners.push_back(each);
    } else {
      add(*same, each);
    }
  }
  sum.shards += part.shards;
}

shards_view look_at(const host& engine) {
  shards_view out{engine.counters(), engine.memory(), {}, 1};
  engine.for_each_listener([&](const listener_snapshot& each) { out.listeners.push_back(each); });
  return out;
}

}  // namespace detail

namespace {

using detail::held_shard;

/// What one question has been answered by now.
struct inquiry {
  explicit inquiry(std::uint32_t shards) : parts(shards), missing(shards) {}

  std::vector<shards_view> parts;
  std::atomic<std::uint32_t> missing;
  /// Somebody could not answer for want of memory.
  std::atomic<bool> no_memory{false};
  /// Of the asker's thread; null once nobody waits.
  event* answered = nullptr;
};

/// What tells the asker, made before it is needed: whoever answers last cannot fail to.
using answer = std::unique_ptr<detail::letter>;

answer make_answer(const std::shared_ptr<inquiry>& question) {
  return detail::make_letter([question](host* engine) {
    if (engine != nullptr && question->answered != nullptr) question->answered->set();
  });
}

/// Asks one shard; whoever answers last tells the asker.
void ask(const held_shard& asker, const std::shared_ptr<inquiry>& question,
         const std::shared_ptr<answer>& last_word, std::uint32_t which) {
  const auto look = [hub = asker.hub(), home = asker.index(), question, last_word,
                     which](host* engine) {
    try {
      if (engine != nullptr) question->parts[which] = detail::look_at(*engine);
    } catch (const std::bad_alloc&) {
      question->no_memory.store(true, std::memory_order_relaxed);
    }
    if (question->missing.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      hub->post(home, std::move(*last_word));
    }
  };
  asker->post(which, detail::make_letter(look));
}

result<shards_view> sum_of(const inquiry& question) {
  if (question.no_memory.load(std::memory_order_relaxed)) {
    return std::make_error_code(std::errc::not_enough_memory);
  }
  shards_view sum;
  for (const shards_view& each : question.parts) detail::add(sum, each);
  return sum;
}

}  // namespace

task<result<shards_view>> stack::look_at_all() {
  const held_shard& place = core_->place();
  if (!place) co_return detail::look_at(core_->engine());
  event answered;
  struct waiting {
    explicit waiting(std::uint32_t shards) : question(std::make_shared<inquiry>(shards)) {}
    waiting(const waiting&) = delete;
    waiting& operator=(const waiting&) = delete;
    ~waiting() { question->answered = nullptr; }
    std::shared_ptr<inquiry> question;
  } asked(place->size());
  asked.question->answered = &answered;
  const auto last_word = std::make_shared<answer>(make_answer(asked.question));
  for (std::uint32_t i = 0; i < place->size(); ++i) ask(place, asked.question, last_word, i);
  const auto waited = co_await answered.wait();
  if (!waited) co_return waited.error();
  co_return sum_of(*asked.question);
}

}  // namespace runnel::tcp
