//! What a worker and its parent say to each other over one socket: frames of a length, 4 bytes, big-endian, and as many bytes of
//! postcard, or of a table as it is.
//!
//! The parent: a [`Hello`], its tables, then requests. The worker: whether it is ready, then to each request any number of questions
//! for a count, each of which is answered, and the outcome.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::call::Ended;
use crate::component::LoadFailure;
use crate::failure::{FailureKind, RuleError, one_line};
use crate::import::Log;
use crate::import::counter::Problem;
use crate::question::Answer;
use crate::table::TableKind;
use crate::value::Value;

/// Bytes of a length.
const HEAD: usize = 4;
/// Most bytes of a frame to a worker: more than a bundle may have.
const MOST_TOLD: usize = 256 << 20;
/// Most bytes of a frame from a worker, for each request that it is about: an answer crosses with at most 64 KiB, and its log has 16.
const MOST_SAID: usize = 256 << 10;

/// What a worker is, of [`crate::PluginSource`] and [`crate::Settings`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) name: String,
    pub(super) config: BTreeMap<String, Value>,
    pub(super) imports: Vec<String>,
    /// Name, file and kind of each table, whose text follows in a frame of its own.
    pub(super) tables: Vec<(String, String, TableKind)>,
    pub(super) deadline: Duration,
    pub(super) memory: usize,
    pub(super) max_memory: usize,
    pub(super) max_deadline: Duration,
    pub(super) keep_resident: usize,
}

/// Why a worker is not ready.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Unready {
    DoesNotStart(FailureKind, String),
    WrongWorld(String),
    Failed(String),
}

/// A worker's part of a call.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Count {
        key: String,
        window: u32,
    },
    Ended {
        answer: Result<Answer, (FailureKind, String)>,
        log: Log,
        memory: usize,
    },
}

/// Why a count is not answered with a number.
pub(super) type Counted = Result<u32, Problem>;

impl From<LoadFailure> for Unready {
    fn from(failure: LoadFailure) -> Unready {
        match failure {
            LoadFailure::DoesNotStart(RuleError::Failed { kind, detail }) => Unready::DoesNotStart(kind, detail),
            LoadFailure::WrongWorld(why) => Unready::WrongWorld(why),
            other => Unready::Failed(other.to_string()),
        }
    }
}

impl From<Unready> for LoadFailure {
    fn from(unready: Unready) -> LoadFailure {
        match unready {
            Unready::DoesNotStart(kind, detail) => {
                LoadFailure::DoesNotStart(RuleError::failed(kind, one_line(&detail)))
            }
            Unready::WrongWorld(why) => LoadFailure::WrongWorld(one_line(&why)),
            Unready::Failed(why) => LoadFailure::Worker(one_line(&why)),
        }
    }
}

impl From<Ended> for Reply {
    fn from(ended: Ended) -> Reply {
        Reply::Ended {
            answer: ended.answer.map_err(|error| match error {
                RuleError::Failed { kind, detail } => (kind, detail),
                RuleError::Refused { code, .. } => (FailureKind::BadOutput, code),
            }),
            log: ended.log,
            memory: ended.memory,
        }
    }
}

/// As a call about so many requests in this process would have ended, whoever made the parts up: the answer is checked where all are.
pub(super) fn ended(answer: Result<Answer, (FailureKind, String)>, log: Log, memory: usize, requests: u32) -> Ended {
    Ended {
        answer: answer.map_err(|(kind, detail)| RuleError::failed(kind, one_line(&detail))),
        log: log.checked(requests),
        memory,
    }
}

/// A frame with a message.
pub(super) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = postcard::to_extend(message, vec![0; HEAD]).map_err(io::Error::other)?;
    let length = u32::try_from(frame.len().saturating_sub(HEAD)).map_err(io::Error::other)?;
    if let Some(head) = frame.first_chunk_mut() {
        *head = length.to_be_bytes();
    }
    Ok(frame)
}

