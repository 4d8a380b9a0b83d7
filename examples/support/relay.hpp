#pragma once

#include <cstdio>
#include <optional>
#include <utility>

#include "runnel/net/stream.hpp"
#include "runnel/tcp/stream.hpp"
#include "runnel/timeout.hpp"

namespace example {

/// The connection to the server behind a client. Where there is none within `patience`, that is
/// said in the name of the program, and the client is reset.
template <runnel::net::connector Connector>
runnel::task<std::optional<typename Connector::stream_type>> connect_behind(
    const char* name, runnel::tcp::stream& client, Connector& by, runnel::net::endpoint server,
    runnel::duration patience) {
  auto connected = co_await runnel::with_timeout(patience, by.connect(server));
  if (!connected) {
    std::fprintf(stderr, "%s: no connection to %s: %s.\n", name, server.to_string().c_str(),
                 connected.error().message().c_str());
    client.abort();
    co_return std::nullopt;
  }
  co_return std::move(*connected);
}

}  // namespace example
