#include "resolver_core.hpp"

#include <netinet/in.h>
#include <poll.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <span>
#include <stdexcept>
#include <vector>

namespace runnel::net::detail {
namespace {

[[noreturn]] void refuse(const std::string& what, int status) {
  throw std::system_error(std::make_error_code(std::errc::invalid_argument),
                          "runnel: " + what + ": " + ares_strerror(status));
}

// c-ares asks for it once per process, before any thread uses it.
void set_up_library() {
  static const int status = ares_library_init(ARES_LIB_INIT_ALL);
  if (status != ARES_SUCCESS) refuse("c-ares could not be set up", status);
}

std::error_code error_of(int status) {
  switch (status) {
    case ARES_SUCCESS:
      return {};
    case ARES_ENOTFOUND:
      return resolve_errc::not_found;
    case ARES_ENODATA:
      return resolve_errc::no_address;
    case ARES_ESERVFAIL:
    case ARES_ENOTIMP:
      return resolve_errc::server_failure;
    case ARES_EREFUSED:
      return resolve_errc::refused;
    case ARES_EBADNAME:
    case ARES_EBADSTR:
    case ARES_EFORMERR:
      return resolve_errc::bad_name;
    case ARES_EBADRESP:
      return resolve_errc::bad_response;
    case ARES_ETIMEOUT:
      return std::make_error_code(std::errc::timed_out);
    case ARES_ECONNREFUSED:
      return resolve_errc::no_server;
    case ARES_ENOMEM:
      return std::make_error_code(std::errc::not_enough_memory);
    case ARES_ECANCELLED:
    case ARES_EDESTRUCTION:
      return errc::cancelled;
    default:
      return resolve_errc::server_failure;
  }
}

address address_of(const ares_addrinfo_node& node) {
  if (node.ai_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, node.ai_addr, sizeof v4);
    return address::v4(ntohl(v4.sin_addr.s_addr));
  }
  if (node.ai_family != AF_INET6) return {};
  sockaddr_in6 v6{};
  std::memcpy(&v6, node.ai_addr, sizeof v6);
  return address::v6(std::span<const std::uint8_t, 16>(v6.sin6_addr.s6_addr), v6.sin6_scope_id);
}

int kernel_family(family of) noexcept {
  return of == family::v4 ? AF_INET : of == family::v6 ? AF_INET6 : AF_UNSPEC;
}

}  // namespace

resolver_core::resolver_core(loop& owner, const resolver_options& options) : timer(owner) {
  set_up_library();
  ares_options wanted{};
  int set = ARES_OPT_SOCK_STATE_CB;
  wanted.sock_state_cb = &resolver_core::on_socket_state;
  wanted.sock_state_cb_data = this;
  if (options.timeout > duration::zero()) {
    // Rounded up: zero would be c-ares's default.
    const auto whole = std::chrono::ceil<std::chrono::milliseconds>(options.timeout).count();
    wanted.timeout = static_cast<int>(std::min<std::int64_t>(whole, 3'600'000));
    set |= ARES_OPT_TIMEOUTMS;
  }
  if (options.tries > 0) {
    wanted.tries = options.tries;
    set |= ARES_OPT_TRIES;
  }
  std::vector<std::string> search = options.search;
  std::vector<char*> domains;
  for (std::string& domain : search) {
    domains.push_back(domain.data());
  }
  if (!domains.empty()) {
    wanted.domains = domains.data();
    wanted.ndomains = static_cast<int>(domains.size());
    set |= ARES_OPT_DOMAINS;
  }
  const int status = ares_init_options(&channel_, &wanted, set);
  if (status != ARES_SUCCESS) refuse("the resolver could not be set up", status);
  if (!options.servers.empty()) set_servers(options.servers);
}

void resolver_core::set_servers(const std::vector<endpoint>& servers) {
  std::vector<ares_addr_port_node> nodes(servers.size());
  for (std::size_t i = 0; i < servers.size(); ++i) {
    if (servers[i].address.family() == family::unspecified) {
      ares_destroy(channel_);
      throw std::invalid_argument(
          "runnel: resolver_options::servers has an entry without an address; give each name "
          "server's.");
    }
    nodes[i].next = i + 1 < servers.size() ? &nodes[i + 1] : nullptr;
    nodes[i].family = kernel_family(servers[i].address.family());
    nodes[i].udp_port = nodes[i].tcp_port = servers[i].port;
    const auto bytes = servers[i].address.bytes();
    std::memcpy(&nodes[i].addr, bytes.data(), bytes.size());
  }
  const int status = ares_set_servers_ports(channel_, nodes.data());
  if (status == ARES_SUCCESS) return;
  ares_destroy(channel_);
  refuse("these name servers cannot be used", status);
}

