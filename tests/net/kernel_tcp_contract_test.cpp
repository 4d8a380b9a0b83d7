#include "net/kernel_fixture.hpp"
#include "net/stream_contract.hpp"

RUNNEL_STREAM_CONTRACT(runnel::testing::kernel_tcp_model, "kernel TCP contract")
