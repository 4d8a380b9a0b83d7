#pragma once

#include "runnel/loop.hpp"
#include "runnel/tcp/engine/host.hpp"

namespace runnel::tcp::detail {

/// From getrandom(2). Throws `std::system_error` where the kernel refuses.
secret_key random_key();
host_keys random_keys();
/// On a simulated loop from its seed.
secret_key random_key(loop& owner);
host_keys random_keys(loop& owner);
/// Puts the keys that several machines share in their places. Both keys of one use are theirs where
/// one of them is given.
void adopt(host_keys& keys, const policy_keys& shared);

}  // namespace runnel::tcp::detail
