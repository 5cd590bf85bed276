use chrono::NaiveDateTime;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use super::connection::{Backend, DbConnection};
use super::database::Database;
use super::error::DbError;
use super::modified::{Committed, Expected, Modified, draw, now};
use super::schema::users;
use crate::domain::{Checked, Credentials, Email, NewUser, Page, Role, Start, User, UserChange};

#[derive(Queryable, Selectable)]
#[diesel(table_name = users)]
struct UserRow {
    id: i64,
    email: String,
    full_name: String,
    role: String,
    is_active: bool,
    version: i64,
    token_nonce: i64,
    revision: i64,
    created_at: NaiveDateTime,
    updated_at: NaiveDateTime,
}

#[derive(Insertable)]
#[diesel(table_name = users)]
pub(super) struct NewUserRow {
    pub(super) email: String,
    pub(super) full_name: String,
    pub(super) role: &'static str,
    pub(super) is_active: bool,
    pub(super) password_hash: String,
    pub(super) token_nonce: i64,
    pub(super) revision: i64,
    pub(super) created_at: NaiveDateTime,
    pub(super) updated_at: NaiveDateTime,
}

#[derive(AsChangeset)]
#[diesel(table_name = users)]
struct UserChangeset {
    email: Option<String>,
    full_name: Option<String>,
    role: Option<&'static str>,
    is_active: Option<bool>,
    password_hash: Option<String>,
    token_nonce: Option<i64>,
    revision: i64,
    updated_at: NaiveDateTime,
}

/// The columns of a row, in its fields' order.
fn columns() -> <UserRow as Selectable<Backend>>::SelectExpression {
    <UserRow as Selectable<Backend>>::construct_selection()
}

impl From<NewUser<String>> for NewUserRow {
    fn from(user: NewUser<String>) -> Self {
        let time = now();
        Self {
            email: user.email.as_str().to_owned(),
            full_name: user.full_name.as_str().to_owned(),
            role: user.role.as_str(),
            is_active: user.is_active,
            password_hash: user.password,
            token_nonce: draw(),
            revision: draw(),
            created_at: time,
            updated_at: time,
        }
    }
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        Self {
            id: row.id,
            email: row.email,
            full_name: row.full_name,
            // The table's own check admits nothing else.
            role: if row.role == Role::Admin.as_str() {
                Role::Admin
            } else {
                Role::User
            },
            is_active: row.is_active,
            created_at: row.created_at.and_utc(),
            updated_at: row.updated_at.and_utc(),
            version: row.version,
            token_nonce: row.token_nonce,
            revision: row.revision,
        }
    }
}

impl Database {
    /// The user of this id.
    ///
    /// # Errors
    /// Why the database did not answer.
    pub async fn user(&self, id: i64) -> Result<Option<User>, DbError> {
        self.read(move |connection| {
            let row = users::table.find(id).select(UserRow::as_select());
            Ok(row.first(connection).optional()?.map(User::from))
        })
        .await
    }

    /// The user of this address, in whatever case it is written.
    ///
    /// # Errors
    /// Why the database did not answer.
    pub async fn user_by_email(&self, email: &Email) -> Result<Option<User>, DbError> {
        let canonical = email.canonical().to_owned();
        self.read(move |connection| {
            let row = users::table
                .filter(users::email_canonical.eq(&canonical))
                .select(UserRow::as_select());
            Ok(row.first(connection).optional()?.map(User::from))
        })
        .await
    }

    /// A page of users, by id.
    ///
    /// # Errors
    /// Why the database did not answer.
    pub async fn users(&self, page: Page) -> Result<Vec<User>, DbError> {
        self.read(move |connection| {
            let rows = users::table
                .order(users::id)
                .limit(page.limit)
                .select(UserRow::as_select());
            let rows = match page.start {
                Start::Skip(skip) => rows.offset(skip).load(connection)?,
                Start::After(id) => rows.filter(users::id.gt(id)).load(connection)?,
            };
            Ok(rows.into_iter().map(User::from).collect())
        })
        .await
    }

    /// What a login with this address checks. An address that is none has no account.
    ///
    /// # Errors
    /// Why the database did not answer.
    pub async fn credentials_by_email(&self, email: Option<&Email>) -> Result<Checked, DbError> {
        let canonical = email.map(Email::canonical).unwrap_or_default().to_owned();
        self.read(move |connection| {
            let row = users::table
                .filter(users::email_canonical.eq(&canonical))
                .select(CREDENTIALS);
            Ok(Checked {
                account: row.first(connection).optional()?.map(credentials),
                costs: password_costs(connection)?,
            })
        })
        .await
    }

    /// What a user who gives their password again is checked against.
    ///
    /// # Errors
    /// Why the database did not answer.
    pub async fn credentials(&self, id: i64) -> Result<Checked, DbError> {
        self.read(move |connection| {
            let row = users::table.find(id).select(CREDENTIALS);
            Ok(Checked {
                account: row.first(connection).optional()?.map(credentials),
                costs: password_costs(connection)?,
            })
        })
        .await
    }

