use std::future::{Ready, ready};
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::future::Either;

use super::problem::{Kind, Problem, no_token};
use crate::domain::Role;
use crate::service::{Caller, Sessions};

/// The caller, whoever they are. Its presence among a handler's arguments is what makes the route
/// need a token.
pub(super) struct Authenticated(pub(super) Caller);

/// The caller, who is an admin.
pub(super) struct Admin;

type Verdict<T> = Result<T, Problem>;

/// Ready where the caller is at hand, so that a hit boxes nothing.
type Checking<T> = Either<Ready<Verdict<T>>, Pin<Box<dyn Future<Output = Verdict<T>>>>>;

fn check<T: 'static>(
    request: &HttpRequest,
    admit: impl Fn(Caller) -> Verdict<T> + 'static,
) -> Checking<T> {
    let Some(token) = bearer_token(request) else {
        return Either::Left(ready(Err(no_token())));
    };
    let Some(sessions) = request.app_data::<web::Data<Sessions>>() else {
        return Either::Left(ready(Err(Problem::of(Kind::Internal))));
    };
    let claims = match sessions.claims(token) {
        Ok(claims) => claims,
        Err(error) => return Either::Left(ready(Err(error.into()))),
    };
    if let Some(caller) = sessions.peek_caller(&claims) {
        return Either::Left(ready(caller.map_err(Problem::from).and_then(admit)));
    }
    let sessions = sessions.clone();
    Either::Right(Box::pin(
        async move { admit(sessions.caller(&claims).await?) },
    ))
}

fn bearer_token(request: &HttpRequest) -> Option<&str> {
    let value = request
        .headers()
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

impl FromRequest for Authenticated {
    type Error = Problem;
    type Future = Checking<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        check(request, |caller| Ok(Self(caller)))
    }
}

impl FromRequest for Admin {
    type Error = Problem;
    type Future = Checking<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        check(request, |caller| match caller.role {
            Role::Admin => Ok(Self),
            Role::User => Err(Problem::because(
                Kind::Forbidden,
                "only an admin may do this",
            )),
        })
    }
}
