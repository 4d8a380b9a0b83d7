#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runnel/tcp/engine/counters.hpp"
#include "runnel/tcp/engine/error.hpp"
#include "runnel/tcp/engine/handle.hpp"
#include "runnel/tcp/engine/policy.hpp"
#include "runnel/tcp/engine/policy_set.hpp"
#include "runnel/tcp/engine/snapshot.hpp"
#include "runnel/wire/address.hpp"
#include "runnel/wire/owned_buffer.hpp"
#include "runnel/wire/packet.hpp"
#include "runnel/wire/time.hpp"

namespace runnel::tcp {

namespace detail {
struct core;
}

/// Secrets that an outsider must not guess, one for each use. Fill them from the system's random
/// source; a fixed value is for reproducible tests only. Nothing reads them back.
struct host_keys {
  /// Places tuples in the look-up table.
  secret_key lookup{};
  /// Initial sequence numbers (RFC 6528).
  secret_key isn{};
  /// Timestamp offsets (RFC 7323 §7.1) and local ports (RFC 6056).
  secret_key tuple{};
  /// SYN cookies; machines with the same one accept each other's. `host::rotate_cookie_key` changes
  /// it.
  secret_key cookie{};
  /// Fast Open cookies (net.ipv4.tcp_fastopen_key; RFC 7413), the same.
  secret_key fastopen{};
  /// The ones before these, which only check, where there are any.
  std::optional<secret_key> cookie_previous{};
  /// The same for Fast Open cookies.
  std::optional<secret_key> fastopen_previous{};
};

/// Which one of several hosts this is that answer for the same addresses together, each with a part
/// of the connections, so that each may have a core of its own. All are made alike but for `index`.
struct shard_options {
  /// From 0.
  std::uint32_t index = 0;
  /// 1 to 256.
  std::uint32_t count = 1;

  friend constexpr bool operator==(const shard_options&, const shard_options&) noexcept = default;
};

/// A packet that is another shard's.
struct stray {
  /// The packet as it arrived.
  net::packet packet{};
  /// Whose it is.
  std::uint32_t shard = 0;
};

/// What a host is made of.
struct host_options {
  /// The addresses it answers for; 1 to 65,535.
  std::vector<net::address> addresses{};
  /// What holds for the whole host.
  stack_policy policy{};
  /// What every listener starts from; its `connection` is not looked at, the next field is.
  listener_policy listener{};
  /// What every connection starts from.
  connection_policy connection{};
  /// The secrets. A host never makes its own: see `tcp::stack` for getrandom(2).
  host_keys keys{};
  /// What `now` lacks of the time that machines with the same keys agree on, to some seconds: for
  /// instance the wall clock's time since 1970 less `now`, taken when the host is made. SYN cookies
  /// count in it. A host that is alone needs none.
  duration clock_offset{};
  /// The link's largest IP packet.
  std::uint32_t mtu = 1500;
  /// The link completes checksums: leave them `checksum_state::partial`.
  bool checksum_offload_tx = false;
  /// Believe the offload facts of received packets. Only for links whose other end is this
  /// machine's kernel or this process.
  bool checksum_offload_rx = false;
  /// The most payload bytes that the link cuts into segments itself, as `link_info` says it; 0 when
  /// it cannot. No packet exceeds 65,535 bytes, whatever this says.
  std::uint32_t gso_max_bytes = 0;
  /// Alone, or one of several with the same addresses in the same order, the same keys, and the
  /// same local ports in the policy.
  ///
  /// A connection belongs to the shard that its ends say: where the local port is one of the policy
  /// as it is when the host is made, that is the port modulo the number of shards, so that
  /// `connect` has every so manieth port to choose from; else it is a keyed hash of both ends. A
  /// listener is opened on every shard and has on each its own queues and backlog; on a port of
  /// that range all its connections are one shard's. These bounds of the policy are for all shards
  /// together, and each has an equal part: `max_tw_buckets`, `max_orphans`, `orphan_memory`,
  /// `memory_limit`, `ipfrag_high_thresh`, `reject_limit`, `challenge_ack_limit`, both per peer,
  /// and `failed_cookie_limit`. What is learned of paths and peers each learns itself.
  shard_options shard{};
};

/// What `connect` may be told besides where to.
struct connect_options {
  /// Local address and port. Without an address it is the host's first one of the family. With port
  /// 0 the host chooses a port that is free for this destination (RFC 6056 algorithm 4; in a few
  /// steps however many are taken), or one out of TIME-WAIT as `tw_reuse` says. A named port may be
  /// in TIME-WAIT if its timestamps protect the new connection, as in Linux. Of several shards it
  /// must be `host::owner_of` the connection, or it is `error::address_not_available`.
  net::endpoint local{};
  /// What the connection itself sets; the rest is the host's.
  connection_policy policy{};
};

/// One TCP/IP host as a pure object: no system call, no clock, no thread, no random source of its
/// own. The same inputs give the same bytes, on every run.
///
/// There are four kinds of methods.
/// - getters: `snapshot`, `counters`, `readable_bytes`, ...
/// - `on_*`: what arrived. `on_packets` for a burst, `on_packet` for a packet alone, `on_timeout`
///   when `poll_timeout` has passed.
/// - commands: `listen`, `connect`, `send`, ...; none blocks; each says what it took or why not.
/// - `poll_*`: what to do next. After any `on_*` or command, call `poll_event` until it gives
///   nothing, then `poll_transmit` until it gives nothing, then ask `poll_timeout` when to come
///   back. Feeding a burst of packets before the polls is what merges acknowledgements and lets an
///   answer carry them.
///
/// `now` must never go back. One thread at a time. Handles stay valid until `release` (connections)
/// or `close_listener`.
class host {
 public:
  /// Throws `std::invalid_argument` with one sentence when an address or a policy value is bad.
  explicit host(host_options options);
  host(host&&) noexcept;
  host& operator=(host&&) noexcept;
  ~host();

