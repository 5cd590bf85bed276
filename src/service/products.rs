use std::time::Duration;

use super::document::{Document, PageDocument};
use super::error::{Error, made};
use super::list::{and_one_more, page_key, within};
use super::policies::Policies;
use super::written::written;
use crate::cache::{Cache, Change, Group, Hit, Key, Mode, Read};
use crate::db::{Committed, Database, Expected};
use crate::domain::{NewProduct, Page, Product, ProductChange};

const WHAT: &str = "product";
pub(super) const KIND: &str = "product";
pub(super) const LIST: Group = Group::new("products:list");

/// Products, read through the cache.
#[derive(Clone)]
pub struct Products {
    db: Database,
    cache: Cache,
    policies: Policies,
    patience: Duration,
}

impl Products {
    /// What the entity tags of products begin with.
    pub const TAG: char = 'p';

    pub(super) fn new(db: Database, cache: Cache, policies: Policies, patience: Duration) -> Self {
        Self {
            db,
            cache,
            policies,
            patience,
        }
    }

    /// The product of this id, if it is at hand.
    pub fn peek(&self, id: i64) -> Option<Hit<Document>> {
        self.cache.peek(&key(id))
    }

    /// The product of this id.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn get(&self, id: i64, mode: Mode) -> Result<Read<Document>, Error> {
        let db = self.db.clone();
        let load = move || async move { load(&db, id).await };
        self.cache
            .read(&key(id), self.policies.product, mode, load)
            .await
    }

    /// A page of products, by id.
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

    /// Makes a product. Answers its id and how it looks.
    ///
    /// # Errors
    /// Why it could not be done.
    pub async fn create(&self, product: NewProduct) -> Result<Committed<(i64, Document)>, Error> {
        let db = self.db.clone();
        let write = self
            .cache
            .write(Change::of_something_new().and_group(LIST), async move {
                let made = db.insert_product(product).await?;
                let id = made.value.id;
                let document = document(&made.value)?;
                Ok(written(made.map(|_| (id, document))).and(key(id)))
            });
        within(self.patience, write).await
    }

    /// Changes a product whose row is as expected. Answers how it looks now.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Changed`], or why it could not be done.
    pub async fn update(
        &self,
        id: i64,
        change: ProductChange,
        expected: Expected,
    ) -> Result<Committed<Document>, Error> {
        let (db, policy) = (self.db.clone(), self.policies.product);
        let write = self.cache.write(made_stale(id), async move {
            let product = made(WHAT, db.update_product(id, change, expected).await?)?;
            let document = document(&product.value)?;
            Ok(written(product.map(|_| document.clone())).through(&document, policy))
        });
        within(self.patience, write).await
    }

    /// Deletes a product whose row is as expected.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Changed`], or why it could not be done.
    pub async fn delete(&self, id: i64, expected: Expected) -> Result<Committed<()>, Error> {
        let (db, policy) = (self.db.clone(), self.policies.product);
        let write = self.cache.write(made_stale(id), async move {
            let deleted = made(WHAT, db.delete_product(id, expected).await?)?;
            Ok(written(deleted).through_absence(policy))
        });
        within(self.patience, write).await
    }
}

/// What a change of the product of this id makes stale.
pub(super) fn made_stale(id: i64) -> Change {
    Change::of(key(id)).and_group(LIST)
}

pub(super) async fn load(db: &Database, id: i64) -> Result<Option<Document>, Error> {
    db.product(id).await?.as_ref().map(document).transpose()
}

pub(super) async fn load_page(db: &Database, page: Page) -> Result<Option<PageDocument>, Error> {
    let rows = db.products(and_one_more(page)).await?;
    PageDocument::of(&rows, page.limit, |product| product.id).map(Some)
}

fn key(id: i64) -> Key {
    Key::of_id(KIND, id)
}

fn document(product: &Product) -> Result<Document, Error> {
    Document::of_row(Products::TAG, product.id, product.version, product)
}
