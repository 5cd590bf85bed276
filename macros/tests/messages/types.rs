use alacena::cache::{Cache, Json, cached};

#[derive(Clone)]
struct Report;

#[cached(prefix = "a", ttl = "1s")]
async fn not_cacheable(cache: &Cache) -> Option<Report> {
    Some(Report)
}

#[cached(prefix = "b", ttl = "1s")]
async fn not_serialisable(cache: &Cache) -> Json<Report> {
    Json(Report)
}

#[cached(prefix = "c", ttl = "1s")]
async fn no_source_error(cache: &Cache) -> Result<Json<u8>, String> {
    Err(String::new())
}

#[cached(prefix = "d", ttl = "1s")]
async fn no_key_part(cache: &Cache, share: f64) -> Json<u8> {
    Json(share as u8)
}

fn main() {}
