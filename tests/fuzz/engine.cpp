// libFuzzer entry for the TCP engine: ./fuzz_engine [corpus folder]
#include "engine_fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  runnel::fuzz::fuzz_engine(std::as_bytes(std::span(data, size)));
  return 0;
}
