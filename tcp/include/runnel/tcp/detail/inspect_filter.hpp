#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runnel/wire/address.hpp"

namespace runnel::tcp::detail {

/// The conditions on addresses and ports of an `ss` command line.
class inspect_filter {
 public:
  /// How deep parentheses and `not` may stand in each other.
  static constexpr int depth_limit = 32;
  /// How many conditions and operators there may be.
  static constexpr std::size_t size_limit = 1024;

  /// Reads conditions; gives a sentence when they are none. No words match everything.
  std::string parse(std::span<const std::string_view> words);
  /// Lets only this family through.
  void only(net::family wanted) noexcept { family_ = wanted; }

  bool matches(const net::endpoint& local, const net::endpoint& remote) const noexcept;

 private:
  friend class filter_parser;

  enum class kind : std::uint8_t {
    local_port,
    remote_port,
    local_host,
    remote_host,
    both,
    either,
    negation
  };
  enum class comparison : std::uint8_t { equal, unequal, less, less_equal, greater, greater_equal };
  /// A condition, or an operator on one or two earlier nodes.
  struct node {
    kind what = kind::both;
    comparison compare = comparison::equal;
    bool any_host = false;
    bool any_port = true;
    std::uint16_t port = 0;
    net::prefix hosts{};
    std::uint32_t left = 0;
    std::uint32_t right = 0;
  };

  bool holds(std::uint32_t at, const net::endpoint& local,
             const net::endpoint& remote) const noexcept;

  /// The last one is the root.
  std::vector<node> nodes_;
  net::family family_ = net::family::unspecified;
};

}  // namespace runnel::tcp::detail
