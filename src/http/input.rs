use std::num::IntErrorKind;
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header;
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use serde::de::DeserializeOwned;

use super::problem::{Kind, Problem};
use crate::cache::Mode;
use crate::domain::{MAX_LIMIT, MAX_SKIP, Page, Start};

/// How much a request's body may be, and how long it may take to come. Registered as app data.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Bytes.
    pub size: usize,
    /// From the end of the head to the end of the body.
    pub time: Duration,
}

/// The body, within its limits.
fn body(
    request: &HttpRequest,
    payload: &mut Payload,
) -> impl Future<Output = Result<web::Bytes, Problem>> + use<> {
    let limits = request.app_data::<BodyLimits>().copied();
    let body = web::Bytes::from_request(request, payload);
    async move {
        let limits = limits.ok_or_else(|| Problem::of(Kind::Internal))?;
        match tokio::time::timeout(limits.time, body).await {
            Ok(body) => body.map_err(|error| unreadable(&error, limits)),
            Err(_) => Err(Problem::because(
                Kind::RequestTimeout,
                format!("the body did not come within {:?}", limits.time),
            )),
        }
    }
}

/// A JSON body that was read but not yet looked at. The handler asks for it once it knows that
/// the caller may send one at all, so that a stranger learns 401 and not what is wrong with their
/// body.
pub(super) struct Json<T>(Result<T, Problem>);

impl<T> Json<T> {
    /// The body.
    ///
    /// # Errors
    /// 400 for what is no JSON, 413, 415, or 422 naming the field of another shape.
    pub(super) fn get(self) -> Result<T, Problem> {
        self.0
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json =
            request.mime_type().ok().flatten().is_some_and(|mime| {
                mime.subtype() == mime::JSON || mime.suffix() == Some(mime::JSON)
            });
        let body = body(request, payload);
        Box::pin(async move {
            if !is_json {
                return Ok(Self(Err(Problem::because(
                    Kind::UnsupportedMediaType,
                    "the body must be application/json",
                ))));
            }
            Ok(Self(body.await.and_then(|body| parse(&body))))
        })
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // serde would take a list for an object's fields in their order.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::field(".", "must be an object, not a list"));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() {
            let mut message = inner.to_string();
            if path == "." && message.contains("expected struct") {
                message = "must be an object".to_owned();
            }
            // serde names the place in the text too; the field is enough.
            let message = message.split(" at line ").next().unwrap_or_default();
            let field = match named_field(message) {
                Some(field) if path == "." => field.to_owned(),
                _ => path,
            };
            Problem::field(&field, message)
        } else {
            Problem::because(Kind::Malformed, format!("the body is not JSON: {inner}"))
        }
    })?;
    json.end().map_err(|error| {
        Problem::because(
            Kind::Malformed,
            format!("the body has more than one JSON value: {error}"),
        )
    })?;
    Ok(value)
}

/// The field that serde names between backticks in "missing field" and "unknown field".
fn named_field(message: &str) -> Option<&str> {
    let rest = message
        .strip_prefix("missing field `")
        .or(message.strip_prefix("unknown field `"))?;
    rest.split('`').next()
}

fn unreadable(error: &actix_web::Error, limits: BodyLimits) -> Problem {
    let too_large = || {
        let detail = format!("the body may have {} bytes", limits.size);
        Problem::because(Kind::BodyTooLarge, detail)
    };
    match error.as_error::<PayloadError>() {
        Some(PayloadError::Overflow) => too_large(),
        _ if error.as_response_error().status_code() == 413 => too_large(),
        _ => Problem::because(Kind::Malformed, format!("the body cannot be read: {error}")),
    }
}

/// A form, read at once: its route needs no token.
pub(super) struct Form<T>(pub(super) T);

impl<T: DeserializeOwned + 'static> FromRequest for Form<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_form = request
            .content_type()
            .eq_ignore_ascii_case(mime::APPLICATION_WWW_FORM_URLENCODED.as_ref());
        let body = body(request, payload);
        Box::pin(async move {
            if !is_form {
                return Err(Problem::because(
                    Kind::UnsupportedMediaType,
                    "the body must be application/x-www-form-urlencoded",
                ));
            }
            let form = serde_urlencoded::from_bytes(&body.await?);
            form.map(Self).map_err(|error| {
                let message = error.to_string();
                match named_field(&message) {
                    Some(field) => Problem::field(field, message.clone()),
                    None => Problem::because(Kind::Malformed, message),
                }
            })
        })
    }
}

