use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::IgnoredAny;
use utoipa::ToSchema;

use super::caller::{Admin, Authenticated, Calling};
use super::client::TrustedProxies;
use super::conditional::expected;
use super::input::{Json, PageQuery, id, page};
use super::problem::{Kind, Problem};
use super::respond::{absent, created, found, listed, removed, written};
use super::telemetry::Telemetry;
use crate::cache::{Mode, Read};
use crate::domain::{Email, FullName, NewUser, Password, Role, User, UserChange, Validation};
use crate::service::{CachedUser, UserPatch, Users};

pub(super) fn routes(config: &mut ServiceConfig, telemetry: &Telemetry) {
    config.service(telemetry.resource(
        "/users/{id}",
        [
            web::get().to(get_user),
            web::head().to(get_user),
            web::put().to(put_user),
            web::patch().to(patch_user),
            web::delete().to(delete_user),
        ],
    ));
    config.service(telemetry.resource(
        "/users",
        [
            web::get().to(list_users),
            web::head().to(list_users),
            web::post().to(post_user),
        ],
    ));
    config.service(telemetry.resource(
        "/users/by-email/{email}",
        [
            web::get().to(get_user_by_email),
            web::head().to(get_user_by_email),
        ],
    ));
}

/// Get a user
///
/// Out of the cache where it has them; `Cache-Status` tells.
#[utoipa::path(get, path = "/users/{id}", tag = "users", params(("id" = i64, Path, example = 1)),
    responses((status = 200, description = "The user", body = User)), security(("login" = [])))]
pub(super) async fn get_user(
    request: HttpRequest,
    mut calling: Calling,
    users: web::Data<Users>,
) -> Result<HttpResponse, Problem> {
    let mode = calling.mode().await;
    let read = async {
        let id = id(&request)?;
        if mode == Mode::Read
            && let Some(hit) = users.peek(id)
        {
            return Ok(hit);
        }
        Ok(users.get(id, mode).await?)
    };
    answer(&request, calling.reads(mode, read).await?)
}

/// Get a user by e-mail address
///
/// For admins, and for one's own address. Upper and lower case are the same.
#[utoipa::path(get, path = "/users/by-email/{email}", tag = "users",
    params(("email" = String, Path, example = "admin@example.com")),
    responses((status = 200, description = "The user", body = User)), security(("login" = [])))]
pub(super) async fn get_user_by_email(
    request: HttpRequest,
    Authenticated { caller, mode }: Authenticated,
    users: web::Data<Users>,
) -> Result<HttpResponse, Problem> {
    let email = web::Path::<String>::extract(&request)
        .await
        .map_err(|error| Problem::because(Kind::Malformed, error.to_string()))?
        .into_inner();
    if caller.role != Role::Admin && caller.email != email.to_ascii_lowercase() {
        return Err(Problem::because(
            Kind::Forbidden,
            "only an admin may look up another's e-mail address",
        ));
    }
    let email =
        Email::parse(&email).map_err(|invalid| Problem::field("email", invalid.to_string()))?;
    answer(&request, users.get_by_email(&email, mode).await?)
}

fn answer(request: &HttpRequest, read: Read<CachedUser>) -> Result<HttpResponse, Problem> {
    match read.value {
        Some(user) => Ok(found(request, user.document, read.source)),
        None => Err(absent("user", read.source)),
    }
}

/// List users
///
/// By id. `Link: rel="next"` leads to the next page, at the same cost at any depth.
#[utoipa::path(get, path = "/users", tag = "users", params(PageQuery),
    responses((status = 200, description = "A page of users", body = [User])),
    security(("login" = [])))]
pub(super) async fn list_users(
    request: HttpRequest,
    mut calling: Calling,
    users: web::Data<Users>,
) -> Result<HttpResponse, Problem> {
    let mode = calling.mode().await;
    let read = async {
        let page = page(&request)?;
        Ok((page.limit, users.list(page, mode).await?))
    };
    let (limit, read) = calling.reads(mode, read).await?;
    Ok(listed(&request, "/users", limit, read))
}

/// A user to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PostUser {
    #[schema(example = "ana@example.com", format = Email)]
    email: String,
    #[schema(example = "Ana López", min_length = 1, max_length = 200)]
    full_name: String,
    #[schema(example = "correct horse battery", min_length = 8, max_length = 128, format = Password)]
    password: String,
    #[schema(value_type = Option<Role>, default = "user")]
    role: Option<String>,
    #[schema(default = true)]
    is_active: Option<bool>,
}

impl PostUser {
    fn parse(self) -> Result<NewUser<Password>, Problem> {
        let mut check = Validation::default();
        let email = check.check("email", Email::parse(&self.email));
        let full_name = check.check("full_name", FullName::parse(&self.full_name));
        let password = check.check("password", Password::parse(&self.password));
        let role = check.check(
            "role",
            self.role.as_deref().map_or(Ok(Role::User), Role::parse),
        );
        let is_active = self.is_active.unwrap_or(true);
        let user = check.finish(|| {
            Some(NewUser {
                email: email?,
                full_name: full_name?,
                password: password?,
                role: role?,
                is_active,
            })
        });
        user.map_err(Problem::invalid)
    }
}

/// Make a user
#[utoipa::path(post, path = "/users", tag = "users", request_body = PostUser,
    responses((status = 201, description = "The new user", body = User)),
    security(("login" = [])))]
