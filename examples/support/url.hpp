#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "runnel/wire/address.hpp"

namespace example {

/// The parts of an http:// URL.
struct url {
  std::string host;  ///< A name or the text of an address, without brackets.
  std::uint16_t port = 80;
  std::string authority;  ///< As it stands in the URL: what the Host field says.
  std::string target;     ///< Path and query.
};

inline std::uint16_t parse_port(std::string_view text, const std::string& quoted) {
  unsigned port = 0;
  for (const char c : text) {
    if (c < '0' || c > '9' || port > 65535) port = 65536;
    if (port <= 65535) port = port * 10 + static_cast<unsigned>(c - '0');
  }
  if (text.empty() || port == 0 || port > 65535) {
    throw std::invalid_argument("the port of " + quoted + " must be a number from 1 to 65535.");
  }
  return static_cast<std::uint16_t>(port);
}

/// Reads "http://host:port/path?query"; the scheme may be left out. Throws with one sentence.
inline url parse_url(std::string_view text) {
  constexpr std::string_view scheme = "http://";
  const std::string quoted = "'" + std::string(text) + "'";
  std::string_view rest = text;
  if (rest.starts_with(scheme)) {
    rest.remove_prefix(scheme.size());
  } else if (rest.find("://") != std::string_view::npos) {
    throw std::invalid_argument(quoted + " is not fetched over plain HTTP; write http://.");
  }
  rest = rest.substr(0, rest.find('#'));
  const std::size_t size = std::min(rest.find_first_of("/?"), rest.size());
  url found;
  found.authority = rest.substr(0, size);
  found.target = rest.substr(size);
  if (!found.target.starts_with('/')) found.target.insert(0, 1, '/');
  const std::string_view authority = found.authority;
  const std::size_t bracket = authority.find(']');
  const std::size_t colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  if (colon != std::string_view::npos) {
    found.port = parse_port(authority.substr(colon + 1), quoted);
  }
  found.host = authority.substr(0, colon);
  if (found.host.starts_with('[') && found.host.ends_with(']')) {
    found.host = found.host.substr(1, found.host.size() - 2);
  }
  if (found.host.empty() || found.host.find_first_of("@[] ") != std::string::npos) {
    throw std::invalid_argument("the host of " + quoted +
                                " must be a name or an IP address, as in http://localhost:8080/ or "
                                "http://[fd77::1]/.");
  }
  return found;
}

}  // namespace example
