#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "answer.hpp"
#include "connector.hpp"
#include "options.hpp"
#include "outcome.hpp"

namespace bench {

/// Keeps connections busy and takes the time. One thread, one epoll, edge-triggered: a connection
/// is added once and goes with its close, so that it costs six system calls and its part of an
/// epoll_wait: socket, connect, epoll_ctl, send, recv, close; with addresses to use two more.
///
/// The closed loop begins an operation when the one before it has ended. The open loop begins them
/// by a schedule that nothing moves: what finds no free connection waits, and its time counts from
/// when it was to begin.
class load {
 public:
  explicit load(const options& given);
  load(const load&) = delete;
  load& operator=(const load&) = delete;
  ~load();

  /// Warms up, prints "begin", measures, prints "end", and lets what is under way come to an end.
  void run();
  const outcome& result() const { return result_; }

 private:
  enum class phase { warm_up, window, drain };
  enum class state : std::uint8_t {
    closed,
    connecting,
    ready,    // connected, without a request
    waiting,  // for the answer
    ending,   // the answer is whole, the server's FIN is not there yet
    paused,   // after an error
  };
  using slot_index = std::uint32_t;
  static constexpr slot_index none = UINT32_MAX;

  struct slot {
    int fd = -1;
    state now = state::closed;
    /// In the list of what times out.
    bool timed = false;
    /// Has an operation that is neither done nor failed.
    bool busy = false;
    slot_index before = none;
    slot_index after = none;
    /// What the operation's time counts from.
    std::int64_t since_ns = 0;
    std::int64_t deadline_ns = 0;
    std::int64_t connect_since_ns = 0;
    /// What has come of an answer that did not come at once.
    std::string partial;
  };

  void start();
  void run_until(std::int64_t until_ns);
  int wait(std::int64_t now, std::int64_t until_ns);
  std::int64_t next_wake_ns(std::int64_t until_ns) const;
  bool finished() const;

  void begin_due(std::int64_t now);
  void give_up_due();
  void advance_schedule();
  void resume_paused(std::int64_t now);
  void expire(std::int64_t now);

  void connect(slot_index index, std::int64_t since_ns);
  void request(slot_index index, std::int64_t since_ns);
  void on_event(slot_index index, std::uint32_t events);
  void on_connected(slot_index index);
  void on_answer(slot_index index, std::uint32_t events);
  answer_state take(slot& one, std::string_view bytes);
  void on_whole(slot_index index, bool server_ended);
  void done(slot_index index);
  void failed(slot_index index, int error);
  void next(slot_index index, std::int64_t now);

  bool measured(std::int64_t since_ns) const;
  void move(slot& one, state to);
  void set_deadline(slot_index index, std::int64_t begun_ns);
  void clear_deadline(slot_index index);
  void shut(slot_index index);

  const options& options_;
  connector connector_;
  answer_reader answers_;
  outcome result_;
  std::string_view request_;
  int epoll_ = -1;
  phase phase_ = phase::warm_up;
  std::vector<slot> slots_;
  /// Those that wait for the schedule: connected ones for requests, closed ones for connections.
  std::deque<slot_index> free_;
  /// With the time until which they wait, which is the same for all, so that the first is due
  /// first.
  std::deque<std::pair<std::int64_t, slot_index>> paused_;
  /// Everything has the same time to live, so that the first expires first.
  slot_index first_timed_ = none;
  slot_index last_timed_ = none;
  /// How many connect or wait for the server.
  std::uint32_t under_way_ = 0;
  std::int64_t begin_ns_ = 0;
  std::int64_t end_ns_ = 0;
  /// The open loop's next operation.
  double period_ns_ = 0;
  std::int64_t schedule_ns_ = 0;
  std::uint64_t scheduled_ = 0;
  std::int64_t due_ns_ = INT64_MAX;
  std::array<epoll_event, 256> events_;
  std::array<char, 16'384> buffer_;
};

}  // namespace bench
