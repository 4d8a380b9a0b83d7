#include "diagnosis_evidence.hpp"

#include <algorithm>

namespace runnel::tcp::detail {

void suspects::add(const net::endpoint& remote, duration age) {
  ++count_;
  longest_ = std::max(longest_, age);
  const auto known = hosts_.find(remote.address);
  if (known != hosts_.end()) {
    ++known->second;
  } else if (hosts_.size() < address_limit) {
    hosts_.emplace(remote.address, 1);
  }
}

std::pair<net::address, std::uint64_t> suspects::most() const {
  const auto found =
      std::max_element(hosts_.begin(), hosts_.end(), [](const auto& left, const auto& right) {
        // By address where the counts are equal, so that the answer does not depend on the table.
        return std::pair(left.second, right.first) < std::pair(right.second, left.first);
      });
  if (found == hosts_.end()) return {};
  return *found;
}

void fill::raise(std::uint64_t other_used, std::uint64_t other_limit) noexcept {
  const auto share = [](std::uint64_t part, std::uint64_t whole) {
    return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
  };
  if (limit != 0 && share(other_used, other_limit) <= share(used, limit)) return;
  used = other_used;
  limit = other_limit;
}

void evidence::begin(const host& engine) {
  policy = engine.policy();
  orphans_here_ = 0;
  ports_here_.clear();
  engine.for_each_listener([&](const listener_snapshot& each) { listeners.push_back(each); });
}

void evidence::end(const host& engine) {
  counters += engine.counters();
  const memory_table held = engine.memory();
  time_waits.raise(held.time_wait, engine.share_of(policy.max_tw_buckets));
  orphans.raise(orphans_here_, engine.share_of(policy.max_orphans));
  memory.raise(held.buffer_bytes + held.flight_bytes, engine.share_of(policy.memory_limit));
  const std::size_t range = engine.share_of(policy.local_port_last - policy.local_port_first + 1U);
  for (auto& [place, use] : ports_here_) {
    use.range = range;
    port_use& fullest = ports[place];
    if (use.all > fullest.all) fullest = use;
  }
}

void evidence::add_port(const snapshot& row) {
  if (row.local.port < policy.local_port_first || row.local.port > policy.local_port_last) return;
  const bool served = std::any_of(listeners.begin(), listeners.end(), [&](const auto& listener) {
    return listener.local.port == row.local.port;
  });
  if (served) return;
  const auto place = std::pair(row.local.address, row.remote);
  if (ports_here_.size() >= suspects::address_limit && !ports_here_.contains(place)) return;
  port_use& use = ports_here_[place];
  ++use.all;
  if (row.state == state::time_wait) ++use.time_wait;
}

void evidence::add(const snapshot& row, const diagnosis_thresholds& limits, time_point now) {
  add_port(row);
  if (row.state == state::time_wait) return;
  if (row.state == state::syn_received) {
    if (row.timer_retries > 0) half_open.add(row.remote);
    return;
  }
  if (row.state == state::syn_sent) {
    if (row.timer_retries > 0) syn_sent.add(row.remote);
    return;
  }
  const duration heard = now - std::max(row.last_received, row.last_ack);
  const duration moved = std::min(heard, now - std::max(row.last_sent, row.last_ack));
  // Those in FIN-WAIT-2 have a limit of their own, as compact entries do.
  if (row.orphan && row.state != state::fin_wait_2) ++orphans_here_;
  if (row.timer == armed_timer::persist) {
    (row.orphan ? zero_window_orphans : zero_window).add(row.remote, heard);
  }
  if (row.timer == armed_timer::retransmit && row.timer_retries >= limits.unanswered_retries) {
    unanswered.add(row.remote, heard);
  }
  if (row.orphan) return;
  if (row.state == state::close_wait && heard >= limits.close_wait_age) {
    close_wait.add(row.remote, heard);
  }
  if (row.state == state::fin_wait_2 && moved >= limits.half_closed_age) {
    half_closed.add(row.remote, moved);
  }
  if (row.state != state::established) return;
  const bool quiet = row.unacked_bytes == 0 && row.unread_bytes == 0;
  if (quiet && !row.keepalive && moved >= limits.idle_age) idle.add(row.remote, moved);
  const bool window_closed = row.held_bytes - row.send_held_bytes >= row.receive_buffer / 2;
  if (window_closed && row.unread_bytes > 0 && heard >= limits.unread_age) {
    unread.add(row.remote, heard);
  }
}

}  // namespace runnel::tcp::detail
