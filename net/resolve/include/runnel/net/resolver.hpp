#pragma once

#include <runnel/loop.hpp>
#include <runnel/result.hpp>
#include <runnel/waiter.hpp>
#include <runnel/wire/address.hpp>

#include <concepts>
#include <coroutine>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace runnel::net {

/// Why a name has no addresses. Other errors are `std::errc::timed_out` (no server answered),
/// `not_enough_memory`, and `errc::cancelled`.
enum class resolve_errc {
  /// The name does not exist (NXDOMAIN).
  not_found = 1,
  /// The name exists and has no address of the family that was asked for.
  no_address,
  /// The server could not tell (SERVFAIL).
  server_failure,
  /// The server would not tell (REFUSED).
  refused,
  /// The text is no name: empty, too long, or with bytes that no name has.
  bad_name,
  /// The server answered with something that is no answer.
  bad_response,
  /// Each server was passed over: nothing listens there, or it could not or would not tell and
  /// c-ares, as its older versions do, keeps which of these to itself.
  no_server,
};

/// The category named "runnel.resolve" that `resolve_errc` belongs to.
const std::error_category& resolve_category() noexcept;

/// Makes the code for `e`; found by `std::error_code`'s converting constructor.
std::error_code make_error_code(resolve_errc e) noexcept;

/// Where names are looked up, and how patiently. What is left empty comes from /etc/resolv.conf.
struct resolver_options {
  /// Name servers; port 0 is 53.
  std::vector<endpoint> servers{};
  /// How long one try waits for an answer; zero is c-ares's default, five seconds.
  duration timeout{0};
  /// How often each server is asked; 0 is c-ares's default, four times.
  int tries = 0;
  /// Domains that are appended to short names (search).
  std::vector<std::string> search{};
};

class resolver;

namespace detail {

class resolver_core;
struct name_query;

class [[nodiscard]] resolve_awaiter final : public waiter {
 public:
  resolve_awaiter(resolver_core& source, std::string name, net::family of);
  resolve_awaiter(resolve_awaiter&&) noexcept = default;
  ~resolve_awaiter() override;

  bool await_ready() const noexcept { return false; }
  template <std::derived_from<runnel::detail::promise_base> Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) {
    const bool waits = suspend_unless(h, is_literal_);
    if (waits) begin();
    return waits;
  }
  result<std::vector<address>> await_resume();

 private:
  friend class resolver_core;

  void begin();
  void on_cancel() noexcept override;

  resolver_core* source_;
  std::string name_;
  net::family family_;
  bool is_literal_ = false;
  name_query* query_ = nullptr;
  std::error_code error_;
  std::vector<address> found_;
};

}  // namespace detail

/// Turns names into addresses without blocking the loop, by c-ares: /etc/hosts first, then the name
/// servers. `CARES_HOSTS` in the environment names another file of hosts. A target of its own,
/// `runnel::resolve`, so that who does without names does without c-ares.
///
/// Belongs to one loop, which must outlive it; tasks may look up many names at once. Making one
/// reads /etc/resolv.conf, and a look-up reads the file of hosts: small files, read at once.
class resolver {
 public:
  /// Throws `std::system_error` with one sentence when c-ares cannot be set up.
  explicit resolver(loop& owner, const resolver_options& options = {});
  resolver(const resolver&) = delete;
  resolver& operator=(const resolver&) = delete;
  /// Look-ups that are awaited end with `errc::cancelled`.
  ~resolver();

  /// Waits for the addresses of `name`, at least one, best first by RFC 6724, and gives
  /// `result<std::vector<address>>`. The text of an address is given back as an address at once and
  /// asks nobody. Cancelled: `errc::cancelled`, and what the servers still answer is thrown away.
  /// On a simulated loop, which has no network of the kernel's, names give `errc::not_supported`.
  detail::resolve_awaiter resolve(std::string_view name, family of = family::unspecified);

 private:
  std::unique_ptr<detail::resolver_core> core_;
};

}  // namespace runnel::net

template <>
struct std::is_error_code_enum<runnel::net::resolve_errc> : std::true_type {};
