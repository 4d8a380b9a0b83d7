#include "runnel/net/http/error.hpp"

#include <string>

namespace runnel::http {
namespace {

class category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "http"; }
  std::string message(int value) const override {
    switch (static_cast<errc>(value)) {
      case errc::bad_message:
        return "the message is not valid HTTP";
      case errc::header_too_large:
        return "the header of the message exceeds the limit";
      case errc::body_too_large:
        return "the body of the message exceeds the limit";
      case errc::truncated:
        return "the stream ended inside a message";
      case errc::unsupported_coding:
        return "the message has a transfer coding other than chunked";
      case errc::unsupported_version:
        return "the message has an HTTP version other than 1.0 and 1.1";
      case errc::timed_out:
        return "the body came or went slower than the options demand";
      case errc::body_mismatch:
        return "the body is not of the length that was announced";
      case errc::closed:
        return "the server or client is closed";
    }
    return "unknown error";
  }
  std::error_condition default_error_condition(int value) const noexcept override {
    if (static_cast<errc>(value) == errc::timed_out) return std::errc::timed_out;
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

}  // namespace runnel::http
