use std::future::{Ready, ready};
use std::pin::{Pin, pin};

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::future::{Either, select};

use super::problem::{Kind, Problem, no_token};
use crate::cache::{Mode, one_budget};
use crate::domain::Role;
use crate::service::{Caller, Claims, Sessions};

/// The caller, whoever they are. Its presence among a handler's arguments is what makes the route
/// need a token.
pub(super) struct Authenticated(pub(super) Caller);

/// The caller, who is an admin.
pub(super) struct Admin;

/// Somebody whose token is ours. Whether they may still use it is looked up together with what they
/// ask for.
pub(super) struct Calling {
    sessions: web::Data<Sessions>,
    claims: Claims,
}

type Verdict<T> = Result<T, Problem>;

/// Ready where the caller is at hand, so that a hit boxes nothing.
type Checking<T> = Either<Ready<Verdict<T>>, Pin<Box<dyn Future<Output = Verdict<T>>>>>;

fn check<T: 'static>(
    request: &HttpRequest,
    admit: impl Fn(Caller) -> Verdict<T> + 'static,
) -> Checking<T> {
    let Calling { sessions, claims } = match Calling::of(request) {
        Ok(calling) => calling,
        Err(problem) => return Either::Left(ready(Err(problem))),
    };
    if let Some(caller) = sessions.peek_caller(&claims) {
        return Either::Left(ready(caller.map_err(Problem::from).and_then(admit)));
    }
    Either::Right(Box::pin(
        async move { admit(sessions.caller(&claims).await?) },
    ))
}

impl Calling {
    fn of(request: &HttpRequest) -> Verdict<Self> {
        let token = bearer_token(request).ok_or_else(no_token)?;
        let sessions = request.app_data::<web::Data<Sessions>>();
        let sessions = sessions.ok_or_else(|| Problem::of(Kind::Internal))?;
        Ok(Self {
            claims: sessions.claims(token)?,
            sessions: sessions.clone(),
        })
    }

    /// What `read` answers, if they may still ask. Where neither is at hand, both are looked up at
    /// once: a round trip less for each read that a server answers. Whoever may not ask is told so
    /// as soon as that is known. `no-cache`, which goes to the database, waits for it.
    pub(super) async fn reads<T>(
        self,
        mode: Mode,
        read: impl Future<Output = Verdict<T>>,
    ) -> Verdict<T> {
        let Self { sessions, claims } = self;
        if let Some(caller) = sessions.peek_caller(&claims) {
            caller?;
            return read.await;
        }
        let caller = sessions.caller(&claims);
        if mode == Mode::Refresh {
            caller.await?;
            return read.await;
        }
        // Each on a budget of its own: they wait at the same time.
        let read = one_budget(read);
        match select(pin!(caller), pin!(read)).await {
            Either::Left((caller, read)) => {
                caller?;
                read.await
            }
            Either::Right((read, caller)) => {
                caller.await?;
                read
            }
        }
    }
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

impl FromRequest for Calling {
    type Error = Problem;
    type Future = Ready<Verdict<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request))
    }
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
