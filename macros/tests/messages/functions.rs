use alacena::cache::{Cache, Json, cached};

#[cached(prefix = "a", ttl = "1s")]
async fn no_cache(id: u8) -> Json<u8> {
    Json(id)
}

#[cached(prefix = "b", ttl = "1s")]
fn not_async(cache: &Cache) -> Json<u8> {
    Json(1)
}

#[cached(prefix = "c", ttl = "1s")]
async fn generic<T: Send>(cache: &Cache, of: T) -> Json<u8> {
    Json(1)
}

#[cached(prefix = "d", ttl = "1s")]
async fn any_type(cache: &Cache, of: impl Send) -> Json<u8> {
    Json(1)
}

#[cached(prefix = "e", ttl = "1s")]
async fn taken_apart(cache: &Cache, (a, b): (u8, u8)) -> Json<u8> {
    Json(a + b)
}

#[cached(prefix = "f", ttl = "1s")]
async fn changed(cache: &Cache, count: &mut u8) -> Json<u8> {
    Json(*count)
}

#[cached(prefix = "g", ttl = "1s")]
async fn nothing(cache: &Cache) {}

#[cached(prefix = "h", ttl = "1s")]
async fn unnamed_error(cache: &Cache) -> std::io::Result<Json<u8>> {
    Ok(Json(1))
}

#[cached(prefix = "i", ttl = "1s")]
struct NoFunction;

#[derive(Clone)]
struct Service {
    cache: Cache,
}

impl Service {
    #[cached(prefix = "j", ttl = "1s")]
    async fn consumed(self) -> Json<u8> {
        Json(1)
    }
}

fn main() {}
