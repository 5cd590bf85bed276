use bytes::Bytes;

/// A value that can be kept as bytes. Reading one back should parse nothing: slice the bytes.
///
/// [`Json`](super::Json) is one that keeps any serialisable value.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept in the cache",
    label = "this is not `Cacheable`",
    note = "`alacena::cache::Json<{Self}>` is, if it can be serialised, deserialised and cloned; or \
            implement `alacena::cache::Cacheable`"
)]
pub trait Cacheable: Clone + Send + Sync + 'static {
    /// The bytes to keep.
    fn to_bytes(&self) -> Bytes;

    /// The value these bytes hold; `None` if they are not such a value.
    fn from_bytes(bytes: &Bytes) -> Option<Self>;
}
