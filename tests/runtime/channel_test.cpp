#include "runnel/channel.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "support/kill_test.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::channel;
using runnel::errc;
using runnel::result;
using runnel::task;
using numbers = std::vector<int>;

task<> send_all(channel<int>& to, int first, int count) {
  for (int i = 0; i < count; ++i) {
    int value = first + i;
    result<void> sent = co_await to.send(std::move(value));
    CHECK(sent.has_value());
  }
}

task<> receive_one(channel<int>& from, numbers& into) {
  result<int> got = co_await from.receive();
  if (got) into.push_back(*got);
}

task<> receive_all(channel<int>& from, numbers& into) {
  for (;;) {
    result<int> got = co_await from.receive();
    if (!got) {
      CHECK(got.error() == errc::closed);
      break;
    }
    into.push_back(*got);
  }
}

task<> send_one(channel<int>& to, int value, std::error_code& why) {
  result<void> sent = co_await to.send(std::move(value));
  if (!sent) why = sent.error();
}

numbers range(int first, int count) {
  numbers all;
  for (int i = 0; i < count; ++i) all.push_back(first + i);
  return all;
}

}  // namespace

TASK_TEST("channel: gives values in the order they were sent, for every capacity") {
  for (std::size_t capacity : {0u, 1u, 2u, 3u, 7u, 64u}) {
    channel<int> c{capacity};
    numbers got;
    runnel::task_group group{loop};
    group.spawn(receive_all(c, got));
    co_await send_all(c, 0, 200);
    c.close();
    co_await group.join();
    CHECK(got == range(0, 200));
    CHECK(c.empty());
  }
}

TASK_TEST("channel: a sender waits when it is full and goes on when there is room") {
  channel<int> c{2};
  runnel::task_group group{loop};
  group.spawn(send_all(c, 0, 5));
  co_await runnel::sleep(1ms);
  CHECK(c.size() == 2);
  CHECK(group.size() == 1);
  for (int i = 0; i < 5; ++i) {
    result<int> got = co_await c.receive();
    CHECK(got.value() == i);
    co_await runnel::sleep(1ms);
  }
  CHECK(group.empty());
}

TASK_TEST("channel: with capacity 0 a send waits for its receiver") {
  channel<int> c{0};
  runnel::task_group group{loop};
  group.spawn(send_all(c, 7, 1));
  co_await runnel::sleep(1ms);
  CHECK(c.empty());
  CHECK(group.size() == 1);
  result<int> got = co_await c.receive();
  CHECK(got.value() == 7);
  co_await group.join();
  result<void> nobody = c.try_send(1);
  CHECK(nobody.error() == std::errc::resource_unavailable_try_again);
  numbers into;
  group.spawn(receive_one(c, into));
  co_await runnel::sleep(1ms);
  result<void> somebody = c.try_send(2);
  CHECK(somebody.has_value());
  co_await group.join();
  CHECK(into == numbers{2});
  group.spawn(send_all(c, 9, 1));
  co_await runnel::sleep(1ms);
  result<int> tried = c.try_receive();
  CHECK(tried.value() == 9);
  co_await group.join();
}

TASK_TEST("channel: several receivers are served in the order they came") {
  channel<int> c{4};
  runnel::task_group group{loop};
  std::vector<numbers> got(6);
  for (numbers& each : got) {
    group.spawn(receive_one(c, each));
    co_await runnel::sleep(1ms);
  }
  co_await send_all(c, 0, 6);
  co_await group.join();
  for (int i = 0; i < 6; ++i) {
    CHECK(got[static_cast<std::size_t>(i)] == numbers{i});
  }
}

TASK_TEST("channel: several senders are served in the order they came") {
  channel<int> c{1};
  runnel::task_group group{loop};
  for (int i = 0; i < 6; ++i) {
    group.spawn(send_all(c, i, 1));
    co_await runnel::sleep(1ms);
  }
  for (int i = 0; i < 6; ++i) {
    result<int> got = co_await c.receive();
    CHECK(got.value() == i);
  }
  co_await group.join();
}

TASK_TEST("channel: after close receivers drain what is there, senders keep their values") {
  channel<std::string> c{2};
  co_await c.send("one");
  co_await c.send("two");
  std::string third = "a third one that is too long to be kept inside";
  auto send = [](channel<std::string>& to, std::string& text) -> task<result<void>> {
    co_return co_await to.send(std::move(text));
  };
  auto close_later = [](channel<std::string>& it) -> task<> {
    co_await runnel::sleep(1ms);
    it.close();
  };
  runnel::task_group group{loop};
  group.spawn(close_later(c));
  result<void> refused = co_await send(c, third);
  CHECK(refused.error() == errc::closed);
  CHECK(third.starts_with("a third"));
  refused = c.try_send(std::move(third));
  CHECK(refused.error() == errc::closed);
  CHECK(third.starts_with("a third"));
  result<std::string> got = co_await c.receive();
  CHECK(got.value() == "one");
  got = c.try_receive();
  CHECK(got.value() == "two");
  got = co_await c.receive();
  CHECK(got.error() == errc::closed);
  got = c.try_receive();
  CHECK(got.error() == errc::closed);
  CHECK(c.closed());
  co_await group.join();
}

