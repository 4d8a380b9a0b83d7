#include <algorithm>

#include "core.hpp"
#include "fastopen.hpp"
#include "half_open.hpp"

// The listener's side of Fast Open: Linux's tcp_try_fastopen and tcp_fastopen_synack_timer.

namespace runnel::tcp::detail {

namespace {

bool has_place(core& host, listener_entry& listener) noexcept {
  const std::uint32_t limit = fastopen_limit(host, listener);
  if (limit == 0) return false;
  if (listener.fastopen.size(host.now_ms / 1000) < limit) return true;
  ++host.count.fastopen_listen_overflow;
  return false;
}

}  // namespace

std::uint32_t fastopen_limit(const core& host, const listener_entry& listener) noexcept {
  if ((host.policy.fastopen & fastopen_flag::server) == 0) return 0;
  const std::uint32_t own = setting(host, listener, &listener_policy::fastopen_queue);
  if (own > 0) return std::min(own, host.policy.somaxconn);
  return (host.policy.fastopen & fastopen_flag::server_all) != 0 ? backlog_of(host, listener) : 0;
}

fastopen_answer judge_fastopen(core& host, listener_entry& listener, const segment& syn) {
  const auto& option = syn.options->fast_open;
  const bool asks = option && option->empty();
  if (asks) ++host.count.fastopen_cookie_reqd;
  if (syn.len == 0 && !option) return {};
  if (!has_place(host, listener)) return {};
  if ((host.policy.fastopen & fastopen_flag::server_no_cookie) != 0) return {true, false};
  if (asks) return {false, true};
  // Text without the option is for nobody (RFC 9293 §3.4 would keep it; Linux does not).
  if (!option) return {};
  switch (check_fastopen_cookie(host.fastopen_keys, *option, syn.key.remote,
                                host.local_address(syn.key))) {
    case fastopen_match::current:
      return {true, false};
    case fastopen_match::previous:
      ++host.count.fastopen_passive_alt_key;
      return {true, true};
    case fastopen_match::none:
      break;
  }
  ++host.count.fastopen_passive_fail;
  return {false, true};
}

std::span<const std::byte> fastopen_cookie_for(core& host, const flow_key& key) noexcept {
  const fastopen_cookie cookie =
      make_fastopen_cookie(host.fastopen_keys.current().key, key.remote, host.local_address(key));
  std::ranges::copy(cookie, host.fastopen_option.begin());
  return std::span(host.fastopen_option).first(cookie.size());
}

bool finish_fastopen(core& host, connection& c, const segment& seg) {
  if (before(seg.ack, c.snd_.una) || after(seg.ack, c.snd_.nxt)) {
    send_reset_for(host, seg);
    return false;
  }
  if (c.flow.timing && c.flow.retransmits == 0) {
    c.flow.timing = false;
    sample_rtt(host, c, static_cast<std::uint32_t>(host.now_us()) - c.flow.timed_at_us);
  }
  // Text that followed a lost SYN-ACK found nobody there who knew its number.
  const bool lost = c.flow.retransmits > 0 && c.snd_.una != c.snd_.nxt;
  if (lost) on_retransmission_timeout(host, c);
  leave_fastopen_queue(host, c, false);
  enter_established(host, c);
  if (c.snd_.una != c.snd_.nxt) arm_retransmit(host, c);
  if (lost) want_transmit(host, c);
  return true;
}

void on_fastopen_synack_timeout(core& host, connection& c) {
  // One more than a half-open entry gets, as in Linux.
  const listener_entry& listener = host.listeners[c.fastopen_listener];
  const unsigned limit =
      std::min(setting(host, listener, &listener_policy::synack_retries) + 1U, 255U);
  ++host.count.timeouts;
  if (c.flow.retransmits >= limit) {
    ++host.count.attempt_fails;
    return give_up(host, c);
  }
  ++c.flow.retransmits;
  c.flow.timing = false;
  c.when.rtx = host.after_ms(synack_timeout_ms(c.flow.retransmits));
  c.syn_due = true;
  want_transmit(host, c);
}

void leave_fastopen_queue(core& host, connection& c, bool reset) noexcept {
  if (!c.fastopen_child) return;
  c.fastopen_child = false;
  const std::uint32_t index = std::exchange(c.fastopen_listener, no_index);
  listener_entry& listener = host.listeners[index];
  listener.fastopen.leave(reset, host.now_ms / 1000);
  if (listener.unused()) host.free_listeners.push_back(index);
}

}  // namespace runnel::tcp::detail
