//! Bounds on connections, times and sizes.

use std::ops::RangeInclusive;

use serde::de::{Deserialize, Deserializer, Error};

use crate::config::{ByteSize, Duration};

/// Bounds of all listeners of a process together, unless a field says otherwise. Every field has a safe default; a value
/// out of its bounds is refused when the configuration is read.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, default)]
pub struct Limits {
    /// Open connections, TCP and QUIC together. 1 to 1,000,000, default 20,000. What comes above is closed at once.
    /// Too low and a crowd of idle sockets keeps honest callers out; too high and memory (about 40 KB for each over TLS)
    /// or the limit of open files gives out first.
    pub connections: u32,
    /// Requests being handled at one time. 1 to 1,000,000, default 8,192. What comes above is answered 503 `overloaded`.
    pub requests: u32,
    /// TLS handshakes over TCP being computed at one time. 1 to 1,024, default half of the processors. More gives a flood
    /// of handshakes more of the processors that serve established connections.
    pub handshakes: u32,
    /// From accept to the end of the TLS or QUIC handshake. 100ms to 5m, default 10s.
    pub handshake: Duration,
    /// From the first byte of a head to its end, and from the handshake to the first request. 100ms to 5m, default 10s.
    pub header: Duration,
    /// The request line and the header fields: received size in HTTP/1.1, decoded size in HTTP/2 and HTTP/3 (RFC 9113,
    /// section 6.5.2; RFC 9114, section 4.2.2). 8KiB to 256KiB, default 16KiB. HTTP/1.1 takes at most 100 fields.
    pub header_bytes: ByteSize,
    /// From the end of the head to the end of the body. 100ms to 5m, default 10s.
    pub body: Duration,
    /// The largest body, whatever the handler would take. 1KiB to 64MiB, default 8MiB.
    pub body_bytes: ByteSize,
    /// All bodies that have arrived in part. 1MiB to 64GiB, default 256MiB. What comes above is answered 503 `overloaded`.
    pub body_memory: ByteSize,
    /// An open connection without a request. 1s to 1h, default 60s. HTTP/1.1 and HTTP/2 take up to twice as long.
    pub idle: Duration,
    /// A connection's age, after which it is drained: callers reconnect and spread anew. 1s to 30d, default 1h.
    pub lifetime: Duration,
    /// Concurrent streams of one HTTP/2 or HTTP/3 connection. 1 to 10,000, default 128.
    pub streams: u32,
    /// QUIC handshakes in progress above which a new one must prove its address first, with a Retry (RFC 9000, section
    /// 8.1.2), which costs honest callers a round trip. 0 to 100,000, default 128; 0 asks everybody.
    pub quic_handshakes: u32,
    /// From the signal to stop until what is still unfinished is cut off. 0ms to 1h, default 20s.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Limits {
            connections: 20_000,
            requests: 8_192,
            handshakes: u32::try_from(processors / 2).unwrap_or(1).clamp(1, 1_024),
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(10),
            header_bytes: ByteSize::new(16 << 10),
            body: Duration::from_secs(10),
            body_bytes: ByteSize::new(8 << 20),
            body_memory: ByteSize::new(256 << 20),
            idle: Duration::from_secs(60),
            lifetime: Duration::from_secs(3_600),
            streams: 128,
            quic_handshakes: 128,
            drain: Duration::from_secs(20),
        }
    }
}

impl Limits {
    /// Refuses values out of their bounds. Reading a configuration does this by itself.
    ///
    /// # Errors
    /// Names the field, its value and its bounds.
    pub fn validate(&self) -> Result<(), String> {
        within("connections", self.connections, 1..=1_000_000)?;
        within("requests", self.requests, 1..=1_000_000)?;
        within("handshakes", self.handshakes, 1..=1_024)?;
        within("streams", self.streams, 1..=10_000)?;
        within("quic_handshakes", self.quic_handshakes, 0..=100_000)?;
        let (tick, second, minutes, hour) = (ms(100), ms(1_000), ms(300_000), ms(3_600_000));
        within("handshake", self.handshake, tick..=minutes)?;
        within("header", self.header, tick..=minutes)?;
        within("body", self.body, tick..=minutes)?;
        within("idle", self.idle, second..=hour)?;
        within("lifetime", self.lifetime, second..=Duration::from_secs(30 * 86_400))?;
        within("drain", self.drain, ms(0)..=hour)?;
        within(
            "header_bytes",
            self.header_bytes,
            ByteSize::new(8 << 10)..=ByteSize::new(256 << 10),
        )?;
        within(
            "body_bytes",
            self.body_bytes,
            ByteSize::new(1 << 10)..=ByteSize::new(64 << 20),
        )?;
        within(
            "body_memory",
            self.body_memory,
            ByteSize::new(1 << 20)..=ByteSize::new(64 << 30),
        )
    }
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn within<T: PartialOrd + std::fmt::Display>(field: &str, value: T, bounds: RangeInclusive<T>) -> Result<(), String> {
    if bounds.contains(&value) {
        return Ok(());
    }
    Err(format!(
        "`{field}` is {value}, it must be between {} and {}",
        bounds.start(),
        bounds.end()
    ))
}

impl<'de> Deserialize<'de> for Limits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Limits, D::Error> {
        let limits = Limits::deserialize(deserializer)?;
        limits.validate().map_err(D::Error::custom)?;
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[serde(default)]
        limits: Limits,
    }

    fn parse(text: &str) -> Result<Limits, String> {
        crate::config::parse::<Config>("edge.toml", text)
            .map(|config| config.limits)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_within_bounds_and_hold_for_absent_fields() {
        Limits::default().validate().unwrap();
        assert_eq!(parse("").unwrap().connections, 20_000);
        let limits = parse("[limits]\nheader = \"2s\"\n").unwrap();
        assert_eq!(
            (limits.header, limits.idle),
            (Duration::from_secs(2), Duration::from_secs(60))
        );
    }

    #[test]
    fn values_out_of_bounds_and_unknown_fields_are_refused() {
        let error = parse("[limits]\nconnections = 0\n").unwrap_err();
        assert!(
            error.contains("`connections` is 0, it must be between 1 and 1000000"),
            "{error}"
        );
        let error = parse("[limits]\nheader_bytes = \"1KiB\"\n").unwrap_err();
        assert!(
            error.contains("`header_bytes` is 1KiB, it must be between 8KiB and 256KiB"),
            "{error}"
        );
        let error = parse("[limits]\nheaders = \"1s\"\n").unwrap_err();
        assert!(
            error.contains("edge.toml:2: limits.headers: unknown field `headers`; did you mean `header`?"),
            "{error}"
        );
    }
}
