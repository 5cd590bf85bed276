use super::list::{page_key, page_of};
use super::{products, users};
use crate::cache::Key;
use crate::domain::{Email, Page};

/// What the name of a key says that it is the key of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    User(i64),
    UserPage(Page),
    UserHint(Email),
    Product(i64),
    ProductPage(Page),
}

impl Named {
    /// What this name stands for, if it stands for anything of users or products.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let named = if let Some(page) = name.strip_prefix(users::LIST.name()) {
            Self::UserPage(page_of(page)?)
        } else if let Some(page) = name.strip_prefix(products::LIST.name()) {
            Self::ProductPage(page_of(page)?)
        } else if let Some(email) = users::email_of(name) {
            Self::UserHint(email)
        } else if let Some(id) = id_of(name, users::KIND) {
            Self::User(id)
        } else {
            Self::Product(id_of(name, products::KIND)?)
        };
        // One spelling for one key: `user:+7` is another, which nobody reads.
        (named.key().name() == name).then_some(named)
    }

    fn key(&self) -> Key {
        match self {
            Self::User(id) => users::key(*id),
            Self::UserPage(page) => page_key(users::LIST, *page),
            Self::UserHint(email) => users::hint_key(email),
            Self::Product(id) => products::product_key(*id),
            Self::ProductPage(page) => page_key(products::LIST, *page),
        }
    }
}

/// The key of this name as whoever reads it makes it: with its kind and its group.
pub fn key_of(name: &str) -> Key {
    Named::parse(name).map_or_else(|| Key::named(name), |named| named.key())
}

/// The id in a key of this kind.
fn id_of(name: &str, kind: &str) -> Option<i64> {
    name.strip_prefix(kind)?.strip_prefix(':')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_leads_to_the_key_that_reads_use() {
        let kind_and_group = |name: &str| {
            let key = key_of(name);
            assert_eq!(key.name(), name);
            let group = key.group().map(|group| group.name());
            (key.kind().to_owned(), group)
        };
        let expected = [
            ("user:7", "user", None),
            ("user:email:ana@example.com", "user:email", None),
            ("users:list:0:100", "users:list", Some("users:list")),
            ("users:list:after:7:5", "users:list", Some("users:list")),
            ("product:7", "product", None),
            (
                "products:list:0:100",
                "products:list",
                Some("products:list"),
            ),
            ("calculation:param1=a:param2=7", "calculation", None),
        ];
        for (name, kind, group) in expected {
            assert_eq!(kind_and_group(name), (kind.to_owned(), group), "{name}");
        }
    }

    #[test]
    fn another_spelling_is_another_key() {
        for name in [
            "user:+7",
            "user:07",
            "user:email:Ana@example.com",
            "users:list:00:5",
            "users:list",
        ] {
            assert_eq!(Named::parse(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_name_has_a_key(name in "(user|users:list|product|)[:a-z0-9+@.]{0,12}|\\PC{0,12}") {
            let key = key_of(&name);
            prop_assert_eq!(key.name(), name);
        }
    }
}
