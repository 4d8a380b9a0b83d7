#include "ring_setup.hpp"

#include <cerrno>
#include <fstream>
#include <system_error>

#include "runnel/loop.hpp"

namespace runnel::detail {
namespace {

struct named_flag {
  unsigned bit;
  const char* name;
};

constexpr named_flag flag_names[] = {
    {IORING_SETUP_SINGLE_ISSUER, "SINGLE_ISSUER"},
    {IORING_SETUP_DEFER_TASKRUN, "DEFER_TASKRUN"},
    {IORING_SETUP_COOP_TASKRUN, "COOP_TASKRUN"},
    {IORING_SETUP_TASKRUN_FLAG, "TASKRUN_FLAG"},
    {IORING_SETUP_SUBMIT_ALL, "SUBMIT_ALL"},
    {IORING_SETUP_CLAMP, "CLAMP"},
    {IORING_SETUP_SQPOLL, "SQPOLL"},
};

constexpr unsigned all_flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                               IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                               IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP;

// The kernel's thread runs what completes, so the flags about who does are refused beside SQPOLL.
constexpr unsigned polled_flags =
    IORING_SETUP_SQPOLL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP;

// What to give up next, newest first. TASKRUN_FLAG is refused without one of the other two.
constexpr unsigned ladder[] = {
    IORING_SETUP_DEFER_TASKRUN,
    IORING_SETUP_SINGLE_ISSUER,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    IORING_SETUP_SUBMIT_ALL,
};

std::string names_of(unsigned flags) {
  std::string names;
  for (const named_flag& flag : flag_names) {
    if ((flags & flag.bit) == 0) continue;
    if (!names.empty()) names += '|';
    names += flag.name;
  }
  return names.empty() ? "none" : names;
}

std::string sentence_for(int error) {
  if (error == EPERM || error == EACCES) {
    int disabled = 0;
    std::ifstream("/proc/sys/kernel/io_uring_disabled") >> disabled;
    if (disabled != 0) {
      return "io_uring is switched off on this machine (kernel.io_uring_disabled = " +
             std::to_string(disabled) +
             "): run 'sysctl kernel.io_uring_disabled=0' as root, or put this user into the "
             "io_uring group.";
    }
    return "io_uring is forbidden here, most likely by a container's seccomp profile: allow the "
           "system calls io_uring_setup, io_uring_enter and io_uring_register, with Docker for "
           "example by --security-opt seccomp=unconfined.";
  }
  if (error == ENOSYS) {
    return "This kernel offers no io_uring: use Linux 6.1 or newer, or allow the io_uring system "
           "calls in the container's seccomp profile.";
  }
  if (error == ENOMEM) {
    return "There is not enough memory for an io_uring ring: raise the locked-memory limit "
           "(ulimit -l, RLIMIT_MEMLOCK) or the container's memory limit.";
  }
  if (error == EMFILE || error == ENFILE) {
    return "There is no free file descriptor for an io_uring ring: raise the limit on open files "
           "(ulimit -n).";
  }
  return "The kernel refused to make an io_uring ring: " + std::generic_category().message(error) +
         ".";
}

[[noreturn]] void refuse(int error) {
  throw startup_error({error, std::generic_category()}, sentence_for(error));
}

int try_open(ring_setup& out, unsigned entries, unsigned flags, unsigned sqpoll_idle_ms) {
  io_uring_params params{};
  params.sq_thread_idle = sqpoll_idle_ms;
  params.flags = flags | IORING_SETUP_CQSIZE;
  // Room for the completions of several turns; more wait in the kernel and are not lost.
  params.cq_entries = entries * 4;
  return io_uring_queue_init_params(entries, &out.ring, &params);
}

}  // namespace

void open_ring(ring_setup& out, unsigned entries, unsigned sqpoll_idle_ms) {
  constexpr unsigned fewest_entries = 8;
  entries = entries < fewest_entries ? fewest_entries : entries;
  const unsigned wanted = sqpoll_idle_ms > 0 ? polled_flags : all_flags;
  unsigned flags = wanted;
  int status = try_open(out, entries, flags, sqpoll_idle_ms);
  for (unsigned step : ladder) {
    if (status != -EINVAL) break;
    if ((flags & step) == 0) continue;
    flags &= ~step;
    status = try_open(out, entries, flags, sqpoll_idle_ms);
  }
  while (status == -ENOMEM && entries > fewest_entries) {
    entries /= 2;
    status = try_open(out, entries, flags, sqpoll_idle_ms);
  }
  if (status < 0) refuse(-status);
  if ((out.ring.features & IORING_FEAT_EXT_ARG) == 0) {
    io_uring_queue_exit(&out.ring);
    refuse(ENOSYS);
  }
  out.entries = out.ring.sq.ring_entries;
  out.fd_registered = io_uring_register_ring_fd(&out.ring) == 1;
  out.single_issuer = (flags & IORING_SETUP_SINGLE_ISSUER) != 0;
  try {
    out.flags = names_of(flags);
    out.refused = flags == wanted ? "" : names_of(wanted & ~flags);
  } catch (...) {
    io_uring_queue_exit(&out.ring);
    throw;
  }
}

}  // namespace runnel::detail
