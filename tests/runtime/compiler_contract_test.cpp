// g++ 12 miscompiles several ordinary spellings in coroutine bodies, silently: a promise at the
// wrong offset, temporaries destroyed twice. Each test here is the spelling that this project uses
// in place of one that breaks, under the number it has in docs; the comment on each says what
// breaks. All of them must pass under AddressSanitizer, unoptimised and optimised, with every
// compiler that we support. The broken forms are not here: they are not portable C++ for us,
// whatever the standard says.

#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "runnel/sleep.hpp"
#include "runnel/task.hpp"
#include "support/kill_test.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::task;

// Knows every living instance by address, so that one which is destroyed twice, or never, shows.
class payload {
 public:
  explicit payload(int number = 0) : number_(std::make_unique<int>(number)) { born(); }
  payload(const payload& other) : number_(std::make_unique<int>(*other.number_)) { born(); }
  payload(payload&& other) noexcept : number_(std::move(other.number_)) { born(); }
  payload& operator=(const payload&) = delete;
  payload& operator=(payload&& other) noexcept {
    number_ = std::move(other.number_);
    return *this;
  }
  ~payload() {
    if (alive.erase(this) != 1) ++destroyed_twice;
  }

  int number() const { return number_ ? *number_ : -1; }

  static inline std::set<const payload*> alive;
  static inline int destroyed_twice = 0;

 private:
  void born() {
    if (!alive.insert(this).second) ++destroyed_twice;
  }
  std::unique_ptr<int> number_;
};

struct aggregate {
  payload first{1};
  payload second{2};
};

struct options {
  int limit = 0;
  std::chrono::milliseconds patience{0};
};

task<bool> less(int a, int b) {
  co_await runnel::yield();
  co_return a < b;
}

task<payload> make(int number) {
  co_await runnel::yield();
  co_return payload{number};
}

template <class Function>
task<int> run(Function function) {
  co_await runnel::yield();
  co_return function();
}

task<int> run_erased(std::function<int()> function) {
  co_await runnel::yield();
  co_return function();
}

task<int> sum(aggregate pair) {
  co_await runnel::yield();
  co_return pair.first.number() + pair.second.number();
}

task<int> add(payload value, std::function<int()> function) {
  co_await runnel::yield();
  co_return value.number() + function();
}

task<int> total(std::vector<payload> values) {
  co_await runnel::yield();
  int result = 0;
  for (const payload& value : values) {
    result += value.number();
  }
  co_return result;
}

task<int> limit_of(options o) {
  co_await runnel::yield();
  co_return o.limit;
}

// An awaiter with a constructor, which is why an instance may be spelled inside co_await.
class holding_awaiter {
 public:
  explicit holding_awaiter(payload held) : held_(std::move(held)) {}
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  int await_resume() const { return held_.number(); }

 private:
  payload held_;
};

// g++ 12 moves, or copies, what await_transform returns by reference, unless it has an operator
// co_await: a leaf would lie where nobody linked it. So the library hands on a pointer.
class pinned_awaiter {
 public:
  explicit pinned_awaiter(payload held) : held_(std::move(held)), here_(this) {}
  pinned_awaiter(const pinned_awaiter&) = delete;
  pinned_awaiter& operator=(const pinned_awaiter&) = delete;
  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<>) const noexcept { return here_ != this; }
  int await_resume() const { return here_ == this ? held_.number() : -1; }

 private:
  payload held_;
  pinned_awaiter* here_;
};

task<> check_pinned() {
  const int from_temporary = co_await pinned_awaiter(payload{1});
  CHECK(from_temporary == 1);
  pinned_awaiter named(payload{2});
  const int from_named = co_await named;
  CHECK(from_named == 2);
  const int from_moved = co_await std::move(named);
  CHECK(from_moved == 2);
  const pinned_awaiter constant(payload{3});
  const int from_constant = co_await constant;
  CHECK(from_constant == 3);
}

// Row 1. A condition that contains co_await, in a function whose outermost block declares nothing:
// the promise is misplaced, and nothing runs or everything jumps through garbage. Hoist the await.
task<int> count_by_hoisting(int& passes) {
  for (;;) {
    bool more = co_await less(passes, 5);
    if (!more) break;
    ++passes;
  }
  bool five = co_await less(4, passes);
  if (five) co_return passes;
  co_return -1;
}

// The same inside try, which alone also declares nothing in the outermost block.
task<int> hoist_in_try() {
  try {
    bool yes = co_await less(1, 2);
    if (yes) throw std::runtime_error("expected");
  } catch (const std::runtime_error&) {
    co_return 1;
  }
  co_return 0;
}

