#pragma once

#include <stdexcept>

#include "packets.hpp"

namespace runnel::tcp::test {

/// Looks at every segment of one connection and throws where a host breaks a promise that holds
/// whatever the network does:
/// - an acknowledgement number never goes back and never passes what the other side has sent;
/// - the right edge of the window never moves left, unless a host out of memory takes it back;
/// - nothing is sent beyond the right edge that the sender has been told of;
/// - the sequence numbers sent have no gap.
class wire_watch {
 public:
  /// This side may run out of memory: it drops what it has offered to take, and says so by a
  /// smaller window.
  void may_lack_memory(int side) { ends_[side].may_lack_memory = true; }

  /// A segment leaves side `seen.from`.
  void on_sent(const seen_packet& seen) {
    const wire::tcp_header& tcp = seen.tcp;
    // A reset may stand outside any connection and promises nothing.
    if ((tcp.flags & wire::tcp_flag::rst) != 0) return;
    end& me = ends_[seen.from];
    const end& other = ends_[1 - seen.from];
    const bool syn = (tcp.flags & wire::tcp_flag::syn) != 0;
    if (syn) take_syn(me, tcp);
    if ((tcp.flags & wire::tcp_flag::ack) != 0) check_ack(me, other, tcp, syn);
    const sequence last(tcp.seq + seen.seq_len());
    require(!after(sequence(tcp.seq), me.nxt), "a gap in what is sent", seen);
    if (seen.seq_len() > 0 && !syn) {
      require(me.told && !after(last, me.may_send_to), "sent beyond the window", seen);
    }
    me.nxt = later(me.nxt, last);
  }

  /// A segment arrives at the other side of `seen.from`.
  void on_delivered(const seen_packet& seen) {
    const wire::tcp_header& tcp = seen.tcp;
    end& sender = ends_[1 - seen.from];
    if ((tcp.flags & wire::tcp_flag::rst) != 0) {
      sender.heard_reset = true;
      return;
    }
    if ((tcp.flags & wire::tcp_flag::syn) != 0 && !sender.told) {
      // The window of a SYN counts from the first number.
      sender.may_send_to = sequence((tcp.flags & wire::tcp_flag::ack) != 0 ? tcp.ack : 0);
    }
    if ((tcp.flags & wire::tcp_flag::ack) == 0) return;
    const sequence edge = edge_of(ends_[seen.from], ends_[1 - seen.from], tcp);
    sender.may_send_to = sender.told ? later(sender.may_send_to, edge) : edge;
    sender.told = true;
  }

 private:
  struct end {
    bool known = false;
    /// An acknowledgement of its own has left.
    bool answered = false;
    /// It knows a window.
    bool told = false;
    bool may_lack_memory = false;
    bool heard_reset = false;
    bool scales = false;
    std::uint8_t scale = 0;
    sequence nxt;
    sequence acked;
    sequence edge;
    sequence may_send_to;
  };

  static void take_syn(end& me, const wire::tcp_header& tcp) {
    if (me.heard_reset) {
      // A late copy of SYN begins another connection.
      const bool may_lack_memory = me.may_lack_memory;
      me = {};
      me.may_lack_memory = may_lack_memory;
    }
    if (!me.known) me.nxt = sequence(tcp.seq);
    me.known = true;
    me.scales = tcp.options.window_scale.has_value();
    me.scale = tcp.options.window_scale.value_or(0);
  }
  static sequence edge_of(const end& me, const end& other, const wire::tcp_header& tcp) {
    const bool syn = (tcp.flags & wire::tcp_flag::syn) != 0;
    const unsigned shift = !syn && me.scales && other.scales ? me.scale : 0;
    return sequence(tcp.ack) + (std::uint32_t{tcp.window} << shift);
  }
  static void check_ack(end& me, const end& other, const wire::tcp_header& tcp, bool syn) {
    seen_packet shown;
    shown.tcp = tcp;
    const sequence acked(tcp.ack);
    const sequence edge = edge_of(me, other, tcp);
    require(other.known && !after(acked, other.nxt), "acknowledges what was never sent", shown);
    if (me.answered) {
      require(!before(acked, me.acked), "an acknowledgement goes back", shown);
      require(syn || me.may_lack_memory || !before(edge, me.edge), "the window shrinks", shown);
    }
    me.acked = acked;
    me.edge = me.answered && !me.may_lack_memory ? later(me.edge, edge) : edge;
    // The window beside a SYN is exact; as with Linux, those after it are rounded down.
    if (syn) me.edge = edge - ((1U << me.scale) - 1);
    me.answered = true;
  }
  static void require(bool held, const char* what, const seen_packet& seen) {
    if (held) return;
    throw std::logic_error(
        std::string(what) + ": side " + std::to_string(seen.from) + " says " + seen.flags() +
        " seq " + std::to_string(seen.tcp.seq) + " ack " + std::to_string(seen.tcp.ack) +
        " window " + std::to_string(seen.tcp.window) + " length " + std::to_string(seen.length));
  }

  end ends_[2];
};

}  // namespace runnel::tcp::test
