#include "load.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <stdexcept>

#include "clock.hpp"

namespace bench {

namespace {

constexpr std::string_view last_request =
    "GET /hello HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
constexpr std::string_view keep_alive_request = "GET /hello HTTP/1.1\r\nHost: bench\r\n\r\n";

/// How long a connection rests after an error: what fails at once would otherwise fail a hundred
/// thousand times a second, and take the time of the machine that is measured.
constexpr std::int64_t pause_ns = 10'000'000;
/// How long the closed loop lets what is under way come to an end.
constexpr std::int64_t drain_ns = 2 * second_ns;
/// The open loop looks at its schedule between batches, so that they must be short.
constexpr int open_loop_batch = 16;
constexpr std::size_t largest_answer = 1 << 20;

void say(std::string_view line) {
  // A reader that has gone changes nothing about the load.
  [[maybe_unused]] const ssize_t written = ::write(STDOUT_FILENO, line.data(), line.size());
}

int error_of(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return error != 0 ? error : ECONNRESET;
}

}  // namespace

load::load(const options& given)
    : options_(given),
      connector_(given),
      request_(given.requests || given.client_closes ? keep_alive_request : last_request),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      slots_(given.connections) {
  if (epoll_ < 0) throw std::runtime_error("epoll_create1 failed: no descriptor is left");
}

load::~load() {
  for (slot& one : slots_) {
    if (one.fd >= 0) ::close(one.fd);
  }
  ::close(epoll_);
}

void load::run() {
  schedule_ns_ = now_ns();
  begin_ns_ = schedule_ns_ + options_.warmup_ns;
  end_ns_ = begin_ns_ + options_.seconds_ns;
  start();
  run_until(begin_ns_);
  phase_ = phase::window;
  say("begin\n");
  ::getrusage(RUSAGE_SELF, &result_.used_at_begin);
  run_until(end_ns_);
  ::getrusage(RUSAGE_SELF, &result_.used_at_end);
  say("end\n");
  phase_ = phase::drain;
  const std::int64_t longest =
      options_.open_loop() ? options_.timeout_ns : std::min(options_.timeout_ns, drain_ns);
  run_until(end_ns_ + longest);
  // A window shorter than the limit would pass over in silence what is never answered.
  if (!options_.open_loop()) result_.errors.timeout += under_way_;
  expire(INT64_MAX);
  give_up_due();
}

void load::start() {
  if (options_.open_loop()) {
    period_ns_ = static_cast<double>(second_ns) / options_.rate;
    due_ns_ = schedule_ns_;
  }
  for (slot_index index = 0; index < slots_.size(); ++index) {
    if (options_.open_loop() && !options_.requests) {
      free_.push_back(index);
    } else {
      connect(index, now_ns());
    }
  }
}

void load::run_until(std::int64_t until_ns) {
  for (std::int64_t now = now_ns(); now < until_ns && !finished(); now = now_ns()) {
    if (due_ns_ <= now) begin_due(now);
    const int count = wait(now, until_ns);
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events_[static_cast<std::size_t>(i)];
      on_event(static_cast<slot_index>(event.data.u64), event.events);
    }
    if (first_timed_ != none || !paused_.empty()) {
      now = now_ns();
      resume_paused(now);
      expire(now);
    }
  }
}

bool load::finished() const {
  return phase_ == phase::drain && under_way_ == 0 && due_ns_ == INT64_MAX;
}

std::int64_t load::next_wake_ns(std::int64_t until_ns) const {
  std::int64_t wake = until_ns;
  // What is due although nothing is free waits for an event.
  if (!free_.empty()) wake = std::min(wake, due_ns_);
  if (!paused_.empty()) wake = std::min(wake, paused_.front().first);
  if (first_timed_ != none) wake = std::min(wake, slots_[first_timed_].deadline_ns);
  return wake;
}

