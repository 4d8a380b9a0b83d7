#pragma once

#include "raw_peer.hpp"

namespace runnel::tcp::test {

/// Segments by their place in the stream: the first that the host ever sends is 0.
using places = std::vector<std::int64_t>;

/// The host as a sender of full segments to a peer that acknowledges by hand, over a path of 40 ms.
/// What was measured of the path is the handshake.
class loss_peer : public raw_peer {
 public:
  static constexpr std::chrono::milliseconds rtt{40};

  struct setup {
    bool sack = true;
    bool stamps = false;
    congestion_control control = congestion_control::reno;
  };

  using raw_peer::raw_peer;

  /// Without probes for a lost tail, so that the time-out comes first.
  static std::function<void(host_options&)> no_probe() {
    return [](host_options& options) { options.policy.tail_loss_probe = false; };
  }

  void open(const setup& how) {
    listener_policy policy;
    policy.connection.congestion_control = how.control;
    listen(policy);
    if (how.stamps) {
      send_syn({mss(1460), sack_permitted(how.sack), clock(0)});
      run_for(rtt);
      send({clock(said().back().tcp.options.timestamp->value)});
    } else {
      send_syn({mss(1460), sack_permitted(how.sack)});
      run_for(rtt);
      send({});
    }
    accept();
    forget();
    size = look().snd_mss;
    CHECK(look().srtt == rtt);
    CHECK(look().snd_cwnd_bytes == 10 * size);
  }

  /// Our timestamp, a millisecond a step, with this echo.
  field clock(std::uint32_t echo) const {
    return stamp(
        static_cast<std::uint32_t>(now().time_since_epoch() / std::chrono::milliseconds(1)), echo);
  }
  /// The number that the segment begins with.
  std::uint32_t at(std::uint32_t place) const { return 1 + place * size; }
  /// Everything before the segment has arrived.
  field upto(std::uint32_t place) const { return ack(at(place)); }
  /// A block of the segments from `first` to before `last`.
  field block(std::uint32_t first, std::uint32_t last) const { return sack(at(first), at(last)); }

  /// Writes full segments; what leaves of them is still to be looked at.
  void write_segments(std::uint32_t count) {
    CHECK(write(numbered_text(std::size_t{count} * size)) == std::size_t{count} * size);
  }
  /// Writes full segments, all of which leave now.
  void send_full(std::uint32_t count) {
    write_segments(count);
    CHECK(said().size() == count);
    forget();
  }
  /// Makes the window `count` segments in slow start; everything is acknowledged afterwards.
  void grow_window(std::uint32_t count) {
    while (look().snd_cwnd_bytes < count * size) {
      write_segments(look().snd_cwnd_bytes / size);
      forget();
      run_for(rtt);
      send({});
      base = (host_next - host_iss - 1) / size;
    }
    CHECK(look().snd_cwnd_bytes == count * size);
  }
  /// The places of the segments with text that have left; forgets what was said.
  places sent() {
    places out;
    for (const seen_packet& each : said()) {
      if (each.length > 0) out.push_back((each.tcp.seq - host_iss - 1) / size);
    }
    forget();
    return out;
  }
  std::uint32_t window_segments() { return look().snd_cwnd_bytes / size; }
  std::uint32_t ssthresh_segments() {
    const std::uint32_t bytes = look().snd_ssthresh_bytes;
    return bytes == UINT32_MAX ? UINT32_MAX : bytes / size;
  }

  std::uint32_t size = 1460;
  /// The first segment after `grow_window`.
  std::uint32_t base = 0;
};

}  // namespace runnel::tcp::test
