//! The attributes of Alacena's cache: [`macro@cached`] reads a function through it, and
//! [`macro@invalidates`] makes what a function wrote stale. Both are found in `alacena::cache`, and
//! write what a person would write by hand; `macros/tests/expanded/` shows it.

mod cached;
mod function;
mod invalidates;
mod key;
mod policy;
mod settings;
mod template;

#[cfg(test)]
mod expanded;

use proc_macro::TokenStream;

/// Reads an async function or method through the cache.
///
/// ```
/// use std::sync::Arc;
/// use alacena::cache::{Cache, Json, MemoryBackend, SystemClock, Tasks, cached};
///
/// /// How often a letter is in a text.
/// #[cached(prefix = "letters", ttl = "30m")]
/// async fn letters(cache: &Cache, text: &str, letter: char) -> Json<usize> {
///     Json(text.chars().filter(|c| *c == letter).count())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let backend = Arc::new(MemoryBackend::new(64 << 20));
/// let cache = Cache::new(backend, Arc::new(SystemClock::new()), Tasks::on_current_runtime());
/// assert_eq!(*letters(&cache, "alacena", 'a').await, 3);
/// // Now it is kept, as `letters:text=alacena:letter=a`.
/// assert_eq!(*letters(&cache, "alacena", 'a').await, 3);
/// assert_eq!((cache.stats().hits, cache.stats().misses), (1, 1));
/// # }
/// ```
///
/// What the cache promises holds: callers who miss together share one run of the body, in a task of
/// its own that goes on when the first of them hangs up; nothing is kept that a write has overtaken.
///
/// # What it makes
///
/// Of a function `NAME` there come to be four, for whoever wants to know more of the answer:
///
/// | | answers |
/// | --- | --- |
/// | `NAME(…)` | what the function says, out of the cache where it is there |
/// | `read_NAME(…, mode)` | a `Read`: the value, and where it came from. With `Mode::Refresh` it is loaded anew |
/// | `peek_NAME(…)` | the value if it is at hand, without waiting |
/// | `load_NAME(…)` | what the body answers, without the cache. Private |
///
/// # Where the cache comes from
///
/// From an argument called `cache`, or else from `self.cache`; `cache = …` names another, as in
/// `cache = self.copies`. So a test gives it one of its own.
///
/// # What can be cached
///
/// `T`, `Option<T>`, `Result<T, E>` and `Result<Option<T>, E>`, where `T` is `Cacheable` (as any
/// serialisable value in a `Json` is) and `E` is a `SourceError`. Errors are never kept, and `None`
/// only with a `negative_ttl`. The body runs in a task with copies of its arguments: what is borrowed
/// must be `ToOwned`, and `self` must be `Clone`.
///
/// # Settings
///
/// | | |
/// | --- | --- |
/// | `ttl = "30m"` | how long a value answers reads: a text, read when it is compiled, or a `Duration` |
/// | `negative_ttl = "30s"` | how long "there is none" does |
/// | `policy = …` | a `Policy` that has the rest; `ttl` and `negative_ttl` win over its own |
/// | `prefix = "…"` | begins the key |
/// | `key = "product:{id}"` | what the key says of the arguments, and of their fields: `{page.limit}`. After the prefix and a colon, if there is one. `{{` stands for a brace |
/// | `key = product_key(id)` | or what makes a `Key` of them |
/// | `skip(db)` | arguments that no answer depends on |
/// | `group = "products:list"` | the key goes stale with others: a text or a `Group` |
/// | `if = …`, `unless = …` | whether the cache takes part, decided by the arguments |
///
/// Without a `key`, every argument is in it by name and value, but for the cache and what is skipped.
/// No two lists of values make the same key of a function, whatever they contain; functions of one
/// prefix share their keys, and `self` is in none. A key that is in a group here is in it wherever it is
/// written through: let one function make it for both. An argument that is neither in the
/// `key` nor skipped is an error, since calls that differ in it would be answered alike.
///
/// ```
/// # use std::sync::Arc;
/// use alacena::cache::{Cache, Interrupted, Json, Key, MemoryBackend, Mode, Source, cached};
/// # use alacena::cache::{SystemClock, Tasks};
/// # type Error = Interrupted;
///
/// #[derive(Clone)]
/// struct Shop { cache: Cache }
///
/// impl Shop {
///     /// The price of a product.
///     #[cached(key = "price:{id}", ttl = "30m", negative_ttl = "30s", unless = id < 0)]
///     pub async fn price(&self, id: i64) -> Result<Option<Json<u32>>, Error> {
///         Ok((id == 7).then_some(Json(2995)))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let backend = Arc::new(MemoryBackend::new(64 << 20));
/// # let clock = Arc::new(SystemClock::new());
/// let shop = Shop { cache: Cache::new(backend, clock, Tasks::on_current_runtime()) };
/// assert!(shop.peek_price(7).is_none());
/// assert_eq!(shop.price(7).await?, Some(Json(2995)));
/// let read = shop.read_price(7, Mode::Read).await?;
/// assert!(matches!(read.source, Source::Hit { .. }));
/// assert!(shop.cache.exists(&Key::of_id("price", 7)).await);
/// # Ok(())
/// # }
/// ```
#[proc_macro_attribute]
pub fn cached(settings: TokenStream, item: TokenStream) -> TokenStream {
    expand(settings, item, cached::expand)
}

