#pragma once

#include "core.hpp"

namespace runnel::tcp::detail {

// ports.cpp: which local port a connection of ours gets, and what the maps of the places that are
// short of ports are told.

/// A local port, and the TIME-WAIT entry that has it now if any.
struct port_choice {
  std::uint16_t port = 0;
  std::uint32_t time_wait = no_index;
};
/// A local port for the flow: a free one, or else one out of TIME-WAIT where the policy allows it;
/// port 0 when none is left. However full the range is, it takes few look-ups.
port_choice choose_port(core& host, const flow_key& key) noexcept;
/// The flow has its port by name: the map of its place is to learn of it before it is needed.
void note_port_named(core& host, const flow_key& key) noexcept;
/// The flow has come, has entered TIME-WAIT, has gone.
void note_port_taken(core& host, const flow_key& key) noexcept;
void note_port_waiting(core& host, const flow_key& key) noexcept;
void note_port_free(core& host, const flow_key& key) noexcept;

}  // namespace runnel::tcp::detail