TASK_TEST("channel: close wakes every receiver that waits") {
  channel<int> c{3};
  runnel::task_group group{loop};
  std::vector<numbers> got(3);
  for (numbers& each : got) group.spawn(receive_all(c, each));
  co_await runnel::sleep(1ms);
  c.close();
  co_await group.join();
  for (numbers& each : got) CHECK(each.empty());
}

TASK_TEST("channel: carries what can only be moved, and destroys what nobody received") {
  auto counted = std::make_shared<int>(3);
  {
    channel<std::shared_ptr<int>> c{3};
    co_await c.send(counted);
    co_await c.send(std::shared_ptr<int>(counted));
    CHECK(counted.use_count() == 3);
    result<std::shared_ptr<int>> got = c.try_receive();
    CHECK(got.value() == counted);
  }
  CHECK(counted.use_count() == 1);
  channel<std::unique_ptr<int>> moved{1};
  result<void> sent = co_await moved.send(std::make_unique<int>(4));
  CHECK(sent.has_value());
  result<std::unique_ptr<int>> back = co_await moved.receive();
  CHECK(**back == 4);
}

TASK_TEST("channel: a cancelled send did not send and a cancelled receive took nothing") {
  channel<std::string> c{1};
  result<std::string> late = co_await runnel::with_timeout(1s, c.receive());
  REQUIRE(late.has_error());
  CHECK(late.error() == errc::deadline_exceeded);
  co_await c.send("first");
  std::string second = "second";
  result<void> full = co_await runnel::with_timeout(1s, c.send(std::move(second)));
  CHECK(full.error() == errc::deadline_exceeded);
  CHECK(second == "second");
  late = co_await c.receive();
  CHECK(late.value() == "first");
  CHECK(c.empty());
}

TASK_TEST("channel: a value promised to a receiver that is cancelled keeps its place") {
  channel<int> c{4};
  numbers gone;
  runnel::task_group cancelled{loop};
  for (int i = 0; i < 3; ++i) cancelled.spawn(receive_one(c, gone));
  co_await runnel::sleep(1ms);
  for (int i = 0; i < 4; ++i) {
    result<void> sent = c.try_send(i);
    CHECK(sent.has_value());
  }
  result<void> full = c.try_send(9);
  CHECK(full.has_error());
  cancelled.cancel();
  co_await cancelled.join();
  CHECK(gone.empty());
  numbers got;
  runnel::task_group group{loop};
  group.spawn(receive_all(c, got));
  c.close();
  co_await group.join();
  CHECK(got == range(0, 4));
}

TASK_TEST("channel: a value promised to a receiver that is destroyed goes to the next one") {
  for (std::size_t capacity : {0u, 2u}) {
    channel<int> c{capacity};
    numbers gone;
    numbers got;
    auto victim = runnel::testing::make_victim(receive_one(c, gone));
    victim.start(loop);
    co_await runnel::sleep(1ms);
    runnel::task_group group{loop};
    group.spawn(receive_one(c, got));
    co_await runnel::sleep(1ms);
    result<void> sent = c.try_send(5);
    CHECK(sent.has_value());
    victim.destroy();
    co_await group.join();
    CHECK(gone.empty());
    CHECK(got == numbers{5});
  }
}

TASK_TEST("channel: a value taken while older ones are promised makes room at once") {
  channel<std::string> c{3};
  std::vector<std::string> got;
  auto receive = [](channel<std::string>& from, std::vector<std::string>& into) -> task<> {
    result<std::string> text = co_await from.receive();
    if (text) into.push_back(*text);
  };
  runnel::task_group group{loop};
  runnel::task_group stays{loop};
  stays.spawn(receive(c, got));
  co_await runnel::sleep(1ms);
  group.spawn(receive(c, got));
  co_await runnel::sleep(1ms);
  for (const char* text : {"one", "two", "three"}) {
    result<void> sent = c.try_send(text);
    CHECK(sent.has_value());
  }
  // "one" and "two" are promised.
  for (const char* text : {"three", "four", "five"}) {
    result<std::string> oldest = c.try_receive();
    CHECK(oldest.value() == text);
    result<void> sent = c.try_send(*oldest == "three" ? "four" : "five");
    CHECK(sent.has_value());
    CHECK(c.size() == 3);
  }
  group.cancel();
  co_await group.join();
  co_await stays.join();
  CHECK(got == std::vector<std::string>{"one"});
  result<std::string> next = c.try_receive();
  CHECK(next.value() == "two");
  next = c.try_receive();
  CHECK(next.value() == "five");
}

