// The texts of the exchange and the least parsing that it needs.
#pragma once

#include <cstddef>
#include <string_view>

namespace bench_lwip {

inline constexpr std::string_view request_kept = "GET /hello HTTP/1.1\r\nHost: bench\r\n\r\n";
inline constexpr std::string_view request_last =
    "GET /hello HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
inline constexpr std::string_view answer_kept =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, world!\n";
inline constexpr std::string_view answer_last =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n"
    "Connection: close\r\n\r\nHello, world!\n";

struct request_head {
  /// Bytes of the request, its empty line included; 0 while that has not come.
  std::size_t size = 0;
  bool last = false;
};

/// The first request at the front of the text. Requests have no body here.
inline request_head find_request(std::string_view text) {
  constexpr std::string_view end = "\r\n\r\n";
  const auto at = text.find(end);
  if (at == text.npos) return {};
  const auto head = text.substr(0, at + end.size());
  return {head.size(), head.find("\r\nConnection: close\r\n") != head.npos};
}

}  // namespace bench_lwip