    /// Replaces the hash of a password by one of the same password at another cost, unless the
    /// password was changed since. Tokens stay valid.
    ///
    /// # Errors
    /// Why the database did not answer.
    pub async fn rehash(&self, id: i64, old: String, new: String) -> Result<(), DbError> {
        let rehashed = self.write(move |connection| {
            let user = users::table.find(id).filter(users::password_hash.eq(&old));
            let set = (
                users::password_hash.eq(&new),
                users::rehashes.eq(users::rehashes + 1),
            );
            diesel::update(user)
                .set(set)
                .execute(connection)
                .map(Modified::Done)
        });
        rehashed.await.map(drop)
    }

    /// Whether there is an active administrator.
    ///
    /// # Errors
    /// Why the database did not answer.
    pub async fn has_active_admin(&self) -> Result<bool, DbError> {
        self.read(|connection| {
            let admins = users::table
                .filter(users::role.eq(Role::Admin.as_str()))
                .filter(users::is_active.eq(true));
            diesel::select(diesel::dsl::exists(admins)).get_result(connection)
        })
        .await
    }

    /// Inserts an administrator, provided that there is no active one. Of several instances that do
    /// so at the same time, one succeeds; the others get [`Modified::Unexpected`].
    ///
    /// # Errors
    /// [`DbError::EmailTaken`], or why the database did not answer.
    pub async fn insert_first_admin(
        &self,
        user: NewUser<String>,
    ) -> Result<Modified<Committed<User>>, DbError> {
        let row = NewUserRow::from(user);
        self.write(move |connection| {
            if let DbConnection::Postgresql(postgres) = connection {
                // A statement without a snapshot: the query below sees what the holder of the lock
                // committed, at any isolation level.
                postgres.batch_execute("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")?;
            }
            let user = insert(connection, &row)?;
            Ok(if has_other_active_admin(connection, user.id)? {
                Modified::Unexpected
            } else {
                Modified::Done(user)
            })
        })
        .await
    }

    /// Makes a user.
    ///
    /// # Errors
    /// [`DbError::EmailTaken`], or why the database did not answer.
    pub async fn insert_user(&self, user: NewUser<String>) -> Result<Committed<User>, DbError> {
        let row = NewUserRow::from(user);
        let inserted = self
            .write(move |connection| insert(connection, &row).map(Modified::Done))
            .await?;
        inserted.done()
    }

    /// Changes a user whose row is as expected. The last active administrator keeps both role and
    /// activity.
    ///
    /// # Errors
    /// [`DbError::EmailTaken`], or why the database did not answer.
    pub async fn update_user(
        &self,
        id: i64,
        change: UserChange<String>,
        expected: Expected,
    ) -> Result<Modified<Committed<User>>, DbError> {
        // What the triggers do for changes by hand: RETURNING does not see their values in SQLite.
        let revokes_tokens = change.password.is_some() || change.is_active == Some(false);
        let set = UserChangeset {
            email: change.email.map(|email| email.as_str().to_owned()),
            full_name: change.full_name.map(|name| name.as_str().to_owned()),
            role: change.role.map(Role::as_str),
            is_active: change.is_active,
            password_hash: change.password,
            token_nonce: revokes_tokens.then(draw),
            revision: draw(),
            updated_at: now(),
        };
        let may_remove_admin = set.role.is_some_and(|role| role != Role::Admin.as_str())
            || set.is_active == Some(false);
        self.write(move |connection| {
            if may_remove_admin {
                lock_admins(connection, id)?;
            }
            if !is_as_expected(connection, id, &expected)? {
                return Ok(Modified::Unexpected);
            }
            let updated = diesel::update(users::table.find(id))
                .set((&set, users::version.eq(users::version + 1)))
                .returning(columns())
                .get_result::<UserRow>(connection)
                .optional()?;
            Ok(match updated {
                None => Modified::Absent,
                Some(_) if may_remove_admin && !has_other_active_admin(connection, id)? => {
                    Modified::LastAdministrator
                }
                Some(row) => Modified::Done(row.into()),
            })
        })
        .await
    }

    /// Revokes every token of a user.
    ///
    /// # Errors
    /// Why the database did not answer.
    pub async fn revoke_tokens(&self, id: i64) -> Result<Modified<Committed<()>>, DbError> {
        let nonce = users::token_nonce.eq(draw());
        self.write(move |connection| {
            let user = diesel::update(users::table.find(id));
            Ok(match user.set(nonce).execute(connection)? {
                0 => Modified::Absent,
                _ => Modified::Done(()),
            })
        })
        .await
    }