int load::wait(std::int64_t now, std::int64_t until_ns) {
  const int batch = options_.open_loop() ? open_loop_batch : static_cast<int>(events_.size());
  const std::int64_t wake = next_wake_ns(until_ns);
  for (const std::int64_t spun = now + options_.spin_ns; now < std::min(spun, wake);) {
    const int count = ::epoll_wait(epoll_, events_.data(), batch, 0);
    if (count != 0) return count;
    now = now_ns();
  }
  const std::int64_t left = std::max<std::int64_t>(wake - now, 0);
  const timespec timeout{left / second_ns, left % second_ns};
  return ::epoll_pwait2(epoll_, events_.data(), batch, &timeout, nullptr);
}

void load::begin_due(std::int64_t now) {
  while (due_ns_ <= now && !free_.empty()) {
    const slot_index index = free_.front();
    free_.pop_front();
    slot& one = slots_[index];
    const std::int64_t since = due_ns_;
    advance_schedule();
    if (one.now == state::ready) {
      request(index, since);
    } else {
      one.busy = true;
      connect(index, since);
    }
  }
}

void load::give_up_due() {
  while (due_ns_ != INT64_MAX) {
    if (measured(due_ns_)) result_.errors.count(ETIMEDOUT);
    advance_schedule();
  }
}

void load::advance_schedule() {
  if (measured(due_ns_)) ++result_.intended;
  ++scheduled_;
  due_ns_ = schedule_ns_ + std::llround(static_cast<double>(scheduled_) * period_ns_);
  if (due_ns_ >= end_ns_) due_ns_ = INT64_MAX;
}

void load::resume_paused(std::int64_t now) {
  while (!paused_.empty() && paused_.front().first <= now) {
    const slot_index index = paused_.front().second;
    paused_.pop_front();
    move(slots_[index], state::closed);
    if (phase_ == phase::drain && !options_.open_loop()) continue;
    if (options_.open_loop()) {
      free_.push_back(index);
    } else {
      connect(index, now);
    }
  }
}

void load::expire(std::int64_t now) {
  while (first_timed_ != none && slots_[first_timed_].deadline_ns <= now) {
    failed(first_timed_, ETIMEDOUT);
  }
}

void load::connect(slot_index index, std::int64_t since_ns) {
  slot& one = slots_[index];
  one.since_ns = since_ns;
  one.busy |= !options_.requests;
  one.connect_since_ns = options_.open_loop() ? now_ns() : since_ns;
  one.fd = connector_.open();
  if (one.fd < 0) return failed(index, errno);
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.u64 = index;
  if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, one.fd, &event) != 0) return failed(index, errno);
  move(one, state::connecting);
  set_deadline(index, one.connect_since_ns);
}

void load::on_connected(slot_index index) {
  slot& one = slots_[index];
  const std::int64_t now = now_ns();
  if (!options_.requests) {
    if (measured(one.since_ns)) result_.connect.record(now - one.connect_since_ns);
    return request(index, one.since_ns);
  }
  if (one.busy) return request(index, one.since_ns);
  clear_deadline(index);
  move(one, state::ready);
  next(index, now);
}

void load::request(slot_index index, std::int64_t since_ns) {
  slot& one = slots_[index];
  one.since_ns = since_ns;
  one.busy = true;
  const ssize_t sent = ::send(one.fd, request_.data(), request_.size(), MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(request_.size())) return failed(index, sent < 0 ? errno : EIO);
  move(one, state::waiting);
  // What has waited for a free connection has as much time as what has not: were it given up
  // earlier, a server that cannot keep up would be asked for nothing but what is about to fail.
  if (!one.timed) set_deadline(index, options_.open_loop() ? now_ns() : since_ns);
}

void load::on_event(slot_index index, std::uint32_t events) {
  slot& one = slots_[index];
  const bool broken = (events & (EPOLLERR | EPOLLHUP)) != 0;
  switch (one.now) {
    case state::connecting:
      return broken ? failed(index, error_of(one.fd)) : on_connected(index);
    case state::waiting:
      if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) on_answer(index, events);
      return;
    case state::ending:
      // The event tells of the FIN: reading the end of the stream would tell no more.
      if ((events & EPOLLERR) != 0) return failed(index, error_of(one.fd));
      if ((events & EPOLLRDHUP) != 0) done(index);
      return;
    case state::ready:
      // It stays in the list of free ones, and is connected anew when its turn comes.
      if (broken || (events & EPOLLRDHUP) != 0) shut(index);
      return;
    case state::closed:
    case state::paused:
      return;
  }
}

