use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::Serialize;

use super::error::Error;
use crate::cache::Cacheable;

/// An answer as it is sent: its JSON and its entity tag, both ready, so that a hit serialises
/// nothing.
///
/// As bytes: the length of the tag in one byte, the tag, the JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The strong entity tag, with its quotes (RFC 9110, 8.8.3).
    pub etag: Bytes,
    /// The JSON.
    pub body: Bytes,
}

impl Document {
    /// The document of one row: its tag tells kind and revision. A revision is random and belongs to
    /// one state of one row, so no two contents have the same tag.
    ///
    /// # Errors
    /// Where the value cannot be serialised.
    pub(super) fn of_row(kind: char, revision: i64, value: &impl Serialize) -> Result<Self, Error> {
        Ok(Self {
            etag: Self::row_tag(kind, revision).into(),
            body: json(value)?,
        })
    }

    fn row_tag(kind: char, revision: i64) -> String {
        format!("\"{kind}{revision:016x}\"")
    }

    /// The revision that an entity tag of this kind names; `None` for any other tag.
    pub fn revision_in(tag: &str, kind: char) -> Option<i64> {
        let digits = tag
            .strip_prefix('"')?
            .strip_suffix('"')?
            .strip_prefix(kind)?;
        let revision = u64::from_str_radix(digits, 16).ok()?.cast_signed();
        // Strong comparison is to the letter: another spelling of the number is another tag.
        (tag == Self::row_tag(kind, revision)).then_some(revision)
    }

    /// The document of what has no version, such as a list: its tag tells kind and content.
    ///
    /// # Errors
    /// Where the value cannot be serialised.
    pub(super) fn of_content(kind: char, value: &impl Serialize) -> Result<Self, Error> {
        let body = json(value)?;
        let hash = blake3::hash(&body).to_hex();
        Ok(Self {
            etag: format!("\"{kind}{}\"", &hash[..32]).into(),
            body,
        })
    }

    pub(super) fn put(&self, bytes: &mut BytesMut) {
        // Every tag is made above and has fewer than 64 bytes.
        bytes.put_u8(self.etag.len() as u8);
        bytes.put_slice(&self.etag);
        bytes.put_slice(&self.body);
    }

    pub(super) fn take(mut bytes: Bytes) -> Option<Self> {
        let length = usize::from(bytes.try_get_u8().ok()?);
        if bytes.len() < length {
            return None;
        }
        let etag = bytes.split_to(length);
        Some(Self { etag, body: bytes })
    }
}

impl Cacheable for Document {
    fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(1 + self.etag.len() + self.body.len());
        self.put(&mut bytes);
        bytes.freeze()
    }

    fn from_bytes(bytes: &Bytes) -> Option<Self> {
        Self::take(bytes.clone())
    }
}

/// A page of a list, and where the next one starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageDocument {
    /// The last id of this page, if there is a next.
    pub next: Option<i64>,
    /// The page.
    pub document: Document,
}

impl PageDocument {
    /// The page of the first `limit` of `rows`; if there are more, there is a next page.
    ///
    /// # Errors
    /// Where a row cannot be serialised.
    pub(super) fn of<T: Serialize>(
        rows: &[T],
        limit: i64,
        id: impl Fn(&T) -> i64,
    ) -> Result<Self, Error> {
        let limit = usize::try_from(limit).unwrap_or(0).min(rows.len());
        let page = &rows[..limit];
        let next = if rows.len() > limit {
            page.last().map(id)
        } else {
            None
        };
        Ok(Self {
            next,
            document: Document::of_content('l', &page)?,
        })
    }
}

impl Cacheable for PageDocument {
    fn to_bytes(&self) -> Bytes {
        let Document { etag, body } = &self.document;
        let mut bytes = BytesMut::with_capacity(9 + etag.len() + body.len());
        bytes.put_i64(self.next.unwrap_or(0));
        self.document.put(&mut bytes);
        bytes.freeze()
    }

    fn from_bytes(bytes: &Bytes) -> Option<Self> {
        let mut bytes = bytes.clone();
        let next = bytes.try_get_i64().ok()?;
        Some(Self {
            next: (next != 0).then_some(next),
            document: Document::take(bytes)?,
        })
    }
}

fn json(value: &impl Serialize) -> Result<Bytes, Error> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|error| Error::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn documents_come_back_as_they_went_in(
            etag in proptest::collection::vec(any::<u8>(), 0..64),
            body in proptest::collection::vec(any::<u8>(), 0..200),
            next in proptest::option::of(1..i64::MAX),
        ) {
            let document = Document { etag: etag.into(), body: body.into() };
            prop_assert_eq!(Document::from_bytes(&document.to_bytes()), Some(document.clone()));
            let page = PageDocument { next, document };
            prop_assert_eq!(PageDocument::from_bytes(&page.to_bytes()), Some(page));
        }

        #[test]
        fn any_bytes_are_a_document_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let bytes = Bytes::from(bytes);
            let _ = Document::from_bytes(&bytes);
            let _ = PageDocument::from_bytes(&bytes);
        }
    }
}
