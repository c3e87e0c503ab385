//! What a rule may ask the host. In a component these are the host's; natively they are what [`crate::testing::Host`]
//! was given, so that a rule is tested as it is.

#[cfg(target_arch = "wasm32")]
use crate::bindings::signet::rule as host_1_0;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::with_host;

/// The interfaces that 1.1.0 added, and nothing else of it: the rest stays at 1.0.0, whose hosts then load the component.
#[allow(missing_docs)]
mod added {
    wit_bindgen::generate!({
        inline: "
            package signet:sdk;
            world added {
                import signet:rule/counter@1.1.0;
                import signet:rule/lookup@1.1.0;
                import signet:rule/digest@1.1.0;
            }
        ",
        path: "../../wit/1.1.0",
        generate_all,
    });
}

#[cfg(target_arch = "wasm32")]
use added::signet::rule as host_1_1;

/// The plugin's own settings, `[plugins.config]` of the bundle.
pub mod config {
    use super::*;
    use crate::Value;

    /// A setting, if it is there.
    pub fn get(name: &str) -> Option<Value> {
        #[cfg(target_arch = "wasm32")]
        return host_1_0::config::get(name);
        #[cfg(not(target_arch = "wasm32"))]
        with_host("config::get", |host| host.get_setting(name))
    }
}

/// One line for the edge's log.
pub mod log {
    pub use crate::bindings::signet::rule::log::Level;

    /// Logs a line of at most 1 KiB; 16 in one evaluation.
    pub fn log(level: Level, message: &str) {
        #[cfg(target_arch = "wasm32")]
        super::host_1_0::log::log(level, message);
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::add_line(level, message);
    }
}

/// Counts over sliding windows, kept by each edge for each plugin. Needs the grant `counter`.
pub mod counter {
    use super::*;
    pub use added::signet::rule::counter::Problem;

    /// Counts one use of `key` (1 to 256 bytes) and answers how many there were within the last `window_seconds` (1 to
    /// 86400), this one included. It stays counted, whatever the rule answers. Refuse on [`Problem::Full`].
    pub fn increment(key: &str, window_seconds: u32) -> Result<u32, Problem> {
        #[cfg(target_arch = "wasm32")]
        return host_1_1::counter::increment(key, window_seconds);
        #[cfg(not(target_arch = "wasm32"))]
        with_host("counter::increment", |host| host.increment(key, window_seconds))
    }
}

/// Read-only tables that the bundle brings, `[plugins.tables]`. Needs the grant `lookup`.
pub mod lookup {
    use super::*;
    use alloc::string::String;

    pub use added::signet::rule::lookup::Problem;

    /// The value of a key in a table of the kind `exact`.
    pub fn get(table: &str, key: &str) -> Result<Option<String>, Problem> {
        #[cfg(target_arch = "wasm32")]
        return host_1_1::lookup::get(table, key);
        #[cfg(not(target_arch = "wasm32"))]
        with_host("lookup::get", |host| host.get_row(table, key))
    }

    /// The value of the longest prefix that holds an IP address, in a table of the kind `prefix`.
    pub fn prefix(table: &str, address: &str) -> Result<Option<String>, Problem> {
        #[cfg(target_arch = "wasm32")]
        return host_1_1::lookup::prefix(table, address);
        #[cfg(not(target_arch = "wasm32"))]
        with_host("lookup::prefix", |host| host.get_prefix(table, address))
    }
}

/// SHA-2 (FIPS 180-4), by the host: at most 64 KiB a call and 1 MiB an evaluation. Needs the grant `digest`.
pub mod digest {
    macro_rules! digest {
        ($name:ident, $native:ident, $bytes:literal) => {
            #[doc = concat!("The ", $bytes, " bytes of the digest.")]
            pub fn $name(data: &[u8]) -> [u8; $bytes] {
                #[cfg(target_arch = "wasm32")]
                let digest = super::host_1_1::digest::$name(data);
                #[cfg(not(target_arch = "wasm32"))]
                let digest = <sha2::$native as sha2::Digest>::digest(data);
                let mut bytes = [0; $bytes];
                bytes.copy_from_slice(&digest);
                bytes
            }
        };
    }

    digest!(sha256, Sha256, 32);
    digest!(sha384, Sha384, 48);
    digest!(sha512, Sha512, 64);
}
