#pragma once

#include <doctest/doctest.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runnel/net/http/client.hpp"
#include "runnel/net/http/error.hpp"
#include "runnel/timeout.hpp"
#include "support.hpp"

namespace runnel::testing {

inline constexpr net::endpoint server_at{net::address::v4(127, 0, 0, 1), 80};

using pipe_client = http::client<net::pipe_connector>;

/// A client of a listener where the test itself plays the server.
struct client_rig {
  explicit client_rig(loop& owner, const http::client_options& options = {},
                      const net::pipe_listener_options& pipes = {})
      : listener(owner, pipes), connector(listener), client(owner, connector, options) {}

  /// The server's end of the next connection.
  task<peer> accept() {
    auto stream = co_await listener.accept();
    REQUIRE(stream.has_value());
    co_return peer{std::move(*stream)};
  }

  net::pipe_listener listener;
  net::pipe_connector connector;
  pipe_client client;
};

/// What became of a request: status and body, or why not.
struct outcome {
  std::error_code error;
  unsigned status = 0;
  std::string body;
  bool reused = false;
};

inline task<outcome> collect(result<http::client_response> response) {
  outcome seen;
  if (!response) {
    seen.error = response.error();
    co_return seen;
  }
  seen.status = http::to_number(response->status());
  seen.reused = response->reused_connection();
  const auto read = co_await response->body().read_into(seen.body, 1 << 20);
  if (!read) seen.error = read.error();
  co_return seen;
}

template <class Client>
task<outcome> fetch(Client& client, const http::client_request& request) {
  auto response = co_await client.send(server_at, request);
  outcome seen = co_await collect(std::move(response));
  co_return seen;
}

template <class Client>
task<outcome> fetch(Client& client, std::string_view target) {
  auto response = co_await client.get(server_at, target);
  outcome seen = co_await collect(std::move(response));
  co_return seen;
}

/// Reads the head of a request.
inline task<std::string> receive_head(peer& from) {
  std::string text;
  while (!text.ends_with("\r\n\r\n")) {
    const std::string more = co_await from.receive(1);
    if (more.empty()) break;
    text += more;
  }
  co_return text;
}

/// Takes one connection, answers each of its requests with the next of `answers`, and closes it.
inline task<> answer_each(client_rig& rig, std::vector<std::string> answers) {
  peer server = co_await rig.accept();
  for (const std::string& answer : answers) {
    const std::string head = co_await receive_head(server);
    if (head.empty()) break;
    const auto sent = co_await server.stream().write(std::as_bytes(std::span{answer}));
    if (!sent) break;
  }
  const auto how = co_await server.stream().close();
  static_cast<void>(how);
}

/// What the client makes of `answer` to a GET on a connection that then closes.
inline task<outcome> answered_with(loop& owner, std::string answer,
                                   http::client_options options = {}) {
  client_rig rig{owner, options};
  task_group group{owner};
  std::vector<std::string> answers;
  answers.push_back(std::move(answer));
  group.spawn(answer_each(rig, std::move(answers)));
  outcome seen = co_await fetch(rig.client, "/");
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
  CHECK(rig.client.counters().busy == 0);
  co_return seen;
}

inline std::string ok(std::string_view body, std::string_view fields = {}) {
  std::string text{"HTTP/1.1 200 OK\r\n"};
  text.append("Content-Length: ").append(std::to_string(body.size())).append("\r\n");
  return text.append(fields).append("\r\n").append(body);
}

}  // namespace runnel::testing
