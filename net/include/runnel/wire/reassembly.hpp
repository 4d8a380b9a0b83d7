#pragma once

#include <runnel/wire/icmp.hpp>
#include <runnel/wire/ip.hpp>
#include <runnel/wire/packet.hpp>
#include <runnel/wire/time.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

namespace runnel::wire {

/// How much may wait for its missing fragments, and for how long. Linux's defaults.
struct reassembly_policy {
  /// net.ipv4.ipfrag_high_thresh and net.ipv6.ip6frag_high_thresh, here for both together: how much
  /// memory the held fragments may take, by truesize. Beyond it the oldest datagrams go, as before
  /// Linux 4.17; later ones refuse all fragments until the oldest time out. Zero refuses fragments.
  std::size_t high_thresh = std::size_t{4} << 20;
  /// net.ipv4.ipfrag_time.
  duration ipfrag_time = std::chrono::seconds(30);
  /// net.ipv6.ip6frag_time, which RFC 8200 section 4.5 fixes.
  duration ip6frag_time = std::chrono::seconds(60);
  /// How many pieces one datagram may come in: more than the 119 that 65,535 bytes take at an MTU
  /// of 576.
  std::uint16_t max_fragments = 128;
};

/// What became of a fragment.
enum class reassembly_verdict : std::uint8_t {
  /// It waits for the rest.
  kept,
  /// It was the last that was missing; or it was no fragment.
  complete,
  /// The same piece is there already; the newcomer is ignored.
  duplicate,
  /// It overlaps others, and the whole datagram went (RFC 5722, RFC 8200 section 4.5; Linux for
  /// IPv4
  /// too).
  overlap,
  /// It contradicts the others about where the datagram ends, and the whole datagram went.
  bad_end,
  /// More than `max_fragments`; the whole datagram went.
  too_many,
  /// It disagrees with the others whether congestion is signalled (RFC 3168 section 5.3); the whole
  /// datagram went.
  bad_ecn,
  /// A fragment without payload.
  empty,
  /// A fragment that is not the last and whose length is no multiple of eight.
  bad_length,
  /// With it the datagram would exceed 65,535 bytes; of IPv6, its payload would.
  oversized,
  /// A TCP header is not whole in the first fragment, or would be continued by this one (RFC 1858,
  /// RFC 3128).
  tiny,
  /// No memory, within `high_thresh` or from the packet's pool.
  no_memory,
};

/// The name of the verdict, as an identifier: "bad_length".
const char* to_string(reassembly_verdict verdict) noexcept;

/// What became of a fragment, and what is to do about it.
struct reassembly_result {
  /// What became of it.
  reassembly_verdict verdict{};
  /// With `complete`, the whole packet, to be parsed anew; nothing is known about its transport's
  /// checksum. With a problem, the fragment that it is about. Else empty.
  net::packet packet{};
  /// The ICMPv6 error that is owed to the fragment's source (RFC 8200 section 4.5), within the rate
  /// limit. Its body points into `packet`.
  std::optional<icmp_message> problem{};
};

/// Counters of one family, with Linux's names after "Ip" or "Ip6".
struct reassembly_counters {
  /// ReasmReqds: fragments that arrived.
  std::uint64_t reasm_reqds = 0;
  /// ReasmOKs: packets that became whole.
  std::uint64_t reasm_oks = 0;
  /// ReasmFails: datagrams that were given up, for whatever reason, and fragments that were refused
  /// for themselves.
  std::uint64_t reasm_fails = 0;
  /// ReasmTimeout: datagrams that were given up because their time was over.
  std::uint64_t reasm_timeout = 0;
  /// IpExtReasmOverlaps: datagrams that were given up because of an overlap.
  std::uint64_t reasm_overlaps = 0;
};

/// Makes whole packets of the fragments of both families (RFC 791 section 3.2, RFC 815, RFC 8200
/// section 4.5) within fixed memory.
///
/// Sans I/O: time is a parameter, and what is to be sent is told. It holds the packets it is given,
/// whose pool must outlive it, and a table of `max_datagrams` entries which it takes from the
/// system with the first fragment; per fragment it allocates from the packet's pool only. Fragments
/// belong together by source, destination and id, in IPv4 by protocol too. One hostile fragment
/// costs a look at `max_fragments` pieces at most, beside the chain that its hash leads to.
class reassembler {
 public:
  /// How many datagrams wait at most; for a further one the oldest goes.
  static constexpr std::size_t max_datagrams = 1024;

