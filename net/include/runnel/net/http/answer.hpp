#pragma once

#include <utility>
#include <variant>

#include "runnel/net/http/response.hpp"
#include "runnel/task.hpp"

namespace runnel::http {

/// What a handler gives that mostly has its response at once and has to wait only sometimes: the
/// response, or the task that will give it. A response at once costs no coroutine, and passing on
/// what another handler gives costs no second one.
///
/// ```
/// http::answer handle(http::request& request) {
///   if (request.path() == "/hello") return http::response::literal("hello, world\n");
///   return files(request);
/// }
/// ```
class [[nodiscard]] answer {
 public:
  /// At once.
  answer(response&& now) noexcept : given_(std::in_place_type<response>, std::move(now)) {}
  /// Later; the task is started by the server. What it refers to must outlive it; the request does.
  answer(task<response>&& later) noexcept
      : given_(std::in_place_type<task<response>>, std::move(later)) {}

  /// The response, which may be moved from; null where it comes later.
  response* at_once() noexcept { return std::get_if<response>(&given_); }
  /// The task, to be awaited once; only where `at_once` is null.
  task<response>&& later() noexcept { return std::move(*std::get_if<task<response>>(&given_)); }

 private:
  std::variant<response, task<response>> given_;
};

}  // namespace runnel::http
