#include "runnel/tcp/shard_group.hpp"

#include <stdexcept>
#include <string>

#include "keys.hpp"
#include "runnel/detail/check.hpp"
#include "runnel/tcp/error_code.hpp"
#include "shard_hub.hpp"

namespace runnel::tcp {

namespace {

constexpr std::uint32_t most_shards = 256;

std::shared_ptr<detail::shard_hub> make_hub(std::uint32_t count,
                                            const shard_group_options& options) {
  if (count < 1 || count > most_shards) {
    throw std::invalid_argument("a shard group has 1 to " + std::to_string(most_shards) +
                                " shards; it was to have " + std::to_string(count));
  }
  return std::make_shared<detail::shard_hub>(count, options);
}

}  // namespace

shard_group::shard_group(std::uint32_t count, const shard_group_options& options)
    : hub_(make_hub(count, options)) {}

shard_group::~shard_group() = default;

std::uint32_t shard_group::size() const noexcept {
  return hub_->size();
}

shard shard_group::seat(std::uint32_t index) const {
  runnel::detail::check(index < hub_->size(),
                        "runnel: shard_group::seat was asked for a place that the group does not "
                        "have; they are counted from 0.");
  return {hub_, index};
}

void shard_group::rotate_cookie_key() {
  hub_->rotate_cookie_key(detail::random_key());
}

void shard_group::set_cookie_keys(const secret_key& current, const secret_key& previous) {
  hub_->set_cookie_keys(current, previous);
}

void shard_group::rotate_fastopen_key() {
  hub_->rotate_fastopen_key(detail::random_key());
}

void shard_group::set_fastopen_keys(const secret_key& current, const secret_key& previous) {
  hub_->set_fastopen_keys(current, previous);
}

result<void> shard_group::set_policy(const policy_set& all) {
  if (!check(all).empty()) return to_error_code(error::invalid_argument);
  hub_->set_policies(all);
  return {};
}

}  // namespace runnel::tcp
