#include "inspect_page.hpp"
#include "runnel/tcp/inspect.hpp"

// An answer about one host, in parts.

namespace runnel::tcp {

struct inspection::impl {
  const host* engine;
  detail::inspect_page page;
};

inspection::inspection(const host& engine, inspect_request request)
    : impl_(new impl{&engine, detail::inspect_page(std::move(request))}) {}
inspection::inspection(inspection&&) noexcept = default;
inspection& inspection::operator=(inspection&&) noexcept = default;
inspection::~inspection() = default;

bool inspection::next(std::string& out, time_point now) {
  if (impl_->page.look(out, *impl_->engine, now)) return true;
  impl_->page.finish(out);
  return false;
}

std::string inspect(const host& engine, const inspect_request& request, time_point now) {
  std::string out;
  inspection answer(engine, request);
  while (true) {
    std::string part;
    const bool more = answer.next(part, now);
    out += part;
    if (!more) return out;
  }
}

}  // namespace runnel::tcp
