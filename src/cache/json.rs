use std::ops::Deref;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cached::Cacheable;

/// Keeps any serialisable value, as JSON. A hit parses it; what is read often is better kept as the
/// bytes that will be sent.
///
/// ```
/// use alacena::cache::{Cacheable, Json};
///
/// let rates = Json(vec![1.5, 2.5]);
/// assert_eq!(Json::from_bytes(&rates.to_bytes()), Some(rates));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T> Deref for Json<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> From<T> for Json<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> Cacheable for Json<T>
where
    T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    fn to_bytes(&self) -> Bytes {
        // Nothing, which is no JSON, is read back as no value: a miss each time, and never wrong.
        let json = serde_json::to_vec(&self.0).inspect_err(|error| {
            log::warn!("a value is not kept, since it cannot be written as JSON: {error}");
        });
        json.unwrap_or_default().into()
    }

    fn from_bytes(bytes: &Bytes) -> Option<Self> {
        serde_json::from_slice(bytes).ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn what_json_cannot_hold_is_read_back_as_no_value() {
        let map = Json(HashMap::from([((1, 2), 3)]));
        assert_eq!(
            Json::<HashMap<(i32, i32), i32>>::from_bytes(&map.to_bytes()),
            None
        );
    }
}