  /// A hash of the bytes that say what belongs together. Where strangers can send fragments it
  /// should be a keyed one, such as SipHash: otherwise they can make all look-ups walk one chain,
  /// of `max_datagrams` entries at most.
  using hash_function = std::uint64_t (*)(const void* context,
                                          std::span<const std::byte> key) noexcept;

  /// `context` is given to each call of `hash`. Without one, a fixed hash serves.
  explicit reassembler(const reassembly_policy& policy = {}, hash_function hash = nullptr,
                       const void* context = nullptr) noexcept;
  reassembler(const reassembler&) = delete;
  reassembler& operator=(const reassembler&) = delete;
  ~reassembler();

  /// Takes a packet whose header `parse_ip` read as `ip`. One that is no fragment comes back as it
  /// is, and counts nowhere. A fragment whose bytes are shared, or whose block is larger than it
  /// needs, is copied. While more than half of its pool is in use, others go for it, the oldest
  /// first, below `high_thresh` too.
  reassembly_result on_fragment(net::packet fragment, const ip_header& ip, time_point now) noexcept;

  /// When the next datagram's time is over; nothing while none waits.
  std::optional<time_point> deadline() const noexcept;

  /// Gives up one datagram after another whose time is over, and gives the first fragment of one as
  /// it arrived when ICMP time exceeded in reassembly is owed about it (RFC 1122 section 3.3.2, RFC
  /// 8200 section 4.5), within the rate limit. Empty once none is left: call it until then.
  net::packet poll_expired(time_point now) noexcept;

  /// What is in force.
  const reassembly_policy& policy() const noexcept { return policy_; }
  /// Holds at once: what exceeds a lower `high_thresh` goes, and times count from a datagram's
  /// first fragment.
  void set_policy(const reassembly_policy& policy) noexcept;

  /// How many datagrams wait.
  std::size_t datagrams() const noexcept { return count_; }
  /// The memory of the fragments held, by truesize; never above `high_thresh`.
  std::size_t used_bytes() const noexcept { return used_bytes_; }
  /// Of the family named; IPv4's for any other than v6.
  const reassembly_counters& counters(net::family of) const noexcept {
    return counters_[of == net::family::v6 ? 1 : 0];
  }

 private:
  struct datagram;
  struct table;
  struct piece;
  struct key;
  using index = std::uint16_t;

  std::uint64_t hash_of(const key& of) const noexcept;
  index find(const key& of, std::uint64_t hash) const noexcept;
  index create(const key& of, std::uint64_t hash, time_point now) noexcept;
  /// The oldest datagram but `kept`.
  index oldest(index kept) const noexcept;
  bool make_room(std::size_t bytes, index kept) noexcept;
  reassembly_verdict insert(index at, net::packet fragment, const piece& fresh) noexcept;
  /// Makes a packet of a datagram that is whole, or says why not, and forgets it.
  reassembly_result finish(index at) noexcept;
  /// Forgets a datagram and lets its packets go.
  void remove(index at) noexcept;
  /// The same, counted as a failure.
  void give_up(index at) noexcept;
  duration time_of(std::size_t family) const noexcept;

  reassembly_policy policy_;
  hash_function hash_;
  const void* context_;
  std::unique_ptr<table> table_;
  std::size_t used_bytes_ = 0;
  std::size_t count_ = 0;
  reassembly_counters counters_[2];
};

}  // namespace runnel::wire
