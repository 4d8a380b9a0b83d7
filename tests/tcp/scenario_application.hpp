#pragma once

#include <optional>
#include <string>
#include <vector>

#include "host_pair.hpp"
#include "support/pace.hpp"

namespace runnel::tcp::test {

/// What two programs do with one connection.
struct script {
  enum class opening : std::uint8_t { passive, simultaneous };
  enum class closer : std::uint8_t { client, server, both };
  enum class ending : std::uint8_t {
    close,
    shutdown,
    /// Shutdown, and 50 ms later close, whatever came and without having read it.
    leave,
    abort,
  };
  enum class writing : std::uint8_t {
    nothing,
    /// The client writes as soon as it may: text on the third segment.
    on_third,
    /// Whoever still may writes two segments and a half right before its FIN.
    before_fin,
    /// The same, and 20 ms later the FIN by itself.
    then_fin,
  };
  /// At once: in the turn that it hears of the connection, or of the other side's end, so that FIN
  /// rides on the ACK. Later: 100 ms after the start, 10 ms after the other side's end.
  enum class moment : std::uint8_t { at_once, later };

  opening open = opening::passive;
  closer first = closer::client;
  ending how = ending::close;
  writing text = writing::nothing;
  moment when = moment::later;

  std::string name() const {
    constexpr const char* opens[] = {"passive open", "simultaneous open"};
    constexpr const char* firsts[] = {"client first", "server first", "both"};
    constexpr const char* hows[] = {"close", "shutdown", "leave", "abort"};
    constexpr const char* texts[] = {"no text", "text on the third", "text before FIN",
                                     "text then FIN"};
    constexpr const char* whens[] = {"at once", "later"};
    const auto word = [](const auto& words, auto of) { return words[static_cast<int>(of)]; };
    return std::string(word(opens, open)) + ", " + word(firsts, first) + " " + word(hows, how) +
           " " + word(whens, when) + ", " + word(texts, text);
  }
  bool says_fin_first(int side) const {
    return first == closer::both || (first == closer::client) == (side == host_pair::client);
  }
  bool writes_at_end(int side) const {
    const bool may = says_fin_first(side) || how == ending::shutdown || how == ending::leave;
    return may && (text == writing::before_fin || text == writing::then_fin);
  }
  std::string text_of(int side) const {
    if (text == writing::on_third && side == host_pair::client) return "hello";
    if (writes_at_end(side)) return numbered_text(3500, static_cast<std::size_t>(side) * 7777);
    return {};
  }
  /// Whether every byte must arrive when the network only disturbs. Not when somebody aborts or
  /// leaves, and not when both close while text is on its way to them: that is answered with RST.
  bool orderly() const {
    if (how == ending::abort || how == ending::leave) return false;
    return !(first == closer::both && how == ending::close && writes_at_end(host_pair::client));
  }
};

/// Every script, in a fixed order.
inline std::vector<script> all_scripts() {
  std::vector<script> out;
  for (const auto open : {script::opening::passive, script::opening::simultaneous}) {
    for (const auto first :
         {script::closer::client, script::closer::server, script::closer::both}) {
      for (const auto how : {script::ending::close, script::ending::shutdown, script::ending::leave,
                             script::ending::abort}) {
        for (const auto text : {script::writing::nothing, script::writing::on_third,
                                script::writing::before_fin, script::writing::then_fin}) {
          for (const auto when : {script::moment::at_once, script::moment::later}) {
            out.push_back({open, first, how, text, when});
          }
        }
      }
    }
  }
  if (!testing::full_pace) {
    // Every seventh meets every value of each part.
    std::size_t kept = 0;
    for (std::size_t i = 0; i < out.size(); i += 7) out[kept++] = out[i];
    out.erase(out.begin() + static_cast<std::ptrdiff_t>(kept), out.end());
  }
  return out;
}

/// A program at one end. It knows of its connection only what events and calls tell it, so an event
/// that is missing leaves it stuck.
class application {
 public:
  application(host_pair& pair, int side, const script& plan)
      : pair_(pair), side_(side), plan_(plan), started_(pair.now()) {}

  void start() {
    if (side_ == host_pair::server && plan_.open == script::opening::passive) {
      listener_ = engine().listen({{}, 80}, {}, 1).value;
      return;
    }
    connect_options options;
    if (plan_.open == script::opening::simultaneous) options.local = {{}, port_of(side_)};
    const std::uint16_t to = plan_.open == script::opening::simultaneous ? port_of(1 - side_) : 80;
    socket_ = engine().connect({host_pair::address(1 - side_), to}, options, 2, pair_.now()).value;
  }

  /// Takes its events and does what they, and the time, ask for.
  void act() {
    events seen = events::none;
    for (const socket_event& each : std::exchange(pair_.events_of(side_), {})) {
      if (each.socket == listener_ && any(each.what & events::acceptable)) seen |= accept();
      if (each.socket == socket_) seen |= each.what;
    }
    if (!socket_ || over_at) return;
    if (any(seen & events::connected) && !connected) on_connected();
    if (any(seen & events::readable) && !leaves() && !close_at) read();
    if (any(seen & events::closed)) return finish();
    if (connected && !said_end && (may_follow() || may_close_first())) say_text_and_end();
    const bool done = said_end && (leaves() ? pair_.now() >= leave_at_ : eof);
    if (!close_at && (done || pair_.now() >= deadline())) close(close_mode::graceful);
  }

