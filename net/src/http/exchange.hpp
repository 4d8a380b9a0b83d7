#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "input_buffer.hpp"
#include "output_buffer.hpp"
#include "runnel/clock.hpp"
#include "runnel/net/http/parser.hpp"
#include "runnel/net/http/request.hpp"
#include "runnel/net/http/response.hpp"

namespace runnel::http::detail {

/// Everything that a connection needs only while it is busy.
struct exchange {
  exchange(const message_limits& limits, std::size_t input_bytes)
      : parser(limits), input(input_bytes) {}

  /// Forgets all messages and keeps the memory.
  void clear() noexcept {
    parser.reset();
    response.clear();
    input.clear();
    output.clear();
    body = {};
    short_write = false;
  }

  request_parser parser;
  http::request request;
  http::response response;
  input_buffer input;
  output_buffer output;
  /// What is left to write of a body in memory, behind `output`.
  std::string_view body;
  std::array<std::span<const std::byte>, 2> pieces;
  /// How many bytes the write under way has, and whether the last one took fewer.
  std::size_t writing = 0;
  bool short_write = false;
  /// How much of body_timeout is left.
  duration body_budget{0};
  /// Whether the connection closes after this response.
  bool closes = false;
};

}  // namespace runnel::http::detail
