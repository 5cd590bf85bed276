use alacena::cache::{Cache, Json, cached};

#[cached(prefix = "a", tll = "30m")]
async fn misspelt(cache: &Cache) -> Json<u8> {
    Json(1)
}

#[cached(prefix = "b", ttl = "30 parsecs")]
async fn no_time(cache: &Cache) -> Json<u8> {
    Json(1)
}

#[cached(prefix = "c", ttl = 1800)]
async fn no_unit(cache: &Cache) -> Json<u8> {
    Json(1)
}

#[cached(prefix = "d", ttl = "0s")]
async fn no_time_at_all(cache: &Cache) -> Json<u8> {
    Json(1)
}

#[cached(prefix = "e")]
async fn for_how_long(cache: &Cache) -> Json<u8> {
    Json(1)
}

#[cached(prefix = "f", ttl = "1s", ttl = "2s")]
async fn twice(cache: &Cache) -> Json<u8> {
    Json(1)
}

#[cached(prefix = "g", ttl = "1s", skip = id)]
async fn skips_no_names(cache: &Cache, id: u8) -> Json<u8> {
    Json(id)
}

#[cached(prefix = "h", ttl = "1s", skip(db))]
async fn skips_nothing(cache: &Cache) -> Json<u8> {
    Json(1)
}

#[cached(prefix = "i", negative_ttl = "1s")]
async fn only_negative(cache: &Cache) -> Option<Json<u8>> {
    None
}

fn main() {}