  // ---- what arrived -------------------------------------------------------------------------

  /// Takes one IP packet. Its buffer is given back at once, or kept while its payload is unread.
  void on_packet(net::packet packet, time_point now);
  /// Takes packets that have come together, as `on_packet` takes each in turn; afterwards each of
  /// them is empty. One that is empty before counts as discarded for want of memory. With many
  /// connections it is faster: what the next packets need is fetched from memory meanwhile. One of
  /// several shards is given 256 at most (`poll_stray`).
  void on_packets(std::span<net::packet> burst, time_point now);
  /// Runs every timer that is due.
  void on_timeout(time_point now);
  /// Takes a packet that another shard's `poll_stray` has given for this one.
  void on_stray(net::packet packet, time_point now);
  /// What `poll_stray` gave could not be brought to its shard: it is lost as on the way, and
  /// counted.
  void on_stray_lost() noexcept;

  // ---- what to do next ----------------------------------------------------------------------

  /// The next packet to send; null when there is none. Valid until the next call of any method.
  /// Connections with something to say take turns, a packet each.
  const net::tx_packet* poll_transmit(time_point now);
  /// When `on_timeout` must be called next; `time_point::max()` when no timer is armed. It may be
  /// early (then nothing fires), never late.
  time_point poll_timeout() const noexcept;
  /// The next report; false when there is none. A socket is reported once however much happened.
  bool poll_event(socket_event& out) noexcept;
  /// The next packet that has come here and is another shard's, to be brought to its `on_stray`;
  /// false when there is none. To be asked after every burst of up to 256 packets. Nothing here has
  /// answered or counted it, but for RunnelShardHanded.
  bool poll_stray(stray& out) noexcept;

  // ---- commands: listeners ------------------------------------------------------------------

  /// Opens a listener; `local.address` may be `address::any`. Port 0 takes a free one.
  outcome<socket_id> listen(net::endpoint local, const listener_policy& policy,
                            std::uint64_t token);
  /// Takes the connection that has waited longest; `error::would_block` when none waits. Events
  /// that happened before are not reported again: look at `readiness`.
  outcome<socket_id> accept(socket_id listener, std::uint64_t token);
  /// Changes the backlog; it holds at once (listen(2) again).
  error set_backlog(socket_id listener, std::uint32_t backlog);
  /// Replaces what the listener has set; it holds at once for what comes, and connections that it
  /// has made keep what they have. `error::invalid_argument`: `check(policy)` says which field.
  error set_listener_policy(socket_id listener, const listener_policy& policy);
  /// Closes it: waiting connections are reset, half-open entries are forgotten. Where there are
  /// very many of the former, `poll_transmit` goes on with it.
  error close_listener(socket_id listener, time_point now);

  // ---- commands: the host -------------------------------------------------------------------

