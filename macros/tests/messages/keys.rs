use alacena::cache::{Cache, Json, Key, cached};

#[cached(ttl = "1s")]
async fn nameless(cache: &Cache) -> Json<u8> {
    Json(1)
}

#[cached(key = "product:{ident}", ttl = "1s")]
async fn unknown(cache: &Cache, id: u8) -> Json<u8> {
    Json(id)
}

#[cached(key = "product:{id", ttl = "1s")]
async fn unclosed(cache: &Cache, id: u8) -> Json<u8> {
    Json(id)
}

#[cached(key = "product:{id:?}", ttl = "1s")]
async fn formatted(cache: &Cache, id: u8) -> Json<u8> {
    Json(id)
}

#[cached(key = "product:{id}", ttl = "1s")]
async fn forgotten(cache: &Cache, id: u8, language: &str) -> Json<u8> {
    Json(id)
}

#[cached(key = Key::of_id("product", id.into()), ttl = "1s")]
async fn forgotten_in_a_call(cache: &Cache, id: u8, language: &str) -> Json<u8> {
    Json(id)
}

#[cached(key = "product:{id}{language}", ttl = "1s")]
async fn together(cache: &Cache, id: u8, language: &str) -> Json<u8> {
    Json(id)
}

fn product_key(id: u8) -> Key {
    Key::of_id("product", id.into())
}

#[cached(key = product_key, ttl = "1s")]
async fn not_called(cache: &Cache, id: u8) -> Json<u8> {
    Json(id)
}

#[cached(prefix = "product", key = product_key(id), ttl = "1s")]
async fn prefixed(cache: &Cache, id: u8) -> Json<u8> {
    Json(id)
}

#[cached(prefix = "product", group = "products:*:list", ttl = "1s")]
async fn pattern(cache: &Cache, id: u8) -> Json<u8> {
    Json(id)
}

#[cached(key = "{kind}:{id}", ttl = "1s")]
async fn of_any_kind(cache: &Cache, kind: &str, id: u8) -> Json<u8> {
    Json(id)
}

#[cached(key = "product:{result}", ttl = "1s")]
async fn not_known_yet(cache: &Cache) -> Json<u8> {
    Json(1)
}

struct Page {
    id: u8,
}

#[cached(key = product_key(page.id), ttl = "1s")]
async fn forgotten_beside_a_field(cache: &Cache, page: Page, id: u8) -> Json<u8> {
    Json(id)
}

fn main() {}
