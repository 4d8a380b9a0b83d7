#include "emit.hpp"

#include <algorithm>

#include "runnel/wire/checksum.hpp"
#include "runnel/wire/plain_tcp.hpp"

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

/// IPv4's identification; 0 where none is needed.
std::uint16_t id_of(core& host, const flow_key& key, const ip_facts& facts,
                    std::uint32_t text_bytes, std::uint16_t gso_size) noexcept {
  if (facts.dont_fragment || key.remote.is_v6()) return 0;
  const std::uint32_t packets = text_bytes > gso_size ? (text_bytes - 1) / gso_size + 1 : 1;
  return next_ip_id(host, key.remote, packets);
}

/// A packet whose headers stand in the scratch, with the checksum's field still to be filled in.
struct packet_layout {
  std::size_t ip_bytes = 0;
  std::size_t header_bytes = 0;
  std::size_t text_pieces = 0;
  std::uint32_t text_bytes = 0;
  std::uint16_t gso_size = 0;
};

/// `sum` is that of the pseudo-header, and of the TCP header where the link sums nothing.
void finish_packet(core& host, const packet_layout& packet, wire::checksum& sum) noexcept {
  const std::span<std::byte> headers(host.scratch.data(), packet.header_bytes);
  host.transmit.offload = {};
  if (host.checksum_offload_tx) {
    wire::put_tcp_checksum(headers.subspan(packet.ip_bytes), sum.sum());
    host.transmit.offload.checksum = net::checksum_state::partial;
    host.transmit.offload.checksum_start = static_cast<std::uint16_t>(packet.ip_bytes);
    host.transmit.offload.checksum_offset = checksum_field_offset;
  } else {
    for (std::size_t i = 1; i <= packet.text_pieces; ++i) sum.add(host.pieces[i]);
    wire::put_tcp_checksum(headers.subspan(packet.ip_bytes), sum.value());
  }
  if (packet.text_bytes > packet.gso_size) host.transmit.offload.gso_size = packet.gso_size;
  host.pieces[0] = headers;
  host.transmit.pieces = std::span(host.pieces).first(1 + packet.text_pieces);
  host.transmit.size = static_cast<std::uint32_t>(packet.header_bytes) + packet.text_bytes;
}

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
  ip.id = id_of(host, key, facts, text_bytes, gso_size);
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
  if (!host.checksum_offload_tx) sum.add(headers.subspan(ip_bytes));
  finish_packet(host, {ip_bytes, headers.size(), text_pieces, text_bytes, gso_size}, sum);
}

/// The same for a segment whose only options may be timestamps.
void emit_plain_headers(core& host, const connection& c, const ip_facts& facts,
                        wire::plain_tcp& plain, std::size_t text_pieces, std::uint32_t text_bytes,
                        std::uint16_t gso_size) {
  const net::family family = c.key.remote.family();
  plain.source = host.local_address(c.key);
  plain.destination = c.key.remote;
  plain.source_port = c.key.local_port;
  plain.destination_port = c.key.remote_port;
  plain.ttl = facts.ttl;
  plain.tos = facts.ecn;
  plain.dont_fragment = facts.dont_fragment;
  plain.flow_label = host.flow_label(c.key);
  plain.id = id_of(host, c.key, facts, text_bytes, gso_size);
  const std::size_t header_bytes = wire::plain_tcp_bytes(family, plain.has_timestamp);
  plain.total_length = static_cast<std::uint32_t>(header_bytes) + text_bytes;
  wire::checksum sum;
  wire::emit_plain_tcp(host.scratch.data(), plain, sum, !host.checksum_offload_tx);
  const std::size_t ip_bytes = wire::ip_header_bytes(family);
  finish_packet(host, {ip_bytes, header_bytes, text_pieces, text_bytes, gso_size}, sum);
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

/// Points `host.pieces` at the text and says how many pieces it has.
std::size_t gather_text(core& host, connection& c, outgoing& out) {
  const std::uint32_t at = distance(c.snd_.una, out.seq);
  const auto pieces = std::span(host.pieces).subspan(1);
  std::uint32_t covered = 0;
  const std::size_t count = c.tx.gather(at, out.length, pieces, covered);
  if (covered >= out.length) return count;
  // Many small blocks: the rest goes in a packet of its own, and with it what ends the text. Here
  // are as many whole segments as there are, so that none in the middle is short.
  out.length = covered > c.snd_mss ? covered / c.snd_mss * c.snd_mss : covered;
  out.flags &= static_cast<std::uint8_t>(~(flag::fin | flag::psh));
  return c.tx.gather(at, out.length, pieces, covered);
}

/// What SYN and SYN-ACK offer beside timestamps.
void add_offers(const connection& c, const outgoing& out, wire::tcp_options& options) noexcept {
  options.sack_permitted = c.sack_permitted;
  options.mss = c.rcv_mss_offered;
  if (c.window_scaled) options.window_scale = c.rcv_wscale;
  options.fast_open = *out.fastopen;
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
  host.count.out_segs += cut ? segments_in(out.length, c.snd_mss) : 1;
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
  const std::size_t text_pieces = out.length > 0 ? gather_text(host, c, out) : 0;
  const bool syn = (out.flags & flag::syn) != 0;
  const std::uint8_t congestion = ecn_flags(host, c, out);
  if (out.flags == flag::syn && congestion != 0) c.ecn_asked = true;
  if ((congestion & flag::cwr) != 0 && !syn) c.cwr_due = false;
  ip_facts facts;
  facts.ttl = setting(host, c, &connection_policy::ttl);
  facts.dont_fragment = out.mtu_probe || dont_fragment(host, c);
  facts.ecn = out.carries_ect ? ecn_capable : 0;
  const std::uint8_t flags = out.flags | congestion;
  const std::uint32_t ack = (out.flags & flag::ack) != 0 ? c.rcv_.nxt.value() : 0;
  const auto window = static_cast<std::uint16_t>(
      std::min<std::uint32_t>(syn ? out.window : out.window >> c.rcv_wscale, 65535));
  const std::uint16_t gso_size = syn || out.mtu_probe ? UINT16_MAX : c.snd_mss;
  if (!syn && (c.sacks.empty() || !c.sack_permitted)) {
    wire::plain_tcp plain;
    plain.seq = out.seq.value();
    plain.ack = ack;
    plain.flags = flags;
    plain.window = window;
    plain.has_timestamp = c.timestamps;
    plain.timestamp.value = host.ms() + c.ts_offset;
    plain.timestamp.echo = c.ts_recent;
    emit_plain_headers(host, c, facts, plain, text_pieces, out.length, gso_size);
  } else {
    wire::tcp_header tcp;
    tcp.seq = out.seq.value();
    tcp.ack = ack;
    tcp.flags = flags;
    tcp.window = window;
    if (c.timestamps)
      tcp.options.timestamp = wire::tcp_timestamp{host.ms() + c.ts_offset, c.ts_recent};
    if (syn) {
      add_offers(c, out, tcp.options);
    } else {
      add_sacks(host, c, out.length, tcp.options);
    }
    out.told_sacks = tcp.options.sack_count > 0;
    emit_headers(host, c.key, facts, tcp, text_pieces, out.length, gso_size);
  }
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
