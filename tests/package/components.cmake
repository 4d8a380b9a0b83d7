# The components that find_package(runnel) knows, each with what comes with it and nothing else.
set(components wire runtime net tcp_engine tcp http resolve policy_file testing runnel)
# Those that are headers or a name for others, and those for which there is an archive.
set(without_archive testing runnel)
set(archives ${components})
list(REMOVE_ITEM archives ${without_archive})
set(needs_net wire runtime)
set(needs_tcp_engine wire)
set(needs_tcp wire runtime net tcp_engine)
set(needs_http wire runtime net)
set(needs_resolve wire runtime net)
set(needs_testing runtime)
set(needs_policy_file wire tcp_engine)
set(needs_runnel wire runtime net tcp_engine tcp)
