use std::future::{Future, IntoFuture};
use std::pin::Pin;

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};
use serde::Serialize;
use serde_json::Value;

/// A request to be sent: awaiting it sends it.
#[must_use = "a call is sent when it is awaited"]
#[derive(Debug)]
pub(crate) struct Call(RequestBuilder);

impl Call {
    pub(crate) fn new(request: RequestBuilder) -> Self {
        Self(request)
    }

    /// With this token.
    pub(crate) fn by(self, token: &str) -> Self {
        Self(self.0.bearer_auth(token))
    }

    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        Self(self.0.header(name, value))
    }

    /// Answered from the database.
    pub(crate) fn no_cache(self) -> Self {
        self.header("cache-control", "no-cache")
    }

    /// From this client, as a trusted proxy tells.
    pub(crate) fn from(self, address: &str) -> Self {
        self.header("x-forwarded-for", address)
    }

    pub(crate) fn json(self, body: &impl Serialize) -> Self {
        Self(self.0.json(body))
    }

    pub(crate) fn form(self, body: &impl Serialize) -> Self {
        Self(self.0.form(body))
    }

    pub(crate) fn query(self, query: &impl Serialize) -> Self {
        Self(self.0.query(query))
    }

    /// A body of this type, to the letter.
    pub(crate) fn body(self, content_type: &str, body: impl Into<reqwest::Body>) -> Self {
        Self(self.0.header("content-type", content_type).body(body))
    }

    /// The answer, or why there is none.
    pub(crate) async fn send(self) -> Result<Answer, reqwest::Error> {
        let response = self.0.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.text().await?;
        Ok(Answer {
            status,
            headers,
            body,
        })
    }
}

impl IntoFuture for Call {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let answer = self.send().await.expect("the service answers");
            answer.check_promises();
            answer
        })
    }
}

/// What the service answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    /// What every answer keeps to.
    fn check_promises(&self) {
        assert!(
            !self.body.contains("$argon2") && !self.body.contains("password_hash"),
            "a hash left the service: {self:?}"
        );
        assert!(
            self.has("x-request-id"),
            "every answer has a request id: {self:?}"
        );
        if self.status.is_client_error() {
            assert_eq!(self.header("content-type"), "application/problem+json");
        }
    }

    /// This answer, which must have this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }

    /// This answer, which must be a problem of this status and kind.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, kind: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let body = answer.json();
        assert_eq!(
            body["type"],
            format!("urn:alacena:problem:{kind}"),
            "{body}"
        );
        assert_eq!(body["status"], status, "{body}");
        for text in ["title", "detail"] {
            assert!(
                body[text].as_str().is_some_and(|text| !text.is_empty()),
                "{body}"
            );
        }
        answer
    }

    /// This answer, which must be a 422 that names these fields, in this order.
    #[track_caller]
    pub(crate) fn invalid(self, fields: &[&str]) -> Self {
        let answer = self.problem(422, "invalid");
        let body = answer.json();
        let named: Vec<&str> = body["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|error| error["field"].as_str())
            .collect();
        assert_eq!(named, fields, "{body}");
        answer
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        match serde_json::from_str(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{error}: {self:?}"),
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.contains_key(name)
    }

    /// A header's value; empty if it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    pub(crate) fn cache_status(&self) -> &str {
        self.header("cache-status")
    }

    pub(crate) fn etag(&self) -> &str {
        self.header("etag")
    }

    /// Whether the cache answered.
    pub(crate) fn is_hit(&self) -> bool {
        self.cache_status().starts_with("alacena; hit; ttl=")
    }

    /// The ttl that a hit carries.
    #[track_caller]
    pub(crate) fn ttl(&self) -> i64 {
        match self.ttl_if_hit() {
            Some(ttl) => ttl,
            None => panic!("no ttl: {self:?}"),
        }
    }

    /// The same, if it is a hit.
    pub(crate) fn ttl_if_hit(&self) -> Option<i64> {
        let status = self.headers.get("cache-status")?.to_str().ok()?;
        let ttl = status
            .split("; ")
            .find_map(|part| part.strip_prefix("ttl="));
        ttl?.parse().ok()
    }

    /// Seconds to wait, which must be given and be at least one.
    #[track_caller]
    pub(crate) fn retry_after(&self) -> u64 {
        let seconds = self.header("retry-after").parse().unwrap_or(0);
        assert!(seconds >= 1, "no retry-after: {self:?}");
        seconds
    }
}
