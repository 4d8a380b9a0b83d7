#include <algorithm>

#include "local_ports.hpp"

// Local ports: RFC 6056 algorithm 4. Where the search starts depends on the place, a secret, and a
// counter that few places share, so that the ports towards one place tell nothing about those
// towards another. A place that is short of ports gets a map of them, and then neither finding the
// last free one nor knowing that there is none takes a walk.

namespace runnel::tcp::detail {

namespace {

/// A range this short is looked through; it gets no map.
constexpr std::uint32_t short_range = 64;
/// So many ports that are tried at random and all taken make a place one that is short of them.
constexpr std::uint32_t blind_tries = 8;
/// How many ports each `connect` adds to the map: it knows all of them before they are used up.
constexpr std::uint32_t survey_step = 32;

/// SplitMix64's mixing step: scatters numbers that differ little.
std::uint64_t scatter(std::uint64_t number) noexcept {
  number = (number ^ number >> 30) * 0xbf58476d1ce4e5b9U;
  number = (number ^ number >> 27) * 0x94d049bb133111ebU;
  return number ^ number >> 31;
}

/// One search for a port.
struct port_search {
  port_search(core& of, const flow_key& towards)
      : host(of), key(towards), range(local_ports(of)), count(range.count) {
    key.local_port = 0;
    secret = of.place_secret(key);
    counter = &of.port_counters[secret % of.port_counters.size()];
  }

  std::uint16_t port_at(std::uint32_t number) const noexcept {
    return static_cast<std::uint16_t>(range.first + number * range.step);
  }
  /// The port where the counter stands, from 0.
  std::uint32_t start() const noexcept {
    return static_cast<std::uint32_t>(((secret >> 32) + *counter) % count);
  }
  entry_ref look_up(std::uint32_t number) noexcept {
    ++host.count.local_port_probes;
    key.local_port = port_at(number);
    return host.find(key);
  }
  port_choice take(std::uint32_t number, std::uint32_t time_wait = no_index) noexcept {
    // The next search goes on behind this one.
    *counter += (number + count - start()) % count + 1;
    return {port_at(number), time_wait};
  }
  flow_key place() const noexcept {
    flow_key out = key;
    out.local_port = 0;
    return out;
  }