resolver_core::~resolver_core() {
  ares_destroy(channel_);
}

void resolver_core::start(resolve_awaiter& asked) {
  auto query = std::make_unique<name_query>(name_query{&asked});
  asked.query_ = query.get();
  ares_addrinfo_hints hints{};
  hints.ai_family = kernel_family(asked.family_);
  hints.ai_flags = ARES_AI_ENVHOSTS;
  // One entry for each address, not one for each kind of socket.
  hints.ai_socktype = SOCK_STREAM;
  ares_getaddrinfo(channel_, asked.name_.c_str(), nullptr, &hints, &resolver_core::on_answer,
                   query.release());
  arm_all();
}

void resolver_core::on_answer(void* query, int status, int, ares_addrinfo* found) {
  const std::unique_ptr<name_query> mine(static_cast<name_query*>(query));
  const std::unique_ptr<ares_addrinfo, void (*)(ares_addrinfo*)> owned(found, &ares_freeaddrinfo);
  resolve_awaiter* asked = mine->waiting;
  if (asked == nullptr) return;
  asked->query_ = nullptr;
  asked->error_ = error_of(status);
  // What would fly through c-ares becomes the error of the look-up.
  try {
    for (auto* node = found != nullptr ? found->nodes : nullptr; node; node = node->ai_next) {
      const address one = address_of(*node);
      if (one != address{}) asked->found_.push_back(one);
    }
  } catch (const std::bad_alloc&) {
    asked->error_ = std::make_error_code(std::errc::not_enough_memory);
  }
  if (!asked->error_ && asked->found_.empty()) asked->error_ = resolve_errc::no_address;
  asked->wake();
}

void resolver_core::on_socket_state(void* self, ares_socket_t fd, int readable, int writable) {
  auto& me = *static_cast<resolver_core*>(self);
  if (readable == 0 && writable == 0) {
    me.descriptors_.erase(fd);
    return;
  }
  auto place = me.descriptors_.find(fd);
  if (place == me.descriptors_.end()) {
    // Without memory nobody hears of it, and its question ends with c-ares's time-out.
    try {
      place = me.descriptors_.emplace(fd, std::make_unique<descriptor>(me, fd)).first;
    } catch (const std::bad_alloc&) {
      return;
    }
  }
  auto& one = place->second;
  one->reading.wanted = readable != 0;
  one->writing.wanted = writable != 0;
}

void resolver_core::side::on_ready() noexcept {
  ready = true;
  core->arm(core->owner().now());
}

void resolver_core::on_expire() noexcept {
  process();
  arm_all();
}

void resolver_core::process() {
  // c-ares opens and closes descriptors while it works, so each search begins anew; there are as
  // many descriptors as servers.
  for (;;) {
    const auto next = std::find_if(descriptors_.begin(), descriptors_.end(), [](const auto& entry) {
      return entry.second->reading.ready || entry.second->writing.ready;
    });
    if (next == descriptors_.end()) break;
    const int fd = next->first;
    const bool reading = std::exchange(next->second->reading.ready, false);
    const bool writing = std::exchange(next->second->writing.ready, false);
    ares_process_fd(channel_, reading ? fd : ARES_SOCKET_BAD, writing ? fd : ARES_SOCKET_BAD);
  }
  ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

void resolver_core::arm_all() {
  for (auto& [fd, one] : descriptors_) {
    if (one->reading.wanted) one->reading.watch.arm(POLLIN);
    if (one->writing.wanted) one->writing.watch.arm(POLLOUT);
  }
  timeval room{};
  const timeval* next = ares_timeout(channel_, nullptr, &room);
  if (next == nullptr) {
    cancel();
    return;
  }
  const duration wait =
      std::chrono::seconds{next->tv_sec} + std::chrono::microseconds{next->tv_usec};
  arm(after(owner().now(), wait));
}

}  // namespace runnel::net::detail