/// The `{id}` of the path.
pub(super) fn id(request: &HttpRequest) -> Result<i64, Problem> {
    let text = request.match_info().get("id").unwrap_or_default();
    // One spelling for one id: `+7` and `07` are others.
    let id = text
        .parse::<i64>()
        .ok()
        .filter(|id| itoa::Buffer::new().format(*id) == text);
    id.ok_or_else(|| {
        let detail = format!("`{text}` in the path is no id; ids are whole numbers");
        Problem::because(Kind::Malformed, detail)
    })
}

/// Which page of a list a query asks for.
#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// How many to leave out, 0 to 1,000,000. Further on use `after`.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 1_000_000, default = 0, example = 0)]
    skip: Option<String>,
    /// How many to answer with.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1000, default = 100, example = 100)]
    limit: Option<String>,
    /// The cursor: only what has a higher id. Costs the same at any depth; `Link: rel="next"`
    /// has it ready.
    #[param(value_type = Option<i64>, minimum = 0)]
    after: Option<String>,
}

const DEFAULT_LIMIT: i64 = 100;

/// The page that the query asks for.
///
/// # Errors
/// 400 for what is no number, 422 for a number that is not accepted.
pub(super) fn page(request: &HttpRequest) -> Result<Page, Problem> {
    let PageQuery { skip, limit, after } = query(request)?;
    let given = |name, text: Option<String>| text.map(|text| number(name, &text)).transpose();
    let limit = given("limit", limit)?.unwrap_or(DEFAULT_LIMIT);
    let skip = given("skip", skip)?;
    let after = given("after", after)?;
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::field(
            "limit",
            format!("must be from 1 to {MAX_LIMIT}"),
        ));
    }
    let start = match (skip, after) {
        (Some(skip), Some(_)) if skip != 0 => {
            return Err(Problem::field("after", "cannot be combined with skip"));
        }
        (_, Some(after)) if after < 0 => {
            return Err(Problem::field("after", "must be an id, 0 or higher"));
        }
        (_, Some(after)) => Start::After(after),
        (skip, None) => Start::Skip(skip.unwrap_or(0)),
    };
    match start {
        Start::Skip(skip) if skip > MAX_SKIP => Err(Problem::field(
            "skip",
            format!(
                "must be at most {MAX_SKIP}; further on follow the `Link: rel=\"next\"` header, \
                 whose cursor `after=ID` costs the same at any depth"
            ),
        )),
        Start::Skip(skip) if skip < 0 => Err(Problem::field("skip", "must be 0 or more")),
        start => Ok(Page { start, limit }),
    }
}

/// The query's parameters.
///
/// # Errors
/// 400 where it cannot be read.
pub(super) fn query<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Problem> {
    serde_urlencoded::from_str(request.query_string()).map_err(|error| {
        let message = error.to_string();
        match named_field(&message) {
            Some(field) if message.starts_with("missing") => Problem::field(field, "is needed"),
            _ => Problem::because(
                Kind::Malformed,
                format!("the query cannot be read: {message}"),
            ),
        }
    })
}

/// The whole number that the query's parameter of this name is.
///
/// # Errors
/// 400 for what is none.
pub(super) fn number(name: &str, text: &str) -> Result<i64, Problem> {
    match text.parse::<i64>() {
        Ok(number) => Ok(number),
        // A number all the same, only too large: its range is for the caller to tell.
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => Ok(i64::MAX),
        Err(error) if *error.kind() == IntErrorKind::NegOverflow => Ok(i64::MIN),
        Err(_) => Err(Problem::because(
            Kind::Malformed,
            format!("`{name}={text}`: `{name}` is a whole number"),
        )),
    }
}

/// Whether the request wants an answer from the source (RFC 9111, 5.2.1.4).
pub(super) fn mode(request: &HttpRequest) -> Mode {
    let values = request.headers().get_all(header::CACHE_CONTROL);
    let no_cache = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|directive| directive.trim().eq_ignore_ascii_case("no-cache"));
    if no_cache { Mode::Refresh } else { Mode::Read }
}
