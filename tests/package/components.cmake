# The components that find_package(runnel) knows, each with what comes with it and nothing else.
set(components wire runtime net tcp_engine tcp http policy_file runnel)
set(needs_net wire runtime)
set(needs_tcp_engine wire)
set(needs_tcp wire runtime net tcp_engine)
set(needs_http wire runtime net)
set(needs_policy_file wire tcp_engine)
set(needs_runnel wire runtime net tcp_engine tcp)
