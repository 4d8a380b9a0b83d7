#include "runnel/net/link_pair.hpp"

#include "runnel/loop.hpp"
#include "runnel/net/detail/packet_queue.hpp"

namespace runnel::net {

class link_pair::end final : public link {
 public:
  end(const link_pair_options& options, packet_pool& pool, std::string name)
      : options_(options), pool_(&pool) {
    info_.name = std::move(name);
    info_.mtu = options.mtu;
  }
  void connect(end& peer) noexcept { peer_ = &peer; }
  void sever() noexcept;

  const link_info& info() const noexcept override { return info_; }
  std::size_t receive(time_point now, std::span<packet> out) noexcept override;
  send_status send(time_point now, const tx_packet& packet) noexcept override;
  time_point deadline() const noexcept override;
  void attach(loop& owner, link_client& client) override;
  void detach() noexcept override;
  packet_pool& pool() noexcept override { return *pool_; }
  link_counters counters() const noexcept override { return counters_; }

 private:
  static time_point due_of(const packet_buffer& packet) noexcept {
    return time_point{duration{static_cast<duration::rep>(packet.tag)}};
  }
  void notify() noexcept;

  link_pair_options options_;
  link_info info_;
  packet_pool* pool_;
  end* peer_ = nullptr;
  loop* loop_ = nullptr;
  link_client* client_ = nullptr;
  detail::packet_queue arriving_;
  link_counters counters_;
  /// `receive` found nothing more: the next packet is told to the client.
  bool drained_ = true;
  /// `send` found the peer's queue full: the client is told when there is room.
  bool blocked_ = false;
  bool severed_ = false;
};

void link_pair::end::notify() noexcept {
  if (client_ != nullptr) client_->on_link_ready();
  if (loop_ != nullptr) loop_->request_turn();
}

std::size_t link_pair::end::receive(time_point now, std::span<packet> out) noexcept {
  std::size_t count = 0;
  while (count < out.size() && !arriving_.empty() && due_of(arriving_.front()) <= now) {
    out[count] = arriving_.pop();
    out[count]->tag = 0;
    ++counters_.rx_packets;
    counters_.rx_bytes += out[count].size();
    ++count;
  }
  if (count < out.size()) drained_ = true;
  if (count != 0 && std::exchange(peer_->blocked_, false)) peer_->notify();
  return count;
}

send_status link_pair::end::send(time_point now, const tx_packet& packet) noexcept {
  if (severed_) return send_status::gone;
  if (packet.size > options_.mtu) {
    ++counters_.tx_dropped;
    return send_status::dropped;
  }
  if (peer_->arriving_.size() >= options_.queue_packets) {
    ++counters_.tx_blocked;
    blocked_ = true;
    return send_status::would_block;
  }
  net::packet copy = detail::gather(*pool_, packet);
  if (!copy) {
    ++counters_.tx_dropped;
    return send_status::dropped;
  }
  copy->tag = static_cast<std::uint64_t>((now + options_.latency).time_since_epoch().count());
  ++counters_.tx_packets;
  counters_.tx_bytes += packet.size;
  peer_->arriving_.push(std::move(copy));
  // With latency the peer's deadline says when to come.
  if (options_.latency == duration::zero() && std::exchange(peer_->drained_, false)) {
    peer_->notify();
  }
  return send_status::sent;
}

time_point link_pair::end::deadline() const noexcept {
  return arriving_.empty() ? time_point::max() : due_of(arriving_.front());
}

void link_pair::end::attach(loop& owner, link_client& client) {
  loop_ = &owner;
  client_ = &client;
  notify();
  if (severed_) client.on_link_error(std::make_error_code(std::errc::no_such_device));
}

void link_pair::end::detach() noexcept {
  loop_ = nullptr;
  client_ = nullptr;
}

void link_pair::end::sever() noexcept {
  if (std::exchange(severed_, true)) return;
  arriving_.clear();
  if (client_ != nullptr) {
    client_->on_link_error(std::make_error_code(std::errc::no_such_device));
  }
  notify();
}

struct link_pair::state {
  explicit state(const link_pair_options& options)
      : pool(options.pool_bytes), first(options, pool, "pair0"), second(options, pool, "pair1") {
    first.connect(second);
    second.connect(first);
  }

  packet_pool pool;
  end first;
  end second;
};

link_pair::link_pair(const link_pair_options& options) : state_(std::make_unique<state>(options)) {}

link_pair::~link_pair() = default;

link& link_pair::first() noexcept {
  return state_->first;
}
link& link_pair::second() noexcept {
  return state_->second;
}

void link_pair::sever() noexcept {
  state_->first.sever();
  state_->second.sever();
}

}  // namespace runnel::net
