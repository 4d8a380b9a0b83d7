#pragma once

#include <boost/system/result.hpp>
#include <system_error>
#include <type_traits>

namespace runnel {

/// What an awaited operation gives: a value or an error code. Nothing in runnel throws because a
/// peer or the kernel said no; exceptions are for programming errors.
template <class T>
using result = boost::system::result<T, std::error_code>;

/// The errors of the runtime itself. Refusals by the kernel come as errno values in
/// `std::generic_category()` and compare with `std::errc`.
enum class errc {
  /// The scope the operation waited in was cancelled. Compares equal to
  /// `std::errc::operation_canceled`.
  cancelled = 1,
  /// A deadline passed first. Compares equal to `std::errc::timed_out`.
  deadline_exceeded,
  /// The loop's backend has no such operation: a kernel operation on a simulated loop. Compares
  /// equal to `std::errc::not_supported`.
  not_supported,
  /// A file ends before the bytes that were asked of it.
  file_too_short,
  /// The channel was closed, and for a receiver is empty too.
  closed,
  /// The loop that something was sent to has ended, before or while it dealt with it. Compares
  /// equal
  /// to `std::errc::owner_dead`.
  loop_ended,
};

/// The category named "runnel" that `errc` belongs to.
const std::error_category& error_category() noexcept;

/// Makes the code for `e`; found by `std::error_code`'s converting constructor.
std::error_code make_error_code(errc e) noexcept;

namespace detail {

/// The code for a negative errno as the kernel returns it; -ECANCELED becomes `errc::cancelled`.
std::error_code kernel_error(int negative_errno) noexcept;

template <class T>
inline constexpr bool is_result = false;
template <class T>
inline constexpr bool is_result<boost::system::result<T, std::error_code>> = true;

}  // namespace detail
}  // namespace runnel

template <>
struct std::is_error_code_enum<runnel::errc> : std::true_type {};
