#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runnel/channel.hpp"
#include "runnel/fiber.hpp"
#include "runnel/net/stream.hpp"
#include "runnel/shield.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"

namespace example {

/// What happens to a client whose queue is full because it does not read.
enum class slow_client {
  drop_oldest,  ///< It loses its oldest lines, and is told how many.
  disconnect,   ///< It loses its connection.
};

struct chat_options {
  slow_client policy = slow_client::drop_oldest;
  /// Lines that wait for one client before the policy is applied to it. At least 1.
  std::size_t queue_lines = 64;
  /// Bytes of a line that are kept; the rest of a longer one is thrown away.
  std::size_t longest_line = 512;
  std::size_t most_clients = 1000;
  /// How long a client that is leaving may take for what it has not read yet.
  runnel::duration goodbye = std::chrono::seconds(5);
};

/// A room in which each client reads what the others write, line by line. What nobody waits for is
/// the room itself: a line goes into the bounded channel of each client or, where that is full, the
/// policy for slow clients decides at once.
///
/// One task and one fiber serve a client: the fiber reads, blocking-style, and the task writes what
/// comes out of the channel. It works on any stream.
class chat_room {
 public:
  explicit chat_room(const chat_options& options) : options_(options) {}
  chat_room(const chat_room&) = delete;
  chat_room& operator=(const chat_room&) = delete;

  std::size_t clients() const noexcept { return members_.size(); }

  /// Serves one client until it leaves, is too slow, or the task is cancelled.
  template <runnel::net::stream Stream>
  runnel::task<> serve(Stream client) {
    if (members_.size() >= options_.most_clients) {
      co_await refuse(client);
      co_return;
    }
    const bool too_slow = co_await stay(client);
    if (too_slow) {
      client.abort();
    } else {
      co_await runnel::shield(runnel::with_timeout(options_.goodbye, client.close()));
    }
  }

 private:
  /// One allocation for all who read it.
  using line = std::shared_ptr<const std::string>;

  // A client in the room, from its coming to its going.
  struct member {
    explicit member(chat_room& in)
        : room(&in), name("guest" + std::to_string(++in.guests_)), queue(in.options_.queue_lines) {
      room->members_.push_back(this);
    }
    member(const member&) = delete;
    member& operator=(const member&) = delete;
    // Tells nobody: there may be no memory for words.
    ~member() { std::erase(room->members_, this); }

    chat_room* room;
    runnel::task_group* tasks = nullptr;
    std::string name;
    runnel::channel<line> queue;
    std::uint64_t lost = 0;
    bool too_slow = false;
  };

  /// From its coming to its going; whether it was too slow.
  template <class Stream>
  runnel::task<bool> stay(Stream& client) {
    runnel::cancel_scope& scope = co_await runnel::this_scope();
    member me(*this);
    say("* " + me.name + " has come", &me);
    runnel::task_group both(scope);
    me.tasks = &both;
    auto read = [&](runnel::fiber& self) { read_lines(self, client, me); };
    std::exception_ptr failed;
    try {
      both.spawn(write_lines(client, me));
      both.spawn(runnel::run_fiber(read));
    } catch (...) {
      failed = std::current_exception();
      both.cancel();
    }
    co_await both.join();
    if (failed) std::rethrow_exception(failed);
    say("* " + me.name + (me.too_slow ? " was too slow" : " has gone"), &me);
    co_return me.too_slow;
  }

  void say(std::string text, const member* from = nullptr) {
    text += '\n';
    const auto shared = std::make_shared<const std::string>(std::move(text));
    for (member* to : members_) {
      if (to != from) enqueue(*to, shared);
    }
  }

  void enqueue(member& to, line text) {
    while (!to.queue.try_send(std::move(text))) {
      if (to.queue.closed()) return;
      if (options_.policy == slow_client::disconnect) {
        to.too_slow = true;
        to.queue.close();
        to.tasks->cancel();
        return;
      }
      ++to.lost;
      // Where even the oldest one is on its way to the writer already, this one is lost.
      if (!to.queue.try_receive()) return;
    }
  }

  template <class Stream>
  static runnel::task<runnel::result<std::size_t>> write(Stream& client, std::string_view text) {
    co_return co_await client.write(std::as_bytes(std::span(text)));
  }

  template <class Stream>
  runnel::task<> refuse(Stream& client) {
    co_await write(client, "* the room is full\n");
    co_await runnel::shield(runnel::with_timeout(options_.goodbye, client.close()));
  }

  /// Until the queue is closed and empty, or the client is gone.
  template <class Stream>
  runnel::task<> write_lines(Stream& client, member& me) {
    for (;;) {
      const auto next = co_await me.queue.receive();
      if (!next) break;
      if (me.lost > 0) {
        const std::string notice = "* " + std::to_string(std::exchange(me.lost, 0)) +
                                   " lines were lost, as you read too slowly\n";
        co_await write(client, notice);
      }
      const auto sent = co_await write(client, **next);
      if (!sent || *sent < (*next)->size()) {
        me.tasks->cancel();
        break;
      }
    }
  }

  /// Runs on a stack of its own, so it simply waits where it reads.
  template <class Stream>
  void read_lines(runnel::fiber& self, Stream& client, member& me) {
    std::array<char, 4096> buffer;
    std::string text;
    for (bool stays = true; stays;) {
      const auto got = self.await(client.read(std::as_writable_bytes(std::span(buffer))));
      if (!got || *got == 0) break;
      for (const char c : std::string_view(buffer.data(), *got)) {
        if (c == '\n') {
          stays = stays && on_line(me, text);
          text.clear();
        } else if (c != '\r' && text.size() < options_.longest_line) {
          // Nobody gets control characters of others onto a terminal.
          text += static_cast<unsigned char>(c) < ' ' || c == 0x7f ? '?' : c;
        }
      }
    }
    client.set_write_deadline(self.owner().now() + options_.goodbye);
    me.queue.close();
  }

  /// False when the client wants to leave.
  bool on_line(member& me, std::string_view text) {
    constexpr std::string_view name_command = "/name ";
    constexpr std::size_t longest_name = 20;
    if (text == "/quit") return false;
    if (text == "/who") {
      std::string names = "* here:";
      for (const member* each : members_) names += ' ' + each->name;
      enqueue(me, std::make_shared<const std::string>(names + '\n'));
    } else if (text.starts_with(name_command) && text.size() > name_command.size()) {
      const std::string before = std::exchange(
          me.name, std::string(text.substr(name_command.size()).substr(0, longest_name)));
      say("* " + before + " is now " + me.name);
    } else if (!text.empty()) {
      say(me.name + ": " + std::string(text), &me);
    }
    return true;
  }

  chat_options options_;
  std::vector<member*> members_;
  std::uint64_t guests_ = 0;
};

}  // namespace example
