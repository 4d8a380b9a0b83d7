#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "connection.hpp"
#include "peer_cache.hpp"
#include "secret.hpp"

// TCP Fast Open (RFC 7413): text travels with the SYN of a client that shows a cookie which it was
// given before. The behaviour is Linux's, its cookies included, so that machines of both kinds can
// share a key.

namespace runnel::tcp::detail {

struct core;
struct segment;
struct listener_entry;

// ---- fastopen_cookie.cpp: cookies as such

/// What Linux and we make; those of other servers have 4 to 16 bytes.
using fastopen_cookie = std::array<std::byte, 8>;

/// The cookie of a client at `remote` for the server at `local`: SipHash-2-4 of both addresses, as
/// in Linux, where it is named by net.ipv4.tcp_fastopen_key.
fastopen_cookie make_fastopen_cookie(const secret_key& key, const net::address& remote,
                                     const net::address& local) noexcept;

/// Which key a cookie was made with.
enum class fastopen_match : std::uint8_t { none, current, previous };
fastopen_match check_fastopen_cookie(const key_ring& keys, std::span<const std::byte> cookie,
                                     const net::address& remote,
                                     const net::address& local) noexcept;

// ---- fastopen_server.cpp

/// What becomes of the Fast Open option of a SYN that was let in.
struct fastopen_answer {
  /// Its text is taken: the connection begins here.
  bool opens = false;
  /// SYN-ACK carries the client's cookie.
  bool gives_cookie = false;
};
fastopen_answer judge_fastopen(core& host, listener_entry& listener, const segment& syn);

/// The cookie of the peer, written into `host.fastopen_option`.
std::span<const std::byte> fastopen_cookie_for(core& host, const flow_key& key) noexcept;

/// How many children may have taken text before their handshake is done; 0 is no Fast Open.
std::uint32_t fastopen_limit(const core& host, const listener_entry& listener) noexcept;

/// The third segment, or anything that shows that the client has our SYN-ACK, for a child that
/// began with its SYN. False when the segment is to be dropped.
bool finish_fastopen(core& host, connection& c, const segment& seg);
/// SYN-ACK of such a child was not answered in time.
void on_fastopen_synack_timeout(core& host, connection& c);
/// It is over, or its handshake is done: its place in the listener's queue is free.
void leave_fastopen_queue(core& host, connection& c, bool reset) noexcept;

// ---- fastopen_client.cpp

/// What a server was found to do with Fast Open.
struct fastopen_path {
  std::array<std::byte, 16> cookie{};
  std::uint8_t cookie_bytes = 0;
  /// The place in the host's table of the address that the cookie is for.
  std::uint16_t local_index = 0;
  /// The server's MSS option; 0 while it is not known.
  std::uint16_t mss = 0;
};
using fastopen_cache = peer_cache<fastopen_path>;

/// When Fast Open is paused, because the path was seen to swallow it.
struct fastopen_pause {
  std::uint32_t times = 0;
  std::uint64_t since_ms = 0;
};

/// What the first SYN of a connection carries besides its usual options.
struct fastopen_syn {
  /// The option, empty to ask for a cookie; nothing for none.
  std::optional<std::span<const std::byte>> option{};
  /// Bytes of the send queue that go with it.
  std::uint32_t text_bytes = 0;
};

/// Whether the SYN is to wait for text, which may go with it. Decides also whether it asks for a
/// cookie.
bool begin_fastopen(core& host, connection& c) noexcept;
/// Sends the SYN that waits for text.
void release_syn(core& host, connection& c);
fastopen_syn plan_fastopen_syn(core& host, const connection& c) noexcept;
/// SYN-ACK has come: remembers its cookie, and what of the text it acknowledges. `c.snd_.una` is
/// still ISS.
void on_fastopen_synack(core& host, connection& c, const segment& seg);
/// The text of our SYN waits for the handshake after all.
void take_back_syn_text(connection& c) noexcept;
/// Several time-outs in a row may be the work of a middlebox that swallows Fast Open.
void suspect_fastopen_path(core& host, const connection& c, bool given_up) noexcept;
/// A connection that has tried Fast Open ends; what it met tells of the path.
void judge_fastopen_path(core& host, const connection& c) noexcept;

}  // namespace runnel::tcp::detail
