use std::fmt;
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, Responder, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::DbError;
use crate::domain::FieldError;
use crate::service::Error;

/// Every kind of error there is: one line each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Malformed,
    Unauthenticated,
    WrongCredentials,
    Forbidden,
    Absent,
    UnknownRoute,
    MethodNotAllowed,
    EmailTaken,
    LastAdministrator,
    PreconditionFailed,
    RequestTimeout,
    BodyTooLarge,
    TargetTooLong,
    UnsupportedMediaType,
    Invalid,
    TooManyAttempts,
    HeadTooLarge,
    Internal,
    Unavailable,
    Other(StatusCode),
}

impl Kind {
    fn status(self) -> StatusCode {
        self.row().0
    }

    /// Status, name in the type's URI, title.
    fn row(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::Malformed => (S::BAD_REQUEST, "malformed", "The request cannot be read"),
            Self::Unauthenticated => (S::UNAUTHORIZED, "unauthenticated", "A token is needed"),
            Self::WrongCredentials => (S::UNAUTHORIZED, "wrong-credentials", "The login failed"),
            Self::Forbidden => (S::FORBIDDEN, "forbidden", "This is not allowed"),
            Self::Absent => (S::NOT_FOUND, "absent", "There is no such thing"),
            Self::UnknownRoute => (S::NOT_FOUND, "unknown-route", "There is no such route"),
            Self::MethodNotAllowed => (
                S::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "The route has no such method",
            ),
            Self::EmailTaken => (S::CONFLICT, "email-taken", "The e-mail address is taken"),
            Self::LastAdministrator => (
                S::CONFLICT,
                "last-administrator",
                "The last active administrator must remain",
            ),
            Self::PreconditionFailed => (
                S::PRECONDITION_FAILED,
                "precondition-failed",
                "It was changed in between",
            ),
            Self::RequestTimeout => (
                S::REQUEST_TIMEOUT,
                "request-timeout",
                "The request took too long to come",
            ),
            Self::BodyTooLarge => (
                S::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "The body is too large",
            ),
            Self::TargetTooLong => (S::URI_TOO_LONG, "target-too-long", "The URL is too long"),
            Self::UnsupportedMediaType => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "The body is of another type than the route takes",
            ),
            Self::Invalid => (
                S::UNPROCESSABLE_ENTITY,
                "invalid",
                "Values are not acceptable",
            ),
            Self::TooManyAttempts => (
                S::TOO_MANY_REQUESTS,
                "too-many-attempts",
                "Too many failed attempts",
            ),
            Self::HeadTooLarge => (
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head-too-large",
                "The request's headers are too large",
            ),
            Self::Internal => (
                S::INTERNAL_SERVER_ERROR,
                "internal",
                "The service made a mistake",
            ),
            Self::Unavailable => (
                S::SERVICE_UNAVAILABLE,
                "unavailable",
                "The service cannot do this at present",
            ),
            Self::Other(status) => (
                status,
                "other",
                status.canonical_reason().unwrap_or("The request failed"),
            ),
        }
    }
}

/// An error as RFC 9457 describes it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Body {
    /// Names the kind of problem.
    #[schema(example = "urn:alacena:problem:absent")]
    r#type: String,
    /// What this kind of problem is.
    #[schema(example = "There is no such thing")]
    title: String,
    /// The status code.
    #[schema(example = 404)]
    status: u16,
    /// What it was this time.
    #[schema(example = "there is no such user")]
    detail: String,
    /// Which fields were not acceptable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

/// An answer that says what went wrong.
#[derive(Debug)]
pub(super) struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    kind: Kind,
    detail: String,
    errors: Vec<FieldError>,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

impl Problem {
    pub(super) fn of(kind: Kind) -> Self {
        Self::because(kind, kind.row().2)
    }

