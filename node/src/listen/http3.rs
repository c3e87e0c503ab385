//! HTTP/3 on QUIC.
