#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <vector>

#include "answer.hpp"
#include "connector.hpp"
#include "options.hpp"
#include "outcome.hpp"

namespace bench {

/// Holds many keep-alive connections open after one request on each.
class idle_holder {
 public:
  explicit idle_holder(const options& given);
  idle_holder(const idle_holder&) = delete;
  idle_holder& operator=(const idle_holder&) = delete;
  ~idle_holder();

  /// Opens them, no more than `options::connections` at once. False when some could not be had,
  /// which `errors` tells about.
  bool open_all();
  /// Waits for SIGTERM or SIGINT, which must be blocked, or for the end of this input.
  void hold(int input);

  std::uint32_t held() const { return held_; }
  /// How many the server has ended while they were held.
  std::uint32_t ended_by_server() const { return ended_; }
  const error_counts& errors() const { return errors_; }

 private:
  struct connection {
    int fd = -1;
    bool asked = false;
    bool answered = false;
  };

  void begin(std::uint32_t index);
  void on_event(std::uint32_t index, std::uint32_t events);
  void failed(connection& one, int error);
  void drop(connection& one);

  const options& options_;
  connector connector_;
  answer_reader answers_;
  error_counts errors_;
  int epoll_ = -1;
  std::vector<connection> connections_;
  std::uint32_t under_way_ = 0;
  std::uint32_t held_ = 0;
  std::uint32_t ended_ = 0;
  std::array<epoll_event, 256> events_;
};

}  // namespace bench
