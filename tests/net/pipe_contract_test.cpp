#include <runnel/net/pipe.hpp>

#include "net/stream_contract.hpp"

using namespace runnel;

namespace {

struct pipe_model {
  using stream_type = net::pipe_stream;
  static constexpr bool resets = true;

  static void run(testing::test_body body) { testing::run_simulated(body); }
  static task<std::pair<stream_type, stream_type>> connect(loop& owner) {
    co_return net::pipe_stream::make(owner);
  }
};

}  // namespace

RUNNEL_STREAM_CONTRACT(pipe_model, "pipe contract")
