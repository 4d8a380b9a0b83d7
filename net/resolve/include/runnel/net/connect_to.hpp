#pragma once

#include <runnel/net/connect_any.hpp>
#include <runnel/net/resolver.hpp>
#include <runnel/net/stream.hpp>
#include <runnel/result.hpp>
#include <runnel/task.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace runnel::net {

/// How `connect_to` goes through the addresses of a name.
struct connect_to_options {
  /// How the addresses are tried.
  connect_any_options attempts{};
  /// Only addresses of this family.
  net::family family = net::family::unspecified;
};

namespace detail {

/// Addresses of the two families in turn, beginning with the family of the best one, so that one
/// that leads nowhere costs one delay (RFC 8305 section 4).
inline std::vector<endpoint> in_turn(const std::vector<address>& sorted, std::uint16_t port) {
  std::vector<address> first;
  std::vector<address> second;
  for (const address& one : sorted) {
    (one.family() == sorted.front().family() ? first : second).push_back(one);
  }
  std::vector<endpoint> all;
  for (std::size_t i = 0; i < first.size() || i < second.size(); ++i) {
    if (i < first.size()) all.push_back({first[i], port});
    if (i < second.size()) all.push_back({second[i], port});
  }
  return all;
}

}  // namespace detail

/// Opens a stream to a host by its name: looks it up, then `connect_any` of its addresses, the
/// families in turn. Gives `result<Stream>`; the resolver's error when the name has no address.
/// Cancelled: `errc::cancelled`, and nothing remains. `by`, `names` and `host` must outlive it.
/// Costs a frame for each attempt.
template <connector Connector>
task<result<typename Connector::stream_type>> connect_to(Connector& by, resolver& names,
                                                         std::string_view host, std::uint16_t port,
                                                         connect_to_options options = {}) {
  auto found = co_await names.resolve(host, options.family);
  if (!found) co_return found.error();
  auto opened = co_await connect_any(by, detail::in_turn(*found, port), options.attempts);
  co_return opened;
}

}  // namespace runnel::net