/// The message that a frame's content is, all of it.
pub(super) fn decode<'a, T: Deserialize<'a>>(content: &'a [u8]) -> io::Result<T> {
    match postcard::take_from_bytes(content) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(invalid("bytes behind a message")),
        Err(error) => Err(invalid(error)),
    }
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Writes bytes as they are in a frame.
pub(super) fn write_raw(mut to: impl Write, content: &[u8]) -> io::Result<()> {
    let length = u32::try_from(content.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(content)
}

/// Reads a frame that a worker says while its parent waits: whether it is ready.
pub(super) fn read_said<T: DeserializeOwned>(from: impl Read) -> io::Result<T> {
    decode(&read(from, MOST_SAID)?)
}

fn read(mut from: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut head = [0; HEAD];
    from.read_exact(&mut head)?;
    let mut content = vec![0; bounded(head, most)?];
    from.read_exact(&mut content)?;
    Ok(content)
}

fn bounded(head: [u8; HEAD], most: usize) -> io::Result<usize> {
    let length = usize::try_from(u32::from_be_bytes(head)).map_err(io::Error::other)?;
    if length > most {
        return Err(invalid(format!("a frame of {length} bytes, more than {most}")));
    }
    Ok(length)
}

/// Reads the one frame that a worker says next of a call about so many requests.
pub(super) async fn receive(from: &mut (impl AsyncRead + Unpin), requests: u32) -> io::Result<Vec<u8>> {
    let most = MOST_SAID.saturating_mul(requests as usize);
    let mut read = Vec::with_capacity(4096);
    loop {
        if let Some((head, content)) = read.split_first_chunk::<HEAD>() {
            let length = bounded(*head, most)?;
            if content.len() > length {
                return Err(invalid("bytes that nobody asked for"));
            }
            if content.len() == length {
                read.drain(..HEAD);
                return Ok(read);
            }
        }
        if from.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// A worker's end of the socket.
#[derive(Debug)]
pub(crate) struct Channel {
    input: Mutex<BufReader<File>>,
    output: File,
}

impl Channel {
    pub(super) fn new(socket: File) -> io::Result<Channel> {
        let input = Mutex::new(BufReader::new(socket.try_clone()?));
        Ok(Channel { input, output: socket })
    }

    /// The next frame; none when the parent has closed its end.
    pub(super) fn read(&self) -> io::Result<Option<Vec<u8>>> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        if input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        read(&mut *input, MOST_TOLD).map(Some)
    }

    /// One that must come.
    pub(super) fn expect(&self) -> io::Result<Vec<u8>> {
        self.read()?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    pub(super) fn write(&self, message: &impl Serialize) -> io::Result<()> {
        (&self.output).write_all(&encode(message)?)
    }

    /// Has the parent count one use within the call that is being made.
    ///
    /// # Errors
    /// The parent has gone.
    pub(crate) fn count(&self, key: &str, window: u32) -> io::Result<Counted> {
        let key = key.to_owned();
        self.write(&Reply::Count { key, window })?;
        decode(&self.expect()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Argument, Caller, Payload, Protocol, Request, TokenRequest};

    #[test]
    fn a_request_crosses_as_it_is() {
        let caller = Caller {
            id: "a",
            kind: "oidc",
            issuer: "b",
            subject: "c",
            attributes: vec![
                ("roles", Argument::Texts(vec!["x", ""])),
                ("n", Argument::Int(i64::MIN)),
            ],
        };
        let token = TokenRequest {
            subject: None,
            audience: vec!["d"],
            lifetime: u32::MAX,
            claims: vec![("f", Argument::Float(0.1)), ("j", Argument::Json("{}".into()))],
        };
        let request = Request {
            profile: "p",
            key: "k",
            format: "jwt",
            tenant: "000000000001",
            caller,
            payload: Payload::Token(token),
            time: u64::MAX,
            request_id: "r",
            trace_id: Some("t"),
            source_address: "192.0.2.1",
            protocol: Protocol::Http3,
        };
        let frame = encode(&request).unwrap();
        let (head, content) = frame.split_first_chunk().unwrap();
        assert_eq!(bounded(*head, MOST_SAID).unwrap(), content.len());
        assert_eq!(decode::<Request>(content).unwrap(), request);
        assert!(decode::<Request>(&content[1..]).is_err());
        assert!(
            decode::<Request>(&[content, &[0]].concat()).is_err(),
            "nothing may follow it"
        );
    }

    // R22
    #[tokio::test]
    async fn what_a_worker_says_is_bounded_and_one_frame() {
        assert_eq!(receive(&mut &[0, 0, 0, 2, 7, 8][..], 1).await.unwrap(), [7, 8]);
        for (said, expected) in [
            (&[0xff, 0xff, 0xff, 0xff][..], io::ErrorKind::InvalidData),
            (&[0, 4, 0, 1, 7][..], io::ErrorKind::InvalidData),
            (&[0, 0, 0, 1, 7, 8][..], io::ErrorKind::InvalidData),
            (&[0, 0, 0, 2, 7][..], io::ErrorKind::UnexpectedEof),
            (&[0, 0][..], io::ErrorKind::UnexpectedEof),
        ] {
            assert_eq!(
                receive(&mut &said[..], 1).await.unwrap_err().kind(),
                expected,
                "{said:?}"
            );
        }
    }
}
