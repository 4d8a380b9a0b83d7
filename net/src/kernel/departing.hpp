#pragma once

#include "channel.hpp"
#include "runnel/detail/resident.hpp"
#include "runnel/net/stream.hpp"
#include "runnel/timer.hpp"

namespace runnel::net::kernel::detail {

/// A connection that its stream has let go of and that ends by itself. It belongs to the loop.
class departing final : private runnel::detail::resident, private timer, private channel::listener {
 public:
  /// Without memory for it the connection ends as by destroying the stream.
  static void begin(channel_ptr gone, departure how, duration time) noexcept;

 private:
  enum class phase : std::uint8_t { peer_first, lingering, done };

  departing(channel_ptr gone, departure how) noexcept;
  void start(duration time) noexcept;
  void linger(duration time) noexcept;
  void finish() noexcept;
  void on_input() noexcept override;
  void on_expire() noexcept override;

  channel_ptr channel_;
  phase phase_;
};

}  // namespace runnel::net::kernel::detail
