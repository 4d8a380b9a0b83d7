#pragma once

#include "runnel/tcp/shard_group.hpp"

// Sums over the shards of a host.

namespace runnel::tcp::detail {

void add(memory_table& sum, const memory_table& part) noexcept;
void add(shards_view& sum, const shards_view& part);
/// What one of them is.
shards_view look_at(const host& engine);

}  // namespace runnel::tcp::detail
