#include "runnel/net/resolver.hpp"

#include "resolver_core.hpp"
#include "runnel/net/zone.hpp"

namespace runnel::net {
namespace {

class category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "runnel.resolve"; }

  std::string message(int value) const override {
    switch (static_cast<resolve_errc>(value)) {
      case resolve_errc::not_found:
        return "the name does not exist";
      case resolve_errc::no_address:
        return "the name has no address of this family";
      case resolve_errc::server_failure:
        return "the name server could not tell";
      case resolve_errc::refused:
        return "the name server refused to tell";
      case resolve_errc::bad_name:
        return "this is not a host name";
      case resolve_errc::bad_response:
        return "the name server's answer makes no sense";
      case resolve_errc::no_server:
        return "no name server could be asked or gave an answer";
    }
    return "unknown error of the resolver";
  }
};

// RFC 1035 section 3.1: 255 octets on the wire, which is 253 characters and a dot.
constexpr std::size_t longest_name = 254;

}  // namespace

const std::error_category& resolve_category() noexcept {
  static const category instance;
  return instance;
}

std::error_code make_error_code(resolve_errc e) noexcept {
  return {static_cast<int>(e), resolve_category()};
}

namespace detail {

resolve_awaiter::resolve_awaiter(resolver_core& source, std::string name, net::family of)
    : source_(&source), name_(std::move(name)), family_(of) {
  const auto literal = address::parse(name_, system_zones());
  if (!literal) return;
  is_literal_ = true;
  if (of == family::unspecified || literal->family() == of) {
    found_.push_back(*literal);
  } else {
    error_ = resolve_errc::no_address;
  }
}

resolve_awaiter::~resolve_awaiter() {
  if (query_ != nullptr) query_->waiting = nullptr;
}

void resolve_awaiter::begin() {
  if (is_literal_) return;
  if (cancelled()) {
    error_ = errc::cancelled;
    return;
  }
  runnel::detail::check(&owner() == &source_->owner(),
                        "runnel: a resolver is used on another loop than its own.");
  if (name_.empty() || name_.size() > longest_name || name_.find('\0') != std::string::npos) {
    error_ = resolve_errc::bad_name;
  } else if (owner().simulated()) {
    error_ = errc::not_supported;
  } else {
    source_->start(*this);
    return;
  }
  wake();
}

void resolve_awaiter::on_cancel() noexcept {
  if (query_ != nullptr) query_->waiting = nullptr;
  query_ = nullptr;
  error_ = errc::cancelled;
  wake();
}

result<std::vector<address>> resolve_awaiter::await_resume() {
  if (error_) return error_;
  return std::move(found_);
}

}  // namespace detail

resolver::resolver(loop& owner, const resolver_options& options)
    : core_(std::make_unique<detail::resolver_core>(owner, options)) {}

resolver::~resolver() = default;

detail::resolve_awaiter resolver::resolve(std::string_view name, family of) {
  return {*core_, std::string(name), of};
}

}  // namespace runnel::net
