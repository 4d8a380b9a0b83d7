#pragma once

#include <string_view>
#include <vector>

#include "runnel/net/http/message.hpp"

namespace runnel::http::detail {

/// The way into the message heads for whoever fills them.
struct head_access {
  using entry = headers::entry;

  static std::vector<entry>& entries(headers& of) noexcept { return of.entries_; }
  static std::string& bytes(headers& of) noexcept { return of.bytes_; }
  static std::string_view bytes(const headers& of) noexcept { return of.bytes_; }

  template <class Head>
  static headers& fields(Head& head) noexcept {
    return head.headers_;
  }

  struct request_line {
    http::method method;
    std::uint16_t method_size;
    std::uint16_t target_begin;
    std::uint16_t target_size;
  };
  static void set(request_head& head, const request_line& line) noexcept {
    head.method_ = line.method;
    head.method_size_ = line.method_size;
    head.target_begin_ = line.target_begin;
    head.target_size_ = line.target_size;
  }

  struct status_line {
    http::status status;
    std::uint16_t reason_begin;
    std::uint16_t reason_size;
  };
  static void set(response_head& head, const status_line& line) noexcept {
    head.status_ = line.status;
    head.reason_begin_ = line.reason_begin;
    head.reason_size_ = line.reason_size;
  }

  struct semantics {
    http::framing framing;
    std::uint64_t content_length;
    bool http_1_0;
    bool keep_alive;
  };
  template <class Head>
  static void set(Head& head, const semantics& facts) noexcept {
    head.framing_ = facts.framing;
    head.content_length_ = facts.content_length;
    head.http_1_0_ = facts.http_1_0;
    head.keep_alive_ = facts.keep_alive;
  }
  static void set_expects_continue(request_head& head, bool value) noexcept {
    head.expects_continue_ = value;
  }
};

}  // namespace runnel::http::detail
