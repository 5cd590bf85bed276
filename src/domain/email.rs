use std::fmt;

use super::invalid::Invalid;

/// An e-mail address as browsers define a valid one (the HTML standard, "valid e-mail address"):
/// ASCII, one `@`, a domain of letters, digits, hyphens and dots. Kept as it was written; compared
/// without regard to case.
#[derive(Clone, Debug)]
pub struct Email {
    written: String,
    canonical: String,
}

const MAX_LENGTH: usize = 254;
const MAX_LOCAL: usize = 64;
const MAX_LABEL: usize = 63;

impl Email {
    /// Reads an address.
    ///
    /// # Errors
    /// Says what an address must look like.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let (local, domain) = text
            .split_once('@')
            .filter(|(_, domain)| !domain.contains('@'))
            .ok_or_else(|| {
                Invalid::because("must have exactly one @ between a name and a domain")
            })?;
        if text.len() > MAX_LENGTH || local.len() > MAX_LOCAL {
            return Err(Invalid::because(format!(
                "must have at most {MAX_LENGTH} characters, {MAX_LOCAL} of them before the @"
            )));
        }
        let name_ok = !local.is_empty()
            && local
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&b));
        if !name_ok {
            return Err(Invalid::because(
                "may have letters, digits and .!#$%&'*+/=?^_`{|}~- before the @",
            ));
        }
        if !domain.contains('.') || !domain.split('.').all(is_label) {
            return Err(Invalid::because(
                "must have a domain such as example.com after the @: letters, digits and hyphens \
                 between dots",
            ));
        }
        Ok(Self {
            written: text.to_owned(),
            canonical: text.to_ascii_lowercase(),
        })
    }

    /// The address as it was written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// The form in which two spellings of one address are equal.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL).contains(&label.len())
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl PartialEq for Email {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for Email {}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_spellings_of_one_address_are_equal_and_each_is_kept() {
        let email = Email::parse("Ana.Lopez+news@Example.COM").expect("valid");
        assert_eq!(
            email,
            Email::parse("ana.lopez+NEWS@example.com").expect("valid")
        );
        assert_eq!(email.as_str(), "Ana.Lopez+news@Example.COM");
        assert_eq!(email.canonical(), "ana.lopez+news@example.com");
    }

    #[test]
    fn what_no_browser_would_take_is_refused() {
        let too_long = format!("{}@example.com", "x".repeat(65));
        let refused = [
            "",
            "ana",
            "@example.com",
            "ana@",
            "a@b@example.com",
            "ana@localhost",
            "ana@exa mple.com",
            "ana lopez@example.com",
            "ana@-example.com",
            "ana@example-.com",
            "ana@example..com",
            "ana@example.com.",
            "aña@example.com",
            "ana@exämple.com",
            "ana\n@example.com",
            &too_long,
        ];
        for text in refused {
            assert!(Email::parse(text).is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_refused(text in "\\PC{0,300}") {
            if let Ok(email) = Email::parse(&text) {
                prop_assert_eq!(email.as_str(), text.as_str());
                prop_assert!(Email::parse(email.canonical()).is_ok());
            }
        }

        #[test]
        fn ordinary_addresses_are_accepted(text in "[a-zA-Z0-9._+-]{1,64}@[a-z0-9]{1,20}\\.[a-z]{2,10}") {
            prop_assert!(Email::parse(&text).is_ok());
        }
    }
}