TASK_TEST("channel: a sender that is destroyed while it waits did not send") {
  channel<int> c{1};
  std::error_code why;
  co_await c.send(1);
  auto victim = runnel::testing::make_victim(send_one(c, 2, why));
  victim.start(loop);
  co_await runnel::sleep(1ms);
  victim.destroy();
  result<int> got = co_await c.receive();
  CHECK(got.value() == 1);
  CHECK(c.empty());
  got = c.try_receive();
  CHECK(got.error() == std::errc::resource_unavailable_try_again);
}

TASK_TEST("channel: may die before those who wait for it where the frame around them dies") {
  for (int passes = 0; passes < 4; ++passes) {
    numbers got;
    auto body = [](runnel::loop& on, numbers& into) -> task<> {
      runnel::task_group group{on};
      channel<int> c{2};
      for (int i = 0; i < 3; ++i) group.spawn(receive_one(c, into));
      co_await runnel::sleep(1ms);
      group.spawn(send_all(c, 0, 9));
      co_await group.join();
    };
    auto owner = runnel::testing::make_victim(body(loop, got));
    owner.start(loop);
    co_await runnel::sleep(1ms);
    for (int i = 0; i < passes; ++i) co_await runnel::yield();
    owner.destroy();
  }
}

namespace {

struct traffic {
  channel<int>* c;
  runnel::random_source* random;
  std::vector<numbers> sent;
  numbers received;
};

task<> chaotic_sender(traffic& t, std::size_t id) {
  for (int i = 0; i < 60; ++i) {
    int value = static_cast<int>(id) * 1000 + i;
    runnel::duration patience{t.random->below(4)};
    result<void> sent = co_await runnel::with_timeout(patience, t.c->send(std::move(value)));
    if (sent) t.sent[id].push_back(static_cast<int>(id) * 1000 + i);
    if (t.random->below(3) == 0) co_await runnel::sleep(runnel::duration{t.random->below(3)});
  }
}

task<> chaotic_receiver(traffic& t) {
  for (;;) {
    runnel::duration patience{t.random->below(4)};
    result<int> got = co_await runnel::with_timeout(patience, t.c->receive());
    if (got) t.received.push_back(*got);
    if (!got && got.error() == errc::closed) break;
    if (t.random->below(3) == 0) {
      result<int> early = t.c->try_receive();
      if (early) t.received.push_back(*early);
    }
    if (t.random->below(3) == 0) co_await runnel::sleep(runnel::duration{t.random->below(3)});
  }
}

}  // namespace

TASK_TEST("channel: under random deadlines on both sides each value sent arrives, once") {
  for (std::size_t capacity : {0u, 1u, 3u}) {
    channel<int> c{capacity};
    traffic t{&c, &loop.random(), std::vector<numbers>(4), {}};
    runnel::task_group senders{loop};
    runnel::task_group receivers{loop};
    for (std::size_t i = 0; i < 4; ++i) senders.spawn(chaotic_sender(t, i));
    for (int i = 0; i < 3; ++i) receivers.spawn(chaotic_receiver(t));
    co_await senders.join();
    c.close();
    co_await receivers.join();
    std::size_t all = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      numbers of_sender;
      for (int value : t.received) {
        if (value / 1000 == static_cast<int>(i)) of_sender.push_back(value);
      }
      std::sort(of_sender.begin(), of_sender.end());
      CHECK(of_sender == t.sent[i]);
      all += of_sender.size();
    }
    CHECK(all == t.received.size());
    CHECK(all > 20);
  }
}

TASK_TEST("channel: closed with a value that is promised, which its receiver then does not take") {
  channel<int> values{4};
  numbers first;
  numbers second;
  runnel::task_group doomed{loop};
  runnel::task_group patient{loop};
  doomed.spawn(receive_one(values, first));
  co_await runnel::sleep(1ms);
  patient.spawn(receive_one(values, second));
  co_await runnel::sleep(1ms);
  CHECK(values.try_send(7).has_value());
  values.close();
  doomed.cancel();
  co_await doomed.join();
  co_await patient.join();
  CHECK(first.empty());
  CHECK(second == numbers{7});
}

TASK_TEST("channel: closed with a value that is promised, the others hear of it when it is taken") {
  channel<int> values{4};
  numbers got;
  runnel::task_group group{loop};
  group.spawn(receive_one(values, got));
  co_await runnel::sleep(1ms);
  group.spawn(receive_all(values, got));
  co_await runnel::sleep(1ms);
  CHECK(values.try_send(7).has_value());
  values.close();
  group.spawn(receive_all(values, got));
  co_await group.join();
  CHECK(got == numbers{7});
}
