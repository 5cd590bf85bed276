use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, http::header};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::Authenticated;
use super::client::TrustedProxies;
use super::input::Form;
use super::problem::{Problem, no_token};
use super::respond::found;
use super::telemetry::Telemetry;
use crate::domain::{FieldError, Password, User};
use crate::service::{Sessions, Users};

pub(super) fn routes(config: &mut ServiceConfig, telemetry: &Telemetry) {
    config.service(telemetry.resource("/auth/login", [web::post().to(login)]));
    config.service(telemetry.resource("/auth/me", [web::get().to(me), web::head().to(me)]));
}

/// The password form of OAuth 2.0 (RFC 6749, 4.3.2). What else its clients send is not looked at.
#[derive(Deserialize, ToSchema)]
pub(super) struct LoginForm {
    /// The e-mail address.
    #[schema(example = "admin@example.com")]
    username: String,
    #[schema(example = "admin123", format = Password)]
    password: String,
    /// `password`, if it is given.
    #[schema(example = "password")]
    grant_type: Option<String>,
}

/// A login's outcome (RFC 6749, 5.1).
#[derive(Serialize, ToSchema)]
pub(super) struct LoginAnswer {
    /// To be sent with each request, as `Authorization: Bearer …`.
    access_token: String,
    #[schema(example = "bearer")]
    token_type: &'static str,
    /// Seconds until the token expires.
    #[schema(example = 1800)]
    expires_in: u64,
}

/// Log in
///
/// Too many failures from one address or for one account are answered with 429 for a while.
#[utoipa::path(post, path = "/auth/login", tag = "auth",
    request_body(content = LoginForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "A token", body = LoginAnswer)))]
pub(super) async fn login(
    request: HttpRequest,
    sessions: web::Data<Sessions>,
    proxies: web::Data<TrustedProxies>,
    Form(form): Form<LoginForm>,
) -> Result<HttpResponse, Problem> {
    let LoginForm {
        username,
        password,
        grant_type,
    } = form;
    let too_long = |text: &str, most: usize| text.chars().count() > most;
    let mut errors = Vec::new();
    if too_long(&username, 254) {
        errors.push(field("username", "must have at most 254 characters"));
    }
    if too_long(&password, Password::MAX) {
        errors.push(field("password", "must have at most 128 characters"));
    }
    if grant_type.is_some_and(|grant| !grant.is_empty() && grant != "password") {
        errors.push(field("grant_type", "must be `password`, or be left out"));
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    let address = proxies.client_of(&request);
    let session = sessions
        .login(&username, SecretString::from(password), address)
        .await?;
    let answer = LoginAnswer {
        access_token: session.token,
        token_type: "bearer",
        expires_in: session.ttl.as_secs(),
    };
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(answer))
}

fn field(field: &str, message: &str) -> FieldError {
    FieldError {
        field: field.to_owned(),
        message: message.to_owned(),
    }
}

/// Who am I?
#[utoipa::path(get, path = "/auth/me", tag = "auth",
    responses((status = 200, description = "The caller", body = User)),
    security(("login" = [])))]
pub(super) async fn me(
    request: HttpRequest,
    Authenticated { caller, mode }: Authenticated,
    users: web::Data<Users>,
) -> Result<HttpResponse, Problem> {
    let read = users.get(caller.id, mode).await?;
    // Deleted since the token was checked: then it is void.
    let user = read.value.ok_or_else(no_token)?;
    Ok(found(&request, user.document, read.source))
}
