use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;

use super::cached_user::CachedUser;
use super::caller::Caller;
use super::document::{Document, PageDocument};
use super::error::{Error, made};
use super::list::{and_one_more, page_key};
use super::policies::Policies;
use super::throttle::{Door, Throttle};
use super::written::written;
use crate::auth::PasswordHasher;
use crate::cache::{
    Cache, CacheStats, Cacheable, Change, Forward, Group, Hit, Key, Mode, Read, Source,
};
use crate::db::{Committed, Database, Expected, Modified};
use crate::domain::{Checked, Email, NewUser, Page, Password, Role, UserChange};

const WHAT: &str = "user";
pub(super) const KIND: &str = "user";
const HINT: &str = "user:email";
pub(super) const LIST: Group = Group::new("users:list");
const WRONG_PASSWORD: Error = Error::Forbidden("current_password is not right");

/// Users, read through the cache.
#[derive(Clone)]
pub struct Users {
    db: Database,
    cache: Cache,
    /// The same, for reads that are part of another.
    uncounted: Cache,
    policies: Policies,
    hasher: PasswordHasher,
    throttle: Throttle,
    patience: Duration,
}

/// What a request wants changed of a user.
#[derive(Debug)]
pub struct UserPatch {
    /// The change.
    pub change: UserChange<Password>,
    /// The password so far, which whoever changes their own must know.
    pub current_password: Option<SecretString>,
}

impl Users {
    /// What the entity tags of users begin with.
    pub const TAG: char = CachedUser::TAG;

    pub(super) fn new(
        db: Database,
        cache: Cache,
        policies: Policies,
        hasher: PasswordHasher,
        throttle: Throttle,
        patience: Duration,
    ) -> Self {
        Self {
            db,
            uncounted: cache.not_counting_reads(),
            cache,
            policies,
            hasher,
            throttle,
            patience,
        }
    }

    /// The same users with counts of their own.
    pub(super) fn counting_apart(&self) -> Self {
        let cache = self.cache.counting_apart();
        Self {
            uncounted: cache.not_counting_reads(),
            cache,
            ..self.clone()
        }
    }

    pub(super) fn stats(&self) -> CacheStats {
        self.cache.stats()
    }

    /// The user of this id, if they are at hand.
    pub fn peek(&self, id: i64) -> Option<Hit<CachedUser>> {
        self.cache.peek(&key(id))
    }