  /// When it wants to act although nothing has happened.
  time_point wake() const {
    if (over_at) return time_point::max();
    if (!socket_) return time_point::max();
    if (connected && !said_end && pair_.now() < close_time()) return close_time();
    if (said_text_ && !said_end) return fin_at_;
    if (eof && !said_end) return follow_at_;
    if (close_at) return time_point::max();
    return leaves() && said_end ? leave_at_ : deadline();
  }
  /// It closes without having read anything.
  bool leaves() const {
    return plan_.how == script::ending::leave && plan_.says_fin_first(side_) &&
           plan_.text != script::writing::on_third;
  }
  bool has_socket() const { return static_cast<bool>(socket_); }
  void close_listener() {
    if (listener_) engine().close_listener(std::exchange(listener_, {}), pair_.now());
  }

  bool connected = false;
  /// It has read the end of the stream.
  bool eof = false;
  bool said_end = false;
  /// What the engine took from it, and what it read.
  std::string written;
  std::string received;
  /// The first error that a call told.
  error told = error::none;
  /// When it gave up the connection, and when that was over and how.
  std::optional<time_point> close_at;
  std::optional<time_point> over_at;
  end_reason ended = end_reason::none;
  std::uint32_t lost_bytes = 0;
  /// Connections beyond the one that was made.
  int ghosts = 0;

 private:
  host& engine() { return pair_[side_]; }
  static std::uint16_t port_of(int side) { return static_cast<std::uint16_t>(5000 + side); }
  time_point deadline() const { return started_ + std::chrono::seconds(1000); }
  time_point close_time() const {
    return started_ + std::chrono::milliseconds(plan_.when == script::moment::later ? 100 : 0);
  }
  bool may_follow() const { return eof && pair_.now() >= follow_at_; }
  bool may_close_first() const {
    if (!plan_.says_fin_first(side_) || pair_.now() < close_time()) return false;
    // What the other side says before it closes is waited for, or the end would be RST.
    const bool greeted =
        plan_.text != script::writing::on_third || side_ == host_pair::client || !received.empty();
    return greeted;
  }

  events accept() {
    events seen = events::none;
    while (const auto taken = engine().accept(listener_, 3)) {
      if (socket_) {
        ++ghosts;
        engine().release(taken.value, pair_.now());
        continue;
      }
      socket_ = taken.value;
      seen = engine().readiness(socket_) | events::readable;
      if (!any(seen & events::closed)) seen |= events::connected;
    }
    return seen;
  }
  void on_connected() {
    connected = true;
    if (plan_.text == script::writing::on_third) write(plan_.text_of(side_));
  }
  void write(const std::string& what) {
    if (what.empty()) return;
    const auto taken = engine().send(socket_, bytes_of(what), pair_.now());
    note(taken.error);
    written.append(what, 0, taken.value);
  }
  void read() {
    std::byte buffer[4096];
    while (!eof) {
      const auto got = engine().receive(socket_, buffer, pair_.now());
      if (!got) return note(got.error);
      if (got.value == 0) {
        // Without an error that is the end of the stream, or of a connection that is over.
        eof = told == error::none;
        const bool waits = plan_.when == script::moment::later;
        follow_at_ = pair_.now() + std::chrono::milliseconds(waits ? 10 : 0);
        return;
      }
      received.append(reinterpret_cast<const char*>(buffer), got.value);
    }
  }
  void note(error what) {
    if (what != error::none && what != error::would_block && told == error::none) told = what;
  }
  void say_text_and_end() {
    if (!said_text_) {
      said_text_ = true;
      if (plan_.writes_at_end(side_)) write(plan_.text_of(side_));
      const bool waits = plan_.text == script::writing::then_fin && plan_.writes_at_end(side_);
      fin_at_ = pair_.now() + std::chrono::milliseconds(waits ? 20 : 0);
    }
    if (pair_.now() >= fin_at_) say_end();
  }
  void say_end() {
    said_end = true;
    if (plan_.how == script::ending::abort && plan_.says_fin_first(side_)) {
      close(close_mode::abort);
    } else if (plan_.how == script::ending::shutdown || leaves()) {
      leave_at_ = pair_.now() + std::chrono::milliseconds(50);
      note(engine().shutdown(socket_, pair_.now()));
    } else {
      close(close_mode::graceful);
    }
  }
  void close(close_mode mode) {
    said_end = true;
    close_at = pair_.now();
    CHECK(engine().close(socket_, mode, pair_.now()) == error::none);
  }
  void finish() {
    const snapshot last = engine().snapshot(socket_).value;
    CHECK(last.state == state::closed);
    ended = last.ended;
    lost_bytes = last.unacked_bytes;
    over_at = pair_.now();
    if (!close_at) note(engine().pending_error(socket_));
    engine().release(socket_, pair_.now());
  }

  host_pair& pair_;
  int side_;
  script plan_;
  time_point started_;
  bool said_text_ = false;
  time_point follow_at_;
  time_point fin_at_;
  time_point leave_at_;
  socket_id listener_;
  socket_id socket_;
};

}  // namespace runnel::tcp::test
