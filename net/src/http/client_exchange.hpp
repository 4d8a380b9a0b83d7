#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <system_error>

#include "input_buffer.hpp"
#include "output_buffer.hpp"
#include "runnel/net/http/detail/client_connection.hpp"
#include "runnel/net/http/detail/client_core.hpp"
#include "runnel/net/http/message.hpp"
#include "runnel/net/http/parser.hpp"
#include "runnel/result.hpp"
#include "runnel/task.hpp"

namespace runnel::http::detail {

/// Everything that a request and its response need only while they exist. The connection is here as
/// long as the body has not been read to its end.
struct client_exchange {
  client_exchange(client_core& owner, std::size_t input_bytes)
      : core(&owner), parser(owner.options().limits), input(input_bytes) {}

  /// Forgets all messages and keeps the memory.
  void clear() noexcept;

  /// The head is there: the body begins, and is over where it is empty or buffered as a whole.
  void start_body(bool keeps_connection) noexcept;
  task<result<std::size_t>> read_body(std::span<std::byte> into);
  /// Throws the rest of the body away where all of it is buffered; how much it was.
  std::uint64_t drop_buffered() noexcept;
  /// Gives up what was not read.
  void abandon() noexcept;
  /// Resets the connection.
  void reset_connection() noexcept;

  client_core* core;
  response_parser parser;
  response_head head;
  input_buffer input;
  output_buffer output;
  std::unique_ptr<client_connection> connection;
  std::uint64_t left = 0;
  std::uint64_t length = 0;
  std::error_code failure;
  http::framing framing = framing::none;
  bool done = false;
  bool keeps = false;
  bool reused = false;

 private:
  bool takes_directly(std::size_t room) const noexcept;
  std::size_t take_buffered(std::span<std::byte> into);
  void on_received(const result<std::size_t>& outcome, bool direct) noexcept;
  void finish() noexcept;
  void let_go() noexcept;
  void fail(std::error_code why) noexcept;
};

}  // namespace runnel::http::detail