    /// The user of this id.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn get(&self, id: i64, mode: Mode) -> Result<Read<CachedUser>, Error> {
        self.get_from(&self.cache, id, mode).await
    }

    async fn get_from(
        &self,
        cache: &Cache,
        id: i64,
        mode: Mode,
    ) -> Result<Read<CachedUser>, Error> {
        let db = self.db.clone();
        let load = move || async move { load(&db, id).await };
        cache.read(&key(id), self.policies.user, mode, load).await
    }

    /// The user of this address.
    ///
    /// The cache keeps the way from the address to an id as a hint, and the user it leads to tells
    /// whether it still fits. So a changed address needs no old key voided: a hint that does not
    /// fit any more is a miss.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn get_by_email(&self, email: &Email, mode: Mode) -> Result<Read<CachedUser>, Error> {
        // Two lookups, one read: it is counted once, by its outcome.
        let read = self.follow_hint(email, mode).await?;
        self.cache.count(HINT, read.source);
        Ok(read)
    }

    async fn follow_hint(&self, email: &Email, mode: Mode) -> Result<Read<CachedUser>, Error> {
        for mode in [mode, Mode::Refresh] {
            let hint = self.hint(email, mode).await?;
            let Some(Hint(id)) = hint.value else {
                return Ok(Read {
                    value: None,
                    source: hint.source,
                });
            };
            let user = self.get_from(&self.uncounted, id, mode).await?;
            if user
                .value
                .as_ref()
                .is_some_and(|user| user.email == email.canonical())
            {
                let source = match hint.source {
                    Source::Hit { .. } => user.source,
                    loaded => loaded,
                };
                return Ok(Read {
                    value: user.value,
                    source,
                });
            }
        }
        // The address changed hands while we looked. The database knows whose it is.
        let value = CachedUser::of(self.db.user_by_email(email).await?.as_ref())?;
        let source = Source::Loaded {
            reason: Forward::Stale,
            stored: false,
            collapsed: false,
        };
        Ok(Read { value, source })
    }

    async fn hint(&self, email: &Email, mode: Mode) -> Result<Read<Hint>, Error> {
        let (db, email) = (self.db.clone(), email.clone());
        let key = hint_key(&email);
        let load = move || async move { load_hint(&db, &email).await };
        self.uncounted
            .read(&key, self.policies.list, mode, load)
            .await
    }

    /// A page of users, by id.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn list(&self, page: Page, mode: Mode) -> Result<Read<PageDocument>, Error> {
        let db = self.db.clone();
        let load = move || async move { load_page(&db, page).await };
        self.cache
            .read(&page_key(LIST, page), self.policies.list, mode, load)
            .await
    }

    /// Makes a user. Answers their id and how they look.
    ///
    /// # Errors
    /// [`Error::EmailTaken`], or why it could not be done.
    pub async fn create(
        &self,
        user: NewUser<Password>,
    ) -> Result<Committed<(i64, Document)>, Error> {
        let NewUser {
            email,
            full_name,
            password,
            role,
            is_active,
        } = user;
        let password = self.hasher.hash(password.expose().into()).await?;
        let change = new_user(&email);
        let db = self.db.clone();
        let write = self.cache.write_within(self.patience, change, async move {
            let user = NewUser {
                email,
                full_name,
                password,
                role,
                is_active,
            };
            let made = db.insert_user(user).await?;
            let id = made.value.id;
            let document = CachedUser::new(&made.value)?.document;
            Ok(written(made.map(|_| (id, document))).and(key(id)))
        });
        write.await
    }

    /// Changes a user whose row is as expected, and answers how they look now. An admin may change
    /// anybody, everybody else themself, but neither their role nor their activity.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Absent`], [`Error::Changed`], [`Error::EmailTaken`],
    /// [`Error::LastAdministrator`], [`Error::Throttled`], or why it could not be done.
    pub async fn update(
        &self,
        caller: &Caller,
        address: IpAddr,
        id: i64,
        patch: UserPatch,
        mut expected: Expected,
    ) -> Result<Committed<Document>, Error> {
        let UserPatch {
            mut change,
            current_password,
        } = patch;
        if caller.role != Role::Admin {
            if caller.id != id {
                return Err(Error::Forbidden("only an admin may change another user"));
            }
            let promoted = change.role.take().is_some_and(|role| role != caller.role);
            let switched = change.is_active.take() == Some(false);
            if promoted || switched {
                return Err(Error::Forbidden(
                    "only an admin may change a role or an activity",
                ));
            }
        }
        if change.password.is_some() && caller.id == id {
            expected.token_nonce = Some(
                self.check_current(caller, address, current_password)
                    .await?,
            );
        }
        let hash = match &change.password {
            Some(password) => Some(self.hasher.hash(password.expose().into()).await?),
            None => None,
        };
        let stale = made_stale(id, change.email.as_ref().map(Email::canonical));
        let (db, policy) = (self.db.clone(), self.policies.user);
        let if_match = expected.revisions.is_some();
        let write = self.cache.write_within(self.patience, stale, async move {
            let updated = db
                .update_user(id, change.with_password(hash), expected)
                .await?;
            if updated == Modified::Unexpected && !if_match {
                // Changed since it was checked: what was given is the current one no more.
                return Err(WRONG_PASSWORD);
            }
            let updated = made(WHAT, updated)?;
            let user = CachedUser::new(&updated.value)?;
            Ok(written(updated.map(|_| user.document.clone())).through(&user, policy))
        });
        write.await
    }

    /// Whether the caller knows their password. Answers the token nonce that it belongs to, which must
    /// be the same when the password is changed.
    async fn check_current(
        &self,
        caller: &Caller,
        address: IpAddr,
        current: Option<SecretString>,
    ) -> Result<i64, Error> {
        let Some(current) = current else {
            return Err(Error::Forbidden(
                "current_password is needed to change one's own password",
            ));
        };
        let check = async {
            let Checked { account, costs } = self.db.credentials(caller.id).await?;
            let hash = account.as_ref().map(|known| known.password_hash.clone());
            let right = self.hasher.verify(current, hash, costs).await?;
            Ok(account.filter(|_| right).map(|known| known.token_nonce))
        };
        let door = Door::OwnPassword(caller.id);
        self.throttle
            .guard(door, address, check)
            .await?
            .ok_or(WRONG_PASSWORD)
    }

    /// Deletes a user whose row is as expected.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Changed`], [`Error::LastAdministrator`], or why it could not be
    /// done.
    pub async fn delete(&self, id: i64, expected: Expected) -> Result<Committed<()>, Error> {
        let (db, policy) = (self.db.clone(), self.policies.user);
        let stale = made_stale(id, None);
        let write = self.cache.write_within(self.patience, stale, async move {
            let deleted = made(WHAT, db.delete_user(id, expected).await?)?;
            Ok(written(deleted).through_absence(policy))
        });
        write.await
    }

    /// Makes the first administrator, while there is no active one and no account has the address.
    /// Answers whether one was made.
    ///
    /// # Errors
    /// Why it could not be done.
    pub async fn ensure_admin(&self, email: Email, password: Password) -> Result<bool, Error> {
        if self.has_admin().await? {
            return Ok(false);
        }
        let full_name = crate::domain::FullName::parse("Administrator")
            .map_err(|invalid| Error::Internal(invalid.to_string()))?;
        let password = self.hasher.hash(password.expose().into()).await?;
        let stale = new_user(&email);
        let db = self.db.clone();
        let write = self.cache.write_within(self.patience, stale, async move {
            let admin = NewUser {
                email,
                full_name,
                password,
                role: Role::Admin,
                is_active: true,
            };
            let inserted = made(WHAT, db.insert_first_admin(admin).await?)?;
            let id = inserted.value.id;
            Ok(written(inserted.map(drop)).and(key(id)))
        });
        match write.await {
            Ok(_) => Ok(true),
            // Another instance that starts at the same time was faster, or the account exists but
            // is no active administrator.
            Err(Error::Changed(_) | Error::EmailTaken) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether this password is the one of the user of this address.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn has_password(&self, email: &Email, password: &str) -> Result<bool, Error> {
        match self.db.credentials_by_email(Some(email)).await?.account {
            Some(known) => {
                let hash = Some(known.password_hash);
                Ok(self.hasher.verify(password.into(), hash, vec![]).await?)
            }
            None => Ok(false),
        }
    }

    /// Whether there is an active administrator.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn has_admin(&self) -> Result<bool, Error> {
        Ok(self.db.has_active_admin().await?)
    }

    /// Sets a password without asking for the old one, for the command line.
    ///
    /// # Errors
    /// [`Error::Absent`], or why it could not be done.
    pub async fn reset_password(&self, email: &Email, password: Password) -> Result<(), Error> {
        let hash = self.hasher.hash(password.expose().into()).await?;
        let change = UserChange {
            password: Some(hash),
            ..UserChange::nothing()
        };
        self.change_by_email(email, change).await
    }

    /// Revokes every token of a user, for the command line.
    ///
    /// # Errors
    /// [`Error::Absent`], or why it could not be done.
    pub async fn revoke_tokens(&self, email: &Email) -> Result<(), Error> {
        let id = self.id_of(email).await?;
        let db = self.db.clone();
        let write = self
            .cache
            .write_within(self.patience, made_stale(id, None), async move {
                Ok(written(made(WHAT, db.revoke_tokens(id).await?)?))
            });
        write.await.map(drop)
    }

    /// Makes somebody an active admin, for the command line.
    ///
    /// # Errors
    /// [`Error::Absent`], or why it could not be done.
    pub async fn promote(&self, email: &Email) -> Result<(), Error> {
        let change = UserChange {
            role: Some(Role::Admin),
            is_active: Some(true),
            ..UserChange::nothing()
        };
        self.change_by_email(email, change).await
    }

    async fn change_by_email(
        &self,
        email: &Email,
        change: UserChange<String>,
    ) -> Result<(), Error> {
        let id = self.id_of(email).await?;
        let db = self.db.clone();
        let stale = made_stale(id, None);
        let write = self.cache.write_within(self.patience, stale, async move {
            let updated = db.update_user(id, change, Expected::default()).await?;
            Ok(written(made(WHAT, updated)?.map(drop)))
        });
        write.await.map(drop)
    }

    async fn id_of(&self, email: &Email) -> Result<i64, Error> {
        let known = self.db.credentials_by_email(Some(email)).await?.account;
        known.map(|known| known.user_id).ok_or(Error::Absent(WHAT))
    }
}

