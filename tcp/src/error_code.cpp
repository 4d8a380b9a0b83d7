#include "runnel/tcp/error_code.hpp"

namespace runnel::tcp {

std::error_code to_error_code(error of) noexcept {
  const auto code = [](std::errc errno_value) { return std::make_error_code(errno_value); };
  switch (of) {
    case error::none:
      return {};
    case error::would_block:
      return code(std::errc::operation_would_block);
    case error::bad_handle:
      return code(std::errc::bad_file_descriptor);
    case error::invalid_argument:
      return code(std::errc::invalid_argument);
    case error::address_in_use:
      return code(std::errc::address_in_use);
    case error::address_not_available:
      return code(std::errc::address_not_available);
    case error::family_not_supported:
      return code(std::errc::address_family_not_supported);
    case error::not_connected:
      return code(std::errc::not_connected);
    case error::connection_refused:
      return code(std::errc::connection_refused);
    case error::connection_reset:
      return code(std::errc::connection_reset);
    case error::connection_aborted:
      return code(std::errc::connection_aborted);
    case error::broken_pipe:
      return code(std::errc::broken_pipe);
    case error::timed_out:
      return code(std::errc::timed_out);
    case error::no_buffer_space:
      return code(std::errc::no_buffer_space);
    case error::network_unreachable:
      return code(std::errc::network_unreachable);
    case error::host_unreachable:
      return code(std::errc::host_unreachable);
    case error::protocol_not_available:
      return code(std::errc::no_protocol_option);
    case error::protocol_error:
      return code(std::errc::protocol_error);
    case error::permission_denied:
      return code(std::errc::permission_denied);
    case error::not_supported:
      return code(std::errc::operation_not_supported);
  }
  return code(std::errc::io_error);
}

}  // namespace runnel::tcp
