#pragma once

#include <runnel/net/link.hpp>

namespace runnel::net::detail {

/// The base of links that wrap another one: everything goes through unchanged. The inner link must
/// outlive it.
class link_decorator : public link, protected link_client {
 public:
  link_decorator(const link_decorator&) = delete;
  link_decorator& operator=(const link_decorator&) = delete;

  const link_info& info() const noexcept override { return inner_->info(); }
  std::size_t receive(time_point now, std::span<packet> out) noexcept override {
    return inner_->receive(now, out);
  }
  send_status send(time_point now, const tx_packet& packet) noexcept override {
    return inner_->send(now, packet);
  }
  time_point deadline() const noexcept override { return inner_->deadline(); }
  void disable_offload() noexcept override { inner_->disable_offload(); }
  void attach(loop& owner, link_client& client) override {
    owner_ = &owner;
    client_ = &client;
    inner_->attach(owner, *this);
  }
  void detach() noexcept override {
    inner_->detach();
    owner_ = nullptr;
    client_ = nullptr;
  }
  packet_pool& pool() noexcept override { return inner_->pool(); }
  link_counters counters() const noexcept override { return inner_->counters(); }

 protected:
  explicit link_decorator(link& inner) noexcept : inner_(&inner) {}
  ~link_decorator() override {
    if (client_ != nullptr) inner_->detach();
  }

  link& inner() const noexcept { return *inner_; }
  /// The loop and client of an attached link; null otherwise.
  loop* owner() const noexcept { return owner_; }
  link_client* client() const noexcept { return client_; }

  void on_link_ready() noexcept override { client_->on_link_ready(); }
  void on_link_error(std::error_code why) noexcept override { client_->on_link_error(why); }

 private:
  link* inner_;
  loop* owner_ = nullptr;
  link_client* client_ = nullptr;
};

}  // namespace runnel::net::detail
