#include <algorithm>

#include "inspect_format.hpp"

// The lines of ss. Its columns are as wide as what stands in them; here they are as wide as an IPv4
// address, since the lines leave before the last one is known. White space separates them all the
// same, so what reads ss's columns reads these.

namespace runnel::tcp::detail {

namespace {

constexpr std::size_t state_width = 10;
constexpr std::size_t queue_width = 6;
constexpr std::size_t address_width = 15;
constexpr std::size_t port_width = 5;

/// What stands between a row and what follows it, each with a space before it.
void append_break(std::string& out, const row_format& format) {
  if (!format.one_line) out += "\n\t";
}

std::string host_text(const net::address& address) {
  if (address.family() == net::family::unspecified) return "*";
  const std::string text = address.to_string();
  return address.is_v6() ? std::string(1, '[').append(text).append(1, ']') : text;
}

void append_columns(std::string& out, const row_format& format, state in, std::uint64_t recv_q,
                    std::uint64_t send_q) {
  if (format.state_column) {
    append_left(out, ss_name(in), state_width);
    out += ' ';
  }
  append_left(out, std::to_string(recv_q), queue_width);
  out += ' ';
  append_left(out, std::to_string(send_q), queue_width);
  out += ' ';
}

void append_endpoint(std::string& out, const net::endpoint& at) {
  append_right(out, host_text(at.address), address_width);
  out += ':';
  append_left(out, std::to_string(at.port), port_width);
}

/// "name:value", with a space before it.
void append_fact(std::string& out, std::string_view name, std::uint64_t value) {
  out += ' ';
  out.append(name) += ':';
  append_number(out, value);
}
void append_fact_unless_zero(std::string& out, std::string_view name, std::uint64_t value) {
  if (value != 0) append_fact(out, name, value);
}

void append_timer(std::string& out, const snapshot& row, time_point now) {
  if (row.timer == armed_timer::none) return;
  out += " timer:(";
  out.append(ss_name(row.timer)) += ',';
  out += timer_text(elapsed(now, row.timer_due)) + ',';
  append_number(out, row.timer_retries);
  out += ')';
}

std::uint32_t segments(std::uint32_t bytes, std::uint32_t mss) noexcept {
  return mss == 0 ? 0 : (bytes + mss - 1) / mss;
}

bool has_core(const snapshot& row) noexcept {
  return row.state != state::syn_received && row.state != state::time_wait;
}

void append_path(std::string& out, const snapshot& row) {
  if (row.timestamps) out += " ts";
  if (row.sack) out += " sack";
  if (row.ecn) out += " ecn";
  if (row.syn_data_acked) out += " fastopen";
  out += " wscale:" + std::to_string(row.snd_wscale) + "," + std::to_string(row.rcv_wscale);
  if (!has_core(row)) return;
  append_fact(out, "rto", static_cast<std::uint64_t>(row.rto.count()));
  append_fact_unless_zero(out, "backoff", row.retransmits);
  if (row.srtt.count() > 0) {
    out += " rtt:" + milliseconds_text(row.srtt) + "/" + milliseconds_text(row.rttvar);
  }
  append_fact(out, "ato", static_cast<std::uint64_t>(row.ato.count()));
  append_fact(out, "mss", row.snd_mss);
  append_fact(out, "pmtu", row.path_mtu);
  append_fact(out, "rcvmss", row.rcv_mss);
  append_fact(out, "advmss", row.advertised_mss);
  if (row.snd_cwnd_bytes > 0) append_fact(out, "cwnd", segments(row.snd_cwnd_bytes, row.snd_mss));
  if (row.snd_ssthresh_bytes != UINT32_MAX) {
    append_fact(out, "ssthresh", segments(row.snd_ssthresh_bytes, row.snd_mss));
  }
}

void append_traffic(std::string& out, const snapshot& row, time_point now) {
  append_fact_unless_zero(out, "bytes_sent", row.bytes_sent);
  append_fact_unless_zero(out, "bytes_retrans", row.traffic.bytes_retrans);
  append_fact_unless_zero(out, "bytes_acked", row.traffic.bytes_acked);
  append_fact_unless_zero(out, "bytes_received", row.traffic.bytes_received);
  append_fact_unless_zero(out, "segs_out", row.traffic.segs_out);
  append_fact_unless_zero(out, "segs_in", row.traffic.segs_in);
  append_fact_unless_zero(out, "data_segs_out", row.traffic.data_segs_out);
  append_fact_unless_zero(out, "data_segs_in", row.traffic.data_segs_in);
  const auto age = [&](std::string_view name, time_point at) {
    if (at == time_point::min()) return;
    append_fact(out, name, static_cast<std::uint64_t>(elapsed(at, now).count()));
  };
  age("lastsnd", row.last_sent);
  age("lastrcv", row.last_received);
  age("lastack", row.last_ack);
  append_fact_unless_zero(out, "unacked",
                          segments(row.unacked_bytes - row.unsent_bytes, row.snd_mss));
  if (row.retransmits != 0 || row.total_retrans != 0) {
    out += " retrans:" + std::to_string(row.retransmits) + "/" + std::to_string(row.total_retrans);
  }
  if (row.rcv_rtt.count() != 0) out += " rcv_rtt:" + milliseconds_text(row.rcv_rtt);
  append_fact_unless_zero(out, "rcv_space", row.rcv_space_bytes);
  append_fact_unless_zero(out, "rcv_ssthresh", row.rcv_ssthresh_bytes);
  append_fact_unless_zero(out, "notsent", row.unsent_bytes);
  append_fact(out, "snd_wnd", row.snd_wnd_bytes);
  append_fact(out, "rcv_wnd", row.rcv_wnd_bytes);
  append_fact_unless_zero(out, "rcv_ooo", row.out_of_order_bytes);
  if (row.orphan) out += " orphan";
}

void append_memory(std::string& out, const snapshot& row) {
  if (!has_core(row)) return;
  out += " skmem:(r" + std::to_string(row.held_bytes - row.send_held_bytes) + ",rb" +
         std::to_string(row.receive_buffer) + ",t0,tb" + std::to_string(row.send_buffer) + ",f0,w" +
         std::to_string(row.send_held_bytes) + ",o0,bl0,d0)";
}

}  // namespace

void append_header(std::string& out, const row_format& format) {
  if (format.state_column) {
    append_left(out, "State", state_width);
    out += ' ';
  }
  append_left(out, "Recv-Q", queue_width);
  out += ' ';
  append_left(out, "Send-Q", queue_width);
  out += ' ';
  append_right(out, "Local Address", address_width);
  out += ":Port  ";
  append_right(out, "Peer Address", address_width);
  out += ":Port\n";
}

void append_row(std::string& out, const row_format& format, const snapshot& row, time_point now) {
  append_columns(out, format, row.state, row.recv_queue, row.send_queue);
  append_endpoint(out, row.local);
  out += ' ';
  append_endpoint(out, row.remote);
  if (format.timers) append_timer(out, row, now);
  if (format.memory || format.info) append_break(out, format);
  if (format.memory) append_memory(out, row);
  if (format.info) {
    append_path(out, row);
    if (has_core(row)) append_traffic(out, row, now);
  }
}

void append_row(std::string& out, const row_format& format, const listener_snapshot& row) {
  append_columns(out, format, state::listen, row.accept_queue, row.backlog);
  append_endpoint(out, row.local);
  out += ' ';
  const net::family family = row.local.address.family();
  append_right(
      out,
      host_text(family == net::family::unspecified ? net::address() : net::address::any(family)),
      address_width);
  out += ':';
  append_left(out, "*", port_width);
  if (!format.info) return;
  append_break(out, format);
  append_fact(out, "accept_queue_peak", row.accept_queue_peak);
  append_fact(out, "syn_queue", row.syn_queue);
  append_fact(out, "syn_queue_limit", row.syn_queue_limit);
  append_fact(out, "syn_queue_peak", row.syn_queue_peak);
  append_fact_unless_zero(out, "parked", row.parked);
  if (row.fastopen_limit != 0) {
    append_fact(out, "fastopen_queue", row.fastopen_queue);
    append_fact(out, "fastopen_limit", row.fastopen_limit);
  }
  append_fact(out, "accepted", row.accepted);
  append_fact(out, "drops", row.drops.total());
  row.drops.for_each([&](std::string_view name, std::uint64_t count) {
    append_fact_unless_zero(out, name, count);
  });
}

namespace {

std::string_view text_of(fastopen_client_fail why) noexcept {
  switch (why) {
    case fastopen_client_fail::none:
      break;
    case fastopen_client_fail::cookie_unavailable:
      return "cookie_unavailable";
    case fastopen_client_fail::data_not_acked:
      return "data_not_acked";
    case fastopen_client_fail::syn_retransmitted:
      return "syn_retransmitted";
  }
  return "none";
}

void append_info_json(json_writer& out, const snapshot& row, time_point now) {
  out.open('{', "info");
  out.boolean("timestamps", row.timestamps).boolean("sack", row.sack).boolean("ecn", row.ecn);
  out.number("snd_wscale", row.snd_wscale).number("rcv_wscale", row.rcv_wscale);
  if (has_core(row)) {
    out.number("rto_ms", static_cast<std::uint64_t>(row.rto.count()));
    out.number("rtt_us", static_cast<std::uint64_t>(row.srtt.count()));
    out.number("rttvar_us", static_cast<std::uint64_t>(row.rttvar.count()));
    out.number("ato_ms", static_cast<std::uint64_t>(row.ato.count()));
    out.number("mss", row.snd_mss).number("rcv_mss", row.rcv_mss);
    out.number("advmss", row.advertised_mss).number("pmtu", row.path_mtu);
    out.boolean("fastopen", row.syn_data_acked);
    out.text("fastopen_client_fail", text_of(row.fastopen_fail));
    out.number("cwnd_bytes", row.snd_cwnd_bytes);
    if (row.snd_ssthresh_bytes != UINT32_MAX) {
      out.number("ssthresh_bytes", row.snd_ssthresh_bytes);
    }
    out.number("snd_wnd", row.snd_wnd_bytes).number("rcv_wnd", row.rcv_wnd_bytes);
    out.number("rcv_rtt_us", static_cast<std::uint64_t>(row.rcv_rtt.count()));
    out.number("rcv_space", row.rcv_space_bytes).number("rcv_ssthresh", row.rcv_ssthresh_bytes);
    out.number("bytes_sent", row.bytes_sent);
    out.number("bytes_retrans", row.traffic.bytes_retrans);
    out.number("bytes_acked", row.traffic.bytes_acked);
    out.number("bytes_received", row.traffic.bytes_received);
    out.number("segs_out", row.traffic.segs_out).number("segs_in", row.traffic.segs_in);
    out.number("data_segs_out", row.traffic.data_segs_out);
    out.number("data_segs_in", row.traffic.data_segs_in);
    const auto age = [&](std::string_view name, time_point at) {
      if (at == time_point::min()) return;
      out.number(name, static_cast<std::uint64_t>(elapsed(at, now).count()));
    };
    age("last_sent_ms", row.last_sent);
    age("last_received_ms", row.last_received);
    age("last_ack_ms", row.last_ack);
    out.number("retransmits", row.retransmits).number("total_retrans", row.total_retrans);
    out.number("not_sent", row.unsent_bytes).number("out_of_order", row.out_of_order_bytes);
    out.boolean("orphan", row.orphan).boolean("keepalive", row.keepalive);
  }
  out.close('}');
}

}  // namespace

void append_json(json_writer& out, const row_format& format, const snapshot& row, time_point now) {
  out.open('{').text("state", ss_name(row.state));
  out.number("recv_q", row.recv_queue).number("send_q", row.send_queue);
  out.endpoint("local", row.local).endpoint("remote", row.remote);
  if (format.timers && row.timer != armed_timer::none) {
    out.open('{', "timer").text("name", ss_name(row.timer));
    out.number("due_ms", static_cast<std::uint64_t>(elapsed(now, row.timer_due).count()));
    out.number("retries", row.timer_retries).close('}');
  }
  if (format.memory && has_core(row)) {
    out.open('{', "memory").number("received", row.held_bytes - row.send_held_bytes);
    out.number("receive_buffer", row.receive_buffer).number("sent", row.send_held_bytes);
    out.number("send_buffer", row.send_buffer).close('}');
  }
  if (format.info) append_info_json(out, row, now);
  out.close('}');
}

void append_json(json_writer& out, const row_format& format, const listener_snapshot& row) {
  out.open('{').text("state", ss_name(state::listen));
  out.number("recv_q", row.accept_queue).number("send_q", row.backlog);
  out.endpoint("local", row.local);
  if (format.info) {
    out.open('{', "info").number("accept_queue_peak", row.accept_queue_peak);
    out.number("syn_queue", row.syn_queue).number("syn_queue_limit", row.syn_queue_limit);
    out.number("syn_queue_peak", row.syn_queue_peak).number("parked", row.parked);
    out.number("fastopen_queue", row.fastopen_queue).number("fastopen_limit", row.fastopen_limit);
    out.number("accepted", row.accepted);
    out.open('{', "drops");
    row.drops.for_each(
        [&](std::string_view name, std::uint64_t count) { out.number(name, count); });
    out.close('}').close('}');
  }
  out.close('}');
}

}  // namespace runnel::tcp::detail
