use chrono::{DateTime, Utc};
use serde::Serialize;

use super::text::{Description, ProductName};

/// Something that is sold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Product {
    /// Never given to anything else.
    #[schema(example = 7)]
    pub id: i64,
    /// What it is called.
    #[schema(example = "Blue kettle")]
    pub name: String,
    /// What there is to say of it.
    #[schema(example = "Holds 1.7 litres.")]
    pub description: Option<String>,
    /// Its price, in hundredths.
    #[schema(example = 2995)]
    pub price_cents: i64,
    /// How many there are.
    #[schema(example = 12)]
    pub stock: i64,
    /// Whether it is on offer.
    #[schema(example = true)]
    pub is_active: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// One higher with each change.
    #[schema(example = 1)]
    pub version: i64,
    /// Names this state of the product. Random, and drawn anew by each change.
    #[serde(skip)]
    pub revision: i64,
}

/// A product to be made.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are those of Product")]
pub struct NewProduct {
    pub name: ProductName,
    pub description: Option<Description>,
    pub price_cents: i64,
    pub stock: i64,
    pub is_active: bool,
}

/// What is to change of a product; `None` leaves it as it is.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are those of Product")]
pub struct ProductChange {
    pub name: Option<ProductName>,
    /// `Some(None)` takes the description away.
    pub description: Option<Option<Description>>,
    pub price_cents: Option<i64>,
    pub stock: Option<i64>,
    pub is_active: Option<bool>,
}