  /// Replaces the policy of the host; it holds at once. `memory_limit` keeps its value.
  /// `error::invalid_argument`: `check(policy)` says which field.
  error set_policy(const stack_policy& policy);
  /// Replaces what listeners and connections use where they set nothing; it holds at once, also for
  /// those that exist. A field left unset goes back to its built-in value.
  error set_listener_defaults(const listener_policy& policy);
  /// Where keepalive or the user timeout change, `set_connection_defaults` walks all connections to
  /// move their timers.
  error set_connection_defaults(const connection_policy& policy);
  /// The three together, or nothing of it. Its keys are not looked at.
  error set_policies(const policy_set& policy);
  /// Sets one value of them by its name, which may be a sysctl of Linux's: see `tcp::set`. Empty
  /// when it is done; else one sentence that says why not. "cookie_key" is `rotate_cookie_key` with
  /// one key and `set_cookie_keys` with two, "fastopen_key" the same; neither has a "default".
  [[nodiscard]] std::string set(std::string_view name, std::string_view value);
  /// The same for what a listener sets itself, by name or by Linux's name of a socket option.
  [[nodiscard]] std::string set_listener(socket_id listener, std::string_view name,
                                         std::string_view value);

  /// The key of SYN cookies from now on; those of the key before it are good for as long as they
  /// would have been, and the one before that is overwritten. The key that is current already
  /// changes nothing. No key can be read back.
  void rotate_cookie_key(const secret_key& fresh);
  /// Both keys at once, as an operator hands them to several machines: the first makes cookies,
  /// both check them. A key that some machines use already and others do not yet is given to the
  /// latter as the second. A machine behind a load balancer accepts the cookie that another one
  /// made when the shared time (`host_options::clock_offset`) and the receive buffer agree too, and
  /// its own listener is at `syncookies::always`, or has overflowed itself. With a full accept
  /// queue it resets such a peer rather than park it, if that has timestamps.
  void set_cookie_keys(const secret_key& current, const secret_key& previous);
  /// The key of Fast Open cookies from now on, as `rotate_cookie_key` does it (RFC 7413 §4.1.2).
  /// Clients keep such cookies for days: the previous key's are good until the next rotation, where
  /// Linux forgets them when net.ipv4.tcp_fastopen_key is given one key.
  void rotate_fastopen_key(const secret_key& fresh);
  /// Both keys at once (net.ipv4.tcp_fastopen_key with two): the first makes cookies, both check
  /// them, so that machines behind one address accept each other's, also while a new key is on its
  /// way to them.
  void set_fastopen_keys(const secret_key& current, const secret_key& previous);

  // ---- commands: connections ----------------------------------------------------------------

