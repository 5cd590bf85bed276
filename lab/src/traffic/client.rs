//! A connection to one instance, kept alive.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::history::fleet::Position;

/// What takes longer hangs.
const LIMIT: Duration = Duration::from_secs(20);

/// How a write says, and a read asks, where in the log of changes it stands.
pub(crate) const POSITION: HeaderName = HeaderName::from_static("alacena-position");

/// Where the answer to a read came from, as `Cache-Status` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The instance's memory.
    Near,
    /// Redis.
    Far,
    /// The database, for this request or for another that it shared the load of.
    Database,
    /// A cache, past its time: the database is away.
    Late,
}

impl Source {
    /// What a `Cache-Status` tells.
    pub(crate) fn told_by(status: &str) -> Self {
        let parameter = |name: &str| {
            let mut parameters = status.split("; ");
            parameters.find_map(|parameter| parameter.strip_prefix(name))
        };
        match (parameter("ttl="), parameter("detail=")) {
            (Some(ttl), _) if ttl.starts_with('-') => Self::Late,
            (Some(_), Some("far")) => Self::Far,
            (Some(_), _) => Self::Near,
            (None, _) => Self::Database,
        }
    }
}

/// Where an answer came from (RFC 9211).
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Of a read.
    pub(crate) source: Option<Source>,
    /// Whether it says when to come back.
    pub(crate) asks_to_come_back: bool,
    /// Of a write.
    pub(crate) position: Option<Position>,
    pub(crate) body: Bytes,
}

impl Answer {
    /// What it says, if it is not what was expected.
    pub(crate) fn complaint(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        format!(
            "{}: {}",
            self.status,
            body.chars().take(300).collect::<String>()
        )
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("cannot connect: {0}")]
    NoConnection(#[from] std::io::Error),
    #[error("the connection failed: {0}")]
    Lost(#[from] hyper::Error),
    #[error("no answer within {LIMIT:?}")]
    TimedOut,
}

/// A client of one instance, who asks one thing after the other.
pub(crate) struct Client {
    address: SocketAddr,
    host: HeaderValue,
    token: Option<HeaderValue>,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// A client that is not connected yet, with the whole `Authorization` of whoever asks.
    pub(crate) fn new(address: SocketAddr, token: Option<HeaderValue>) -> Self {
        let host = HeaderValue::try_from(address.to_string());
        Self {
            address,
            host: host.unwrap_or(HeaderValue::from_static("localhost")),
            token,
            sender: None,
        }
    }

    /// Sends a request and waits for the whole answer. Whatever fails is not tried again.
    pub(crate) async fn ask(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Answer, Failure> {
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.host.clone());
        if let Some(token) = &self.token {
            headers.insert(header::AUTHORIZATION, token.clone());
        }
        let answered = timeout(LIMIT, self.exchange(request)).await;
        let answered = answered.unwrap_or(Err(Failure::TimedOut));
        if answered.is_err() {
            self.sender = None;
        }
        answered
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        // One that the instance has closed is replaced; one that it closes just now fails.
        let sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => self.sender.insert(sender),
            None => self.sender.insert(connect(self.address).await?),
        };
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let headers = response.headers();
        let position = headers.get(POSITION).and_then(|position| {
            let position: u64 = position.to_str().ok()?.parse().ok()?;
            Position::new(position)
        });
        Ok(Answer {
            status: response.status(),
            source: headers
                .get(CACHE_STATUS)
                .map(|status| Source::told_by(status.to_str().unwrap_or_default())),
            asks_to_come_back: headers.contains_key(header::RETRY_AFTER),
            position,
            body: response.into_body().collect().await?.to_bytes(),
        })
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // Whoever asks over it learns of its failure.
        let _ = connection.await;
    });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_an_answer_came_from_is_read_from_its_cache_status() {
        for (status, source) in [
            ("alacena; hit; ttl=412; detail=near", Source::Near),
            ("alacena; hit; ttl=412; detail=far", Source::Far),
            ("alacena; hit; ttl=-12; detail=near", Source::Late),
            ("alacena; hit; ttl=-12; detail=far", Source::Late),
            ("alacena; fwd=uri-miss; stored", Source::Database),
            ("alacena; fwd=uri-miss; collapsed", Source::Database),
            ("alacena; fwd=bypass", Source::Database),
        ] {
            assert_eq!(Source::told_by(status), source, "{status}");
        }
    }
}
