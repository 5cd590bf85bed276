use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde::de::IgnoredAny;
use utoipa::ToSchema;

use super::caller::{Admin, Calling};
use super::conditional::expected;
use super::input::{Json, PageQuery, id, page};
use super::problem::Problem;
use super::respond::{absent, created, found, listed, removed, written};
use super::telemetry::Telemetry;
use super::users::given;
use crate::domain::{
    Description, Invalid, NewProduct, Product, ProductChange, ProductName, Validation,
};
use crate::service::Products;

pub(super) fn routes(config: &mut ServiceConfig, telemetry: &Telemetry) {
    config.service(telemetry.resource(
        "/products/{id}",
        [
            web::get().to(get_product),
            web::head().to(get_product),
            web::put().to(put_product),
            web::patch().to(patch_product),
            web::delete().to(delete_product),
        ],
    ));
    config.service(telemetry.resource(
        "/products",
        [
            web::get().to(list_products),
            web::head().to(list_products),
            web::post().to(post_product),
        ],
    ));
}

/// Get a product
///
/// Out of the cache where it has it; `Cache-Status` tells.
#[utoipa::path(get, path = "/products/{id}", tag = "products",
    params(("id" = i64, Path, example = 1)),
    responses((status = 200, description = "The product", body = Product)),
    security(("login" = [])))]
pub(super) async fn get_product(
    request: HttpRequest,
    mut calling: Calling,
    products: web::Data<Products>,
) -> Result<HttpResponse, Problem> {
    let mode = calling.mode().await;
    let read = async {
        let id = id(&request)?;
        Ok(products.read_by_id(id, mode).await?)
    };
    let read = calling.reads(mode, read).await?;
    match read.value {
        Some(document) => Ok(found(&request, document, read.source)),
        None => Err(absent("product", read.source)),
    }
}

/// List products
///
/// By id. `Link: rel="next"` leads to the next page, at the same cost at any depth.
#[utoipa::path(get, path = "/products", tag = "products", params(PageQuery),
    responses((status = 200, description = "A page of products", body = [Product])),
    security(("login" = [])))]
pub(super) async fn list_products(
    request: HttpRequest,
    mut calling: Calling,
    products: web::Data<Products>,
) -> Result<HttpResponse, Problem> {
    let mode = calling.mode().await;
    let read = async {
        let page = page(&request)?;
        Ok((page.limit, products.read_page(page, mode).await?))
    };
    let (limit, read) = calling.reads(mode, read).await?;
    Ok(listed(&request, "/products", limit, read))
}

/// A product to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PostProduct {
    #[schema(example = "Blue kettle", min_length = 1, max_length = 200)]
    name: String,
    #[schema(example = "Holds 1.7 litres.", max_length = 5000)]
    description: Option<String>,
    #[schema(example = 2995, minimum = 0)]
    price_cents: i64,
    #[schema(default = 0, minimum = 0)]
    stock: Option<i64>,
    #[schema(default = true)]
    is_active: Option<bool>,
}

impl PostProduct {
    fn parse(self) -> Result<NewProduct, Problem> {
        let mut check = Validation::default();
        let name = check.check("name", ProductName::parse(&self.name));
        let description = check.check_given(
            "description",
            self.description.as_deref().map(Description::parse),
        );
        let price_cents = check.check("price_cents", not_negative(self.price_cents));
        let stock = check.check("stock", not_negative(self.stock.unwrap_or(0)));
        let is_active = self.is_active.unwrap_or(true);
        let product = check.finish(|| {
            let (name, price_cents, stock) = (name?, price_cents?, stock?);
            Some(NewProduct {
                name,
                description,
                price_cents,
                stock,
                is_active,
            })
        });
        product.map_err(Problem::invalid)
    }
}

fn not_negative(number: i64) -> Result<i64, Invalid> {
    if number < 0 {
        Err(Invalid::because("must be 0 or more"))
    } else {
        Ok(number)
    }
}

/// Make a product
#[utoipa::path(post, path = "/products", tag = "products", request_body = PostProduct,
    responses((status = 201, description = "The new product", body = Product)),
    security(("login" = [])))]
