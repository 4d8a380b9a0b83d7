#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "head_access.hpp"
#include "runnel/net/http/error.hpp"
#include "runnel/net/http/parser.hpp"

namespace runnel::http::detail {

/// The fields that say something about the message itself.
enum class field_kind : std::uint8_t {
  plain,
  content_length,
  transfer_encoding,
  connection,
  host,
  expect,
};

/// What is learnt from the fields of one message as they come: where each lies, and what the few
/// say that frame the message. Refuses whatever two readers might understand differently.
class field_facts {
 public:
  /// `begin` is the first byte of the message; the offsets of the fields are written to `entries`.
  void start(const char* begin, std::vector<head_access::entry>& entries,
             const message_limits& limits) noexcept;

  /// Takes the next field line; false when the message is to be refused.
  bool take(field_kind kind, std::string_view name, std::string_view value);
  /// Takes a field line of the trailer section, which is checked, counted and dropped.
  bool take_trailer(std::string_view name, std::string_view value) noexcept;
  /// Settles what the fields together mean; false when the message is to be refused.
  bool finish_request(request_head& head, bool http_1_0) noexcept;
  bool finish_response(response_head& head, bool http_1_0, method asked) noexcept;

  /// Says no; always false.
  bool refuse(status with, errc because) noexcept;

  status refusal = status::bad_request;
  errc error = errc::bad_message;

 private:
  std::uint16_t offset(std::string_view part) const noexcept {
    return static_cast<std::uint16_t>(part.data() - begin_);
  }
  bool count_and_check(std::string_view name, std::string_view value) noexcept;
  bool take_content_length(std::string_view value) noexcept;
  bool take_transfer_encoding(std::string_view value) noexcept;
  void take_connection(std::string_view value) noexcept;
  bool check_framing(bool http_1_0) noexcept;
  bool keeps_alive(bool http_1_0) const noexcept { return !close_ && (!http_1_0 || keep_alive_); }

  const char* begin_ = nullptr;
  std::vector<head_access::entry>* entries_ = nullptr;
  std::uint64_t content_length_ = 0;
  std::uint32_t fields_left_ = 0;
  std::uint8_t hosts_ = 0;
  bool has_content_length_ = false;
  bool has_transfer_encoding_ = false;
  bool chunked_ = false;
  bool close_ = false;
  bool keep_alive_ = false;
  bool expects_continue_ = false;
  bool expects_other_ = false;
};

}  // namespace runnel::http::detail
