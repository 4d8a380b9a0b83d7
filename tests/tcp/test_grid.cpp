#include "grid.hpp"

#include <optional>

#include "raw_peer.hpp"

// Every state with every event: RFC 9293 §3.10, with RFC 5961's challenge ACKs, and Linux as it was
// measured where the RFC leaves room. The cells are in test_grid_opening.cpp and
// test_grid_closing.cpp; docs/states.md shows them.
//
// One cell alone: -tc='grid: LISTEN' -sc='SYN-ACK'.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace runnel::tcp::test::grid;
using namespace std::chrono_literals;

namespace {

bool has_socket(row of) {
  return of != row::closed && of != row::listen && of != row::syn_received;
}
/// Our FIN, or SYN, has left and is not acknowledged.
bool waits_for_ack(row of) {
  return of == row::syn_sent || of == row::syn_received || of == row::syn_received_active ||
         of == row::fin_wait_1 || of == row::fin_wait_1_closed || of == row::closing ||
         of == row::last_ack;
}
bool before_handshake(row of) {
  return of <= row::syn_received_active;
}
bool peer_said_fin(row of) {
  return of >= row::close_wait;
}

void bring(raw_peer& peer, row to, state in) {
  peer.mark();
  switch (to) {
    case row::closed:
      return;
    case row::syn_received_active:
      bring_to(peer, state::syn_sent);
      peer.send_syn();
      break;
    case row::fin_wait_1_closed:
      peer.establish();
      peer.close();
      break;
    case row::fin_wait_2_closed:
      peer.establish();
      peer.close();
      peer.send({});
      break;
    default:
      bring_to(peer, in);
      break;
  }
  CHECK(peer.current() == (in == state::listen ? state::closed : in));
  peer.forget();
}

/// One cell: the state, the event, and what came of it.
class cell_run {
 public:
  cell_run(const row_cells& row, const cell& what) : row_(row), what_(what) {
    bring(peer_, row.id, row.in);
    next_ = peer_.peer_next - peer_.peer_iss;
    host_next_ = peer_.host_next - peer_.host_iss;
    old_iss_ = peer_.host_iss;
    una_ = host_next_ - (waits_for_ack(row.id) ? 1 : 0);
    if (has_socket(row.id)) was_ = peer_.look().ended;
    peer_.reported = events::none;
  }

  void check() {
    happen();
    check_reply();
    check_state();
    check_told();
  }

 private:
  // ---- events -------------------------------------------------------------------------------