/// Makes what an async function or method has written stale.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use alacena::cache::{Cache, Interrupted, Json, MemoryBackend, cached, invalidates};
/// # use alacena::cache::{SystemClock, Tasks};
///
/// #[derive(Clone)]
/// struct Door { cache: Cache, is_open: Arc<Mutex<bool>> }
///
/// impl Door {
///     #[cached(key = "door", ttl = "10m")]
///     async fn is_open(&self) -> Json<bool> {
///         Json(*self.is_open.lock().unwrap())
///     }
///
///     #[invalidates(key = "door", group = "doors:list:*")]
///     async fn open(&self) -> Result<(), Interrupted> {
///         *self.is_open.lock().unwrap() = true;
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Interrupted> {
/// # let backend = Arc::new(MemoryBackend::new(64 << 20));
/// # let clock = Arc::new(SystemClock::new());
/// # let cache = Cache::new(backend, clock, Tasks::on_current_runtime());
/// let door = Door { cache, is_open: Arc::default() };
/// assert!(!*door.is_open().await);
/// door.open().await?;
/// assert!(*door.is_open().await);
/// # Ok(())
/// # }
/// ```
///
/// The body is a write as the cache knows it: it runs in a task that nobody can cancel, with a ticket
/// from before it; once it has answered, what it changed is voided, and only then is the caller
/// answered. If it fails, nothing is voided, unless its error says that it may have been done all the
/// same (`SourceError::may_have_committed`).
///
/// # Settings
///
/// What goes stale, at least one of these:
///
/// | | |
/// | --- | --- |
/// | `key = "product:{id}"`, `key = product_key(id)` | a key, as in [`macro@cached`]; may be said more than once. One that speaks of `result`, what the body answers, is made of it: `key = product_key(result.id)` |
/// | `group = "products:list"` | every key of a group; more than once, too. `products:list:*` is the same |
/// | `change = …` | a `Change`, for whoever has one |
///
/// If no key is known before the body runs and its outcome is unknown, everything cached is distrusted.
///
/// And besides:
///
/// | | |
/// | --- | --- |
/// | `through = &result` | the new value goes to the cache, under the first key, which has to be known before the body runs, unless another write came between |
/// | `absent` | that there is none any more does |
/// | `ttl`, `negative_ttl`, `policy` | how long either is kept, as in [`macro@cached`] |
/// | `at = result.position` | where the write stands in the change log: whoever follows the log need not void it again. So the keys and groups here have to be all that the log would name |
/// | `patience = …` | a `Duration`: how long the caller waits. The write goes on (`SourceError::unanswered`) |
/// | `cache = …` | where the cache is, as in [`macro@cached`] |
#[proc_macro_attribute]
pub fn invalidates(settings: TokenStream, item: TokenStream) -> TokenStream {
    expand(settings, item, invalidates::expand)
}

type Expand =
    fn(settings::Settings, proc_macro2::TokenStream) -> syn::Result<proc_macro2::TokenStream>;

fn expand(settings: TokenStream, item: TokenStream, write: Expand) -> TokenStream {
    let item = proc_macro2::TokenStream::from(item);
    let expanded = syn::parse(settings).and_then(|settings| write(settings, item.clone()));
    match expanded {
        Ok(expanded) => expanded.into(),
        // With the function as it stands, so that it is not said to be missing too.
        Err(error) => {
            let error = error.into_compile_error();
            quote::quote! {
                #error
                #[allow(unused, reason = "what is wrong is said already")]
                #item
            }
            .into()
        }
    }
}
