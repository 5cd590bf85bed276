use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use bytes::Bytes;

use super::conditional::not_modified;
use super::position;
use super::problem::{Kind, Problem};
use crate::cache::{Forward, Read, Source};
use crate::service::{Committed, Document, PageDocument};

/// RFC 9211.
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Whoever keeps an answer must ask whether it still holds: only this service knows.
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The answer to a read: the document, or 304 where the client has it already.
pub(super) fn found(request: &HttpRequest, document: Document, source: Source) -> HttpResponse {
    let Document { etag, body } = document;
    let unchanged = not_modified(request, &etag);
    let mut response = HttpResponse::build(if unchanged {
        StatusCode::NOT_MODIFIED
    } else {
        StatusCode::OK
    });
    if let Ok(etag) = HeaderValue::from_maybe_shared(etag) {
        response.insert_header((header::ETAG, etag));
    }
    response.insert_header((header::CACHE_CONTROL, PRIVATE));
    response.insert_header((CACHE_STATUS, cache_status(source)));
    if unchanged {
        return response.finish();
    }
    response.insert_header((header::CONTENT_TYPE, JSON));
    response.body(body)
}

/// The answer to a read of a list: the page, and where the next one is.
pub(super) fn listed(
    request: &HttpRequest,
    path: &str,
    limit: i64,
    read: Read<PageDocument>,
) -> HttpResponse {
    // A list that is empty is a page all the same: there is always a value.
    let Some(PageDocument { next, document }) = read.value else {
        return absent("page", read.source).error_response();
    };
    let mut response = found(request, document, read.source);
    if let Some(after) = next {
        let link = format!("<{path}?after={after}&limit={limit}>; rel=\"next\"");
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    response
}

/// The answer to a read that found nothing.
pub(super) fn absent(what: &str, source: Source) -> Problem {
    Problem::because(Kind::Absent, format!("there is no such {what}"))
        .with_header(CACHE_STATUS, cache_status(source))
}

/// The answer to a write that made or changed a thing: the thing.
pub(super) fn written(document: Committed<Document>) -> HttpResponse {
    build(StatusCode::OK, document, None)
}

/// The answer to a write that took a thing away.
pub(super) fn removed(deletion: &Committed<()>) -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(position::header(deletion.position))
        .finish()
}

/// The answer to a write that made a thing, which is found under `location` from now on.
pub(super) fn created(document: Committed<Document>, location: &str) -> HttpResponse {
    build(
        StatusCode::CREATED,
        document,
        HeaderValue::from_str(location).ok(),
    )
}

fn build(
    status: StatusCode,
    document: Committed<Document>,
    location: Option<HeaderValue>,
) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    response.insert_header(position::header(document.position));
    let document = document.value;
    if let Ok(etag) = HeaderValue::from_maybe_shared(document.etag) {
        response.insert_header((header::ETAG, etag));
    }
    if let Some(location) = location {
        response.insert_header((header::LOCATION, location));
    }
    response.insert_header((header::CACHE_CONTROL, PRIVATE));
    response.insert_header((header::CONTENT_TYPE, JSON));
    response.body(document.body)
}

/// Where an answer came from, without formatting machinery: this is on the hot path.
fn cache_status(source: Source) -> HeaderValue {
    let (reason, stored, collapsed) = match source {
        Source::Hit { tier, ttl } => {
            let mut digits = itoa::Buffer::new();
            let mut value = Vec::with_capacity(48);
            value.extend_from_slice(b"alacena; hit; ttl=");
            value.extend_from_slice(digits.format(ttl).as_bytes());
            value.extend_from_slice(b"; detail=");
            value.extend_from_slice(tier.name().as_bytes());
            return HeaderValue::from_maybe_shared(Bytes::from(value))
                .unwrap_or(HeaderValue::from_static("alacena; hit"));
        }
        Source::Loaded {
            reason,
            stored,
            collapsed,
        } => (reason, stored, collapsed),
    };
    let reason = match reason {
        Forward::Miss => "uri-miss",
        Forward::Stale => "stale",
        Forward::Request => "request",
        Forward::Bypass => "bypass",
    };
    let stored = if stored { "; stored" } else { "" };
    let collapsed = if collapsed { "; collapsed" } else { "" };
    HeaderValue::try_from(format!("alacena; fwd={reason}{stored}{collapsed}"))
        .unwrap_or(HeaderValue::from_static("alacena; fwd=miss"))
}
