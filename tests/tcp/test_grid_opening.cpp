#include "grid.hpp"

// The cells of CLOSED up to ESTABLISHED. Sections are RFC 9293's.

namespace runnel::tcp::test::grid {

namespace {

using e = event;
using r = reply;
using s = state;
using t = told;

constexpr cell closed_cells[] = {
    {e::shutdown, r::nothing, s::closed, t::no_connection, "§3.10.4"},
    {e::close, r::nothing, s::closed, t::no_connection, "§3.10.4"},
    {e::abort, r::nothing, s::closed, t::no_connection, "§3.10.5"},
    {e::old_text, r::rst, s::closed, t::nothing, "§3.10.7.1"},
    {e::text_beyond, r::rst, s::closed, t::nothing, "§3.10.7.1"},
    {e::ack_beyond, r::rst, s::closed, t::nothing, "§3.10.7.1"},
    {e::rst_exact, r::nothing, s::closed, t::nothing, "§3.10.7.1"},
    {e::rst_inside, r::nothing, s::closed, t::nothing, "§3.10.7.1"},
    {e::rst_outside, r::nothing, s::closed, t::nothing, "§3.10.7.1"},
    {e::syn_again, r::rst_for_all, s::closed, t::nothing, "§3.10.7.1, S18"},
    {e::syn_other, r::rst_for_all, s::closed, t::nothing, "§3.10.7.1, S18"},
    {e::syn_ack, r::rst, s::closed, t::nothing, "§3.10.7.1"},
    {e::ack, r::rst, s::closed, t::nothing, "§3.10.7.1"},
    {e::ack_old, r::rst, s::closed, t::nothing, "§3.10.7.1"},
    {e::ack_ancient, r::rst, s::closed, t::nothing, "§3.10.7.1"},
    {e::ack_unsent, r::rst, s::closed, t::nothing, "§3.10.7.1"},
    {e::text, r::rst, s::closed, t::nothing, "§3.10.7.1"},
    {e::fin, r::rst, s::closed, t::nothing, "§3.10.7.1"},
    {e::fin_ack, r::rst, s::closed, t::nothing, "§3.10.7.1"},
    {e::resend_timer, r::nothing, s::closed, t::nothing, "no timer"},
    {e::last_timer, r::nothing, s::closed, t::nothing, "no timer"},
};

constexpr cell listen_cells[] = {
    {e::shutdown, r::nothing, s::listen, t::no_connection, "a listener has no direction to shut"},
    {e::close, r::nothing, s::closed, t::nothing, "§3.10.4"},
    {e::abort, r::nothing, s::closed, t::nothing, "§3.10.5"},
    {e::old_text, r::rst, s::listen, t::nothing, "§3.10.7.2 second, S18"},
    {e::text_beyond, r::rst, s::listen, t::nothing, "§3.10.7.2 second, S18"},
    {e::ack_beyond, r::rst, s::listen, t::nothing, "§3.10.7.2 second, S18"},
    {e::rst_exact, r::nothing, s::listen, t::nothing, "§3.10.7.2 first"},
    {e::rst_inside, r::nothing, s::listen, t::nothing, "§3.10.7.2 first"},
    {e::rst_outside, r::nothing, s::listen, t::nothing, "§3.10.7.2 first"},
    {e::syn_again, r::syn_ack, s::syn_received, t::nothing, "§3.10.7.2 third, S10"},
    {e::syn_other, r::syn_ack, s::syn_received, t::nothing, "§3.10.7.2 third, S10"},
    {e::syn_ack, r::rst, s::listen, t::nothing, "§3.10.7.2 second, S18"},
    {e::ack, r::rst, s::listen, t::nothing, "§3.10.7.2 second, S18"},
    {e::ack_old, r::rst, s::listen, t::nothing, "§3.10.7.2 second, S18"},
    {e::ack_ancient, r::rst, s::listen, t::nothing, "§3.10.7.2 second, S18"},
    {e::ack_unsent, r::rst, s::listen, t::nothing, "§3.10.7.2 second, S18"},
    {e::text, r::rst, s::listen, t::nothing, "§3.10.7.2 second, S18"},
    {e::fin, r::rst, s::listen, t::nothing, "§3.10.7.2 second, S18"},
    {e::fin_ack, r::rst, s::listen, t::nothing, "§3.10.7.2 second, S18"},
    {e::resend_timer, r::nothing, s::listen, t::nothing, "no timer"},
    {e::last_timer, r::nothing, s::listen, t::nothing, "no timer"},
};

constexpr cell syn_sent_cells[] = {
    {e::shutdown, r::nothing, s::syn_sent, t::not_connected,
     "there is no direction to shut yet; Linux gives the attempt up, which `close` does here"},
    {e::close, r::nothing, s::closed, t::aborted, "§3.10.4"},
    {e::abort, r::nothing, s::closed, t::aborted, "§3.10.5"},
    {e::old_text, r::nothing, s::syn_sent, t::nothing, "§3.10.7.3 fifth"},
    {e::text_beyond, r::nothing, s::syn_sent, t::nothing, "§3.10.7.3 fifth"},
    {e::ack_beyond, r::nothing, s::syn_sent, t::nothing, "§3.10.7.3 fifth"},
    {e::rst_exact, r::nothing, s::closed, t::refused, "§3.10.7.3 second: with ACK of our SYN"},
    {e::rst_inside, r::nothing, s::syn_sent, t::nothing, "§3.10.7.3 second: without ACK"},
    {e::rst_outside, r::nothing, s::syn_sent, t::nothing,
     "§3.10.7.3 first: with ACK of what was not sent"},
    {e::syn_again, r::syn_ack, s::syn_received, t::nothing, "§3.10.7.3 fourth, S77"},
    {e::syn_other, r::syn_ack, s::syn_received, t::nothing, "§3.10.7.3 fourth, S77"},
    {e::syn_ack, r::ack, s::established, t::connected, "§3.10.7.3 fourth, S11"},
    {e::ack, r::nothing, s::syn_sent, t::nothing, "§3.10.7.3 fifth"},
    {e::ack_old, r::rst, s::syn_sent, t::nothing, "§3.10.7.3 first"},
    {e::ack_ancient, r::rst, s::syn_sent, t::nothing, "§3.10.7.3 first"},
    {e::ack_unsent, r::rst, s::syn_sent, t::nothing, "§3.10.7.3 first, S13"},
    {e::text, r::nothing, s::syn_sent, t::nothing, "§3.10.7.3 fifth"},
    {e::fin, r::nothing, s::syn_sent, t::nothing, "§3.10.7.3 fifth"},
    {e::fin_ack, r::nothing, s::syn_sent, t::nothing, "§3.10.7.3 fifth"},
    {e::resend_timer, r::syn, s::syn_sent, t::nothing, "§3.10.8, S45"},
    {e::last_timer, r::nothing, s::closed, t::timed_out, "S45", 131'000},
};

constexpr cell syn_received_cells[] = {
    {e::shutdown, r::nothing, s::syn_received, t::no_connection,
     "the request is not the application's before the third segment, S11"},
    {e::close, r::nothing, s::syn_received, t::nothing,
     "of the listener: the request is forgotten when its timer or a segment looks at it"},
    {e::abort, r::nothing, s::syn_received, t::nothing, "of the listener: as `close`"},
    {e::old_text, r::ack, s::syn_received, t::nothing, "§3.10.7.4 first"},
    {e::text_beyond, r::ack, s::syn_received, t::nothing, "§3.10.7.4 first"},
    {e::ack_beyond, r::ack, s::syn_received, t::nothing, "§3.10.7.4 first"},
    {e::rst_exact, r::nothing, s::listen, t::nothing, "§3.10.7.4 second, S18"},
    {e::rst_inside, r::ack, s::syn_received, t::nothing,
     "§3.10.7.4 second (RFC 5961 §3): challenge ACK"},
    {e::rst_outside, r::nothing, s::syn_received, t::nothing, "§3.10.7.4 second (RFC 5961 §3)"},
    {e::syn_again, r::syn_ack, s::syn_received, t::nothing,
     "S18, S46: SYN-ACK was lost, and it acknowledges too (§3.10.7.4 first asks for ACK)"},
    {e::syn_other, r::rst_for_all, s::listen, t::nothing, "§3.10.7.4 fourth, S18"},
    {e::syn_ack, r::ack, s::syn_received, t::nothing, "§3.10.7.4 first"},
    {e::ack, r::nothing, s::established, t::waiting, "§3.10.7.4 fifth, S11"},
    {e::ack_old, r::rst, s::syn_received, t::nothing, "§3.10.7.4 fifth, S18"},
    {e::ack_ancient, r::rst, s::syn_received, t::nothing, "§3.10.7.4 fifth, S18"},
    {e::ack_unsent, r::rst, s::syn_received, t::nothing, "§3.10.7.4 fifth, S18"},
    {e::text, r::ack, s::established, t::waiting_text, "§3.10.7.4 fifth, S15"},
    {e::fin, r::ack, s::close_wait, t::waiting_end, "§3.10.7.4 eighth"},
    {e::fin_ack, r::ack, s::close_wait, t::waiting_end, "§3.10.7.4 eighth"},
    {e::resend_timer, r::syn_ack, s::syn_received, t::nothing, "§3.10.8, S43"},
    {e::last_timer, r::nothing, s::listen, t::nothing, "S43", 63'000},
};

constexpr cell syn_received_active_cells[] = {
    {e::shutdown, r::nothing, s::syn_received, t::nothing, "§3.10.4: FIN follows the handshake"},
    {e::close, r::nothing, s::syn_received, t::nothing, "§3.10.4: FIN follows the handshake"},
    {e::abort, r::rst_here, s::closed, t::aborted, "§3.10.5"},
    {e::old_text, r::ack, s::syn_received, t::nothing, "§3.10.7.4 first"},
    {e::text_beyond, r::ack, s::syn_received, t::nothing, "§3.10.7.4 first"},
    {e::ack_beyond, r::ack, s::syn_received, t::nothing, "§3.10.7.4 first"},
    {e::rst_exact, r::nothing, s::closed, t::refused, "§3.10.7.4 second"},
    {e::rst_inside, r::ack, s::syn_received, t::nothing,
     "§3.10.7.4 second (RFC 5961 §3): challenge ACK"},
    {e::rst_outside, r::nothing, s::syn_received, t::nothing, "§3.10.7.4 second (RFC 5961 §3)"},
    {e::syn_again, r::syn_ack, s::syn_received, t::nothing,
     "S46: SYN-ACK was lost, and it acknowledges too (§3.10.7.4 first asks for ACK)"},
    {e::syn_other, r::ack, s::syn_received, t::nothing,
     "§3.10.7.4 fourth (RFC 5961 §4): challenge ACK"},
    {e::syn_ack, r::ack, s::established, t::connected, "§3.5: both opened at once"},
    {e::ack, r::nothing, s::established, t::connected, "§3.10.7.4 fifth"},
    {e::ack_old, r::rst, s::syn_received, t::nothing, "§3.10.7.4 fifth"},
    {e::ack_ancient, r::rst, s::syn_received, t::nothing, "§3.10.7.4 fifth"},
    {e::ack_unsent, r::rst, s::syn_received, t::nothing, "§3.10.7.4 fifth"},
    {e::text, r::ack, s::established, t::connected_text, "§3.10.7.4 fifth"},
    {e::fin, r::ack, s::close_wait, t::connected_end, "§3.10.7.4 eighth"},
    {e::fin_ack, r::ack, s::close_wait, t::connected_end, "§3.10.7.4 eighth"},
    {e::resend_timer, r::syn_ack, s::syn_received, t::nothing, "§3.10.8, S45"},
    {e::last_timer, r::nothing, s::closed, t::timed_out, "S45", 131'000},
};

constexpr cell established_cells[] = {
    {e::shutdown, r::fin, s::fin_wait_1, t::nothing, "§3.10.4, S57"},
    {e::close, r::fin, s::fin_wait_1, t::nothing, "§3.10.4, S57"},
    {e::abort, r::rst_here, s::closed, t::aborted, "§3.10.5, S97"},
    {e::old_text, r::ack, s::established, t::nothing, "§3.10.7.4 first"},
    {e::text_beyond, r::ack, s::established, t::nothing, "§3.10.7.4 first"},
    {e::ack_beyond, r::ack, s::established, t::nothing, "§3.10.7.4 first"},
    {e::rst_exact, r::nothing, s::closed, t::reset, "§3.10.7.4 second"},
    {e::rst_inside, r::ack, s::established, t::nothing,
     "§3.10.7.4 second (RFC 5961 §3), S122: challenge ACK"},
    {e::rst_outside, r::nothing, s::established, t::nothing,
     "§3.10.7.4 second (RFC 5961 §3), S122"},
    {e::syn_again, r::ack, s::established, t::nothing,
     "§3.10.7.4 fourth (RFC 5961 §4), S123: challenge ACK"},
    {e::syn_other, r::ack, s::established, t::nothing,
     "§3.10.7.4 fourth (RFC 5961 §4), S123: challenge ACK"},
    {e::syn_ack, r::ack, s::established, t::nothing,
     "§3.10.7.4 fourth (RFC 5961 §4), S123: challenge ACK"},
    {e::ack, r::nothing, s::established, t::nothing, "§3.10.7.4 fifth"},
    {e::ack_old, r::nothing, s::established, t::nothing, "§3.10.7.4 fifth: a duplicate"},
    {e::ack_ancient, r::ack, s::established, t::nothing,
     "§3.10.7.4 fifth (RFC 5961 §5): challenge ACK"},
    {e::ack_unsent, r::ack, s::established, t::nothing, "§3.10.7.4 fifth, S124"},
    {e::text, r::ack, s::established, t::text, "§3.10.7.4 seventh"},
    {e::fin, r::ack, s::close_wait, t::end, "§3.10.7.4 eighth, S04"},
    {e::fin_ack, r::ack, s::close_wait, t::end, "§3.10.7.4 eighth, S04"},
    {e::resend_timer, r::text, s::established, t::nothing, "§3.10.8, S48: with text on its way"},
    {e::last_timer, r::nothing, s::closed, t::timed_out, "S47b: with text on its way", 925'623},
};

constexpr row_cells rows[] = {
    {row::closed, s::closed, "CLOSED", "nobody listens", closed_cells},
    {row::listen, s::listen, "LISTEN", "`listen`", listen_cells},
    {row::syn_sent, s::syn_sent, "SYN-SENT", "`connect`", syn_sent_cells},
    {row::syn_received, s::syn_received, "SYN-RECEIVED", "a half-open request of a listener",
     syn_received_cells},
    {row::syn_received_active, s::syn_received, "SYN-RECEIVED, active",
     "`connect` and the peer's SYN", syn_received_active_cells},
    {row::established, s::established, "ESTABLISHED", "`accept`", established_cells},
};

}  // namespace

std::span<const row_cells> opening_rows() {
  return rows;
}

}  // namespace runnel::tcp::test::grid
