// libFuzzer entry for the wire formats: ./fuzz_wire [corpus folder]
#include "wire_fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  runnel::fuzz::fuzz_packet(std::as_bytes(std::span(data, size)));
  return 0;
}
