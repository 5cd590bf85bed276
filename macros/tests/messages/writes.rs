use alacena::cache::{Cache, Interrupted, invalidates};

#[invalidates(patience = std::time::Duration::from_secs(1))]
async fn what(cache: &Cache) -> Result<(), Interrupted> {
    Ok(())
}

#[invalidates(pattern = "users:*")]
async fn misspelt(cache: &Cache) -> Result<(), Interrupted> {
    Ok(())
}

#[invalidates(group = "user?:list")]
async fn pattern(cache: &Cache) -> Result<(), Interrupted> {
    Ok(())
}

#[invalidates(key = "user:{id}")]
async fn unknown(cache: &Cache) -> Result<(), Interrupted> {
    Ok(())
}

#[invalidates(group = "users:list")]
async fn silent(cache: &Cache) -> u8 {
    1
}

#[invalidates(key = "user:{id}", through = &result)]
async fn for_how_long(cache: &Cache, id: i64) -> Result<bytes::Bytes, Interrupted> {
    Ok(Default::default())
}

#[invalidates(key = "user:{id}", through = &result, absent, ttl = "1s")]
async fn both(cache: &Cache, id: i64) -> Result<bytes::Bytes, Interrupted> {
    Ok(Default::default())
}

#[invalidates(key = "user:{id}")]
async fn no_cache(id: i64) -> Result<(), Interrupted> {
    Ok(())
}

#[invalidates(key = "user:{result}", key = "user:email:{email}", through = &result, ttl = "1s")]
async fn under_which(cache: &Cache, email: &str) -> Result<bytes::Bytes, Interrupted> {
    Ok(Default::default())
}

#[invalidates(group = "users:list", through = &result, ttl = "1s")]
async fn under_none(cache: &Cache) -> Result<bytes::Bytes, Interrupted> {
    Ok(Default::default())
}

#[invalidates(key = "exam:{result}")]
async fn two_of_a_name(cache: &Cache, result: i64) -> Result<i64, Interrupted> {
    Ok(result)
}

fn main() {}
