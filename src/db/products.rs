use chrono::NaiveDateTime;
use diesel::prelude::*;

use super::connection::{Backend, DbConnection};
use super::database::Database;
use super::error::DbError;
use super::modified::{Committed, Expected, Modified, draw, now};
use super::schema::products;
use crate::domain::{NewProduct, Page, Product, ProductChange, Start};

#[derive(Queryable, Selectable)]
#[diesel(table_name = products)]
struct ProductRow {
    id: i64,
    name: String,
    description: Option<String>,
    price_cents: i64,
    stock: i64,
    is_active: bool,
    version: i64,
    revision: i64,
    created_at: NaiveDateTime,
    updated_at: NaiveDateTime,
}

#[derive(Insertable)]
#[diesel(table_name = products)]
pub(super) struct NewProductRow {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) price_cents: i64,
    pub(super) stock: i64,
    pub(super) is_active: bool,
    pub(super) revision: i64,
    pub(super) created_at: NaiveDateTime,
    pub(super) updated_at: NaiveDateTime,
}

#[derive(AsChangeset)]
#[diesel(table_name = products)]
struct ProductChangeset {
    name: Option<String>,
    description: Option<Option<String>>,
    price_cents: Option<i64>,
    stock: Option<i64>,
    is_active: Option<bool>,
    revision: i64,
    updated_at: NaiveDateTime,
}

/// The columns of a row, in its fields' order.
fn columns() -> <ProductRow as Selectable<Backend>>::SelectExpression {
    <ProductRow as Selectable<Backend>>::construct_selection()
}

impl From<ProductRow> for Product {
    fn from(row: ProductRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            description: row.description,
            price_cents: row.price_cents,
            stock: row.stock,
            is_active: row.is_active,
            created_at: row.created_at.and_utc(),
            updated_at: row.updated_at.and_utc(),
            version: row.version,
            revision: row.revision,
        }
    }
}

impl Database {
    /// The product of this id.
    ///
    /// # Errors
    /// Why the database did not answer.
    pub async fn product(&self, id: i64) -> Result<Option<Product>, DbError> {
        self.read(move |connection| {
            let row = products::table.find(id).select(ProductRow::as_select());
            Ok(row.first(connection).optional()?.map(Product::from))
        })
        .await
    }

    /// A page of products, by id.
    ///
    /// # Errors
    /// Why the database did not answer.
    pub async fn products(&self, page: Page) -> Result<Vec<Product>, DbError> {
        self.read(move |connection| {
            let rows = products::table
                .order(products::id)
                .limit(page.limit)
                .select(ProductRow::as_select());
            let rows = match page.start {
                Start::Skip(skip) => rows.offset(skip).load(connection)?,
                Start::After(id) => rows.filter(products::id.gt(id)).load(connection)?,
            };
            Ok(rows.into_iter().map(Product::from).collect())
        })
        .await
    }

    /// Makes a product.
    ///
    /// # Errors
    /// Why the database did not answer.
    pub async fn insert_product(&self, product: NewProduct) -> Result<Committed<Product>, DbError> {
        let time = now();
        let row = NewProductRow {
            name: product.name.as_str().to_owned(),
            description: product.description.map(|text| text.as_str().to_owned()),
            price_cents: product.price_cents,
            stock: product.stock,
            is_active: product.is_active,
            revision: draw(),
            created_at: time,
            updated_at: time,
        };
        let inserted = self
            .write(move |connection| {
                let insert = diesel::insert_into(products::table).values(&row);
                let row = insert
                    .returning(columns())
                    .get_result::<ProductRow>(connection)?;
                Ok(Modified::Done(Product::from(row)))
            })
            .await?;
        inserted.done()
    }

    /// Changes a product whose row is as expected.
    ///
    /// # Errors
    /// Why the database did not answer.
    pub async fn update_product(
        &self,
        id: i64,
        change: ProductChange,
        expected: Expected,
    ) -> Result<Modified<Committed<Product>>, DbError> {
        let set = ProductChangeset {
            name: change.name.map(|name| name.as_str().to_owned()),
            description: change
                .description
                .map(|description| description.map(|text| text.as_str().to_owned())),
            price_cents: change.price_cents,
            stock: change.stock,
            is_active: change.is_active,
            revision: draw(),
            updated_at: now(),
        };
        self.write(move |connection| {
            if !is_as_expected(connection, id, &expected)? {
                return Ok(Modified::Unexpected);
            }
            let updated = diesel::update(products::table.find(id))
                .set((&set, products::version.eq(products::version + 1)))
                .returning(columns())
                .get_result::<ProductRow>(connection)
                .optional()?;
            Ok(updated.map_or(Modified::Absent, |row| Modified::Done(row.into())))
        })
        .await
    }

    /// Deletes a product whose row is as expected.
    ///
    /// # Errors
    /// Why the database did not answer.
    pub async fn delete_product(
        &self,
        id: i64,
        expected: Expected,
    ) -> Result<Modified<Committed<()>>, DbError> {
        self.write(move |connection| {
            if !is_as_expected(connection, id, &expected)? {
                return Ok(Modified::Unexpected);
            }
            let product = diesel::delete(products::table.find(id));
            Ok(match product.execute(connection)? {
                0 => Modified::Absent,
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
    let row = products::table.find(id).select(products::revision);
    let revision: Option<i64> = match connection {
        DbConnection::Sqlite(sqlite) => row.first(sqlite),
        DbConnection::Postgresql(postgres) => row.for_update().first(postgres),
    }
    .optional()?;
    Ok(revision.is_none_or(|revision| expected.accepts_revision(revision)))
}
