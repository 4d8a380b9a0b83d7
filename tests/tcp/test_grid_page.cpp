#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

#include "grid.hpp"

// docs/states.md is printed from the cells that test_grid.cpp tests.

namespace runnel::tcp::test::grid {

std::string_view name_of(event of) {
  constexpr std::string_view names[event_count] = {
      "shutdown",
      "close",
      "abort",
      "old duplicate text",
      "text beyond the window",
      "ACK beyond the window",
      "RST, exact",
      "RST inside the window",
      "RST outside the window",
      "SYN, the same",
      "SYN, another number",
      "SYN-ACK",
      "ACK",
      "ACK, old",
      "ACK, ancient",
      "ACK of what was not sent",
      "text",
      "FIN",
      "FIN with ACK of ours",
      "retransmission time-out",
      "last time-out",
  };
  return names[static_cast<std::size_t>(of)];
}

std::string_view text_of(event of) {
  constexpr std::string_view texts[event_count] = {
      "CLOSE of the sending direction",
      "CLOSE",
      "ABORT",
      "`<SEQ=RCV.NXT-1><CTL=ACK>`, one byte",
      "`<SEQ=RCV.NXT+100000><CTL=ACK>`, four bytes",
      "the same without text",
      "`<SEQ=RCV.NXT><CTL=RST>`; in SYN-SENT with ACK of our SYN",
      "`<SEQ=RCV.NXT+100><CTL=RST>`; in SYN-SENT without ACK",
      "`<SEQ=RCV.NXT+100000><CTL=RST>`; in SYN-SENT with ACK of what was not sent",
      "`<SEQ=IRS><CTL=SYN>`",
      "`<SEQ=RCV.NXT+100><CTL=SYN>`",
      "`<SEQ=IRS><ACK=SND.NXT><CTL=SYN,ACK>`",
      "`<SEQ=RCV.NXT><ACK=SND.NXT><CTL=ACK>`",
      "`<SEQ=RCV.NXT><ACK=SND.UNA-1><CTL=ACK>`; before the handshake is over `ACK=ISS`",
      "`<SEQ=RCV.NXT><ACK=SND.UNA-70000><CTL=ACK>`, before any window",
      "`<SEQ=RCV.NXT><ACK=SND.NXT+1000><CTL=ACK>`",
      "`<SEQ=RCV.NXT><CTL=ACK>`, four bytes",
      "`<SEQ=RCV.NXT><CTL=FIN,ACK>`; where FIN was received, the same one again",
      "the same with `ACK=SND.NXT`",
      "RETRANSMISSION TIMEOUT, the first",
      "USER TIMEOUT or TIME-WAIT TIMEOUT: silence to the end of the policy's patience",
  };
  return texts[static_cast<std::size_t>(of)];
}

std::string_view text_of(reply of) {
  switch (of) {
    case reply::nothing:
      return "";
    case reply::ack:
      return "`<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>`";
    case reply::rst:
      return "`<SEQ=SEG.ACK><CTL=RST>`";
    case reply::rst_for_all:
      return "`<SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>`";
    case reply::rst_here:
      return "`<SEQ=SND.NXT><ACK=RCV.NXT><CTL=RST,ACK>`";
    case reply::syn:
      return "`<SEQ=ISS><CTL=SYN>`";
    case reply::syn_ack:
      return "`<SEQ=ISS><ACK=RCV.NXT><CTL=SYN,ACK>`";
    case reply::syn_ack_beyond:
      return "`<SEQ=SND.NXT+65537><ACK=RCV.NXT><CTL=SYN,ACK>`";
    case reply::text:
      return "`<SEQ=SND.UNA><ACK=RCV.NXT><CTL=ACK>` and the text";
    case reply::fin:
      return "`<SEQ=SND.NXT><ACK=RCV.NXT><CTL=FIN,ACK>`";
    case reply::fin_again:
      return "`<SEQ=SND.UNA><ACK=RCV.NXT><CTL=FIN,ACK>`";
  }
  return "?";
}

std::string_view text_of(told of) {
  switch (of) {
    case told::nothing:
      return "";
    case told::no_connection:
      return "EBADF";
    case told::not_connected:
      return "ENOTCONN";
    case told::connected:
      return "connected";
    case told::connected_text:
      return "connected, text to read";
    case told::connected_end:
      return "connected, end of the stream";
    case told::waiting:
      return "a connection to accept";
    case told::waiting_text:
      return "a connection to accept, with text";
    case told::waiting_end:
      return "a connection to accept, at its end";
    case told::text:
      return "text to read";
    case told::end:
      return "end of the stream";
    case told::acknowledged:
      return "everything is acknowledged";
    case told::clean:
      return "over: clean";
    case told::end_clean:
      return "end of the stream; over: clean";
    case told::refused:
      return "over: ECONNREFUSED";
    case told::reset:
      return "over: ECONNRESET";
    case told::reset_pipe:
      return "over: EPIPE";
    case told::timed_out:
      return "over: ETIMEDOUT";
    case told::aborted:
      return "over: ECONNABORTED";
  }
  return "?";
}

namespace {

constexpr std::string_view head =
    R"(# What each state does with each event

Printed by `tests/tcp/test_grid_page.cpp` from the cells that `tests/tcp/test_grid.cpp` tests;
`RUNNEL_UPDATE_DOCS=1` writes it anew.

The states stand in the order of RFC 9293 §3.10.7, the events in the order of §3.10: calls, then
segments as the checks of §3.10.7.4 look at them, then timers. SYN-RECEIVED stands twice, because a
listener's request and a connection that was opened from both ends differ, and so do FIN-WAIT-1 and
FIN-WAIT-2, which nobody reads from once `close` was called. The first table says what is sent and
where the state moves; a dot is neither. The tables behind it have a row for each cell: the segment
that goes out, the next state where it is another, what the application is told, and who says so: a
section of RFC 9293, another RFC, or a row S01 to S126 of the list of behaviours, which has
Linux 6.18 as measured. Where these ask for something else, the last column says what and why.

)";

std::string_view word(reply of) {
  switch (of) {
    case reply::nothing:
      return "";
    case reply::ack:
      return "ACK";
    case reply::rst:
    case reply::rst_for_all:
    case reply::rst_here:
      return "RST";
    case reply::syn:
      return "SYN";
    case reply::syn_ack:
    case reply::syn_ack_beyond:
      return "SYN-ACK";
    case reply::text:
      return "text";
    case reply::fin:
    case reply::fin_again:
      return "FIN";
  }
  return "?";
}

template <class Visitor>
void each_row(const Visitor& visit) {
  for (const auto rows : {opening_rows(), closing_rows()}) {
    for (const row_cells& each : rows) visit(each);
  }
}

void print_overview(std::ostream& out) {
  out << "| |";
  each_row([&](const row_cells& row) { out << " " << row.name << " |"; });
  out << "\n|---|";
  for (std::size_t i = 0; i < row_count; ++i) out << "---|";
  for (std::size_t i = 0; i < event_count; ++i) {
    out << "\n| " << name_of(static_cast<event>(i)) << " |";
    each_row([&](const row_cells& row) {
      const cell& what = row.cells[i];
      const bool moves = what.next != row.in;
      out << " " << word(what.says);
      if (moves) out << (word(what.says).empty() ? "" : " ") << "→ " << rfc_name(what.next);
      if (!moves && word(what.says).empty()) out << "·";
      out << " |";
    });
  }
  out << "\n\n| event | is |\n|---|---|\n";
  for (std::size_t i = 0; i < event_count; ++i) {
    const auto each = static_cast<event>(i);
    out << "| " << name_of(each) << " | " << text_of(each) << " |\n";
  }
}

void print_row(std::ostream& out, const row_cells& row) {
  out << "\n## " << row.name << "\n\nReached by: " << row.how << ".\n\n"
      << "| event | reply | next state | the application is told | who says so "
         "|\n|---|---|---|---|---|\n";
  for (const cell& what : row.cells) {
    out << "| " << name_of(what.on) << " | " << text_of(what.says) << " | ";
    if (what.next != row.in) out << rfc_name(what.next);
    if (what.after_ms >= 0) out << " after " << static_cast<double>(what.after_ms) / 1000 << " s";
    out << " | " << text_of(what.hears) << " | " << what.why << " |\n";
  }
}

std::string page() {
  std::ostringstream out;
  out << head;
  print_overview(out);
  each_row([&](const row_cells& row) { print_row(out, row); });
  std::string text = out.str();
  // An empty cell is a single space.
  for (std::size_t at = 0; (at = text.find("|  |", at)) != text.npos; ++at) text.erase(at + 1, 1);
  return text;
}

}  // namespace

TEST_CASE("grid: docs/states.md shows the cells that are tested") {
  const std::string path = RUNNEL_SOURCE_DIR "/docs/states.md";
  if (std::getenv("RUNNEL_UPDATE_DOCS") != nullptr) std::ofstream(path) << page();
  std::ifstream file(path);
  const std::string shown{std::istreambuf_iterator<char>(file), {}};
  CHECK_MESSAGE(shown == page(),
                "docs/states.md is not what the grid says; run this test with "
                "RUNNEL_UPDATE_DOCS=1 to write it anew");
}

TEST_CASE("grid: a cell for each event in each state, in order") {
  std::size_t rows = 0;
  each_row([&](const row_cells& row) {
    CHECK(static_cast<std::size_t>(row.id) == rows++);
    REQUIRE(row.cells.size() == event_count);
    for (std::size_t i = 0; i < event_count; ++i) {
      CHECK(row.cells[i].on == static_cast<event>(i));
      CHECK(!row.cells[i].why.empty());
    }
  });
  CHECK(rows == row_count);
}

}  // namespace runnel::tcp::test::grid
