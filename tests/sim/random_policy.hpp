#pragma once

#include <initializer_list>
#include <random>

#include "network.hpp"

namespace runnel::tcp::sim {

/// Draws policies, paths and hosts, of which any should do.
class dice {
 public:
  explicit dice(std::uint64_t seed) : random_(seed * 0x9e3779b97f4a7c15U) {}

  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  /// True once in that many times.
  bool once_in(std::uint64_t times) { return below(times) == 0; }
  template <class Value>
  Value one_of(std::initializer_list<Value> values) {
    return *(values.begin() + static_cast<std::ptrdiff_t>(below(values.size())));
  }
  std::chrono::milliseconds milliseconds(std::uint64_t least, std::uint64_t bound) {
    return std::chrono::milliseconds(static_cast<std::int64_t>(least + below(bound - least)));
  }

  path_options path() {
    path_options out;
    out.delay = std::chrono::microseconds(static_cast<std::int64_t>(50 + below(60'000)));
    out.jitter = once_in(2) ? out.delay / 4 : duration{};
    out.rate = one_of<std::uint64_t>({0, 100'000, 1'250'000, 12'500'000, 125'000'000});
    out.queue = one_of<std::uint64_t>({8'000, 50'000, 500'000});
    out.loss = one_of({0.0, 0.0, 0.01, 0.05, 0.15});
    out.burst_begins = one_of({0.0, 0.0, 0.01});
    out.burst_ends = 0.2;
    out.duplicate = one_of({0.0, 0.0, 0.02, 0.1});
    out.reorder = one_of({0.0, 0.0, 0.02, 0.3});
    out.late = out.delay * static_cast<int>(1 + below(4));
    return out;
  }

  /// What may be changed while connections exist.
  connection_policy connection() {
    connection_policy out;
    if (once_in(2)) out.nodelay = once_in(2);
    if (once_in(8)) out.cork = true;
    if (once_in(4)) out.quickack = true;
    if (once_in(3)) out.rto_min = milliseconds(2, 400);
    if (once_in(4)) out.rto_max = milliseconds(1000, 60'000);
    if (once_in(8)) out.retries2 = static_cast<std::uint8_t>(3 + below(12));
    if (once_in(8)) out.orphan_retries = static_cast<std::uint8_t>(1 + below(8));
    if (once_in(6)) {
      out.keepalive = true;
      out.keepalive_time = milliseconds(1000, 20'000);
      out.keepalive_interval = milliseconds(1000, 5000);
      out.keepalive_probes = static_cast<std::uint8_t>(1 + below(9));
    }
    if (once_in(12)) out.user_timeout = milliseconds(500, 60'000);
    if (once_in(4)) out.fin_timeout = milliseconds(1000, 20'000);
    if (once_in(4)) out.time_wait = milliseconds(1000, 90'000);
    if (once_in(3)) {
      out.close = one_of({close_mode::linger, close_mode::lingering, close_mode::peer_first});
      out.close_time = milliseconds(1, 5000);
    }
    out.congestion_control =
        one_of({congestion_control::cubic, congestion_control::reno, congestion_control::bbr});
    out.slow_start =
        one_of({slow_start::hystart, slow_start::hystart_plus_plus, slow_start::standard});
    if (once_in(3)) out.notsent_lowat = one_of({1U, 3000U, 16'384U, 200'000U});
    if (once_in(4)) out.pacing = true;
    if (once_in(6)) out.max_pacing_rate = 50'000 + below(10'000'000);
    if (once_in(4)) out.thin_linear_timeouts = true;
    if (once_in(6)) out.send_buffer = one_of({0U, 20'000U, 300'000U});
    return out;
  }

  /// How losses are found.
  void recovery(stack_policy& stack) {
    stack.tail_loss_probe = !once_in(3);
    stack.frto = !once_in(3);
    stack.recovery = once_in(2) ? recovery_flag::rack : static_cast<std::uint32_t>(below(8));
    stack.reordering = once_in(2) ? std::uint16_t{3} : static_cast<std::uint16_t>(1 + below(10));
    stack.max_reordering = once_in(2) ? std::uint16_t{300} : std::uint16_t{5};
  }

  void host(host_options& options) {
    options.connection = connection();
    options.connection.receive_buffer =
        one_of({0U, 0U, 0U, 4096U, 20'000U, 100'000U, 1U << 20, 6U << 20});
    options.connection.send_buffer = one_of({0U, 0U, 4608U, 20'000U, 100'000U, 4U << 20});
    if (once_in(4)) {
      options.connection.max_segment = static_cast<std::uint16_t>(88 + below(1400));
    }
    stack_policy& stack = options.policy;
    stack.timestamps = !once_in(4);
    stack.window_scaling = !once_in(4);
    stack.sack = !once_in(3);
    recovery(stack);
    stack.slow_start_after_idle = !once_in(3);
    stack.ecn = one_of({ecn::off, ecn::request, ecn::accept});
    stack.rmem_default = one_of({131'072U, 131'072U, 65'536U, 1U << 20});
    stack.rmem_max = one_of({32U << 20, 32U << 20, 200'000U});
    stack.moderate_rcvbuf = !once_in(4);
    stack.comp_sack_nr = once_in(3) ? std::uint8_t{0} : std::uint8_t{44};
    stack.max_orphans = once_in(8) ? 1 : 1000;
    if (once_in(8)) stack.memory_limit = std::size_t{1} << 20;
    options.mtu = one_of({576U, 1500U, 1500U, 9000U});
    options.gso_max_bytes = once_in(3) ? 60'000 : 0;
    stack.mtu_probing = one_of({mtu_probing::off, mtu_probing::on_black_hole, mtu_probing::always});
    stack.base_mss = one_of<std::uint16_t>({512, 1024});
    stack.probe_interval = std::chrono::seconds(1 + below(600));
  }

 private:
  std::mt19937_64 random_;
};

}  // namespace runnel::tcp::sim