  void happen() {
    switch (what_.on) {
      case event::shutdown:
        answered_ = peer_.engine().shutdown(peer_.socket, peer_.now());
        break;
      case event::close:
      case event::abort:
        end(what_.on == event::abort ? close_mode::abort : close_mode::graceful);
        break;
      case event::resend_timer:
        let_time_pass(1500ms);
        return;
      case event::last_timer:
        let_time_pass(2000s);
        return;
      default:
        segment();
        return;
    }
    peer_.flush();
  }
  void end(close_mode mode) {
    if (row_.id == row::listen || row_.id == row::syn_received) {
      CHECK(peer_.engine().close_listener(peer_.listener, peer_.now()) == error::none);
    } else {
      answered_ = peer_.engine().close(peer_.socket, mode, peer_.now());
    }
  }
  /// Silence, with text on its way where there may be some.
  void let_time_pass(std::chrono::milliseconds span) {
    if (row_.id == row::established || row_.id == row::close_wait) {
      peer_.write("x");
      peer_.forget();
    }
    const time_point until = peer_.now() + span;
    while (peer_.current() == row_.in && peer_.engine().poll_timeout() <= until) {
      peer_.run_for(peer_.engine().poll_timeout() - peer_.now());
    }
    over_after_ = peer_.since_mark();
  }
  void segment() {
    switch (what_.on) {
      case event::old_text:
        return send(next_ - 1, honest_ack(), "A", 1);
      case event::text_beyond:
        return send(next_ + 100'000, honest_ack(), "A", 4);
      case event::ack_beyond:
        return send(next_ + 100'000, honest_ack(), "A");
      case event::rst_exact:
        return row_.id == row::syn_sent ? send(0, host_next_, "RA") : send(next_, 0, "R");
      case event::rst_inside:
        return send(next_ + 100, 0, "R");
      case event::rst_outside:
        return row_.id == row::syn_sent ? send(0, host_next_ + 1000, "RA")
                                        : send(next_ + 100'000, 0, "R");
      case event::syn_again:
        return send(0, 0, "S");
      case event::syn_other:
        return send(next_ + 100, 0, "S");
      case event::syn_ack:
        return send(0, host_next_, "SA");
      case event::ack:
        return send(next_, host_next_, "A");
      case event::ack_old:
        return send(next_, una_ - (before_handshake(row_.id) ? 0 : 1), "A");
      case event::ack_ancient:
        return send(next_, una_ - 70'000, "A");
      case event::ack_unsent:
        return send(next_, host_next_ + 1000, "A");
      case event::text:
        return send(next_, honest_ack(), "A", 4);
      case event::fin:
        return send(next_ - (peer_said_fin(row_.id) ? 1 : 0), honest_ack(), "FA");
      case event::fin_ack:
        return send(next_ - (peer_said_fin(row_.id) ? 1 : 0), host_next_, "FA");
      default:
        FAIL("no segment");
    }
  }
  /// During a handshake every segment of the peer acknowledges our SYN; later, nothing new.
  std::uint32_t honest_ack() const { return before_handshake(row_.id) ? host_next_ : una_; }
  void send(std::uint32_t at, std::uint32_t acked, std::string_view letters,
            std::uint32_t size = 0) {
    sent_ack_ = acked;
    sent_end_ = at + size + (letters.find_first_of("SF") == letters.npos ? 0 : 1);
    peer_.send({seq(at), ack(acked), flags(letters), length(size)});
  }

  // ---- what came of it ----------------------------------------------------------------------

  /// RCV.NXT now.
  std::uint32_t received() const {
    switch (what_.hears) {
      case told::text:
      case told::connected_text:
      case told::waiting_text:
        return next_ + 4;
      default:
        break;
    }
    const bool fin = what_.on == event::fin || what_.on == event::fin_ack;
    if (row_.id == row::syn_sent) return 1;
    return next_ + (fin && what_.next != row_.in ? 1 : 0);
  }
  void check_reply() {
    const std::uint32_t end = received();
    // RST and the answer to SYN stand for a connection that is not (yet) there: their numbers are
    // absolute, and the test's bases may not fit.
    switch (what_.says) {
      case reply::nothing:
        if (what_.on == event::last_timer) peer_.forget();
        break;
      case reply::ack:
        peer_.expect({flags("A"), seq(host_next_), ack(end), length(0)});
        break;
      case reply::rst:
        peer_.expect({flags("R"), seq(sent_ack_), length(0)});
        break;
      case reply::rst_for_all:
        peer_.expect({flags("RA"), seq(0U - peer_.host_iss), ack(sent_end_), length(0)});
        break;
      case reply::rst_here:
        peer_.expect({flags("RA"), seq(host_next_), ack(next_), length(0)});
        break;
      case reply::syn:
        peer_.expect({flags("S"), seq(0), length(0)});
        break;
      case reply::syn_ack:
        peer_.expect({flags("SA"), seq(0), ack(sent_end_ == 0 ? next_ : sent_end_), length(0)});
        break;
      case reply::syn_ack_beyond:
        CHECK(peer_.host_iss == old_iss_ + host_next_ + 65537);
        peer_.expect({flags("SA"), ack(sent_end_), length(0)});
        break;
      case reply::text:
        peer_.expect({flags("A"), seq(una_), ack(end), text("x")});
        break;
      case reply::fin:
        peer_.expect({flags("FA"), seq(host_next_), ack(end), length(0)});
        break;
      case reply::fin_again:
        peer_.expect({flags("FA"), seq(host_next_ - 1), ack(end), length(0)});
        break;
    }
    if (what_.on != event::resend_timer) peer_.expect_nothing();
    peer_.forget();
  }
  void check_state() {
    const bool listens = static_cast<bool>(peer_.engine().listener(peer_.listener));
    if (what_.next == state::listen) {
      CHECK(peer_.current() == state::closed);
      CHECK(listens);
    } else {
      CHECK(peer_.current() == what_.next);
    }
    if (what_.after_ms >= 0) CHECK(over_after_ == std::chrono::milliseconds(what_.after_ms));
  }

  struct hearing {
    /// Reported, and nothing else of what counts here.
    events what = events::none;
    end_reason ended = end_reason::none;
    error pending = error::none;
    /// What a call answered.
    error answer = error::none;
    std::string_view text{};
    bool end = false;
  };
  hearing heard() const {
    constexpr events over = events::readable | events::closed;
    switch (what_.hears) {
      case told::nothing:
        return {.ended = was_};
      case told::no_connection:
        return {.answer = error::bad_handle};
      case told::not_connected:
        return {.ended = was_, .answer = error::not_connected};
      case told::connected:
        return {.what = events::connected};
      case told::connected_text:
        return {.what = events::connected | events::readable, .text = "xxxx"};
      case told::connected_end:
        return {.what = events::connected | events::readable, .end = true};
      case told::waiting:
        return {.what = events::acceptable};
      case told::waiting_text:
        return {.what = events::acceptable, .text = "xxxx"};
      case told::waiting_end:
        return {.what = events::acceptable, .end = true};
      case told::text:
        return {.what = events::readable, .text = "xxxx"};
      case told::end:
        return {.what = events::readable, .end = true};
      case told::acknowledged:
        return {.what = events::drained};
      case told::clean:
        return {.what = over, .ended = end_reason::clean};
      case told::end_clean:
        return {.what = over, .ended = end_reason::clean, .end = true};
      case told::refused:
        return {.what = over, .ended = end_reason::refused, .pending = error::connection_refused};
      case told::reset:
        return {.what = over, .ended = end_reason::reset, .pending = error::connection_reset};
      case told::reset_pipe:
        return {.what = over, .ended = end_reason::reset, .pending = error::broken_pipe};
      case told::timed_out:
        return {.what = over, .ended = end_reason::timed_out, .pending = error::timed_out};
      case told::aborted:
        return {.what = over, .ended = end_reason::aborted, .pending = error::connection_aborted};
    }
    return {};
  }
  void check_told() {
    const hearing wanted = heard();
    CHECK(answered_ == wanted.answer);
    constexpr events counted = events::connected | events::readable | events::drained |
                               events::closed | events::acceptable;
    events reported = peer_.reported & counted;
    // What is over needs no report that everything was acknowledged.
    if (any(reported & events::closed)) {
      reported = reported & (events::readable | events::closed | events::connected);
    }
    CHECK(static_cast<int>(reported) == static_cast<int>(wanted.what));
    if (any(wanted.what & events::acceptable)) {
      peer_.accept();
    } else if (row_.id == row::listen || row_.id == row::syn_received) {
      CHECK(peer_.engine().accept(peer_.listener, 3).error != error::none);
      return;
    } else if (!has_socket(row_.id)) {
      return;
    }
    CHECK(peer_.look().ended == wanted.ended);
    CHECK(peer_.engine().pending_error(peer_.socket) == wanted.pending);
    CHECK(peer_.read() == wanted.text);
    const bool at_end = any(peer_.engine().readiness(peer_.socket) & events::readable) &&
                        wanted.pending == error::none && peer_.read_error() == error::none;
    if (wanted.end) CHECK(at_end);
    if (!wanted.end && wanted.ended == end_reason::none && !peer_said_fin(row_.id)) {
      CHECK(!at_end);
    }
  }

  raw_peer peer_;
  const row_cells& row_;
  const cell& what_;
  std::uint32_t next_ = 0;
  std::uint32_t host_next_ = 0;
  std::uint32_t una_ = 0;
  std::uint32_t old_iss_ = 0;
  std::uint32_t sent_ack_ = 0;
  std::uint32_t sent_end_ = 0;
  end_reason was_ = end_reason::none;
  error answered_ = error::none;
  std::chrono::milliseconds over_after_{};
};

void check_row(row wanted) {
  for (const auto rows : {opening_rows(), closing_rows()}) {
    for (const row_cells& each : rows) {
      if (each.id != wanted) continue;
      REQUIRE(each.cells.size() == event_count);
      for (const cell& what : each.cells) {
        const std::string name(name_of(what.on));
        SUBCASE(name.c_str()) {
          CAPTURE(what.why);
          cell_run(each, what).check();
        }
      }
    }
  }
}

}  // namespace

TEST_CASE("grid: CLOSED") {
  check_row(row::closed);
}
TEST_CASE("grid: LISTEN") {
  check_row(row::listen);
}
TEST_CASE("grid: SYN-SENT") {
  check_row(row::syn_sent);
}
TEST_CASE("grid: SYN-RECEIVED") {
  check_row(row::syn_received);
}
TEST_CASE("grid: SYN-RECEIVED, active") {
  check_row(row::syn_received_active);
}
TEST_CASE("grid: ESTABLISHED") {
  check_row(row::established);
}
TEST_CASE("grid: FIN-WAIT-1") {
  check_row(row::fin_wait_1);
}
TEST_CASE("grid: FIN-WAIT-1, closed") {
  check_row(row::fin_wait_1_closed);
}
TEST_CASE("grid: FIN-WAIT-2") {
  check_row(row::fin_wait_2);
}
TEST_CASE("grid: FIN-WAIT-2, closed") {
  check_row(row::fin_wait_2_closed);
}
TEST_CASE("grid: CLOSE-WAIT") {
  check_row(row::close_wait);
}
TEST_CASE("grid: CLOSING") {
  check_row(row::closing);
}
TEST_CASE("grid: LAST-ACK") {
  check_row(row::last_ack);
}
TEST_CASE("grid: TIME-WAIT") {
  check_row(row::time_wait);
}