  core& host;
  flow_key key;
  port_range range;
  std::uint32_t count;
  std::uint64_t secret = 0;
  std::uint32_t* counter = nullptr;
};

/// Whether the policy lets connections to this place have ports out of TIME-WAIT.
bool place_allows_reuse(const core& host, const flow_key& key) noexcept {
  if (host.policy.tw_reuse == tw_reuse::off || !host.policy.timestamps) return false;
  return host.policy.tw_reuse == tw_reuse::on || key.remote.is_loopback() ||
         host.local_address(key).is_loopback();
}

/// Whether the entry, of a place that allows it, gives its port to a new connection now, without a
/// wish for this very port.
bool reusable(const core& host, entry_ref entry) noexcept {
  if (entry.kind() != entry_kind::time_wait) return false;
  const time_wait_entry& waiting = host.time_waits[entry.index()];
  if (!may_recycle(host, waiting)) return false;
  return time_wait_age_ms(host, waiting) >= host.policy.tw_reuse_delay.count();
}

/// A free port of a short range, or else the one that has been in TIME-WAIT longest.
port_choice search_all(port_search& search) noexcept {
  std::uint32_t oldest = no_index;
  std::uint32_t oldest_number = 0;
  const std::uint32_t start = search.start();
  const bool may_reuse = place_allows_reuse(search.host, search.key);
  for (std::uint32_t tried = 0; tried < search.count; ++tried) {
    const std::uint32_t number = (start + tried) % search.count;
    const entry_ref entry = search.look_up(number);
    if (!entry) return search.take(number);
    if (!may_reuse || !reusable(search.host, entry)) continue;
    const time_wait_slab& all = search.host.time_waits;
    if (oldest == no_index || is_due(all[entry.index()].deadline_ms, all[oldest].deadline_ms)) {
      oldest = entry.index();
      oldest_number = number;
    }
  }
  return oldest == no_index ? port_choice() : search.take(oldest_number, oldest);
}

/// What a search without a map has seen.
struct blind_result {
  /// A free port, from 0; `no_index` when none was met.
  std::uint32_t free = no_index;
  /// All of the scattered tries met ports that are taken.
  bool crowded = true;
};

/// Looks at the port where the counter stands, if `wanted`, and at scattered ones up to the first
/// free one: ports are taken side by side, so the counter alone would not see the range fill up.
blind_result search_blindly(port_search& search, bool wanted) noexcept {
  blind_result out;
  if (wanted && !search.look_up(search.start())) out.free = search.start();
  for (std::uint32_t tried = 0; tried < blind_tries; ++tried) {
    const auto number = static_cast<std::uint32_t>(
        scatter(search.secret + *search.counter * std::uint64_t{blind_tries} + tried) %
        search.count);
    if (search.look_up(number)) continue;
    if (out.free == no_index) out.free = number;
    out.crowded = false;
    break;
  }
  return out;
}

port_map* find_map(core& host, const flow_key& place) noexcept {
  if (host.port_maps.empty()) return nullptr;
  const auto found = host.port_maps.find(place);
  return found == host.port_maps.end() ? nullptr : &found->second;
}

/// An empty map for the place; null without memory.
port_map* make_map(port_search& search) noexcept {
  auto& maps = search.host.port_maps;
  // A map stands for the many connections that made it necessary. More maps than these allow are
  // left over from a time when there were more.
  const std::size_t enough = 8 + 8 * search.host.table.size() / search.count;
  try {
    if (maps.size() >= enough) maps.erase(maps.begin());
    return &maps.try_emplace(search.place(), search.range).first->second;
  } catch (...) {
    return nullptr;
  }
}

/// Since when the entry has been in TIME-WAIT.
std::uint32_t waiting_since_ms(const core& host, entry_ref entry) noexcept {
  return host.ms() - time_wait_age_ms(host, host.time_waits[entry.index()]);
}

/// Adds up to `ports` ports to what the map knows.
void survey(port_search& search, port_map& map, std::uint32_t ports) noexcept {
  const std::uint32_t end = std::min(map.count, map.known + ports);
  for (; map.known < end; ++map.known) {
    const entry_ref entry = search.look_up(map.known);
    if (!entry) {
      map.free.insert(map.known);
      continue;
    }
    ++map.used;
    if (entry.kind() == entry_kind::time_wait) {
      map.add_waiting(map.known, waiting_since_ms(search.host, entry));
    }
  }
}

/// The one that has been in TIME-WAIT longest, if that is long enough. What is out of date goes on
/// the way, each at most once for an entry, and once more each time that an entry starts anew.
std::uint32_t search_waiting(port_search& search, port_map& map, std::uint32_t& entry) noexcept {
  core& host = search.host;
  if (!place_allows_reuse(host, search.key)) return no_index;
  while (!map.waiting.empty()) {
    const port_map::waiting_port oldest = map.waiting.front();
    if (host.ms() - oldest.since_ms < host.policy.tw_reuse_delay.count()) return no_index;
    const entry_ref found = search.look_up(oldest.number);
    const bool waits = found && found.kind() == entry_kind::time_wait;
    if (waits && reusable(host, found)) {
      entry = found.index();
      return oldest.number;
    }
    map.pop_waiting();
    if (waits && may_recycle(host, host.time_waits[found.index()])) {
      map.add_waiting(oldest.number, waiting_since_ms(host, found));
    }
  }
  return no_index;
}

/// A free one: where the counter stands, else the next of those that the map knows, in a circle,
/// else the first of those that it does not know yet.
std::uint32_t search_free(port_search& search, port_map& map) noexcept {
  const std::uint32_t start = search.start();
  if (start >= map.known && !search.look_up(start)) return start;
  for (;;) {
    const std::uint32_t number = map.free.next(start);
    if (number == port_set::none) {
      if (map.known == map.count) return no_index;
      survey(search, map, survey_step);
      continue;
    }
    if (!search.look_up(number)) return number;
    // What arrives for a listener takes ports without telling the map.
    map.free.erase(number);
    ++map.used;
  }
}

port_choice search_map(port_search& search, port_map& map) noexcept {
  survey(search, map, survey_step);
  std::uint32_t entry = no_index;
  std::uint32_t number = search_free(search, map);
  if (number == no_index) number = search_waiting(search, map, entry);
  if (number == no_index) return {};
  return search.take(number, entry);
}

/// The place's map, or null.
port_map* current_map(port_search& search) noexcept {
  port_map* const map = find_map(search.host, search.place());
  if (map == nullptr || map->range == search.range) return map;
  // The range was changed.
  search.host.port_maps.clear();
  return nullptr;
}

}  // namespace

port_choice choose_port(core& host, const flow_key& key) noexcept {
  port_search search(host, key);
  if (search.count == 0) return {};
  if (search.count <= short_range) return search_all(search);
  if (port_map* map = current_map(search)) return search_map(search, *map);
  const blind_result seen = search_blindly(search, true);
  if (seen.crowded) {
    if (port_map* map = make_map(search)) return search_map(search, *map);
  }
  return seen.free != no_index ? search.take(seen.free) : search_all(search);
}

void note_port_named(core& host, const flow_key& key) noexcept {
  port_search search(host, key);
  if (search.count <= short_range || search.range.number_of(key.local_port) == port_range::none) {
    return;
  }
  port_map* map = current_map(search);
  if (map == nullptr && search_blindly(search, false).crowded) map = make_map(search);
  // Moves the scattered tries on.
  if (map == nullptr) {
    ++*search.counter;
  } else {
    survey(search, *map, survey_step);
  }
}

namespace {

/// The map that knows this port, and the port's number in it.
port_map* map_that_knows(core& host, flow_key key, std::uint32_t& number) noexcept {
  if (host.port_maps.empty()) return nullptr;
  const std::uint32_t port = std::exchange(key.local_port, std::uint16_t{0});
  port_map* const map = find_map(host, key);
  if (map == nullptr) return nullptr;
  number = map->range.number_of(port);
  return number < map->known ? map : nullptr;
}

}  // namespace

void note_port_taken(core& host, const flow_key& key) noexcept {
  std::uint32_t number = 0;
  port_map* const map = map_that_knows(host, key, number);
  if (map == nullptr || !map->free.contains(number)) return;
  map->free.erase(number);
  ++map->used;
}

void note_port_waiting(core& host, const flow_key& key) noexcept {
  std::uint32_t number = 0;
  if (port_map* map = map_that_knows(host, key, number)) map->add_waiting(number, host.ms());
}

void note_port_free(core& host, const flow_key& key) noexcept {
  std::uint32_t number = 0;
  port_map* const map = map_that_knows(host, key, number);
  if (map == nullptr || map->free.contains(number)) return;
  map->free.insert(number);
  --map->used;
  if (map->known == map->count && map->used < map->count / 4) {
    flow_key place = key;
    place.local_port = 0;
    host.port_maps.erase(place);
  }
}

}  // namespace runnel::tcp::detail
