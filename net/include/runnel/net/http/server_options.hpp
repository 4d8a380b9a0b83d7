#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "runnel/clock.hpp"
#include "runnel/net/http/date.hpp"
#include "runnel/net/http/parser.hpp"
#include "runnel/net/stream.hpp"

namespace runnel::http {

/// Every policy of an HTTP server. Plain values; they are checked and copied when the server is
/// made.
struct server_options {
  /// How long a connection may stay idle after a response before the server closes it. nginx:
  /// keepalive_timeout.
  duration keepalive_timeout = std::chrono::seconds{75};
  /// How many requests a connection may carry; the last one is answered with "Connection: close".
  /// At least 1; 1 switches keep-alive off. nginx: keepalive_requests.
  std::uint32_t keepalive_requests = 1000;
  /// How long a request header may take: from accept for the first request, from the first byte for
  /// the others. Then 408, or nothing when not a byte had come. nginx: client_header_timeout.
  duration header_timeout = std::chrono::seconds{60};
  /// How long the server waits for the body before it gives up with 408, beyond what `body_rate`
  /// allows. The time in which the handler does not read does not count.
  duration body_timeout = std::chrono::seconds{60};
  /// Bytes per second at which a body must at least arrive on average, once `body_timeout` has been
  /// used up; each second of waiting costs a second of `body_timeout`, and bytes earn it back. 0:
  /// only the time between two reads is limited.
  std::uint32_t body_rate = 500;
  /// How long a piece of a response of up to `send_piece` bytes may take to be accepted by the
  /// connection; then it is reset. nginx: send_timeout.
  duration send_timeout = std::chrono::seconds{60};
  /// The most that is written under one `send_timeout`, in bytes.
  std::size_t send_piece = std::size_t{256} << 10;

  /// What of a request's start line and fields is accepted; beyond it 414 and 431.
  message_limits limits{};
  /// The longest request body, in bytes; 413 beyond. A handler changes it for one request with
  /// `request_body::set_limit`. nginx: client_max_body_size.
  std::uint64_t max_body_bytes = std::uint64_t{1} << 20;
  /// How much of a body that a handler left unread is read and thrown away to keep the connection.
  std::uint64_t max_discard_bytes = std::uint64_t{64} << 10;

  /// Connections that each `serve` has at a time; further ones get 503 and are closed.
  std::size_t max_connections = 100'000;
  /// Connections at a time from one address; further ones get 503 and are closed. 0: no limit.
  std::size_t max_connections_per_source = 0;
  /// How many connections over a limit may be in the course of getting their 503; further ones are
  /// reset.
  std::size_t max_refusals = 128;

  /// How the server ends connections.
  /// - `graceful`: the end of the stream leaves together with the last response. What the client
  ///   still sends may be answered with a reset, which may destroy that response on its way. nginx:
  ///   lingering_close off.
  /// - `lingering`: the same, but where the client may still be sending, that is thrown away for
  ///   `linger_timeout` (RFC 9112 section 9.6). nginx: lingering_close on.
  /// - `peer_first`: after a response with "Connection: close" the client gets `client_close_grace`
  ///   to close first, so that the TIME_WAIT is the client's; else as `lingering`.
  ///
  /// Where the stream can end by itself (`net::leavable_stream`) the waiting costs no task, and the
  /// connection does not count any more; after `client_close_grace` such a stream lingers for a
  /// time of its own (`tcp::connection_policy::peer_first_linger`).
  net::departure close = net::departure::lingering;
  /// How long the client gets to close first.
  duration client_close_grace = std::chrono::seconds{1};
  /// How long what the client still sends is thrown away. nginx: lingering_timeout.
  duration linger_timeout = std::chrono::seconds{5};
  /// The most that is thrown away in that time, in bytes, where a task does it.
  std::uint64_t linger_bytes = std::uint64_t{1} << 20;
  /// How long a drain waits for the requests it found before it resets their connections.
  duration drain_grace = std::chrono::seconds{10};
  /// How long a drain waits for what costs nothing to wait for: the first request of a connection
  /// that has just been accepted, and the clients' ends of the streams that it has ended.
  duration drain_courtesy = std::chrono::seconds{1};
  /// How long a drain leaves a connection that waits for its next request open, for the request
  /// that may be on its way; it is still answered.
  duration drain_idle = std::chrono::milliseconds{50};

  /// Responses to pipelined requests are collected up to this many bytes and written at once.
  std::size_t coalesce_bytes = std::size_t{16} << 10;
  /// Bytes that are read from a body source and written at a time.
  std::size_t stream_bytes = std::size_t{64} << 10;
  /// How many sets of buffers (header_bytes plus some KiB each) are kept for connections that
  /// become busy. Idle connections hold none.
  std::size_t spare_buffers = 256;

  /// The Server field; empty: none. Must outlive the server.
  std::string_view server_name{};
  /// Where the Date field's time comes from.
  wall_clock clock = std::chrono::system_clock::now;
};

/// What a server has done so far; plain counts since it was made, and two gauges.
struct server_counters {
  std::uint64_t accepted = 0;        ///< Connections taken from the listeners, refused ones too.
  std::uint64_t refused = 0;         ///< ... that got 503 for being over a limit.
  std::uint64_t refused_source = 0;  ///< ... of those, for the limit per source.
  std::uint64_t dropped =
      0;  ///< ... that were dropped, being over max_refusals too, or for want of memory.
  std::uint64_t accept_errors = 0;  ///< Failed accepts.
  std::uint64_t requests = 0;       ///< Request headers that were understood.
  std::uint64_t pipelined = 0;      ///< ... of those, found behind another one without waiting.
  std::array<std::uint64_t, 6> responses{};  ///< Final responses by first digit; index 0 is unused.
  std::uint64_t bad_requests = 0;         ///< Requests that were refused before a handler saw them.
  std::uint64_t handler_exceptions = 0;   ///< Handlers that threw; answered with 500.
  std::uint64_t truncated = 0;            ///< Connections that ended inside a request.
  std::uint64_t keepalive_timeouts = 0;   ///< Connections closed for being idle.
  std::uint64_t keepalive_exhausted = 0;  ///< Connections closed after keepalive_requests.
  std::uint64_t header_timeouts = 0;      ///< Request headers that did not come in time.
  std::uint64_t body_timeouts = 0;        ///< Request bodies that did not come in time.
  std::uint64_t send_timeouts = 0;        ///< Responses that the client did not take in time.
  std::uint64_t source_errors = 0;        ///< Streamed responses broken off by their source.
  std::uint64_t lingered = 0;             ///< Closes that waited for the client to finish.
  std::uint64_t left = 0;                 ///< Closes that were left to the stream.
  std::uint64_t unclean_closes = 0;       ///< Closes that did not end with everything acknowledged.
  std::uint64_t aborted = 0;              ///< Connections reset by the server.
  std::uint64_t lost = 0;  ///< Connections that the client reset or that failed otherwise.
  std::size_t open = 0;    ///< Connections now, without those being refused.
  std::size_t busy = 0;    ///< ... of those, holding buffers.
};

}  // namespace runnel::http
