#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>

#include "runnel/clock.hpp"
#include "runnel/net/http/client_request.hpp"
#include "runnel/net/http/client_response.hpp"
#include "runnel/net/http/detail/client_core.hpp"
#include "runnel/net/http/response.hpp"
#include "runnel/result.hpp"
#include "runnel/wire/address.hpp"

namespace runnel::http::detail {

/// What a client_call wants done next.
enum class client_step : std::uint8_t {
  probe,    ///< Look whether the kept connection is readable: on_probe.
  connect,  ///< Open a connection: on_connected or on_connect_error.
  write,    ///< Write pieces(): on_written.
  fill,     ///< Read the body source into source_room(): on_source.
  read,     ///< Read into room(): on_read.
  done,     ///< take() the outcome.
};

/// One request from its first connection to the head of its final response. It does no I/O itself:
/// whoever knows the type of the stream does what `next` says and tells how it went.
///
/// Destroying it early resets the connection.
class client_call {
 public:
  /// `request` and `source`, which may be null, must outlive it.
  client_call(client_core& core, const net::endpoint& to, const client_request& request,
              body_source* source);
  client_call(const client_call&) = delete;
  client_call& operator=(const client_call&) = delete;
  ~client_call();

  client_step next();
  /// The connection that probe, write and read are about.
  client_connection& connection() noexcept;

  void on_probe(bool readable);
  void on_connected(std::unique_ptr<client_connection> fresh);
  void on_connect_error(std::error_code why) noexcept;

  std::span<const std::span<const std::byte>> pieces() noexcept;
  void on_written(const result<std::size_t>& outcome) noexcept;
  std::span<std::byte> source_room();
  void on_source(const result<std::size_t>& outcome);
  std::span<std::byte> room() noexcept;
  void on_read(const result<std::size_t>& outcome);

  result<client_response> take();

 private:
  enum class phase : std::uint8_t {
    connect,   ///< A connection is to be found.
    send,      ///< The request is to be written.
    permit,    ///< The head is out; the body waits for 100 (Continue).
    head,      ///< The response is to come.
    answered,  ///< The head of the final response is there.
    failed,    ///< `failure_` says why.
  };

  void begin();
  void append_head();
  void release_body() noexcept;
  void expect_answer() noexcept;
  void parse_head();
  void accept_head();
  void on_lost(std::error_code why) noexcept;
  bool may_retry() const noexcept;
  void fail(std::error_code why) noexcept;
  bool has_output() const noexcept;
  bool owes_body() const noexcept;

  client_core* core_;
  client_target* target_;
  const client_request* request_;
  body_source* source_;
  std::unique_ptr<client_exchange> exchange_;
  std::unique_ptr<std::byte[]> chunk_;
  std::optional<std::uint64_t> source_left_;
  /// What is left to write of a body, behind the head.
  std::string_view body_;
  std::array<std::span<const std::byte>, 2> pieces_;
  std::size_t writing_ = 0;
  std::uint64_t sent_ = 0;
  std::error_code failure_;
  /// Why the request could not be written to its end; the server may have answered all the same.
  std::error_code send_failure_;
  time_point answer_deadline_{};
  std::uint32_t interim_ = 0;
  phase phase_ = phase::connect;
  bool probing_ = false;
  bool retried_ = false;
  bool short_write_ = false;
  bool heard_ = false;
  bool withheld_ = false;
  bool source_started_ = false;
  bool source_done_ = true;
};

}  // namespace runnel::http::detail