  /// Sends SYN, during the host's quiet time not before its end.
  /// `error::address_not_available`: no local port is left towards this destination, which
  /// RunnelLocalPortsExhausted counts. `events::connected` or `events::closed` follows.
  ///
  /// With `connection_policy::fastopen_connect` and a cookie of the server (RFC 7413),
  /// `events::connected` follows at once, and SYN waits for the first `send`, whose bytes go with
  /// it. That the server refuses or is silent is then told by the calls that follow. A server that
  /// takes the bytes may see them twice, if the SYN is duplicated on the way: they should ask for
  /// nothing that must not happen twice.
  outcome<socket_id> connect(net::endpoint remote, const connect_options& options,
                             std::uint64_t token, time_point now);
  /// Copies bytes into the send queue, as many as there is room for: while what it holds is less
  /// than the send buffer, and what waits to be sent for the first time less than
  /// `connection_policy::notsent_lowat`. `error::would_block` when there is none. After less than
  /// all was taken, or little room is left, `events::writable` comes when a third of the buffer is
  /// free and less than half of `notsent_lowat` waits, which is also what `readiness` says. Without
  /// such an answer of `send`, `send_owned` or `send_room` no such event comes.
  outcome<std::size_t> send(socket_id connection, std::span<const std::byte> bytes, time_point now);
  /// Copies received bytes out. Success with 0 is the end of the stream.
  outcome<std::size_t> receive(socket_id connection, std::span<std::byte> into, time_point now);
  /// The same into several places in order (readv(2)).
  outcome<std::size_t> receive(socket_id connection, std::span<const std::span<std::byte>> into,
                               time_point now);
  /// Queues the front of `from` where it lies and takes it out of there; a short one, up to 1 KiB,
  /// or one in a packet whose pool is scarce, is copied. The bytes of a packet that is not copied
  /// are taken together or not at all, everything else as far as there is room. The share is
  /// dropped when the last of the bytes is acknowledged or the connection is over; nothing in
  /// flight refers to them then, since what `poll_transmit` gives is valid until the next call
  /// only.
  ///
  /// It counts against the send buffer and `memory_limit`: a packet with all its memory, also
  /// where another queue counts it too, anything else by the bytes that are queued. A packet must
  /// not outlive its pool, so a connection that has packets of a link must be over, or this host
  /// gone, before that link goes.
  outcome<std::size_t> send_owned(socket_id connection, net::owned_buffer& from, time_point now);
  /// How many bytes of memory `send` and `send_owned` may take now: more than 0, or
  /// `error::would_block`, and then `events::writable` follows, or why they would fail.
  outcome<std::size_t> send_room(socket_id connection, time_point now);
  /// An empty packet of the host's pool to be filled and given to `send_owned`, with room for up to
  /// `bytes`: as much as goes well with the connection's send buffer. Null when the pool is
  /// exhausted. It must be gone before the host.
  net::packet allocate(socket_id connection, std::size_t bytes);
  /// Shares the first received bytes without a copy: up to `most` of them, in up to `into.size()`
  /// buffers, which must be empty. Gives the number of buffers; success with 0 is the end of the
  /// stream. The bytes are still unread and count, against the receive buffer, the window and
  /// `memory_limit`, until `consume` or `receive` takes them: who is slow to do so closes the
  /// window. What is held of them after that is bounded by the pools that they are in, of which
  /// the host's own counts against `memory_limit`. Buffers may outlive the connection but not the
  /// host, nor the link.
  outcome<std::size_t> borrow(socket_id connection, std::span<net::owned_buffer> into,
                              std::size_t most, time_point now);
  /// Drops the first received bytes, up to `bytes` of them, and gives how many there were.
  outcome<std::size_t> consume(socket_id connection, std::size_t bytes, time_point now);
  /// Sends the SYN that Fast Open keeps until there is text to go with it. `send`, `receive` and
  /// `shutdown` do it too; it is for who waits for `events::readable` without having asked.
  error start(socket_id connection, time_point now);
  /// Sends FIN behind what is queued (shutdown(2) with SHUT_WR).
  error shutdown(socket_id connection, time_point now);
  /// Starts the end, as the policy says; the handle stays valid, `events::drained` tells when
  /// everything and FIN are acknowledged, and `events::closed` when it is over. A second call does
  /// nothing, unless it is `close_mode::abort`.
  error close(socket_id connection, time_point now);
  /// The same in another mode.
  error close(socket_id connection, close_mode mode, time_point now);
  /// The same with another time than `connection_policy::close_time`: 0 to a day.
  error close(socket_id connection, close_mode mode, std::chrono::milliseconds time,
              time_point now);
  /// Gives the handle back. A connection that is not yet over goes on alone; when it was not closed
  /// before, that is counted, and it is closed as its policy says. Beyond
  /// `stack_policy::max_orphans` and `orphan_memory` it is reset.
  void release(socket_id connection, time_point now);
  /// Sends small segments at once from now on (TCP_NODELAY).
  error set_nodelay(socket_id connection, bool on);
  /// Holds small segments back until there is a full one, until it is taken back, or for 200 ms
  /// (TCP_CORK).
  error set_cork(socket_id connection, bool on);
  /// Acknowledges the next segments at once, what is owed now included; or lets acknowledgements
  /// wait for an answer to ride on. What arrives later may change that again (TCP_QUICKACK).
  error set_quickack(socket_id connection, bool on);
  /// Whether everything sent, and FIN where it was said, is acknowledged or the connection is over.
  /// When not, `events::drained` or `events::closed` will tell.
  bool drained(socket_id connection);
  /// Replaces what the connection itself has set; it holds at once, except for `max_segment`
  /// and `fastopen_connect`, which stay as the connection was made with them.
  /// `error::invalid_argument`: `check(policy)` says which field.
  error set_policy(socket_id connection, const connection_policy& policy);
  /// Sets one value that the connection itself has, by name or by Linux's name of a socket option;
  /// see `tcp::set`. What is fixed when a connection is made, as `max_segment` is, is refused.
  /// "TCP_QUICKACK" is `set_quickack`, and cannot be read back.
  [[nodiscard]] std::string set(socket_id connection, std::string_view name,
                                std::string_view value);
  /// Changes what later events of this socket carry.
  error set_token(socket_id socket, std::uint64_t token);

