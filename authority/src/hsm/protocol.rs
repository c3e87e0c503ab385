//! What the authority and its HSM worker say to each other: frames on the worker's stdin and stdout.
//!
//! A frame is a 32-bit little-endian length, at most [`MAX_FRAME`], and a postcard body. Before its first frame the worker
//! writes [`PREAMBLE`]; the authority skips what comes before it, so that a loader or a wrapper that prints a line harms nothing.
//! The first request is [`Hello`]; its answer has id 0. Every later request has an id that its one answer carries;
//! answers come in any order. The two ends are the same executable, so the format has a version only to refuse a stranger.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{EcCurve, HsmError, HsmInfo, Prehashed, RootKey, RootRole, WrappedAes, WrappedKey, WrappedMac};
use crate::crypto::MacAlgorithm;

/// Largest frame body, in bytes. The largest honest one is a 64 KiB message with its envelope.
pub(crate) const MAX_FRAME: usize = 128 * 1024;

/// Room for every frame that holds a secret, in bytes.
const USUAL_FRAME: usize = 12 * 1024;

/// Longest message that a root signs, in bytes: a certificate's to-be-signed part.
pub(crate) const MAX_ROOT_MESSAGE: usize = 64 * 1024;

/// What the worker writes before its first frame.
pub(crate) const PREAMBLE: &[u8] = b"\nsignet-hsm-worker/1\n";

/// Most bytes of noise skipped before [`PREAMBLE`].
const MAX_NOISE: usize = 16 * 1024;

/// Bytes that must not be printed and are wiped when dropped.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Sensitive(pub(crate) Vec<u8>);

impl std::fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The first request: which token to serve, and how.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Path of the PKCS#11 module.
    pub(crate) module: String,
    /// Label of the token, without padding.
    pub(crate) label: String,
    /// The user PIN.
    pub(crate) pin: Sensitive,
    /// What to do.
    pub(crate) task: Task,
}

/// What a worker is started for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Serve calls until stdin closes.
    Serve {
        /// Sessions, and calls in progress at once.
        sessions: u16,
        /// Unwrapped keys kept, over all sessions.
        cached_keys: u32,
    },
    /// Make the token in a free slot and set its PINs, unless there is one; then end.
    Initialize {
        /// The security officer's PIN.
        so_pin: Sensitive,
    },
}

/// A call with its id, which is never 0.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Unique among the calls of one worker.
    pub(crate) id: u64,
    /// What is asked.
    pub(crate) call: Call,
}

/// The calls of [`super::Hsm`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Call {
    EnsureRoot(RootRole),
    Root(RootRole),
    SignRoot {
        role: RootRole,
        message: Vec<u8>,
    },
    GenerateWrapped(EcCurve),
    SignWrapped {
        key: WrappedKey,
        digest: Prehashed,
    },
    GenerateAes,
    GenerateDataKey(WrappedAes),
    UnwrapDataKey {
        key: WrappedAes,
        wrapped: Vec<u8>,
    },
    GenerateMacKey(MacAlgorithm),
    Mac {
        key: WrappedMac,
        message: Vec<u8>,
    },
    Seal {
        plaintext: Sensitive,
        associated: Vec<u8>,
    },
    Unseal {
        blob: Vec<u8>,
        associated: Vec<u8>,
    },
    Random(u32),
    Healthy,
    /// Logs out behind the session's back, as a restarted token does.
    #[cfg(test)]
    LoseLogin,
    /// Prints to stdout, as a careless module does.
    #[cfg(test)]
    PrintNoise,
    /// What the worker sees of its environment.
    #[cfg(test)]
    Environment,
}

/// A call's outcome under the call's id.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Response {
    /// The request's id; 0 for the answer to [`Hello`].
    pub(crate) id: u64,
    /// The outcome.
    pub(crate) outcome: Result<Answer, HsmError>,
}

/// What a call answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Opened(HsmInfo),
    Root(RootKey),
    Wrapped(WrappedKey),
    Aes(WrappedAes),
    MacKey(WrappedMac),
    DataKey {
        secret: Sensitive,
        wrapped: Vec<u8>,
    },
    Unwrapped(Option<Sensitive>),
    /// A DER signature or a sealed blob.
    Bytes(Vec<u8>),
    Secret(Sensitive),
    Done,
}

/// A frame of `message`, length first. Wiped when dropped, since it may hold a secret; made in one allocation for the same reason.
pub(crate) fn encode<T: Serialize>(message: &T) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut frame = Vec::with_capacity(USUAL_FRAME);
    frame.extend_from_slice(&[0; 4]);
    let mut frame = Zeroizing::new(postcard::to_extend(message, frame).map_err(io::Error::other)?);
    let len = frame.len().saturating_sub(4);
    if len > MAX_FRAME {
        return Err(io::Error::other(format!("a frame of {len} bytes; at most {MAX_FRAME}")));
    }
    let len = u32::try_from(len).map_err(io::Error::other)?.to_le_bytes();
    frame.iter_mut().zip(len).for_each(|(byte, len)| *byte = len);
    Ok(frame)
}

