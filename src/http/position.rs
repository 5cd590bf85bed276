use actix_web::HttpRequest;
use actix_web::http::header::{HeaderName, HeaderValue};

use super::problem::{Kind, Problem};
use crate::cache::Position;

/// Where in the change log a write stands. Whoever sends it with a read is not answered from before
/// it, whichever instance they ask.
pub(super) const ALACENA_POSITION: HeaderName = HeaderName::from_static("alacena-position");

/// The latest position that a request names.
///
/// # Errors
/// 400 for what is none.
pub(super) fn position(request: &HttpRequest) -> Result<Option<Position>, Problem> {
    let mut latest = None;
    for value in request.headers().get_all(ALACENA_POSITION) {
        for text in value.to_str().unwrap_or("?").split(',') {
            let number = text.trim().parse().map_err(|_| malformed(text))?;
            latest = latest.max(Some(Position::new(number)));
        }
    }
    Ok(latest)
}

fn malformed(text: &str) -> Problem {
    let detail = format!(
        "`Alacena-Position: {}` is no position; a position is the number that a write answers with",
        text.trim()
    );
    Problem::because(Kind::Malformed, detail)
}

/// The position as a write answers with it.
pub(super) fn header(position: i64) -> (HeaderName, HeaderValue) {
    (ALACENA_POSITION, HeaderValue::from(position))
}
