#include "runnel/tcp/diagnose.hpp"

#include <algorithm>

#include "diagnosis_evidence.hpp"
#include "inspect_format.hpp"

// From numbers to words: one function for each thing that can be said.

namespace runnel::tcp {

namespace detail {

namespace {

using findings = std::vector<finding>;
using limits_type = diagnosis_thresholds;

bool is_near(std::uint64_t used, std::uint64_t limit, const limits_type& limits) noexcept {
  return limit > 0 && used >= limit * limits.near_limit_percent / 100 && used > 0;
}

/// One address is behind nearly all of them.
bool has_one_source(const suspects& who, const limits_type& limits) {
  return who.most().second * 100 >= who.count() * limits.one_source_percent;
}

std::string connections_text(std::uint64_t count) {
  return count_text(count, "connection", "connections");
}
/// The verb that goes with a count.
std::string verb(std::uint64_t count, std::string_view of_one, std::string_view of_many) {
  return std::string(count == 1 ? of_one : of_many);
}

std::string listener_text(const listener_snapshot& listener) {
  const bool any = listener.local.address.family() == net::family::unspecified;
  return "the listener on " +
         (any ? "port " + std::to_string(listener.local.port) : listener.local.to_string());
}

/// What `accept_overflow::park` keeps, and what it gave up.
std::string parked_text(const listener_snapshot& listener) {
  if (listener.parked == 0 && listener.drops.park_timeouts == 0) return {};
  std::string out = "; ";
  out += count_text(listener.parked, "finished handshake is", "finished handshakes are");
  out += " parked, and ";
  return out + std::to_string(listener.drops.park_timeouts) + " were so for too long";
}

void see_accept_queues(const evidence& seen, findings& out) {
  for (const listener_snapshot& each : seen.listeners) {
    const std::uint64_t dropped =
        each.drops.accept_queue_full_syns + each.drops.accept_queue_full_acks;
    const bool full = each.accept_queue > each.backlog;
    if (!full && dropped == 0 && each.drops.park_timeouts == 0) continue;
    const std::uint32_t somaxconn = seen.policy.somaxconn;
    finding said;
    said.id = full ? "accept-queue-full" : "accept-queue-overflowed";
    said.what =
        "The accept queue of " + listener_text(each) +
        (full ? " is full: " + connections_text(each.accept_queue) + " " +
                    verb(each.accept_queue, "waits", "wait")
              : " has overflowed: up to " + connections_text(each.accept_queue_peak) + " waited") +
        " where the backlog is " + std::to_string(each.backlog) + ", and " +
        count_text(each.drops.accept_queue_full_syns, "SYN", "SYNs") + " and " +
        count_text(each.drops.accept_queue_full_acks, "finished handshake", "finished handshakes") +
        " were dropped since it was opened" + parked_text(each) + ". " +
        (full ? "The program accepts too slowly."
              : "The program accepts too slowly at times, or connections come in bursts.");
    said.cure =
        "Let the accept loop do nothing but accept and spawn. A larger backlog "
        "(listener_policy::backlog, at most stack_policy::somaxconn, net.core.somaxconn = " +
        std::to_string(somaxconn) +
        ") bears longer bursts and does not cure a slow loop. With listener_policy::overflow = "
        "reset (net.ipv4.tcp_abort_on_overflow = 1) clients learn of it at once, but cannot tell "
        "it "
        "from a port that nobody serves.";
    out.push_back(std::move(said));
  }
}

void see_syn_queues(const evidence& seen, findings& out) {
  for (const listener_snapshot& each : seen.listeners) {
    const std::uint64_t dropped = each.drops.syn_queue_full + each.drops.syn_backlog_reserve;
    if (dropped == 0) continue;
    finding said;
    said.id = "syn-queue-overflowed";
    said.what = "The SYN queue of " + listener_text(each) + " has overflowed: it held up to " +
                count_text(each.syn_queue_peak, "half-open entry", "half-open entries") + " of " +
                std::to_string(each.syn_queue_limit) + ", and " +
                count_text(dropped, "SYN was", "SYNs were") + " dropped since it was opened.";
    said.cure =
        "Answer the surplus with cookies (listener_policy::syncookies = on_overflow, "
        "net.ipv4.tcp_syncookies = 1), or make room: listener_policy::backlog and "
        "stack_policy::max_syn_backlog (net.ipv4.tcp_max_syn_backlog) bound this queue.";
    out.push_back(std::move(said));
  }
}

void see_half_open(const evidence& seen, const limits_type& limits, findings& out) {
  const suspects& who = seen.half_open;
  if (who.count() < limits.half_open) return;
  const bool one = has_one_source(who, limits);
  const std::string count =
      count_text(who.count(), "half-open entry has", "half-open entries have");
  finding said;
  said.id = one ? "syn-recv-one-source" : "syn-flood";
  said.what = count + " waited for more than a second for the third segment (SYN-RECV), ";
  if (one) {
    said.what +=
        std::to_string(who.most().second) + " of them from " + who.most().first.to_string() +
        ": a scan or a flood from one machine, or a path back to it that loses our SYN-ACK.";
    said.cure = "Block that address in front of this host, or mend the route to it; ";
  } else {
    said.what +=
        "from " + std::to_string(who.addresses()) + " addresses: a SYN flood with forged sources.";
    said.cure = "Filter in front of this host; ";
  }
  const std::uint64_t sent = seen.counters.syncookies_sent;
  if (sent > 0)
    said.what += " " + count_text(sent, "SYN cookie was", "SYN cookies were") + " sent.";
  said.cure +=
      "keep listener_policy::syncookies at on_overflow (net.ipv4.tcp_syncookies = 1), and lower "
      "listener_policy::synack_retries (net.ipv4.tcp_synack_retries) so that entries go sooner.";
  out.push_back(std::move(said));
}

void see_syn_sent(const evidence& seen, const limits_type& limits, findings& out) {
  const suspects& who = seen.syn_sent;
  if (who.count() < limits.syn_sent) return;
  const bool one = has_one_source(who, limits);
  finding said;
  said.id = one ? "dead-target" : "unreachable-targets";
  said.what = connections_text(who.count()) + " " + verb(who.count(), "waits", "wait") +
              " in SYN-SENT for an answer that has not come for more than a second, ";
  if (one) {
    said.what += std::to_string(who.most().second) + " of them to " + who.most().first.to_string() +
                 ": that machine is down, or something on the way drops SYNs.";
  } else {
    said.what += "to " + std::to_string(who.addresses()) +
                 " addresses: the way out is broken, or this program scans.";
  }
  said.cure =
      "Check the route, the firewall and that the target runs. Give connects a deadline "
      "(with_timeout), or lower connection_policy::syn_retries (net.ipv4.tcp_syn_retries).";
  out.push_back(std::move(said));
}

void see_close_wait(const evidence& seen, const limits_type& limits, findings& out) {
  const suspects& who = seen.close_wait;
  if (who.count() < limits.close_wait) return;
  out.push_back(
      {"close-wait",
       connections_text(who.count()) + " " + verb(who.count(), "has", "have") +
           " been in CLOSE-WAIT for more than " + span_text(limits.close_wait_age) +
           ", the longest for " + span_text(who.longest()) +
           ": the peer has said that it is done, and this program does not close its end.",
       "Close the stream when read gives 0, on every path through the program. No timer of TCP "
       "ends this state; connection_policy::keepalive (SO_KEEPALIVE) only finds peers that are "
       "gone "
       "altogether."});
}

void see_unread(const evidence& seen, const limits_type& limits, findings& out) {
  const suspects& who = seen.unread;
  if (who.count() < limits.unread) return;
  out.push_back({"unread",
                 "On " + connections_text(who.count()) +
                     " received bytes fill the buffer and nothing has come for more than " +
                     span_text(limits.unread_age) +
                     ": this program does not read, and its window holds the peer back.",
                 "Read, or close what is not read any more. connection_policy::receive_buffer "
                 "(SO_RCVBUF) sets how much waits."});
}

void see_unanswered(const evidence& seen, const limits_type& limits, findings& out) {
  const suspects& who = seen.unanswered;
  if (who.count() < limits.unanswered) return;
  finding said;
  said.id = "unanswered";
  said.what = "On " + connections_text(who.count()) + " text or FIN was sent again " +
              std::to_string(limits.unanswered_retries) +
              " times or more without an answer, the longest silent for " +
              span_text(who.longest()) + ", towards " +
              count_text(who.addresses(), "address", "addresses") + ": " +
              (has_one_source(who, limits)
                   ? "the machine " + who.most().first.to_string() + " or the way to it is gone."
                   : "those peers have vanished, or the network loses packets.");
  said.cure =
      "Check the network first: stuck clients look like keep-alive timeouts. To give up sooner set "
      "connection_policy::user_timeout (TCP_USER_TIMEOUT) or connection_policy::retries2 "
      "(net.ipv4.tcp_retries2), and for closed connections connection_policy::orphan_retries "
      "(net.ipv4.tcp_orphan_retries).";
  out.push_back(std::move(said));
}

void see_zero_windows(const evidence& seen, const limits_type& limits, findings& out) {
  const suspects& orphans = seen.zero_window_orphans;
  if (orphans.count() >= limits.zero_window_orphans) {
    out.push_back({"zero-window-orphans",
                   connections_text(orphans.count()) + " that the program has closed " +
                       verb(orphans.count(), "is", "are") +
                       " kept from sending by a window of zero, from " +
                       count_text(orphans.addresses(), "address", "addresses") +
                       ": a client that fetches and does not read holds memory here until its "
                       "probes end.",
                   "Set connection_policy::orphan_window_timeout, which Linux does not have, below "
                   "its 361 s; connection_policy::orphan_retries (net.ipv4.tcp_orphan_retries), "
                   "stack_policy::max_orphans (net.ipv4.tcp_max_orphans) and "
                   "stack_policy::orphan_memory bound the rest."});
  }
  const suspects& owned = seen.zero_window;
  if (owned.count() >= limits.zero_window) {
    out.push_back({"zero-window",
                   connections_text(owned.count()) + " " + verb(owned.count(), "is", "are") +
                       " kept from sending by a window of zero, from " +
                       count_text(owned.addresses(), "address", "addresses") +
                       ": these peers do not read.",
                   "Give writes a deadline, or set connection_policy::user_timeout "
                   "(TCP_USER_TIMEOUT); connection_policy::send_buffer (SO_SNDBUF) bounds what one "
                   "of them holds."});
  }
}

void see_idle(const evidence& seen, const limits_type& limits, findings& out) {
  const suspects& who = seen.idle;
  if (who.count() < limits.idle) return;
  out.push_back({"idle-without-keepalive",
                 "On " + connections_text(who.count()) + " nothing has moved for more than " +
                     span_text(limits.idle_age) +
                     ", and keepalive is off: peers that crashed, lost power or changed their "
                     "network look just like this, and nothing here will ever find out.",
                 "Set connection_policy::keepalive (SO_KEEPALIVE) and "
                 "connection_policy::keepalive_time (TCP_KEEPIDLE, net.ipv4.tcp_keepalive_time), "
                 "or let the protocol send heartbeats or time idle connections out."});
}

void see_half_closed(const evidence& seen, const limits_type& limits, findings& out) {
  const suspects& who = seen.half_closed;
  if (who.count() < limits.half_closed) return;
  out.push_back({"half-closed",
                 connections_text(who.count()) + " " + verb(who.count(), "has", "have") +
                     " been in FIN-WAIT-2 and silent for more than " +
                     span_text(limits.half_closed_age) +
                     ": this program has shut its direction down and waits for peers that do not "
                     "close theirs.",
                 "Close such a stream after a while: then connection_policy::fin_timeout "
                 "(TCP_LINGER2, net.ipv4.tcp_fin_timeout) ends it. A half-closed one is never "
                 "timed out."});
}

void see_time_wait(const evidence& seen, const limits_type& limits, findings& out) {
  const auto [held, most] = seen.time_waits;
  const std::uint64_t overflowed = seen.counters.time_wait_overflow;
  const bool near = is_near(held, most, limits);
  if (!near && overflowed == 0) return;
  finding said;
  said.id = near ? "time-wait-near-limit" : "time-wait-overflowed";
  said.what = count_text(held, "connection is", "connections are") + " in TIME-WAIT, where " +
              std::to_string(most) + " may be";
  if (overflowed > 0) {
    said.what += "; " + connections_text(overflowed) +
                 " went without it since the start, so that a "
                 "repeated FIN of the peer was answered with RST";
  }
  said.what += ". This side closes first.";
  said.cure =
      "Raise stack_policy::max_tw_buckets (net.ipv4.tcp_max_tw_buckets), 48 bytes each, keep "
      "connections for many requests, or let the peers close first "
      "(connection_policy::close = peer_first), which leaves TIME-WAIT to them.";
  out.push_back(std::move(said));
}

void see_ports(const evidence& seen, const limits_type& limits, findings& out) {
  for (const auto& [place, use] : seen.ports) {
    if (!is_near(use.all, use.range, limits)) continue;
    out.push_back(
        {"ports-nearly-exhausted",
         "Towards " + place.second.to_string() + " " + std::to_string(use.all) + " of " +
             std::to_string(use.range) + " local ports are in use, " +
             std::to_string(use.time_wait) +
             " of them in TIME-WAIT: connects to it will soon fail with EADDRNOTAVAIL.",
         "Use connections for more than one request. Widen stack_policy::local_port_first and "
         "local_port_last (net.ipv4.ip_local_port_range), give the stack more addresses, or allow "
         "stack_policy::tw_reuse = on (net.ipv4.tcp_tw_reuse = 1)."});
  }
}

void see_orphans(const evidence& seen, const limits_type& limits, findings& out) {
  const auto [held, most] = seen.orphans;
  if (!is_near(held, most, limits)) return;
  out.push_back({"orphans-near-limit",
                 count_text(held, "connection has", "connections have") +
                     " been closed by the program and not yet by the peer, where " +
                     std::to_string(most) +
                     " may be: beyond it they are reset, and what was not delivered is lost.",
                 "Raise stack_policy::max_orphans (net.ipv4.tcp_max_orphans), or end them sooner "
                 "with connection_policy::orphan_retries and fin_timeout "
                 "(net.ipv4.tcp_orphan_retries, net.ipv4.tcp_fin_timeout)."});
}

void see_memory(const evidence& seen, const limits_type& limits, findings& out) {
  const auto [held, limit] = seen.memory;
  const std::uint64_t aborted = seen.counters.abort_on_memory;
  const bool near = is_near(held, limit, limits);
  if (!near && aborted == 0) return;
  out.push_back({near ? "memory-near-limit" : "memory-ran-out",
                 "Queued bytes hold " + std::to_string(held >> 20) + " MiB of " +
                     std::to_string(limit >> 20) + " MiB" +
                     (aborted > 0 ? ", and " + connections_text(aborted) + " " +
                                        verb(aborted, "was", "were") +
                                        " reset for lack of memory since the start"
                                  : std::string()) +
                     ".",
                 "Raise stack_policy::memory_limit (net.ipv4.tcp_mem), or lower "
                 "connection_policy::receive_buffer and send_buffer (SO_RCVBUF, SO_SNDBUF)."});
}

}  // namespace

std::vector<finding> conclude(const evidence& seen, const diagnosis_thresholds& limits) {
  findings out;
  see_accept_queues(seen, out);
  see_half_open(seen, limits, out);
  see_syn_queues(seen, out);
  see_close_wait(seen, limits, out);
  see_unread(seen, limits, out);
  see_memory(seen, limits, out);
  see_ports(seen, limits, out);
  see_time_wait(seen, limits, out);
  see_orphans(seen, limits, out);
  see_zero_windows(seen, limits, out);
  see_unanswered(seen, limits, out);
  see_syn_sent(seen, limits, out);
  see_idle(seen, limits, out);
  see_half_closed(seen, limits, out);
  return out;
}

}  // namespace detail

struct diagnosis::impl {
  impl(const host& of, const diagnosis_thresholds& limits) : engine(&of), thresholds(limits) {}

