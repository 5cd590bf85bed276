use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderName};

use crate::service::{Document, Expected};

/// Whether `If-None-Match` names the representation that would be sent (RFC 9110, 13.1.2: compared
/// weakly, so that a proxy's weakened tag counts too).
pub(super) fn not_modified(request: &HttpRequest, etag: &[u8]) -> bool {
    let mut values = request.headers().get_all(header::IF_NONE_MATCH).peekable();
    if values.peek().is_none() {
        return false;
    }
    values.any(|value| {
        let value = value.as_bytes();
        value == etag
            || std::str::from_utf8(value).is_ok_and(|value| {
                tags(value).any(|tag| {
                    tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag
                })
            })
    })
}

/// What `If-Match` expects of a row of this kind (RFC 9110, 13.1.1: compared strongly). Without it,
/// nothing. The tag of another row matches no revision of this one.
pub(super) fn expected(request: &HttpRequest, kind: char) -> Expected {
    let Some(given) = joined(request, header::IF_MATCH) else {
        return Expected::default();
    };
    let tags: Vec<&str> = tags(&given).collect();
    if tags.contains(&"*") {
        return Expected::default();
    }
    let revisions = tags
        .iter()
        .filter_map(|tag| Document::revision_in(tag, kind))
        .collect();
    Expected {
        revisions: Some(revisions),
        token_nonce: None,
    }
}

fn joined(request: &HttpRequest, name: HeaderName) -> Option<String> {
    let values: Vec<&str> = request
        .headers()
        .get_all(name)
        .map(|value| value.to_str().unwrap_or_default())
        .collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// The entity tags of a list. None of ours holds a comma.
fn tags(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn request(name: HeaderName, value: &str) -> HttpRequest {
        TestRequest::get()
            .insert_header((name, value))
            .to_http_request()
    }

    #[test]
    fn if_none_match_takes_lists_weak_tags_and_the_star() {
        let etag = b"\"u7.3\"";
        for value in ["\"u7.3\"", "W/\"u7.3\"", "\"x\", \"u7.3\"", "*"] {
            assert!(
                not_modified(&request(header::IF_NONE_MATCH, value), etag),
                "{value}"
            );
        }
        for value in ["\"u7.2\"", "u7.3", ""] {
            assert!(
                !not_modified(&request(header::IF_NONE_MATCH, value), etag),
                "{value}"
            );
        }
        assert!(!not_modified(&TestRequest::get().to_http_request(), etag));
    }

    #[test]
    fn if_match_names_revisions_of_this_kind_alone() {
        let revisions = |value: &str| expected(&request(header::IF_MATCH, value), 'u').revisions;
        let tag = |kind: &str, digits: &str| format!("\"{kind}{digits}\"");
        let (three, last) = ("0000000000000003", "ffffffffffffffff");
        let both = format!("{}, {}", tag("u", three), tag("u", last));
        assert_eq!(revisions(&both), Some(vec![3, -1]));
        for other in [
            format!("W/{}", tag("u", three)),
            tag("p", three),
            tag("u", "3"),
            tag("u", "FFFFFFFFFFFFFFFF"),
            tag("u", "+000000000000003"),
            "\"u7.3\"".to_owned(),
        ] {
            assert_eq!(revisions(&other), Some(vec![]), "{other}");
        }
        assert_eq!(revisions("*"), None);
    }
}