void load::on_answer(slot_index index, std::uint32_t events) {
  slot& one = slots_[index];
  for (;;) {
    const ssize_t got = ::recv(one.fd, buffer_.data(), buffer_.size(), 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return failed(index, got == 0 ? ENODATA : errno);
    const auto size = static_cast<std::size_t>(got);
    const bool server_ended = (events & EPOLLRDHUP) != 0;
    switch (take(one, std::string_view(buffer_.data(), size))) {
      case answer_state::wrong:
        return failed(index, EBADMSG);
      case answer_state::whole:
        return on_whole(index, server_ended);
      case answer_state::partial:
        // Less than was asked for: there was no more, and more will be an event.
        if (size < buffer_.size() && !server_ended) return;
    }
  }
}

answer_state load::take(slot& one, std::string_view bytes) {
  if (one.partial.empty()) {
    const answer_state found = answers_.look(bytes);
    if (found == answer_state::partial) one.partial = bytes;
    return found;
  }
  one.partial += bytes;
  const answer_state found = answers_.look(one.partial);
  if (found == answer_state::partial && one.partial.size() > largest_answer) {
    return answer_state::wrong;
  }
  if (found != answer_state::partial) one.partial.clear();
  return found;
}

void load::on_whole(slot_index index, bool server_ended) {
  const bool wait_for_end = !options_.requests && !options_.client_closes;
  if (wait_for_end && !server_ended) return move(slots_[index], state::ending);
  // A server may end a keep-alive connection with any answer.
  if (options_.requests && !server_ended) move(slots_[index], state::ready);
  done(index);
}

void load::done(slot_index index) {
  slot& one = slots_[index];
  const std::int64_t now = now_ns();
  if (measured(one.since_ns)) {
    ++result_.operations;
    result_.latency.record(now - one.since_ns);
  }
  if (phase_ == phase::window) ++result_.ended_in_window;
  one.busy = false;
  clear_deadline(index);
  if (one.now == state::ready) return next(index, now);
  shut(index);
  next(index, now_ns());
}

void load::next(slot_index index, std::int64_t now) {
  if (options_.open_loop()) return free_.push_back(index);
  if (phase_ == phase::drain) return;
  if (slots_[index].now == state::ready) return request(index, now);
  connect(index, now);
}

void load::failed(slot_index index, int error) {
  slot& one = slots_[index];
  if (measured(one.since_ns)) result_.errors.count(error);
  one.busy = false;
  clear_deadline(index);
  shut(index);
  move(one, state::paused);
  paused_.emplace_back(now_ns() + pause_ns, index);
}

bool load::measured(std::int64_t since_ns) const {
  if (!options_.open_loop()) return phase_ == phase::window;
  return since_ns >= begin_ns_ && since_ns < end_ns_;
}

void load::move(slot& one, state to) {
  const auto under_way = [](state each) {
    return each == state::connecting || each == state::waiting || each == state::ending;
  };
  under_way_ += under_way(to);
  under_way_ -= under_way(one.now);
  one.now = to;
}

void load::set_deadline(slot_index index, std::int64_t begun_ns) {
  slot& one = slots_[index];
  one.deadline_ns = begun_ns + options_.timeout_ns;
  one.timed = true;
  one.before = last_timed_;
  one.after = none;
  (last_timed_ == none ? first_timed_ : slots_[last_timed_].after) = index;
  last_timed_ = index;
}

void load::clear_deadline(slot_index index) {
  slot& one = slots_[index];
  if (!one.timed) return;
  one.timed = false;
  (one.before == none ? first_timed_ : slots_[one.before].after) = one.after;
  (one.after == none ? last_timed_ : slots_[one.after].before) = one.before;
}

void load::shut(slot_index index) {
  slot& one = slots_[index];
  if (one.fd >= 0) ::close(one.fd);
  one.fd = -1;
  one.partial.clear();
  move(one, state::closed);
}

}  // namespace bench
