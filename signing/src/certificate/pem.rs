use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::CertificateError;

/// The largest PEM text that is looked at, in bytes.
const MAX_LEN: usize = 1024 * 1024;

/// Writes `der` as PEM (RFC 7468) under `label`, for example `CERTIFICATE`.
pub fn pem_encode(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at_checked(64).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// Every block under `label` in a PEM text, in order; text between blocks and other labels are skipped.
///
/// # Errors
/// [`CertificateError::Pem`] for a block without end or that is not base64, and for more than 1 MiB.
pub fn pem_decode(label: &str, text: &str) -> Result<Vec<Vec<u8>>, CertificateError> {
    if text.len() > MAX_LEN {
        return Err(CertificateError::Pem("it is larger than 1 MiB"));
    }
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(begin.as_str()) {
        let (body, more) = after
            .split_once(end.as_str())
            .ok_or(CertificateError::Pem("a block has no end"))?;
        let body: String = body.split_ascii_whitespace().collect();
        blocks.push(
            STANDARD
                .decode(body)
                .map_err(|_| CertificateError::Pem("a block is not base64"))?,
        );
        rest = more;
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_round_trip_and_others_are_skipped() {
        let bytes = vec![7; 100];
        let text = format!(
            "a comment\n{}{}",
            pem_encode("EC PARAMETERS", b"x"),
            pem_encode("CERTIFICATE", &bytes)
        );
        assert_eq!(pem_decode("CERTIFICATE", &text).unwrap(), std::slice::from_ref(&bytes));
        assert_eq!(pem_decode("CERTIFICATE", &text.replace('\n', "\r\n")).unwrap(), [bytes]);
        assert!(text.lines().all(|line| line.len() <= 64));
    }

    #[test]
    fn broken_blocks_are_refused() {
        for text in ["-----BEGIN X-----\nAAAA", "-----BEGIN X-----\n!!!!\n-----END X-----"] {
            assert!(pem_decode("X", text).is_err(), "{text}");
        }
        assert_eq!(pem_decode("X", "").unwrap(), Vec::<Vec<u8>>::new());
    }
}
