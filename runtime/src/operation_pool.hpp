#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "runnel/detail/list.hpp"
#include "runnel/detail/operation.hpp"

namespace runnel::detail {

/// All operations of a loop. They are made in need, kept for reuse, and freed with the loop; one
/// that the kernel would not let go of is leaked rather than freed.
class operation_pool {
 public:
  /// How many idle operations keep their 64 KiB buffer.
  static constexpr std::size_t buffers_kept = 16;

  operation_pool() = default;
  operation_pool(const operation_pool&) = delete;
  operation_pool& operator=(const operation_pool&) = delete;
  ~operation_pool();

  operation& take();
  void started(operation& op) noexcept { in_flight_.push_back(op), ++in_flight_count_; }
  /// The backend's last word on `op`.
  void complete(operation& op, int result) noexcept;
  /// Takes an operation that the backend never gets to see; `finish_refused` completes it.
  void refuse(operation& op, int result) noexcept;
  /// Phase 1, after the backend's.
  void finish_refused() noexcept;
  bool has_refused() const noexcept { return !refused_.empty(); }
  /// The observer of this loop hears what is finished from now on.
  void observe(const loop& owner) noexcept { observed_ = &owner; }
  /// Makes `op` ready to be started again.
  static void rest(operation& op) noexcept;
  /// A `receive` that goes on has filled buffer `id`.
  void progress(operation& op, const std::shared_ptr<receive_buffers>& buffers, std::uint16_t id,
                std::uint32_t length) noexcept;
  /// An `accept` has got a connection.
  static void accepted(operation& op, int fd) noexcept;
  /// Gives back an operation that was never started.
  void put_back(operation& op) noexcept;

  std::size_t in_flight() const noexcept { return in_flight_count_; }
  operation_list& running() noexcept { return in_flight_; }
  /// How many operations hold a buffer; walks all of them.
  std::size_t buffers() const noexcept {
    return static_cast<std::size_t>(std::count_if(
        all_.begin(), all_.end(), [](const auto& op) { return op->buffer != nullptr; }));
  }
  /// Takes every user away from its operation, so that neither touches the other again.
  void part_from_users() noexcept;
  /// A number for `op_request::watch` that no other watch of this loop has or had.
  std::uint64_t new_watch() noexcept { return ++last_watch_; }

 private:
  void tell_finished(const operation& op, int result) noexcept;

  std::vector<std::unique_ptr<operation>> all_;
  operation_list idle_;
  operation_list in_flight_;
  operation_list refused_;
  const loop* observed_ = nullptr;
  std::uint64_t last_watch_ = 0;
  std::size_t in_flight_count_ = 0;
  std::size_t idle_buffers_ = 0;
};

}  // namespace runnel::detail
