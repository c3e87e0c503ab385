//! As much of an HTTP/1.1 client as a caller needs that has to notice when its request was sent: one request at a time on a
//! connection that is kept, in the clear.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than an edge takes for an answer, whatever is wrong with it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection, made when it is needed.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    /// To this address.
    pub fn new(address: SocketAddr) -> Client {
        Client { address, stream: None }
    }

    /// Status and body of a POST with JSON. After an error nothing is known of the request, and the next is on a new connection.
    pub fn post(&mut self, path: &str, token: &str, body: &str) -> io::Result<(u16, Vec<u8>)> {
        self.post_and((path, token, body), |_| ())
    }

    /// The same of a path, a token and a body; `written` comes between the request and its answer.
    pub fn post_and(
        &mut self,
        (path, token, body): (&str, &str, &str),
        written: impl FnOnce(&TcpStream),
    ) -> io::Result<(u16, Vec<u8>)> {
        let fields = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
        self.ask(("POST", path), &fields, body, written)
    }

    /// The same of a GET without credentials.
    pub fn get(&mut self, path: &str) -> io::Result<(u16, Vec<u8>)> {
        self.ask(("GET", path), "", "", |_| ())
    }

    fn ask(
        &mut self,
        (method, path): (&str, &str),
        fields: &str,
        body: &str,
        written: impl FnOnce(&TcpStream),
    ) -> io::Result<(u16, Vec<u8>)> {
        let (address, length) = (self.address, body.len());
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{fields}Content-Length: {length}\r\n\r\n{body}");
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                BufReader::new(stream)
            }
        };
        stream.get_mut().write_all(request.as_bytes())?;
        written(stream.get_ref());
        let answer = answer(&mut stream)?;
        self.stream = Some(stream);
        Ok(answer)
    }
}

fn answer(stream: &mut impl BufRead) -> io::Result<(u16, Vec<u8>)> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "not an answer");
    let mut line = String::new();
    let mut next = |stream: &mut dyn BufRead| {
        line.clear();
        match stream.read_line(&mut line)? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            _ => Ok(line.trim_end().to_owned()),
        }
    };
    let status = next(stream)?;
    let status = status.split(' ').nth(1).and_then(|status| status.parse().ok());
    let mut length = 0;
    loop {
        let field = next(stream)?.to_ascii_lowercase();
        if field.is_empty() {
            break;
        }
        if let Some(value) = field.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(|_| broken())?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((status.ok_or_else(broken)?, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_to_its_end_and_no_further() {
        let mut two = &b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 503 No\r\n\r\n"[..];
        assert_eq!(answer(&mut two).unwrap(), (201, b"{}".to_vec()));
        assert_eq!(answer(&mut two).unwrap(), (503, Vec::new()));
        answer(&mut two).unwrap_err();
        answer(&mut &b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"[..]).unwrap_err();
    }
}
