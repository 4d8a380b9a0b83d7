#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runnel/tcp/engine/host.hpp"

namespace runnel::tcp {

/// When a number is worth a word. The defaults are meant for a server in use: what a healthy one
/// has for a moment is below them.
struct diagnosis_thresholds {
  /// Connections in CLOSE-WAIT, and for how long nothing has come from the peer.
  std::uint32_t close_wait = 8;
  /// How long such a peer must have been silent to count.
  std::chrono::milliseconds close_wait_age{10'000};
  /// Half-open entries whose SYN-ACK went unanswered for a second or more.
  std::uint32_t half_open = 32;
  /// Per cent of them, or of unanswered SYNs of ours, that make one address the only suspect.
  std::uint32_t one_source_percent = 80;
  /// Connections in SYN-SENT whose SYN went unanswered for a second or more.
  std::uint32_t syn_sent = 8;
  /// Per cent of a limit that count as nearly reached: TIME-WAIT entries, local ports, orphans,
  /// memory.
  std::uint32_t near_limit_percent = 80;
  /// Connections without an owner that a window of zero keeps from sending.
  std::uint32_t zero_window_orphans = 4;
  /// Owned connections that a window of zero keeps from sending.
  std::uint32_t zero_window = 16;
  /// Connections whose text was sent this often in a row without an answer.
  std::uint32_t unanswered = 4;
  /// How often in a row that is.
  std::uint32_t unanswered_retries = 3;
  /// Established connections without keepalive on which nothing has moved for so long.
  std::uint32_t idle = 16;
  /// For how long that is.
  std::chrono::milliseconds idle_age{7'200'000};
  /// Connections with unread bytes that close the window, and for how long nothing has come.
  std::uint32_t unread = 4;
  /// How long such a peer must have been silent to count.
  std::chrono::milliseconds unread_age{10'000};
  /// Connections that the program has half-closed, in FIN-WAIT-2 and silent for so long.
  std::uint32_t half_closed = 16;
  /// For how long that is.
  std::chrono::milliseconds half_closed_age{60'000};
};

/// Something worth knowing about a host.
struct finding {
  /// Stays the same for the same thing: "close-wait", "syn-flood", "accept-queue-full", ...
  std::string_view id;
  /// What is seen, with numbers, and what it means.
  std::string what;
  /// What to do about it, with the names of the policy field and of Linux's setting.
  std::string cure;
};

/// A diagnosis in steps, so that a million connections do not stop a loop: call `step` until it
/// says false, then take the findings.
class diagnosis {
 public:
  /// `engine` must outlive it.
  explicit diagnosis(const host& engine, const diagnosis_thresholds& thresholds = {});
  diagnosis(diagnosis&&) noexcept;
  diagnosis& operator=(diagnosis&&) noexcept;
  ~diagnosis();

  /// Looks at up to `places` places of the engine's tables; false when it has seen them all. What
  /// it remembers of addresses is bounded.
  bool step(std::uint32_t places, time_point now);
  /// What there is to say, the most urgent first; nothing when all is well.
  std::vector<finding> findings() const;

 private:
  struct impl;
  std::unique_ptr<impl> impl_;
};

/// The whole diagnosis at once. It looks at what is there now, and at what listeners and counters
/// have counted since the start.
std::vector<finding> diagnose(const host& engine, time_point now,
                              const diagnosis_thresholds& thresholds = {});

}  // namespace runnel::tcp
