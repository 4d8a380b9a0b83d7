#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "runnel/clock.hpp"
#include "runnel/net/http/parser.hpp"

namespace runnel::http {

/// Every policy of an HTTP client. Plain values; they are checked and copied when the client is
/// made.
struct client_options {
  /// How many connections to one endpoint are kept for later requests; a further one is closed
  /// instead. 0 keeps none.
  std::size_t max_idle_per_endpoint = 64;
  /// How many are kept for all endpoints together; for a further one the one that has been idle for
  /// longest is closed. 0 keeps none.
  std::size_t max_idle = 1024;
  /// How long a connection is kept without a request; then it is closed. Keep it below what servers
  /// use (75 s in nginx and here), so that the client is the one who lets go.
  duration idle_timeout = std::chrono::seconds{60};

  /// How long a connection may take to open.
  duration connect_timeout = std::chrono::seconds{30};
  /// How long a piece of a request of up to `send_piece` bytes may take to be accepted by the
  /// connection.
  duration send_timeout = std::chrono::seconds{60};
  /// The most that is written under one `send_timeout`, in bytes.
  std::size_t send_piece = std::size_t{256} << 10;
  /// How long the header of the response may take, from the end of the request; interim responses
  /// included.
  duration header_timeout = std::chrono::seconds{60};
  /// How long one read of the body may wait for its first byte. The time in which nobody reads does
  /// not count.
  duration body_timeout = std::chrono::seconds{60};
  /// How long a request that asked for it waits for 100 (Continue) before it sends its body anyway
  /// (RFC 9110 section 10.1.1).
  duration continue_timeout = std::chrono::seconds{1};

  /// What of a response's status line and fields is accepted.
  message_limits limits{};
  /// How many interim responses (1xx) may come before the final one.
  std::uint32_t max_interim_responses = 16;
  /// Bytes that are read from a body source and written at a time.
  std::size_t stream_bytes = std::size_t{64} << 10;
  /// How many sets of buffers (header_bytes plus some KiB each) are kept for requests to come. Idle
  /// connections hold none.
  std::size_t spare_buffers = 256;

  /// The User-Agent field; empty: none. Must outlive the client.
  std::string_view user_agent{};
};

/// What a client has done so far; plain counts since it was made, and two gauges.
struct client_counters {
  std::uint64_t requests = 0;         ///< Calls of `send` and its short forms.
  std::uint64_t responses = 0;        ///< ... of those, that gave a response.
  std::uint64_t failures = 0;         ///< ... that gave an error.
  std::uint64_t opened = 0;           ///< Connections opened.
  std::uint64_t connect_errors = 0;   ///< Connections that could not be opened.
  std::uint64_t reused = 0;           ///< Requests begun on a kept connection.
  std::uint64_t stale = 0;            ///< Kept connections found closed or speaking before use.
  std::uint64_t retries = 0;          ///< Requests sent again as a kept connection had died.
  std::uint64_t idle_timeouts = 0;    ///< Kept connections closed for being idle.
  std::uint64_t evicted = 0;          ///< Kept connections closed for being too many.
  std::uint64_t interim = 0;          ///< Interim responses skipped.
  std::uint64_t surplus = 0;          ///< Connections closed for bytes behind a response.
  std::uint64_t abandoned = 0;        ///< Connections closed with a response not read to its end.
  std::uint64_t header_timeouts = 0;  ///< Responses that did not come in time.
  std::uint64_t body_timeouts = 0;    ///< Bodies that stopped coming.
  std::size_t idle = 0;               ///< Connections kept now.
  std::size_t busy = 0;               ///< Requests under way and responses still held.
};

}  // namespace runnel::http
