#pragma once

#include <cstdint>

#include "runnel/tcp/engine/policy.hpp"
#include "slab.hpp"

namespace runnel::tcp::detail {

/// The connection policies in use, shared by whoever was given equal ones in a row. A connection
/// holds four bytes of it.
class policy_store {
 public:
  /// The policy that sets nothing; it is always there.
  static constexpr std::uint32_t nothing_set = 0;

  policy_store() noexcept = default;

  const connection_policy& operator[](std::uint32_t index) const noexcept {
    return index == nothing_set ? empty_ : entries_[index - 1].value;
  }

  /// Where this value is held, if `share` finds it; `no_index` when not.
  std::uint32_t find(const connection_policy& value) const noexcept {
    if (value == empty_) return nothing_set;
    if (latest_ != nothing_set && entries_[latest_ - 1].value == value) return latest_;
    return no_index;
  }
  /// A reference to a policy with this value, to be given to `release`; `no_index` without memory.
  std::uint32_t share(const connection_policy& value) noexcept { return share(find(value), value); }
  /// The same where `find` has said `known` of it just now.
  std::uint32_t share(std::uint32_t known, const connection_policy& value) noexcept {
    if (known != no_index) return share(known);
    const std::uint32_t at = entries_.allocate();
    if (at == no_index) return no_index;
    entries_[at].value = value;
    entries_[at].references = 1;
    return latest_ = at + 1;
  }
  /// One more reference.
  std::uint32_t share(std::uint32_t index) noexcept {
    if (index != nothing_set) ++entries_[index - 1].references;
    return index;
  }
  void release(std::uint32_t index) noexcept {
    if (index == nothing_set || --entries_[index - 1].references > 0) return;
    if (latest_ == index) latest_ = nothing_set;
    entries_.release(index - 1);
  }

  std::size_t size() const noexcept { return entries_.size(); }
  std::size_t held_bytes() const noexcept { return entries_.held_bytes(); }

 private:
  struct entry {
    /// The slab's free list.
    std::uint32_t next;
    std::uint32_t references;
    connection_policy value;
  };

  connection_policy empty_;
  slab<entry, 16> entries_;
  /// Where `share` looks first; not a reference.
  std::uint32_t latest_ = nothing_set;
};

}  // namespace runnel::tcp::detail