// Row 9. A conditional expression with awaits on its sides destroys what it did not choose.
task<payload> choose(bool first) {
  payload chosen{0};
  if (first) {
    chosen = co_await make(1);
  } else {
    chosen = co_await make(2);
  }
  co_return chosen;
}

task<> check_conditions() {
  int passes = 0;
  int counted = co_await count_by_hoisting(passes);
  CHECK(counted == 5);
  int caught = co_await hoist_in_try();
  CHECK(caught == 1);
  payload one = co_await choose(true);
  payload two = co_await choose(false);
  CHECK(one.number() == 1);
  CHECK(two.number() == 2);
}

task<> check_lambdas() {
  // Row 2. A lambda that captures, written inside the awaited expression, is destroyed twice.
  payload captured{3};
  auto named = [captured] { return captured.number(); };
  int from_named = co_await run(std::move(named));
  CHECK(from_named == 3);

  // Row 3. The same for a capturing lambda coroutine called on the spot; and its captures would die
  // before it anyway. Captureless, with parameters.
  auto coroutine = [](payload value) -> task<int> {
    co_await runnel::yield();
    co_return value.number();
  };
  int from_coroutine = co_await coroutine(payload{4});
  CHECK(from_coroutine == 4);

  // Row 4. A capture that becomes a std::function argument inside co_await is used after its end.
  std::function<int()> erased = [captured] { return captured.number(); };
  int from_erased = co_await run_erased(std::move(erased));
  CHECK(from_erased == 3);

  // Row 8. A capturing lambda elsewhere in a full expression with an await is destroyed twice.
  payload value = co_await make(5);
  std::function<int()> function = [captured] { return captured.number(); };
  int added = co_await add(std::move(value), std::move(function));
  CHECK(added == 8);
}

task<> check_aggregates() {
  // Row 5. An aggregate literal as argument is destroyed twice, also an empty one and with
  // designators. Name it and move it.
  aggregate pair{payload{10}, payload{20}};
  int from_pair = co_await sum(std::move(pair));
  CHECK(from_pair == 30);
  aggregate defaults;
  int from_defaults = co_await sum(std::move(defaults));
  CHECK(from_defaults == 3);
  // What is trivially destructible is safe, which is why every options struct of the library is.
  static_assert(std::is_trivially_destructible_v<options>);
  int limit = co_await limit_of({.limit = 7, .patience = 1ms});
  CHECK(limit == 7);

  // Row 6. An awaiter that is an aggregate with a non-trivial member is destroyed twice.
  static_assert(!std::is_aggregate_v<holding_awaiter>);
  int held = co_await holding_awaiter(payload{6});
  CHECK(held == 6);

  // Row 7. An await inside the aggregate initialisation of a local frees it twice.
  payload first = co_await make(11);
  payload second = co_await make(22);
  aggregate built{std::move(first), std::move(second)};
  CHECK(built.first.number() + built.second.number() == 33);

  // Row 10. Choosing between two task prvalues inside co_await uses the chosen one after its end.
  bool first_one = built.first.number() == 11;
  auto chosen = first_one ? make(100) : make(200);
  payload from_chosen = co_await std::move(chosen);
  CHECK(from_chosen.number() == 100);

  // Row 11. A braced list for a container parameter inside co_await does not compile.
  std::vector<payload> list;
  list.emplace_back(1);
  list.emplace_back(2);
  int from_list = co_await total(std::move(list));
  CHECK(from_list == 3);
}

// Newer compilers (GCC 124584) leave out the destructor of a structured binding of an awaited value
// when the frame is destroyed while suspended. Bind a name first.
task<std::pair<payload, payload>> make_pair_of() {
  co_await runnel::yield();
  co_return std::pair{payload{1}, payload{2}};
}

task<> hold_pair() {
  auto both = co_await make_pair_of();
  auto& [left, right] = both;
  co_await runnel::sleep(1h);
  CHECK(left.number() + right.number() == 3);
}

}  // namespace

TASK_TEST("compiler contract: the spellings that we use destroy everything once") {
  payload::destroyed_twice = 0;
  co_await check_conditions();
  co_await check_lambdas();
  co_await check_aggregates();
  co_await check_pinned();
  CHECK(payload::alive.empty());
  CHECK(payload::destroyed_twice == 0);
}

TASK_TEST("compiler contract: a frame destroyed while suspended destroys its named locals once") {
  payload::destroyed_twice = 0;
  {
    runnel::testing::victim holder = runnel::testing::make_victim(hold_pair());
    holder.start(loop);
    co_await runnel::sleep(1ms);
    CHECK(payload::alive.size() == 2);
  }
  CHECK(payload::alive.empty());
  CHECK(payload::destroyed_twice == 0);
}
