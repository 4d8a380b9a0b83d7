#pragma once

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "runnel/wire/address.hpp"

namespace runnel::testing {

/// A DNS server on loopback with a thread of its own: it knows what it is told, and can be silent.
class name_server {
 public:
  struct record {
    std::vector<net::address> addresses{};
    /// The response code: 0 no error, 2 SERVFAIL, 3 NXDOMAIN, 5 REFUSED; -1 never answers, -2
    /// answers with bytes that are no DNS.
    int code = 0;
  };

  explicit name_server(std::map<std::string, record> known) : known_(std::move(known)) {
    fd_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(fd_, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
    socklen_t size = sizeof at;
    REQUIRE(::getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &size) == 0);
    port_ = ntohs(at.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~name_server() {
    // Wakes the thread out of recvfrom with nothing to read.
    ::shutdown(fd_, SHUT_RDWR);
    thread_.join();
    ::close(fd_);
  }
  name_server(const name_server&) = delete;
  name_server& operator=(const name_server&) = delete;

  net::endpoint where() const { return {"127.0.0.1", port_}; }

 private:
  static constexpr std::size_t header_size = 12;

  static void put16(std::string& out, unsigned value) {
    out.push_back(static_cast<char>(value >> 8));
    out.push_back(static_cast<char>(value & 0xff));
  }

  // The name of the one question, and where the question ends; nothing when it is no question.
  static std::size_t read_question(const std::string& query, std::string& name) {
    std::size_t at = header_size;
    while (at < query.size() && query[at] != 0) {
      const auto length = static_cast<unsigned char>(query[at]);
      if (at + 1 + length >= query.size()) return 0;
      if (!name.empty()) name.push_back('.');
      name.append(query, at + 1, length);
      at += std::size_t{length} + 1;
    }
    return at + 5 <= query.size() ? at + 5 : 0;
  }

  std::string answer(const std::string& query) const {
    std::string name;
    const std::size_t end = read_question(query, name);
    if (end == 0) return {};
    const unsigned type = static_cast<unsigned char>(query[end - 3]);
    const auto found = known_.find(name);
    const record unknown{{}, 3};
    const record& what = found == known_.end() ? unknown : found->second;
    if (what.code == -1) return {};
    if (what.code == -2) return std::string(query, 0, 2) + "no";
    std::string records;
    unsigned count = 0;
    for (const net::address& one : what.addresses) {
      if ((type == 1) != one.is_v4()) continue;
      ++count;
      put16(records, 0xc00c);
      put16(records, type);
      put16(records, 1);
      put16(records, 0);
      put16(records, 60);
      put16(records, static_cast<unsigned>(one.bytes().size()));
      records.append(reinterpret_cast<const char*>(one.bytes().data()), one.bytes().size());
    }
    std::string out(query, 0, 2);
    put16(out, 0x8180U | static_cast<unsigned>(what.code));
    put16(out, 1);
    put16(out, count);
    put16(out, 0);
    put16(out, 0);
    return out.append(query, header_size, end - header_size) + records;
  }

  void serve() {
    for (;;) {
      std::string query(512, '\0');
      sockaddr_in from{};
      socklen_t size = sizeof from;
      const ssize_t got =
          ::recvfrom(fd_, query.data(), query.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
      if (got <= 0) return;
      query.resize(static_cast<std::size_t>(got));
      const std::string reply = answer(query);
      if (reply.empty()) continue;
      ::sendto(fd_, reply.data(), reply.size(), 0, reinterpret_cast<sockaddr*>(&from), size);
    }
  }

  std::map<std::string, record> known_;
  int fd_ = -1;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

}  // namespace runnel::testing
