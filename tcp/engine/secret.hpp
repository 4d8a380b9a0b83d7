#pragma once

#include <cstdint>
#include <optional>

#include "runnel/tcp/engine/host.hpp"
#include "siphash.hpp"

namespace runnel::tcp::detail {

/// Overwrites a key in a way that the compiler keeps, although nobody reads it any more.
inline void wipe(secret_key& key) noexcept {
  for (std::uint64_t& word : key) *static_cast<volatile std::uint64_t*>(&word) = 0;
}

/// The same for one that may be there; after that it is not.
inline void wipe(std::optional<secret_key>& key) noexcept {
  if (key) wipe(*key);
  key.reset();
}

/// The key that cookies are made with, and the one before it, which still checks them. What is
/// replaced is overwritten.
class key_ring {
 public:
  struct entry {
    secret_key key{};
    /// One bit that follows from the key, the same on every machine that has it: a cookie carries
    /// it, and whoever checks knows which key to try.
    bool mark = false;
  };

  explicit key_ring(const secret_key& current,
                    const std::optional<secret_key>& previous = {}) noexcept {
    replace(current_, current);
    if (previous) set(current, *previous);
  }
  key_ring(const key_ring&) = delete;
  key_ring& operator=(const key_ring&) = delete;
  ~key_ring() {
    wipe(current_.key);
    wipe(previous_.key);
  }

  const entry& current() const noexcept { return current_; }
  /// Null when there was none before the current one.
  const entry* previous() const noexcept { return has_previous_ ? &previous_ : nullptr; }

  void set(const secret_key& current, const secret_key& previous) noexcept {
    replace(previous_, previous);
    replace(current_, current);
    has_previous_ = true;
  }
  /// The current key becomes the previous one. When it is the fresh one, too, nothing changes: to
  /// say again what holds must not take away the key before it.
  void rotate(const secret_key& fresh) noexcept {
    if (fresh == current_.key) return;
    replace(previous_, current_.key);
    replace(current_, fresh);
    has_previous_ = true;
  }

 private:
  static void replace(entry& old, const secret_key& by) noexcept {
    wipe(old.key);
    old.key = by;
    old.mark = (siphash_mac(by).finish() & 1) != 0;
  }

  entry current_;
  entry previous_;
  bool has_previous_ = false;
};

}  // namespace runnel::tcp::detail
