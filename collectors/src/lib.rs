//! What watches: wire capture, slow logs, servers, hosts, heartbeats; writes facts, changes nothing.
