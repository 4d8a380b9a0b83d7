#pragma once

#include "runnel/net/resolver.hpp"

#include <runnel/poll.hpp>
#include <runnel/timer.hpp>

#include <ares.h>

#include <map>
#include <memory>
#include <string>

namespace runnel::net::detail {

/// A look-up that c-ares works on. It lives until c-ares has called back; who waits may go earlier.
struct name_query {
  resolve_awaiter* waiting = nullptr;
};

/// One c-ares channel, fed by the loop: descriptors that are ready are noted in phase 1, and the
/// timer brings c-ares to work in phase 3, where its callbacks may close and open descriptors.
class resolver_core final : private timer {
 public:
  resolver_core(loop& owner, const resolver_options& options);
  resolver_core(const resolver_core&) = delete;
  resolver_core& operator=(const resolver_core&) = delete;
  ~resolver_core() override;

  using timer::owner;

  void start(resolve_awaiter& asked);

 private:
  struct side final : fd_watch::client {
    side(resolver_core& user, int fd) : core(&user), watch(user.owner(), fd, *this) {}
    void on_ready() noexcept override;

    resolver_core* core;
    bool wanted = false;
    bool ready = false;
    fd_watch watch;
  };
  struct descriptor {
    descriptor(resolver_core& core, int fd) : reading(core, fd), writing(core, fd) {}
    side reading;
    side writing;
  };

  static void on_socket_state(void* self, ares_socket_t fd, int readable, int writable);
  static void on_answer(void* query, int status, int timeouts, ares_addrinfo* found);
  void set_servers(const std::vector<endpoint>& servers);
  void on_expire() noexcept override;
  void process();
  void arm_all();

  ares_channel channel_ = nullptr;
  std::map<int, std::unique_ptr<descriptor>> descriptors_;
};

}  // namespace runnel::net::detail