/// What a change of the user of this id makes stale, who has, or had, this address in its canonical
/// form. (An address that they had before needs no void: see [`Users::get_by_email`].)
pub(super) fn made_stale(id: i64, email: Option<&str>) -> Change {
    let change = Change::of(key(id)).and_group(LIST);
    match email {
        Some(canonical) => change.and(Key::of_text(HINT, canonical)),
        None => change,
    }
}

/// What a new user with this address makes stale: that there is no such user may be cached under the
/// address, and under the new id, which the write adds.
fn new_user(email: &Email) -> Change {
    Change::of_something_new()
        .and(hint_key(email))
        .and_group(LIST)
}

pub(super) async fn load(db: &Database, id: i64) -> Result<Option<CachedUser>, Error> {
    CachedUser::of(db.user(id).await?.as_ref())
}

pub(super) async fn load_hint(db: &Database, email: &Email) -> Result<Option<Hint>, Error> {
    Ok(db.user_by_email(email).await?.map(|user| Hint(user.id)))
}

pub(super) async fn load_page(db: &Database, page: Page) -> Result<Option<PageDocument>, Error> {
    let rows = db.users(and_one_more(page)).await?;
    PageDocument::of(&rows, page.limit, |user| user.id).map(Some)
}

/// The address in the name of a hint's key.
pub(super) fn email_of(name: &str) -> Option<Email> {
    let email = name.strip_prefix(HINT)?.strip_prefix(':')?;
    Email::parse(email).ok()
}

pub(super) fn key(id: i64) -> Key {
    Key::of_id(KIND, id)
}

pub(super) fn hint_key(email: &Email) -> Key {
    Key::of_text(HINT, email.canonical())
}

/// The id that an address led to.
#[derive(Clone, Copy)]
pub(super) struct Hint(i64);

impl Cacheable for Hint {
    fn to_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_be_bytes())
    }

    fn from_bytes(bytes: &Bytes) -> Option<Self> {
        bytes
            .as_ref()
            .try_into()
            .ok()
            .map(|id| Self(i64::from_be_bytes(id)))
    }
}
