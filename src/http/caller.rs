use std::future::{Ready, ready};
use std::pin::{Pin, pin};

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::future::{Either, select};

use super::input::mode;
use super::position::position;
use super::problem::{Kind, Problem, no_token};
use crate::cache::{Cache, Mode, Position, one_budget};
use crate::domain::Role;
use crate::service::{Caller, Claims, Sessions};

/// The caller, whoever they are. Its presence among a handler's arguments is what makes the route
/// need a token.
pub(super) struct Authenticated {
    pub(super) caller: Caller,
    /// How they want to read.
    pub(super) mode: Mode,
}

/// The caller, who is an admin.
pub(super) struct Admin;

/// Somebody whose token is ours. Whether they may still use it is looked up together with what they
/// ask for.
pub(super) struct Calling {
    sessions: web::Data<Sessions>,
    cache: web::Data<Cache>,
    claims: Claims,
    mode: Mode,
    /// They must be answered from no earlier than this.
    position: Option<Position>,
    /// This instance has not got so far.
    is_behind: bool,
}

type Verdict<T> = Result<T, Problem>;

/// Ready where the caller is at hand, so that a hit boxes nothing.
type Checking<T> = Either<Ready<Verdict<T>>, Pin<Box<dyn Future<Output = Verdict<T>>>>>;

fn check<T: 'static>(
    request: &HttpRequest,
    admit: impl Fn(Caller, Mode) -> Verdict<T> + 'static,
) -> Checking<T> {
    let mut calling = match Calling::of(request) {
        Ok(calling) => calling,
        Err(problem) => return Either::Left(ready(Err(problem))),
    };
    if let Some(caller) = calling.peek() {
        let mode = calling.mode;
        let admitted = caller.and_then(|caller| admit(caller, mode));
        return Either::Left(ready(admitted));
    }
    Either::Right(Box::pin(async move {
        let mode = calling.mode().await;
        admit(calling.caller().await?, mode)
    }))
}

impl Calling {
    fn of(request: &HttpRequest) -> Verdict<Self> {
        let token = bearer_token(request).ok_or_else(no_token)?;
        let sessions = request.app_data::<web::Data<Sessions>>();
        let sessions = sessions.ok_or_else(|| Problem::of(Kind::Internal))?;
        let cache = request.app_data::<web::Data<Cache>>();
        let cache = cache.ok_or_else(|| Problem::of(Kind::Internal))?;
        Ok(Self {
            claims: sessions.claims(token)?,
            sessions: sessions.clone(),
            cache: cache.clone(),
            mode: mode(request),
            position: position(request)?,
            is_behind: false,
        })
    }

    /// How they want to read, and must: whoever names a position that this instance does not reach in
    /// a while is answered from the database.
    pub(super) async fn mode(&mut self) -> Mode {
        if let Some(position) = self.position.take() {
            self.is_behind = !self.cache.has_passed(position).await;
        }
        if self.is_behind {
            Mode::Refresh
        } else {
            self.mode
        }
    }

    /// Who they are, if that is at hand and good enough.
    fn peek(&self) -> Option<Verdict<Caller>> {
        if self.position.is_some() || self.is_behind {
            return None;
        }
        let caller = self.sessions.peek_caller(&self.claims)?;
        Some(caller.map_err(Problem::from))
    }

    async fn caller(&self) -> Verdict<Caller> {
        let mode = if self.is_behind {
            Mode::Refresh
        } else {
            Mode::Read
        };
        Ok(self.sessions.caller(&self.claims, mode).await?)
    }

    /// What `read` answers, if they may still ask. Where neither is at hand, both are looked up at
    /// once: a round trip less for each read that a server answers. Whoever may not ask is told so
    /// as soon as that is known. `no-cache`, which goes to the database, waits for it.
    pub(super) async fn reads<T>(
        self,
        mode: Mode,
        read: impl Future<Output = Verdict<T>>,
    ) -> Verdict<T> {
        if let Some(caller) = self.peek() {
            caller?;
            return read.await;
        }
        let caller = self.caller();
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
        check(request, |caller, mode| Ok(Self { caller, mode }))
    }
}

impl FromRequest for Admin {
    type Error = Problem;
    type Future = Checking<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        check(request, |caller, _| match caller.role {
            Role::Admin => Ok(Self),
            Role::User => Err(Problem::because(
                Kind::Forbidden,
                "only an admin may do this",
            )),
        })
    }
}
