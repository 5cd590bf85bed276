use bytes::Bytes;

/// A value that can be kept as bytes. Reading one back should parse nothing: slice the bytes.
pub trait Cacheable: Clone + Send + Sync + 'static {
    /// The bytes to keep.
    fn to_bytes(&self) -> Bytes;

    /// The value these bytes hold; `None` if they are not such a value.
    fn from_bytes(bytes: &Bytes) -> Option<Self>;
}