  // ---- getters ------------------------------------------------------------------------------

  /// What poll(2) would say now.
  events readiness(socket_id connection) const noexcept;
  /// The pending error, as the next `receive` or `send` would tell it.
  error pending_error(socket_id connection) const noexcept;
  /// The connection as it stands; `error::bad_handle` when it is gone.
  outcome<tcp::snapshot> snapshot(socket_id connection) const;
  /// Of that the ends alone, for who asks often; both without address when it is gone.
  connection_ends ends(socket_id connection) const noexcept;
  /// Of that only how it ended; `end_reason::none` while it has not, or when it is gone.
  end_reason ended(socket_id connection) const noexcept;
  /// Of that only what nobody has acknowledged, and when it has ended never will; 0 when it is
  /// gone.
  std::uint32_t unacked_bytes(socket_id connection) const noexcept;
  /// The listener as it stands; `error::bad_handle` when it is gone.
  outcome<listener_snapshot> listener(socket_id listener) const;
  /// Every connection, half-open and TIME-WAIT ones too. Walks them all: for people, not for code.
  void for_each_connection(const std::function<void(const tcp::snapshot&)>& visit) const;
  /// The same in steps, so that millions need not be walked at once: looks at up to `places` places
  /// (1 at least) from `from` on and moves it; false when the walk is over. What comes, goes or
  /// changes its state between the steps may be missed or be seen twice.
  bool walk_connections(walk_position& from, std::uint32_t places,
                        const std::function<void(const tcp::snapshot&)>& visit) const;
  /// The same without half-open and TIME-WAIT entries, of which `memory` tells how many there are.
  bool walk_full_connections(walk_position& from, std::uint32_t places,
                             const std::function<void(const tcp::snapshot&)>& visit) const;
  /// Every listener.
  void for_each_listener(const std::function<void(const listener_snapshot&)>& visit) const;
  /// As `walk_connections`; only the position's index is used.
  bool walk_listeners(walk_position& from, std::uint32_t places,
                      const std::function<void(const listener_snapshot&)>& visit) const;
  /// What was counted since the host was made; valid as long as the host is.
  const tcp::counters& counters() const noexcept;
  /// What the host holds now. Cheap.
  memory_table memory() const noexcept;
  /// Connections that have an owner or something left to deliver: not half-open ones, not those
  /// that are over or in TIME-WAIT, not released ones in FIN-WAIT-2. Cheap.
  std::size_t busy_count() const noexcept;
  /// What is in force for the whole host.
  const stack_policy& policy() const noexcept;
  /// What listeners and connections use where they set nothing; every field is set.
  const listener_policy& listener_defaults() const noexcept;
  /// The same for connections.
  const connection_policy& connection_defaults() const noexcept;
  /// What is in force for this connection: its own where set, else the default; every field is set.
  /// Of what is fixed when a connection is made (`max_segment`, `fastopen_connect`) it is what it
  /// was made with, whatever is set since then. `receive_buffer` is 0 where it is tuned, and
  /// `send_buffer` its present size.
  outcome<connection_policy> connection_settings(socket_id connection) const;
  /// What is in force for this listener: its own where set, else the default; every field is set.
  outcome<listener_policy> listener_settings(socket_id listener) const;
  /// `policy`, `listener_defaults` and `connection_defaults`; no keys.
  policy_set policies() const;
  /// What is in force, as text: see `tcp::get`. Nothing when there is no such name or socket.
  std::optional<std::string> get(std::string_view name) const;
  /// The same of one listener.
  std::optional<std::string> get_listener(socket_id listener, std::string_view name) const;
  /// The same of one connection.
  std::optional<std::string> get(socket_id connection, std::string_view name) const;
  /// The addresses it answers for, as they were given.
  std::span<const net::address> addresses() const noexcept;
  /// Which of how many this is.
  shard_options shard() const noexcept;
  /// The shard that a connection between these ends belongs to, whether or not there is one.
  std::uint32_t owner_of(const net::endpoint& local, const net::endpoint& remote) const noexcept;
  /// The part that this host has of a bound for all shards together, at least 1; 0 stays 0.
  std::size_t share_of(std::size_t limit) const noexcept;

 private:
  std::unique_ptr<detail::core> core_;
};

}  // namespace runnel::tcp
