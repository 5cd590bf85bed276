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

/// What `If-Match` expects of the row of this kind and id (RFC 9110, 13.1.1: compared strongly).
/// Without it, nothing. A tag that is not of this row is met by no version.
pub(super) fn expected(request: &HttpRequest, kind: char, id: i64) -> Expected {
    let Some(given) = joined(request, header::IF_MATCH) else {
        return Expected::default();
    };
    let tags: Vec<&str> = tags(&given).collect();
    if tags.contains(&"*") {
        return Expected::default();
    }
    let versions = tags
        .iter()
        .filter_map(|tag| Document::version_in(tag, kind, id))
        .collect();
    Expected {
        versions: Some(versions),
        token_version: None,
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
    fn if_match_names_the_versions_of_this_row_alone() {
        let versions = |value: &str| expected(&request(header::IF_MATCH, value), 'u', 7).versions;
        assert_eq!(versions("\"u7.3\", \"u7.4\""), Some(vec![3, 4]));
        assert_eq!(versions("W/\"u7.3\""), Some(vec![]));
        assert_eq!(versions("\"u8.3\""), Some(vec![]));
        assert_eq!(versions("\"p7.3\""), Some(vec![]));
        assert_eq!(versions("*"), None);
    }
}