pub(super) async fn post_user(
    _admin: Admin,
    users: web::Data<Users>,
    body: Json<PostUser>,
) -> Result<HttpResponse, Problem> {
    let user = body.get()?.parse()?;
    let made = users.create(user).await?;
    let location = format!("/users/{}", made.value.0);
    Ok(created(made.map(|(_, document)| document), &location))
}

/// A user as they are to be. What only the service sets may be sent along, and is not looked at.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PutUser {
    #[schema(example = "ana@example.com", format = Email)]
    email: String,
    #[schema(example = "Ana López", min_length = 1, max_length = 200)]
    full_name: String,
    #[schema(value_type = Role)]
    role: String,
    is_active: bool,
    #[serde(default, rename = "id")]
    #[schema(ignore)]
    _id: IgnoredAny,
    #[serde(default, rename = "created_at")]
    #[schema(ignore)]
    _created_at: IgnoredAny,
    #[serde(default, rename = "updated_at")]
    #[schema(ignore)]
    _updated_at: IgnoredAny,
    #[serde(default, rename = "version")]
    #[schema(ignore)]
    _version: IgnoredAny,
}

/// What is to change of a user. What is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PatchUser {
    #[serde(default, deserialize_with = "given")]
    #[schema(example = "ana@example.com", format = Email)]
    email: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(example = "Ana López", min_length = 1, max_length = 200)]
    full_name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(min_length = 8, max_length = 128, format = Password)]
    password: Option<String>,
    /// Needed to change one's own password.
    #[serde(default, deserialize_with = "given")]
    #[schema(format = Password)]
    current_password: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Role>)]
    role: Option<String>,
    #[serde(default, deserialize_with = "given")]
    is_active: Option<bool>,
}

/// A field that may be left out, but not be null.
pub(super) fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

impl From<PutUser> for PatchUser {
    fn from(put: PutUser) -> Self {
        Self {
            email: Some(put.email),
            full_name: Some(put.full_name),
            password: None,
            current_password: None,
            role: Some(put.role),
            is_active: Some(put.is_active),
        }
    }
}

impl PatchUser {
    fn parse(self) -> Result<UserPatch, Problem> {
        let mut check = Validation::default();
        let email = check.check_given("email", self.email.as_deref().map(Email::parse));
        let full_name =
            check.check_given("full_name", self.full_name.as_deref().map(FullName::parse));
        let password = check.check_given("password", self.password.as_deref().map(Password::parse));
        let role = check.check_given("role", self.role.as_deref().map(Role::parse));
        let is_active = self.is_active;
        let change = check
            .finish(|| {
                Some(UserChange {
                    email,
                    full_name,
                    password,
                    role,
                    is_active,
                })
            })
            .map_err(Problem::invalid)?;
        Ok(UserPatch {
            change,
            current_password: self.current_password.map(SecretString::from),
        })
    }
}

/// Replace a user
///
/// By an admin, or by the user themself with `role` and `is_active` as they are.
#[utoipa::path(put, path = "/users/{id}", tag = "users", params(("id" = i64, Path, example = 1)),
    request_body = PutUser, responses((status = 200, description = "The user", body = User)),
    security(("login" = [])))]
pub(super) async fn put_user(
    request: HttpRequest,
    caller: Authenticated,
    users: web::Data<Users>,
    proxies: web::Data<TrustedProxies>,
    body: Json<PutUser>,
) -> Result<HttpResponse, Problem> {
    let patch = body.get().map(PatchUser::from);
    update(&request, &caller, &users, &proxies, patch).await
}

/// Change a user
///
/// By an admin, or by the user themself but for `role` and `is_active`. A new password and a
/// deactivation revoke every older token. The last active administrator stays one (409).
#[utoipa::path(patch, path = "/users/{id}", tag = "users", params(("id" = i64, Path, example = 1)),
    request_body = PatchUser, responses((status = 200, description = "The user", body = User)),
    security(("login" = [])))]
pub(super) async fn patch_user(
    request: HttpRequest,
    caller: Authenticated,
    users: web::Data<Users>,
    proxies: web::Data<TrustedProxies>,
    body: Json<PatchUser>,
) -> Result<HttpResponse, Problem> {
    update(&request, &caller, &users, &proxies, body.get()).await
}

async fn update(
    request: &HttpRequest,
    Authenticated { caller, .. }: &Authenticated,
    users: &Users,
    proxies: &TrustedProxies,
    patch: Result<PatchUser, Problem>,
) -> Result<HttpResponse, Problem> {
    let id = id(request)?;
    let patch = patch?.parse()?;
    let expected = expected(request, Users::TAG);
    let address = proxies.client_of(request);
    Ok(written(
        users.update(caller, address, id, patch, expected).await?,
    ))
}

/// Delete a user
///
/// Their tokens stop working at once. The last active administrator cannot be deleted (409).
#[utoipa::path(delete, path = "/users/{id}", tag = "users", params(("id" = i64, Path, example = 2)),
    responses((status = 204, description = "They are gone")), security(("login" = [])))]
pub(super) async fn delete_user(
    request: HttpRequest,
    _admin: Admin,
    users: web::Data<Users>,
) -> Result<HttpResponse, Problem> {
    let id = id(&request)?;
    let expected = expected(&request, Users::TAG);
    Ok(removed(&users.delete(id, expected).await?))
}