/// Reads one frame; `None` at the end of the stream between frames.
pub(crate) fn read<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<Option<T>> {
    let mut len = [0; 4];
    match stream.read(&mut len)? {
        0 => return Ok(None),
        read => stream.read_exact(len.get_mut(read..).unwrap_or_default())?,
    }
    let mut body = Zeroizing::new(vec![0; body_len(len)?]);
    stream.read_exact(&mut body)?;
    decode(&body).map(Some)
}

/// Writes one frame and flushes.
pub(crate) fn write<T: Serialize>(stream: &mut impl Write, message: &T) -> io::Result<()> {
    stream.write_all(&encode(message)?)?;
    stream.flush()
}

/// Reads one frame; an end of the stream is an error of kind `UnexpectedEof`.
pub(crate) async fn read_async<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).await?;
    let mut body = Zeroizing::new(vec![0; body_len(len)?]);
    stream.read_exact(&mut body).await?;
    decode(&body)
}

/// Writes one frame made by [`encode`].
pub(crate) async fn write_async(stream: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    stream.write_all(frame).await?;
    stream.flush().await
}

/// Skips to the end of [`PREAMBLE`]; an error when it does not come within 16 KiB.
pub(crate) async fn read_preamble(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut seen = Vec::new();
    while !seen.ends_with(PREAMBLE) {
        if seen.len() >= MAX_NOISE {
            return Err(io::Error::other(
                "it does not speak the worker's protocol; check the worker's command",
            ));
        }
        seen.push(stream.read_u8().await?);
    }
    Ok(())
}

fn body_len(len: [u8; 4]) -> io::Result<usize> {
    let len = usize::try_from(u32::from_le_bytes(len)).map_err(io::Error::other)?;
    if len > MAX_FRAME {
        return Err(io::Error::other(format!(
            "a frame claims {len} bytes; at most {MAX_FRAME}"
        )));
    }
    Ok(len)
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    let (message, rest) = postcard::take_from_bytes(body).map_err(io::Error::other)?;
    if rest.is_empty() {
        Ok(message)
    } else {
        Err(io::Error::other("a frame with bytes left over"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_and_an_end_between_frames_is_no_error() {
        let frame = encode(&Request {
            id: 7,
            call: Call::Random(32),
        })
        .unwrap();
        let mut stream = frame.as_slice();
        let request: Request = read(&mut stream).unwrap().unwrap();
        assert_eq!(request.id, 7);
        assert!(matches!(request.call, Call::Random(32)));
        assert!(read::<Request>(&mut stream).unwrap().is_none());
    }

    #[test]
    fn truncated_oversized_and_malformed_frames_are_errors() {
        let frame = encode(&Request {
            id: 7,
            call: Call::Healthy,
        })
        .unwrap();
        for cut in 1..frame.len() {
            assert!(read::<Request>(&mut &frame[..cut]).is_err(), "cut at {cut}");
        }
        let oversized = u32::try_from(MAX_FRAME + 1).unwrap().to_le_bytes();
        assert!(
            read::<Request>(&mut oversized.as_slice())
                .unwrap_err()
                .to_string()
                .contains("at most")
        );
        let mut surplus = frame.to_vec();
        surplus[0] += 1;
        surplus.push(0);
        assert!(read::<Request>(&mut surplus.as_slice()).is_err());
        assert!(read::<Request>(&mut [2, 0, 0, 0, 1, 0xff].as_slice()).is_err());
        assert!(encode(&Sensitive(vec![0; MAX_FRAME + 1])).is_err());
    }

    #[tokio::test]
    async fn noise_before_the_preamble_is_skipped_and_bounded() {
        let mut stream = b"running 1 test\n\nsignet-hsm\nsignet-hsm-worker/1\nrest".as_slice();
        read_preamble(&mut stream).await.unwrap();
        assert_eq!(stream, b"rest");
        let noise = vec![b'x'; MAX_NOISE * 2];
        assert!(
            read_preamble(&mut noise.as_slice())
                .await
                .unwrap_err()
                .to_string()
                .contains("protocol")
        );
    }

    // R10
    #[test]
    fn secrets_do_not_print() {
        let call = Call::Seal {
            plaintext: Sensitive(b"canary".to_vec()),
            associated: vec![],
        };
        let hello = Hello {
            module: "m".into(),
            label: "l".into(),
            pin: Sensitive(b"canary".to_vec()),
            task: Task::Initialize {
                so_pin: Sensitive(b"canary".to_vec()),
            },
        };
        for printed in [
            format!("{call:?}"),
            format!("{hello:?}"),
            format!("{:?}", Answer::Secret(Sensitive(b"canary".to_vec()))),
        ] {
            assert!(printed.contains("[redacted]"));
            assert!(
                !printed.contains("canary") && !printed.contains("99, 97, 110"),
                "{printed}"
            );
        }
    }
}
