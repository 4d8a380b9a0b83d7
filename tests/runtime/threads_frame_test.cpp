// Frames that one thread takes and another frees.

#include <thread>
#include <vector>

#include "runnel/detail/frame_pool.hpp"
#include "runnel/detail/thread_state.hpp"
#include "runnel/remote.hpp"
#include "runnel/task.hpp"
#include "support/loop_thread.hpp"
#include "support/pace.hpp"
#include "support/task_test.hpp"

namespace {

using runnel::task;

constexpr std::size_t frame_size = 200;

std::size_t kept_here() {
  std::size_t count = 0;
  for (void* head : runnel::detail::this_thread.free_frames) {
    for (; head != nullptr; head = *static_cast<void**>(head)) {
      ++count;
    }
  }
  return count;
}

std::vector<void*> take(int count) {
  std::vector<void*> frames;
  for (int i = 0; i < count; ++i) {
    frames.push_back(runnel::detail::allocate_frame(frame_size));
  }
  return frames;
}

void free_all(const std::vector<void*>& frames) {
  for (void* frame : frames) {
    runnel::detail::free_frame(frame, frame_size);
  }
}

task<int> give(int value) {
  co_return value;
}

}  // namespace

TEST_CASE("frame pool: a thread that frees the frames of others does not hoard them") {
  std::size_t kept = 1;
  std::vector<void*> frames = take(100);
  std::thread other{[&] {
    free_all(frames);
    kept = kept_here();
  }};
  other.join();
  CHECK(kept == 0);
}

TEST_CASE("frame pool: a thread keeps at most what it once had in use") {
  std::size_t kept = 0;
  std::vector<void*> frames = take(100);
  std::thread other{[&] {
    std::vector<void*> mine = take(10);
    free_all(frames);
    free_all(mine);
    kept = kept_here();
    free_all(take(10));
  }};
  other.join();
  CHECK(kept <= 10);
}

TEST_CASE("frame pool: tasks made here run or die there, and the other way round") {
  runnel::testing::loop_thread there;
  for (int round = 0; round < runnel::testing::worthwhile(2'000); ++round) {
    CHECK(there.remote().post([unused = give(round)] {}).has_value());
  }
  std::vector<task<int>> made_there;
  runnel::testing::gate made;
  CHECK(there.remote().post([&] {
    for (int i = 0; i < 50; ++i) {
      made_there.push_back(give(i));
    }
    made.open();
  }));
  made.pass();
  runnel::loop here{{.simulated = 0}};
  int sum = 0;
  for (task<int>& t : made_there) {
    sum += here.run(std::move(t));
  }
  CHECK(sum == 49 * 50 / 2);
  made_there.clear();
}
