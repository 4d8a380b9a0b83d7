#include "keys.hpp"

#include <sys/random.h>

#include <cerrno>
#include <system_error>

namespace runnel::tcp::detail {

namespace {

void share(secret_key& key, std::optional<secret_key>& previous,
           const std::optional<secret_key>& shared,
           const std::optional<secret_key>& shared_previous) {
  if (!shared && !shared_previous) return;
  key = shared.value_or(key);
  previous = shared_previous;
}

template <class Make>
host_keys make_keys(Make make) {
  host_keys keys;
  for (auto* key : {&keys.lookup, &keys.isn, &keys.tuple, &keys.cookie, &keys.fastopen}) {
    *key = make();
  }
  return keys;
}

}  // namespace

secret_key random_key() {
  secret_key key{};
  auto* at = reinterpret_cast<std::byte*>(key.data());
  std::size_t missing = sizeof(key);
  while (missing > 0) {
    const ssize_t got = ::getrandom(at, missing, 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      throw std::system_error(errno, std::generic_category(),
                              "runnel: getrandom(2) gave no keys for the TCP stack");
    }
    at += got;
    missing -= static_cast<std::size_t>(got);
  }
  return key;
}

host_keys random_keys() {
  return make_keys([] { return random_key(); });
}

secret_key random_key(loop& owner) {
  if (owner.simulated()) return {owner.random()(), owner.random()()};
  return random_key();
}

host_keys random_keys(loop& owner) {
  return make_keys([&] { return random_key(owner); });
}

void adopt(host_keys& keys, const policy_keys& shared) {
  share(keys.cookie, keys.cookie_previous, shared.cookie_key, shared.cookie_key_previous);
  share(keys.fastopen, keys.fastopen_previous, shared.fastopen_key, shared.fastopen_key_previous);
}

}  // namespace runnel::tcp::detail
