// libFuzzer entry for the reassembly of fragments: ./fuzz_reassembly [corpus folder]
#include "reassembly_fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  runnel::fuzz::reassembly_fuzz().run(std::as_bytes(std::span(data, size)));
  return 0;
}
