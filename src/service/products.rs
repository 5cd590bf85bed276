use std::time::Duration;

use super::document::{Document, PageDocument};
use super::error::{Error, made};
use super::list::{and_one_more, page_key};
use super::policies::Policies;
use crate::cache::{Cache, Change, Group, Key, cached, invalidates};
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

    /// The product of this id.
    ///
    /// # Errors
    /// Why there is no answer.
    #[cached(key = product_key(id), policy = self.policies.product)]
    pub async fn by_id(&self, id: i64) -> Result<Option<Document>, Error> {
        load(&self.db, id).await
    }

    /// A page of products, by id.
    ///
    /// # Errors
    /// Why there is no answer.
    #[cached(key = page_key(LIST, page), policy = self.policies.list)]
    pub async fn page(&self, page: Page) -> Result<Option<PageDocument>, Error> {
        load_page(&self.db, page).await
    }

    /// Makes a product. Answers its id and how it looks.
    ///
    /// # Errors
    /// Why it could not be done.
    #[invalidates(
        key = product_key(result.value.0),
        group = LIST,
        at = result.position,
        patience = self.patience
    )]
    pub async fn create(&self, product: NewProduct) -> Result<Committed<(i64, Document)>, Error> {
        let made = self.db.insert_product(product).await?;
        let document = document(&made.value)?;
        Ok(made.map(|product| (product.id, document)))
    }

    /// Changes a product whose row is as expected. Answers how it looks now.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Changed`], or why it could not be done.
    #[invalidates(
        change = made_stale(id),
        through = &result.value,
        policy = self.policies.product,
        at = result.position,
        patience = self.patience
    )]
    pub async fn update(
        &self,
        id: i64,
        change: ProductChange,
        expected: Expected,
    ) -> Result<Committed<Document>, Error> {
        let product = made(WHAT, self.db.update_product(id, change, expected).await?)?;
        let document = document(&product.value)?;
        Ok(product.map(|_| document))
    }

    /// Deletes a product whose row is as expected.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Changed`], or why it could not be done.
    #[invalidates(
        change = made_stale(id),
        absent,
        policy = self.policies.product,
        at = result.position,
        patience = self.patience
    )]
    pub async fn delete(&self, id: i64, expected: Expected) -> Result<Committed<()>, Error> {
        made(WHAT, self.db.delete_product(id, expected).await?)
    }
}

/// What a change of the product of this id makes stale.
pub(super) fn made_stale(id: i64) -> Change {
    Change::of(product_key(id)).and_group(LIST)
}

pub(super) async fn load(db: &Database, id: i64) -> Result<Option<Document>, Error> {
    db.product(id).await?.as_ref().map(document).transpose()
}

pub(super) async fn load_page(db: &Database, page: Page) -> Result<Option<PageDocument>, Error> {
    let rows = db.products(and_one_more(page)).await?;
    PageDocument::of(&rows, page.limit, |product| product.id).map(Some)
}

/// `product:7`
pub(super) fn product_key(id: i64) -> Key {
    Key::of_id(KIND, id)
}

fn document(product: &Product) -> Result<Document, Error> {
    Document::of_row(Products::TAG, product.revision, product)
}