  const host* engine;
  detail::evidence seen;
  diagnosis_thresholds thresholds;
  walk_position at;
  bool started = false;
};

diagnosis::diagnosis(const host& engine, const diagnosis_thresholds& thresholds)
    : impl_(std::make_unique<impl>(engine, thresholds)) {}
diagnosis::diagnosis(diagnosis&&) noexcept = default;
diagnosis& diagnosis::operator=(diagnosis&&) noexcept = default;
diagnosis::~diagnosis() = default;

bool diagnosis::step(std::uint32_t places, time_point now) {
  impl& self = *impl_;
  if (!std::exchange(self.started, true)) self.seen.begin(*self.engine);
  const bool more = self.engine->walk_connections(
      self.at, places, [&](const snapshot& each) { self.seen.add(each, self.thresholds, now); });
  if (!more) self.seen.end(*self.engine);
  return more;
}

std::vector<finding> diagnosis::findings() const {
  return detail::conclude(impl_->seen, impl_->thresholds);
}

std::vector<finding> diagnose(const host& engine, time_point now,
                              const diagnosis_thresholds& thresholds) {
  diagnosis whole(engine, thresholds);
  while (whole.step(UINT32_MAX, now)) {
  }
  return whole.findings();
}

}  // namespace runnel::tcp
