//! Which key, which cache, and when.

use std::sync::Arc;

use alacena::cache::{
    Cache, Clear, Forward, Json, Key, KeyPart, KeySlot, ManualClock, MemoryBackend, Mode,
    ReadHistory, Source, Tasks, cached,
};
use serde::{Deserialize, Serialize};

fn cache() -> Cache {
    let backend = Arc::new(MemoryBackend::new(1 << 20));
    Cache::new(
        backend,
        Arc::new(ManualClock::default()),
        Tasks::on_current_runtime(),
    )
}

async fn is_kept(cache: &Cache, name: &str) -> bool {
    cache.exists(&Key::named(name)).await
}

#[derive(Clone)]
struct Place(String, Option<i64>);

impl KeyPart for Place {
    fn write(&self, slot: KeySlot<'_>) {
        (&self.0, &self.1).write(slot);
    }
}

/// Everything that an argument can be.
#[cached(prefix = "all", ttl = "1h 30m", skip(source, forever))]
async fn all(
    cache: &Cache,
    text: &str,
    owned: String,
    place: &Place,
    days: &[u8],
    source: f64,
    forever: &'static str,
) -> Json<String> {
    // As a database would be: no answer depends on which.
    let _ = (source, forever);
    Json(format!("{text} {owned} {} {days:?}", place.0))
}

#[tokio::test]
async fn a_key_has_the_names_and_values_of_the_arguments() {
    let cache = cache();
    let place = Place("León".to_owned(), None);
    let call = async |text: &str, owned: &str| {
        all(&cache, text, owned.to_owned(), &place, &[1, 2], 0.5, "").await
    };
    let answer = call("a:owned=b", "").await;
    assert_eq!(*answer, "a:owned=b  León [1, 2]");
    let name = "all:text=a%3Aowned%3Db:owned=:place=(León,(),):days=(1,2,)";
    assert!(is_kept(&cache, name).await);
    assert_eq!(*call("a", "b:owned=").await, "a b:owned= León [1, 2]");
}

/// Arguments may be called what they like, also what the expansion calls things.
#[cached(prefix = "odd", ttl = "1s")]
async fn odd(
    cache: &Cache,
    key: i64,
    mode: &str,
    policy: bool,
    load: u8,
    this: char,
    mut hit: i64,
) -> Json<String> {
    hit += 1;
    Json(format!("{key} {mode} {policy} {load} {this} {hit}"))
}

#[tokio::test]
async fn arguments_may_have_any_names() {
    let cache = cache();
    for _ in 0..2 {
        let answer = odd(&cache, 1, "two", true, 4, '5', 6).await;
        assert_eq!(*answer, "1 two true 4 5 7");
    }
    assert!(is_kept(&cache, "odd:key=1:mode=two:policy=true:load=4:this=5:hit=6").await);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Page {
    limit: i64,
    tenant: String,
}

#[derive(Clone)]
struct Pages {
    copies: Cache,
    tenant: String,
}

impl Pages {
    #[cached(cache = self.copies, prefix = "page", key = "{{{self.tenant}}}:{page.limit}", ttl = "5s")]
    async fn page(&self, page: &Page) -> Json<Page> {
        Json(page.clone())
    }

    /// A template is refused unless the arguments are in it; a call is believed.
    #[cached(cache = self.copies, key = named(id), ttl = "5s")]
    async fn named(&self, id: i64) -> Json<i64> {
        Json(id)
    }
}

fn named(id: i64) -> Key {
    Key::of_id("exercise", id)
}

#[tokio::test]
async fn a_template_or_a_function_makes_the_key() {
    let pages = Pages {
        copies: cache(),
        tenant: "a:b".to_owned(),
    };
    let page = Page {
        limit: 7,
        tenant: "c".to_owned(),
    };
    assert_eq!(pages.page(&page).await.0, page);
    assert!(is_kept(&pages.copies, "page:{a%3Ab}:7").await);
    assert_eq!(*pages.named(7).await, 7);
    assert!(is_kept(&pages.copies, "exercise:7").await);
}

/// A key without a value in it.
#[cached(key = "door", ttl = "1s")]
async fn door(cache: &Cache) -> Json<i64> {
    Json(7)
}

/// The same, and a part of it for those who like order.
#[cached(key = "doors:front", ttl = "1s")]
async fn front_door(cache: &Cache) -> Json<i64> {
    Json(8)
}

#[tokio::test]
async fn reads_are_counted_as_what_the_key_begins_with() {
    let copies = cache();
    let history = ReadHistory::of(copies.clone(), Arc::new(ManualClock::default()));
    assert_eq!((*door(&copies).await, *front_door(&copies).await), (7, 8));
    odd(&copies, 1, "two", true, 4, '5', 6).await;
    let (_, kinds) = history.by_kind(1);
    let kinds: Vec<&str> = kinds.iter().map(|(kind, _)| &kind[..]).collect();
    assert_eq!(kinds, ["door", "doors", "odd"]);
}

/// Another cache in each test, and the body that uses it too.
#[cached(prefix = "nested", ttl = "1s", cache = copies)]
async fn nested(copies: &Cache, id: i64) -> Json<String> {
    all(
        copies,
        "inside",
        id.to_string(),
        &Place(String::new(), None),
        &[],
        0.0,
        "",
    )
    .await
}

#[tokio::test]
async fn the_cache_is_the_one_that_is_given() {
    let (one, other) = (cache(), cache());
    nested(&one, 7).await;
    assert!(is_kept(&one, "nested:id=7").await);
    assert!(is_kept(&one, "all:text=inside:owned=7:place=(,(),):days=()").await);
    let everything: Clear = "*".parse().expect("a pattern");
    assert_eq!(other.clear(everything).await, 0);
}

#[cached(prefix = "small", ttl = "1s", if = size < 10)]
async fn small(cache: &Cache, size: usize) -> Json<usize> {
    Json(size)
}

#[cached(prefix = "public", ttl = "1s", skip(is_admin), unless = is_admin)]
async fn public(cache: &Cache, is_admin: bool) -> Result<Json<bool>, alacena::cache::Interrupted> {
    Ok(Json(is_admin))
}

#[tokio::test]
async fn a_condition_decides_whether_the_cache_takes_part() {
    let cache = cache();
    assert_eq!((*small(&cache, 9).await, *small(&cache, 10).await), (9, 10));
    assert!(is_kept(&cache, "small:size=9").await);
    assert!(!is_kept(&cache, "small:size=10").await);
    let read = read_small(&cache, 10, Mode::Read).await.expect("certain");
    assert!(matches!(
        read.source,
        Source::Loaded {
            reason: Forward::Bypass,
            stored: false,
            ..
        }
    ));
    assert!(peek_small(&cache, 10).is_none());
    assert_eq!(public(&cache, false).await, Ok(Json(false)));
    assert_eq!(
        public(&cache, true).await,
        Ok(Json(true)),
        "not what others get"
    );
}
