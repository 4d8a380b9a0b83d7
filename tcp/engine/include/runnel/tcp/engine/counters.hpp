#pragma once

#include <cstdint>
#include <string_view>

// Every counter once: the member and the name that nstat prints for it on Linux. Names that Linux
// does not have start with "Runnel".
#define RUNNEL_TCP_COUNTERS(X)                                   \
  X(in_segs, "TcpInSegs")                                        \
  X(out_segs, "TcpOutSegs")                                      \
  X(retrans_segs, "TcpRetransSegs")                              \
  X(in_errs, "TcpInErrs")                                        \
  X(in_csum_errors, "TcpInCsumErrors")                           \
  X(out_rsts, "TcpOutRsts")                                      \
  X(active_opens, "TcpActiveOpens")                              \
  X(passive_opens, "TcpPassiveOpens")                            \
  X(attempt_fails, "TcpAttemptFails")                            \
  X(estab_resets, "TcpEstabResets")                              \
  X(embryonic_rsts, "TcpExtEmbryonicRsts")                       \
  X(curr_estab, "TcpCurrEstab")                                  \
  X(listen_overflows, "TcpExtListenOverflows")                   \
  X(listen_drops, "TcpExtListenDrops")                           \
  X(req_q_full_drop, "TcpExtTCPReqQFullDrop")                    \
  X(req_q_full_do_cookies, "TcpExtTCPReqQFullDoCookies")         \
  X(syncookies_sent, "TcpExtSyncookiesSent")                     \
  X(syncookies_recv, "TcpExtSyncookiesRecv")                     \
  X(syncookies_failed, "TcpExtSyncookiesFailed")                 \
  X(defer_accept_drop, "TcpExtTCPDeferAcceptDrop")               \
  X(fastopen_active, "TcpExtTCPFastOpenActive")                  \
  X(fastopen_active_fail, "TcpExtTCPFastOpenActiveFail")         \
  X(fastopen_passive, "TcpExtTCPFastOpenPassive")                \
  X(fastopen_passive_fail, "TcpExtTCPFastOpenPassiveFail")       \
  X(fastopen_passive_alt_key, "TcpExtTCPFastOpenPassiveAltKey")  \
  X(fastopen_listen_overflow, "TcpExtTCPFastOpenListenOverflow") \
  X(fastopen_cookie_reqd, "TcpExtTCPFastOpenCookieReqd")         \
  X(fastopen_blackhole, "TcpExtTCPFastOpenBlackhole")            \
  X(time_waited, "TcpExtTW")                                     \
  X(tw_recycled, "TcpExtTWRecycled")                             \
  X(tw_killed, "TcpExtTWKilled")                                 \
  X(time_wait_overflow, "TcpExtTCPTimeWaitOverflow")             \
  X(paws_passive, "RunnelPAWSPassive")                           \
  X(paws_active, "TcpExtPAWSActive")                             \
  X(paws_estab, "TcpExtPAWSEstab")                               \
  X(paws_old_ack, "TcpExtPAWSOldAck")                            \
  X(paws_time_wait, "TcpExtPAWSTimewait")                        \
  X(out_of_window_icmps, "TcpExtOutOfWindowIcmps")               \
  X(delayed_acks, "TcpExtDelayedACKs")                           \
  X(ack_compressed, "TcpExtTCPAckCompressed")                    \
  X(timeouts, "TcpExtTCPTimeouts")                               \
  X(syn_retrans, "TcpExtTCPSynRetrans")                          \
  X(fast_retrans, "TcpExtTCPFastRetrans")                        \
  X(slow_start_retrans, "TcpExtTCPSlowStartRetrans")             \
  X(sack_recovery, "TcpExtTCPSackRecovery")                      \
  X(reno_recovery, "TcpExtTCPRenoRecovery")                      \
  X(sack_reorder, "TcpExtTCPSACKReorder")                        \
  X(sack_discard, "TcpExtTCPSACKDiscard")                        \
  X(sack_reneging, "TcpExtTCPSACKReneging")                      \
  X(loss_probes, "TcpExtTCPLossProbes")                          \
  X(loss_probe_recovery, "TcpExtTCPLossProbeRecovery")           \
  X(dsack_old_sent, "TcpExtTCPDSACKOldSent")                     \
  X(dsack_ofo_sent, "TcpExtTCPDSACKOfoSent")                     \
  X(dsack_recv, "TcpExtTCPDSACKRecv")                            \
  X(dsack_ofo_recv, "TcpExtTCPDSACKOfoRecv")                     \
  X(full_undo, "TcpExtTCPFullUndo")                              \
  X(partial_undo, "TcpExtTCPPartialUndo")                        \
  X(dsack_undo, "TcpExtTCPDSACKUndo")                            \
  X(loss_undo, "TcpExtTCPLossUndo")                              \
  X(spurious_rtos, "TcpExtTCPSpuriousRTOs")                      \
  X(mtup_fail, "TcpExtTCPMTUPFail")                              \
  X(mtup_success, "TcpExtTCPMTUPSuccess")                        \
  X(abort_on_data, "TcpExtTCPAbortOnData")                       \
  X(abort_on_close, "TcpExtTCPAbortOnClose")                     \
  X(abort_on_memory, "TcpExtTCPAbortOnMemory")                   \
  X(abort_on_timeout, "TcpExtTCPAbortOnTimeout")                 \
  X(abort_on_linger, "TcpExtTCPAbortOnLinger")                   \
  X(keep_alive, "TcpExtTCPKeepAlive")                            \
  X(challenge_ack, "TcpExtTCPChallengeACK")                      \
  X(syn_challenge, "TcpExtTCPSYNChallenge")                      \
  X(ack_skipped_seq, "TcpExtTCPACKSkippedSeq")                   \
  X(ack_skipped_syn_recv, "TcpExtTCPACKSkippedSynRecv")          \
  X(ack_skipped_challenge, "TcpExtTCPACKSkippedChallenge")       \
  X(ack_skipped_paws, "TcpExtTCPACKSkippedPAWS")                 \
  X(ack_skipped_time_wait, "TcpExtTCPACKSkippedTimeWait")        \
  X(ack_skipped_fin_wait_2, "TcpExtTCPACKSkippedFinWait2")       \
  X(ofo_queue, "TcpExtTCPOFOQueue")                              \
  X(ofo_drop, "TcpExtTCPOFODrop")                                \
  X(rcv_q_drop, "TcpExtTCPRcvQDrop")                             \
  X(memory_pressures, "TcpExtTCPMemoryPressures")                \
  X(prune_called, "TcpExtPruneCalled")                           \
  X(rcv_pruned, "TcpExtRcvPruned")                               \
  X(ofo_pruned, "TcpExtOfoPruned")                               \
  X(rcv_collapsed, "TcpExtTCPRcvCollapsed")                      \
  X(zero_window_adv, "TcpExtTCPToZeroWindowAdv")                 \
  X(zero_window_drop, "TcpExtTCPZeroWindowDrop")                 \
  X(win_probe, "TcpExtTCPWinProbe")                              \
  X(time_wait_reopened, "RunnelTimeWaitReopened")                \
  X(time_wait_evicted, "RunnelTimeWaitEvicted")                  \
  X(quiet_time_drops, "RunnelQuietTimeDrops")                    \
  X(local_ports_exhausted, "RunnelLocalPortsExhausted")          \
  X(local_port_probes, "RunnelLocalPortProbes")                  \
  X(accept_parked, "RunnelAcceptParked")                         \
  X(accept_park_timeouts, "RunnelAcceptParkTimeouts")            \
  X(released_open, "RunnelReleasedOpen")                         \
  X(cookie_checks, "RunnelCookieChecks")                         \
  X(cookie_checks_limited, "RunnelCookieChecksLimited")          \
  X(reject_limited, "RunnelRejectLimited")                       \
  X(shard_handed, "RunnelShardHanded")                           \
  X(shard_taken, "RunnelShardTaken")                             \
  X(shard_dropped, "RunnelShardDropped")                         \
  X(shard_overtaken, "RunnelShardOvertaken")                     \
  X(ip_in_receives, "IpInReceives")                              \
  X(ip_in_hdr_errors, "IpInHdrErrors")                           \
  X(ip_in_addr_errors, "IpInAddrErrors")                         \
  X(ip_in_discards, "IpInDiscards")                              \
  X(reasm_reqds, "IpReasmReqds")                                 \
  X(reasm_oks, "IpReasmOKs")                                     \
  X(reasm_fails, "IpReasmFails")                                 \
  X(reasm_timeout, "IpReasmTimeout")                             \
  X(reasm_overlaps, "IpExtReasmOverlaps")                        \
  X(ip6_in_receives, "Ip6InReceives")                            \
  X(ip6_in_hdr_errors, "Ip6InHdrErrors")                         \
  X(ip6_in_addr_errors, "Ip6InAddrErrors")                       \
  X(ip6_in_discards, "Ip6InDiscards")                            \
  X(reasm6_reqds, "Ip6ReasmReqds")                               \
  X(reasm6_oks, "Ip6ReasmOKs")                                   \
  X(reasm6_fails, "Ip6ReasmFails")                               \
  X(reasm6_timeout, "Ip6ReasmTimeout")                           \
  X(icmp_in_msgs, "IcmpInMsgs")                                  \
  X(icmp_in_errors, "IcmpInErrors")                              \
  X(icmp_in_csum_errors, "IcmpInCsumErrors")                     \
  X(icmp_in_dest_unreachs, "IcmpInDestUnreachs")                 \
  X(icmp_in_time_excds, "IcmpInTimeExcds")                       \
  X(icmp_in_parm_probs, "IcmpInParmProbs")                       \
  X(icmp_in_echos, "IcmpInEchos")                                \
  X(icmp_out_echo_reps, "IcmpOutEchoReps")                       \
  X(icmp_out_dest_unreachs, "IcmpOutDestUnreachs")               \
  X(icmp_out_time_excds, "IcmpOutTimeExcds")                     \
  X(icmp6_in_msgs, "Icmp6InMsgs")                                \
  X(icmp6_in_errors, "Icmp6InErrors")                            \
  X(icmp6_in_csum_errors, "Icmp6InCsumErrors")                   \
  X(icmp6_in_dest_unreachs, "Icmp6InDestUnreachs")               \
  X(icmp6_in_pkt_too_bigs, "Icmp6InPktTooBigs")                  \
  X(icmp6_in_time_excds, "Icmp6InTimeExcds")                     \
  X(icmp6_in_parm_problems, "Icmp6InParmProblems")               \
  X(icmp6_in_echos, "Icmp6InEchos")                              \
  X(icmp6_out_echo_replies, "Icmp6OutEchoReplies")               \
  X(icmp6_out_dest_unreachs, "Icmp6OutDestUnreachs")             \
  X(icmp6_out_time_excds, "Icmp6OutTimeExcds")                   \
  X(icmp6_out_parm_problems, "Icmp6OutParmProblems")

namespace runnel::tcp {

/// What the host has counted since it was made, with Linux's meanings. `curr_estab` alone goes up
/// and down.
struct counters {
#define X(member, name) std::uint64_t member = 0;
  RUNNEL_TCP_COUNTERS(X)
#undef X

  /// Adds what another shard has counted.
  counters& operator+=(const counters& other) noexcept {
#define X(member, name) member += other.member;
    RUNNEL_TCP_COUNTERS(X)
#undef X
    return *this;
  }

  /// Calls `visit(std::string_view name, std::uint64_t value)` for each, in a fixed order.
  template <class Visitor>
  void for_each(Visitor&& visit) const {
#define X(member, name) visit(std::string_view(name), member);
    RUNNEL_TCP_COUNTERS(X)
#undef X
  }
};

}  // namespace runnel::tcp
