//! A connection that costs its client next to nothing: what a client takes of the machine is missing
//! to the server.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use httparse::{EMPTY_HEADER, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::traffic::Source;

/// What takes longer hangs.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// More header lines than any answer has.
const HEADERS: usize = 64;

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Where it came from, if the server says so.
    pub(super) source: Option<Source>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("cannot connect: {0}")]
    NoConnection(io::Error),
    #[error("the connection failed: {0}")]
    Lost(#[from] io::Error),
    #[error("the server hung up instead of answering")]
    HungUp,
    #[error("the answer is no HTTP: {0}")]
    Malformed(#[from] httparse::Error),
    #[error("the answer's chunks are no HTTP")]
    Chunks,
    #[error("the answer does not say how long it is")]
    Endless,
    #[error("no answer within {LIMIT:?}")]
    TimedOut,
}

/// A connection, kept alive.
pub(super) struct Connection {
    stream: TcpStream,
    received: BytesMut,
    has_answered: bool,
    is_closing: bool,
}

/// What an answer's head says.
struct Head {
    answer: Answer,
    length: usize,
    body: Body,
    is_last: bool,
}

/// How long a body is.
enum Body {
    Length(usize),
    /// Each piece says how long it is.
    Chunked,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let connected = timeout(LIMIT, TcpStream::connect(address)).await;
        let stream = connected
            .map_err(|_| Failure::TimedOut)?
            .map_err(Failure::NoConnection)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: BytesMut::with_capacity(16 * 1024),
            has_answered: false,
            is_closing: false,
        })
    }

    /// Sends a request and waits for the whole answer. After a failure the connection is of no more
    /// use.
    pub(super) async fn ask(&mut self, request: &[u8]) -> Result<Answer, Failure> {
        let answered = timeout(LIMIT, self.exchange(request)).await;
        answered.unwrap_or(Err(Failure::TimedOut))
    }

    /// Whether nobody will answer here any more.
    pub(super) fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Whether this failure may have its cause in that the server had closed the connection while nobody
    /// asked, as it may at any time.
    pub(super) fn was_closed(&self, failure: &Failure) -> bool {
        let is_closed = matches!(failure, Failure::HungUp | Failure::Lost(_));
        is_closed && self.has_answered && self.received.is_empty()
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Answer, Failure> {
        self.stream.write_all(request).await?;
        let head = loop {
            match head(&self.received)? {
                Some(head) => break head,
                None => self.receive().await?,
            }
        };
        self.received.advance(head.length);
        match head.body {
            Body::Length(length) => self.skip(length).await?,
            Body::Chunked => while self.skip_chunk().await? > 0 {},
        }
        self.has_answered = true;
        self.is_closing = head.is_last;
        Ok(head.answer)
    }

    /// Answers how long the chunk was. The last one has no length.
    async fn skip_chunk(&mut self) -> Result<usize, Failure> {
        let (head, length) = loop {
            match httparse::parse_chunk_size(&self.received).map_err(|_| Failure::Chunks)? {
                Status::Complete(parsed) => break parsed,
                Status::Partial => self.receive().await?,
            }
        };
        let length = usize::try_from(length).map_err(|_| Failure::Chunks)?;
        // A line's end follows each.
        self.skip(head + length + 2).await?;
        Ok(length)
    }

    async fn skip(&mut self, length: usize) -> Result<(), Failure> {
        while self.received.len() < length {
            self.receive().await?;
        }
        self.received.advance(length);
        Ok(())
    }

    async fn receive(&mut self) -> Result<(), Failure> {
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(Failure::HungUp),
            _ => Ok(()),
        }
    }
}

/// The head of an answer, once it is there.
fn head(received: &[u8]) -> Result<Option<Head>, Failure> {
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let Status::Complete(length) = response.parse(received)? else {
        return Ok(None);
    };
    let status = response.code.unwrap_or_default();
    let (mut body, mut source, mut is_last) = (None, None, false);
    for header in response.headers.iter() {
        let value = || std::str::from_utf8(header.value).unwrap_or_default().trim();
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            body = value().parse().ok().map(Body::Length);
        } else if is("transfer-encoding") {
            body = Some(Body::Chunked);
        } else if is("connection") {
            is_last = value().eq_ignore_ascii_case("close");
        } else if is("cache-status") {
            source = Some(Source::told_by(value()));
        }
    }
    let body = match status {
        204 | 304 => Body::Length(0),
        _ => body.ok_or(Failure::Endless)?,
    };
    Ok(Some(Head {
        answer: Answer { status, source },
        length,
        body,
        is_last,
    }))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What is made of a server's bytes, however they are cut up.
    async fn told(bytes: &'static str, at_once: usize) -> Vec<Result<Answer, String>> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            for piece in bytes.as_bytes().chunks(at_once) {
                stream.write_all(piece).await.expect("sent");
                stream.flush().await.expect("sent");
                tokio::task::yield_now().await;
            }
            // Whoever closes with requests unread takes back what was sent.
            stream.shutdown().await.expect("said all");
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let mut connection = Connection::open(address).await.expect("connected");
        let mut answers = Vec::new();
        for _ in 0..2 {
            let answer = connection.ask(b"GET / HTTP/1.1\r\n\r\n").await;
            answers.push(answer.map_err(|failure| failure.to_string()));
        }
        drop(connection);
        server.await.expect("served");
        answers
    }

    #[tokio::test]
    async fn answers_are_told_apart_however_they_arrive() {
        let two = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\
                   Cache-Status: alacena; hit; ttl=9; detail=near\r\n\r\nhelloHTTP/1.1 404 Not Found\r\n\
                   content-length: 0\r\n\r\n";
        let expected = [
            Ok(Answer {
                status: 200,
                source: Some(Source::Near),
            }),
            Ok(Answer {
                status: 404,
                source: None,
            }),
        ];
        for at_once in [1, 7, 1000] {
            assert_eq!(told(two, at_once).await, expected, "{at_once} at once");
        }
    }

    #[tokio::test]
    async fn what_is_no_whole_answer_is_a_failure() {
        for (bytes, why) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "hung up"),
            ("HTTP/1.1 200 OK\r\n\r\n", "how long"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nmore",
                "chunks",
            ),
            ("SSH-2.0-OpenSSH\r\n\r\n", "no HTTP"),
        ] {
            let answers = told(bytes, 1000).await;
            let first = answers[0].as_ref().expect_err(bytes);
            assert!(first.contains(why), "{first}");
        }
    }

    #[tokio::test]
    async fn an_answer_may_come_in_chunks() {
        let two = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n10\r\n0123456789abcdef\r\n\
                   0\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        for at_once in [1, 7, 1000] {
            let answers = told(two, at_once).await;
            let statuses: Vec<u16> = answers
                .iter()
                .flatten()
                .map(|answer| answer.status)
                .collect();
            assert_eq!(statuses, [200, 201], "{at_once} at once");
        }
    }

    #[tokio::test]
    async fn an_answer_without_a_body_needs_no_length() {
        let answers = told(
            "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\n",
            1000,
        )
        .await;
        let statuses: Vec<u16> = answers
            .iter()
            .flatten()
            .map(|answer| answer.status)
            .collect();
        assert_eq!(statuses, [204, 304]);
    }
}
