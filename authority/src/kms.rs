//! The endpoint that speaks AWS KMS and STS to unchanged clients.

pub mod sigv4;
