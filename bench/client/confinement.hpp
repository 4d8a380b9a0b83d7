#pragma once

#include <string>

namespace bench {

/// Makes sure that what is sent by this device to this IPv4 address cannot leave the network
/// namespace of a benchmark, or throws a sentence that says what speaks against it: the namespace
/// is the machine's own or has a default route, the device is neither TUN nor veth, or the address
/// is not a private one in the network of the device.
void confine(const std::string& device, const std::string& address);

}  // namespace bench
