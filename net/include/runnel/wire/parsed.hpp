#pragma once

#include <cassert>

namespace runnel::wire {

/// What reading bytes gave: a header, or why there is none. Like an optional that names its reason.
///
/// `Error` is an enum whose zero means "no error"; `T` is a plain struct.
template <class T, class Error>
class parsed {
 public:
  /// A header that was read.
  constexpr parsed(const T& value) noexcept : value_(value) {}
  /// Reads in place: `fill` gets the header to set and returns why it could not, or zero.
  template <class Fill>
  static constexpr parsed from(Fill fill) noexcept {
    parsed result;
    result.error_ = fill(result.value_);
    return result;
  }
  /// The reason for having none; not zero.
  constexpr parsed(Error error) noexcept : error_(error) { assert(error != Error{}); }

  /// Whether there is a header.
  constexpr explicit operator bool() const noexcept { return error_ == Error{}; }
  /// Whether there is a header.
  constexpr bool has_value() const noexcept { return error_ == Error{}; }
  /// Why there is none; zero when there is one.
  constexpr Error error() const noexcept { return error_; }

  /// The header. Only when there is one.
  constexpr const T& operator*() const noexcept {
    assert(has_value());
    return value_;
  }
  /// The header's members. Only when there is one.
  constexpr const T* operator->() const noexcept {
    assert(has_value());
    return &value_;
  }

 private:
  constexpr parsed() noexcept = default;

  T value_{};
  Error error_{};
};

}  // namespace runnel::wire
