#include "runnel/result.hpp"

#include <cerrno>
#include <string>

#include "runnel/detail/operation.hpp"

namespace runnel {
namespace {

class category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "runnel"; }

  std::string message(int value) const override {
    switch (static_cast<errc>(value)) {
      case errc::cancelled:
        return "the operation was cancelled";
      case errc::deadline_exceeded:
        return "the deadline passed before the operation finished";
      case errc::not_supported:
        return "the loop's backend has no such operation";
      case errc::file_too_short:
        return "the file ends before the bytes that were asked of it";
      case errc::closed:
        return "the channel is closed";
      case errc::loop_ended:
        return "the loop that it was sent to has ended";
    }
    return "unknown runnel error";
  }

  std::error_condition default_error_condition(int value) const noexcept override {
    switch (static_cast<errc>(value)) {
      case errc::cancelled:
        return std::errc::operation_canceled;
      case errc::deadline_exceeded:
        return std::errc::timed_out;
      case errc::not_supported:
        return std::errc::not_supported;
      case errc::loop_ended:
        return std::errc::owner_dead;
      case errc::file_too_short:
      case errc::closed:
        break;
    }
    return {value, *this};
  }
};

}  // namespace

const std::error_category& error_category() noexcept {
  static const category instance;
  return instance;
}

std::error_code make_error_code(errc e) noexcept {
  return {static_cast<int>(e), error_category()};
}

std::error_code detail::kernel_error(int negative_errno) noexcept {
  if (negative_errno == -ECANCELED) return errc::cancelled;
  if (negative_errno == op_not_supported) return errc::not_supported;
  return {-negative_errno, std::generic_category()};
}

}  // namespace runnel
