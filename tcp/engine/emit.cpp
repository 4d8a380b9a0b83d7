#include "emit.hpp"

#include <algorithm>

#include "runnel/wire/checksum.hpp"

// From a segment's meaning to the packet on its way out.

namespace runnel::tcp::detail {

namespace {

constexpr std::uint16_t checksum_field_offset = 16;

/// What the IP header says beside the addresses.
struct ip_facts {
  std::uint8_t ttl = 0;
  bool dont_fragment = true;
  std::uint8_t ecn = 0;
};

/// Writes both headers in front of `text_pieces` pieces that stand in `host.pieces` from 1 on.
void emit_headers(core& host, const flow_key& key, const ip_facts& facts, wire::tcp_header& tcp,
                  std::size_t text_pieces, std::uint32_t text_bytes, std::uint16_t gso_size) {
  wire::ip_header ip;
  ip.source = host.local_address(key);
  ip.destination = key.remote;
  ip.protocol = static_cast<std::uint8_t>(wire::ip_protocol::tcp);
  ip.ttl = facts.ttl;
  ip.tos = facts.ecn;
  ip.dont_fragment = facts.dont_fragment;
  ip.flow_label = host.flow_label(key);
  if (!ip.dont_fragment && key.remote.is_v4()) {
    const std::uint32_t packets = text_bytes > gso_size ? (text_bytes - 1) / gso_size + 1 : 1;
    ip.id = next_ip_id(host, key.remote, packets);
  }
  const std::size_t ip_bytes = wire::ip_header_bytes(key.remote.family());
  const std::size_t tcp_bytes = wire::tcp_header_bytes(tcp.options);
  ip.total_length = static_cast<std::uint32_t>(ip_bytes + tcp_bytes + text_bytes);
  tcp.source_port = key.local_port;
  tcp.destination_port = key.remote_port;
  tcp.checksum = 0;
  const std::span<std::byte> headers(host.scratch.data(), ip_bytes + tcp_bytes);
  wire::emit_ip(headers, ip);
  wire::emit_tcp(headers.subspan(ip_bytes), tcp);

  wire::checksum sum;
  sum.add_pseudo_header(ip.source, ip.destination, ip.protocol,
                        static_cast<std::uint32_t>(tcp_bytes) + text_bytes);
  host.transmit.offload = {};
  if (host.checksum_offload_tx) {
    wire::put_tcp_checksum(headers.subspan(ip_bytes), sum.sum());
    host.transmit.offload.checksum = net::checksum_state::partial;
    host.transmit.offload.checksum_start = static_cast<std::uint16_t>(ip_bytes);
    host.transmit.offload.checksum_offset = checksum_field_offset;
  } else {
    sum.add(headers.subspan(ip_bytes));
    for (std::size_t i = 1; i <= text_pieces; ++i) sum.add(host.pieces[i]);
    wire::put_tcp_checksum(headers.subspan(ip_bytes), sum.value());
  }
  if (text_bytes > gso_size) host.transmit.offload.gso_size = gso_size;
  host.pieces[0] = headers;
  host.transmit.pieces = std::span(host.pieces).first(1 + text_pieces);
  host.transmit.size = ip.total_length;
}

/// What the segment says of text that is held ahead of a hole; none where it would make the packet
/// longer than the path takes.
void add_sacks(const core& host, const connection& c, std::uint32_t length,
               wire::tcp_options& options) noexcept {
  const std::size_t without =
      wire::ip_header_bytes(c.key.remote.family()) + wire::tcp_header_bytes(options) + length + 4;
  const std::size_t most = c.timestamps ? 3 : 4;
  const std::uint32_t limit = packet_limit(host, c);
  for (const wire::sack_block& each : c.sacks.blocks()) {
    if (options.sack_count == most || without + 8U * (options.sack_count + 1U) > limit) return;
    options.add_sack(each);
  }
}

/// The bits that say what we know of congestion (RFC 3168 §6.1).
std::uint8_t ecn_flags(const core& host, const connection& c, const outgoing& out) noexcept {
  if ((out.flags & flag::syn) == 0) {
    return (c.ece_due ? flag::ece : 0) | (out.carries_ect && c.cwr_due ? flag::cwr : 0);
  }
  if (c.state == state::syn_received) return c.ecn ? flag::ece : 0;
  // A SYN that went unanswered may have been lost for asking (RFC 3168 §6.1.1.1).
  const bool first = c.flow.retransmits == 0;
  return host.policy.ecn == ecn::request && first ? flag::ece | flag::cwr : 0;
}

/// Counts what Linux counts as sent: a range below SND.NXT is there only as retransmitted, but for
/// the SYN-ACK of a listener's child, which counts each time. A packet that the link cuts counts as
/// the segments it becomes.
void count_out(core& host, const connection& c, const outgoing& out) noexcept {
  const bool syn = (out.flags & flag::syn) != 0;
  const sequence end = out.seq + out.length + (syn || (out.flags & flag::fin) != 0 ? 1U : 0U);
  const bool again = end != out.seq && !after(end, c.snd_.nxt);
  if (again && !(syn && c.fastopen_child)) return;
  const bool cut = out.length > c.snd_mss && !syn && !out.mtu_probe;
  host.count.out_segs += cut ? (out.length + c.snd_mss - 1) / c.snd_mss : 1;
}

}  // namespace

std::uint16_t next_ip_id(core& host, const net::address& peer, std::uint32_t packets) noexcept {
  const std::uint64_t hash = host.address_hash(peer);
  std::uint16_t& used = host.ip_ids[hash % host.ip_ids.size()];
  const auto id = static_cast<std::uint16_t>(used + (hash >> 16));
  used = static_cast<std::uint16_t>(used + packets);
  return id;
}

void emit_segment(core& host, connection& c, outgoing& out) {
  std::size_t text_pieces = 0;
  if (out.length > 0) {
    std::uint32_t covered = 0;
    text_pieces = c.tx.gather(distance(c.snd_.una, out.seq), out.length,
                              std::span(host.pieces).subspan(1), covered);
    if (covered < out.length) {
      // Many small blocks: the rest goes in a packet of its own, and with it what ends the text.
      // Here are as many whole segments as there are, so that none in the middle is short.
      out.length = covered > c.snd_mss ? covered / c.snd_mss * c.snd_mss : covered;
      text_pieces = c.tx.gather(distance(c.snd_.una, out.seq), out.length,
                                std::span(host.pieces).subspan(1), covered);
      out.flags &= static_cast<std::uint8_t>(~(flag::fin | flag::psh));
    }
  }
  wire::tcp_header tcp;
  tcp.seq = out.seq.value();
  tcp.flags = out.flags;
  if ((out.flags & flag::ack) != 0) tcp.ack = c.rcv_.nxt.value();
  const bool syn = (out.flags & flag::syn) != 0;
  const std::uint8_t congestion = ecn_flags(host, c, out);
  tcp.flags |= congestion;
  if (out.flags == flag::syn && congestion != 0) c.ecn_asked = true;
  if ((congestion & flag::cwr) != 0 && !syn) c.cwr_due = false;
  tcp.window = static_cast<std::uint16_t>(
      std::min<std::uint32_t>(syn ? out.window : out.window >> c.rcv_wscale, 65535));
  if (syn) {
    tcp.options.sack_permitted = c.sack_permitted;
    tcp.options.mss = c.rcv_mss_offered;
    if (c.window_scaled) tcp.options.window_scale = c.rcv_wscale;
    tcp.options.fast_open = out.fastopen;
  }
  if (c.timestamps) {
    tcp.options.timestamp = wire::tcp_timestamp{host.ms() + c.ts_offset, c.ts_recent};
  }
  if (c.sack_permitted && !syn && !c.sacks.empty()) add_sacks(host, c, out.length, tcp.options);
  out.told_sacks = tcp.options.sack_count > 0;
  ip_facts facts;
  facts.ttl = setting(host, c, &connection_policy::ttl);
  facts.dont_fragment = out.mtu_probe || dont_fragment(host, c);
  facts.ecn = out.carries_ect ? ecn_capable : 0;
  emit_headers(host, c.key, facts, tcp, text_pieces, out.length,
               syn || out.mtu_probe ? UINT16_MAX : c.snd_mss);
  count_out(host, c, out);
}

void build_reply(core& host, const reply& r) {
  wire::tcp_header tcp;
  tcp.seq = r.seq.value();
  tcp.ack = r.ack.value();
  tcp.flags = r.flags;
  tcp.window = r.window;
  if (r.mss != 0) tcp.options.mss = r.mss;
  if (r.has_window_scale) tcp.options.window_scale = r.window_scale;
  if (r.has_timestamp) tcp.options.timestamp = wire::tcp_timestamp{r.tsval, r.tsecr};
  tcp.options.sack_permitted = r.sack_permitted;
  if (r.fastopen_cookie) tcp.options.fast_open = fastopen_cookie_for(host, r.key);
  const mtu_discover how = *host.connection_defaults.mtu_discover;
  const bool whole = how != mtu_discover::dont && how != mtu_discover::interface;
  emit_headers(host, r.key, {r.ttl, whole, 0}, tcp, 0, 0, UINT16_MAX);
  ++host.count.out_segs;
}

}  // namespace runnel::tcp::detail