pub(super) async fn post_product(
    _admin: Admin,
    products: web::Data<Products>,
    body: Json<PostProduct>,
) -> Result<HttpResponse, Problem> {
    let product = body.get()?.parse()?;
    let made = products.create(product).await?;
    let location = format!("/products/{}", made.value.0);
    Ok(created(made.map(|(_, document)| document), &location))
}

/// A product as it is to be. What only the service sets may be sent along, and is not looked at.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PutProduct {
    #[schema(example = "Blue kettle", min_length = 1, max_length = 200)]
    name: String,
    #[schema(example = "Holds 1.7 litres.", max_length = 5000)]
    description: Option<String>,
    #[schema(example = 2995, minimum = 0)]
    price_cents: i64,
    #[schema(example = 12, minimum = 0)]
    stock: i64,
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

/// What is to change of a product. What is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PatchProduct {
    #[serde(default, deserialize_with = "given")]
    #[schema(example = "Blue kettle", min_length = 1, max_length = 200)]
    name: Option<String>,
    /// `null` takes it away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 5000)]
    description: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(example = 2995, minimum = 0)]
    price_cents: Option<i64>,
    #[serde(default, deserialize_with = "given")]
    #[schema(example = 12, minimum = 0)]
    stock: Option<i64>,
    #[serde(default, deserialize_with = "given")]
    is_active: Option<bool>,
}

impl From<PutProduct> for PatchProduct {
    fn from(put: PutProduct) -> Self {
        Self {
            name: Some(put.name),
            description: Some(put.description),
            price_cents: Some(put.price_cents),
            stock: Some(put.stock),
            is_active: Some(put.is_active),
        }
    }
}

impl PatchProduct {
    fn parse(self) -> Result<ProductChange, Problem> {
        let mut check = Validation::default();
        let name = check.check_given("name", self.name.as_deref().map(ProductName::parse));
        let description = self.description.as_ref().map(|description| {
            let text = description.as_deref().map(Description::parse);
            check.check_given("description", text)
        });
        let price_cents = check.check_given("price_cents", self.price_cents.map(not_negative));
        let stock = check.check_given("stock", self.stock.map(not_negative));
        let is_active = self.is_active;
        let change = check.finish(|| {
            Some(ProductChange {
                name,
                description,
                price_cents,
                stock,
                is_active,
            })
        });
        change.map_err(Problem::invalid)
    }
}

/// Replace a product
#[utoipa::path(put, path = "/products/{id}", tag = "products",
    params(("id" = i64, Path, example = 1)), request_body = PutProduct,
    responses((status = 200, description = "The product", body = Product)),
    security(("login" = [])))]
pub(super) async fn put_product(
    request: HttpRequest,
    _admin: Admin,
    products: web::Data<Products>,
    body: Json<PutProduct>,
) -> Result<HttpResponse, Problem> {
    update(&request, &products, body.get().map(PatchProduct::from)).await
}

/// Change a product
#[utoipa::path(patch, path = "/products/{id}", tag = "products",
    params(("id" = i64, Path, example = 1)), request_body = PatchProduct,
    responses((status = 200, description = "The product", body = Product)),
    security(("login" = [])))]
pub(super) async fn patch_product(
    request: HttpRequest,
    _admin: Admin,
    products: web::Data<Products>,
    body: Json<PatchProduct>,
) -> Result<HttpResponse, Problem> {
    update(&request, &products, body.get()).await
}

async fn update(
    request: &HttpRequest,
    products: &Products,
    patch: Result<PatchProduct, Problem>,
) -> Result<HttpResponse, Problem> {
    let id = id(request)?;
    let change = patch?.parse()?;
    Ok(written(
        products
            .update(id, change, expected(request, Products::TAG))
            .await?,
    ))
}

/// Delete a product
#[utoipa::path(delete, path = "/products/{id}", tag = "products",
    params(("id" = i64, Path, example = 2)),
    responses((status = 204, description = "It is gone")), security(("login" = [])))]
pub(super) async fn delete_product(
    request: HttpRequest,
    _admin: Admin,
    products: web::Data<Products>,
) -> Result<HttpResponse, Problem> {
    let id = id(&request)?;
    let expected = expected(&request, Products::TAG);
    Ok(removed(&products.delete(id, expected).await?))
}