    pub(super) fn because(kind: Kind, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            detail: detail.into(),
            errors: vec![],
            headers: vec![],
        }))
    }

    pub(super) fn invalid(errors: Vec<FieldError>) -> Self {
        let count = errors.len();
        let detail = format!(
            "{count} {} not acceptable",
            if count == 1 { "value is" } else { "values are" }
        );
        let mut problem = Self::because(Kind::Invalid, detail);
        problem.0.errors = errors;
        problem
    }

    /// One value that is not acceptable.
    pub(super) fn field(field: &str, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError {
            field: field.to_owned(),
            message: message.into(),
        }])
    }

    pub(super) fn with_header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    pub(super) fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        let value = HeaderValue::from_str(&seconds.to_string());
        match value {
            Ok(value) => self.with_header(header::RETRY_AFTER, value),
            Err(_) => self,
        }
    }

    /// RFC 6750, 3.
    fn www_authenticate(self, value: &'static str) -> Self {
        self.with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(value))
    }

    /// The answer for an error that the framework answered in its own way: same status, same
    /// headers, our body.
    pub(super) fn envelope(status: StatusCode) -> Self {
        Self::of(match status {
            StatusCode::BAD_REQUEST => Kind::Malformed,
            StatusCode::NOT_FOUND => Kind::UnknownRoute,
            StatusCode::METHOD_NOT_ALLOWED => Kind::MethodNotAllowed,
            StatusCode::PAYLOAD_TOO_LARGE => Kind::BodyTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Kind::UnsupportedMediaType,
            StatusCode::INTERNAL_SERVER_ERROR => Kind::Internal,
            other => Kind::Other(other),
        })
    }

    /// Whether an answer with these headers is one of ours: the framework's own have no JSON.
    pub(super) fn is_json(response: &header::HeaderMap) -> bool {
        let content_type = response
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        content_type.is_some_and(|value| value == CONTENT_TYPE || value == "application/json")
    }
}

const CONTENT_TYPE: &str = "application/problem+json";

/// How soon to try again what the database kept from being done.
const DATABASE_RETRY: Duration = Duration::from_secs(1);

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::Absent(_) => Self::because(Kind::Absent, detail),
            Error::Changed(_) => Self::because(Kind::PreconditionFailed, detail),
            Error::EmailTaken => Self::because(Kind::EmailTaken, detail),
            Error::LastAdministrator => Self::because(Kind::LastAdministrator, detail),
            Error::Forbidden(_) => Self::because(Kind::Forbidden, detail),
            Error::WrongCredentials => {
                Self::because(Kind::WrongCredentials, detail).www_authenticate("Bearer")
            }
            Error::Unauthenticated(_) => Self::because(Kind::Unauthenticated, detail)
                .www_authenticate("Bearer error=\"invalid_token\""),
            Error::Throttled { retry_after } => {
                Self::because(Kind::TooManyAttempts, detail).retry_after(retry_after)
            }
            Error::Overloaded => {
                Self::because(Kind::Unavailable, detail).retry_after(DATABASE_RETRY)
            }
            Error::Database(error) => {
                let kind = match error {
                    DbError::Unavailable(_)
                    | DbError::Busy
                    | DbError::OutcomeUnknown(_)
                    | DbError::Damaged(_) => Kind::Unavailable,
                    DbError::Transient(ref why) => {
                        log::error!(
                            "the database refused reason=\"{why}\" effect=\"answered 503\""
                        );
                        Kind::Unavailable
                    }
                    DbError::EmailTaken => Kind::EmailTaken,
                    DbError::Internal(why) => {
                        log::error!("the database refused: {why}");
                        return Self::of(Kind::Internal);
                    }
                };
                // What the database says is for the log: it may name hosts and users.
                let detail = match error {
                    DbError::Busy => "the database is busy",
                    DbError::Damaged(_) => "the database is damaged; nothing was changed",
                    DbError::Transient(_) => {
                        "the database cannot do this at present; nothing was changed"
                    }
                    DbError::OutcomeUnknown(_) => {
                        "the database did not say whether the change was made; look before you \
                         try again"
                    }
                    _ => "the database cannot be reached",
                };
                Self::because(kind, detail).retry_after(DATABASE_RETRY)
            }
            Error::Internal(why) => {
                log::error!("{why}");
                Self::of(Kind::Internal)
            }
        }
    }
}

/// A request without a token.
pub(super) fn no_token() -> Problem {
    Problem::because(
        Kind::Unauthenticated,
        "the request has no `Authorization: Bearer` header",
    )
    .www_authenticate("Bearer")
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.0.kind.status()
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let Parts {
            kind,
            detail,
            errors,
            headers,
        } = &*self.0;
        let (status, name, title) = kind.row();
        let mut response = HttpResponse::build(status);
        for header in headers {
            response.append_header(header.clone());
        }
        response.insert_header((header::CONTENT_TYPE, CONTENT_TYPE));
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        let body = Body {
            r#type: format!("urn:alacena:problem:{name}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.clone(),
            errors: errors.clone(),
        };
        response.body(serde_json::to_vec(&body).unwrap_or_default())
    }
}

impl Responder for Problem {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        self.error_response()
    }
}
