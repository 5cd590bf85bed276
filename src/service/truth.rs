use bytes::Bytes;

use super::cached_user::CachedUser;
use super::document::{Document, PageDocument};
use super::error::Error;
use super::named::Named;
use super::{products, users};
use crate::cache::{Cacheable, Key};
use crate::db::Database;

/// What the cache should have under a key: the value as it keeps it, or that there is none. Nothing
/// for a key that no service has.
///
/// # Errors
/// Why the database did not answer.
pub async fn truth(database: &Database, key: &Key) -> Option<Result<Option<Bytes>, Error>> {
    let told = match Named::parse(key.name())? {
        Named::User(id) => bytes(users::load(database, id).await),
        Named::UserPage(page) => bytes(users::load_page(database, page).await),
        Named::UserHint(email) => bytes(users::load_hint(database, &email).await),
        Named::Product(id) => bytes(products::load(database, id).await),
        Named::ProductPage(page) => bytes(products::load_page(database, page).await),
    };
    Some(told)
}

fn bytes<T: Cacheable>(loaded: Result<Option<T>, Error>) -> Result<Option<Bytes>, Error> {
    loaded.map(|value| value.map(|value| value.to_bytes()))
}

/// Names the version of what is, or should be, under a key.
pub fn name_version(key: &Key, value: Option<&Bytes>) -> String {
    let Some(bytes) = value else {
        return "absent".to_owned();
    };
    let etag = match Named::parse(key.name()) {
        Some(Named::User(_)) => CachedUser::from_bytes(bytes).map(|user| user.document.etag),
        Some(Named::UserPage(_) | Named::ProductPage(_)) => {
            PageDocument::from_bytes(bytes).map(|page| page.document.etag)
        }
        Some(Named::Product(_)) => Document::from_bytes(bytes).map(|document| document.etag),
        Some(Named::UserHint(_)) | None => {
            let id = bytes.as_ref().try_into().map(i64::from_be_bytes);
            return id.map_or("unreadable".to_owned(), |id| format!("id {id}"));
        }
    };
    etag.map_or("unreadable".to_owned(), |etag| {
        String::from_utf8_lossy(&etag).into_owned()
    })
}