    /// Deletes a user whose row is as expected, but not the last active administrator.
    ///
    /// # Errors
    /// Why the database did not answer.
    pub async fn delete_user(
        &self,
        id: i64,
        expected: Expected,
    ) -> Result<Modified<Committed<()>>, DbError> {
        self.write(move |connection| {
            lock_admins(connection, id)?;
            if !is_as_expected(connection, id, &expected)? {
                return Ok(Modified::Unexpected);
            }
            let user = diesel::delete(users::table.find(id));
            Ok(match user.execute(connection)? {
                0 => Modified::Absent,
                _ if !has_other_active_admin(connection, id)? => Modified::LastAdministrator,
                _ => Modified::Done(()),
            })
        })
        .await
    }
}

/// Whether the row of this id is as expected, or absent. It stays so until the transaction ends.
fn is_as_expected(
    connection: &mut DbConnection,
    id: i64,
    expected: &Expected,
) -> QueryResult<bool> {
    if expected.expects_nothing() {
        return Ok(true);
    }
    let row = users::table
        .find(id)
        .select((users::revision, users::token_nonce));
    let row: Option<(i64, i64)> = match connection {
        DbConnection::Sqlite(sqlite) => row.first(sqlite),
        DbConnection::Postgresql(postgres) => row.for_update().first(postgres),
    }
    .optional()?;
    Ok(row.is_none_or(|(revision, nonce)| {
        expected.accepts_revision(revision) && expected.accepts_token_nonce(nonce)
    }))
}

fn insert(connection: &mut DbConnection, row: &NewUserRow) -> QueryResult<User> {
    let insert = diesel::insert_into(users::table).values(row);
    let row = insert
        .returning(columns())
        .get_result::<UserRow>(connection);
    row.map(User::from)
}

/// Whether there is an active administrator apart from the user of this id. One of them stays so until
/// the transaction ends: a concurrent transaction that takes them away waits, and then does not count
/// on the user of this id. SQLite has one writer at a time.
fn has_other_active_admin(connection: &mut DbConnection, id: i64) -> QueryResult<bool> {
    let others = users::table
        .filter(users::role.eq(Role::Admin.as_str()))
        .filter(users::is_active.eq(true))
        .filter(users::id.ne(id));
    let other = others.order(users::id).limit(1).select(users::id);
    let other: Option<i64> = match connection {
        DbConnection::Sqlite(sqlite) => other.first(sqlite),
        DbConnection::Postgresql(postgres) => other.for_share().first(postgres),
    }
    .optional()?;
    Ok(other.is_some())
}

/// Keeps transactions that each take an active administrator away from a deadlock, in which each waits
/// for the other's: [`has_other_active_admin`] alone is right, and a deadlock is tried again, but only
/// after PostgreSQL's `deadlock_timeout`.
///
/// Each of them locks the two active administrators with the lowest ids, in the same order. Nothing
/// is locked for other users.
fn lock_admins(connection: &mut DbConnection, id: i64) -> QueryResult<()> {
    let DbConnection::Postgresql(postgres) = connection else {
        return Ok(());
    };
    let admins = users::table
        .filter(users::role.eq(Role::Admin.as_str()))
        .filter(users::is_active.eq(true));
    let is_admin = diesel::dsl::exists(admins.filter(users::id.eq(id)));
    if !diesel::select(is_admin).get_result::<bool>(postgres)? {
        return Ok(());
    }
    let admins = admins.order(users::id).limit(2).select(users::id);
    admins.for_update().load::<i64>(postgres).map(drop)
}

/// So many costs are looked at. More of them come from rows written by hand.
const COSTS: i64 = 16;

/// Each cost that a password hash in the database has: as many steps through the index as there are
/// costs.
const PASSWORD_COSTS: &str = "WITH RECURSIVE costs (cost) AS ( \
        SELECT min(password_cost) FROM users \
        UNION ALL \
        SELECT (SELECT min(password_cost) FROM users WHERE password_cost > cost) \
        FROM costs WHERE cost IS NOT NULL \
     ) SELECT cost AS value FROM costs WHERE cost IS NOT NULL LIMIT ";

fn password_costs(connection: &mut DbConnection) -> QueryResult<Vec<String>> {
    #[derive(QueryableByName)]
    struct Cost {
        #[diesel(sql_type = diesel::sql_types::Text)]
        value: String,
    }
    let costs: Vec<Cost> =
        diesel::sql_query(format!("{PASSWORD_COSTS}{COSTS}")).load(connection)?;
    Ok(costs.into_iter().map(|cost| cost.value).collect())
}

type CredentialRow = (i64, String, bool, i64);

const CREDENTIALS: (
    users::id,
    users::password_hash,
    users::is_active,
    users::token_nonce,
) = (
    users::id,
    users::password_hash,
    users::is_active,
    users::token_nonce,
);

fn credentials((user_id, password_hash, is_active, token_nonce): CredentialRow) -> Credentials {
    Credentials {
        user_id,
        password_hash,
        is_active,
        token_nonce,
    }
}
