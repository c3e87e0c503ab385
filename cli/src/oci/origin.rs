//! Scheme, host and port of a URL: what decides who is told a credential, and what may go in the clear.

use std::net::IpAddr;

use http::Uri;

use crate::failure::Failure;

/// A URL's origin, `https://HOST:PORT`, with its port written out.
///
/// # Errors
/// It is no http or https URL, or has a user name in it.
pub fn origin_of(url: &str) -> Result<String, Failure> {
    let bad = || Failure::new(format!("`{:.200}` is no http or https URL", without_query(url)));
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(bad());
    };
    let default = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return Err(bad()),
    };
    // What stands before an `@` would be credentials, or made to look like a host.
    if authority.as_str().contains('@') {
        return Err(bad());
    }
    let port = authority.port_u16().unwrap_or(default);
    Ok(format!("{scheme}://{}:{port}", authority.host().to_ascii_lowercase()))
}

/// Whether `HOST` or `HOST:PORT` can only mean this machine.
pub fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<http::uri::Authority>() else {
        return false;
    };
    let name = authority.host().trim_matches(['[', ']']);
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// For messages: a query may hold a signature that is as good as a credential.
fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for (url, origin) in [
            ("https://Ghcr.io/v2/?a=b", "https://ghcr.io:443"),
            ("http://127.0.0.1:5000/v2/", "http://127.0.0.1:5000"),
            ("http://[::1]/", "http://[::1]:80"),
        ] {
            assert_eq!(origin_of(url).unwrap(), origin);
        }
        for bad in [
            "ftp://h/",
            "/v2/",
            "//evil.example/",
            "https://registry.example@evil.example/",
            "",
        ] {
            assert!(origin_of(bad).is_err(), "{bad}");
        }
        let refused = origin_of("ftp://h/blob?Signature=s3cret").unwrap_err().to_string();
        assert!(
            refused.contains("ftp://h/blob") && !refused.contains("s3cret"),
            "{refused}"
        );
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["localhost", "localhost:5000", "127.9.0.1", "[::1]:5000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "localhost.example",
            "127.0.0.1.example",
            "registry.example:5000",
            "127.0.0.1@evil.example",
            "",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
