#pragma once

#include <chrono>
#include <map>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "runnel/net/pipe.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task.hpp"

namespace runnel::testing {

/// A connector to nowhere: what an address does stands in a table, and who is not in it answers at
/// once.
class scripted_connector {
 public:
  using stream_type = net::pipe_stream;

  struct behaviour {
    duration after{0};
    std::errc error{};
    /// Throws instead of giving an error.
    bool throws = false;
  };
  /// Longer than any test waits.
  static constexpr duration never = std::chrono::hours{1};

  std::map<net::address, behaviour> script{};
  std::vector<net::address> asked{};
  int under_way = 0;

  task<result<net::pipe_stream>> connect(net::endpoint to) {
    asked.push_back(to.address);
    ++under_way;
    const leaving count{under_way};
    const auto found = script.find(to.address);
    const behaviour how = found == script.end() ? behaviour{} : found->second;
    auto waited = co_await sleep(how.after);
    if (!waited) co_return waited.error();
    if (how.throws) throw std::runtime_error("thrown by the connector");
    if (how.error != std::errc{}) co_return std::make_error_code(how.error);
    auto& on = co_await this_loop();
    const net::pipe_options ends{.second = to};
    auto pair = net::pipe_stream::make(on, ends);
    co_return std::move(pair.first);
  }

 private:
  struct leaving {
    int& under_way;
    ~leaving() { --under_way; }
  };
};

}  // namespace runnel::testing
