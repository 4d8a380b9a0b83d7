#include "backend.hpp"

#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <string_view>
#include <system_error>

#include "runnel/loop.hpp"

namespace runnel::detail {
namespace {

constexpr const char* variable = "RUNNEL_BACKEND";

backend_kind kind_in_environment() {
  const char* value = std::getenv(variable);
  const std::string_view asked = value == nullptr ? "" : value;
  if (asked.empty() || asked == "automatic") return backend_kind::automatic;
  if (asked == "io_uring") return backend_kind::io_uring;
  if (asked == "epoll") return backend_kind::epoll;
  throw startup_error(std::make_error_code(std::errc::invalid_argument),
                      "The environment variable RUNNEL_BACKEND is '" + std::string(asked) +
                          "'; set it to io_uring or epoll, or unset it.");
}

}  // namespace

void refuse_to_start(const char* what, int error) {
  const std::error_code code{error, std::generic_category()};
  const bool descriptors = error == EMFILE || error == ENFILE;
  throw startup_error(code,
                      std::string(what) + ": " + code.message() +
                          (descriptors ? "; raise the limit on open files (ulimit -n)." : "."));
}

std::unique_ptr<backend> make_backend(const loop_options& options, operation_pool& operations,
                                      loop_metrics& metrics) {
  if (options.simulated) return make_simulated_backend(operations, metrics);
  if (options.backend == backend_kind::simulated) {
    throw std::logic_error(
        "runnel: loop_options::backend is simulated; set loop_options::simulated to a seed "
        "instead.");
  }
  backend_kind kind = options.backend;
  std::string why = "asked for by the program";
  if (kind == backend_kind::automatic) {
    kind = kind_in_environment();
    why = std::string("asked for by ") + variable;
  }
  if (kind == backend_kind::epoll) return make_epoll_backend(why, operations, metrics);
  if (kind == backend_kind::io_uring) return make_ring_backend(options, operations, metrics);
  try {
    return make_ring_backend(options, operations, metrics);
  } catch (const startup_error& refusal) {
    why = "io_uring is refused here (" + refusal.code().message() + "): " + refusal.what();
  }
  return make_epoll_backend(why, operations, metrics);
}

}  // namespace runnel::detail
