#pragma once

#include <cstdint>
#include <string_view>

#include "output_buffer.hpp"
#include "runnel/net/http/message.hpp"
#include "runnel/net/http/status.hpp"

namespace runnel::http::detail {

/// What the Connection field says; nothing where the version's default holds.
enum class connection_field : std::uint8_t { none, close, keep_alive };

/// Everything that goes before the body of a response.
struct response_plan {
  status code = status::ok;
  connection_field connection = connection_field::none;
  /// `none`: no field says anything about a body.
  framing body = framing::none;
  /// Content-Length, where framing is `length`.
  std::uint64_t length = 0;
  std::string_view date;
  std::string_view server;
  /// Complete field lines.
  std::string_view fields;
};

/// Appends the status line, the fields and the empty line.
void append_response_head(output_buffer& out, const response_plan& plan);

/// Appends "Content-Length: n\r\n".
void append_content_length(output_buffer& out, std::uint64_t length);

/// The hexadecimal size line of a chunk always takes this many bytes here, so that a body can be
/// read into its place behind it.
inline constexpr std::size_t chunk_line_bytes = 10;
/// Writes the size line, with leading zeros and CRLF, in front of data that begins at
/// `data_begin`.
void put_chunk_line(char* data_begin, std::uint32_t size) noexcept;

}  // namespace runnel::http::detail
