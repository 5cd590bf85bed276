use bytes::Bytes;

use super::cached_user::CachedUser;
use super::document::{Document, PageDocument};
use super::error::Error;
use super::list::page_of;
use super::{products, users};
use crate::cache::{Cacheable, Key};
use crate::db::Database;

/// What the cache should have under a key: the value as it keeps it, or that there is none. Nothing
/// for a key that no service has.
///
/// # Errors
/// Why the database did not answer.
pub async fn truth(database: &Database, key: &Key) -> Option<Result<Option<Bytes>, Error>> {
    let name = key.name();
    if let Some(page) = name.strip_prefix(users::LIST.name()) {
        let page = page_of(page)?;
        let document = users::load_page(database, page).await;
        return Some(document.map(|document| document.map(|document| document.to_bytes())));
    }
    if let Some(page) = name.strip_prefix(products::LIST.name()) {
        let page = page_of(page)?;
        let document = products::load_page(database, page).await;
        return Some(document.map(|document| document.map(|document| document.to_bytes())));
    }
    if let Some(email) = users::email_of(name) {
        let hint = users::load_hint(database, &email).await;
        return Some(hint.map(|hint| hint.map(|hint| hint.to_bytes())));
    }
    if let Some(id) = id_of(name, users::KIND) {
        let user = users::load(database, id).await;
        return Some(user.map(|user| user.map(|user| user.to_bytes())));
    }
    let id = id_of(name, products::KIND)?;
    let product = products::load(database, id).await;
    Some(product.map(|product| product.map(|product| product.to_bytes())))
}

/// Names the version of what is, or should be, under a key.
pub fn name_version(key: &Key, value: Option<&Bytes>) -> String {
    let Some(bytes) = value else {
        return "absent".to_owned();
    };
    let name = key.name();
    let etag = if id_of(name, users::KIND).is_some() {
        CachedUser::from_bytes(bytes).map(|user| user.document.etag)
    } else if name.starts_with(users::LIST.name()) || name.starts_with(products::LIST.name()) {
        PageDocument::from_bytes(bytes).map(|page| page.document.etag)
    } else if id_of(name, products::KIND).is_some() {
        Document::from_bytes(bytes).map(|document| document.etag)
    } else {
        let id = bytes.as_ref().try_into().map(i64::from_be_bytes);
        return id.map_or("unreadable".to_owned(), |id| format!("id {id}"));
    };
    etag.map_or("unreadable".to_owned(), |etag| {
        String::from_utf8_lossy(&etag).into_owned()
    })
}

/// The id in a key of this kind.
fn id_of(name: &str, kind: &str) -> Option<i64> {
    name.strip_prefix(kind)?.strip_prefix(':')?.parse().ok()
}
